"""A TrainingJob with its Deployment and pods as a `Job`. Total: what cannot be used becomes a `Block` with a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from apportion.api import InvalidObject, TrainingJob, parse_training_job
from apportion.api.names import COMPLETED, HOLD, RETRY
from apportion.kube.facts import DeploymentFacts, PodFacts, PriorityClassFacts, pins_of
from apportion.kube.flavors import known
from apportion.kube.memory import read_memory
from apportion.kube.podspec import accelerator_resources, node_choice, requests, unmodelled
from apportion.kube.raw import Raw, at, integer, mapping, seconds, text, texts
from apportion.kube.render import template_hash
from apportion.model.curves import GLOBAL_BATCH, PER_REPLICA_BATCH, Curve, Points, Usl
from apportion.model.flavors import Flavor
from apportion.model.jobs import Block, FlavorChoice, Job, JobKey, Memory
from apportion.model.resources import CPU, Amounts
from apportion.model.selection import Requirement

MOST_STEPS = 64


@dataclass(frozen=True)
class JobFacts:
    """A TrainingJob as it came: the model, or why it is none; the status as memory; the raw object for rendering."""

    key: JobKey
    uid: str
    raw: Raw
    model: TrainingJob | None
    error: str
    memory: Memory
    generation: int
    observed_generation: int
    created: float
    annotations: Mapping[str, str]
    deleting: bool = False


def job_facts(raw: Raw) -> JobFacts:
    key = JobKey(text(raw, "metadata", "namespace"), text(raw, "metadata", "name"))
    model, error = None, ""
    try:
        model = parse_training_job({k: v for k, v in raw.items() if k != "status"})
    except InvalidObject as invalid:
        error = f"{invalid.field}: {invalid.message}" if invalid.field else invalid.message
    return JobFacts(
        key=key,
        uid=text(raw, "metadata", "uid"),
        raw=raw,
        model=model,
        error=error,
        memory=read_memory(raw),
        generation=integer(raw, "metadata", "generation", default=1),
        observed_generation=integer(raw, "status", "observedGeneration"),
        created=seconds(raw, "metadata", "creationTimestamp") or 0.0,
        annotations=texts(raw, "metadata", "annotations"),
        deleting=at(raw, "metadata", "deletionTimestamp") is not None,
    )


@dataclass(frozen=True)
class Surroundings:
    """What else a job's translation looks at."""

    deployment: DeploymentFacts | None
    pods: Sequence[PodFacts]
    namespace_labels: Mapping[str, str]
    priority_classes: Mapping[str, PriorityClassFacts]
    catalog: Sequence[Flavor]
    conflict: Block | None = None


@dataclass(frozen=True)
class Shape:
    """One replica: its accelerator resource, how many of it, all its requests."""

    resource: str
    per_replica: int
    requests: Amounts


def translate(facts: JobFacts, around: Surroundings) -> Job:
    deployment = around.deployment
    base = Job(
        key=facts.key,
        uid=facts.uid,
        created=facts.created,
        steps=(),
        resource=CPU,
        per_replica=1,
        requests={"pods": 1},
        generation=facts.generation,
        observed_generation=facts.observed_generation,
        held=facts.annotations.get(HOLD, "false").lower() not in ("false", ""),
        completed=facts.annotations.get(COMPLETED, "").lower() == "true",
        retried=facts.annotations.get(RETRY, ""),
        namespace_labels=around.namespace_labels,
        workload=deployment.workload if deployment else None,
        pods=tuple(sorted((pod.pod for pod in around.pods), key=lambda pod: pod.name)),
        memory=facts.memory,
    )
    if facts.model is None:
        return replace(as_it_runs(base, around), block=Block("Invalid", facts.error))
    try:
        return _with_spec(base, facts.model, around)
    except InvalidObject as invalid:
        return replace(as_it_runs(base, around), block=Block("Invalid", f"{invalid.field}: {invalid.message}"))


def as_it_runs(job: Job, around: Surroundings) -> Job:
    """An invalid job that runs still uses what its pods use: count that, from the Deployment's own template."""
    if around.deployment is None:
        return job
    needed = requests(mapping(around.deployment.template, "spec"))
    resources = accelerator_resources(needed)
    resource = resources[0] if resources else CPU
    return replace(job, resource=resource, per_replica=count_of(resource, needed), requests=needed)


def _with_spec(job: Job, model: TrainingJob, around: Surroundings) -> Job:
    spec = model.spec
    template, block = _template(model, around)
    pod_spec = without_pins(mapping(template, "spec"), around.deployment)
    shape = _shape(model, pod_spec, around.catalog)
    extra = tuple(
        Requirement(entry.key, entry.operator, tuple(entry.values)) for entry in spec.accelerators.requirements
    )
    chosen = spec.accelerators.flavors
    priority, no_class = _priority(spec.priority_class_name, around)
    return replace(
        job,
        steps=tuple(spec.replica_steps) if spec.replica_steps else steps_between(spec.min_replicas, spec.max_replicas),
        resource=shape.resource,
        per_replica=shape.per_replica,
        requests=shape.requests,
        queue_name=spec.queue_name,
        priority=priority,
        priority_class=spec.priority_class_name or "",
        preemptible=spec.preemptible,
        suspended=spec.suspend,
        flavors=None if chosen is None else tuple(FlavorChoice(c.name, _float(c.speed)) for c in chosen),
        nodes=node_choice(pod_spec, extra),
        curve=_curve(model),
        restart_seconds=float(spec.restart_seconds),
        min_runtime_seconds=float(spec.min_runtime_seconds),
        placement_timeout_seconds=float(spec.placement_timeout_seconds),
        failure_limit=spec.failure_limit,
        complete_on_exit_zero=spec.completion_policy == "OnExitZero",
        template_hash=template_hash(spec.template) if spec.template is not None else "",
        block=around.conflict or block or no_class,
        warnings=_warnings(pod_spec, around),
    )


