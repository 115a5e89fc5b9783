"""What a target comes to in a round: which rate is enough, who has more than that, and who will miss it.

A target limits what a job takes: a size that reaches it is worth as much as any larger one. It gives no right over
others. What it gives is weight: the size that reaches it counts as twice as fast as it is, so the step to it is worth
more than a step of like size to somebody who merely becomes faster.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from apportion.model.curves import Learned
from apportion.model.eligibility import accepts, current_grant, speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Block, Enough, Job
from apportion.model.plan import Grant
from apportion.model.snapshot import Snapshot

REACHED_COUNTS = 2.0
THRIFT = 0.1  # of what reaching counts, the dearest way counts so much less than the cheapest
MOST_CAUTION = 0.25
TRUSTED = 1.25  # how far a measurement at the current size may correct the curve
SPARE = 1.1  # given back is only what is left over with a tenth to spare: noise resizes nobody
WORTH_RESTARTS = 10.0  # a restart to give something back is worth it where so many times its cost is left to run
LOOK_SECONDS = 300.0


def aimed(snapshot: Snapshot) -> Snapshot:
    """The jobs with what is enough for them, by flavor; those without a target, or that cannot reach it, without."""
    if all(job.target is None for job in snapshot.jobs):
        return snapshot
    flavors = carried(snapshot)
    jobs = tuple(
        job if job.target is None else replace(job, enough=enough(job, flavors, snapshot.now)) for job in snapshot.jobs
    )
    return replace(snapshot, jobs=jobs)


def carried(snapshot: Snapshot) -> list[Flavor]:
    """The flavors of which there is a node."""
    there = {node.flavor for node in snapshot.nodes}
    return [flavor for flavor in snapshot.flavors if flavor.name in there]


def enough(job: Job, flavors: Iterable[Flavor], now: float) -> tuple[Enough, ...]:
    """By flavor on which some size reaches the target: the rate that does, and what it counts as.

    That is never less than what the smallest such size does on the slowest of these flavors: a job that is fast enough
    at its minimum is not worth less for it.
    """
    needed = needed_rate(job, flavors := list(flavors), now)
    if needed is None:
        return ()
    # Work with an end is paid for until it is done, a rate for as long as it is wanted.
    ends = job.target is not None and job.target.deadline is not None
    cost: dict[str, float] = {}
    rates: list[float] = []
    for flavor in flavors:
        step = smallest(job, flavor, needed)
        if step is not None:
            rate, an_hour = expected(job, flavor, step), step * job.per_replica * _price(flavor, flavors)
            cost[flavor.name] = an_hour / rate if ends else an_hour
            rates.append(rate)
    cheapest = min(cost.values(), default=0.0)
    counts = max(needed * REACHED_COUNTS, min(rates, default=0.0) / (1 - THRIFT))
    return tuple(
        Enough(name, needed, counts * (1 - THRIFT * (1 - cheapest / paid if paid > 0 else 0.0)))
        for name, paid in cost.items()
    )


def _price(flavor: Flavor, flavors: Sequence[Flavor]) -> float:
    """Of an accelerator; where a price is missing somewhere, all are alike and the fewest are the cheapest."""
    if any(other.price_per_hour is None for other in flavors) or flavor.price_per_hour is None:
        return 1.0
    return flavor.price_per_hour


def smallest(job: Job, flavor: Flavor, needed: float) -> int | None:
    """The smallest size that reaches the rate on the flavor; None: none does, or the job does not accept it."""
    if not accepts(job, flavor):
        return None
    return next((step for step in job.steps if expected(job, flavor, step) >= needed), None)


def needed_rate(job: Job, flavors: Iterable[Flavor], now: float) -> float | None:
    """The rate, in terms of the job's curve, that reaches its target; None: any rate is as good (or as late).

    For a deadline a change must make up for its restart; a job that is on time as it is needs no more than it has. A
    curve that is not sure of itself is asked for more; a measurement at the current size corrects it.
    """
    have = _have(job, flavors)
    expected_, observed = have if have is not None else (0.0, 0.0)
    correction = min(max(expected_ / observed, 1 / TRUSTED), TRUSTED) if observed > 0 else 1.0
    caution = 1.0 + min(job.curve.spread, MOST_CAUTION) if isinstance(job.curve, Learned) else 1.0
    at_once = rate_in(job, now, 0.0)
    if at_once is None or not is_known(job):
        return None
    if have is not None and observed >= at_once:
        after = rate_in(job, now, job.restart_seconds)
        return min(expected_, math.inf if after is None else after * correction * caution)
    after = rate_in(job, now, job.restart_seconds)
    return None if after is None else after * correction * caution


def is_known(job: Job) -> bool:
    """Is its rate known at all? What is merely usual has a shape and no unit."""
    return job.declared or isinstance(job.curve, Learned)


def rate_in(job: Job, now: float, lost: float) -> float | None:
    """Work per second that reaches the target if `lost` seconds are not worked; None: no rate does any more."""
    target = job.target
    if target is None:
        return None
    if target.deadline is None:
        return target.throughput
    seconds, left = target.deadline - now - lost, work_left(job)
    return left / seconds if seconds > 0 and left > 0 else None


def work_left(job: Job) -> float:
    """Without any progress told, all of it."""
    work = job.target.work if job.target is not None else 0.0
    return work * (1.0 - (job.memory.record.progress or 0.0))


def expected(job: Job, flavor: Flavor, replicas: int) -> float:
    """By the job's curve; 0 where it gives no usable rate."""
    try:
        rate = float(job.curve.at(replicas)) * speed(job, flavor)
    except (ArithmeticError, IndexError, ValueError):
        return 0.0
    return rate if math.isfinite(rate) and rate > 0 else 0.0


