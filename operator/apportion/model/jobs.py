"""Training jobs as the planner sees them: what they ask, what runs, what was granted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from apportion.model.curves import PER_REPLICA_BATCH, Curve
from apportion.model.measured import NO_RECORD, Record
from apportion.model.resources import Amounts
from apportion.model.selection import ANY_NODE, NodeChoice

Conditions = tuple["Condition", ...]
MOST_STEPS = 64


class JobKey(NamedTuple):
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Condition:
    """A status condition; `since` in seconds of the epoch."""

    type: str
    status: bool
    reason: str
    message: str
    since: float


@dataclass(frozen=True, slots=True)
class Admission:
    """What was granted: the planner's memory. A grant that is not bound yet is reserved for its job.

    new_nodes: how many nodes that did not exist yet its pods wait for at most; 0 once all of them are bound.
    """

    flavor: str
    replicas: int
    round: int
    since: float
    new_nodes: int = 0


@dataclass(frozen=True, slots=True)
class Backoff:
    """A flavor where this job's pods could not be placed, left out until then; `failures` doubles the wait."""

    flavor: str
    failures: int
    until: float


@dataclass(frozen=True, slots=True)
class Displaced:
    """The job gave up places so that a gang fits, and gets them back elsewhere.

    by: the gang, as namespace/name. flavor and replicas are what the job had; its minimum is promised to it on.
    """

    by: str
    flavor: str
    replicas: int
    since: float


@dataclass(frozen=True, slots=True)
class Pod:
    """One replica that exists. Times in seconds of the epoch.

    `exit_code` is of the main container's last own end (None: it has not ended), `exited_at` when that was.
    """

    name: str
    uid: str
    node: str | None
    requests: Amounts
    created: float
    phase: str = "Running"
    ready: bool = False
    terminating: bool = False
    restarts: int = 0
    exit_code: int | None = None
    exited_at: float | None = None
    waiting_reason: str = ""
    unschedulable: str = ""
    deletion_cost: int = 0
    ready_since: float | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """The Deployment behind a job as it stands in the API server.

    flavor, decision and granted are what our annotations on it say (None: never written by us); `pins` is what we
    added to its template, as JSON; `editor` is the field manager that last wrote its replicas; `refusal` is the
    message with which the API server refused its pods; `recreate`: all old pods go before new ones start.
    """

    name: str
    uid: str
    replicas: int
    owned: bool
    flavor: str | None = None
    decision: str | None = None
    granted: int | None = None
    template_hash: str = ""
    pins: str = ""
    has_annotations: bool = False
    editor: str = ""
    refusal: str = ""
    recreate: bool = False

    def never_told(self, admission: Admission) -> bool:
        """Was this grant decided and not written to it yet?"""
        return self.decision != str(admission.round)


@dataclass(frozen=True, slots=True)
class Block:
    """Why a job is not for the optimizer now: a CamelCase reason and a sentence; `field` for an invalid spec."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class FlavorChoice:
    """An entry of the job's allow-list; speed None: the flavor's own."""

    name: str
    speed: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What a job wants instead of as much as it can get: a rate, or `work` done by `deadline`, a time of the epoch.

    Without a deadline the work is no limit; it only tells how much there is to do.
    """

    throughput: float | None = None
    deadline: float | None = None
    work: float = 0.0


@dataclass(frozen=True, slots=True)
class Enough:
    """On `flavor` a rate of `rate` is all that the job wants: it and everything above it count as `counts_as`."""

    flavor: str
    rate: float
    counts_as: float


