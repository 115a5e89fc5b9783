"""Owners that may go to several flavors: who has to give, and what is promised to whom it costs nobody anything."""

from dataclasses import replace

import pytest

from apportion.model.jobs import FlavorChoice, Job
from apportion.model.plan import NOTHING, Decision, Grant
from apportion.model.policy import Policy
from apportion.model.snapshot import Terms
from apportion.planner import decide
from apportion.planner.decide import wanted
from apportion.planner.ledger import Ledger
from apportion.planner.searching import disputed
from apportion.planner.taking import make_room
from builders import A100, H100, NOW, job, nodes, queue, quota, running, snapshot


def target(decision: Decision, name: str) -> Grant:
    return next(outcome.target for outcome in decision.outcomes if outcome.key.name == name)


def decided(*jobs: Job, on: int = 2, **fields: object) -> Decision:
    return decide(snapshot(*jobs, on=nodes(on), **fields), Policy())


TWO_FLAVORS = (*nodes(1), *nodes(1, flavor="a100"))
EVEN = (replace(A100, speed=1.0), H100)
ONLY_A100 = (FlavorChoice("a100"),)


def test_what_an_owner_may_have_on_another_flavor_is_no_reason_to_keep_others_from_borrowing() -> None:
    """The older job would be promised a100, as the first of its flavors: then only one of them ran."""
    queues = (
        queue("red", quota(4, "a100"), quota(8), cohort="lab"),
        queue("blue", quota(4, "a100"), cohort="lab"),
    )
    either = job("either", 4, 4, queue_name="red", created=NOW - 900)
    whole = job("whole", 8, 8, queue_name="blue", flavors=ONLY_A100, created=NOW - 100)
    decision = decide(snapshot(either, whole, on=TWO_FLAVORS, queues=queues, flavors=EVEN), Policy())
    assert target(decision, "either") == Grant("h100", 4)
    assert target(decision, "whole") == Grant("a100", 8)


def test_nobody_borrows_what_an_owner_who_waits_would_take_back() -> None:
    """Two borrowers would be more admissions than the one owner."""
    whole = (queue("mine", quota(8), cohort="lab"), queue("yours", quota(0), cohort="lab"))
    owner = job("owner", 8, 8, queue_name="mine")
    borrowers = (job(f"borrower-{at}", 4, 4, queue_name="yours", created=NOW - 900_000) for at in range(2))
    decision = decided(owner, *borrowers, on=1, queues=whole)
    assert [target(decision, name).replicas for name in ("owner", "borrower-0", "borrower-1")] == [8, 0, 0]


@pytest.mark.parametrize(
    ("a100", "least", "runs"),
    [(1.0, 4, (8, "a100")), (0.5, 4, (4, "h100")), (0.5, 8, (8, "a100"))],
    ids=["as fast", "slower, surplus", "slower, a minimum"],
)
def test_nobody_gives_for_an_owner_what_it_has_elsewhere(a100: float, least: int, runs: tuple[int, str]) -> None:
    """It has room of its own on a100: for the sake of speed a borrower shrinks, but is not evicted."""
    queues = (
        queue("mine", quota(8), quota(8, "a100"), cohort="lab"),
        queue("yours", quota(0), quota(0, "a100"), cohort="lab"),
    )
    borrower = job("borrower", least, 8, queue_name="yours", flavors=(FlavorChoice("h100"),))
    borrower = running(borrower, {"h100-0": 8})
    owner = job("owner", 4, 8, queue_name="mine")
    world = snapshot(borrower, owner, on=TWO_FLAVORS, queues=queues, flavors=(replace(A100, speed=a100), H100))
    decision = decide(world, Policy())
    assert target(decision, "borrower") == Grant("h100", runs[0])
    assert target(decision, "owner").flavor == runs[1]


@pytest.mark.parametrize("costless", [True, False])
def test_a_promise_that_is_taken_off_again_stands_in_nobodys_way(costless: bool) -> None:
    owner, rival = job("owner", 8, 8, queue_name="mine"), job("rival", 1, 8, queue_name="yours")
    whole = (queue("mine", quota(8), cohort="lab"), queue("yours", quota(0), cohort="lab"))
    world = snapshot(owner, rival, on=nodes(1), queues=whole)
    ledger = Ledger(world, {one.key: Terms() for one in world.jobs})
    made = make_room(ledger, costless)
    assert (made.takers, made.costless) == (frozenset(), {owner.key})
    assert ledger.terms[owner.key].keeps == (8 if costless else 0)
    assert ledger.used["mine", "h100"] == (8 if costless else 0)
    assert ledger.floors.fits({rival.key: Grant("h100", 8)}) == (not costless)


@pytest.mark.parametrize(("given", "owner"), [("owner", 8), ("borrower", 8), ("borrower", 9)])
def test_a_plan_is_disputed_where_somebody_who_waits_would_take_back_what_it_gives(given: str, owner: int) -> None:
    """An owner of nine has no right to them."""
    whole = (queue("mine", quota(8), cohort="lab"), queue("yours", quota(0), cohort="lab"))
    jobs = (job("owner", owner, owner, queue_name="mine"), job("borrower", 4, 4, queue_name="yours"))
    found = wanted(snapshot(*jobs, on=nodes(1), queues=whole), Policy())
    before = dict.fromkeys(found.targets, NOTHING)
    targets = {one.key: Grant("h100", one.minimum) if one.key.name == given else NOTHING for one in jobs}
    settled = replace(found.snapshot, terms={one.key: Terms() for one in jobs})
    assert disputed(settled, before, replace(found, targets=targets)) == (given == "borrower" and owner == 8)


def test_who_takes_nothing_as_it_has_room_elsewhere_is_promised_that() -> None:
    """Else a borrower of more worth had it, and the owner took back what is borrowed in the next round."""
    both = (quota(8), quota(8, "a100"))
    queues = (
        queue("mine", *both, cohort="lab"),
        queue("yours", quota(0), quota(0, "a100"), cohort="lab", weight=100.0),
    )
    on_a100 = running(job("on-a100", 8, 8, queue_name="yours", flavors=ONLY_A100), {"a100-0": 8}, "a100")
    rivals = (job(f"rival-{at}", 4, 4, queue_name="yours", flavors=(FlavorChoice("h100"),)) for at in range(2))
    owner = job("owner", 8, 8, queue_name="mine")
    world = snapshot(on_a100, owner, *rivals, on=TWO_FLAVORS, queues=queues, flavors=EVEN)
    decision = decide(world, Policy())
    assert target(decision, "on-a100") == Grant("a100", 8)
    assert target(decision, "owner") == Grant("h100", 8)
