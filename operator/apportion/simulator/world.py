"""A simulated cluster at one moment, and how time passes in it between two decisions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from types import MappingProxyType

from apportion.model.eligibility import current_grant, request_on
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import NOTHING, Grant
from apportion.model.snapshot import Snapshot
from apportion.simulator.arrivals import Arrival, Errors

NEXT_TO_NOTHING = 1e-9  # of a job's work: rounding of sums


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that has come and is not done.

    grant: the last one that it was seen with. resumes: nothing is done before, the job starts again until then.
    started: when it first had anything. queued: seconds that it spent with nothing. recent: the last measurements.
    """

    arrival: Arrival
    done: float = 0.0
    grant: Grant = NOTHING
    resumes: float = -inf
    started: float | None = None
    restarts: int = 0
    queued: float = 0.0
    recent: tuple[Errors, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """Sums since the start; all but the counts are accelerator-seconds.

    capacity: of placeable nodes, less what pods of others hold. used: by jobs that work. lost: held by jobs that start
    again, and by pods that leave. idle: held by nobody. So capacity = used + lost + idle.
    """

    capacity: float = 0.0
    used: float = 0.0
    lost: float = 0.0
    idle: float = 0.0
    restarts: int = 0
    decisions: int = 0
    resizes: int = 0


@dataclass(frozen=True, slots=True)
class World:
    """`snapshot` is what the controller would read at `snapshot.now`; `entries` is what it cannot see."""

    snapshot: Snapshot
    entries: Mapping[JobKey, Entry] = field(default_factory=lambda: MappingProxyType({}))
    account: Account = Account()

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


def speed_of(world: World, job: Job) -> float:
    """What the job's bound pods do in a second, while it does not start again; 0 below its minimum."""
    count = _working(job)
    if count < max(1, job.minimum):
        return 0.0
    return world.entries[job.key].arrival.rate(count, _flavors(world)[current_grant(job).flavor])


def _working(job: Job) -> int:
    return sum(1 for pod in job.pods if pod.node is not None and not pod.terminating)


def _flavors(world: World) -> dict[str, Flavor]:
    return {flavor.name: flavor for flavor in world.snapshot.flavors}


def after_decision(world: World, changes: int) -> World:
    """Who was changed by what the snapshot now says starts again from here; a first start is no restart."""
    entries = dict(world.entries)
    restarts = 0
    for job in world.snapshot.jobs:
        entry, grant = entries[job.key], current_grant(job)
        if grant == entry.grant:
            continue
        entry = replace(entry, grant=grant)
        if grant.replicas and entry.started is None:
            entry = replace(entry, started=world.now)
        elif grant.replicas:
            entry = replace(entry, restarts=entry.restarts + 1, resumes=world.now + job.restart_seconds)
            restarts += 1
        entries[job.key] = entry
    account = replace(
        world.account,
        decisions=world.account.decisions + 1,
        resizes=world.account.resizes + changes,
        restarts=world.account.restarts + restarts,
    )
    return replace(world, entries=MappingProxyType(entries), account=account)


def passed(world: World, until: float) -> tuple[World, tuple[Done, ...]]:
    """The world at the first moment when somebody is done or deleted, who then is gone, or else at `until`."""
    rates = {job.key: speed_of(world, job) for job in world.snapshot.jobs}
    at = min(until, min((_finish(world, key, rate) for key, rate in rates.items()), default=inf))
    if at == inf:
        return replace(world, snapshot=replace(world.snapshot, now=inf)), ()
    world = _later(world, at, rates)
    done = tuple(
        Done(entry, at) for key, entry in world.entries.items() if is_complete(entry) or entry.arrival.leaves <= at
    )
    return _without(world, done), done


def _finish(world: World, key: JobKey, rate: float) -> float:
    entry = world.entries[key]
    leaves = max(world.now, entry.arrival.leaves)
    if rate <= 0:
        return leaves
    return min(leaves, max(world.now, entry.resumes) + max(0.0, entry.arrival.work - entry.done) / rate)


def _later(world: World, at: float, rates: Mapping[JobKey, float]) -> World:
    """At `at`, before which nobody is done."""
    seconds = at - world.now
    entries = dict(world.entries)
    used = lost = 0.0
    for job in world.snapshot.jobs:
        entry = entries[job.key]
        working = max(0.0, at - max(world.now, entry.resumes))
        held = job.per_replica * _working(job)
        leaving = job.per_replica * sum(1 for pod in job.pods if pod.terminating)
        busy = working if rates[job.key] > 0 else 0.0
        used += held * busy
        lost += held * (seconds - busy) + leaving * seconds
        entries[job.key] = replace(
            entry,
            done=entry.done + rates[job.key] * working,
            queued=entry.queued + (0.0 if current_grant(job).replicas else seconds),
        )
    capacity, free = _room(world)
    account = replace(
        world.account,
        capacity=world.account.capacity + capacity * seconds,
        used=world.account.used + used,
        lost=world.account.lost + lost,
        idle=world.account.idle + free * seconds,
    )
    return replace(world, snapshot=replace(world.snapshot, now=at), entries=MappingProxyType(entries), account=account)


def _room(world: World) -> tuple[int, int]:
    """Accelerators that jobs may hold, and those that no pod holds, counted node by node."""
    flavors = _flavors(world)
    held: dict[str, int] = {}
    for job in world.snapshot.jobs:
        for pod in job.pods:
            if pod.node is not None:
                held[pod.node] = held.get(pod.node, 0) + job.per_replica
    whole = free = 0
    for node in world.snapshot.nodes:
        if node.placeable and node.flavor is not None:
            flavor = flavors[node.flavor]
            here = request_on(node.allocatable, flavor) - request_on(node.foreign, flavor)
            whole += here
            free += here - held.get(node.name, 0)
    return whole, free


def _without(world: World, done: tuple[Done, ...]) -> World:
    if not done:
        return world
    gone = {one.entry.arrival.job.key for one in done}
    entries = {key: entry for key, entry in world.entries.items() if key not in gone}
    jobs = tuple(job for job in world.snapshot.jobs if job.key not in gone)
    return replace(world, snapshot=replace(world.snapshot, jobs=jobs), entries=MappingProxyType(entries))