@dataclass(frozen=True, slots=True)
class Job:
    """One TrainingJob with its workload and its pods.

    `requests` is one replica's whole pod request (accelerators, cpu, memory, one pod); `per_replica` counts
    accelerators (for cpu: whole cores). `steps` are the admissible counts in rising order; `listed`: its object lists
    them, and keeps the list whatever becomes of its minimum and maximum. `block` is set by the translation where the
    object cannot be decided on (Invalid, WorkloadNotFound, ...). `template_hash` is of the owned pod template as asked
    now; `retried` is the value of the annotation apportion.dev/retry; `refusal` is what the API server answered in the
    last round when it refused to create or change the job's Deployment. `declared`: the curve is the owner's own word;
    else it is what is usual, until something was measured.
    `unmeasured` is why its rate cannot be observed. Written by the planner: `enough`, what its target comes to in this
    round, and `favour`, its weight over that of a job of its queue that says nothing of its work.
    """

    key: JobKey
    uid: str
    created: float
    steps: tuple[int, ...]
    resource: str
    per_replica: int
    requests: Amounts
    listed: bool = False
    queue_name: str | None = None
    priority: int = 0
    priority_class: str = ""
    preemptible: bool = True
    suspended: bool = False
    held: bool = False
    completed: bool = False
    retried: str = ""
    generation: int = 1
    observed_generation: int = 0
    flavors: tuple[FlavorChoice, ...] | None = None
    nodes: NodeChoice = ANY_NODE
    curve: Curve = PER_REPLICA_BATCH
    declared: bool = False
    target: Target | None = None
    enough: tuple[Enough, ...] = ()
    favour: float = 1.0
    unmeasured: Block | None = None
    restart_seconds: float = 60.0
    min_runtime_seconds: float = 300.0
    placement_timeout_seconds: float = 60.0
    failure_limit: int = 6
    complete_on_exit_zero: bool = True
    workload: Workload | None = None
    template_hash: str = ""
    refusal: str = ""
    pods: tuple[Pod, ...] = ()
    block: Block | None = None
    warnings: tuple[Block, ...] = ()
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    memory: "Memory" = field(default_factory=lambda: Memory())

    @property
    def minimum(self) -> int:
        return self.steps[0] if self.steps else 0

    @property
    def maximum(self) -> int:
        return self.steps[-1] if self.steps else 0

    @property
    def minimum_accelerators(self) -> int:
        """What it cannot run without; 0 without steps."""
        return self.minimum * self.per_replica

    @property
    def admission(self) -> Admission | None:
        return self.memory.admission

    @property
    def waiting_since(self) -> float:
        """When it was queued, or came, in seconds of the epoch."""
        return self.created if self.memory.queued_since is None else self.memory.queued_since

    @property
    def runs_until(self) -> float:
        """The end of the minRuntime of its admission, in seconds of the epoch; it lies at the beginning without one."""
        admission = self.memory.admission
        return float("-inf") if admission is None else admission.since + self.min_runtime_seconds


@dataclass(frozen=True, slots=True)
class Memory:
    """What status remembers of a job between rounds; everything else is derived.

    ready_restarts: container restarts of the worst pod when all pods were ready last; what came after are failures.
    reverts: when somebody undid our patch, in seconds of the epoch.
    restarted_at: when the operator restarted the job, as far back as the churn budget looks, oldest first.
    displaced: until it has again what it gave up for a gang.
    record: what was measured of it. throughput: (expected, observed) rate at what it has, where both are known.
    """

    phase: str = ""
    admission: Admission | None = None
    replicas: int = 0
    restarts: int = 0
    restarted_at: tuple[float, ...] = ()
    displaced: Displaced | None = None
    ready_restarts: int = 0
    reverts: tuple[float, ...] = ()
    retried: str = ""
    queued_since: float | None = None
    backoff: tuple[Backoff, ...] = ()
    conditions: Conditions = ()
    message: str = ""
    record: Record = NO_RECORD
    throughput: tuple[float, float] | None = None

    def refused(self, flavor: str, now: float) -> Condition | None:
        """What the API server answered when it refused the Deployment on `flavor`, while that is not tried again."""
        said = next((c for c in self.conditions if c.type == "Degraded" and c.status), None)
        if said is None or said.reason != "WorkloadRefused":
            return None
        return said if any(entry.flavor == flavor and now < entry.until for entry in self.backoff) else None


@lru_cache(maxsize=1024)
def steps_between(low: int, high: int) -> tuple[int, ...]:
    """Every count, or at most 64 of them in geometric distance, both ends kept."""
    if high - low < MOST_STEPS:
        return tuple(range(low, high + 1))
    ratio = (high / low) ** (1 / (MOST_STEPS - 1))
    counts = {low, high, *(round(low * ratio**index) for index in range(MOST_STEPS))}
    return tuple(sorted(count for count in counts if low <= count <= high))
