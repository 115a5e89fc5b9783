"""decide() against an outside world: a scheduler of its own that binds pods in any order, on any node that has room.

No code of the planner or the optimizer judges: capacity, quotas and gangs are counted here from pods and grants.
"""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.policy import Policy
from apportion.model.queues import Queue
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from builders import GPU, NOW, job, node, queue, quota, snapshot

PROFILE = settings(max_examples=25)
SIZES = (1, 2, 4, 8)


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    count = draw(st.integers(1, 5))
    members = tuple(node(f"h100-{i}", draw(st.sampled_from((4, 8)))) for i in range(count))
    queues = draw(
        st.sampled_from(((), (queue("a", quota(8), cohort="lab"), queue("b", quota(16, borrow=8), cohort="lab"))))
    )
    jobs = []
    for index in range(draw(st.integers(1, 7))):
        low = draw(st.integers(1, 3))
        jobs.append(
            job(
                f"j{index}",
                low,
                low + draw(st.integers(0, 6)),
                draw(st.sampled_from(SIZES)),
                queue_name=draw(st.sampled_from(("a", "b"))) if queues else None,
                priority=draw(st.sampled_from((0, 0, 5))),
                preemptible=draw(st.booleans()),
                created=NOW - 1000 - index,
                restart_seconds=draw(st.sampled_from((0.0, 60.0))),
            )
        )
    return snapshot(*jobs, on=members, queues=queues)


def used_on(world: Snapshot) -> Counter[str]:
    used: Counter[str] = Counter()
    for one in world.jobs:
        for pod in one.pods:
            if pod.node is not None:
                used[pod.node] += pod.requests[GPU]
    return used


def advance(world: Snapshot, random: Random, seconds: float = 30.0) -> tuple[Snapshot, bool]:
    """One round in the outside world: grants become pods, the scheduler binds in a random order, leavers are gone."""
    decision = decide(world, Policy())
    changed = False
    jobs: dict[JobKey, Job] = {}
    for outcome, one in zip(decision.outcomes, world.jobs, strict=True):
        changed = changed or outcome.granted != outcome.current
        kept = [pod for pod in one.pods if pod.node is not None][: outcome.granted.replicas]
        missing = outcome.granted.replicas - len(kept)
        fresh = [
            Pod(f"{one.key.name}-{random.random()}", f"{random.random()}", None, one.requests, world.now)
            for _ in range(missing)
        ]
        jobs[one.key] = replace(one, pods=(*kept, *fresh), memory=outcome.memory)
    moved = replace(world, now=world.now + seconds, round=decision.round, jobs=tuple(jobs[o.key] for o in world.jobs))
    return bound(moved, random), changed


def bound(world: Snapshot, random: Random) -> Snapshot:
    free = Counter({one.name: one.allocatable[GPU] for one in world.nodes})
    free.subtract(used_on(world))
    waiting = [(one.key, pod) for one in world.jobs for pod in one.pods if pod.node is None]
    random.shuffle(waiting)
    placed: dict[str, Pod] = {}
    for _, pod in waiting:
        able = sorted(name for name, count in free.items() if count >= pod.requests[GPU])
        assert able, "a granted pod found no node: the wave was not safe"
        where = random.choice(able)
        free[where] -= pod.requests[GPU]
        placed[pod.uid] = replace(pod, node=where, ready=True, ready_since=world.now)
    jobs = tuple(replace(one, pods=tuple(placed.get(pod.uid, pod) for pod in one.pods)) for one in world.jobs)
    return replace(world, jobs=jobs)


def check(world: Snapshot) -> None:
    """What must hold at every observed instant."""
    capacity = {one.name: one.allocatable[GPU] for one in world.nodes}
    for name, count in used_on(world).items():
        assert count <= capacity[name]
    for one in world.jobs:
        granted = one.admission.replicas if one.admission else 0
        assert granted == 0 or granted in one.steps
    check_queues(world, {one.name: one for one in world.queues})


