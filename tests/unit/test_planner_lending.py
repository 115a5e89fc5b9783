"""Lending is of what is unused: nobody gives up what is its queue's own so that another queue may borrow."""

from dataclasses import replace

import pytest

from apportion.model.curves import Points
from apportion.model.jobs import Job, Target
from apportion.model.plan import Decision, Grant, Outcome
from apportion.model.policy import Aim, Objective, Policy
from apportion.model.snapshot import Terms
from apportion.planner import decide
from apportion.planner.decide import wanted
from apportion.planner.lending import Lending
from builders import job, node, nodes, queue, quota, running, snapshot

LAB = (queue("a", quota(16), cohort="lab"), queue("b", quota(0), cohort="lab"))


def owner(**fields: object) -> Job:
    """5 on each of two nodes of 8: 6 are free, in pieces of 3."""
    return running(job("owner", 1, 2, 5, queue_name="a", **fields), {"h100-0": 1, "h100-1": 1})


def borrower(name: str = "borrower", each: int = 4, **fields: object) -> Job:
    return job(name, 1, 1, each, queue_name="b", **fields)


def decided(*jobs: Job, aim: Aim = Aim.PROPORTIONAL_FAIR, **fields: object) -> Decision:
    return decide(snapshot(*jobs, **{"on": nodes(2), "queues": LAB, **fields}), Policy(objective=Objective(name=aim)))


def said(decision: Decision, name: str) -> Outcome:
    return next(outcome for outcome in decision.outcomes if outcome.key.name == name)


def targets(decision: Decision) -> dict[str, int]:
    return {outcome.key.name: outcome.target.replicas for outcome in decision.outcomes}


def test_an_owner_keeps_its_surplus_where_what_is_free_is_in_pieces_too_small_for_a_borrower() -> None:
    """It took back its second replica as soon as the pod was gone, and gave it up again: over 40 restarts in 2 h."""
    decision = decided(owner(), borrower())
    assert (targets(decision), decision.resizes) == ({"owner": 2, "borrower": 0}, ())
    assert said(decision, "borrower").reason == "NoCapacity"
    assert (
        "6 are free, but not whole: a replica needs 4 h100 with 1 cpu on one node" in said(decision, "borrower").message
    )


def test_a_borrower_that_fits_into_the_pieces_gets_one_although_a_larger_one_of_a_higher_class_waits() -> None:
    decision = decided(owner(), borrower(priority=5), borrower("small", 3))
    assert targets(decision) == {"owner": 2, "borrower": 0, "small": 1}


def test_the_own_queue_gets_the_surplus_that_a_borrower_of_more_worth_does_not() -> None:
    """Either of them finds a place where the owner's second replica is now, and not both."""
    dear = (LAB[0], replace(LAB[1], weight=100.0))
    mine = job("mine", 1, 1, 4, queue_name="a")
    decision = decided(owner(), borrower(each=5), mine, queues=dear)
    assert targets(decision) == {"owner": 1, "mine": 1, "borrower": 0}


def test_what_is_left_of_a_surplus_that_the_own_queue_takes_is_lent() -> None:
    mine = job("mine", 1, 1, 4, queue_name="a")
    assert targets(decided(owner(), borrower(), mine)) == {"owner": 1, "mine": 1, "borrower": 1}


@pytest.mark.parametrize(("rate", "left"), [(0.5, 1), (1.5, 2)])
@pytest.mark.parametrize("aim", [Aim.PROPORTIONAL_FAIR, Aim.MIN_COST])
def test_who_needs_no_more_for_its_target_lends_the_rest(rate: float, left: int, aim: Aim) -> None:
    goal = owner(target=Target(throughput=rate), curve=Points(((1, 1.0), (2, 2.0))), declared=True)
    decision = decided(goal, borrower(), aim=aim)
    assert targets(decision) == {"owner": left, "borrower": 2 - left}


def test_under_min_cost_a_surplus_that_nobody_wants_is_lent() -> None:
    assert targets(decided(owner(), borrower(), aim=Aim.MIN_COST)) == {
        "owner": 1,
        "borrower": 1,
    }


def test_what_went_with_a_node_keeps_no_borrower_out() -> None:
    half = running(job("owner", 1, 2, 5, queue_name="a"), {"h100-0": 1, "gone": 1})
    left = (node("h100-0", 8), node("h100-1", 4))
    assert targets(decided(half, borrower(each=2), on=left)) == {"owner": 1, "borrower": 1}


@pytest.mark.parametrize(("to", "lends"), [(Grant("a100", 2), False), (Grant("a100", 1), True), (Grant(), True)])
def test_who_goes_to_another_flavor_with_all_its_replicas_lends_nothing(to: Grant, lends: bool) -> None:
    one, two = owner(), borrower()
    world = snapshot(one, two, on=nodes(2), queues=LAB, terms={one.key: Terms(), two.key: Terms()})
    lending = Lending(world, {one.key: Grant("h100", 2), two.key: Grant()})
    found = lending.lenders({one.key: to, two.key: Grant("h100", 1)})
    assert found == ({("a", "h100")} if lends else set())
    assert lending.lenders({one.key: to, two.key: Grant()}) == set(), "nobody borrows"


def test_who_was_made_to_keep_its_surplus_had_less_freedom_than_by_its_rights() -> None:
    """So what-if proves nothing by the bound of such a plan beside another one's."""
    world = snapshot(owner(), borrower(), on=nodes(2), queues=LAB)
    assert [key.name for key in wanted(world, Policy()).narrowed] == ["owner"]
