"""The cheapest jobs to move so that a gang finds room, and which of their pods leave: a search on paper."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from itertools import product
from math import prod

from apportion.model.eligibility import current_grant
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.plan import NOTHING, Departure, Grant
from apportion.model.resources import Amounts, plus, times_fitting
from apportion.planner.churn import cost
from apportion.planner.flight import Flight, Kind

MOST_SETS = 2000  # of jobs that are looked at for all gangs of a round; the cheapest come first
MOST_WAYS = 1024  # in which the pods of one set may leave
MOST_TRIALS = 2000  # placements on paper for all gangs of a round
LEAST_OF_THEM = 50  # of both for a gang, however many are unlike
MOST_ALL = 12  # movable jobs of a flavor up to which also those count that only make room for who moves
MOST_NODES = 10  # of one job, on which it is looked at pod by pod or node by node who leaves


@dataclass(frozen=True)
class Mover:
    """A running job that may be moved, with its pods by name."""

    job: Job
    kind: Kind
    pods: Mapping[str, Pod]

    @cached_property
    def cost(self) -> float:
        """Accelerator-seconds that its restart takes, however many of its pods leave."""
        return cost(self.job) * self.job.per_replica * len(self.pods)

    @cached_property
    def leaves(self) -> list["Leave"]:
        """The ways to give up places, those with the fewest pods first.

        What stays is a step of the job, or nothing. Pods on one node are alike. Of many ways, the whole nodes.
        """
        on: dict[str, list[str]] = {}
        for name in sorted(self.pods):
            on.setdefault(self.pods[name].node or "", []).append(name)
        counts = [range(len(names) + 1) for names in on.values()]
        choices = counts if prod(map(len, counts)) <= MOST_WAYS else [(0, len(names)) for names in on.values()]
        found = []
        if len(on) <= MOST_NODES:
            for taken in product(*choices):
                gone = tuple(name for names, few in zip(on.values(), taken, strict=True) for name in names[:few])
                if gone and len(self.pods) - len(gone) in self.job.steps:
                    found.append(Leave(self, gone))
        whole = Leave(self, tuple(sorted(self.pods)))
        return [
            *sorted((leave for leave in found if leave.pods != whole.pods), key=lambda leave: len(leave.pods)),
            whole,
        ]


@dataclass(frozen=True)
class Leave:
    """One way in which a job gives up places."""

    mover: Mover
    pods: tuple[str, ...]

    @property
    def departure(self) -> Departure:
        kept = len(self.mover.pods) - len(self.pods)
        stays = Grant(current_grant(self.mover.job).flavor, kept) if kept else NOTHING
        return Departure(self.mover.job.key, stays, self.pods, self.mover.cost)


@dataclass
class Search:
    """The cheapest jobs to move so that `count` pods of the gang's kind, and then all who moved, find room.

    free: by node, what no pod holds. among: so many searches share the limits of a round.
    """

    free: Mapping[str, Amounts]
    kind: Kind
    count: int
    movers: Sequence[Mover]
    among: int = 1
    tried: int = 0

    @cached_property
    def _slots(self) -> dict[str, int]:
        return {name: times_fitting(self.free[name], dict(self.kind.shape)) for name in self.kind.nodes}

    def cheapest(self) -> tuple[Leave, ...] | None:
        """The cheapest set, of equals the fewest jobs; None where there is none, or nothing is missing."""
        all_pods = [pod for mover in self.movers for pod in mover.pods.values()]
        if not 0 < self._missing(()) <= self._gained(all_pods):
            return None
        movers = sorted(self._useful(), key=lambda mover: (mover.cost, len(mover.pods), mover.job.key))
        for chosen in _by_cost([mover.cost for mover in movers], self._of_all(MOST_SETS)):
            if found := self._way([movers[at] for at in chosen]):
                return found
        greedy = self._greedy(movers)
        return self._way(greedy) if greedy else None

    def _of_all(self, limit: int) -> int:
        return max(LEAST_OF_THEM, limit // self.among)

    def _useful(self) -> Sequence[Mover]:
        """Of many jobs, those on nodes that the gang could use once all of them are gone."""
        if len(self.movers) <= MOST_ALL:
            return self.movers
        on: dict[str, list[Pod]] = {}
        for mover in self.movers:
            for pod in mover.pods.values():
                on.setdefault(pod.node or "", []).append(pod)
        useful = {name for name, pods in on.items() if self._gained(pods)}
        return [mover for mover in self.movers if any(pod.node in useful for pod in mover.pods.values())]

    def _missing(self, gone: Sequence[Pod]) -> int:
        """Pods of the gang that find no room once these are gone."""
        return self.count - sum(self._slots.values()) - self._gained(gone)

    def _gained(self, gone: Sequence[Pod]) -> int:
        room = self._without(gone)
        shape = dict(self.kind.shape)
        return sum(times_fitting(room[name], shape) - self._slots[name] for name in room if name in self._slots)

    def _without(self, gone: Sequence[Pod]) -> dict[str, Amounts]:
        """What is free on their nodes once these are gone."""
        room: dict[str, Amounts] = {}
        for pod in gone:
            name = pod.node or ""
            room[name] = plus(room.get(name, self.free[name]), pod.requests)
        return room

    def _way(self, movers: Sequence[Mover]) -> tuple[Leave, ...] | None:
        """How these jobs, all of them, make room so that the fewest pods leave."""
        if self._missing([pod for mover in movers for pod in mover.pods.values()]) > 0:
            return None
        several = sum(len(mover.leaves) > 1 for mover in movers)
        most = int((MOST_WAYS + 0.5) ** (1 / max(1, several)))
        offers = [[*mover.leaves[: most - 1], mover.leaves[-1]] for mover in movers]
        ways = sorted(product(*offers), key=lambda way: sum(len(leave.pods) for leave in way))
        return next((way for way in ways if self._settles(way)), None)

    def _settles(self, way: Sequence[Leave]) -> bool:
        """Would all find room, the gang first and then the largest, wherever the scheduler puts those before?"""
        gone = [leave.mover.pods[name] for leave in way for name in leave.pods]
        if self._missing(gone) > 0 or self.tried >= self._of_all(MOST_TRIALS):
            return False
        self.tried += 1
        flight = Flight({**self.free, **self._without(gone)})
        flight.join(self.kind, self.count)
        for leave in sorted(way, key=lambda leave: (-leave.mover.job.per_replica, len(leave.mover.kind.nodes))):
            flight.join(leave.mover.kind, len(leave.pods))
            if not flight.holds(leave.mover.kind, flight.flying):
                return False
        return True

    def _greedy(self, movers: Sequence[Mover]) -> list[Mover]:
        """Node by node, each time the jobs that cost least for a place of the gang; who turns out not to be needed
        stays. Of use where the sets that are cheaper are too many to look at."""
        chosen: dict[JobKey, Mover] = {}

        def gone(some: Mapping[JobKey, Mover]) -> list[Pod]:
            return [pod for mover in some.values() for pod in mover.pods.values()]

        on: dict[str, list[Mover]] = {}
        for mover in movers:
            for name in {pod.node or "" for pod in mover.pods.values()}:
                on.setdefault(name, []).append(mover)
        prices = []
        for name, mine in on.items():
            some: dict[JobKey, Mover] = {}
            for mover in mine:
                some[mover.job.key] = mover
                if gained := self._gained([pod for pod in gone(some) if pod.node == name]):
                    prices.append((sum(mover.cost for mover in some.values()) / gained, len(some), name, some))
                    break
        for _, _, _, some in sorted(prices, key=lambda price: price[:3]):
            if self._missing(gone(chosen)) > 0:
                chosen |= some
        for key in sorted(chosen, key=lambda key: -chosen[key].cost):
            fewer = {other: mover for other, mover in chosen.items() if other != key}
            if self._missing(gone(fewer)) <= 0:
                chosen = fewer
        return list(chosen.values())


def _by_cost(costs: Sequence[float], most: int) -> Iterator[tuple[int, ...]]:
    """The sets of these, cheapest first, of equals the smallest; costs rise."""
    queue: list[tuple[float, int, tuple[int, ...]]] = [(costs[0], 1, (0,))] if costs else []
    while queue and most:
        total, size, chosen = heappop(queue)
        yield chosen
        most -= 1
        if (following := chosen[-1] + 1) < len(costs):
            heappush(queue, (total + costs[following], size + 1, (*chosen, following)))
            heappush(queue, (total - costs[chosen[-1]] + costs[following], size, (*chosen[:-1], following)))
