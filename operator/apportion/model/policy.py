"""The AllocationPolicy's settings, with the defaults that hold where no policy object exists."""

from dataclasses import dataclass
from enum import StrEnum

from apportion.model.flavors import Flavor

ANY_QUEUE = "*"


class Mode(StrEnum):
    ENFORCE = "Enforce"
    OBSERVE = "Observe"
    FREEZE = "Freeze"


class Defragmentation(StrEnum):
    """May running jobs be moved so that a gang which fits by count fits by shape as well?"""

    DISABLED = "Disabled"
    ENABLED = "Enabled"


class Aim(StrEnum):
    """What is optimised once it is settled who runs; x is a job's rate over that at its minimum, w its weight.

    ProportionalFair: the sum of w (B + U(x)). MaxThroughput: the sum of w x. MaxMinFair: the least x / w, then the
    next, and so on (leximin); what that leaves open, as ProportionalFair. MinCost: the least money per hour for which
    everybody who runs has at least the minimum, and its target if it has one that it can reach.
    """

    PROPORTIONAL_FAIR = "ProportionalFair"
    MAX_THROUGHPUT = "MaxThroughput"
    MAX_MIN_FAIR = "MaxMinFair"
    MIN_COST = "MinCost"


@dataclass(frozen=True)
class Objective:
    """U(x) = (x^p - 1) / p, log x for p = 0; B is what being admitted is worth, under every aim (optimizer.md)."""

    exponent: float = -0.5
    admission_worth: float = 0.2
    size_exponent: float = 0.0
    name: Aim = Aim.PROPORTIONAL_FAIR


@dataclass(frozen=True)
class Shadow:
    """A policy that decides beside the enforcing one and changes nothing; but for the objective it is the same."""

    name: str
    objective: Objective


@dataclass(frozen=True)
class QueueChurn:
    """What restarts of one queue's jobs may cost; "*" is every queue that has no entry of its own, each by itself."""

    queue: str
    seconds: float


@dataclass(frozen=True)
class ChurnBudget:
    """Restart-seconds that changes by value may cost within an hour, in all (None: no limit) and by queue."""

    seconds: float | None = None
    queues: tuple[QueueChurn, ...] = ()

    def of_queue(self, name: str) -> float | None:
        """The limit of this queue; None: it has none."""
        named = {entry.queue: entry.seconds for entry in self.queues}
        return named.get(name, named.get(ANY_QUEUE))


NO_BUDGET = ChurnBudget()


@dataclass(frozen=True)
class Stability:
    change_margin: float = 0.1
    expected_hold_seconds: float = 1800.0
    fewest_moves_within: float = 0.001
    churn: ChurnBudget = NO_BUDGET


@dataclass(frozen=True)
class SolverLimits:
    """`methods` are tried in this order; the greedy plan needs no solver and never fails."""

    time_limit_seconds: float = 10.0
    gap: float = 0.001
    methods: tuple[str, ...] = ("highs", "cbc", "greedy")


@dataclass(frozen=True)
class Prometheus:
    """Where rates are asked for; "" as token file: without authorisation."""

    url: str
    token_file: str = ""


@dataclass(frozen=True)
class Policy:
    """`flavors` is the catalog: it overrides discovered flavors and adds others.

    budget_per_hour and power_cap_watts are of all jobs together; None: no limit.
    """

    name: str = "default"
    mode: Mode = Mode.ENFORCE
    objective: Objective = Objective()
    stability: Stability = Stability()
    defragmentation: Defragmentation = Defragmentation.DISABLED
    flavors: tuple[Flavor, ...] = ()
    solver: SolverLimits = SolverLimits()
    budget_per_hour: float | None = None
    power_cap_watts: float | None = None
    prometheus: Prometheus | None = None
    shadows: tuple[Shadow, ...] = ()
    uid: str = ""
    generation: int = 1
