"""AllocationPolicy: how the cluster is divided, and what there is to divide."""

from typing import Annotated, Literal

from pydantic import Field

from apportion.api.base import Path, Rule, Wire
from apportion.api.common import Budget, CapUse, Condition, Metadata
from apportion.api.names import POLICY_NAME
from apportion.api.scalars import (
    SUBDOMAIN,
    Amount,
    ByType,
    CapWatts,
    Count,
    FewNamed,
    FlavorName,
    Generation,
    Labels,
    LabelValue,
    Listed,
    NamedList,
    PositiveAmount,
    QualifiedName,
    Reported,
    Watts,
)

Share = Annotated[float, Field(ge=0, le=1)]
Value = Annotated[float, Field(ge=-1e15, le=1e15)]


class Objective(Wire):
    """What is optimised once it is settled who runs (promises, then priority classes, by admission worth). x is a job's
    throughput relative to that at its minimum, w its queue's weight divided among the queue's active jobs."""

    name: Literal["ProportionalFair", "MaxThroughput", "MaxMinFair", "MinCost"] = "ProportionalFair"
    """ProportionalFair: the sum of w * (admission worth + U(x)), U(x) = (x^exponent - 1) / exponent. MaxThroughput: the
    sum of w * x. MaxMinFair: the least x / w, then the next, and so on. MinCost: the least money per hour for which
    everybody who runs has at least the minimum, and its target where it has one that it can reach."""
    exponent: Annotated[float, Field(ge=-4, le=1)] = -0.5
    """How fast more is worth less: 1 not at all (throughput alone), 0 the logarithm, below 0 faster."""
    admission_worth: Annotated[float, Field(gt=0, le=1000)] = 0.2
    """What it is worth that a job runs at all, at its minimum."""
    size_exponent: Annotated[float, Field(ge=0, le=2)] = 0.0
    """How that worth grows with the minimum's accelerators: 0 prefers many small jobs, 1 is indifferent to size."""


RestartSeconds = Annotated[int, Field(ge=0, le=1_000_000_000)]
QueueOrAny = Annotated[str, Field(min_length=1, max_length=253, pattern=rf"^(\*|{SUBDOMAIN})$")]


class QueueChurn(Wire):
    """What restarts of one queue's jobs may cost."""

    name: QueueOrAny
    """The Queue, or "*" for every Queue that is not listed, each by itself."""
    restart_seconds_per_hour: RestartSeconds
    """The most restart-seconds within any hour; 0: its jobs are never restarted for a better plan."""


class ChurnBudget(Wire):
    """How much restarting there may be for the sake of a better plan. A restart costs its job's restartSeconds. Where
    the budget is spent, jobs keep what they have. What is stronger (a queue that takes back its nominal quota, a higher
    priority class, lost capacity, suspend, completion) is never held back; its restarts count."""

    restart_seconds_per_hour: RestartSeconds | None = None
    """The most restart-seconds within any hour, of all jobs together. Absent: no limit."""
    queues: NamedList[QueueChurn] = ()
    """The most of single Queues, beside the limit of all."""


class Stability(Wire):
    """When a change is worth its restart."""

    change_margin: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """What a change must gain beyond its cost, as a fraction."""
    expected_hold_seconds: Annotated[int, Field(ge=1, le=604_800)] = 1800
    """How long a change is expected to last; its restart is set against this time."""
    fewest_moves_within: Share = 0.001
    """The fraction of the value that may be given up for fewer changes."""
    churn_budget: ChurnBudget = ChurnBudget()
    """How much restarting there may be for the sake of a better plan."""


class Toleration(Wire):
    """A taint that pods of the flavor tolerate."""

    key: QualifiedName | None = None
    """The taint's key. Absent, with operator Exists: every taint."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Equal compares the value; Exists takes any."""
    value: LabelValue | None = None
    """The taint's value, for Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect. Absent: all."""

    rules = (
        Rule(
            "has(self.key) || self.operator == 'Exists'",
            "a toleration without a key needs the operator Exists",
            lambda toleration: None if toleration.key or toleration.operator == "Exists" else ("operator",),
        ),
        Rule(
            "self.operator != 'Exists' || !has(self.value) || self.value == ''",
            "a toleration with the operator Exists takes no value",
            lambda toleration: ("value",) if toleration.operator == "Exists" and toleration.value else None,
        ),
    )


