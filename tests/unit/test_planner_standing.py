"""A job whose owner raised the minimum above what it has."""

from dataclasses import replace

import pytest

from apportion.model.jobs import Job
from apportion.model.plan import Decision, Grant, Outcome
from apportion.model.policy import Aim, Objective, Policy
from apportion.planner import decide
from builders import H100, NOW, job, nodes, queue, quota, running, snapshot


def raised(**fields: object) -> Job:
    """It runs with one replica, and asks for eight by now."""
    return running(job("raised", 8, 8, **fields), {"h100-0": 1})


def said(decision: Decision, name: str = "raised") -> Outcome:
    return next(outcome for outcome in decision.outcomes if outcome.key.name == name)


@pytest.mark.parametrize("aim", Aim)
def test_it_gets_its_minimum_and_no_more_than_the_objective_has_for_it(aim: Aim) -> None:
    asked = replace(raised(), steps=(4, 5, 6, 7, 8))
    decision = decide(snapshot(asked, on=nodes(1)), Policy(objective=Objective(name=aim)))
    assert said(decision).granted.replicas == (4 if aim is Aim.MIN_COST else 8)


def test_it_gets_its_minimum_where_there_is_room_whatever_the_restart_costs() -> None:
    asked = raised(restart_seconds=600.0, created=NOW - 60, min_runtime_seconds=3600.0)
    assert said(decide(snapshot(asked, on=nodes(1)), Policy())).granted == Grant("h100", 8)
    nearly = running(job("raised", 8, 8, restart_seconds=600.0, created=NOW - 60), {"h100-0": 7})
    assert said(decide(snapshot(nearly, on=nodes(1)), Policy())).granted == Grant("h100", 8)


def test_once_it_has_nothing_it_waits_for_its_whole_minimum() -> None:
    """What did not come is given back, and fewer than it asks for are not granted anew."""
    waiting = replace(raised(), memory=replace(raised().memory, admission=None), pods=())
    decision = decide(snapshot(waiting, on=nodes(1, 7)), Policy())
    assert (said(decision).target.replicas, said(decision).reason) == (0, "GangTooLarge")


def test_once_it_has_lost_its_node_it_is_told_the_minimum_that_it_asks_for() -> None:
    """In the same round, and not the one replica that it could have kept."""
    full = running(job("full", 8, 8), {"h100-1": 8})
    decision = decide(snapshot(replace(raised(), pods=()), full, on=nodes(2)[1:]), Policy())
    assert said(decision).target.replicas == 0
    assert said(decision).message == "needs 8 h100; 0 are free; namespace team holds 8"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"queues": (queue("q", quota(4)),)}, "QuotaExceeded"),
        ({"flavors": (replace(H100, price_per_hour=1.0),)}, "BudgetExceeded"),
    ],
    ids=["quota", "budget"],
)
def test_it_keeps_what_it_has_where_a_limit_leaves_no_more(fields: dict[str, object], reason: str) -> None:
    asked = raised(queue_name="q" if "queues" in fields else None)
    decision = decide(snapshot(asked, on=nodes(2), **fields), Policy(budget_per_hour=4.0))
    assert (said(decision).granted, said(decision).target) == (Grant("h100", 1), Grant("h100", 1))
    assert said(decision).reason == reason
    assert "1 of at most 8: the next step (8) needs 7 more h100" in said(decision).message


@pytest.mark.parametrize(
    "other",
    [
        job("other", 7, 7),
        job("other", 1, 7, min_runtime_seconds=300.0),
        job("other", 4, 7, queue_name="owner"),
    ],
    ids=["an equal's minimum", "an equal's minRuntime", "another queue's nominal quota"],
)
def test_it_takes_nothing_for_it_that_others_need_not_give(other: Job) -> None:
    queues = (queue("owner", quota(7)), queue("mine", quota(1))) if other.queue_name else ()
    has = running(other, {"h100-0": 7}, since=NOW - 100)
    asked = raised(queue_name="mine" if queues else None)
    decision = decide(snapshot(asked, has, on=nodes(1), queues=queues), Policy())
    assert said(decision, "other").target == Grant("h100", 7)
    assert said(decision).target == Grant("h100", 1)
    assert decision.resizes == ()