def check_queues(world: Snapshot, queues: dict[str, Queue]) -> None:
    used: Counter[str] = Counter()
    rigid: Counter[str] = Counter()
    for one in world.jobs:
        if one.admission is not None and one.queue_name is not None:
            used[one.queue_name] += one.admission.replicas * one.per_replica
            if not one.preemptible:
                rigid[one.queue_name] += one.admission.replicas * one.per_replica
    if not queues:
        return
    assert sum(used.values()) <= sum(one.quotas[0].nominal for one in queues.values())
    for name, one in queues.items():
        share = one.quotas[0]
        assert rigid[name] <= share.nominal
        if share.borrowing_limit is not None:
            assert used[name] <= share.nominal + share.borrowing_limit


@PROFILE
@given(world=worlds(), seed=st.integers(0, 10**6))
def test_every_round_is_safe_and_a_quiet_cluster_comes_to_rest(world: Snapshot, seed: int) -> None:
    random = Random(seed)
    changes = []
    for _ in range(12):
        resizes = [f"{r.key.name} {r.current.replicas}->{r.target.replicas}" for r in decide(world, Policy()).resizes]
        world, changed = advance(world, random)
        check(world)
        changes.append(resizes if changed else [])
    assert not any(changes[-4:]), f"jobs are still resized although nothing happens: {changes}"


@PROFILE
@given(world=worlds())
def test_the_same_input_gives_the_same_decision(world: Snapshot) -> None:
    assert decide(world, Policy()) == decide(world, Policy())


@PROFILE
@given(world=worlds(), seed=st.integers(0, 10**6))
def test_an_equal_arrival_costs_nobody_the_minimum(world: Snapshot, seed: int) -> None:
    random = Random(seed)
    for _ in range(8):
        world, _ = advance(world, random)
    running = {one.key for one in world.jobs if one.admission is not None}
    late = job("late", 1, 4, 2, created=world.now, queue_name=world.jobs[0].queue_name, priority=0)
    arrived = replace(world, jobs=tuple(sorted((*world.jobs, late), key=lambda one: one.key)), queues=())
    arrived = replace(arrived, jobs=tuple(replace(one, queue_name=None) for one in arrived.jobs))
    decision = decide(arrived, Policy())
    for outcome in decision.outcomes:
        if outcome.key in running:
            assert outcome.target.replicas >= next(o.minimum for o in arrived.jobs if o.key == outcome.key)


@PROFILE
@given(world=worlds(), seed=st.integers(0, 10**6))
def test_a_job_that_waits_for_capacity_really_finds_none(world: Snapshot, seed: int) -> None:
    """At rest: NoCapacity means that the minimum of the job cannot be placed in what is free."""
    random = Random(seed)
    for _ in range(10):
        world, _ = advance(world, random)
    free = Counter({one.name: one.allocatable[GPU] for one in world.nodes})
    free.subtract(used_on(world))
    for outcome, one in zip(decide(world, Policy()).outcomes, world.jobs, strict=True):
        if outcome.reason == "NoCapacity":
            have = outcome.granted.replicas
            step = next(step for step in one.steps if step > have)
            slots = sum(count // one.per_replica for count in free.values())
            assert slots < step - have, f"{one.key}: {outcome.message}"


@pytest.mark.parametrize("seed", range(5))
def test_ten_rounds_of_arrivals_and_ends_stay_safe(seed: int) -> None:
    random = Random(seed)
    world = snapshot(on=tuple(node(f"h100-{i}") for i in range(4)))
    for index in range(10):
        leaving = random.sample(world.jobs, k=min(len(world.jobs), random.randint(0, 1)))
        arriving = [
            job(f"r{index}-{i}", random.randint(1, 2), random.randint(2, 8), random.choice(SIZES), created=world.now)
            for i in range(random.randint(0, 3))
        ]
        jobs = sorted([*(one for one in world.jobs if one not in leaving), *arriving], key=lambda one: one.key)
        world, _ = advance(replace(world, jobs=tuple(jobs)), random)
        check(world)
