"""Nodes, pods, Deployments and autoscalers as the few facts that a snapshot needs. Parsing is total."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apportion.api.names import DECISION, FLAVOR, MANAGED, REPLICAS
from apportion.kube.podspec import Asked, asked, requests, taint
from apportion.kube.raw import Raw, amounts, at, integer, mapping, mappings, seconds, text, texts
from apportion.model.jobs import Pod, Workload
from apportion.model.resources import Amounts
from apportion.model.selection import Taint

PINS = "apportion.dev/pins"
TEMPLATE = "apportion.dev/template"
TEMPLATE_HASH = "pod-template-hash"
LONGEST_PREFIX = 242
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
LIFECYCLE_TAINTS = (
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/unschedulable",
)
STARTING_TAINTS = ("node.cloudprovider.kubernetes.io/uninitialized", "karpenter.sh/unregistered")
STARTUP_TAINT_PREFIX = "startup-taint.cluster-autoscaler.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    name: str
    uid: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    allocatable: Amounts
    capacity: Amounts
    placeable: bool
    why_not: str
    created: float


def node_facts(raw: Raw) -> NodeFacts:
    """Ready, not cordoned, not being deleted; allocatable, not capacity: a broken device is gone from it."""
    why_not = ""
    ready = next((c for c in mappings(raw, "status", "conditions") if text(c, "type") == "Ready"), {})
    if at(raw, "metadata", "deletionTimestamp"):
        why_not = "is being deleted"
    elif at(raw, "spec", "unschedulable") is True:
        why_not = "is cordoned"
    elif text(ready, "status") != "True":
        why_not = "is not ready"
    elif any(map(says_starting, mappings(raw, "spec", "taints"))):
        why_not = "is starting"
    taints = tuple(taint(entry) for entry in mappings(raw, "spec", "taints"))
    return NodeFacts(
        name=text(raw, "metadata", "name"),
        uid=text(raw, "metadata", "uid"),
        labels={**texts(raw, "metadata", "labels"), "metadata.name": text(raw, "metadata", "name")},
        taints=tuple(entry for entry in taints if entry.key not in LIFECYCLE_TAINTS),
        allocatable=amounts(raw, "status", "allocatable"),
        capacity=amounts(raw, "status", "capacity"),
        placeable=not why_not,
        why_not=why_not,
        created=seconds(raw, "metadata", "creationTimestamp") or 0.0,
    )


def says_starting(raw: Raw) -> bool:
    """Taints that a new node carries until what it needs runs on it."""
    key = text(raw, "key")
    return key in STARTING_TAINTS or key.startswith(STARTUP_TAINT_PREFIX)


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod with its Deployment (as `replica_set_prefix` has it) and its ReplicaSet, or "" and ""; `holds` is the node
    where its requests count, or None."""

    namespace: str
    pod: Pod
    deployment: str
    replica_set: str
    holds: str | None
    claims: bool


