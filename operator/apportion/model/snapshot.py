"""All that a decision depends on, with its time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from apportion.model.caps import Cap, caps_of
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job, JobKey
from apportion.model.policy import Policy
from apportion.model.queues import Queue

NO_TERMS: Mapping[JobKey, "Terms"] = MappingProxyType({})


@dataclass(frozen=True)
class Terms:
    """What a job may get in this round, by the rules of who may take from whom; written by the planner.

    candidate: False leaves the job out (suspended, blocked without pods, finished): it gets and holds nothing.
    keeps: fewest replicas that the job must be given (0: nothing is promised). With keeps > 0 its slack is penalised
        above all values. Fewer on another flavor would be a restart, so with keeps above the minimum it stays where
        it is (minRuntime); with keeps = minimum it may move.
    pinned: a constant, not a choice: exactly its admission (hold, conflict, grace). Its bound pods and what its
        admission still misses are subtracted from the room and the quota before anything is solved.
    grows: False for a job that must not become larger (failing pods, a queue that is gone).
    moves: False forbids other flavors than the current one.
    barred: flavors left out for this job (a placement failed there).
    borrows: False for jobs whose use must lie within their queue's nominal quota.
    free_to_change: changes cost nothing (a reclaim is stronger than the cost of a restart).
    steady: the churn budget has no room for a restart of the job: it keeps what it has.
    """

    candidate: bool = True
    keeps: int = 0
    pinned: bool = False
    grows: bool = True
    moves: bool = True
    barred: frozenset[str] = frozenset()
    borrows: bool = True
    free_to_change: bool = False
    steady: bool = False


@dataclass(frozen=True)
class Ceiling:
    """Most accelerators of a flavor that a queue's jobs may use in this round (a claim of a lender lowers it)."""

    queue: str
    flavor: str
    accelerators: int


@dataclass(frozen=True)
class Snapshot:
    """The cluster at `now` (seconds of the epoch). Jobs, nodes, flavors and queues are sorted by name.

    `round` is the number of the last round that changed something. `terms` and `ceilings` are empty until the planner
    writes them, `caps` until `capped` does. `prices` are the last round's, by row. `grace` names the flavors of which
    suddenly much is gone, and until when nobody is shrunk for it.
    """

    now: float
    nodes: tuple[Node, ...] = ()
    flavors: tuple[Flavor, ...] = ()
    jobs: tuple[Job, ...] = ()
    queues: tuple[Queue, ...] = ()
    round: int = 0
    terms: Mapping[JobKey, Terms] = field(default_factory=lambda: NO_TERMS)
    ceilings: tuple[Ceiling, ...] = ()
    caps: tuple[Cap, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    grace: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def in_order(self) -> "Snapshot":
        """The same, sorted by name as the program expects: no decision depends on how somebody listed things."""
        return replace(
            self,
            nodes=tuple(sorted(self.nodes, key=lambda node: node.name)),
            flavors=tuple(sorted(self.flavors, key=lambda flavor: flavor.name)),
            jobs=tuple(sorted(self.jobs, key=lambda job: job.key)),
            queues=tuple(sorted(self.queues, key=lambda queue: queue.name)),
        )

    def __getstate__(self) -> dict[str, Any]:
        """A mapping proxy cannot be pickled; a solver in another process gets a plain dict."""
        return {**self.__dict__, "terms": dict(self.terms)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def capped(snapshot: Snapshot, policy: Policy) -> tuple[Snapshot, list[str]]:
    """The snapshot with the caps of this policy and its own queues. Second: warnings."""
    caps, warnings = caps_of(policy, snapshot.queues, snapshot.flavors)
    return replace(snapshot, caps=caps), warnings
