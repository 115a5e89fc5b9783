"""Why a job is not on another flavor: one sentence for each that it could use."""

from apportion.model.eligibility import accepts, eligible, speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job
from apportion.model.plan import Decision
from apportion.model.snapshot import Snapshot


def elsewhere(snapshot: Snapshot, decision: Decision, job: Job) -> list[str]:
    """Flavors in name order, without the one that the plan gives."""
    target = next((o.target for o in decision.outcomes if o.key == job.key), None)
    here = target.flavor if target is not None and target.replicas else ""
    same = [flavor for flavor in snapshot.flavors if flavor.resource == job.resource and flavor.name != here]
    return [_why_not(snapshot, decision, job, flavor) for flavor in same]


def _why_not(snapshot: Snapshot, decision: Decision, job: Job, flavor: Flavor) -> str:
    if not accepts(job, flavor):
        return f"{flavor.name}: not among the job's flavors"
    if not eligible(job, flavor, snapshot.nodes):
        return f"{flavor.name}: none of its nodes takes the pod now (labels, taints, readiness)"
    free = next((row.free for row in decision.capacity if row.flavor == flavor.name), 0)
    need = job.minimum_accelerators
    relative = speed(job, flavor)
    if free < need:
        return f"{flavor.name}: {free} are free, the minimum needs {need} (relative speed {relative:g})"
    return f"{flavor.name}: {free} are free; at relative speed {relative:g} the plan is worth more as it is"
