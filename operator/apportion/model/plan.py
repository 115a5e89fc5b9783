"""What a solve and a decision return."""

from dataclasses import dataclass, field
from enum import StrEnum

from apportion.model.caps import Kind
from apportion.model.jobs import Block, JobKey, Memory


class Status(StrEnum):
    """Optimal: within the policy's gap. Feasible: not proved that good. Kept: no decision, all stays."""

    OPTIMAL = "Optimal"
    FEASIBLE = "Feasible"
    KEPT = "Kept"


@dataclass(frozen=True)
class Allocation:
    """What the optimizer wants for a job in the end; flavor None and 0 replicas: it waits."""

    key: JobKey
    flavor: str | None = None
    replicas: int = 0


@dataclass(frozen=True)
class Price:
    """A shadow price: value per accelerator of `flavor`; queue "" is the flavor's capacity, else that queue's quota.

    With a `cap`, flavor is "" and the price is value per unit of money an hour, or per watt: of the queue, else of all.
    """

    flavor: str
    price: float
    queue: str = ""
    cap: Kind | None = None


@dataclass(frozen=True)
class RowPrice:
    """The shadow price of one row of the program, by its name: value per unit of the row's right side."""

    row: str
    price: float


@dataclass(frozen=True)
class Grant:
    """A flavor and a count; replicas 0 on flavor "" is nothing."""

    flavor: str = ""
    replicas: int = 0


NOTHING = Grant()


@dataclass(frozen=True)
class Departure:
    """A running job gives up places, and gets as many elsewhere once the gang has its own.

    stays: what it keeps until then, its minimum or more, or else nothing. pods: those that leave.
    cost: accelerator-seconds that its restart takes.
    """

    key: JobKey
    stays: Grant
    pods: tuple[str, ...]
    cost: float


@dataclass(frozen=True)
class Clearing:
    """Places that running jobs give up so that a waiting gang, which fits by count, fits by shape as well."""

    gang: JobKey
    grant: Grant
    departures: tuple[Departure, ...]

    @property
    def cost(self) -> float:
        """Accelerator-seconds that the restarts take."""
        return sum(departure.cost for departure in self.departures)


@dataclass(frozen=True)
class Plan:
    """The allocations of all candidates, and how good they are proved to be.

    objective = sum of u without penalties and without the admission worth of jobs that must run anyway; bound in the
    same terms; gap = (bound - objective) / |objective|, 0 when both are 0. Under MaxMinFair the value is that of
    ProportionalFair, and the bound of plans that do as much for the worst off, the next, and so on; of all plans where
    it was not proved that none does more. Under MinCost the objective is minus the money per hour,
    and minus what is counted for targets that are missed. `moves_cost` is what the stage of fewest moves gave up.
    `unplaced` jobs were cut back because their pods did not place on paper. `short` jobs had to run and lost. `prices`
    are told to users; `row_prices`, of the rows above 0, are what they add up from. `clearing`: who moves for a gang;
    the gang is among the allocations, and the objective has the restarts.
    """

    allocations: tuple[Allocation, ...]
    objective: float
    bound: float
    status: Status
    method: str
    prices: tuple[Price, ...] = ()
    row_prices: tuple[RowPrice, ...] = ()
    moves_cost: float = 0.0
    unplaced: tuple[JobKey, ...] = ()
    short: tuple[JobKey, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    warnings: tuple[str, ...] = ()
    bound_staying: float | None = None
    clearing: Clearing | None = None

    @property
    def gap(self) -> float:
        return self._gap(self.bound)

    @property
    def gap_staying(self) -> float:
        return self._gap(self.bound if self.bound_staying is None else self.bound_staying)

    def _gap(self, bound: float) -> float:
        difference = max(0.0, bound - self.objective)
        if difference <= 1e-9 * max(1.0, abs(bound)):
            return 0.0
        return difference / abs(self.objective) if self.objective else float("inf")


@dataclass(frozen=True)
class Resize:
    """One change of one job. Wave 0 is emitted now; later waves wait for room, and are decided again by then.

    new_nodes: how many nodes that do not exist its pods need at most.
    """

    key: JobKey
    current: Grant
    target: Grant
    wave: int = 0
    leaving: tuple[str, ...] = ()
    new_nodes: int = 0

    @property
    def kind(self) -> str:
        """Admit, Evict, Move, Grow or Shrink: follows from current and target."""
        if self.current.replicas == 0:
            return "Admit"
        if self.target.replicas == 0:
            return "Evict"
        if self.current.flavor != self.target.flavor:
            return "Move"
        return "Grow" if self.target.replicas > self.current.replicas else "Shrink"


@dataclass(frozen=True)
class Outcome:
    """What a round says of one job: what it wants for it, what it grants now, and the status to be written.

    `memory` is the next status: phase, message and conditions are in it. reason is the one that counts: why it waits,
    or why it does not have more. touch: False where the workload must be left alone. notices become Events.
    """

    key: JobKey
    target: Grant
    granted: Grant
    current: Grant
    reason: str
    memory: Memory
    touch: bool = True
    notices: tuple[Block, ...] = ()

    @property
    def message(self) -> str:
        return self.memory.message


@dataclass(frozen=True)
class Capacity:
    """Accelerators of one flavor on placeable nodes. free: by node, what neither others use nor jobs' pods hold.

    A node that lost devices under its pods has none free, and takes none from the other nodes.
    """

    flavor: str
    resource: str
    allocatable: int
    others_use: int
    free: int
    jobs_use: int = 0


@dataclass(frozen=True)
class NewNodes:
    """Nodes of a flavor that grants wait for, of `most` that may be added."""

    flavor: str
    nodes: int
    accelerators_per_node: int
    most: int


@dataclass(frozen=True)
class QueueUse:
    queue: str
    flavor: str
    nominal: int
    used: int
    borrowed: int
    lent: int
    price: float = 0.0


@dataclass(frozen=True)
class CapUse:
    """A budget (money per hour) or power cap (watts) and what the grants use of it; queue "" is the whole cluster.

    price: what one more unit of the limit would be worth.
    """

    kind: Kind
    queue: str
    limit: float
    used: float
    price: float = 0.0


@dataclass(frozen=True)
class Fairness:
    """By queue its dominant share: the greatest part of all accelerators of one flavor that its jobs were granted.

    jain: Jain's index of the rates over the reference of all jobs that run or wait; None where nobody has anything.
    """

    dominant_shares: tuple[tuple[str, float], ...] = ()
    jain: float | None = None


@dataclass(frozen=True)
class Decision:
    """A whole round. `recheck_after` in seconds (None: only a change asks for another round)."""

    round: int
    plan: Plan
    outcomes: tuple[Outcome, ...]
    resizes: tuple[Resize, ...] = ()
    capacity: tuple[Capacity, ...] = ()
    queue_use: tuple[QueueUse, ...] = ()
    new_nodes: tuple[NewNodes, ...] = ()
    cap_use: tuple[CapUse, ...] = ()
    fairness: Fairness = Fairness()
    recheck_after: float | None = None
    warnings: tuple[str, ...] = ()
