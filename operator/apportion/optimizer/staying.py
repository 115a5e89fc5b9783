"""Which pods stay on which nodes when a job is set to so many replicas, by the ReplicaSet's own ranking."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.model.eligibility import current_grant
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.plan import Allocation
from apportion.model.snapshot import Snapshot
from apportion.optimizer.cells import LARGEST, Cells
from apportion.optimizer.value import terms_of


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


@dataclass(frozen=True)
class Stay:
    """The pods of a job that stay: how many `where`, what they hold as rows of `Cells.free`; `missing` are new."""

    job: Job
    flavor: Flavor | None
    where: Mapping[str, int]
    rows: NDArray[np.int64]
    amounts: NDArray[np.int64]
    missing: int


class Ground:
    """What all placements of a snapshot start from; who stays where is worked out once for each allocation.

    `pinned` are the jobs that are constants: their pods stay where they are, all of them, whatever the count.
    """

    def __init__(self, snapshot: Snapshot, cells: Cells) -> None:
        self.cells = cells
        self.jobs = {job.key: job for job in snapshot.jobs}
        self.flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self._flavor_of = {node.name: node.flavor for node in snapshot.nodes}
        self._nodes_of: dict[str | None, set[str]] = {}
        for name, flavor in self._flavor_of.items():
            self._nodes_of.setdefault(flavor, set()).add(name)
        self._at = {node.name: at for at, node in enumerate(cells.nodes)}
        self._known: dict[tuple[JobKey, str, int], Stay] = {}
        self.pinned: dict[JobKey, Stay] = {}
        for job in snapshot.jobs:
            terms = terms_of(snapshot, job)
            if terms.candidate and terms.pinned:
                self.pinned[job.key] = self._pin(job)

    def stays(self, allocation: Allocation) -> Stay:
        """Of the current flavor the pods that the ranking keeps; on another one everything is new."""
        name = allocation.flavor or ""
        key = (allocation.key, name, allocation.replicas)
        if key not in self._known:
            job = self.jobs[allocation.key]
            pods: Sequence[Pod] = ()
            if name == current_grant(job).flavor:
                pods = survivors(job, allocation.replicas, self._nodes_of.get(name, ()))
            self._known[key] = self._stay(job, name, pods, allocation.replicas - len(pods))
        return self._known[key]

    def _pin(self, job: Job) -> Stay:
        """What a pinned job's admission still misses is new."""
        grant = current_grant(job)
        bound = [pod for pod in job.pods if pod.node is not None and not pod.terminating]
        here = sum(self._flavor_of.get(pod.node or "", grant.flavor) == grant.flavor for pod in bound)
        return self._stay(job, grant.flavor, bound, max(0, grant.replicas - here))

    def _stay(self, job: Job, flavor: str, pods: Iterable[Pod], missing: int) -> Stay:
        where: dict[str, int] = {}
        held: dict[int, list[int]] = {}
        for pod in pods:
            name = pod.node or ""
            where[name] = where.get(name, 0) + 1
            if name in self._at:
                row = held.setdefault(self._at[name], [0] * len(self.cells.resources))
                for column, resource in enumerate(self.cells.resources):
                    row[column] += min(pod.requests.get(resource, 0), LARGEST)
        rows = np.array(list(held), dtype=np.int64)
        amounts = np.array(list(held.values()), dtype=np.int64).reshape(len(held), len(self.cells.resources))
        return Stay(job, self.flavors.get(flavor), where, rows, amounts, missing)
