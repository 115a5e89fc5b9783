"""Seeded clusters for the optimizer alone, from 64 to 100,000 accelerators: nothing running, or most of it with ragged
nodes, and what a plan leaves of them for the next round."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Admission, Job, JobKey, Memory, Pod
from apportion.model.plan import Allocation, Plan
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import place

GPU = "nvidia.com/gpu"
NOW = 1_000_000.0
NODE_GPUS = 8
QUEUES_PER_COHORT = 5
MINUTE = 60.0
ENDED = 0.02  # of the jobs, from one round to the next


@dataclass(frozen=True)
class Size:
    """Goals in seconds: with nothing known, and a minute after a round that was carried out."""

    accelerators: int
    jobs: int
    flavors: int
    queues: int
    cold: float
    warm: float


SIZES = (
    Size(64, 40, 2, 5, 0.1, 0.05),
    Size(2_048, 330, 6, 10, 0.3, 0.15),
    Size(10_000, 2_000, 6, 20, 1.0, 0.5),
    Size(100_000, 10_000, 6, 50, 5.0, 3.0),
)


def instance(size: Size, seed: int, running: bool) -> Snapshot:
    """Flavors 1 to 3 times as fast as the slowest, replicas of 1 to 8 accelerators, demand 0.8 to 3 times the room."""
    random = Random(f"{size.jobs}/{seed}/{running}")
    flavors = tuple(
        Flavor(f"f{at}", GPU, speed=round(1.0 + 2.0 * at / max(1, size.flavors - 1), 3)) for at in range(size.flavors)
    )
    nodes = _nodes(size, flavors)
    queues = _queues(size, flavors, nodes, random)
    jobs = _jobs(size, queues, random)
    terms: dict[JobKey, Terms] = {}
    if running:
        jobs, terms = _started(jobs, nodes, random)
    return Snapshot(NOW, nodes, flavors, tuple(sorted(jobs, key=lambda job: job.key)), queues, terms=terms)


def next_round(before: Snapshot, plan: Plan, seed: int) -> Snapshot:
    """A minute later: all of the plan runs, one job in fifty has ended, as many new ones wait; prices are known."""
    random, now = Random(f"next/{seed}"), before.now + MINUTE
    placed, grants = place(before, plan.allocations).placed, {one.key: one for one in plan.allocations}
    jobs, terms = [], {}
    for job in before.jobs:
        grant = grants[job.key]
        if random.random() < ENDED:
            key = JobKey(job.key.namespace, f"{job.key.name}x")
            jobs.append(replace(job, key=key, uid=f"{job.uid}x", created=now, pods=(), memory=Memory()))
        elif grant.replicas:
            jobs.append(_carried_out(job, grant, placed[job.key], before.now))
            terms[job.key] = Terms(keeps=job.minimum)
        else:
            jobs.append(job)
    prices = {price.row: price.price for price in plan.row_prices}
    ordered = tuple(sorted(jobs, key=lambda job: job.key))
    return replace(before, now=now, jobs=ordered, terms=terms, prices=prices)


def _carried_out(job: Job, grant: Allocation, where: Mapping[str, int], since: float) -> Job:
    """Pods that stay on the flavor are those that were there; all others started with the round."""
    same = job.admission is not None and job.admission.flavor == grant.flavor
    pods: list[Pod] = []
    for node, count in where.items():
        there = [pod for pod in job.pods if pod.node == node and same][:count]
        pods += there
        for at in range(len(there), count):
            name = f"{job.key.name}-{node}-{at}-{since:.0f}"
            pods.append(Pod(name, f"pod-{name}", node, job.requests, since, ready=True))
    started = job.admission.since if same and job.admission is not None else since
    admission = Admission(grant.flavor or "", len(pods), 2, started)
    return replace(job, pods=tuple(pods), memory=Memory(phase="Running", admission=admission))


def _nodes(size: Size, flavors: tuple[Flavor, ...]) -> tuple[Node, ...]:
    count = max(len(flavors), size.accelerators // NODE_GPUS)
    amounts = {GPU: NODE_GPUS, "cpu": 192_000, "memory": 2**41, "pods": 110}
    return tuple(Node(f"n{at:05}", flavors[at % len(flavors)].name, amounts) for at in range(count))


def _queues(size: Size, flavors: tuple[Flavor, ...], nodes: tuple[Node, ...], random: Random) -> tuple[Queue, ...]:
    total = {flavor.name: NODE_GPUS * sum(node.flavor == flavor.name for node in nodes) for flavor in flavors}
    queues = []
    for at in range(size.queues):
        quotas = tuple(Quota(name, -(-count // size.queues)) for name, count in total.items())
        cohort = f"cohort-{at // QUEUES_PER_COHORT}"
        queues.append(Queue(f"q{at:02}", cohort, random.choice((1.0, 1.0, 2.0)), quotas))
    return tuple(queues)


def _jobs(size: Size, queues: tuple[Queue, ...], random: Random) -> list[Job]:
    """The demand is that of the maximums."""
    wanted = size.accelerators * random.uniform(0.8, 3.0) / size.jobs
    jobs = []
    for at in range(size.jobs):
        each = random.choice((1, 1, 1, 2, 4, 8))
        low = random.choice((1, 1, 2))
        high = max(low, round(random.expovariate(1.0) * wanted / each))
        jobs.append(
            Job(
                JobKey("ns", f"j{at:05}"),
                f"uid-{at}",
                NOW - random.randrange(100_000),
                tuple(range(low, min(high, low + 63) + 1)),
                GPU,
                each,
                {GPU: each, "cpu": 4_000 * each, "memory": each * 2**35, "pods": 1},
                queue_name=random.choice(queues).name,
                restart_seconds=random.choice((30.0, 60.0, 120.0)),
            )
        )
    return jobs


def _started(jobs: list[Job], nodes: tuple[Node, ...], random: Random) -> tuple[list[Job], dict[JobKey, Terms]]:
    """So large a part of the jobs runs, each pod on any node with room: what is free lies about in pieces."""
    share = random.uniform(0.30, 0.95)
    free = {node.name: NODE_GPUS for node in nodes}
    of_flavor: dict[str, list[str]] = {}
    for node in nodes:
        of_flavor.setdefault(node.flavor or "", []).append(node.name)
    after, terms = [], {}
    for job in jobs:
        placed = _placed(job, of_flavor, free, random) if random.random() < share else None
        if placed is None:
            after.append(job)
            continue
        since = NOW - random.randrange(600, 50_000)
        pods = tuple(
            Pod(f"{job.key.name}-{at}", f"pod-{job.key.name}-{at}", name, job.requests, since, ready=True)
            for at, name in enumerate(placed[1])
        )
        memory = Memory(phase="Running", admission=Admission(placed[0], len(pods), 1, since))
        after.append(replace(job, pods=pods, memory=memory))
        terms[job.key] = Terms(keeps=job.minimum)
    return after, terms


def _placed(
    job: Job, of_flavor: dict[str, list[str]], free: dict[str, int], random: Random
) -> tuple[str, list[str]] | None:
    flavor = random.choice(sorted(of_flavor))
    count = random.choice(job.steps[: max(1, len(job.steps) // 2)])
    where: list[str] = []
    for _ in range(count):
        for _ in range(12):
            name = random.choice(of_flavor[flavor])
            if free[name] >= job.per_replica:
                free[name] -= job.per_replica
                where.append(name)
                break
        else:
            for name in where:
                free[name] += job.per_replica
            return None
    return flavor, where
