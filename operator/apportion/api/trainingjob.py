"""TrainingJob: what one training run asks for."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from apportion.api.base import Path, Rule, Wire, refusal
from apportion.api.common import Metadata, NodeRequirement
from apportion.api.jobstatus import TrainingJobStatus
from apportion.api.scalars import (
    MOST_OF_A_KIND,
    Amount,
    FlavorName,
    Listed,
    NamedList,
    ObjectName,
    PositiveAmount,
    PositiveNumber,
    PromQl,
    QualifiedName,
    Replicas,
    Timestamp,
)


def _pod_template(template: dict[str, Any]) -> dict[str, Any]:
    """Only what would make every use of it fail; the rest is for the API server when the Deployment is written."""
    spec = template.get("spec")
    if not isinstance(spec, dict):
        raise refusal("expected a mapping with the pod's containers", ("spec",))
    containers = spec.get("containers")
    if not isinstance(containers, list) or not 1 <= len(containers) <= MOST_OF_A_KIND:
        raise refusal(f"expected a list of 1 to {MOST_OF_A_KIND} containers", ("spec", "containers"))
    for index, container in enumerate(containers):
        if not isinstance(container, dict):
            raise refusal("expected a mapping", ("spec", "containers", index))
    if spec.get("restartPolicy") not in (None, "Always"):
        raise refusal("expected Always: a Deployment takes no other", ("spec", "restartPolicy"))
    metadata = template.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise refusal("expected a mapping", ("metadata",))
    return template


_ANYTHING: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

# The whole PodTemplateSpec, written out with its descriptions, would pass what `kubectl apply` can annotate.
PodTemplate = Annotated[
    dict[str, Any],
    AfterValidator(_pod_template),
    WithJsonSchema(
        {
            **_ANYTHING,
            "required": ["spec"],
            "properties": {
                "metadata": {**_ANYTHING, "description": "Labels and annotations of the pods."},
                "spec": {
                    **_ANYTHING,
                    "description": "The pod's spec, as in a Deployment.",
                    "required": ["containers"],
                    "properties": {
                        "containers": {
                            "type": "array",
                            "description": "The pod's containers; the first is the main one, whose end is the run's.",
                            "minItems": 1,
                            "maxItems": MOST_OF_A_KIND,
                            "items": _ANYTHING,
                        },
                        "restartPolicy": {
                            "type": "string",
                            "description": "Always, or absent: a Deployment takes no other.",
                            "enum": ["Always"],
                        },
                    },
                },
            },
        }
    ),
]


class FlavorChoice(Wire):
    """One accelerator flavor that the job accepts."""

    name: FlavorName
    """The flavor, as AllocationPolicy or discovery names it."""
    speed: PositiveAmount | None = None
    """How fast this job runs on it, relative to its others; a number or a decimal string. Absent: the flavor's."""


class Accelerators(Wire):
    """Which accelerators a replica needs. The pod template's requests count; a contradiction makes the job Invalid."""

    resource: QualifiedName | None = None
    """The extended resource. Absent: the one accelerator that the template asks for; cpu if it asks for none."""
    per_replica: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Accelerators of one replica. Absent: from the template."""
    flavors: NamedList[FlavorChoice] | None = None
    """The only flavors that the job may run on. Absent: every flavor of the resource."""
    requirements: Listed[NodeRequirement] = ()
    """What a node's labels must say, all of it, in node-affinity syntax."""


class WorkloadRef(Wire):
    """A workload in the job's namespace."""

    api_version: Literal["apps/v1"] = "apps/v1"
    """The workload's API version."""
    kind: Literal["Deployment"] = "Deployment"
    """The workload's kind."""
    name: ObjectName
    """The workload's name. It must carry the label apportion.dev/managed: "true": its editor agrees."""


class Point(Wire):
    """A measured or known rate."""

    replicas: Replicas
    """The number of replicas."""
    rate: PositiveAmount
    """Work per second at that number, in any unit (samples, tokens, steps); a number or a decimal string."""
    flavor: FlavorName | None = None
    """The flavor that the rate was measured on. Absent: the shape holds for all."""


