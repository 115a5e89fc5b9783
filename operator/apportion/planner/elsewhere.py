"""Why a job is not on another flavor: one sentence for each that it could use."""

from collections.abc import Mapping

from apportion.model.eligibility import accepts, eligible, request_on, speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job
from apportion.model.resources import Amounts
from apportion.model.snapshot import Snapshot
from apportion.planner.explain import free_after
from apportion.planner.searching import Wanted


def elsewhere(found: Wanted, job: Job) -> list[str]:
    """Flavors in name order, without the one that the plan gives. Free is what the plan gives to nobody."""
    target = found.targets[job.key]
    here = target.flavor if target.replicas else ""
    flavors = [flavor for flavor in found.snapshot.flavors if flavor.resource == job.resource and flavor.name != here]
    free = free_after(found.snapshot, found.targets) if flavors else {}
    return [_why_not(found.snapshot, free, job, flavor) for flavor in flavors]


def _why_not(snapshot: Snapshot, free: Mapping[str, Amounts], job: Job, flavor: Flavor) -> str:
    if not accepts(job, flavor):
        return f"{flavor.name}: not among the job's flavors"
    queue = next((queue for queue in snapshot.queues if queue.name == job.queue_name), None)
    if queue is not None and queue.quota(flavor.name) is None:
        return f"{flavor.name}: queue {queue.name} lists no quota for it"
    nodes = [node for node in eligible(job, flavor, snapshot.nodes) if node.exists]
    if not nodes:
        return f"{flavor.name}: none of its nodes takes the pod now (labels, taints, readiness)"
    left = sum(request_on(free[node.name], flavor) for node in nodes)
    need = job.minimum_accelerators
    relative = speed(job, flavor)
    if left < need:
        return f"{flavor.name}: {left} are free, the minimum needs {need} (relative speed {relative:g})"
    return f"{flavor.name}: {left} are free; at relative speed {relative:g} the plan is worth more as it is"
