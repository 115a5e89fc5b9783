"""A TrainingJob with its Deployment and pods as a `Job`. Total: what cannot be used becomes a `Block` with a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from apportion.api import InvalidObject, parse_training_job
from apportion.api.names import COMPLETED, HOLD, PROGRESS, RETRY, THROUGHPUT
from apportion.api.trainingjob import TrainingJobSpec
from apportion.kube.facts import DeploymentFacts, PodFacts, PriorityClassFacts
from apportion.kube.flavors import known
from apportion.kube.memory import read_memory
from apportion.kube.podspec import Asked, Template, accelerator_resources, asked, template_of
from apportion.kube.raw import Raw, at, fingerprint, integer, mapping, seconds, text, texts
from apportion.model.curves import GLOBAL_BATCH, PER_REPLICA_BATCH, Curve, Points, Usl
from apportion.model.flavors import Flavor
from apportion.model.jobs import Block, FlavorChoice, Job, JobKey, Target, steps_between
from apportion.model.resources import CPU, Amounts
from apportion.model.selection import ANY_NODE, NodeChoice, Requirement

NOTHING = asked({})
ONE_POD = NOTHING.requests


@dataclass(frozen=True, slots=True)
class Meters:
    """Where a job's rate and its progress are to be had: a query, or what an annotation says (None: neither)."""

    query: str | None = None
    rate: str | None = None
    progress_query: str | None = None
    progress: str | None = None


