"""A small placement: grants become pods, pods find nodes, a shrink leaves what the ReplicaSet would leave."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random

from apportion.model.eligibility import current_grant, free_now, selects
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.plan import Decision, Outcome
from apportion.model.resources import Amounts, fits, minus
from apportion.model.snapshot import Snapshot
from apportion.optimizer import survivors

Choose = Callable[[Random, list[tuple[str, float]]], str]


def least_allocated(random: Random, able: list[tuple[str, float]]) -> str:
    """The name of a node of those that are least full; `able` holds how full each is."""
    least = min(full for _, full in able)
    return random.choice([name for name, full in able if full <= least])


def most_allocated(random: Random, able: list[tuple[str, float]]) -> str:
    most = max(full for _, full in able)
    return random.choice([name for name, full in able if full >= most])


def anywhere(random: Random, able: list[tuple[str, float]]) -> str:
    return random.choice(able)[0]


class Scheduler:
    """Binds pods in a random order, each to a node with room that `choose` picks. Counts the pods that it named."""

    def __init__(self, choose: Choose, random: Random) -> None:
        self._choose, self._random = choose, random
        self._made = 0

    def carry_out(self, snapshot: Snapshot, decision: Decision) -> Snapshot:
        """The grants as the API server shows them at once: new pods wait, those that must go are terminating."""
        outcomes = {outcome.key: outcome for outcome in decision.outcomes}
        leaving = {resize.key: frozenset(resize.leaving) for resize in decision.resizes if resize.wave == 0}
        nodes = {node.name for node in snapshot.nodes}
        jobs = tuple(
            self._resized(job, outcomes[job.key], leaving.get(job.key, frozenset()), nodes, snapshot.now)
            if job.key in outcomes else job
            for job in snapshot.jobs
        )  # fmt: skip
        return replace(snapshot, jobs=jobs, round=decision.round)

    def _resized(self, job: Job, outcome: Outcome, marked: frozenset[str], nodes: set[str], now: float) -> Job:
        if outcome.granted == current_grant(job) and sum(not pod.terminating for pod in job.pods) == (
            outcome.granted.replicas
        ):
            return job if outcome.memory == job.memory else replace(job, memory=outcome.memory)
        there = tuple(replace(pod, deletion_cost=-1) if pod.name in marked else pod for pod in job.pods)
        waiting = [pod for pod in there if pod.node is None]
        kept: tuple[Pod, ...] = ()
        if outcome.granted.flavor == current_grant(job).flavor:
            kept = survivors(replace(job, pods=there), outcome.granted.replicas, nodes)
            kept = (*kept, *waiting[: outcome.granted.replicas - len(kept)])
        staying = {pod.name for pod in kept}
        going = tuple(
            replace(pod, terminating=True) for pod in there if pod.node is not None and pod.name not in staying
        )
        new = tuple(self._pod(job, now) for _ in range(outcome.granted.replicas - len(kept)))
        return replace(job, memory=outcome.memory, pods=(*kept, *going, *new))

    def lost(self, snapshot: Snapshot, name: str) -> Snapshot:
        """The node is gone with its pods: a ReplicaSet has made others, which wait."""
        nodes = tuple(replace(node, placeable=False) if node.name == name else node for node in snapshot.nodes)
        jobs = tuple(
            replace(job, pods=tuple(self._without(job, name, snapshot.now)))
            if any(pod.node == name for pod in job.pods) else job
            for job in snapshot.jobs
        )  # fmt: skip
        return replace(snapshot, nodes=nodes, jobs=jobs)

    def _without(self, job: Job, name: str, now: float) -> Iterable[Pod]:
        for pod in job.pods:
            if pod.node != name:
                yield pod
            elif not pod.terminating:
                yield self._pod(job, now)

    def _pod(self, job: Job, now: float) -> Pod:
        self._made += 1
        name = f"{job.key.name}-{self._made}"
        return Pod(name, name, None, job.requests, now, phase="Pending")

    def bind(self, snapshot: Snapshot) -> Snapshot:
        """Every waiting pod that finds room is ready at once; the others wait on."""
        waiting = [
            (job.key, pod) for job in snapshot.jobs for pod in job.pods if pod.node is None and not pod.terminating
        ]
        if not waiting:
            return snapshot
        self._random.shuffle(waiting)
        jobs = {job.key: job for job in snapshot.jobs}
        spots = _Spots(snapshot)
        bound: dict[JobKey, dict[str, str]] = {}
        for key, pod in waiting:
            if able := spots.able(jobs[key]):
                name = self._choose(self._random, able)
                spots.take(name, pod.requests)
                bound.setdefault(key, {})[pod.name] = name
        return replace(snapshot, jobs=tuple(_bound(job, bound.get(job.key, {}), snapshot.now) for job in snapshot.jobs))


@dataclass(frozen=True)
class _Kind:
    """Pods that look for a node alike. places: by the node's number, its name and how full it is; None: no room."""

    job: Job
    flavor: Flavor
    places: dict[int, tuple[str, float] | None]


class _Spots:
    """What is free while pods are bound. A bound pod changes one node, and only that is looked at again."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._nodes = snapshot.nodes
        self._number = {node.name: at for at, node in enumerate(snapshot.nodes)}
        self._flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self._free = free_now(snapshot)
        self._kinds: dict[object, _Kind] = {}

    def able(self, job: Job) -> list[tuple[str, float]]:
        """The nodes with room for one more pod of the job, and how full each is."""
        flavor = self._flavors[current_grant(job).flavor]
        key = (flavor.name, job.nodes, tuple(sorted(job.requests.items())))
        if key not in self._kinds:
            mine = (at for at, node in enumerate(self._nodes) if node.placeable and selects(job, flavor, node))
            kind = self._kinds[key] = _Kind(job, flavor, dict.fromkeys(mine))
            kind.places.update((at, self._place(kind, at)) for at in kind.places)
        return [place for place in self._kinds[key].places.values() if place is not None]

    def take(self, name: str, requests: Amounts) -> None:
        self._free[name] = minus(self._free[name], requests)
        at = self._number[name]
        for kind in self._kinds.values():
            if kind.places.get(at) is not None:
                kind.places[at] = self._place(kind, at)

    def _place(self, kind: _Kind, at: int) -> tuple[str, float] | None:
        node = self._nodes[at]
        free = self._free[node.name]
        return (node.name, _full(node, free, kind.flavor)) if fits(free, kind.job.requests) else None


def left(snapshot: Snapshot) -> Snapshot:
    """Terminating pods are gone."""
    if not any_leaving(snapshot):
        return snapshot
    jobs = (
        replace(job, pods=tuple(pod for pod in job.pods if not pod.terminating))
        if any(pod.terminating for pod in job.pods) else job
        for job in snapshot.jobs
    )  # fmt: skip
    return replace(snapshot, jobs=tuple(jobs))


def any_leaving(snapshot: Snapshot) -> bool:
    """Pods are terminating: they still hold their room."""
    return any(pod.terminating for job in snapshot.jobs for pod in job.pods)


def _bound(job: Job, where: Mapping[str, str], now: float) -> Job:
    if not where:
        return job
    pods = (
        replace(pod, node=where[pod.name], phase="Running", ready=True, ready_since=now) if pod.name in where else pod
        for pod in job.pods
    )
    return replace(job, pods=tuple(pods))


def _full(node: Node, free: Mapping[str, int], flavor: Flavor) -> float:
    whole = node.allocatable.get(flavor.resource, 0)
    return (whole - free.get(flavor.resource, 0)) / max(1, whole)
