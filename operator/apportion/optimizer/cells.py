"""Node classes: which nodes the same jobs may use, and what is free on them, computed once per class of nodes.

Nodes are told apart only by their flavor, their taints and those labels that some job asks about, so that eligibility
costs (distinct NodeChoices) x (node classes), not jobs x nodes. A set of classes is an int with one bit per class.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.model.eligibility import accepts, room
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job
from apportion.model.resources import Amounts
from apportion.model.selection import NodeChoice
from apportion.model.snapshot import Snapshot

LARGEST = 2**53  # amounts beyond it are cut: every sum and quotient stays exact in floating point

Shape = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class NodeClass:
    flavor: str
    like: Node
    nodes: tuple[int, ...]


class Cells:
    """The placeable nodes by class; `free` has one row per node and one column per resource in `resources`."""

    def __init__(self, nodes: Iterable[Node], jobs: Iterable[Job], room: dict[str, dict[str, int]]) -> None:
        jobs = tuple(jobs)
        self.nodes = tuple(node for node in nodes if node.placeable and node.flavor is not None)
        choices = {job.nodes for job in jobs}
        keys = sorted({key for choice in choices for key in _label_keys(choice)})
        classes: dict[tuple[object, ...], list[int]] = {}
        for at, node in enumerate(self.nodes):
            signature = (node.flavor, node.taints, *(node.labels.get(key) for key in keys))
            classes.setdefault(signature, []).append(at)
        self.classes = tuple(
            NodeClass(self.nodes[at[0]].flavor or "", self.nodes[at[0]], tuple(at)) for at in classes.values()
        )
        self.resources = tuple(sorted({name for job in jobs for name in job.requests} | {job.resource for job in jobs}))
        self.free: NDArray[np.int64] = np.array(
            [[_clip(room[node.name].get(name, 0)) for name in self.resources] for node in self.nodes], dtype=np.int64
        ).reshape(len(self.nodes), len(self.resources))
        self._column = {name: at for at, name in enumerate(self.resources)}
        self._masks: dict[tuple[NodeChoice, str], int] = {}
        self._indices: dict[int, NDArray[np.int64]] = {}
        # The job is kept beside it, so that no other one can come to have its id.
        self._shapes: dict[int, tuple[Job, Shape]] = {}

    def mask(self, job: Job, flavor: Flavor) -> int:
        """The classes where the job's pods, pinned to the flavor, may be placed; 0: nowhere."""
        if not accepts(job, flavor):
            return 0
        key = (job.nodes, flavor.name)
        if key not in self._masks:
            self._masks[key] = sum(
                1 << at
                for at, group in enumerate(self.classes)
                if group.flavor == flavor.name
                and job.nodes.labels_match(group.like.labels)
                and job.nodes.untolerated(group.like.taints, flavor.tolerations) is None
            )
        return self._masks[key]

    def shape(self, job: Job) -> Shape:
        """What one replica requests, by name of the resource; worked out once for each job."""
        known = self._shapes.get(id(job))
        if known is None:
            known = self._shapes[id(job)] = (job, tuple(sorted(request(job).items())))
        return known[1]

    def column(self, resource: str) -> int:
        return self._column[resource]

    def fitting(self, mask: int, shape: Shape, free: NDArray[np.int64]) -> NDArray[np.int64]:
        """By node of the set: how many pods of the shape its free room holds (min over resources of the quotients)."""
        return np.maximum(self.blocks(free[self.indices(mask)], shape), 0)

    def blocks(self, room: NDArray[np.int64], shape: Shape) -> NDArray[np.int64]:
        """How many pods of the shape each row of `room` holds; below zero, how many too many are there."""
        counts = [room[:, self._column[name]] // amount for name, amount in shape if amount > 0]
        if not counts:
            return np.zeros(len(room), dtype=np.int64)
        return np.asarray(np.minimum.reduce(counts), dtype=np.int64)

    def indices(self, mask: int) -> NDArray[np.int64]:
        if mask not in self._indices:
            chosen = [at for bit, group in enumerate(self.classes) if mask >> bit & 1 for at in group.nodes]
            self._indices[mask] = np.array(chosen, dtype=np.int64)
        return self._indices[mask]


_last: tuple[tuple[Node, ...], tuple[Job, ...], Cells] | None = None


def cells_of(snapshot: Snapshot) -> Cells:
    """The cells of a snapshot; kept for the next call with the same nodes and jobs (a round asks many times)."""
    global _last
    last = _last
    if last is not None and last[0] is snapshot.nodes and last[1] is snapshot.jobs:
        return last[2]
    cells = Cells(snapshot.nodes, snapshot.jobs, room(snapshot))
    _last = (snapshot.nodes, snapshot.jobs, cells)
    return cells


def request(job: Job) -> dict[str, int]:
    """One replica's request with its accelerators, cut to what floating point holds exactly."""
    unit = 1000 if job.resource == "cpu" else 1
    amounts: Amounts = {**job.requests, job.resource: max(job.requests.get(job.resource, 0), job.per_replica * unit, 1)}
    return {name: min(amount, LARGEST) for name, amount in amounts.items() if amount > 0}


def _clip(amount: int) -> int:
    return min(max(-LARGEST, amount), LARGEST)


def _label_keys(choice: NodeChoice) -> set[str]:
    requirements = [*choice.requirements, *(term for terms in choice.alternatives for term in terms)]
    return {key for key, _ in choice.selector} | {requirement.key for requirement in requirements}