def _selector_without_resource(flavor: "Flavor") -> Path | None:
    return ("resource",) if flavor.node_selector and flavor.resource is None else None


def _idle_above_full(flavor: "Flavor") -> Path | None:
    if flavor.watts is None or flavor.idle_watts is None or flavor.idle_watts <= flavor.watts:
        return None
    return ("idleWatts",)


class Provisionable(Wire):
    """Nodes of a flavor that cluster-autoscaler or Karpenter adds when pods are Pending for them."""

    max_nodes: Annotated[int, Field(ge=0, le=100_000)]
    """How many nodes of the flavor there may be, those that exist included; as the autoscaler's own limit."""
    accelerators_per_node: Annotated[int, Field(ge=1, le=100_000)]
    """Accelerators of one new node."""
    provisioning_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    """How long granted pods wait for new nodes before the grant is given back and the flavor avoided for a while."""
    least_yield: Share = 0.2
    """The work that an accelerator of a new node must do for its money and after the wait, as a fraction of that of an
    accelerator of the job's minimum."""


def _unknown_nodes(flavor: "Flavor") -> Path | None:
    if flavor.provisionable is None or (flavor.resource is not None and flavor.node_selector):
        return None
    return ("provisionable",)


class Flavor(Wire):
    """A kind of accelerator: a new one, or what is to be known of a discovered one with this name."""

    name: FlavorName
    """The name that jobs and queues use."""
    resource: QualifiedName | None = None
    """The extended resource, any. Absent: that of the discovered flavor with this name."""
    node_selector: Labels = Field(default_factory=dict)
    """The labels of its nodes. Absent: those of the discovered flavor, or every node with the resource."""
    tolerations: Listed[Toleration] = ()
    """Tolerations that its pods are given."""
    price_per_hour: Amount | None = None
    """Price of one accelerator for an hour, in any currency; a number or a decimal string."""
    watts: Watts | None = None
    """Power of one busy accelerator."""
    idle_watts: Watts | None = None
    """Power of one idle accelerator."""
    speed: PositiveAmount | None = None
    """How fast it is, relative to the others, for jobs that say nothing; a number or a decimal string. Absent: 1."""
    provisionable: Provisionable | None = None
    """Nodes of it may be added. Absent: there are those that exist."""

    rules = (
        Rule(
            "!has(self.nodeSelector) || size(self.nodeSelector) == 0 || has(self.resource)",
            "a flavor with a nodeSelector needs its resource",
            _selector_without_resource,
        ),
        Rule(
            "!has(self.watts) || !has(self.idleWatts) || self.idleWatts <= self.watts",
            "idleWatts must not be above watts",
            _idle_above_full,
        ),
        Rule(
            "!has(self.provisionable) || (has(self.resource) && has(self.nodeSelector) && size(self.nodeSelector) > 0)",
            "a provisionable flavor needs its resource and its nodeSelector: there may be no node yet to tell them",
            _unknown_nodes,
        ),
    )


class Solver(Wire):
    """How long and how exactly to solve."""

    time_limit_seconds: Annotated[int, Field(ge=1, le=300)] = 10
    """After this time the best plan found so far is used, with its gap."""
    gap: Share = 0.001
    """A plan that is proved to be so close to the best, as a fraction, is good enough."""


class Prometheus(Wire):
    """A Prometheus server, or what answers as one."""

    url: Annotated[str, Field(min_length=8, max_length=1024, pattern=r"^https?://[^\s?#]+$")]
    """Its address, without /api: http://prometheus.monitoring:9090."""
    bearer_token_file: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/.*$")] | None = None
    """A file of the operator's container whose content authorises the queries; it is read again for each of them."""


