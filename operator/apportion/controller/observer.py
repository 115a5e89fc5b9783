"""The observer: measures, once a period, how fast jobs are and how far. Never inside a round; no round waits for it."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from apportion.config import Settings
from apportion.controller.prometheus import NoNumber, ask
from apportion.kube import kinds
from apportion.kube.cluster import Cluster, Observed
from apportion.kube.jobs import NO_METERS, JobFacts
from apportion.learning import (
    Stay,
    noted,
    observation,
    refused,
    restart_cost,
    sampled,
    stay_of,
    with_progress,
    with_restart,
)
from apportion.model.jobs import Block, Job
from apportion.model.measured import Record
from apportion.model.policy import Prometheus

log = logging.getLogger("apportion")

CONCURRENCY = 8
RATE_FIELDS = ("spec.scaling.metrics.query", "the annotation apportion.dev/throughput")
PROGRESS_FIELDS = ("spec.scaling.metrics.progressQuery", "the annotation apportion.dev/progress")


class Ground(Protocol):
    """What the observer needs of the allocator."""

    cluster: Cluster

    def current(self) -> Collection[Job]:
        """The jobs of the last snapshot, with their pods."""

    def measured(self) -> None:
        """Something worth deciding on was learned."""


@dataclass(frozen=True)
class Reading:
    """What one look at a job gave; trouble says why a number is missing."""

    rate: float | None = None
    progress: float | None = None
    trouble: Block | None = None


@dataclass
class Observer:
    """Keeps what a job has done at the size where it is; what lasts is in the record, which its status repeats."""

    ground: Ground
    settings: Settings
    leads: Callable[[], bool]
    now: Callable[[], float]
    stays: dict[str, Stay] = field(default_factory=dict)
    """By the uid of the job: one made again under its name was started, not resized."""

    async def run(self) -> None:
        """For ever. A pass that takes longer than a period is not followed by another at once."""
        async with aiohttp.ClientSession() as session:
            while True:
                started = time.monotonic()
                if self.leads():
                    await self.look(session)
                else:
                    self.keep(())
                rest = self.settings.observe_seconds - (time.monotonic() - started)
                await asyncio.sleep(max(self.settings.observe_seconds / 4, rest))

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Once over all jobs that have something to be measured by; eight questions at a time."""
        gate = asyncio.Semaphore(CONCURRENCY)
        source = self.ground.cluster.policy().prometheus

        async def one(job: Job, facts: JobFacts) -> bool:
            async with gate:
                reading = await read(session, source, facts)
            return self.learn(job, reading)

        current = self.ground.current()
        watched = [(job, facts) for job in current if (facts := self._facts(job)) is not None]
        # What was learned of the others is in their status, or they are gone.
        self.keep([job for job in current if job.admission is not None])
        if any(await asyncio.gather(*(one(job, facts) for job, facts in watched))):
            self.ground.measured()

    def keep(self, jobs: Collection[Job]) -> None:
        """Forget all other jobs."""
        for uid in self.stays.keys() - {job.uid for job in jobs}:
            self.stays.pop(uid)
        observed = self.ground.cluster.observed
        for key in observed.keys() - {job.key for job in jobs}:
            observed.pop(key)

    def _facts(self, job: Job) -> JobFacts | None:
        """Of a job that runs, says how it is measured, and has now what it had in the snapshot."""
        entry = self.ground.cluster.entries[kinds.JOB.name].get(job.key)
        facts: JobFacts | None = entry.value if entry is not None else None
        if facts is None or facts.job.uid != job.uid or facts.meters is NO_METERS:
            return None
        return facts if job.admission is not None and facts.job.admission == job.admission else None

    def learn(self, job: Job, reading: Reading) -> bool:
        """Take in one reading; True if it is worth a round."""
        stay = stay_of(job, self.stays.get(job.uid))
        if stay is None:
            return False
        before = self.ground.cluster.observed.get(job.key)
        if before is None or before.uid != job.uid:
            before = Observed(job.uid, job.memory.record)
        record, now = before.record, self.now()
        if reading.rate is not None:
            stay, record = self._with_rate(stay, record, reading.rate, now)
        if reading.progress is not None:
            record = with_progress(record, reading.progress, now)
        self.stays[job.uid] = stay
        settled = stay.ready is not None and now >= stay.ready + self.settings.settle_seconds
        # A job that starts has no rate yet, and that is no trouble.
        trouble = reading.trouble if settled else before.trouble
        after = Observed(job.uid, record, trouble)
        self.ground.cluster.observed[job.key] = after
        if trouble is not None and trouble != before.trouble:
            log.warning("%s: not measured: %s", job.key, trouble.message)
        return after != before

    def _with_rate(self, stay: Stay, record: Record, rate: float, now: float) -> tuple[Stay, Record]:
        stay = sampled(stay, rate, now, self.settings.settle_seconds)
        seen = observation(stay)
        if seen is None:
            return stay, record
        cost = restart_cost(stay, seen.rate)
        if cost is not None:
            record = with_restart(record, cost)
        return stay.counted(), noted(record, seen)


async def read(session: aiohttp.ClientSession, source: Prometheus | None, facts: JobFacts) -> Reading:
    """What the job's queries or annotations say now. A query counts before an annotation."""
    meters = facts.meters
    try:
        rate = await _number(session, source, (meters.query, meters.rate), RATE_FIELDS)
        if rate is not None and (why := refused(rate)):
            raise NoNumber("NotARate", f"{_field(meters.query, RATE_FIELDS)}: the value {why}")
    except NoNumber as none:
        return Reading(trouble=Block(none.reason, none.message))
    try:
        progress = await _number(session, source, (meters.progress_query, meters.progress), PROGRESS_FIELDS)
        if progress is not None and not 0 <= progress <= 1:
            what = f"the value is {progress:g}, and progress is from 0 to 1"
            raise NoNumber("NotAProgress", f"{_field(meters.progress_query, PROGRESS_FIELDS)}: {what}")
    except NoNumber as none:
        return Reading(rate, trouble=Block(none.reason, none.message))
    return Reading(rate, progress)


async def _number(
    session: aiohttp.ClientSession,
    source: Prometheus | None,
    given: tuple[str | None, str | None],
    fields: tuple[str, str],
) -> float | None:
    """None: neither a query nor an annotation is there."""
    query, said = given
    if query is not None:
        if source is None:
            raise NoNumber("NoMetricsSource", f"{fields[0]}: the AllocationPolicy has no metricsSource.prometheus")
        try:
            return await ask(session, source, query)
        except NoNumber as none:
            raise NoNumber(none.reason, f"{fields[0]}: {none.message}") from None
    if said is None:
        return None
    try:
        return float(said[:64])
    except ValueError:
        raise NoNumber("NotANumber", f"{fields[1]}: expected a number, not {said[:40]!r}") from None


def _field(query: str | None, fields: tuple[str, str]) -> str:
    return fields[0] if query is not None else fields[1]
