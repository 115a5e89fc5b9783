"""A small placement: grants become pods, pods find nodes, a shrink leaves what the ReplicaSet would leave."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from random import Random

from apportion.model.eligibility import current_grant, free_now, selects
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.plan import Decision, Outcome
from apportion.model.resources import fits, minus
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
            return replace(job, memory=outcome.memory)
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
        flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        free = free_now(snapshot)
        spots = {key: self._spots(snapshot, jobs[key], flavors) for key in {key for key, _ in waiting}}
        bound: dict[JobKey, dict[str, str]] = {}
        for key, pod in waiting:
            flavor, asked = flavors[current_grant(jobs[key]).flavor], jobs[key].requests
            # The accelerator alone rules most nodes out.
            most, each = flavor.resource, asked.get(flavor.resource, 0)
            able = [
                (node.name, _full(node, free[node.name], flavor))
                for node in spots[key] if free[node.name].get(most, 0) >= each and fits(free[node.name], asked)
            ]  # fmt: skip
            if able:
                name = self._choose(self._random, able)
                free[name] = minus(free[name], pod.requests)
                bound.setdefault(key, {})[pod.name] = name
        return replace(snapshot, jobs=tuple(_bound(job, bound.get(job.key, {}), snapshot.now) for job in snapshot.jobs))

    @staticmethod
    def _spots(snapshot: Snapshot, job: Job, flavors: Mapping[str, Flavor]) -> tuple[Node, ...]:
        """The nodes that the job's pods may be on, whether or not there is room."""
        flavor = flavors[current_grant(job).flavor]
        return tuple(node for node in snapshot.nodes if node.placeable and selects(job, flavor, node))


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