def pod_facts(raw: Raw) -> PodFacts | None:
    """None for a pod that has ended: it holds nothing."""
    phase = text(raw, "status", "phase") or "Pending"
    if phase in ("Succeeded", "Failed"):
        return None
    spec = mapping(raw, "spec")
    node = text(spec, "nodeName") or None
    nominated = text(raw, "status", "nominatedNodeName") or None
    main = main_container(raw)
    ended = mapping(main, "lastState", "terminated") or mapping(main, "state", "terminated")
    exit_code = ended.get("exitCode")
    conditions = {text(c, "type"): c for c in mappings(raw, "status", "conditions")}
    ready = conditions.get("Ready", {})
    is_ready = text(ready, "status") == "True"
    scheduled = conditions.get("PodScheduled", {})
    waits = text(scheduled, "status") == "False"
    pod = Pod(
        name=text(raw, "metadata", "name"),
        uid=text(raw, "metadata", "uid"),
        node=node,
        requests=requests(spec),
        created=seconds(raw, "metadata", "creationTimestamp") or 0.0,
        phase=phase,
        ready=is_ready,
        terminating=at(raw, "metadata", "deletionTimestamp") is not None,
        restarts=sum(integer(c, "restartCount") for c in mappings(raw, "status", "containerStatuses")),
        exit_code=exit_code if isinstance(exit_code, int) and not isinstance(exit_code, bool) else None,
        exited_at=seconds(ended, "finishedAt"),
        waiting_reason=text(main, "state", "waiting", "reason"),
        unschedulable=text(scheduled, "message") if waits else "",
        deletion_cost=deletion_cost(texts(raw, "metadata", "annotations")),
        ready_since=seconds(ready, "lastTransitionTime") if is_ready else None,
    )
    deployment, replica_set = made_by(raw)
    return PodFacts(
        namespace=text(raw, "metadata", "namespace"),
        pod=pod,
        deployment=deployment,
        replica_set=replica_set,
        holds=node or nominated,
        claims=bool(list(mappings(spec, "resourceClaims"))),
    )


def main_container(raw: Raw) -> Raw:
    """The status of the first container of the spec: its end is the run's."""
    first = next((text(c, "name") for c in mappings(raw, "spec", "containers")), "")
    return next((c for c in mappings(raw, "status", "containerStatuses") if text(c, "name") == first), {})


