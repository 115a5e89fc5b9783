"""Quota while changes are under way: what is granted now, beside what has not been given back yet, breaks no limit.

The plan keeps every limit in the end. A move that still waits for room holds its old flavor until then, so whoever
would take that share now waits as well.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant, Resize
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import Use, promised_use, quota_breaches


class Entitlement:
    """Whether grants keep the limits that what was granted before keeps."""

    def __init__(self, snapshot: Snapshot, before: Mapping[JobKey, Grant]) -> None:
        self._snapshot = snapshot
        self._promised = {flavor.name: promised_use(snapshot, flavor) for flavor in snapshot.flavors}
        self._standing = {flavor.name: set(self._broken(flavor, before)) for flavor in snapshot.flavors}

    def broken(self, flavor: Flavor, grants: Mapping[JobKey, Grant]) -> set[str]:
        """The limits of the flavor, as kind/name/flavor, that the grants break and those before did not."""
        return set(self._broken(flavor, grants)) - self._standing[flavor.name]

    def keeps(self, grants: Mapping[JobKey, Grant]) -> bool:
        return not any(self.broken(flavor, grants) for flavor in self._snapshot.flavors)

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
    if not snapshot.queues or not any(resize.wave and resize.kind == "Move" for resize in resizes):
        return tuple(resizes)
    entitlement = Entitlement(snapshot, before)
    jobs = {job.key: job for job in snapshot.jobs}
    grants = {**before, **{resize.key: resize.target for resize in resizes if resize.wave == 0}}
    put_off: set[JobKey] = set()
    for flavor in snapshot.flavors:
        takers = [resize for resize in resizes if resize.wave == 0 and _takes(resize, flavor)]
        while takers and (broken := entitlement.broken(flavor, grants)):
            resize = takers.pop()
            if any(_concerns(name, jobs[resize.key], snapshot) for name in broken):
                grants[resize.key] = before.get(resize.key, Grant())
                put_off.add(resize.key)
    return tuple(replace(resize, wave=1) if resize.key in put_off else resize for resize in resizes)


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