def throughput(job: Job, grant: Grant, flavors: Mapping[str, Flavor]) -> tuple[float, float] | None:
    """(expected, observed) rate with the grant; None where nothing was measured at it."""
    flavor = flavors.get(grant.flavor)
    seen = next(
        (p.rate for p in job.memory.record.points if (p.replicas, p.flavor) == (grant.replicas, grant.flavor)), None
    )
    if flavor is None or seen is None:
        return None
    return float(f"{expected(job, flavor, grant.replicas):.3g}"), float(f"{seen:.3g}")


def _have(job: Job, flavors: Iterable[Flavor]) -> tuple[float, float] | None:
    """(by the curve, by measurement if there is one) at what the job has now; None: it has nothing."""
    grant = current_grant(job)
    flavor = next((flavor for flavor in flavors if flavor.name == grant.flavor), None)
    if flavor is None or not grant.replicas:
        return None
    curve = expected(job, flavor, grant.replicas)
    seen = throughput(job, grant, {flavor.name: flavor})
    return (curve, curve if seen is None else seen[1]) if curve > 0 else None


def frugal(job: Job, flavors: Mapping[str, Flavor], now: float) -> Job:
    """Without the sizes above the one that is enough where it runs, if it has had more than that for a while."""
    grant = current_grant(job)
    goal = next((goal for goal in job.enough if goal.flavor == grant.flavor), None)
    if goal is None or job.admission is None or job.held or now < job.runs_until:
        return job
    if rate_in(job, now, WORTH_RESTARTS * job.restart_seconds) is None:
        return job
    needed = _needed_after_change(job, flavors, now)
    size = None if needed is None else smallest(job, flavors[grant.flavor], needed * SPARE)
    if size is None or size >= grant.replicas:
        return job
    return replace(job, steps=tuple(step for step in job.steps if step <= size))


def _needed_after_change(job: Job, flavors: Mapping[str, Flavor], now: float) -> float | None:
    """As if it had nothing yet: what it has is more than it needs, and says nothing of that."""
    return needed_rate(replace(job, memory=replace(job.memory, admission=None)), flavors.values(), now)


def look_again(job: Job, now: float) -> float | None:
    """When a deadline may ask for another size without anything else having changed."""
    deadline = job.target.deadline if job.target is not None else None
    return min(deadline, now + LOOK_SECONDS) if deadline is not None and deadline > now else None


def at_risk(job: Job, grant: Grant, flavors: Mapping[str, Flavor], now: float) -> Block | None:
    """Why the job will miss its target with this grant, with the numbers; None: it will not."""
    target = job.target
    if target is None:
        return None
    left = work_left(job)
    if target.deadline is not None and now >= target.deadline and left > 0:
        return Block("DeadlinePassed", f"{_time(target.deadline)} has passed with {_of_work(job)} to do")
    if not is_known(job):
        return None
    if target.deadline is None:
        return _too_slow(job, grant, flavors)
    if left <= 0:
        return None
    rate, best = _rate(job, grant, flavors), _best(job, flavors)
    if not grant.replicas:
        start = target.deadline - job.restart_seconds - (left / best if best else math.inf)
        if now <= start:
            return None
        said = f"not even {best:.3g} a second, its best, does {_of_work(job)} by {_time(target.deadline)}"
        return Block("OutOfReach", f"it does not run, and {said}")
    end = now + left / rate if rate else math.inf
    if end <= target.deadline:
        return None
    needs = left / (target.deadline - now)
    late = (end - target.deadline) / 60
    said = f"{grant.replicas} on {grant.flavor} do {rate:.3g} a second, and {_of_work(job)} by {_time(target.deadline)}"
    reach = "" if best >= needs else f"; its best is {best:.3g}"
    return Block("TooSlow", f"{said} takes {needs:.3g}{reach}: {late:.0f} minutes late at this rate")


def _too_slow(job: Job, grant: Grant, flavors: Mapping[str, Flavor]) -> Block | None:
    assert job.target is not None
    wanted = job.target.throughput or 0.0
    rate, best = _rate(job, grant, flavors), _best(job, flavors)
    if best < wanted:
        return Block("OutOfReach", f"it has {rate:.3g} a second of {wanted:.6g}; its best would be {best:.3g}")
    if grant.replicas and rate < wanted:
        return Block("TooSlow", f"{grant.replicas} on {grant.flavor} do {rate:.3g} a second of {wanted:.6g}")
    return None


def _rate(job: Job, grant: Grant, flavors: Mapping[str, Flavor]) -> float:
    """As measured if it was, else by the curve."""
    seen = throughput(job, grant, flavors)
    if seen is not None:
        return seen[1]
    flavor = flavors.get(grant.flavor)
    return expected(job, flavor, grant.replicas) if flavor is not None and grant.replicas else 0.0


def _best(job: Job, flavors: Mapping[str, Flavor]) -> float:
    """The fastest that it could be anywhere, as far as the curve dares to say."""
    curve = job.curve
    far = replace(job, curve=replace(curve, reach=2**31)) if isinstance(curve, Learned) else job
    rates = [expected(far, f, step) for f in flavors.values() if accepts(job, f) for step in job.steps]
    return max(rates, default=0.0)


def _of_work(job: Job) -> str:
    assert job.target is not None
    told = "" if job.memory.record.progress is not None else " (no progress is told: all of it)"
    return f"{work_left(job):.6g} of {job.target.work:.6g}{told}"


def _time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
