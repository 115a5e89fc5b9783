"""Queues that lend each other what is free in pieces: two hours of rounds, in which nobody changes places for ever."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from apportion.model.jobs import Job
from apportion.model.plan import Decision
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from apportion.simulator.scheduling import Scheduler, any_leaving, anywhere, left
from builders import GPU, NOW, job, node, queue, quota, running, snapshot

HOURS, STEP_SECONDS, LEAVING_SECONDS = 2, 600.0, 5.0
MOST_RESTARTS = 4
CASES = 100


def drawn(seed: int) -> Snapshot:
    """Nodes of 4 to 8; two or three queues, the first of which owns most; jobs of one class, some of which run."""
    random = Random(f"lending {seed}")
    members = tuple(node(f"h100-{at}", random.choice((4, 6, 8, 8))) for at in range(random.randint(1, 3)))
    free = Counter({one.name: one.allocatable[GPU] for one in members})
    names = ("a", "b", "c")[: random.randint(2, 3)]
    most = free.total() - random.choice((0, 0, 4))
    own = {name: most if name == "a" else random.choice((0, 0, 4)) for name in names}
    jobs = [started(random, one, free) for one in (waiting(random, at, names) for at in range(random.randint(2, 4)))]
    queues = tuple(queue(name, quota(own[name]), cohort="lab") for name in names)
    return snapshot(*jobs, on=members, queues=queues)


def waiting(random: Random, number: int, names: tuple[str, ...]) -> Job:
    low = 1 if number == 0 else random.choice((1, 1, 2))
    return job(
        f"j{number}", low, low + random.randint(0, 2), random.randint(3, 5) if number == 0 else random.randint(1, 6),
        queue_name="a" if number == 0 else random.choice(names[1:] if number == 1 else names),
        created=NOW - 1000 - number,
        restart_seconds=random.choice((0.0, 60.0)),
        min_runtime_seconds=300.0,
    )  # fmt: skip


def started(random: Random, one: Job, free: Counter[str]) -> Job:
    """The owner's first job, and some of the others, with as many replicas as find a place anywhere."""
    on = Counter[str]()
    for _ in range(one.maximum if one.queue_name == "a" or random.random() < 0.3 else 0):
        able = [name for name, count in sorted(free.items()) if count >= one.per_replica]
        if able:
            where = max(able, key=lambda name: free[name])
            free[where] -= one.per_replica
            on[where] += 1
    if on.total() >= one.minimum:
        return running(one, dict(on))
    free.update({name: count * one.per_replica for name, count in on.items()})
    return one


def played(seed: int) -> tuple[Counter[str], Decision]:
    """Restarts by job in two hours, and the decision at their end."""
    world, scheduler, restarts = drawn(seed), Scheduler(anywhere, Random(seed)), Counter[str]()
    while True:
        decision = decide(world, Policy())
        now = [resize for resize in decision.resizes if resize.wave == 0]
        restarts.update(resize.key.name for resize in now if resize.kind != "Admit")
        if world.now >= NOW + HOURS * 3600:
            return restarts, decision
        world = scheduler.bind(scheduler.carry_out(world, decision))
        seconds = LEAVING_SECONDS if now or any_leaving(world) else STEP_SECONDS
        world = scheduler.bind(left(replace(world, now=world.now + seconds)))


@pytest.mark.parametrize("part", range(4))
def test_nobody_changes_places_for_ever(part: int) -> None:
    for seed in range(part * CASES // 4, (part + 1) * CASES // 4):
        restarts, decision = played(seed)
        assert max(restarts.values(), default=0) <= MOST_RESTARTS, f"seed {seed}: {restarts}"
        assert decision.resizes == (), f"seed {seed}: still changes"
