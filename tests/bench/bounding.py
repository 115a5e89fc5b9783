"""A mean JCT that no policy can be below, whatever it knows of a trace.

A job is never faster than alone on the empty cluster, so it ends no sooner than half its time alone after its mean busy
time, the mean of the moments at which its work is done (Goemans, Queyranne, Schulz, Skutella and Wang, Single machine
scheduling with release dates, SIAM J. Discrete Math. 15, 2002). Which mean busy times all jobs can have at once is a
linear program over the seconds of each interval that a job runs in each way. It leaves out that replicas are whole, sit
on nodes, come in gangs and start again, and that nobody knows what comes and how fast it is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from scipy.optimize import linprog
from scipy.sparse import csr_array

from apportion.model.eligibility import accepts
from apportion.model.snapshot import Snapshot
from apportion.simulator import Arrival
from apportion.simulator.account import rooms

FINE, STRETCH = 120, 1.1  # intervals while jobs come, and how much longer than the one before each is after that


class Way(NamedTuple):
    """rate: the part of the whole work that is done in a second."""

    flavor: str
    accelerators: int
    rate: float


@dataclass(frozen=True)
class Work:
    """A job: when it comes, in seconds, and in which ways it can run."""

    came: float
    ways: tuple[Way, ...]

    @property
    def alone(self) -> float:
        """Seconds at its best."""
        return 1.0 / max(way.rate for way in self.ways)


Room = Mapping[str, int]
"""Accelerators by flavor."""


def room_of(cluster: Snapshot) -> dict[str, int]:
    return {flavor: whole for flavor, (whole, _) in rooms(cluster).items()}


def works(arrivals: Iterable[Arrival], cluster: Snapshot) -> list[Work]:
    """With the sizes for which the cluster has the accelerators. A job that has none is left out: it is never done."""
    room = room_of(cluster)
    found = (Work(one.at, tuple(_ways(one, cluster, room))) for one in arrivals)
    return [work for work in found if work.ways]


def _ways(one: Arrival, cluster: Snapshot, room: Room) -> Iterator[Way]:
    for flavor in cluster.flavors:
        for step in one.job.steps if accepts(one.job, flavor) else ():
            count = step * one.job.per_replica
            if count <= room.get(flavor.name, 0):
                yield Way(flavor.name, count, one.rate(step, flavor) / one.work)


def least_mean_seconds(jobs: Sequence[Work], room: Room) -> float:
    """The bound: seconds from arrival to end, mean over the jobs."""
    edges = _edges(jobs)
    rows = _Rows()
    cost = [1.0] * len(jobs)  # the first columns: how long each job stays
    for number, job in enumerate(jobs):
        late, all_of_it = rows.new(-job.alone / 2), rows.new(-1.0)
        rows.add(late, number, -1.0)
        for at, (start, end) in enumerate(pairwise(edges)):
            start = max(start, job.came)
            if start >= end:
                continue
            busy = rows.new(end - start)
            for way in job.ways:
                column = len(cost)
                cost.append(0.0)
                rows.add(busy, column, 1.0)
                rows.add(rows.of((way.flavor, at), room[way.flavor] * (end - edges[at])), column, way.accelerators)
                # Done in an interval counts as done at its beginning: sooner than it is.
                rows.add(late, column, way.rate * (start - job.came))
                rows.add(all_of_it, column, -way.rate)
    bounds = [(job.alone, None) for job in jobs] + [(0.0, None)] * (len(cost) - len(jobs))
    found = linprog(cost, A_ub=rows.matrix(len(cost)), b_ub=rows.most, bounds=bounds, method="highs")
    assert found.fun is not None, found.message
    return float(found.fun) / len(jobs)


def _edges(jobs: Sequence[Work]) -> list[float]:
    """Of intervals in which all jobs can be done, one after the other."""
    first, last = min(job.came for job in jobs), max(job.came for job in jobs)
    end = last + sum(job.alone for job in jobs)
    length = max(last - first, (end - first) / 10) / FINE
    edges = [first]
    while edges[-1] < end:
        edges.append(edges[-1] + length)
        if edges[-1] > last:
            length *= STRETCH
    return edges


@dataclass
class _Rows:
    """Of the program: each sum is at most `most` of its row."""

    most: list[float] = field(default_factory=list)
    cells: list[tuple[int, int, float]] = field(default_factory=list)
    known: dict[tuple[str, int], int] = field(default_factory=dict)

    def new(self, most: float) -> int:
        self.most.append(most)
        return len(self.most) - 1

    def of(self, key: tuple[str, int], most: float) -> int:
        if key not in self.known:
            self.known[key] = self.new(most)
        return self.known[key]

    def add(self, row: int, column: int, factor: float) -> None:
        self.cells.append((row, column, factor))

    def matrix(self, columns: int) -> Any:
        """Sparse, which linprog takes and its stubs do not know."""
        row, column, factor = zip(*self.cells, strict=True)
        return csr_array((factor, (row, column)), shape=(len(self.most), columns))
