"""The best that a world could come to, by trying everything: jobs one after another, then pods node by node.

It shares the definition of value with the optimizer (tests/property/brute_force.py has its own words for it), and no
way of finding it. Counts of alike pods are all that matters for packing, so of the ways to the same counts the best
one is kept; that is all that makes it faster than trying every plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from apportion.model.eligibility import accepts
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot, Terms
from property.brute_force import job_value

Counts = tuple[int, ...]
Amounts = tuple[int, ...]
TINY = 1e-9


@dataclass(frozen=True)
class Best:
    """How many jobs run, and what is gained: all jobs run whose minimum can, then value counts."""

    admitted: int
    value: float


@dataclass(frozen=True)
class _Kind:
    """Pods that are alike: what each asks for, and the nodes where it may be."""

    request: Amounts
    nodes: frozenset[int]
    flavor: str


def value_of(snapshot: Snapshot, policy: Policy, grants: Mapping[JobKey, Grant]) -> Best:
    """What these grants are worth by the snapshot they were decided from.

    A job that must run has no admission worth, as in the plan's objective.
    """
    jobs = {job.key: job for job in snapshot.jobs}
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    running = {key: grant for key, grant in grants.items() if grant.replicas}
    gained = (_gain(snapshot, policy, jobs[key], flavors[got.flavor], got.replicas) for key, got in running.items())
    return Best(len(running), sum(gained))


def best_of(snapshot: Snapshot, policy: Policy) -> Best:
    """The best of the whole snapshot. As in the program a job with a grant keeps its minimum, and all pods may move."""
    return _Search(snapshot, policy).best()


def _gain(snapshot: Snapshot, policy: Policy, job: Job, flavor: Flavor, replicas: int) -> float:
    worth, growth = job_value(snapshot, policy, job, flavor, replicas)
    return growth if snapshot.terms.get(job.key, Terms()).keeps else worth + growth


class _Search:
    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        self._snapshot, self._policy = snapshot, policy
        self._resources = sorted({name for job in snapshot.jobs for name in job.requests})
        self._nodes = [node for node in snapshot.nodes if node.placeable]
        self._free = tuple(
            tuple(node.allocatable.get(name, 0) - node.foreign.get(name, 0) for name in self._resources)
            for node in self._nodes
        )
        found = {self._kind(job, flavor) for job in snapshot.jobs for flavor in self._accepted(job)}
        # The largest first: where they do not fit is found out soonest.
        self._kinds = sorted(found, key=lambda kind: (-max(kind.request), len(kind.nodes), str(kind)))
        self._packs = cache(self._pack)

    def best(self) -> Best:
        reached: dict[Counts, tuple[int, float]] = {(0,) * len(self._kinds): (0, 0.0)}
        for job in self._snapshot.jobs:
            options = self._options(job)
            following: dict[Counts, tuple[int, float]] = {}
            for counts, (admitted, value) in reached.items():
                for kind, replicas, gain in options:
                    there = counts if kind < 0 else (*counts[:kind], counts[kind] + replicas, *counts[kind + 1 :])
                    new = (admitted + (kind >= 0), value + gain)
                    known = following.get(there)
                    if (known is None or new > known) and (known is not None or self._may_pack(there)):
                        following[there] = new
            reached = following
        for counts, (admitted, value) in sorted(reached.items(), key=lambda item: item[1], reverse=True):
            if self._packs(counts, self._free):
                return Best(admitted, value)
        raise AssertionError("what must run does not fit")

    def _options(self, job: Job) -> list[tuple[int, int, float]]:
        """(kind, replicas, gain); kind -1: it waits."""
        keeps = self._snapshot.terms.get(job.key, Terms()).keeps
        options = [] if keeps else [(-1, 0, 0.0)]
        for flavor in self._accepted(job):
            kind = self._kinds.index(self._kind(job, flavor))
            for replicas in job.steps:
                gain = _gain(self._snapshot, self._policy, job, flavor, replicas)
                if keeps or gain > TINY:
                    options.append((kind, replicas, gain))
        return options

    def _accepted(self, job: Job) -> list[Flavor]:
        return [flavor for flavor in self._snapshot.flavors if accepts(job, flavor)]

    def _kind(self, job: Job, flavor: Flavor) -> _Kind:
        nodes = frozenset(
            at
            for at, node in enumerate(self._nodes)
            if node.flavor == flavor.name
            and job.nodes.labels_match(node.labels)
            and job.nodes.untolerated(node.taints, flavor.tolerations) is None
        )
        return _Kind(tuple(job.requests.get(name, 0) for name in self._resources), nodes, flavor.name)

    def _may_pack(self, counts: Counts) -> bool:
        """By sums alone: a quick no to most."""
        for flavor in {kind.flavor for kind in self._kinds}:
            mine = [(kind, count) for kind, count in zip(self._kinds, counts, strict=True) if kind.flavor == flavor]
            nodes = [at for at, node in enumerate(self._nodes) if node.flavor == flavor]
            for column in range(len(self._resources)):
                wanted = sum(kind.request[column] * count for kind, count in mine)
                if wanted > sum(max(0, self._free[at][column]) for at in nodes):
                    return False
        return True

    def _pack(self, counts: Counts, free: tuple[Amounts, ...]) -> bool:
        """Does some way of putting so many pods of each kind on the nodes exist? One pod after another."""
        at = next((at for at, count in enumerate(counts) if count), None)
        if at is None:
            return True
        kind = self._kinds[at]
        rest = (*counts[:at], counts[at] - 1, *counts[at + 1 :])
        tried = set()
        for node in kind.nodes:
            left = tuple(have - needed for have, needed in zip(free[node], kind.request, strict=True))
            if min(left) < 0:
                continue
            # Two nodes that are alike for all kinds give the same answer.
            signature = (free[node], tuple(node in other.nodes for other in self._kinds))
            if signature in tried:
                continue
            tried.add(signature)
            if self._packs(rest, (*free[:node], left, *free[node + 1 :])):
                return True
        return False
