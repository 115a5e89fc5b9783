"""Deployments and patches as plain data. Nothing here talks to an API server."""

import json
from collections.abc import Mapping
from typing import Any

from apportion.api.names import API_VERSION, DECISION, FLAVOR, MANAGED, REPLICAS, TRAINING_JOB
from apportion.kube.facts import PINS, TEMPLATE, DeploymentFacts
from apportion.kube.raw import Raw, at, mapping, texts
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job
from apportion.model.selection import Requirement, Toleration

JOB_LABEL = "apportion.dev/job"
TRAINING_PRIORITY_CLASS = "apportion-training"

# A gang that loses a pod restarts as a whole: neither autoscaler may empty its nodes to save some. They are put into a
# template when it is written anyway, never into one that runs: that would restart every pod.
UNDISTURBED = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}

Patch = list[dict[str, Any]]


def toleration_of(toleration: Toleration) -> dict[str, str]:
    fields = {"key": toleration.key, "operator": toleration.operator, "value": toleration.value}
    fields["effect"] = toleration.effect
    return {name: value for name, value in fields.items() if value}


def expression_of(requirement: Requirement) -> dict[str, Any]:
    expression: dict[str, Any] = {"key": requirement.key, "operator": requirement.operator}
    if requirement.values:
        expression["values"] = list(requirement.values)
    return expression


def with_requirements(affinity: Raw, requirements: tuple[Requirement, ...]) -> dict[str, Any]:
    """Required node affinity with the expressions added to every alternative (alternatives are ORed)."""
    if not requirements:
        return dict(affinity)
    added = [expression_of(requirement) for requirement in requirements]
    node = dict(mapping(affinity, "nodeAffinity"))
    required = dict(mapping(node, "requiredDuringSchedulingIgnoredDuringExecution"))
    terms = required.get("nodeSelectorTerms")
    terms = terms if isinstance(terms, list) and terms else [{}]
    required["nodeSelectorTerms"] = [
        {**term, "matchExpressions": [*(term.get("matchExpressions") or []), *added]} for term in terms
    ]
    node["requiredDuringSchedulingIgnoredDuringExecution"] = required
    return {**affinity, "nodeAffinity": node}


def pinned_spec(spec: Raw, job: Job, flavor: Flavor) -> tuple[dict[str, Any], dict[str, Any]]:
    """(The pod spec pinned to the flavor, what was added and so must be taken off again later)."""
    selector = texts(spec, "nodeSelector")
    added = {key: value for key, value in flavor.node_selector if selector.get(key) != value}
    theirs = list(at(spec, "tolerations") or [])
    ours = [entry for entry in map(toleration_of, flavor.tolerations) if entry not in theirs]
    pins: dict[str, Any] = {"nodeSelector": added, "tolerations": ours}
    pinned = dict(spec)
    if added or selector:
        pinned["nodeSelector"] = {**selector, **added}
    if theirs or ours:
        pinned["tolerations"] = [*theirs, *ours]
    if job.nodes.requirements:
        pins["affinity"] = spec.get("affinity")
        pinned["affinity"] = with_requirements(mapping(spec, "affinity"), job.nodes.requirements)
    return pinned, pins


def owned_template(template: Raw, job: Job, flavor: Flavor, priority_class: str | None) -> dict[str, Any]:
    """The pod template of an owned Deployment: the author's, pinned, labelled, never preempting."""
    spec, _ = pinned_spec(mapping(template, "spec"), job, flavor)
    if priority_class is not None and not spec.get("priorityClassName"):
        spec["priorityClassName"] = priority_class
    meta = {
        "labels": {**texts(template, "metadata", "labels"), JOB_LABEL: job.key.name},
        "annotations": {**UNDISTURBED, **texts(template, "metadata", "annotations"), FLAVOR: flavor.name},
    }
    return {"metadata": meta, "spec": spec}


def owned_deployment(template: Raw, job: Job, flavor: Flavor, priority_class: str | None) -> dict[str, Any]:
    """The Deployment of a job with an embedded template, at its granted size. It goes with its TrainingJob."""
    assert job.admission is not None
    owner = {
        "apiVersion": API_VERSION,
        "kind": TRAINING_JOB,
        "name": job.key.name,
        "uid": job.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": job.key.name,
            "namespace": job.key.namespace,
            "labels": {JOB_LABEL: job.key.name, MANAGED: "true"},
            "annotations": {**decision_of(job), TEMPLATE: job.template_hash},
            "ownerReferences": [owner],
        },
        "spec": {
            "replicas": job.admission.replicas,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {JOB_LABEL: job.key.name}},
            "template": owned_template(template, job, flavor, priority_class),
        },
    }


