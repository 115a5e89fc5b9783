"""Is a plan allowed at all? Plain Python straight from the model, sharing nothing with the program it checks."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from apportion.model.eligibility import accepts, current_grant, room, selects
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job
from apportion.model.plan import Allocation
from apportion.model.queues import Queue
from apportion.model.snapshot import Snapshot, Terms

ROUNDING = 1e-6  # of an amount of money or power
NO_TERMS = Terms()


def violations(snapshot: Snapshot, allocations: Iterable[Allocation]) -> list[str]:
    """A sentence for every rule that the allocations break; empty where they may be used.

    Gang and steps, terms, flavors, accelerators of each flavor and of the nodes that a set of jobs can reach, quota,
    borrowing, lending, ceilings, budgets and power caps. Whether the pods fit node by node is the question of
    packing.place. A job that gets less than it was promised is no violation (Plan.short names it).
    """
    jobs = {job.key: job for job in snapshot.jobs}
    found: list[str] = []
    granted: list[tuple[Job, Allocation]] = []
    for allocation in allocations:
        job = jobs.get(allocation.key)
        if job is None:
            found.append(f"{allocation.key}: no such job")
        elif allocation.replicas:
            granted.append((job, allocation))
            found.extend(_of_job(snapshot, job, allocation))
    found.extend(_of_caps(snapshot, granted))
    times = Counter(job.key for job, _ in granted)
    found.extend(f"{key}: allocated twice" for key in sorted(times) if times[key] > 1)
    for flavor in snapshot.flavors:
        on = [(job, allocation.replicas) for job, allocation in granted if allocation.flavor == flavor.name]
        found.extend(_of_capacity(snapshot, flavor, on))
        found.extend(_of_quota(snapshot, flavor, on))
    return found


def _of_job(snapshot: Snapshot, job: Job, allocation: Allocation) -> list[str]:
    terms = snapshot.terms.get(job.key, NO_TERMS)
    grant = current_grant(job)
    replicas, name = allocation.replicas, allocation.flavor
    if terms.pinned:
        same = (name, replicas) == (grant.flavor, grant.replicas)
        return [] if same else [f"{job.key}: pinned to {grant.replicas} on {grant.flavor}, gets {replicas} on {name}"]
    found = []
    flavor = next((flavor for flavor in snapshot.flavors if flavor.name == name), None)
    if not terms.candidate:
        found.append(f"{job.key}: is no candidate")
    if flavor is None or not accepts(job, flavor):
        return [*found, f"{job.key}: does not accept flavor {name}"]
    if replicas not in job.steps:
        found.append(f"{job.key}: {replicas} replicas are none of its steps")
    if name in terms.barred:
        found.append(f"{job.key}: flavor {name} is barred")
    if not terms.grows and replicas > grant.replicas:
        found.append(f"{job.key}: must not grow from {grant.replicas} to {replicas}")
    if not terms.moves and grant.replicas and grant.flavor != name:
        found.append(f"{job.key}: must not move from {grant.flavor} to {name}")
    return found


def _of_capacity(snapshot: Snapshot, flavor: Flavor, on: list[tuple[Job, int]]) -> list[str]:
    """For each set of nodes that some job can reach: what all jobs within it use of the accelerators free there.

    That may be more than there is where nodes lost some, but then nobody there has more than before.
    """
    free = room(snapshot)
    nodes = [node for node in snapshot.nodes if node.placeable and node.flavor == flavor.name]
    left = {node.name: max(0, free[node.name].get(flavor.resource, 0)) for node in nodes}
    held: dict[str, int] = {}
    stay = _needed(flavor, on)
    use: list[tuple[Job, int, frozenset[str]]] = []
    reach: dict[object, frozenset[str]] = {}
    for job in snapshot.jobs:
        terms = snapshot.terms.get(job.key, NO_TERMS)
        if terms.candidate and terms.pinned:
            for pod in job.pods:
                if pod.node in left and not pod.terminating:
                    held[pod.node] = held.get(pod.node, 0) + pod.requests.get(flavor.resource, 0)
    closed = {node.name for node in snapshot.nodes if node.flavor == flavor.name and not node.placeable}
    for job, replicas in on:
        if snapshot.terms.get(job.key, NO_TERMS).pinned:
            continue
        if job.nodes not in reach:
            reach[job.nodes] = _reach(job, flavor, nodes)
        new = replicas - _elsewhere(job, flavor, replicas, closed)
        use.append((job, new * job.per_replica * flavor.unit, reach[job.nodes]))
    counts = {job.key: replicas for job, replicas in on}
    found = []
    for nodes_of_set in {names for _, amount, names in use if amount > 0}:
        inside = [(job, amount) for job, amount, names in use if names <= nodes_of_set]
        wanted = sum(amount for _, amount in inside)
        total = sum(max(0, left[name] - held.get(name, 0), stay[name]) for name in nodes_of_set)
        if wanted > total and any(_gains(job, flavor, counts[job.key]) for job, _ in inside):
            found.append(f"{flavor.name}: {wanted} {flavor.resource} granted on nodes that have {total} free")
    return found


def _needed(flavor: Flavor, on: list[tuple[Job, int]]) -> Counter[str]:
    """By node what pods that stay hold there at most of jobs' minimums: more than there is if devices broke."""
    stay = Counter[str]()
    for job, _ in on:
        if current_grant(job).flavor == flavor.name:
            pods = [pod for pod in job.pods if pod.node is not None and not pod.terminating]
            for name, count in Counter(pod.node or "" for pod in pods).items():
                stay[name] += min(count, job.minimum) * job.per_replica * flavor.unit
    return stay


