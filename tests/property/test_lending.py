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


def played(world: Snapshot, seed: int = 0) -> tuple[Counter[str], Decision]:
    """Restarts by job in two hours, and the decision at their end."""
    scheduler, restarts = Scheduler(anywhere, Random(seed)), Counter[str]()
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
        restarts, decision = played(drawn(seed), seed)
        assert max(restarts.values(), default=0) <= MOST_RESTARTS, f"seed {seed}: {restarts}"
        assert decision.resizes == (), f"seed {seed}: still changes"


@pytest.mark.parametrize("runs", [True, False])
def test_a_higher_class_that_would_borrow_more_takes_nothing_from_its_own_queue_and_keeps_it_from_nothing(
    runs: bool,
) -> None:
    """j2 had j0's place for a round, then j1 of another queue borrowed it, and j0 took it back: every ten seconds."""
    own, brief = {"a": 4, "b": 0, "c": 4}, {"min_runtime_seconds": 300.0}
    j0 = job("j0", 1, 1, 4, queue_name="a", **brief)
    others = (
        job("j1", 1, 2, 5, queue_name="c", priority=5, **brief),
        job("j2", 1, 3, 6, queue_name="a", priority=5, **brief),
        job("j3", 2, 3, 3, queue_name="a", **brief),
    )
    queues = tuple(queue(name, quota(count), cohort="lab") for name, count in own.items())
    first = running(j0, {"h100-0": 1}) if runs else j0
    restarts, decision = played(snapshot(first, *others, on=(node("h100-0", 8),), queues=queues))
    assert restarts.total() == (0 if runs else 1)
    assert decision.resizes == ()
    assert [outcome.target.replicas for outcome in decision.outcomes] == [1, 0, 0, 0]


def test_a_higher_class_that_borrows_as_much_takes_the_place_of_a_lower_one_once() -> None:
    queues = tuple(queue(name, quota(4), cohort="lab") for name in ("a", "b"))
    low = running(job("low", 1, 1, 8, queue_name="a"), {"h100-0": 1})
    urgent = job("urgent", 1, 1, 8, queue_name="a", priority=5)
    restarts, decision = played(snapshot(low, urgent, on=(node("h100-0", 8),), queues=queues))
    assert restarts == {"low": 1}
    assert [outcome.target.replicas for outcome in decision.outcomes] == [0, 1]
