"""Jobs whose template was changed while they run: their pods have other requests than they ask now.

The program, the placement on paper and the check must count such a job's replicas alike, or a plan breaks the check's
rules, everything is kept, and nobody in the cluster is admitted.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apportion.model.flavors import Node
from apportion.model.jobs import Admission, Job, Memory, Pod
from apportion.model.plan import Status
from apportion.model.policy import Aim, Objective, Policy
from apportion.model.resources import fits, minus
from apportion.model.snapshot import Snapshot, capped
from apportion.optimizer import violations
from apportion.planner.decide import wanted
from builders import GPU, NOW, job, node, queue, quota, snapshot

PROFILE = settings(
    max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
CPU, MEMORY = (500, 2_000, 8_000), (2**30, 2**33, 2**35)


def edited(random: Random) -> Snapshot:
    """Some nodes, of one flavor or two, and jobs of which half run; of these half were edited, in part rolled out."""
    nodes = tuple(_node(random, f"n{at}") for at in range(random.randint(1, 4)))
    queues = random.choice(((), (), (queue("a", quota(random.randint(4, 24), "*")),)))
    free = {one.name: dict(minus(one.allocatable, one.foreign)) for one in nodes}
    jobs = []
    for at in range(random.randint(2, 6)):
        waiting = _job(random, f"j{at}", queues[0].name if queues else None)
        jobs.append(_running(random, waiting, nodes, free) if random.random() < 0.6 else waiting)
    lost = tuple(_worn(random, one) for one in nodes)
    return snapshot(*jobs, on=lost, queues=queues)


def _node(random: Random, name: str) -> Node:
    amounts = {"cpu": random.choice((8_000, 64_000)), "memory": random.choice((2**35, 2**39))}
    foreign = {GPU: random.choice((0, 0, 0, 1, 3)), "pods": 3}
    return node(name, random.choice((4, 8)), random.choice(("h100", "h100", "a100")), allocatable=amounts,
                foreign=foreign)  # fmt: skip


def _worn(random: Random, one: Node) -> Node:
    """Seldom with a device that broke, or cordoned."""
    if random.random() < 0.1:
        return replace(one, placeable=False)
    if random.random() < 0.1:
        return replace(one, allocatable={**one.allocatable, GPU: one.allocatable[GPU] - 1}, broken=1)
    return one


def _asks(random: Random) -> dict[str, int]:
    return {
        GPU: random.choice((1, 1, 2, 3, 4)), "pods": 1, "cpu": random.choice(CPU), "memory": random.choice(MEMORY)
    }  # fmt: skip


def _job(random: Random, name: str, of: str | None) -> Job:
    asks, low = _asks(random), random.randint(1, 5)
    return job(
        name,
        low,
        low + random.choice((0, 0, 1, 4)),
        asks[GPU],
        requests=asks,
        queue_name=of,
        priority=random.choice((0, 0, 5)),
        preemptible=random.random() < 0.8,
        held=random.random() < 0.1,
        created=NOW - random.choice((10.0, 100_000.0)),
        restart_seconds=random.choice((0.0, 60.0)),
        min_runtime_seconds=random.choice((0.0, 300.0)),
    )


def _running(random: Random, was: Job, nodes: Sequence[Node], free: dict[str, dict[str, int]]) -> Job:
    """With bound pods as it was when they were made, if there was room for them."""
    flavor, left = random.choice(nodes).flavor or "", {name: dict(amounts) for name, amounts in free.items()}
    count = random.randint(was.minimum, was.maximum)
    asks = {name: random.choice((amount, _asks(random)[name])) for name, amount in was.requests.items()}
    now = replace(was, requests=asks, per_replica=asks[GPU]) if random.random() < 0.6 else was
    pods: list[Pod] = []
    for at in range(count):
        requests = now.requests if random.random() < 0.1 else was.requests
        able = [one.name for one in nodes if one.flavor == flavor and fits(left[one.name], requests)]
        if not able:
            return was
        where = random.choice(able)
        left[where] = dict(minus(left[where], requests))
        pods.append(Pod(f"{was.key.name}-{at}", f"{was.uid}-{at}", where, requests, was.created, ready=True,
                        ready_since=was.created))  # fmt: skip
    free.update(left)
    return replace(now, pods=tuple(pods), memory=Memory("Running", Admission(flavor, count, 1, was.created)))


def judged(world: Snapshot, aim: Aim) -> list[str]:
    """What is wrong with the plan."""
    policy = Policy(objective=Objective(name=aim))
    found = wanted(world, policy)
    if found.plan.status is Status.KEPT:
        return list(found.plan.warnings)
    return violations(capped(found.solved, policy)[0], found.plan.allocations)


@PROFILE
@given(seed=st.integers(0, 10**9))
def test_no_plan_breaks_its_own_rules_where_pods_are_not_what_their_job_asks_now(seed: int) -> None:
    world = edited(Random(seed))
    assert not [wrong for aim in Aim for wrong in judged(world, aim)]