class Usl(Wire):
    """The Universal Scalability Law: rate(R) = lambda R / (1 + sigma (R - 1) + kappa R (R - 1))."""

    lambda_: Annotated[PositiveAmount, Field(alias="lambda")]
    """Rate of one replica; a number or a decimal string."""
    sigma: Amount
    """Contention: what is serial; a number or a decimal string."""
    kappa: Amount
    """Crosstalk: what grows with every pair of replicas; a number or a decimal string."""


class Metrics(Wire):
    """Where the job's own measurements are: PromQL for the Prometheus of the AllocationPolicy's metricsSource."""

    query: PromQl | None = None
    """Returns one series: work per second of the whole job now, in the unit of points, usl and target. Absent: the
    annotation apportion.dev/throughput, if there is one."""
    progress_query: PromQl | None = None
    """Returns one series: the part of the work that is done, from 0 to 1. Absent: the annotation
    apportion.dev/progress, if there is one."""


def _repeated_point(scaling: "Scaling") -> Path | None:
    seen = set()
    for index, point in enumerate(scaling.points):
        if (point.replicas, point.flavor) in seen:
            return ("points", index)
        seen.add((point.replicas, point.flavor))
    return None


class Scaling(Wire):
    """How throughput grows with replicas."""

    mode: Literal["PerReplicaBatch", "GlobalBatch"] = "PerReplicaBatch"
    """What stays the same when replicas are added: each one's batch (scales well) or the global one (scales worse)."""
    points: Listed[Point] = ()
    """Declared rates; in between is interpolated, beyond the last one nothing is gained. They count before usl."""
    usl: Usl | None = None
    """A declared curve."""
    metrics: Metrics = Metrics()
    """Where the job's rate and progress are measured."""

    rules = (
        Rule(
            "!has(self.points) || self.points.all(p, self.points.exists_one(q, q.replicas == p.replicas && "
            "(has(q.flavor) ? q.flavor : '') == (has(p.flavor) ? p.flavor : '')))",
            "points must name each number of replicas once for a flavor",
            _repeated_point,
        ),
    )


class Target(Wire):
    """What the job wants instead of as much as it can get."""

    throughput: PositiveNumber | None = None
    """Work per second, in the unit that its rate is measured or declared in: more than that is worth nothing to it."""
    deadline: Timestamp | None = None
    """When the work should be done: the job gets what that takes, and no more."""
    work: PositiveNumber | None = None
    """The whole work, in the unit of the rate times seconds (samples, tokens, steps). Without a deadline: of
    the jobs of its queue that tell theirs, those with less left go before those with more."""

    rules = (
        Rule(
            "!has(self.deadline) || has(self.work)",
            "a deadline needs work",
            lambda target: ("work",) if target.deadline is not None and target.work is None else None,
        ),
        Rule(
            "has(self.throughput) != has(self.work)",
            "exactly one of throughput and work must be given",
            lambda target: ("throughput",) if (target.throughput is None) == (target.work is None) else None,
        ),
    )


def _minimum_above_maximum(spec: "TrainingJobSpec") -> Path | None:
    return ("minReplicas",) if spec.min_replicas > spec.max_replicas else None


def _step_outside(spec: "TrainingJobSpec") -> Path | None:
    for index, step in enumerate(spec.replica_steps or ()):
        if not spec.min_replicas <= step <= spec.max_replicas:
            return ("replicaSteps", index)
    return None


def _step_not_rising(spec: "TrainingJobSpec") -> Path | None:
    steps = spec.replica_steps or ()
    for index in range(1, len(steps)):
        if steps[index] <= steps[index - 1]:
            return ("replicaSteps", index)
    return None


def _not_one_workload(spec: "TrainingJobSpec") -> Path | None:
    return ("workloadRef",) if (spec.workload_ref is None) == (spec.template is None) else None


