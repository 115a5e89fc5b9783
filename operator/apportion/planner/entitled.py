"""Limits while changes are under way: what is granted now, beside what has not been given back yet, breaks none.

The plan keeps quotas, budgets and power caps in the end. A move that still waits for room holds its old flavor until
then, so whoever would take that share now waits as well.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from apportion.model.caps import Cap
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant, Resize
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import Use, promised_use, quota_breaches
from apportion.planner.queueing import whole_usage
from apportion.planner.spending import exceeds


class Entitlement:
    """Whether grants keep the limits that what was granted before keeps."""

    def __init__(self, snapshot: Snapshot, before: Mapping[JobKey, Grant]) -> None:
        self._snapshot = snapshot
        self._promised = {flavor.name: promised_use(snapshot, flavor) for flavor in snapshot.flavors}
        self._standing = {flavor.name: set(self._broken(flavor, before)) for flavor in snapshot.flavors}
        self._spent = self._counted(before)

    def broken(self, flavor: Flavor, grants: Mapping[JobKey, Grant]) -> set[str]:
        """The limits of the flavor, as kind/name/flavor, that the grants break and those before did not."""
        return set(self._broken(flavor, grants)) - self._standing[flavor.name]

    def keeps(self, grants: Mapping[JobKey, Grant]) -> bool:
        return not self.overdrawn(grants) and not any(self.broken(flavor, grants) for flavor in self._snapshot.flavors)

    def overdrawn(self, grants: Mapping[JobKey, Grant]) -> list[Cap]:
        """The budgets and power caps that the grants pass, and that they count more against than those before did."""
        limits = ((cap, max(cap.limit, spent)) for cap, spent in zip(self._snapshot.caps, self._spent, strict=True))
        counted = zip(limits, self._counted(grants), strict=True)
        return [cap for (cap, limit), used in counted if exceeds(used, limit)]

    def _counted(self, grants: Mapping[JobKey, Grant]) -> list[float]:
        used = whole_usage(self._snapshot.jobs, grants)
        return [cap.used(used) for cap in self._snapshot.caps]

    def _broken(self, flavor: Flavor, grants: Mapping[JobKey, Grant]) -> Iterator[str]:
        used, own = Counter[str | None](), Counter[str | None]()
        nothing_said = Terms()
        for job in self._snapshot.jobs:
            grant = grants.get(job.key)
            if grant is None or grant.flavor != flavor.name:
                continue
            used[job.queue_name] += job.per_replica * grant.replicas
            if not self._snapshot.terms.get(job.key, nothing_said).borrows:
                own[job.queue_name] += job.per_replica * grant.replicas
        for sentence in quota_breaches(self._snapshot, flavor, Use(used, own), self._promised[flavor.name]):
            yield sentence.partition(":")[0]


def entitled(snapshot: Snapshot, before: Mapping[JobKey, Grant], resizes: Sequence[Resize]) -> tuple[Resize, ...]:
    """The resizes, with those put off to a later wave that would use a share which a waiting move still holds."""
    limited = snapshot.queues or snapshot.caps
    if not limited or not any(resize.wave and resize.kind == "Move" for resize in resizes):
        return tuple(resizes)
    entitlement = Entitlement(snapshot, before)
    grants = {**before, **{resize.key: resize.target for resize in resizes if resize.wave == 0}}
    put_off: set[JobKey] = set()
    while late := _too_early(entitlement, snapshot, grants, [one for one in resizes if one.key not in put_off]):
        # A move that waits as well holds its old share longer: the others are looked at anew.
        grants.update((key, before.get(key, Grant())) for key in late)
        put_off |= late
    return tuple(replace(resize, wave=1) if resize.key in put_off else resize for resize in resizes)


def _too_early(
    entitlement: Entitlement, snapshot: Snapshot, grants: Mapping[JobKey, Grant], resizes: Sequence[Resize]
) -> set[JobKey]:
    """Of the resizes of wave 0 those that must wait, the last first, so that these grants break no limit."""
    jobs = {job.key: job for job in snapshot.jobs}
    grants, late = dict(grants), set[JobKey]()

    def wait(resize: Resize) -> None:
        grants[resize.key] = resize.current
        late.add(resize.key)

    for flavor in snapshot.flavors:
        takers = [resize for resize in resizes if resize.wave == 0 and _takes(resize, flavor)]
        while takers and (broken := entitlement.broken(flavor, grants)):
            resize = takers.pop()
            if any(_concerns(name, jobs[resize.key], snapshot) for name in broken):
                wait(resize)
    takers = [resize for resize in resizes if resize.wave == 0 and resize.key not in late]
    while takers and (overdrawn := entitlement.overdrawn(grants)):
        resize = takers.pop()
        if any(_counts_more(cap, jobs[resize.key], resize) for cap in overdrawn):
            wait(resize)
    return late


def _counts_more(cap: Cap, job: Job, resize: Resize) -> bool:
    after, now = (cap.used(whole_usage([job], {job.key: grant})) for grant in (resize.target, resize.current))
    return after > now


def _takes(resize: Resize, flavor: Flavor) -> bool:
    return resize.target.flavor == flavor.name and resize.kind in ("Admit", "Grow", "Move")


def _concerns(limit: str, job: Job, snapshot: Snapshot) -> bool:
    """Whether the job's queue is the one that the limit is about, or one of its cohort."""
    kind, name, _ = limit.split("/", 2)
    if kind != "cohort":
        return job.queue_name == name
    return any(
        queue.name == job.queue_name and name in (queue.cohort, f"queue {queue.name}") for queue in snapshot.queues
    )
