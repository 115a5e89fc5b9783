"""A simulated cluster at one moment, and how time passes in it between two decisions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from types import MappingProxyType

from apportion.model.eligibility import current_grant
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.snapshot import Snapshot
from apportion.simulator.account import Account, Group, Tally, rooms
from apportion.simulator.arrivals import Arrival, Errors

NEXT_TO_NOTHING = 1e-9  # of a job's work: rounding of sums


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that has come and is not done.

    resumes: nothing is done before, the job starts again until then. started: when it first had anything. queued:
    seconds that it spent with nothing. recent: the last measurements of every size.
    pods: those of which the rest follows. crew: the pods that work; with others in it the job starts again. rate: work
    per second, while it does not start again. held: accelerators of the crew, of `group`; leaving: those of pods that
    go, by group. waits: it has nothing. since: when the crew began to work.
    """

    arrival: Arrival
    done: float = 0.0
    resumes: float = -inf
    started: float | None = None
    restarts: int = 0
    queued: float = 0.0
    recent: tuple[Errors, ...] = ()
    pods: tuple[Pod, ...] = ()
    crew: frozenset[str] = frozenset()
    rate: float = 0.0
    held: int = 0
    group: Group = ("", "")
    leaving: tuple[tuple[Group, int], ...] = ()
    waits: bool = True
    since: float = -inf

    @property
    def ends(self) -> float:
        """When its work is done or its owner deletes it, if nothing changes."""
        if self.rate <= 0:
            return self.arrival.leaves
        left = max(0.0, self.arrival.work - self.done)
        return min(self.arrival.leaves, self.resumes + left / self.rate)


@dataclass(frozen=True, slots=True)
class World:
    """`snapshot` is what the controller would read at `snapshot.now`; `entries` is what it cannot see."""

    snapshot: Snapshot
    entries: Mapping[JobKey, Entry] = field(default_factory=lambda: MappingProxyType({}))
    account: Account = field(default_factory=Account)

    @property
    def now(self) -> float:
        return self.snapshot.now


@dataclass(frozen=True, slots=True)
class Done:
    """A job that has just done its work, or that its owner has deleted."""

    entry: Entry
    at: float

    @property
    def complete(self) -> bool:
        return is_complete(self.entry)


def is_complete(entry: Entry) -> bool:
    return entry.done >= (1.0 - NEXT_TO_NOTHING) * entry.arrival.work


def settled(world: World) -> World:
    """The entries as the snapshot's pods now make them: whose crew has changed starts again from here.

    A first start is no restart. Of the others nothing is looked at again.
    """
    flavors = {flavor.name: flavor for flavor in world.snapshot.flavors}
    on = {node.name: node.flavor or "" for node in world.snapshot.nodes}
    entries = dict(world.entries)
    restarts = 0
    for job in world.snapshot.jobs:
        entry = entries[job.key]
        waits = not current_grant(job).replicas
        if job.pods is not entry.pods or waits != entry.waits:
            after = replace(_manned(entry, job, flavors, on), waits=waits)
            entries[job.key] = after = _started(after, entry.crew, world.now)
            restarts += after.restarts - entry.restarts
    account = replace(world.account, restarts=world.account.restarts + restarts)
    return replace(world, entries=MappingProxyType(entries), account=account)


def _manned(entry: Entry, job: Job, flavors: Mapping[str, Flavor], on: Mapping[str, str]) -> Entry:
    """Who works, how fast that is, and what it holds."""
    crew = [pod for pod in job.pods if pod.node is not None and not pod.terminating]
    leaving: dict[Group, int] = {}
    for pod in job.pods:
        if pod.terminating and pod.node is not None:
            group = (job.queue_name or "", on[pod.node])
            leaving[group] = leaving.get(group, 0) + job.per_replica
    flavor = flavors[on[crew[0].node or ""]] if crew else None
    enough = flavor is not None and len(crew) >= max(1, job.minimum)
    return replace(
        entry,
        pods=job.pods,
        crew=frozenset(pod.name for pod in crew),
        rate=entry.arrival.rate(len(crew), flavor) if enough and flavor else 0.0,
        held=job.per_replica * len(crew),
        group=(job.queue_name or "", flavor.name if flavor else ""),
        leaving=tuple(leaving.items()),
    )


def _started(entry: Entry, before: frozenset[str], now: float) -> Entry:
    """What a new crew costs: the restart, unless it is the first."""
    if entry.crew == before:
        return entry
    if not entry.rate:
        return replace(entry, resumes=now)
    if entry.started is None:
        return replace(entry, started=now, resumes=now, since=now)
    resumes = now + entry.arrival.job.restart_seconds
    return replace(entry, restarts=entry.restarts + 1, resumes=resumes, since=resumes)


def first_end(world: World) -> float:
    """When the first of the jobs is done or deleted, if nothing changes."""
    return max(world.now, min((entry.ends for entry in world.entries.values()), default=inf))


def passed(world: World, until: float) -> tuple[World, tuple[Done, ...]]:
    """The world at `until`, and who was done or deleted by then, each at its own time: the room stays empty."""
    start, seconds = world.now, until - world.now
    tally, done, freed = Tally(world.account), [], dict.fromkeys(world.account.rooms, 0.0)
    entries: dict[JobKey, Entry] = {}
    for key, entry in world.entries.items():
        end = max(start, entry.ends)
        at = min(end, until)
        working = max(0.0, at - max(start, entry.resumes)) if entry.rate > 0 else 0.0
        if entry.held:
            tally.use(entry.group, entry.held * working, entry.held * (at - start - working))
        for group, count in entry.leaving:
            tally.use(group, 0.0, count * (at - start))
        entry = replace(
            entry,
            done=entry.done + entry.rate * working,
            queued=entry.queued + (at - start if entry.waits else 0.0),
            resumes=max(entry.resumes, at),
        )
        if end > until:
            entries[key] = entry
            continue
        done.append(Done(entry, at))
        for (_, flavor), count in ((entry.group, entry.held), *entry.leaving):
            freed[flavor] = freed.get(flavor, 0.0) + count * (until - at)
    for flavor, (whole, free) in rooms(world.snapshot).items():
        tally.room(flavor, whole * seconds, free * seconds + freed.get(flavor, 0.0))
    uses, by_flavor = tally.sums
    jobs = world.snapshot.jobs
    if done:
        jobs = tuple(job for job in jobs if job.key in entries)
    snapshot = replace(world.snapshot, now=until, jobs=jobs)
    account = replace(world.account, uses=uses, rooms=by_flavor)
    return World(snapshot, MappingProxyType(entries), account), tuple(sorted(done, key=lambda one: one.at))
