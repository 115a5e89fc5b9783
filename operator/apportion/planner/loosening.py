"""Whether a plan keeps somebody waiting for the sake of promises that cost nobody anything."""

from collections.abc import Mapping, Set

from apportion.model.eligibility import accepts, request_on, room
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant
from apportion.model.snapshot import Snapshot


def keeps_waiting(snapshot: Snapshot, targets: Mapping[JobKey, Grant], costless: Set[JobKey]) -> bool:
    """Might a job that gets nothing have a place if those in `costless` were not tied to a flavor?

    By sums: that is quick, and yes may be in vain.
    """
    if not costless:
        return False
    jobs = {job.key: job for job in snapshot.jobs}
    free = _left(snapshot, targets, jobs)
    room_for = dict(free)
    for key in costless:
        job, target = jobs[key], targets[key]
        if target.replicas and any(
            free[flavor.name] >= job.minimum_accelerators and flavor.name != target.flavor and accepts(job, flavor)
            for flavor in snapshot.flavors
        ):
            room_for[target.flavor] += target.replicas * job.per_replica
    return any(
        room_for[flavor.name] >= job.minimum_accelerators
        for job in snapshot.jobs
        if snapshot.terms[job.key].candidate and job.queue_name is not None and not targets[job.key].replicas
        for flavor in snapshot.flavors
        if accepts(job, flavor)
    )


def _left(snapshot: Snapshot, targets: Mapping[JobKey, Grant], jobs: Mapping[JobKey, Job]) -> dict[str, int]:
    """By flavor: accelerators that nobody has in the end, on nodes that take new pods."""
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    left = dict.fromkeys(flavors, 0)
    free = room(snapshot)
    for node in snapshot.nodes:
        if node.flavor in flavors and node.name in free:
            left[node.flavor] += request_on(free[node.name], flavors[node.flavor])
    for key, grant in targets.items():
        if grant.flavor in left:
            left[grant.flavor] -= grant.replicas * jobs[key].per_replica
    return left
