"""The best plan of a small snapshot by trying all of them, with a value function and a packing search of its own."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from apportion.model.eligibility import accepts, speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job
from apportion.model.policy import Aim, Policy
from apportion.model.queues import Queue
from apportion.model.snapshot import Snapshot, Terms

TINY = 1e-9


@dataclass(frozen=True)
class Best:
    """The best value (without the admission worth of jobs that must run), and the options of each job that reach it.

    levels: x / w of all jobs in rising order, 0 for those that wait.
    """

    value: float
    options: tuple[tuple[str, int], ...]
    levels: tuple[float, ...]


@dataclass(frozen=True)
class Option:
    """One choice of a job: its weight, w B, its normalised rate and its money an hour, after what a change costs."""

    weight: float
    admission: float
    rate: float
    cost: float


def job_value(snapshot: Snapshot, policy: Policy, job: Job, flavor: Flavor, replicas: int) -> tuple[float, float]:
    """(w B as far as it counts, the rest of the value) of so many replicas on the flavor, straight from docs."""
    option = job_option(snapshot, policy, job, flavor, replicas)
    if policy.objective.name is Aim.MAX_THROUGHPUT:
        return 0.0, option.weight * option.rate
    if policy.objective.name is Aim.MIN_COST:
        return 0.0, -option.cost
    p = policy.objective.exponent
    growth = math.log(option.rate) if p == 0 else (option.rate**p - 1) / p
    return option.admission, option.weight * growth


def job_option(snapshot: Snapshot, policy: Policy, job: Job, flavor: Flavor, replicas: int) -> Option:
    terms = snapshot.terms.get(job.key, Terms())
    weights = {queue.name: queue.weight for queue in snapshot.queues}
    mates = [
        other
        for other in snapshot.jobs
        if other.queue_name == job.queue_name and snapshot.terms.get(other.key, Terms()).candidate
    ]
    weight = weights.get(job.queue_name or "", 1.0) / len(mates)
    populated = {node.flavor for node in snapshot.nodes}
    speeds = [speed(job, f) for f in snapshot.flavors if accepts(job, f) and f.name in populated]
    x = speed(job, flavor) * job.curve.at(replicas) / (min(speeds) * job.curve.at(job.steps[0]))
    objective = policy.objective
    worth = objective.admission_worth * (job.per_replica * job.steps[0]) ** objective.size_exponent
    known = [f.price_per_hour for f in snapshot.flavors if f.price_per_hour is not None]
    price = flavor.price_per_hour if flavor.price_per_hour is not None else max(known, default=1.0)
    cost = price * job.per_replica * replicas
    admission = job.admission
    if admission is None:
        waited = min(60, max(0, int((snapshot.now - job.created) // 60)))
        worth *= 1 + waited / 60
    elif (admission.flavor, admission.replicas) != (flavor.name, replicas) and not terms.free_to_change:
        age, restart = snapshot.now - job.created, job.restart_seconds
        kept = (age - job.memory.restarts * restart) / (age + restart)
        kept = min(max(0.0, kept), 1 - restart / policy.stability.expected_hold_seconds)
        left = max(0.05, kept * (1 - policy.stability.change_margin))
        x, cost = x * left, cost / left
    return Option(weight, weight * worth, max(x, 0.01), cost)


def packs(snapshot: Snapshot, chosen: list[tuple[Job, str, int]]) -> bool:
    """Some way of putting all pods on nodes exists: a search over nodes pod by pod, largest first."""
    free = {
        node.name: {name: amount - node.foreign.get(name, 0) for name, amount in node.allocatable.items()}
        for node in snapshot.nodes
        if node.placeable
    }
    flavor_of = {node.name: node.flavor for node in snapshot.nodes}
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    pods = []
    for job, flavor, replicas in chosen:
        nodes = [
            node.name
            for node in snapshot.nodes
            if node.placeable
            and flavor_of[node.name] == flavor
            and job.nodes.labels_match(node.labels)
            and job.nodes.untolerated(node.taints, flavors[flavor].tolerations) is None
        ]
        pods += [(job, nodes)] * replicas
    pods.sort(key=lambda pod: (-pod[0].per_replica, pod[0].key))

    def search(at: int) -> bool:
        if at == len(pods):
            return True
        job, nodes = pods[at]
        tried = set()
        for name in nodes:
            room = free[name]
            state = tuple(sorted(room.items()))
            if state in tried or any(room.get(key, 0) < amount for key, amount in job.requests.items()):
                continue
            tried.add(state)
            for key, amount in job.requests.items():
                room[key] -= amount
            done = search(at + 1)
            for key, amount in job.requests.items():
                room[key] += amount
            if done:
                return True
        return False

    return search(0)


def best(snapshot: Snapshot, policy: Policy, allowed: Callable[[list[tuple[Job, str, int]]], bool]) -> Best | None:
    """The best plan that packs and is `allowed`; None where promises cannot be kept.

    Stages as in optimizer.md: class by class from the highest, incumbents first and the older of them before the
    younger, as much admission worth as can be had; under MaxMinFair the worst off, then the next; then value.
    """
    jobs = [job for job in snapshot.jobs if snapshot.terms.get(job.key, Terms()).candidate]
    keeps = {job.key: snapshot.terms.get(job.key, Terms()).keeps for job in jobs}
    ranked = sorted(jobs, key=lambda job: (job.admission.since if job.admission else math.inf, job.created, job.key))
    found: list[tuple[tuple[float, ...], Best]] = []
    for options in itertools.product(*(list(_options(snapshot, policy, job)) for job in jobs)):
        chosen = [(job, *option) for job, option in zip(jobs, options, strict=True) if option[1]]
        if not allowed(chosen) or not packs(snapshot, chosen):
            continue
        got = {job.key for job, _, _ in chosen}
        ranks: list[float] = []
        for priority in sorted({job.priority for job in jobs}, reverse=True):
            for incumbent in (True, False):
                mine = [
                    job
                    for job in ranked
                    if job.priority == priority and not keeps[job.key] and (job.admission is not None or not incumbent)
                ]
                ranks.append(round(sum(_worth(snapshot, policy, job) for job in mine if job.key in got), 9))
                if incumbent:
                    ranks.append(-float(sum(at for at, job in enumerate(mine) if job.key in got)))
        value = 0.0
        for job, flavor, replicas in chosen:
            worth, growth = job_value(snapshot, policy, job, _flavor(snapshot, flavor), replicas)
            value += growth if keeps[job.key] else growth + worth
        reached = levels(snapshot, policy, chosen)
        if policy.objective.name is Aim.MAX_MIN_FAIR:
            ranks += [round(level, 9) for level in reached]
        found.append((tuple(ranks), Best(value, options, reached)))
    if not found:
        return None
    top = max(ranks for ranks, _ in found)
    return max((one for ranks, one in found if ranks == top), key=lambda one: (one.value, one.options))


def within_caps(snapshot: Snapshot, policy: Policy, chosen: list[tuple[Job, str, int]]) -> bool:
    """Budgets and power caps of all jobs and of each queue; if what running jobs were promised is more, nobody has more
    than that."""
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    promised = []
    for job in snapshot.jobs:
        keeps = snapshot.terms.get(job.key, Terms()).keeps
        if job.admission is not None and keeps:
            kept = max([step for step in job.steps if step <= keeps], default=job.steps[0])
            promised.append((job, job.admission.flavor, kept))

    def counted(jobs: list[tuple[Job, str, int]], field: str, queue: str | None) -> float:
        mine = [(job, name, count) for job, name, count in jobs if queue is None or job.queue_name == queue]
        return sum((getattr(flavors[name], field) or 0.0) * job.per_replica * count for job, name, count in mine)

    owners: list[tuple[Policy | Queue, str | None]] = [(policy, None), *((one, one.name) for one in snapshot.queues)]
    for owner, queue in owners:
        for limit, field in ((owner.budget_per_hour, "price_per_hour"), (owner.power_cap_watts, "watts")):
            if limit is None:
                continue
            if counted(promised, field, queue) <= limit + 1e-6:
                fits = counted(chosen, field, queue) <= limit + 1e-6
            else:
                own = {job.key: counted([(job, name, kept)], field, queue) for job, name, kept in promised}
                fits = all(counted([one], field, queue) <= own.get(one[0].key, 0.0) + 1e-6 for one in chosen)
            if not fits:
                return False
    return True


def levels(snapshot: Snapshot, policy: Policy, chosen: list[tuple[Job, str, int]]) -> tuple[float, ...]:
    """x / w of every candidate in rising order; 0 for one that has nothing."""
    at = {}
    for job, flavor, replicas in chosen:
        option = job_option(snapshot, policy, job, _flavor(snapshot, flavor), replicas)
        at[job.key] = option.rate / option.weight
    waiting = [0.0 for job in snapshot.jobs if snapshot.terms.get(job.key, Terms()).candidate and job.key not in at]
    return tuple(sorted([*waiting, *at.values()]))


def _worth(snapshot: Snapshot, policy: Policy, job: Job) -> float:
    """B alone."""
    worth = job_option(snapshot, policy, job, snapshot.flavors[0], job.steps[0]).admission
    mates = [other for other in snapshot.jobs if other.queue_name == job.queue_name]
    weight = {queue.name: queue.weight for queue in snapshot.queues}.get(job.queue_name or "", 1.0)
    return worth * len(mates) / weight


def _flavor(snapshot: Snapshot, name: str) -> Flavor:
    return next(flavor for flavor in snapshot.flavors if flavor.name == name)


def _options(snapshot: Snapshot, policy: Policy, job: Job) -> Iterator[tuple[str, int]]:
    terms = snapshot.terms.get(job.key, Terms())
    if not terms.keeps:
        yield "", 0
    for flavor in snapshot.flavors:
        if flavor.resource != job.resource:
            continue
        for replicas in job.steps:
            current = job.admission is not None and (job.admission.flavor, job.admission.replicas) == (
                flavor.name,
                replicas,
            )
            if replicas < terms.keeps or (not terms.grows and job.admission and replicas > job.admission.replicas):
                continue
            moved = job.admission is not None and job.admission.flavor != flavor.name
            if moved and (not terms.moves or terms.keeps > job.steps[0]):
                continue
            gains = sum(job_value(snapshot, policy, job, flavor, replicas)) > TINY
            if gains or policy.objective.name is Aim.MIN_COST or current or terms.keeps:
                yield flavor.name, replicas
