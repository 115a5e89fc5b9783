"""Placement on paper: pods that stay keep their nodes, new ones go largest first to where least is left over."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Allocation
from apportion.model.snapshot import Snapshot
from apportion.optimizer.aligning import Demand
from apportion.optimizer.cells import Shape, cells_of
from apportion.optimizer.patterns import Kind, patterns_of
from apportion.optimizer.staying import Ground, Stay

MOST_EXCHANGES = 64  # tries to make room by moving new pods, per placement
NODES_PER_EXCHANGE = 24


@dataclass(frozen=True)
class Placement:
    """Where the pods would be: node -> count, by job; and how many pods of a job found no node."""

    placed: Mapping[JobKey, Mapping[str, int]] = field(default_factory=dict)
    unplaced: Mapping[JobKey, int] = field(default_factory=dict)


def place(snapshot: Snapshot, allocations: Iterable[Allocation]) -> Placement:
    """Places all allocations together; pinned jobs are where they are, whether or not they are among them.

    Room is what foreign pods leave on placeable nodes. The pods that the ReplicaSet's ranking keeps stay on their
    nodes, also on such as take no new ones. Jobs that are named later lose where pods of one size contend.
    """
    placer = Placer(Ground(snapshot, cells_of(snapshot)))
    placer.place(allocations)
    return Placement(placer.placed, placer.unplaced)


@dataclass
class _New:
    """Pods of one job that need a node."""

    job: Job
    mask: int
    shape: Shape
    count: int


class Placer:
    """A placement that can be added to; `free` is by node of `cells`, and falls below zero where too much runs."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.cells = ground.cells
        self.free: NDArray[np.int64] = ground.cells.free.copy()
        self.placed: dict[JobKey, dict[str, int]] = {}
        self.unplaced: dict[JobKey, int] = {}
        self._new_on: dict[int, dict[JobKey, _New]] = {}
        self._claims: NDArray[np.int64] = np.zeros(len(self.cells.nodes), dtype=np.int64)
        self._exchanges = MOST_EXCHANGES
        self._next: tuple[Shape, int, list[tuple[int, int]]] | None = None
        self._start([[ground.pinned[key] for key in sorted(ground.pinned)]])

    def branch(self) -> "Placer":
        """A copy to go on with; this one stays as it is."""
        other = copy.copy(self)
        other.free = self.free.copy()
        other.placed = {key: dict(where) for key, where in self.placed.items()}
        other.unplaced = dict(self.unplaced)
        other._new_on = {at: dict(here) for at, here in self._new_on.items()}
        return other

    def complete(self, stays: Iterable[Stay]) -> None:
        """Places what these miss; that their staying pods hold their room was seen to before."""
        self._place_new([self._new(stay.job, stay.flavor, stay.missing) for stay in stays if stay.missing])

    def place(self, *turns: Iterable[Allocation]) -> None:
        """Survivors first, then all new pods turn by turn, in each the largest first."""
        known, pinned = self.ground.jobs, self.ground.pinned
        self._start(
            [
                [
                    self.ground.stays(allocation)
                    for allocation in allocations
                    if allocation.key not in pinned and allocation.key in known and allocation.replicas > 0
                ]
                for allocations in turns
            ]
        )

    def add(self, key: JobKey, flavor: str, count: int) -> bool:
        """Adds so many new pods of the job, all or none."""
        new = self._new(self.ground.jobs[key], self.ground.flavors.get(flavor), count)
        before = self._bulk(new)
        if new.count == 0:
            return True
        for at, pods in before:
            self._move(new, at, -pods)
        return False

    def _start(self, turns: Sequence[Sequence[Stay]]) -> None:
        """Puts the pods that stay, then what is missing of all of them."""
        stays = [stay for turn in turns for stay in turn]
        for stay in stays:
            where = self.placed.setdefault(stay.job.key, {})
            for name, count in stay.held.where.items():
                where[name] = where.get(name, 0) + count
        held = [stay.held for stay in stays if len(stay.held.rows)]
        if held:
            rows, amounts = (
                np.concatenate(parts) for parts in zip(*((one.rows, one.amounts) for one in held), strict=True)
            )
            np.subtract.at(self.free, rows, amounts)
        for turn in turns:
            self.complete(turn)

    def _new(self, job: Job, flavor: Flavor | None, count: int) -> _New:
        mask = self.cells.mask(job, flavor) if flavor is not None else 0
        return _New(job, mask, self.cells.shape(job), count)

    def _place_new(self, news: list[_New]) -> None:
        news = [new for new in news if new.count > 0]
        self._claims, self._next = np.zeros(len(self.cells.nodes), dtype=np.int64), None
        for mask in {new.mask for new in news}:
            self._claims[self.cells.indices(mask)] += 1
        wanted = [new.count for new in news]
        for new in sorted(news, key=self._size):
            self._bulk(new)
            while new.count and self._exchange(new):
                self._bulk(new)
        if any(new.count for new in news):
            if (found := self._arranged(news, wanted)) is not None:
                self._rearrange(news, wanted, found)
            elif any(new.count and self._lacks_others(new) for new in news):
                self._align(news, wanted)
        self.unplaced.update((new.job.key, new.count) for new in news if new.count)

    def _arranged(self, news: list[_New], wanted: list[int]) -> list[tuple[int, dict[Kind, int]]] | None:
        """By node the pods of each kind, where few nodes have room for all that is wanted; else None."""
        most: dict[Kind, int] = {}
        for new, count in zip(news, wanted, strict=True):
            kind = Kind(new.mask, new.shape)
            most[kind] = most.get(kind, 0) + count
        patterns = patterns_of(self.cells, self._free_without({new.job.key for new in news}), most)
        found = patterns.arranged(tuple(most[kind] for kind in patterns.kinds)) if patterns is not None else None
        if patterns is None or found is None:
            return None
        return [(node, dict(zip(patterns.kinds, counts, strict=True))) for node, counts in found]

    def _free_without(self, keys: set[JobKey]) -> NDArray[np.int64]:
        """What is free if the new pods of these jobs were on no node. Exchanges may have moved those of others."""
        free = self.free.copy()
        for at, here in self._new_on.items():
            for one in here.values():
                for name, amount in one.shape if one.job.key in keys else ():
                    free[at, self.cells.column(name)] += amount * one.count
        return free

    def _lacks_others(self, new: _New) -> bool:
        """Whether some node has the accelerators for a pod of it, but not all else that it asks for."""
        at = self.cells.indices(new.mask)
        return bool((self.free[at, self.cells.column(new.job.resource)] >= dict(new.shape)[new.job.resource]).any())

    def _align(self, news: list[_New], wanted: list[int]) -> None:
        """Places them once more, by all that they ask for, and leaves it so where more pods find a node than before."""
        missing, earlier = [new.count for new in news], self._lift(news)
        for new, count in zip(news, wanted, strict=True):
            new.count = count
        demand = Demand(self.cells, self.free, [(new.mask, new.shape, new.count) for new in news])
        self._exchanges = MOST_EXCHANGES
        for new in sorted(news, key=lambda new: (-demand.share(new.mask, new.shape), self._size(new))):
            while new.count and (
                (at := demand.most_like(new.mask, new.shape, self.free)) is not None or self._exchange(new)
            ):
                if at is not None:
                    self._move(new, at, 1)
                    new.count -= 1
        if sum(new.count for new in news) >= sum(missing):
            self._lift(news)
            for new, count in zip(news, missing, strict=True):
                new.count = count
            for at, one in earlier:
                self._move(one, at, one.count)

    def _lift(self, news: list[_New]) -> list[tuple[int, _New]]:
        """Takes all new pods of these jobs off their nodes; where they were."""
        keys = {new.job.key for new in news}
        there = [(at, one) for at, here in self._new_on.items() for one in here.values() if one.job.key in keys]
        for at, one in there:
            self._move(one, at, -one.count)
        return there

    def _rearrange(self, news: list[_New], wanted: list[int], found: list[tuple[int, dict[Kind, int]]]) -> None:
        """Moves these pods to where they all fit."""
        self._lift(news)
        of_kind: dict[Kind, list[_New]] = {}
        for new, count in zip(news, wanted, strict=True):
            new.count = count
            of_kind.setdefault(Kind(new.mask, new.shape), []).append(new)
        for node, pods in found:
            for kind, count in pods.items():
                while count:
                    new = of_kind[kind][-1]
                    some = min(count, new.count)
                    self._move(new, node, some)
                    new.count -= some
                    count -= some
                    if not new.count:
                        of_kind[kind].pop()

    def _size(self, new: _New) -> tuple[float, ...]:
        """Larger first; among equals those with fewer nodes to go to."""
        amounts = dict(new.shape)
        return (
            -new.job.per_replica,
            len(self.cells.indices(new.mask)),
            -amounts.get("cpu", 0),
            -amounts.get("memory", 0),
        )

    def _bulk(self, new: _New) -> list[tuple[int, int]]:
        """Places as many as fit: nodes that fewer kinds of pods can use first, then the fullest, each to its brim."""
        done: list[tuple[int, int]] = []
        queue = self._queue(new)
        while queue and new.count > 0:
            at, count = queue[-1]
            pods = min(new.count, count)
            self._move(new, at, pods)
            done.append((at, pods))
            new.count -= pods
            queue.pop()
            if pods < count:
                queue.append((at, count - pods))
        # Pods of one shape go on where the last stopped: the node begun is the fullest, the others are as they were.
        self._next = (new.shape, new.mask, queue)
        return done

    def _queue(self, new: _New) -> list[tuple[int, int]]:
        """The nodes with room for the shape and how many pods each takes, in the order of use from the end."""
        if self._next is not None and self._next[:2] == (new.shape, new.mask):
            return self._next[2]
        at = self.cells.indices(new.mask)
        counts = self.cells.fitting(new.mask, new.shape, self.free)
        at, counts = at[counts > 0], counts[counts > 0]
        rest = np.zeros(len(at))
        for name, _ in new.shape:
            free = self.free[at, self.cells.column(name)]
            rest += free / max(1, int(free.max(initial=1)))
        order = np.lexsort((rest, self.free[at, self.cells.column(new.job.resource)], self._claims[at]))[::-1]
        return list(zip(at[order].tolist(), counts[order].tolist(), strict=True))

    def _move(self, new: _New, at: int, pods: int) -> None:
        """Puts so many pods on the node; a negative number takes them away."""
        self._next = None
        for name, amount in new.shape:
            self.free[at, self.cells.column(name)] -= amount * pods
        where, node = self.placed.setdefault(new.job.key, {}), self.cells.nodes[at].name
        where[node] = where.get(node, 0) + pods
        if not where[node]:
            del where[node]
        here = self._new_on.setdefault(at, {})
        kept = here.get(new.job.key)
        count = pods + (kept.count if kept else 0)
        if count > 0:
            here[new.job.key] = _New(new.job, new.mask, new.shape, count)
        else:
            here.pop(new.job.key, None)

    def _exchange(self, new: _New) -> bool:
        """Makes room for one pod by moving smaller new pods off one node; False where no try succeeds."""
        if self._exchanges <= 0 or not new.mask:
            return False
        self._exchanges -= 1
        at = self.cells.indices(new.mask)
        column = self.cells.column(new.job.resource)
        for node in at[np.argsort(-self.free[at, column], kind="stable")][:NODES_PER_EXCHANGE]:
            if self._clear(int(node), new):
                return True
        return False

    def _clear(self, node: int, new: _New) -> bool:
        moved: list[tuple[_New, int]] = []
        for other in sorted(self._new_on.get(node, {}).values(), key=self._size, reverse=True):
            while other.count > 0 and not self._fits(node, new.shape):
                target = self._elsewhere(other, node)
                if target is None:
                    break
                one = _New(other.job, other.mask, other.shape, 1)
                self._move(one, node, -1)
                self._move(one, target, 1)
                moved.append((one, target))
                other = _New(other.job, other.mask, other.shape, other.count - 1)
        if self._fits(node, new.shape):
            return True
        for one, target in reversed(moved):
            self._move(one, target, -1)
            self._move(one, node, 1)
        return False

    def _fits(self, node: int, shape: Shape) -> bool:
        return all(self.free[node, self.cells.column(name)] >= amount for name, amount in shape)

    def _elsewhere(self, other: _New, node: int) -> int | None:
        at = self.cells.indices(other.mask)
        fitting = (self.cells.fitting(other.mask, other.shape, self.free) > 0) & (at != node)
        if not fitting.any():
            return None
        candidates = at[fitting]
        return int(candidates[np.argmin(self.free[candidates, self.cells.column(other.job.resource)])])