NO_METERS = Meters()


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a TrainingJob says, or why it cannot be read; the object itself is not kept.

    `job` is what the object alone tells; `translate` adds what is around it. Of `template` and `reference` (a
    Deployment's name) a valid job has one. `resource` and `per_replica` are as asked beside the template. `told`
    names the status as it stands, `fence` is the path and value that a write of the status tests.
    """

    job: Job
    error: str
    template: Template | None
    reference: str
    resource: str | None
    per_replica: int | None
    told: str
    fence: tuple[str, Any]
    deleting: bool
    meters: Meters = NO_METERS

    @property
    def key(self) -> JobKey:
        return self.job.key


def job_facts(raw: Raw) -> JobFacts:
    annotations = texts(raw, "metadata", "annotations")
    job = Job(
        key=JobKey(text(raw, "metadata", "namespace"), text(raw, "metadata", "name")),
        uid=text(raw, "metadata", "uid"),
        created=seconds(raw, "metadata", "creationTimestamp") or 0.0,
        steps=(),
        resource=CPU,
        per_replica=1,
        requests=ONE_POD,
        generation=integer(raw, "metadata", "generation", default=1),
        observed_generation=integer(raw, "status", "observedGeneration"),
        held=annotations.get(HOLD, "false").lower() not in ("false", ""),
        completed=annotations.get(COMPLETED, "").lower() == "true",
        retried=annotations.get(RETRY, ""),
        memory=read_memory(raw),
    )
    spec, template, error = _read(raw)
    return JobFacts(
        job=_with_spec(job, spec) if spec is not None else job,
        error=error,
        template=template,
        reference=spec.workload_ref.name if spec is not None and spec.workload_ref is not None else "",
        resource=spec.accelerators.resource if spec is not None else None,
        per_replica=spec.accelerators.per_replica if spec is not None else None,
        told=fingerprint(mapping(raw, "status")),
        fence=_fence(at(raw, "status")),
        deleting=at(raw, "metadata", "deletionTimestamp") is not None,
        meters=_meters(spec, annotations) if spec is not None else NO_METERS,
    )


def _read(raw: Raw) -> tuple[TrainingJobSpec | None, Template | None, str]:
    """(The spec, its embedded template, "") or (None, None, why it cannot be read)."""
    try:
        spec = parse_training_job({k: v for k, v in raw.items() if k != "status"}).spec
    except InvalidObject as invalid:
        return None, None, f"{invalid.field}: {invalid.message}" if invalid.field else invalid.message
    if spec.template is None:
        return spec, None, ""
    template = template_of(spec.template)
    wrong = template.asked.malformed
    return (None, None, f"spec.template.spec.{wrong}") if wrong else (spec, template, "")


def _meters(spec: TrainingJobSpec, annotations: Mapping[str, str]) -> Meters:
    asked_, rate, progress = spec.scaling.metrics, annotations.get(THROUGHPUT), annotations.get(PROGRESS)
    if asked_.query is None and asked_.progress_query is None and rate is None and progress is None:
        return NO_METERS
    return Meters(asked_.query, rate, asked_.progress_query, progress)


def _with_spec(job: Job, spec: TrainingJobSpec) -> Job:
    chosen = spec.accelerators.flavors
    extra = tuple(Requirement(e.key, e.operator, tuple(e.values)) for e in spec.accelerators.requirements)
    return replace(
        job,
        steps=tuple(spec.replica_steps) if spec.replica_steps else steps_between(spec.min_replicas, spec.max_replicas),
        listed=bool(spec.replica_steps),
        queue_name=spec.queue_name,
        priority_class=spec.priority_class_name or "",
        preemptible=spec.preemptible,
        suspended=spec.suspend,
        flavors=None if chosen is None else tuple(FlavorChoice(c.name, _float(c.speed)) for c in chosen),
        nodes=NodeChoice(requirements=extra) if extra else ANY_NODE,
        curve=_curve(spec),
        declared=bool(spec.scaling.points) or spec.scaling.usl is not None,
        target=_target(spec),
        restart_seconds=float(spec.restart_seconds),
        min_runtime_seconds=float(spec.min_runtime_seconds),
        placement_timeout_seconds=float(spec.placement_timeout_seconds),
        failure_limit=spec.failure_limit,
        complete_on_exit_zero=spec.completion_policy == "OnExitZero",
    )


def _fence(status: Any) -> tuple[str, Any]:
    """A write of the status must meet the status that the decision was made from: its round of admission, if any."""
    if not isinstance(status, Mapping):
        return "/status", None
    if mapping(status, "admission"):
        return "/status/admission/round", at(status, "admission", "round")
    return "/status/admission", None


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
    job = replace(
        facts.job,
        namespace_labels=around.namespace_labels,
        workload=deployment.workload if deployment else None,
        pods=tuple(sorted((pod.pod for pod in around.pods), key=lambda pod: pod.name)),
    )
    if facts.error:
        return as_it_runs(job, around, facts.error)
    needed, block = _needed(facts, around)
    if needed.malformed and block is None:
        return as_it_runs(job, around, f"Deployment {facts.reference!r}: spec.template.spec.{needed.malformed}")
    try:
        shape = _shape(facts, needed, around.catalog)
    except _Contradiction as found:
        return as_it_runs(job, around, str(found))
    extra = job.nodes.requirements
    priority, no_class = _priority(job.priority_class, around)
    return replace(
        job,
        resource=shape.resource,
        per_replica=shape.per_replica,
        requests=shape.requests,
        priority=priority,
        nodes=replace(needed.nodes, requirements=extra) if extra else needed.nodes,
        template_hash=facts.template.hash if facts.template is not None else "",
        block=around.conflict or block or no_class,
        warnings=_warnings(needed, around),
    )


def as_it_runs(job: Job, around: Surroundings, error: str) -> Job:
    """An invalid job that runs still uses what its pods use: count that, from the Deployment's own template. Of its
    spec nothing counts."""
    needed = around.deployment.asked.requests if around.deployment is not None else ONE_POD
    resources = accelerator_resources(needed)
    resource = resources[0] if resources else CPU
    return Job(
        key=job.key,
        uid=job.uid,
        created=job.created,
        steps=(),
        resource=resource,
        per_replica=count_of(resource, needed),
        requests=needed,
        held=job.held,
        completed=job.completed,
        retried=job.retried,
        generation=job.generation,
        observed_generation=job.observed_generation,
        workload=job.workload,
        pods=job.pods,
        block=Block("Invalid", error),
        namespace_labels=job.namespace_labels,
        memory=job.memory,
    )


def _needed(facts: JobFacts, around: Surroundings) -> tuple[Asked, Block | None]:
    """What the pod template that counts asks, and why a referenced workload may not be touched."""
    if facts.template is not None:
        return facts.template.asked, None
    name = facts.reference
    if around.deployment is None:
        message = f"there is no Deployment {name!r} in namespace {facts.key.namespace!r}"
        return NOTHING, Block("WorkloadNotFound", message)
    if not around.deployment.managed:
        message = f'Deployment {name!r} does not carry the label apportion.dev/managed: "true"'
        return around.deployment.asked, Block("WorkloadNotManaged", message)
    return around.deployment.asked, None


class _Contradiction(Exception):
    """The spec says of its accelerators what the template denies."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"spec.accelerators.{field}: {message}")


def _shape(facts: JobFacts, pod: Asked, catalog: Sequence[Flavor]) -> Shape:
    """The template counts; a spec that contradicts it is invalid."""
    needed = pod.requests
    if pod is NOTHING:
        return Shape(facts.resource or CPU, facts.per_replica or 1, needed)
    resources = accelerator_resources(needed)
    listed = {flavor.resource for flavor in catalog}
    usual = [name for name in resources if known(name) or name in listed]
    if facts.resource is None:
        candidates = usual or resources
        if len(candidates) > 1:
            raise _Contradiction(
                "resource", f"expected to be given: the template asks for several ({', '.join(candidates)})"
            )
        resource = candidates[0] if candidates else CPU
    else:
        resource = facts.resource
        if resource != CPU and resource not in resources:
            there = ", ".join(resources) or "no accelerator"
            raise _Contradiction("resource", f"the template counts, and asks for {there}, not for {resource}")
    count = count_of(resource, needed)
    if facts.per_replica is not None and facts.per_replica != count:
        raise _Contradiction(
            "perReplica", f"the template counts, and asks for {count} {resource}, not {facts.per_replica}"
        )
    return Shape(resource, count, needed)


def count_of(resource: str, needed: Amounts) -> int:
    """Accelerators of one replica; cpu in whole cores, at least one."""
    amount = needed.get(resource, 0)
    return max(1, -(-amount // 1000)) if resource == CPU else max(1, amount)


def _priority(name: str, around: Surroundings) -> tuple[int, Block | None]:
    if not name:
        return 0, None
    found = around.priority_classes.get(name)
    if found is None:
        return 0, Block("PriorityClassNotFound", f"there is no PriorityClass {name!r}")
    return found.value, None


def _curve(spec: TrainingJobSpec) -> Curve:
    scaling = spec.scaling
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


def _target(spec: TrainingJobSpec) -> Target | None:
    if spec.target is None:
        return None
    return Target(spec.target.throughput, spec.target.deadline, spec.target.work or 0.0)


def _float(value: object) -> float | None:
    return None if value is None else float(str(value))


def _warnings(needed: Asked, around: Surroundings) -> tuple[Block, ...]:
    found = [
        Block("UnmodelledConstraint", f"the pod template has {constraint}: pods may stay Pending for it")
        for constraint in needed.unmodelled
    ]
    named = needed.priority_class
    if around.deployment is not None and not around.deployment.workload.owned and named:
        priority_class = around.priority_classes.get(named)
        if priority_class is not None and priority_class.preempts:
            found.append(
                Block("CanPreempt", f"PriorityClass {named!r} of the pod template can preempt other pods' accelerators")
            )
    return tuple(found)