def _template(model: TrainingJob, around: Surroundings) -> tuple[Raw, Block | None]:
    """The pod template that counts, and why a referenced workload may not be touched."""
    if model.spec.template is not None:
        return model.spec.template, None
    assert model.spec.workload_ref is not None
    name = model.spec.workload_ref.name
    if around.deployment is None:
        return {}, Block(
            "WorkloadNotFound", f"there is no Deployment {name!r} in namespace {model.metadata.namespace!r}"
        )
    if not around.deployment.managed:
        message = f'Deployment {name!r} does not carry the label apportion.dev/managed: "true"'
        return around.deployment.template, Block("WorkloadNotManaged", message)
    return around.deployment.template, None


def without_pins(spec: Raw, deployment: DeploymentFacts | None) -> Raw:
    """The pod spec as its author wrote it: less the selector, tolerations and affinity that an earlier grant added."""
    pins = pins_of(deployment.workload) if deployment is not None and not deployment.workload.owned else {}
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


def _shape(model: TrainingJob, pod_spec: Raw, catalog: Sequence[Flavor]) -> Shape:
    """The template counts; a spec that contradicts it is invalid."""
    needed = requests(pod_spec)
    asked = model.spec.accelerators
    if not pod_spec:
        return Shape(asked.resource or CPU, asked.per_replica or 1, needed)
    resources = accelerator_resources(needed)
    listed = {flavor.resource for flavor in catalog}
    usual = [name for name in resources if known(name) or name in listed]
    if asked.resource is None:
        candidates = usual or resources
        if len(candidates) > 1:
            raise _invalid(
                model, "resource", f"expected to be given: the template asks for several ({', '.join(candidates)})"
            )
        resource = candidates[0] if candidates else CPU
    else:
        resource = asked.resource
        if resource != CPU and resource not in resources:
            there = ", ".join(resources) or "no accelerator"
            raise _invalid(model, "resource", f"the template counts, and asks for {there}, not for {resource}")
    count = count_of(resource, needed)
    if asked.per_replica is not None and asked.per_replica != count:
        raise _invalid(
            model, "perReplica", f"the template counts, and asks for {count} {resource}, not {asked.per_replica}"
        )
    return Shape(resource, count, needed)


def count_of(resource: str, needed: Amounts) -> int:
    """Accelerators of one replica; cpu in whole cores, at least one."""
    amount = needed.get(resource, 0)
    return max(1, -(-amount // 1000)) if resource == CPU else max(1, amount)


def _invalid(model: TrainingJob, field: str, message: str) -> InvalidObject:
    meta = model.metadata
    return InvalidObject("TrainingJob", meta.namespace, meta.name, f"spec.accelerators.{field}", message)


def _priority(name: str | None, around: Surroundings) -> tuple[int, Block | None]:
    if name is None:
        return 0, None
    found = around.priority_classes.get(name)
    if found is None:
        return 0, Block("PriorityClassNotFound", f"there is no PriorityClass {name!r}")
    return found.value, None


def steps_between(low: int, high: int) -> tuple[int, ...]:
    """Every count, or at most 64 of them in geometric distance, both ends kept."""
    if high - low < MOST_STEPS:
        return tuple(range(low, high + 1))
    ratio = (high / low) ** (1 / (MOST_STEPS - 1))
    counts = {low, high, *(round(low * ratio**index) for index in range(MOST_STEPS))}
    return tuple(sorted(count for count in counts if low <= count <= high))


def _curve(model: TrainingJob) -> Curve:
    scaling = model.spec.scaling
    if scaling.points:
        by_flavor: dict[str | None, list[tuple[int, float]]] = {}
        for point in scaling.points:
            by_flavor.setdefault(point.flavor, []).append((point.replicas, float(point.rate)))
        most = max(by_flavor.values(), key=len)
        return Points(tuple(sorted(most)))
    if scaling.usl is not None:
        usl = scaling.usl
        return Usl(float(usl.lambda_), float(usl.sigma), float(usl.kappa))
    return GLOBAL_BATCH if scaling.mode == "GlobalBatch" else PER_REPLICA_BATCH


def _float(value: object) -> float | None:
    return None if value is None else float(str(value))


def _warnings(pod_spec: Raw, around: Surroundings) -> tuple[Block, ...]:
    found = [
        Block("UnmodelledConstraint", f"the pod template has {constraint}: pods may stay Pending for it")
        for constraint in unmodelled(pod_spec)
    ]
    named = text(pod_spec, "priorityClassName")
    if around.deployment is not None and not around.deployment.workload.owned and named:
        priority_class = around.priority_classes.get(named)
        if priority_class is not None and priority_class.preempts:
            found.append(
                Block("CanPreempt", f"PriorityClass {named!r} of the pod template can preempt other pods' accelerators")
            )
    return tuple(found)
