"""Placement on paper: pods that stay keep their nodes, new ones go largest first to where least is left over."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from apportion.model.eligibility import current_grant
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.plan import Allocation
from apportion.model.snapshot import Snapshot
from apportion.optimizer.cells import Cells, Shape, cells_of, request
from apportion.optimizer.value import terms_of

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
    placer = Placer(snapshot, cells_of(snapshot))
    placer.place(allocations)
    return Placement(placer.placed, placer.unplaced)


def departing(pods: Sequence[Pod], count: int) -> tuple[Pod, ...]:
    """The pods that a shrink should take, so that whole nodes come free; the actuator gives them a deletion cost.

    Nodes are emptied in the order of how few of these pods they hold.
    """
    on_node = Counter(pod.node for pod in pods)
    order = sorted(pods, key=lambda pod: (on_node[pod.node], pod.node or "", -pod.created, pod.name))
    return tuple(order[: max(0, count)])


def survivors(job: Job, replicas: int, nodes: Container[str]) -> tuple[Pod, ...]:
    """The pods that stay on these nodes if the job is set to so many replicas (the ReplicaSet's ranking reversed).

    Bound before unbound, ready before not ready, higher deletion cost (first the one that the shrink will set), fewer
    siblings on the node, longer ready, fewer restarts, older (kubernetes pkg/controller/controller_utils.go,
    ActivePodsWithRanks).
    """
    bound = [pod for pod in job.pods if pod.node is not None and pod.node in nodes and not pod.terminating]
    if len(bound) <= replicas:
        return tuple(bound)
    siblings = Counter(pod.node for pod in bound)
    going = {pod.name for pod in departing(bound, len(bound) - replicas)}

    def rank(pod: Pod) -> tuple[object, ...]:
        since = pod.ready_since if pod.ready_since is not None else pod.created
        return (pod.phase != "Running", not pod.ready, pod.name in going, -pod.deletion_cost, siblings[pod.node],
                since, pod.restarts, pod.created, pod.name)  # fmt: skip

    return tuple(sorted(bound, key=rank)[: max(0, replicas)])


@dataclass
class _New:
    """Pods of one job that need a node."""

    job: Job
    mask: int
    shape: Shape
    count: int


class Placer:
    """A placement that can be added to; `free` is by node of `cells`, and falls below zero where too much runs."""

    def __init__(self, snapshot: Snapshot, cells: Cells) -> None:
        self.cells = cells
        self.free: NDArray[np.int64] = cells.free.copy()
        self.placed: dict[JobKey, dict[str, int]] = {}
        self.unplaced: dict[JobKey, int] = {}
        self._flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self._flavor_of = {node.name: node.flavor for node in snapshot.nodes}
        self._nodes_of: dict[str | None, set[str]] = {}
        for name, flavor in self._flavor_of.items():
            self._nodes_of.setdefault(flavor, set()).add(name)
        self._at = {node.name: at for at, node in enumerate(cells.nodes)}
        self._new_on: dict[int, dict[JobKey, _New]] = {}
        self._claims: NDArray[np.int64] = np.zeros(len(cells.nodes), dtype=np.int64)
        self._exchanges = MOST_EXCHANGES
        self._next: tuple[Shape, int, list[tuple[int, int]]] | None = None
        self._jobs = {job.key: job for job in snapshot.jobs}
        self.pinned: frozenset[JobKey] = frozenset(
            job.key for job in snapshot.jobs if terms_of(snapshot, job).candidate and terms_of(snapshot, job).pinned
        )
        self._place_new([self._pin(self._jobs[key]) for key in sorted(self.pinned)])

    def place(self, allocations: Iterable[Allocation]) -> None:
        """Survivors first, then all new pods, largest first."""
        news = []
        for allocation in allocations:
            if allocation.key not in self.pinned and allocation.key in self._jobs and allocation.replicas > 0:
                news.append(self._stay(self._jobs[allocation.key], allocation))
        self._place_new(news)

    def add(self, key: JobKey, flavor: str, count: int) -> bool:
        """Adds so many new pods of the job, all or none."""
        job = self._jobs[key]
        new = self._new(job, self._flavors.get(flavor), count)
        before = self._bulk(new)
        if new.count == 0:
            return True
        for at, pods in before:
            self._move(new, at, -pods)
        return False

    def _pin(self, job: Job) -> _New:
        """A pinned job's pods stay where they are, all of them; what its admission still misses is new."""
        grant = current_grant(job)
        bound = [pod for pod in job.pods if pod.node is not None and not pod.terminating]
        here = sum(self._flavor_of.get(pod.node or "", grant.flavor) == grant.flavor for pod in bound)
        self._keep(job, bound)
        return self._new(job, self._flavors.get(grant.flavor), max(0, grant.replicas - here))

    def _stay(self, job: Job, allocation: Allocation) -> _New:
        flavor = self._flavors.get(allocation.flavor or "")
        stay: Sequence[Pod] = ()
        if allocation.flavor == current_grant(job).flavor:
            stay = survivors(job, allocation.replicas, self._nodes_of.get(allocation.flavor, ()))
        self._keep(job, stay)
        return self._new(job, flavor, allocation.replicas - len(stay))

    def _keep(self, job: Job, pods: Iterable[Pod]) -> None:
        where = self.placed.setdefault(job.key, {})
        for pod in pods:
            name = pod.node or ""
            where[name] = where.get(name, 0) + 1
            if name in self._at:
                self._next = None
                row = self.free[self._at[name]]
                for column, resource in enumerate(self.cells.resources):
                    row[column] -= min(pod.requests.get(resource, 0), 2**53)

    def _new(self, job: Job, flavor: Flavor | None, count: int) -> _New:
        mask = self.cells.mask(job, flavor) if flavor is not None else 0
        return _New(job, mask, tuple(sorted(request(job).items())), count)

    def _place_new(self, news: list[_New]) -> None:
        news = [new for new in news if new.count > 0]
        self._claims, self._next = np.zeros(len(self.cells.nodes), dtype=np.int64), None
        for mask in {new.mask for new in news}:
            self._claims[self.cells.indices(mask)] += 1
        for new in sorted(news, key=self._size):
            self._bulk(new)
            while new.count and self._exchange(new):
                self._bulk(new)
            if new.count:
                self.unplaced[new.job.key] = new.count

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