def decision_of(job: Job) -> dict[str, str]:
    admission = job.admission
    assert admission is not None
    return {DECISION: str(admission.round), REPLICAS: str(admission.replicas), FLAVOR: admission.flavor}


def escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def fence(facts: DeploymentFacts) -> Patch:
    """The tests that make a stale leader's patch fail: the object, its size, and the decision that it carries."""
    tests: Patch = [
        {"op": "test", "path": "/metadata/uid", "value": facts.workload.uid},
        {"op": "test", "path": "/spec/replicas", "value": facts.workload.replicas},
    ]
    if facts.workload.has_annotations:
        path = f"/metadata/annotations/{escaped(DECISION)}"
        tests.append({"op": "test", "path": path, "value": facts.workload.decision})
    else:
        tests.append({"op": "test", "path": "/metadata/annotations", "value": None})
    return tests


def annotate(facts: DeploymentFacts, annotations: Mapping[str, str]) -> Patch:
    """Add ours beside other people's; where there is no annotation at all, the map comes first."""
    patch: Patch = []
    if not facts.workload.has_annotations:
        patch.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    for key, value in sorted(annotations.items()):
        patch.append({"op": "add", "path": f"/metadata/annotations/{escaped(key)}", "value": value})
    return patch


def resize(facts: DeploymentFacts, replicas: int, annotations: Mapping[str, str]) -> Patch:
    """Only the count: the template is never touched, which would restart every pod."""
    said = {**annotations, REPLICAS: str(replicas)}
    return [
        *fence(facts),
        *annotate(facts, said),
        {"op": "replace", "path": "/spec/replicas", "value": replicas},
    ]


def repin_owned(facts: DeploymentFacts, template: Raw, job: Job, flavor: Flavor, priority_class: str | None) -> Patch:
    """Another flavor or another template for an owned Deployment: one patch, strategy Recreate does the rest."""
    assert job.admission is not None
    return [
        *fence(facts),
        *annotate(facts, {**decision_of(job), TEMPLATE: job.template_hash}),
        {"op": "replace", "path": "/spec/template", "value": owned_template(template, job, flavor, priority_class)},
        {"op": "replace", "path": "/spec/replicas", "value": job.admission.replicas},
    ]


def repin_referenced(facts: DeploymentFacts, clean_spec: Raw, job: Job, flavor: Flavor) -> Patch:
    """Another flavor for a referenced Deployment that has no pods any more: selector, tolerations, affinity, then up.

    `clean_spec` is the pod spec without the pins of earlier grants.
    """
    assert job.admission is not None
    pinned, pins = pinned_spec(clean_spec, job, flavor)
    patch = [
        *fence(facts),
        *annotate(facts, {**decision_of(job), PINS: json.dumps(pins, sort_keys=True)}),
    ]
    spec = mapping(facts.template, "spec")
    for key in ("nodeSelector", "tolerations", "affinity"):
        patch += _set(f"/spec/template/spec/{key}", spec.get(key), pinned.get(key))
    if not texts(facts.template, "metadata", "annotations"):
        patch.append({"op": "add", "path": "/spec/template/metadata/annotations", "value": {}})
    path = f"/spec/template/metadata/annotations/{escaped(FLAVOR)}"
    patch.append({"op": "add", "path": path, "value": flavor.name})
    patch.append({"op": "replace", "path": "/spec/replicas", "value": job.admission.replicas})
    return patch


def _set(path: str, old: object, new: object) -> Patch:
    if old == new:
        return []
    if new is None:
        return [{"op": "remove", "path": path}]
    return [{"op": "add", "path": path, "value": new}]


def needs_repin(facts: DeploymentFacts, job: Job) -> bool:
    """Does the template stand for another flavor, or for another embedded template, than what is granted now?"""
    assert job.admission is not None
    if facts.workload.flavor != job.admission.flavor:
        return True
    return facts.workload.owned and facts.workload.template_hash != job.template_hash


def status_patch(uid: str, fence: tuple[str, Any], status: Mapping[str, Any]) -> Patch:
    """The whole status, fenced by the uid and by the status that this decision started from."""
    path, value = fence
    return [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": path, "value": value},
        {"op": "add", "path": "/status", "value": status},
    ]
