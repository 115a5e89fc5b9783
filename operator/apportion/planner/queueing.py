"""Which queue a job stands in, and what the queues of a cohort may use."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from apportion.model.jobs import Block, Job, JobKey
from apportion.model.plan import Grant
from apportion.model.queues import Queue

DEFAULT_QUEUE = "default"


def stand_in(job: Job, queues: Mapping[str, Queue]) -> Queue | Block | None:
    """The job's queue; None where no Queue exists at all (no quotas); a Block that says why it may not queue."""
    if not queues:
        return None
    if job.queue_name is None and DEFAULT_QUEUE not in queues:
        return Block("QueueRequired", f"spec.queueName is missing and there is no Queue {DEFAULT_QUEUE!r}")
    name = job.queue_name or DEFAULT_QUEUE
    queue = queues.get(name)
    if queue is None:
        return Block("QueueNotFound", f"there is no Queue {name!r}")
    if not queue.admits_namespace(job.namespace_labels):
        return Block("QueueForbidden", f"Queue {name!r} does not select namespace {job.key.namespace!r}")
    if not queue.admits_priority_class(job.priority_class):
        allowed = ", ".join(queue.allowed_priority_classes or ()) or "none"
        named = repr(job.priority_class) if job.priority_class else "(none)"
        return Block("PriorityForbidden", f"Queue {name!r} allows the priority classes {allowed}, not {named}")
    return queue


Usage = dict[tuple[str, str], int]


def usage(jobs: Iterable[Job], grants: Mapping[JobKey, Grant]) -> Usage:
    """Accelerators by (queue, flavor); jobs without a queue count nowhere."""
    used: Usage = defaultdict(int)
    for (queue, flavor), count in whole_usage(jobs, grants).items():
        if queue is not None:
            used[queue, flavor] = count
    return used


def whole_usage(jobs: Iterable[Job], grants: Mapping[JobKey, Grant]) -> Counter[tuple[str | None, str]]:
    """Accelerators by (queue, flavor), with queue None for jobs without one."""
    used = Counter[tuple[str | None, str]]()
    for job in jobs:
        grant = grants.get(job.key)
        if grant is not None and grant.replicas:
            used[job.queue_name, grant.flavor] += grant.replicas * job.per_replica
    return used


def cohort_members(queues: Iterable[Queue]) -> dict[str, tuple[Queue, ...]]:
    """Queues by cohort; one without a cohort stands alone under a name nobody can write."""
    members: dict[str, list[Queue]] = defaultdict(list)
    for queue in queues:
        members[queue.cohort or f"\0{queue.name}"].append(queue)
    return {name: tuple(sorted(group, key=lambda q: q.name)) for name, group in members.items()}


def nominal(queue: Queue, flavor: str) -> int:
    quota = queue.quota(flavor)
    return quota.nominal if quota else 0


def proportional(amount: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Divide `amount` in proportion to the weights, in whole pieces, by largest remainder (Hamilton's method)."""
    whole = sum(weights.values())
    if whole <= 0 or amount <= 0:
        return dict.fromkeys(weights, 0)
    amount = min(amount, whole)
    shares = {name: amount * weight // whole for name, weight in weights.items()}
    left = amount - sum(shares.values())
    by_remainder = sorted(weights, key=lambda name: (-(amount * weights[name] % whole), name))
    for name in by_remainder[:left]:
        shares[name] += 1
    return shares