def _gains(job: Job, flavor: Flavor, replicas: int) -> bool:
    """Whether this is more than it had on the flavor."""
    grant = current_grant(job)
    return grant.flavor != flavor.name or replicas > grant.replicas


def _reach(job: Job, flavor: Flavor, nodes: list[Node]) -> frozenset[str]:
    return frozenset(node.name for node in nodes if selects(job, flavor, node))


def _elsewhere(job: Job, flavor: Flavor, replicas: int, closed: set[str]) -> int:
    """At most this many of the replicas are pods that stay on nodes of the flavor that take no new ones (`closed`)."""
    if not closed or current_grant(job).flavor != flavor.name:
        return 0
    return min(replicas, sum(pod.node in closed and not pod.terminating for pod in job.pods))


def _of_quota(snapshot: Snapshot, flavor: Flavor, on: list[tuple[Job, int]]) -> list[str]:
    used, own = Counter[str | None](), Counter[str | None]()
    for job, count in on:
        used[job.queue_name] += job.per_replica * count
        if not snapshot.terms.get(job.key, NO_TERMS).borrows:
            own[job.queue_name] += job.per_replica * count
    return quota_breaches(snapshot, flavor, Use(used, own), promised_use(snapshot, flavor))


def _of_caps(snapshot: Snapshot, granted: list[tuple[Job, Allocation]]) -> list[str]:
    """What must keep running may be more than a limit; then nobody has more than what was promised where they were."""
    found = []
    for cap in snapshot.caps:
        covered = [job for job in snapshot.jobs if cap.queue in ("", job.queue_name)]
        kept = {job.key: _promise(snapshot, job) * cap.each.get(current_grant(job).flavor, 0.0) for job in covered}
        must, spent = sum(kept.values()), 0.0
        for job, allocation in granted:
            if job.key in kept:
                amount = allocation.replicas * job.per_replica * cap.each.get(allocation.flavor or "", 0.0)
                spent += amount
                if must > cap.limit * (1 + ROUNDING) and amount > kept[job.key] * (1 + ROUNDING):
                    found.append(
                        f"{cap.kind}/{cap.queue}: {must:g} must run, {cap.limit:g} allowed, {job.key} gets more"
                    )
        if spent > max(cap.limit, must) * (1 + ROUNDING):
            found.append(f"{cap.kind}/{cap.queue}: {spent:g} used, {cap.limit:g} allowed")
    return found


def _promise(snapshot: Snapshot, job: Job) -> int:
    """Accelerators that a running job was promised on its flavor."""
    terms, running = snapshot.terms.get(job.key, NO_TERMS), current_grant(job).replicas
    if not running or not terms.candidate:
        return 0
    if terms.pinned:
        return running * job.per_replica
    within = [step for step in job.steps if step <= terms.keeps] or list(job.steps[:1])
    return (max(within, default=0) if terms.keeps > 0 else 0) * job.per_replica


@dataclass(frozen=True)
class Use:
    """Accelerators of one flavor by queue; `own` counts only jobs that may not borrow."""

    used: Mapping[str | None, int]
    own: Mapping[str | None, int]


def quota_breaches(snapshot: Snapshot, flavor: Flavor, use: Use, promised: Use) -> list[str]:
    """A sentence for every limit that this use of the flavor breaks; what was promised breaks none."""
    found: list[str] = []
    cohorts: dict[str, list[tuple[Queue, int, int, int]]] = {}
    for queue in snapshot.queues:
        used, own = use.used.get(queue.name, 0), use.own.get(queue.name, 0)
        kept = promised.used.get(queue.name, 0)
        quota = queue.quota(flavor.name)
        nominal = max(0, quota.nominal) if quota else 0
        cohorts.setdefault(queue.cohort or f"queue {queue.name}", []).append((queue, nominal, used, kept))
        borrow = quota.borrowing_limit if quota else 0
        if borrow is not None and used > max(nominal + max(0, borrow), kept):
            found.append(f"quota/{queue.name}/{flavor.name}: {used} used, {nominal} + {borrow} borrowed allowed")
        if own > max(nominal, promised.own.get(queue.name, 0)):
            found.append(f"quota/{queue.name}/{flavor.name}: {own} used by jobs that may not borrow, {nominal} nominal")
        for ceiling in snapshot.ceilings:
            if (ceiling.queue, ceiling.flavor) == (queue.name, flavor.name) and used > max(ceiling.accelerators, kept):
                found.append(f"ceiling/{queue.name}/{flavor.name}: {used} used, {ceiling.accelerators} allowed")
    for name, members in cohorts.items():
        total = sum(nominal for _, nominal, _, _ in members)
        reserved = [(_reserve(queue, flavor, nominal), used, kept) for queue, nominal, used, kept in members]
        taken = sum(max(least, used) for least, used, _ in reserved)
        if taken > max(total, sum(max(least, kept) for least, _, kept in reserved)):
            found.append(f"cohort/{name}/{flavor.name}: {taken} used or not lent, {total} nominal")
    return found


def _reserve(queue: Queue, flavor: Flavor, nominal: int) -> int:
    """What the queue does not lend."""
    quota = queue.quota(flavor.name)
    if quota is None or quota.lending_limit is None:
        return 0
    return max(0, nominal - max(0, quota.lending_limit))


def promised_use(snapshot: Snapshot, flavor: Flavor) -> Use:
    """What the running jobs on the flavor were promised."""
    kept, own = Counter[str | None](), Counter[str | None]()
    for job in snapshot.jobs:
        if current_grant(job).flavor != flavor.name:
            continue
        promised = _promise(snapshot, job)
        kept[job.queue_name] += promised
        if not snapshot.terms.get(job.key, NO_TERMS).borrows:
            own[job.queue_name] += promised
    return Use(kept, own)
