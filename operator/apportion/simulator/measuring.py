"""Learning in virtual time: a simulated job reports how fast it is, and what follows is what the operator learns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from apportion.learning import Stay, informed, noted, observation, sampled
from apportion.model.jobs import Job, JobKey
from apportion.model.snapshot import Snapshot
from apportion.simulator.world import Done, Entry, World

SAMPLES = 5
MOST_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Measuring:
    """sigma: standard deviation of the logarithm of one sample's error. settle, period: seconds after a start before
    rates count, and between two samples, as in the operator's settings."""

    sigma: float = 0.05
    settle: float = 60.0
    period: float = 15.0


class Observer:
    """Keeps which crew was measured, and a few of those who were: their TrainingJobs are still there when they are
    done, and say how fast flavors are."""

    def __init__(self, measuring: Measuring, seed: int) -> None:
        self._measuring, self._seed = measuring, seed
        self._measured: dict[JobKey, frozenset[str]] = {}
        self._last: dict[JobKey, Job] = {}
        self._gone: list[Job] = []

    def next(self, world: World) -> float:
        """When something is to be learned next."""
        due = (self._due(key, entry) for key, entry in world.entries.items())
        return min(due, default=math.inf)

    def _due(self, key: JobKey, entry: Entry) -> float:
        if entry.rate <= 0 or self._measured.get(key) == entry.crew:
            return math.inf
        return entry.since + self._measuring.settle + SAMPLES * self._measuring.period

    def left(self, done: Sequence[Done]) -> None:
        """Those who are done; who was seen on two flavors is remembered a while."""
        for one in done:
            key = one.entry.arrival.job.key
            self._measured.pop(key, None)
            job = self._last.pop(key, None)
            if job is not None and len({point.flavor for point in job.memory.record.points}) > 1:
                self._gone = [*self._gone, job][-MOST_REMEMBERED:]

    def learned(self, world: World) -> Snapshot:
        """The snapshot with what was measured by now, and what it says of every job."""
        snapshot = world.snapshot
        jobs = [self._seen(job, world.entries[job.key], snapshot.now) for job in snapshot.jobs]
        known = informed([*jobs, *self._gone], snapshot.flavors, snapshot.nodes)
        return replace(snapshot, jobs=known[: len(jobs)])

    def _seen(self, job: Job, entry: Entry, now: float) -> Job:
        """As its owner applied it, with the record."""
        said = entry.arrival.job
        memory, admission = job.memory, job.admission
        if admission is not None and self._due(job.key, entry) <= now and len(entry.crew) == admission.replicas:
            self._measured[job.key] = entry.crew
            stay = Stay(admission, ready=entry.since - self._measuring.settle)
            random = Random(f"{self._seed} {job.key} {entry.since}")
            for number in range(SAMPLES):
                rate = entry.rate * random.lognormvariate(0.0, self._measuring.sigma)
                at = now - (SAMPLES - 1 - number) * self._measuring.period
                stay = sampled(stay, rate, at, self._measuring.settle)
            if (seen := observation(stay)) is not None:
                memory = replace(memory, record=noted(memory.record, seen))
        if job.target is not None:
            progress = math.floor(100 * min(1.0, entry.done / entry.arrival.work)) / 100
            if progress != (memory.record.progress or 0.0):
                memory = replace(memory, record=replace(memory.record, progress=progress, progress_at=now))
        if memory is not job.memory or job.curve is not said.curve or job.flavors is not said.flavors:
            job = replace(job, memory=memory, curve=said.curve, flavors=said.flavors)
        if memory.record.points:
            self._last[job.key] = job
        return job
