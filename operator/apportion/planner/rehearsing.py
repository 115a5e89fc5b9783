"""A plan with moves, carried out on paper before anybody is moved.

The program packs where everybody ends. On the way there a mover's new pods go where there is room at that moment, and
may sit in places that the plan keeps for somebody else. Who was to come by the moves does not come then, and they were
for nothing.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace

from apportion.model.eligibility import free_now
from apportion.model.jobs import Admission, Job, JobKey, Pod
from apportion.model.plan import Grant, Resize
from apportion.model.resources import fits, minus
from apportion.model.snapshot import Snapshot
from apportion.optimizer import Sketch, survivors
from apportion.planner.targets import expected
from apportion.planner.waves import Eligibility, in_waves, moving


def moves_in_vain(
    snapshot: Snapshot, before: Mapping[JobKey, Grant], targets: Mapping[JobKey, Grant]
) -> frozenset[JobKey]:
    """Running jobs that would move for the sake of others, to or from a flavor where somebody is to be admitted who is
    not in the end, and could not be even if all there gave back what they have above their minimum.

    Who becomes faster by its move has that whatever comes of the others.
    """
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}

    def rate(job: Job, grant: Grant) -> float:
        return expected(job, flavors[grant.flavor], grant.replicas) if grant.flavor in flavors else 0.0

    moves = moving(before, targets)
    for_others = [
        job.key for job in snapshot.jobs if job.key in moves and rate(job, moves[job.key]) <= rate(job, before[job.key])
    ]
    if not for_others:
        return frozenset()
    end, granted = carried_out(snapshot, before, targets)
    missing = [key for key, target in targets.items() if target.replicas and not granted[key].replicas]
    if not missing:
        return frozenset()
    jobs = {job.key: job for job in end.jobs}
    least = {key: Grant(grant.flavor, min(grant.replicas, jobs[key].minimum)) for key, grant in granted.items()}
    sketch = Sketch(end, least)
    shut_out = {
        targets[key].flavor for key in missing if not sketch.fits({key: Grant(targets[key].flavor, jobs[key].minimum)})
    }
    return frozenset(key for key in for_others if shut_out & {before[key].flavor, targets[key].flavor})


def carried_out(
    snapshot: Snapshot, before: Mapping[JobKey, Grant], targets: Mapping[JobKey, Grant]
) -> tuple[Snapshot, Mapping[JobKey, Grant]]:
    """Where it ends, and what everybody has then."""
    *_, end = waves(snapshot, before, targets)
    return end


def waves(
    snapshot: Snapshot, before: Mapping[JobKey, Grant], targets: Mapping[JobKey, Grant]
) -> Iterator[tuple[Snapshot, Mapping[JobKey, Grant]]]:
    """How it goes, wave after wave, and what everybody has then: each pod on the node with the most room, as the
    scheduler's default would have it. Quota is not looked at."""
    now, begun = dict(before), False
    while (resizes := in_waves(snapshot, now, targets).now) or not begun:
        now.update((resize.key, resize.target) for resize in resizes)
        snapshot, begun = _after(snapshot, {resize.key: resize for resize in resizes}), True
        yield snapshot, dict(now)


def _after(snapshot: Snapshot, resizes: Mapping[JobKey, Resize]) -> Snapshot:
    """What comes is bound where there is room already, and then what leaves is gone."""
    free, eligibility = free_now(snapshot), Eligibility(snapshot)
    there = {node.name for node in snapshot.nodes}
    jobs = []
    for job in (_resized(job, resizes.get(job.key), there) for job in snapshot.jobs):
        kind = eligibility.kind(job, job.admission.flavor) if job.admission is not None else None
        nodes = [name for name in kind.nodes if name in free] if kind is not None else []
        pods = []
        for pod in job.pods:
            able = [name for name in nodes if fits(free[name], pod.requests)] if pod.node is None else []
            if able:
                node = max(able, key=lambda name: (free[name].get(job.resource, 0), name))
                free[node] = minus(free[node], pod.requests)
                pod = replace(pod, node=node)
            pods.append(pod)
        jobs.append(replace(job, pods=tuple(pods)))
    return replace(snapshot, jobs=tuple(jobs))


def _resized(job: Job, resize: Resize | None, nodes: Set[str]) -> Job:
    if resize is None:
        return replace(job, pods=tuple(pod for pod in job.pods if not pod.terminating))
    target = resize.target
    staying = survivors(job, target.replicas, nodes) if resize.kind in ("Grow", "Shrink") else ()
    coming = (
        Pod(f"{job.key.name}-{resize.kind}-{number}", "", None, job.requests, created=0.0)
        for number in range(target.replicas - len(staying))
    )
    admission = Admission(target.flavor, target.replicas, round=0, since=0.0) if target.replicas else None
    return replace(job, pods=(*staying, *coming), memory=replace(job.memory, admission=admission))
