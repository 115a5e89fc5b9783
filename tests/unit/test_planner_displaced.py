"""What becomes of a job that has left its place for a gang, when something else happens in between."""

from dataclasses import replace

import pytest

from apportion.model.flavors import Node
from apportion.model.jobs import Memory, Workload
from apportion.model.plan import NOTHING, Grant
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from builders import GPU, NOW, job, nodes, queue, quota, running
from unit.defragmentation_world import GANG, OFF, ON, after, half, halves, movers, said


def moved(**fields: object) -> Snapshot:
    """`cheap` has left its place."""
    world = halves(**fields)
    return after(world, decide(world, ON))


def with_foreign(world: Snapshot, name: str, gpus: int) -> Snapshot:
    def held(one: Node) -> Node:
        return replace(one, foreign={GPU: gpus, "pods": 1}) if one.name == name else one

    return replace(world, nodes=tuple(map(held, world.nodes)))


@pytest.mark.parametrize("taken", ["h100-0", "h100-1"])
def test_a_place_that_somebody_else_took_costs_the_moved_job_nothing(taken: str) -> None:
    """Foreign pods take the gang's place or the room that was meant for the moved job: it has the other one."""
    world = with_foreign(moved(), taken, 4)
    decision = decide(world, ON)
    assert said(decision, "cheap").granted == Grant("h100", 1)
    assert said(decision, "gang").granted == NOTHING
    assert decide(after(world, decision), ON).resizes == ()


def test_a_gang_that_is_gone_leaves_the_moved_job_its_place() -> None:
    world = moved()
    decision = decide(replace(world, jobs=tuple(one for one in world.jobs if one.key != GANG)), ON)
    assert said(decision, "cheap").granted == Grant("h100", 1)


def test_a_policy_that_is_switched_off_meanwhile_gives_everything_back() -> None:
    world = moved()
    for _ in range(3):
        world = after(world, decide(world, OFF))
    assert {one.key.name: len(one.pods) for one in world.jobs} == {"cheap": 1, "dear": 1, "gang": 1}


def test_an_equal_that_comes_meanwhile_does_not_get_the_promised_place() -> None:
    """With queues and without: the moved job is counted as if it had its minimum."""
    for queues in ((), (queue("default", quota(16)),)):
        world = moved(queues=queues)
        late = [job(f"late{at}", 1, 1, 4, created=NOW - 1e6) for at in range(3)]
        world = replace(world, jobs=tuple(sorted((*world.jobs, *late), key=lambda one: one.key)))
        for _ in range(4):
            world = after(world, decide(world, ON))
        assert next(len(one.pods) for one in world.jobs if one.key.name == "cheap") == 1


def test_what_a_moved_job_is_to_get_again_counts_as_use_of_its_queue() -> None:
    """With it the gang's queue is beyond its nominal quota, and has no right to the place of another borrower."""
    queues = [queue(name, quota(own), cohort="lab") for name, own in (("idle", 16), ("mine", 12), ("other", 4))]
    names = (("cheap", "h100-0", 30.0), ("dear", "h100-1", 60.0))
    jobs = [half(name, on, restart_seconds=cost, queue_name="mine") for name, on, cost in names]
    guest = running(job("guest", 1, 1, 8, queue_name="other"), {"h100-2": 1})
    gang = job("gang", 1, 1, 8, queue_name="mine", created=NOW - 2e5)
    world = halves(*jobs, guest, gang=gang, on=nodes(3), queues=tuple(queues))
    first = decide(world, ON)
    assert movers(first) == ["cheap"]
    decision = decide(with_foreign(after(world, first), "h100-0", 4), ON)
    grants = {outcome.key.name: outcome.granted.replicas for outcome in decision.outcomes}
    assert grants == {"cheap": 1, "dear": 1, "gang": 0, "guest": 1}


def test_jobs_that_ran_before_they_were_known_are_not_moved_in_the_round_that_takes_them_over() -> None:
    world = halves()
    jobs = tuple(
        replace(one, memory=Memory(), workload=Workload(one.key.name, "uid", 1, owned=False)) if one.pods else one
        for one in world.jobs
    )
    decision = decide(replace(world, jobs=jobs), ON)
    assert decision.plan.clearing is None
    assert {outcome.key.name: outcome.granted.replicas for outcome in decision.outcomes} == {
        "cheap": 1, "dear": 1, "gang": 0
    }  # fmt: skip


def test_a_moved_job_that_is_suspended_is_promised_nothing() -> None:
    world = moved()
    jobs = tuple(replace(one, suspended=one.key.name == "cheap") for one in world.jobs)
    decision = decide(replace(world, jobs=jobs), ON)
    assert said(decision, "cheap").memory.displaced is None
    assert said(decision, "gang").granted == Grant("h100", 1)
