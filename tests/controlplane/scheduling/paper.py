"""A world without a control plane: the same decisions, and a scheduler that takes pods in any order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from apportion.kube import kinds
from apportion.kube.cluster import Cluster
from apportion.model.eligibility import current_grant, free_now, selects
from apportion.model.flavors import Node
from apportion.model.jobs import JobKey, Pod
from apportion.model.plan import Decision, Grant
from apportion.model.policy import Policy
from apportion.model.resources import fits, minus
from apportion.model.snapshot import Snapshot
from apportion.optimizer import survivors
from apportion.planner import decide
from controlplane.components import GPU
from controlplane.scheduling.worlds import World

READY = [{"type": "Ready", "status": "True"}]
CREATED = "2026-01-01T00:00:00Z"
START = 1767225600.0
ROUND_SECONDS = 2.0
MOST_ROUNDS = 30

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


@dataclass(frozen=True)
class Unplaced:
    """A pod that was granted and found no room."""

    job: JobKey
    told: str


class Paper:
    """One world on paper. `snapshot` is how things stand."""

    def __init__(self, world: World, choose: Choose, seed: int = 0) -> None:
        self._world, self._choose, self._random = world, choose, Random(seed)
        self._made = 0
        self.policy = Policy()
        self.snapshot = self._read((*world.nodes, *world.foreign), world.jobs, START)
        self.rounds = 0

    def waves(self) -> Iterator[Unplaced]:
        """Rounds until nothing changes any more; what found no room on the way."""
        for _ in range(MOST_ROUNDS):
            decision = decide(self.snapshot, self.policy)
            if not decision.resizes:
                return
            self.rounds += 1
            yield from self._carry_out(decision)
        raise AssertionError(f"{self._world.name} does not settle: {decision.resizes}")

    def leave_and_come(self) -> None:
        """Some jobs leave with their pods, others come."""
        staying = [job for job in self.snapshot.jobs if job.key.name not in self._world.leaving]
        coming = self._read(self._world.nodes, self._world.arriving, self.snapshot.now).jobs
        jobs = tuple(sorted((*staying, *coming), key=lambda job: job.key))
        self.snapshot = replace(self.snapshot, jobs=jobs)

    def grants(self) -> dict[JobKey, Grant]:
        return {job.key: current_grant(job) for job in self.snapshot.jobs}

    def _carry_out(self, decision: Decision) -> Iterator[Unplaced]:
        """Pods that leave are gone before the scheduler sees those that come."""
        now = self.snapshot.now + ROUND_SECONDS
        granted = {outcome.key: outcome for outcome in decision.outcomes}
        leaving = {resize.key: set(resize.leaving) for resize in decision.resizes if resize.wave == 0}
        nodes = {node.name for node in self.snapshot.nodes}
        jobs, missing = [], []
        for job in self.snapshot.jobs:
            outcome = granted[job.key]
            same = current_grant(job).flavor == outcome.granted.flavor
            marked = replace(job, pods=tuple(_marked(pod, leaving.get(job.key, set())) for pod in job.pods))
            kept = survivors(marked, outcome.granted.replicas, nodes) if same else ()
            jobs.append(replace(job, memory=outcome.memory, pods=kept))
            missing += [job.key] * (outcome.granted.replicas - len(kept))
        self.snapshot = replace(self.snapshot, jobs=tuple(jobs), round=decision.round, now=now)
        self._random.shuffle(missing)
        for key in missing:
            unplaced = self._bind(key, granted[key].granted.flavor)
            if unplaced is not None:
                yield unplaced

    def _bind(self, key: JobKey, flavor_name: str) -> Unplaced | None:
        job = next(job for job in self.snapshot.jobs if job.key == key)
        flavor = next(flavor for flavor in self.snapshot.flavors if flavor.name == flavor_name)
        free = free_now(self.snapshot)
        nodes = {node.name: node for node in self.snapshot.nodes if selects(job, flavor, node)}
        able = [(name, _full(node, free[name])) for name, node in nodes.items() if fits(free[name], job.requests)]
        if not able:
            return Unplaced(key, f"{dict(job.requests)} on { ({name: free[name] for name in nodes}) }")
        self._made += 1
        name = f"{key.name}-{self._made}"
        now = self.snapshot.now
        pod = Pod(name, name, self._choose(self._random, able), job.requests, now, ready=True, ready_since=now)
        jobs = (replace(one, pods=(*one.pods, pod)) if one.key == key else one for one in self.snapshot.jobs)
        self.snapshot = replace(self.snapshot, jobs=tuple(jobs))
        return None

    def _read(self, around: tuple[Mapping[str, Any], ...], jobs: tuple[Mapping[str, Any], ...], now: float) -> Snapshot:
        """By the code that reads a cluster."""
        cluster = Cluster()
        for number, raw in enumerate((*around, *jobs)):
            meta = {**raw["metadata"], "uid": f"{raw['metadata']['name']}-uid", "resourceVersion": str(number + 1)}
            status = {**raw.get("status", {}), "conditions": READY} if raw["kind"] == "Node" else {}
            read = {**raw, "metadata": {**meta, "generation": 1, "creationTimestamp": CREATED}, "status": status}
            cluster.apply(kinds.BY_NAME[raw["kind"]], read)
        snapshot = cluster.snapshot(now)
        return replace(snapshot, jobs=tuple(replace(job, created=now) for job in snapshot.jobs))


def _marked(pod: Pod, leaving: set[str]) -> Pod:
    return replace(pod, deletion_cost=-1) if pod.name in leaving else pod


def _full(node: Node, free: Mapping[str, int]) -> float:
    used = minus(node.allocatable, free)
    return used.get(GPU, 0) / max(1, node.allocatable.get(GPU, 1))