def deletion_cost(annotations: Mapping[str, str]) -> int:
    try:
        return int(annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def controller(raw: Raw, kind: str) -> Raw:
    """The reference to the controlling owner, if it is of this kind; else nothing."""
    for owner in mappings(raw, "metadata", "ownerReferences"):
        if owner.get("controller") is True and text(owner, "kind") == kind:
            return owner
    return {}


def made_by(pod: Raw) -> tuple[str, str]:
    """(Deployment, ReplicaSet) by the latter's name, which is the Deployment's name, "-" and the label
    pod-template-hash (kubernetes pkg/controller/deployment/sync.go). A watch of ReplicaSets would cost a fifth of all
    news, and a pod whose ReplicaSet is not known yet would count as somebody else's."""
    owner = text(controller(pod, "ReplicaSet"), "name")
    prefix, _, hash_ = owner.rpartition("-")
    if not hash_ or hash_ != texts(pod, "metadata", "labels").get(TEMPLATE_HASH):
        return "", ""
    # Thousands of pods have few ReplicaSets.
    return sys.intern(replica_set_prefix(prefix)), sys.intern(owner)


def replica_set_prefix(deployment: str) -> str:
    """What of a Deployment's name its ReplicaSets' names surely hold: they are cut to 253 characters."""
    return deployment[:LONGEST_PREFIX]


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """A Deployment: `managed` is the editor's consent, `job_uid` the TrainingJob that owns it ("": none).

    `asked` is of its pod spec less our pins. `template` is kept of a Deployment that nobody owns: only there is it
    patched in place; an owned one gets its job's. `created` in seconds of the epoch; `counted`: its pods by the count
    of its controller, those that end left out (None: it has not counted yet).
    """

    namespace: str
    workload: Workload
    managed: bool
    job_uid: str
    asked: Asked
    template: Raw
    resource_version: str
    created: float
    counted: int | None


def deployment_facts(raw: Raw) -> DeploymentFacts:
    annotations = texts(raw, "metadata", "annotations")
    template = mapping(raw, "spec", "template")
    job_uid = text(controller(raw, "TrainingJob"), "uid")
    granted = annotations.get(REPLICAS, "")
    decision = annotations.get(DECISION)
    pinned = texts(template, "metadata", "annotations").get(FLAVOR)
    workload = Workload(
        name=text(raw, "metadata", "name"),
        uid=text(raw, "metadata", "uid"),
        replicas=integer(raw, "spec", "replicas", default=1),
        owned=bool(job_uid),
        flavor=None if decision is None else pinned or "",
        decision=decision,
        granted=int(granted) if granted.isdecimal() and len(granted) < 10 else None,
        template_hash=annotations.get(TEMPLATE, ""),
        pins=annotations.get(PINS, ""),
        has_annotations=bool(annotations),
        editor=last_editor(raw),
        refusal=refusal(raw),
        recreate=text(raw, "spec", "strategy", "type") == "Recreate",
    )
    return DeploymentFacts(
        namespace=text(raw, "metadata", "namespace"),
        workload=workload,
        managed=texts(raw, "metadata", "labels").get(MANAGED) == "true",
        job_uid=job_uid,
        asked=asked(without_pins(mapping(template, "spec"), workload)),
        template={} if job_uid else template,
        resource_version=text(raw, "metadata", "resourceVersion"),
        created=seconds(raw, "metadata", "creationTimestamp") or 0.0,
        counted=integer(raw, "status", "replicas") if at(raw, "status", "observedGeneration") else None,
    )


def last_editor(raw: Raw) -> str:
    """The field manager that last wrote the spec's replicas or its template; status writers do not count."""
    latest = ("", "")
    for entry in mappings(raw, "metadata", "managedFields"):
        if text(entry, "subresource") == "status":
            continue
        fields = mapping(entry, "fieldsV1")
        spec = mapping(fields, "f:spec")
        if not fields or "f:replicas" in spec or "f:template" in spec:
            latest = max(latest, (text(entry, "time"), text(entry, "manager")))
    return latest[1]


def refusal(raw: Raw) -> str:
    """Why pods could not be created (ResourceQuota, admission), as the Deployment's controller reports it."""
    for condition in mappings(raw, "status", "conditions"):
        if text(condition, "type") == "ReplicaFailure" and text(condition, "status") == "True":
            return text(condition, "message") or text(condition, "reason") or "pods could not be created"
    return ""


@dataclass(frozen=True, slots=True)
class AutoscalerFacts:
    namespace: str
    name: str
    deployment: str


def autoscaler_facts(raw: Raw) -> AutoscalerFacts:
    target = mapping(raw, "spec", "scaleTargetRef")
    deployment = text(target, "name") if text(target, "kind") == "Deployment" else ""
    return AutoscalerFacts(text(raw, "metadata", "namespace"), text(raw, "metadata", "name"), deployment)


@dataclass(frozen=True, slots=True)
class PriorityClassFacts:
    name: str
    value: int
    preempts: bool


def priority_class_facts(raw: Raw) -> PriorityClassFacts:
    return PriorityClassFacts(
        text(raw, "metadata", "name"),
        integer(raw, "value"),
        text(raw, "preemptionPolicy") != "Never",
    )


def pins_of(workload: Workload) -> dict[str, object]:
    """What we added to the template: the nodeSelector keys and tolerations, to be taken off when the flavor changes."""
    try:
        pins = json.loads(workload.pins) if workload.pins else {}
    except ValueError:
        return {}
    return pins if isinstance(pins, dict) else {}


def without_pins(spec: Raw, workload: Workload) -> Raw:
    """The pod spec as its author wrote it: less the selector, tolerations and affinity that an earlier grant added."""
    pins = {} if workload.owned else pins_of(workload)
    if not pins:
        return spec
    cleaned: dict[str, Any] = dict(spec)
    selector = mapping(pins, "nodeSelector")
    cleaned["nodeSelector"] = {k: v for k, v in texts(spec, "nodeSelector").items() if selector.get(k) != v}
    added = pins.get("tolerations")
    ours = added if isinstance(added, list) else []
    theirs = at(spec, "tolerations")
    cleaned["tolerations"] = [entry for entry in theirs if entry not in ours] if isinstance(theirs, list) else []
    if "affinity" in pins:
        cleaned["affinity"] = pins["affinity"]
    return {key: value for key, value in cleaned.items() if value not in ({}, [], None)}
