"""Clusters in which pods of many kinds contend for several resources, beside what is known of them.

Rows of sums allow more than nodes hold there, and patterns of nodes are too many to go through.
"""

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from apportion.model.jobs import Job
from apportion.model.plan import Plan
from apportion.model.policy import Policy
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Snapshot
from apportion.optimizer import place, solve
from optimizer_builders import GPU, granted, job, node, snapshot
from property.brute_force import job_value

CORES, GIBIBYTE = 64, 2**30
AMOUNTS = {GPU: 8, "cpu": CORES * 1000, "memory": 4 * CORES * GIBIBYTE}
SEEDS = range(8)
SECONDS = 5.0  # of the other solver, for each of its two programs: where it is cut short it has found less


def cut(draw: random.Random, whole: int, parts: int) -> list[int]:
    """The whole in so many parts, each at least 1."""
    ends = sorted(draw.sample(range(1, whole), parts - 1))
    return [end - start for start, end in zip([0, *ends], [*ends, whole], strict=True)]


def request(cores: int, gibibytes: int) -> dict[str, int]:
    return {"cpu": cores * 1000, "memory": gibibytes * GIBIBYTE}


def filling(seed: int, pairs: int) -> Snapshot:
    """Jobs of up to two pods that fill all nodes if each has both: nodes are cut in pairs, the two of a pair alike."""
    draw = random.Random(seed)
    jobs = []
    for at in range(pairs):
        parts = draw.randint(2, 6)
        each = zip(cut(draw, 8, parts), cut(draw, CORES, parts), cut(draw, 4 * CORES, parts), strict=True)
        for number, (size, cores, gibibytes) in enumerate(each):
            least = draw.choice((1, 2))
            jobs.append(job(f"j{at}-{number}", least, 2, size, requests=request(cores, gibibytes)))
    return snapshot([node(f"n{at}", 8, allocatable=AMOUNTS) for at in range(2 * pairs)], jobs)


def crowded(seed: int, pairs: int) -> Snapshot:
    """The same with two more jobs for each of them: not all have room."""
    base, draw = filling(seed, pairs), random.Random(seed)
    more = [
        job(f"x{at}", draw.choice((1, 2)), 4, draw.choice((1, 1, 2, 4)),
            requests=request(draw.randint(1, 30), draw.randint(1, 120)))
        for at in range(2 * len(base.jobs))
    ]  # fmt: skip
    return snapshot(list(base.nodes), [*base.jobs, *more])


def ranked(base: Snapshot, seed: int) -> Snapshot:
    """The same in two classes and two queues."""
    draw = random.Random(seed)
    queues = tuple(Queue(name, weight, quotas=(Quota("*", 10_000),)) for name, weight in (("a", 1.0), ("b", 3.0)))
    jobs = (replace(one, priority=draw.choice((0, 1)), queue_name=draw.choice("ab")) for one in base.jobs)
    return replace(base, jobs=tuple(jobs), queues=queues)


def value(base: Snapshot, one: Job, replicas: int) -> float:
    return sum(job_value(base, Policy(), one, base.flavors[0], replicas)) if replicas else 0.0


def worth(base: Snapshot, replicas: dict[str, int]) -> float:
    return sum(value(base, one, replicas.get(one.key.name, 0)) for one in base.jobs)


def admitted(plan: Plan) -> int:
    return sum(replicas > 0 for replicas in granted(plan).values())


@cache
def planned(seed: int) -> tuple[Snapshot, Plan]:
    world = crowded(seed, 2)
    return world, solve(world, Policy())


@cache
def found(seed: int) -> dict[str, int]:
    """Replicas by job, from a program with a number of pods for each job and node, and another interface to its solver:
    as many jobs as can be, then as much value as it finds in its time."""
    world, _ = planned(seed)
    options = [(at, replicas) for at, one in enumerate(world.jobs) for replicas in one.steps]
    pods = [(at, number) for at in range(len(world.jobs)) for number in range(len(world.nodes))]
    chosen, pod_of = np.array([at for at, _ in options]), np.array([at for at, _ in pods])
    node_of = np.array([number for _, number in pods])
    rows, least, most = [], [], []
    for at in range(len(world.jobs)):
        rows.append(np.concatenate([chosen == at, np.zeros(len(pods))]))
        rows.append(np.concatenate([(chosen == at) * [replicas for _, replicas in options], -1.0 * (pod_of == at)]))
        least += [0.0, 0.0]
        most += [1.0, 0.0]
    for number in range(len(world.nodes)):
        for name, amount in AMOUNTS.items():
            asked = np.array([one.requests[name] / amount for one in world.jobs])
            rows.append(np.concatenate([np.zeros(len(options)), (node_of == number) * asked[pod_of]]))
            least.append(0.0)
            most.append(1.0 + 1e-9)
    limits = [LinearConstraint(np.array(rows), np.array(least), np.array(most))]
    box = Bounds(0, np.concatenate([np.ones(len(options)), np.full(len(pods), 8)]))
    count = np.concatenate([np.ones(len(options)), np.zeros(len(pods))])
    gain = np.concatenate([[value(world, world.jobs[at], replicas) for at, replicas in options], np.zeros(len(pods))])
    for objective in (count, gain):
        done = milp(-objective, integrality=1, bounds=box, constraints=limits, options={"time_limit": SECONDS})
        x = np.round(done.x)
        limits.append(LinearConstraint(count, count @ x - 0.5, np.inf))
    return {world.jobs[at].key.name: replicas for (at, replicas), taken in zip(options, x, strict=False) if taken}


def test_everybody_is_admitted_where_all_can_be() -> None:
    worlds = [filling(seed, 4) for seed in SEEDS]
    plans = [solve(world, Policy()) for world in worlds]
    assert not any(place(world, plan.allocations).unplaced for world, plan in zip(worlds, plans, strict=True))
    assert sum(map(admitted, plans)) == sum(len(world.jobs) for world in worlds)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_proved_of_a_plan_holds_for_the_packing_that_is_known(seed: int) -> None:
    """Of which nothing is more, in any class of any queue."""
    world = ranked(filling(seed, 4), seed)
    assert solve(world, Policy()).bound >= sum(value(world, one, 2) for one in world.jobs) - 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_proved_of_a_plan_holds_for_what_another_program_finds(seed: int) -> None:
    (world, plan), other = planned(seed), found(seed)
    assert not place(world, plan.allocations).unplaced
    assert len(other) < admitted(plan) or plan.bound >= worth(world, other) - 1e-9


def test_nearly_as_many_are_admitted_as_by_a_program_of_pods_and_nodes() -> None:
    most = sum(len(found(seed)) for seed in SEEDS)
    assert sum(admitted(planned(seed)[1]) for seed in SEEDS) >= 0.96 * most


def test_what_is_proved_is_of_use() -> None:
    """The bound is of plans that admit no less; without that it is more than twice what is reached."""
    plans = [planned(seed)[1] for seed in SEEDS]
    assert sum(plan.bound for plan in plans) <= 1.5 * sum(plan.objective for plan in plans)


def test_where_as_many_are_admitted_as_rows_allow_their_program_proves_more_than_prices() -> None:
    assert planned(2)[1].bound == pytest.approx(worth(planned(2)[0], found(2)))
