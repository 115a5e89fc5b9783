"""The best that a world could come to, by trying everything: jobs one after another, then pods node by node.

It shares with the optimizer the definition of value (in the words of tests/property/brute_force.py) and the ranking by
which a ReplicaSet chooses pods, but no way of finding a plan. Counts of alike pods are all that matters for packing, so
of the ways to the same counts the best one is kept; that is what makes it faster than trying every plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from apportion.model.eligibility import accepts, current_grant
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import survivors
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
    """The best of the whole snapshot. A job with a grant keeps its minimum.

    Pods that run stay where they are: of a job that shrinks those that the ReplicaSet's ranking keeps.
    """
    return _Search(snapshot, policy).best()


def _gain(snapshot: Snapshot, policy: Policy, job: Job, flavor: Flavor, replicas: int) -> float:
    worth, growth = job_value(snapshot, policy, job, flavor, replicas)
    return growth if snapshot.terms.get(job.key, Terms()).keeps else worth + growth


@dataclass(frozen=True)
class _Option:
    """What a job may get: new pods of a kind (-1: it waits), and what those that stay hold on each node."""

    kind: int
    new: int
    held: tuple[Amounts, ...]
    gain: float


@dataclass(frozen=True)
class _State:
    """New pods by kind, and what those that stay leave free on each node."""

    counts: Counts
    free: tuple[Amounts, ...]


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
        self._kinds = sorted(found, key=lambda kind: (-max(kind.request), sorted(kind.nodes), kind.request))
        self._packs = cache(self._pack)

    def best(self) -> Best:
        reached: dict[_State, tuple[int, float]] = {_State((0,) * len(self._kinds), self._free): (0, 0.0)}
        for job in self._snapshot.jobs:
            options = self._options(job)
            following: dict[_State, tuple[int, float]] = {}
            for state, (admitted, value) in reached.items():
                for option in options:
                    there = self._after(state, option)
                    new = (admitted + (option.kind >= 0), value + option.gain)
                    if there is not None and new > following.get(there, (-1, 0.0)):
                        following[there] = new
            reached = following
        for state, (admitted, value) in sorted(reached.items(), key=lambda item: item[1], reverse=True):
            if self._packs(state.counts, state.free):
                return Best(admitted, value)
        raise AssertionError("what must run does not fit")

    def _after(self, state: _State, option: _Option) -> _State | None:
        """With the option's pods: those that stay on their nodes, the others counted. None where it does not fit."""
        if option.kind < 0:
            return state
        kind, counts = option.kind, state.counts
        free = tuple(
            tuple(have - taken for have, taken in zip(here, held, strict=True)) if any(held) else here
            for here, held in zip(state.free, option.held, strict=True)
        )
        there = _State((*counts[:kind], counts[kind] + option.new, *counts[kind + 1 :]), free)
        return there if min(map(min, free)) >= 0 and self._may_pack(there) else None

    def _options(self, job: Job) -> list[_Option]:
        keeps = self._snapshot.terms.get(job.key, Terms()).keeps
        nothing = (tuple(0 for _ in self._resources),) * len(self._nodes)
        options = [] if keeps else [_Option(-1, 0, nothing, 0.0)]
        for flavor in self._accepted(job):
            kind = self._kinds.index(self._kind(job, flavor))
            for replicas in job.steps:
                gain = _gain(self._snapshot, self._policy, job, flavor, replicas)
                if keeps or gain > TINY:
                    held, new = self._staying(job, flavor, replicas)
                    options.append(_Option(kind, new, held, gain))
        return options

    def _staying(self, job: Job, flavor: Flavor, replicas: int) -> tuple[tuple[Amounts, ...], int]:
        """What the pods that stay hold, by node, and how many others there must be."""
        here = {node.name for node in self._nodes if node.flavor == flavor.name}
        pods = survivors(job, replicas, here) if current_grant(job).flavor == flavor.name else ()
        held = tuple(
            tuple(sum(pod.requests.get(name, 0) for pod in pods if pod.node == node.name) for name in self._resources)
            for node in self._nodes
        )
        return held, replicas - len(pods)

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

    def _may_pack(self, state: _State) -> bool:
        """By sums alone: a quick no to most."""
        for flavor in {kind.flavor for kind in self._kinds}:
            pairs = zip(self._kinds, state.counts, strict=True)
            mine = [(kind, count) for kind, count in pairs if kind.flavor == flavor]
            nodes = [at for at, node in enumerate(self._nodes) if node.flavor == flavor]
            for column in range(len(self._resources)):
                wanted = sum(kind.request[column] * count for kind, count in mine)
                if wanted > sum(max(0, state.free[at][column]) for at in nodes):
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