class MetricsSource(Wire):
    """Where the queries of TrainingJobs are asked."""

    prometheus: Prometheus | None = None
    """A Prometheus server. Absent: only annotations tell how fast jobs are."""


class Shadow(Wire):
    """A policy that decides beside the enforcing one, from the same snapshots, and changes nothing. It differs in the
    objective alone."""

    name: FlavorName
    """The name in metrics and recorded rounds."""
    objective: Objective = Objective()
    """What it maximises."""


class AllocationPolicySpec(Wire):
    """How the cluster is divided."""

    mode: Literal["Enforce", "Observe", "Freeze"] = "Enforce"
    """Enforce: decide and act. Observe: decide and explain, patch nothing. Freeze: admit and change nothing."""
    objective: Objective = Objective()
    """What is maximised."""
    stability: Stability = Stability()
    """When a change is worth its restart."""
    defragmentation: Literal["Disabled", "Enabled"] = "Disabled"
    """Enabled: where a waiting gang fits by count but not by shape, running jobs are moved to make room for it, if that
    is worth their restarts."""
    flavors: NamedList[Flavor] = ()
    """Accelerator flavors that are added to the discovered ones, or say more about them."""
    budget: Budget | None = None
    """Money for all jobs together. Absent: no limit. What must keep running keeps running even if it costs more."""
    power_cap_watts: CapWatts | None = None
    """The most that all granted accelerators together may draw, in watts; idle ones are not counted. Absent: no
    limit. What must keep running keeps running even if it draws more."""
    solver: Solver = Solver()
    """How long and how exactly to solve."""
    metrics_source: MetricsSource = MetricsSource()
    """Where the queries of TrainingJobs are asked."""
    shadow: FewNamed[Shadow] = ()
    """Policies that decide beside this one and change nothing: metrics and recorded rounds say what they would do."""


class FlavorPrice(Wire):
    """The shadow price of a flavor."""

    flavor: FlavorName
    """The flavor."""
    price: Annotated[float, Field(ge=0, le=1e15)]
    """What one more accelerator of it would be worth, in the objective's unit."""


class AllocationPolicyStatus(Wire):
    """The last decision."""

    round: Count = 0
    """Number of the last round that changed something."""
    objective: Value | None = None
    """The value of the plan."""
    bound: Value | None = None
    """No plan can be worth more."""
    gap: Annotated[float, Field(ge=0, le=1e15)] | None = None
    """(bound - objective) / objective: how far from the best the plan can be at most."""
    mode: Literal["Enforce", "Observe", "Freeze"] | None = None
    """The mode that the last round obeyed."""
    prices: Reported[FlavorPrice] = ()
    """Shadow prices by flavor."""
    budget: CapUse | None = None
    """Money per hour of all jobs, where spec.budget is set."""
    power: CapUse | None = None
    """Watts of all jobs, where spec.powerCapWatts is set."""
    jain_index: Share | None = None
    """Jain's fairness index of x (throughput relative to that at the minimum) over all jobs that run or wait: 1 where
    all have as much, 1/n where one of n has everything. Absent: there are none."""
    observed_generation: Generation | None = None
    """The metadata.generation that this status was made from."""
    conditions: ByType[Condition] = ()
    """Standard conditions."""


class AllocationPolicy(Wire):
    """How Apportion divides the cluster's accelerators. There is one, named default; without it the defaults hold."""

    metadata: Metadata
    spec: AllocationPolicySpec = AllocationPolicySpec()
    """How the cluster is divided."""
    status: AllocationPolicyStatus = AllocationPolicyStatus()
    """The last decision."""

    rules = (
        Rule(
            f"self.metadata.name == '{POLICY_NAME}'",
            f"metadata.name must be {POLICY_NAME}: there is one AllocationPolicy",
            lambda policy: None if policy.metadata.name == POLICY_NAME else ("metadata", "name"),
        ),
    )
