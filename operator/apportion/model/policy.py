"""The AllocationPolicy's settings, with the defaults that hold where no policy object exists."""

from dataclasses import dataclass
from enum import StrEnum

from apportion.model.flavors import Flavor

ANY_QUEUE = "*"


class Mode(StrEnum):
    ENFORCE = "Enforce"
    OBSERVE = "Observe"
    FREEZE = "Freeze"


@dataclass(frozen=True)
class Objective:
    """u = w (B + U(x)), U(x) = (x^p - 1) / p, log x for p = 0 (optimizer.md, "Value of an option")."""

    exponent: float = -0.5
    admission_worth: float = 0.2
    size_exponent: float = 0.0


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
class Policy:
    """`flavors` is the catalog: it overrides discovered flavors and adds others."""

    name: str = "default"
    mode: Mode = Mode.ENFORCE
    objective: Objective = Objective()
    stability: Stability = Stability()
    flavors: tuple[Flavor, ...] = ()
    solver: SolverLimits = SolverLimits()
    shadows: tuple[Shadow, ...] = ()
    uid: str = ""
    generation: int = 1
