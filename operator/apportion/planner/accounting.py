"""Capacity by flavor and use by queue, as reported; the program has its own rows."""

from collections.abc import Iterable, Mapping

from apportion.model.eligibility import request_on
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Capacity, Grant, Plan, QueueUse
from apportion.model.queues import ANY_FLAVOR, Queue
from apportion.model.snapshot import Snapshot
from apportion.planner.queueing import cohort_members, usage


def capacity(snapshot: Snapshot) -> tuple[Capacity, ...]:
    """Accelerators of each flavor on placeable nodes; free is what no pod at all holds at this moment."""
    held: dict[str, dict[str, int]] = {}
    for job in snapshot.jobs:
        for pod in job.pods:
            if pod.node is not None:
                on_node = held.setdefault(pod.node, {})
                for name, amount in pod.requests.items():
                    on_node[name] = on_node.get(name, 0) + amount
    return tuple(_capacity(snapshot, flavor, held) for flavor in snapshot.flavors)


def _capacity(snapshot: Snapshot, flavor: Flavor, held: Mapping[str, Mapping[str, int]]) -> Capacity:
    allocatable = others = jobs = free = 0
    for node in snapshot.nodes:
        if node.flavor == flavor.name and node.placeable:
            offered = request_on(node.allocatable, flavor)
            foreign = -(-node.foreign.get(flavor.resource, 0) // flavor.unit)
            mine = -(-held.get(node.name, {}).get(flavor.resource, 0) // flavor.unit)
            allocatable += offered
            others += foreign
            jobs += mine
            free += max(0, offered - foreign - mine)
    return Capacity(flavor.name, flavor.resource, allocatable, others, free, jobs)


def queue_use(snapshot: Snapshot, grants: Mapping[JobKey, Grant], plan: Plan) -> tuple[QueueUse, ...]:
    """Use, borrowing and lending of each queue on the flavors it lists and that exist."""
    used = usage(snapshot.jobs, grants)
    prices = {(price.queue, price.flavor): price.price for price in plan.prices}
    rows = []
    for members in cohort_members(snapshot.queues).values():
        for queue in members:
            for flavor in _flavors(queue, snapshot.flavors):
                rows.append(_queue_use(queue, flavor, members, used, prices))
    return tuple(sorted(rows, key=lambda row: (row.queue, row.flavor)))


def _flavors(queue: Queue, flavors: Iterable[Flavor]) -> list[str]:
    listed = {quota.flavor for quota in queue.quotas}
    known = [flavor.name for flavor in flavors]
    return [name for name in known if name in listed or ANY_FLAVOR in listed]


def _queue_use(
    queue: Queue,
    flavor: str,
    members: Iterable[Queue],
    used: Mapping[tuple[str, str], int],
    prices: Mapping[tuple[str, str], float],
) -> QueueUse:
    quota = queue.quota(flavor)
    nominal = quota.nominal if quota else 0
    mine = used.get((queue.name, flavor), 0)
    borrowed_by_others = 0
    unused = 0
    for other in members:
        theirs = other.quota(flavor)
        over = used.get((other.name, flavor), 0) - (theirs.nominal if theirs else 0)
        borrowed_by_others += max(0, over)
        unused += max(0, -over)
    left = max(0, nominal - mine)
    lent = min(left, -(-borrowed_by_others * left // unused)) if unused else 0
    return QueueUse(
        queue.name, flavor, nominal, mine, max(0, mine - nominal), lent, prices.get((queue.name, flavor), 0.0)
    )


def holders(jobs: Iterable[Job], grants: Mapping[JobKey, Grant], flavor: str) -> list[tuple[str, int]]:
    """Who holds the flavor's accelerators: (queue or namespace, count), most first."""
    by_name: dict[str, int] = {}
    for job in jobs:
        grant = grants.get(job.key)
        if grant is not None and grant.replicas and grant.flavor == flavor:
            name = f"queue {job.queue_name}" if job.queue_name else f"namespace {job.key.namespace}"
            by_name[name] = by_name.get(name, 0) + grant.replicas * job.per_replica
    return sorted(by_name.items(), key=lambda item: (-item[1], item[0]))
