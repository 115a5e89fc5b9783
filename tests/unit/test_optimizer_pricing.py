"""A job's next step in a finished plan: what it gains, which rows it uses, and whether these have room."""

from dataclasses import replace

import pytest

from apportion.model.jobs import JobKey
from apportion.model.plan import Allocation, Grant
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import Pricing, Step, solve
from builders import NOW, job, nodes, queue, quota, running, snapshot

ONE = JobKey("team", "one")


def steps(world: Snapshot, key: JobKey = ONE) -> list[Step]:
    return Pricing(world, Policy(), solve(world, Policy())).steps(key)


LAB = (queue("mine", quota(4, lend=2), cohort="lab"), queue("yours", quota(4, lend=1), cohort="lab"))


def granted(replicas: int) -> list[Step]:
    """The steps of the only job in a cohort with lending limits, in a plan that gives it so much."""
    world = snapshot(job("one", 1, 8, queue_name="mine"), on=nodes(1), queues=LAB)
    plan = replace(solve(world, Policy()), allocations=(Allocation(ONE, "h100", replicas),))
    return Pricing(world, Policy(), plan).steps(ONE)


def test_a_step_within_what_others_lend_fits() -> None:
    """What the queue may use is a variable of the program here, not a number."""
    (step,) = granted(4)
    assert step.grant == Grant("h100", 5)
    assert step.gain > 0
    assert step.fits


def test_a_step_beyond_what_others_lend_names_their_cohort() -> None:
    (step,) = granted(5)
    assert {row.row: row.missing for row in step.rows if row.missing} == {"cohort/lab/h100": 1.0}


def test_what_a_restart_costs_may_leave_no_larger_step() -> None:
    young = running(job("one", 1, 8, restart_seconds=600.0), {"h100-0": 2}, since=NOW - 60)
    assert steps(snapshot(young, on=nodes(1))) == []


def test_a_job_that_waits_has_a_first_step_on_each_flavor() -> None:
    world = snapshot(job("one", 4, 8), running(job("full", 6, 6), {"h100-0": 6}), on=(*nodes(1), *nodes(1, 2, "a100")))
    found = {step.grant: step for step in steps(world)}
    assert set(found) == {Grant("h100", 4), Grant("a100", 4)}
    assert found[Grant("h100", 4)].gain > found[Grant("a100", 4)].gain > 0
    (row,) = [row for row in found[Grant("h100", 4)].rows if row.missing]
    assert (row.row, row.missing) == ("capacity/h100/1", 0.5)


def test_the_gain_of_a_step_is_what_the_plan_would_be_worth_more_with_its_room() -> None:
    one = running(job("one", 1, 4), {"h100-0": 2})
    full = running(job("full", 6, 6), {"h100-0": 6})
    world = snapshot(one, full, on=nodes(1))
    larger = snapshot(one, full, on=nodes(1, gpus=9))
    (step,) = steps(world)
    assert step.gain == pytest.approx(solve(larger, Policy()).objective - solve(world, Policy()).objective)
    assert step.price >= step.gain


def test_a_job_without_a_choice_has_no_step() -> None:
    assert steps(snapshot(running(job("one", 2, 2), {"h100-0": 2}), on=nodes(1))) == []
    assert steps(snapshot(job("other"), on=nodes(1))) == []
