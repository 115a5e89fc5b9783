"""A world without a control plane: the same decisions, and a scheduler that takes pods in any order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from apportion.kube import kinds
from apportion.kube.cluster import Cluster
from apportion.model.eligibility import current_grant, free_now
from apportion.model.jobs import JobKey
from apportion.model.plan import Decision, Grant
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from apportion.simulator import Choose, Scheduler, left
from controlplane.scheduling.worlds import World

READY = [{"type": "Ready", "status": "True"}]
CREATED = "2026-01-01T00:00:00Z"
START = 1767225600.0
ROUND_SECONDS = 2.0
MOST_ROUNDS = 30


@dataclass(frozen=True)
class Unplaced:
    """A pod that was granted and found no room."""

    job: JobKey
    told: str


class Paper:
    """One world on paper. `snapshot` is how things stand."""

    def __init__(self, world: World, choose: Choose, seed: int = 0) -> None:
        self._world, self._scheduler = world, Scheduler(choose, Random(seed))
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
        snapshot = left(self._scheduler.carry_out(self.snapshot, decision))
        self.snapshot = self._scheduler.bind(replace(snapshot, now=snapshot.now + ROUND_SECONDS))
        free = free_now(self.snapshot)
        for job in self.snapshot.jobs:
            yield from (Unplaced(job.key, f"{dict(job.requests)} on {free}") for pod in job.pods if pod.node is None)

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