class TrainingJobSpec(Wire):
    """What the job asks for."""

    queue_name: ObjectName | None = None
    """The Queue that pays. Absent: the Queue named default; where there is no Queue at all, there are no quotas."""
    priority_class_name: ObjectName | None = None
    """A Kubernetes PriorityClass; its value orders jobs inside a queue. Absent: 0."""
    suspend: bool = False
    """True: the job gets nothing, and its accelerators go to others."""
    preemptible: bool = True
    """False: the job never loses its minimum to anybody, and never borrows from other queues."""
    min_replicas: Replicas = 1
    """The gang: the job gets at least so many replicas, or none."""
    max_replicas: Replicas
    """The most replicas that the job can use."""
    replica_steps: Annotated[Listed[Replicas], Field(min_length=1)] | None = None
    """The only numbers of replicas that it can use, rising. Absent: every number from minReplicas to maxReplicas."""
    accelerators: Accelerators = Accelerators()
    """Which accelerators a replica needs."""
    workload_ref: WorkloadRef | None = None
    """An existing Deployment to size. Exactly one of workloadRef and template is given; which one cannot change."""
    template: PodTemplate | None = None
    """The pod template of a Deployment that Apportion creates and owns. Its containers' restartPolicy is Always."""
    scaling: Scaling = Scaling()
    """How throughput grows with replicas, as far as it is known."""
    target: Target | None = None
    """A goal to serve: a rate, or a deadline. Absent: the faster the better."""
    restart_seconds: Annotated[int, Field(ge=0, le=86_400)] = 60
    """What any change of replicas costs: seconds until the work goes on. Where the rate is measured, so is this; what
    is measured counts from a quarter to four times as much as this."""
    min_runtime_seconds: Annotated[int, Field(ge=0, le=604_800)] = 300
    """How long an admission is left alone by jobs of an equal or higher priority class."""
    placement_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    """How long granted pods may stay Pending before the grant is given back and the place avoided for a while."""
    failure_limit: Annotated[int, Field(ge=1, le=1000)] = 6
    """After so many container restarts without becoming ready the job is Failed."""
    completion_policy: Literal["OnExitZero", "Never"] = "OnExitZero"
    """OnExitZero: the job has succeeded when every pod's main container ended with exit code 0. Never: for services."""

    rules = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not be above maxReplicas",
            _minimum_above_maximum,
        ),
        Rule(
            "!has(self.replicaSteps) || self.replicaSteps.all(n, n >= self.minReplicas && n <= self.maxReplicas)",
            "every element of replicaSteps must lie between minReplicas and maxReplicas",
            _step_outside,
        ),
        Rule(
            "!has(self.replicaSteps) || (self.replicaSteps.isSorted() && "
            "self.replicaSteps.all(n, self.replicaSteps.exists_one(m, m == n)))",
            "replicaSteps must rise, without repeats",
            _step_not_rising,
        ),
        Rule(
            "has(self.workloadRef) != has(self.template)",
            "exactly one of workloadRef and template must be given",
            _not_one_workload,
        ),
        Rule(
            "has(self.template) == has(oldSelf.template)",
            "which of workloadRef and template is given cannot change; create another TrainingJob",
        ),
        # Another Deployment in the same job would leave the first one behind at its size, with nobody to shrink it.
        Rule(
            "!has(self.workloadRef) || !has(oldSelf.workloadRef) || self.workloadRef.name == oldSelf.workloadRef.name",
            "workloadRef.name cannot change; create another TrainingJob",
        ),
    )


def _long_name(job: "TrainingJob") -> Path | None:
    return ("metadata", "name") if len(job.metadata.name) > 63 else None


class TrainingJob(Wire):
    """A training run that can use more or fewer replicas. Apportion decides, for all jobs of the cluster together,
    how many it gets and on which accelerator. The right to create TrainingJobs in a namespace equals the right to
    create Deployments there: a template becomes one."""

    metadata: Metadata
    spec: TrainingJobSpec
    """What the job asks for."""
    status: TrainingJobStatus = TrainingJobStatus()
    """What the operator says and remembers of the job."""

    rules = (
        Rule(
            "self.metadata.name.size() <= 63",
            "metadata.name must have at most 63 characters: it becomes the value of a label",
            _long_name,
        ),
    )
