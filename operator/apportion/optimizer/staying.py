"""Which pods stay on which nodes when a job is set to so many replicas, by the ReplicaSet's own ranking."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from apportion.model.eligibility import current_grant
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.plan import Allocation
from apportion.model.resources import Amounts
from apportion.model.snapshot import Snapshot
from apportion.optimizer.cells import LARGEST, Cells, request
from apportion.optimizer.value import terms_of


def departing(pods: Sequence[Pod], count: int) -> tuple[Pod, ...]:
    """The pods that a shrink should take, so that whole nodes come free; the actuator gives them a deletion cost.

    Nodes are emptied in the order of how few of these pods they hold. A pod that carries a lower cost than others goes
    before them: a shrink that is under way has chosen it.
    """
    on_node = Counter(pod.node for pod in pods)
    order = sorted(
        pods,
        key=lambda pod: (min(0, pod.deletion_cost), on_node[pod.node], pod.node or "", -pod.created, pod.name),
    )
    return tuple(order[: max(0, count)])


def survivors(job: Job, replicas: int, nodes: Container[str]) -> tuple[Pod, ...]:
    """The pods that stay on these nodes if the job is set to so many replicas."""
    return stayers([pod for pod in job.pods if pod.node in nodes and not pod.terminating], replicas)


def stayers(bound: Sequence[Pod], replicas: int) -> tuple[Pod, ...]:
    """Those of these bound pods that stay if there may be so many (the ReplicaSet's ranking reversed).

    Bound before unbound, ready before not ready, higher deletion cost (first the one that the shrink will set), fewer
    siblings on the node, longer ready, fewer restarts, older (kubernetes pkg/controller/controller_utils.go,
    ActivePodsWithRanks).
    """
    if len(bound) <= replicas:
        return tuple(bound)
    leaving = departing(bound, len(bound) - replicas)
    going = {pod.name for pod in leaving}
    if all(pod.ready and pod.phase == "Running" for pod in bound):
        # The deletion cost that the shrink sets decides alone.
        return tuple(pod for pod in bound if pod.name not in going)
    siblings = Counter(pod.node for pod in bound)

    def rank(pod: Pod) -> tuple[object, ...]:
        since = pod.ready_since if pod.ready_since is not None else pod.created
        return (pod.phase != "Running", not pod.ready, pod.name in going, -pod.deletion_cost, siblings[pod.node],
                since, pod.restarts, pod.created, pod.name)  # fmt: skip

    return tuple(sorted(bound, key=rank)[: max(0, replicas)])


def claim_of(job: Job, pod: Pod) -> Amounts:
    """What a pod that stays claims of its node: what it requests, and no less than its job asks now.

    Where the template was changed the pod holds what it was made with until it is replaced, and the one that comes
    instead takes what is asked by then; the grant is for both.
    """
    asked = request(job)
    if pod.requests == job.requests:
        return asked
    return {name: max(amount, asked.get(name, 0)) for name, amount in {**asked, **pod.requests}.items()}


@dataclass(frozen=True)
class Held:
    """Pods that stay: how many `where`, and what they hold of the placeable nodes, as rising rows of `Cells.free`.

    placeable: how many of them are on nodes that take new pods.
    """

    where: Mapping[str, int]
    rows: NDArray[np.int64]
    amounts: NDArray[np.int64]

    placeable: int

    @cached_property
    def count(self) -> int:
        return sum(self.where.values())

    def amounts_at(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """What they hold of each of these rows."""
        if rows is self.rows:
            return self.amounts
        found = np.zeros((len(rows), self.amounts.shape[1]), dtype=np.int64)
        if len(self.rows):
            at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
            there = self.rows[at] == rows
            found[there] = self.amounts[at[there]]
        return found


@dataclass(frozen=True)
class Stay:
    """A job set to some number of replicas: the pods that are `held`, and how many are missing then."""

    job: Job
    flavor: Flavor | None
    held: Held
    missing: int


class _Holds:
    """Who holds what of the nodes if so many pods stay, worked out once for each job and count of a snapshot."""

    def __init__(self, snapshot: Snapshot, cells: Cells) -> None:
        self._cells = cells
        self._at = {node.name: at for at, node in enumerate(cells.nodes)}
        self.flavor_of = {node.name: node.flavor for node in snapshot.nodes}
        self._bound: dict[JobKey, tuple[Pod, ...]] = {}
        self._known: dict[tuple[JobKey, int], Held] = {}
        self._amounts: dict[tuple[int, int], tuple[Job, Amounts, NDArray[np.int64]]] = {}
        none = np.zeros((0, len(cells.resources)), dtype=np.int64)
        self.nothing = Held({}, np.zeros(0, dtype=np.int64), none, 0)

    def staying(self, job: Job, replicas: int) -> Held:
        """Of its pods on the flavor that it has been granted."""
        bound = self._bound_of(job)
        count = min(len(bound), max(0, replicas))
        if (job.key, count) not in self._known:
            self._known[job.key, count] = self.of(job, stayers(bound, count))
        return self._known[job.key, count]

    def of(self, job: Job, pods: Iterable[Pod]) -> Held:
        where: dict[str, int] = {}
        amounts: dict[int, NDArray[np.int64]] = {}
        placeable = 0
        for pod in pods:
            name = pod.node or ""
            where[name] = where.get(name, 0) + 1
            at = self._at.get(name)
            if at is not None:
                amounts[at] = amounts.get(at, 0) + self._row(job, pod)
                placeable += 1
        rows = np.array(sorted(amounts), dtype=np.int64)
        each = [amounts[at] for at in sorted(amounts)]
        return Held(
            where, rows, np.array(each, dtype=np.int64).reshape(len(rows), len(self._cells.resources)), placeable
        )

    def _bound_of(self, job: Job) -> tuple[Pod, ...]:
        if job.key not in self._bound:
            flavor = current_grant(job).flavor
            self._bound[job.key] = tuple(
                pod for pod in job.pods if self.flavor_of.get(pod.node or "") == flavor and not pod.terminating
            )
        return self._bound[job.key]

    def _row(self, job: Job, pod: Pod) -> NDArray[np.int64]:
        """The amounts by column of `Cells.free`; pods of one template share one mapping."""
        key = (id(job), id(pod.requests))
        if key not in self._amounts:
            amounts = claim_of(job, pod)
            row = np.array([min(amounts.get(name, 0), LARGEST) for name in self._cells.resources], dtype=np.int64)
            # Both are kept beside it, so that no others can come to have their ids.
            self._amounts[key] = (job, pod.requests, row)
        return self._amounts[key][2]


_last: tuple[Cells, tuple[Job, ...], _Holds] | None = None


def _holds_of(snapshot: Snapshot, cells: Cells) -> _Holds:
    """Kept for the next call with the same cells and jobs (a round asks many times)."""
    global _last
    last = _last
    if last is not None and last[0] is cells and last[1] is snapshot.jobs:
        return last[2]
    holds = _Holds(snapshot, cells)
    _last = (cells, snapshot.jobs, holds)
    return holds


class Ground:
    """What all placements of a snapshot start from; who stays where is worked out once for each allocation.

    `pinned` are the jobs that are constants: their pods stay where they are, all of them, whatever the count.
    """

    def __init__(self, snapshot: Snapshot, cells: Cells) -> None:
        self.cells = cells
        self.jobs = {job.key: job for job in snapshot.jobs}
        self.flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self._holds = _holds_of(snapshot, cells)
        self._stays: dict[tuple[JobKey, str, int], Stay] = {}
        self.nothing = self._holds.nothing
        self.pinned: dict[JobKey, Stay] = {}
        for job in snapshot.jobs:
            terms = terms_of(snapshot, job)
            if terms.candidate and terms.pinned:
                self.pinned[job.key] = self._pin(job)

    def stays(self, allocation: Allocation) -> Stay:
        """Of the current flavor the pods that the ranking keeps; on another one everything is new."""
        asked = (allocation.key, allocation.flavor or "", allocation.replicas)
        if asked not in self._stays:
            key, flavor, replicas = asked
            held = self.held(self.jobs[key], flavor, replicas)
            self._stays[asked] = Stay(self.jobs[key], self.flavors.get(flavor), held, replicas - held.count)
        return self._stays[asked]

    def held(self, job: Job, flavor: str, replicas: int) -> Held:
        """The pods that stay if the job is set to so many replicas of the flavor; the same object for the same pods."""
        if not job.pods or flavor != current_grant(job).flavor:
            return self.nothing
        return self._holds.staying(job, replicas)

    def _pin(self, job: Job) -> Stay:
        """What a pinned job's admission still misses is new."""
        grant, flavor_of = current_grant(job), self._holds.flavor_of
        bound = [pod for pod in job.pods if pod.node is not None and not pod.terminating]
        here = sum(flavor_of.get(pod.node or "", grant.flavor) == grant.flavor for pod in bound)
        return Stay(job, self.flavors.get(grant.flavor), self._holds.of(job, bound), max(0, grant.replicas - here))


def needed(snapshot: Snapshot, ground: Ground, jobs: Iterable[Job]) -> NDArray[np.int64]:
    """By node of the cells and resource, what the pods of these jobs hold that stay if each that was promised something
    is set to its minimum: it can do with no less, also where its node offers less by now."""
    least = np.zeros_like(ground.cells.free)
    for job in jobs:
        if terms_of(snapshot, job).keeps > 0:
            held = ground.held(job, current_grant(job).flavor, job.minimum)
            least[held.rows] += held.amounts
    return least


class Standing:
    """Everybody where they are: `free` is what is left on the nodes of `cells` if all these jobs keep all they have."""

    def __init__(self, ground: Ground, free: NDArray[np.int64], jobs: Iterable[Job]) -> None:
        self.free = free.copy()
        self._whole: dict[JobKey, Held] = {}
        for job in jobs:
            grant = current_grant(job)
            if grant.replicas and job.pods:
                held = ground.held(job, grant.flavor, grant.replicas)
                self._whole[job.key] = held
                self.free[held.rows] -= held.amounts
        self._class_of = np.zeros(len(ground.cells.nodes), dtype=np.int64)
        for at, group in enumerate(ground.cells.classes):
            self._class_of[list(group.nodes)] = at

    def whole(self, job: Job) -> Held | None:
        """The pods that stay if the job keeps what it has; None: it has none."""
        return self._whole.get(job.key)

    def likeness(self, job: Job) -> object:
        """Equal for jobs whose pods hold equal amounts on nodes that are alike in class and in what else is left."""
        held = self.whole(job)
        if held is None:
            return None
        if len(held.rows) < len(held.where):
            return job.key
        each = np.column_stack([self._class_of[held.rows], held.amounts, self.free[held.rows]])
        return tuple(sorted(row.tobytes() for row in each))
