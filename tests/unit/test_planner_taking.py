"""Who may take from whom, in the order of behaviour.md."""

from dataclasses import replace

import pytest

from apportion.model.curves import Points
from apportion.model.flavors import Node, Provisionable
from apportion.model.jobs import Job
from apportion.model.plan import Decision, Grant, Outcome
from apportion.model.policy import NO_BUDGET, Policy
from apportion.model.queues import Queue
from apportion.model.selection import NodeChoice
from apportion.model.snapshot import Snapshot, Terms
from apportion.planner import decide
from apportion.planner.churn import Churn
from apportion.planner.ledger import Ledger
from apportion.planner.queueing import proportional
from apportion.planner.terms import settle
from builders import A100, GPU, H100, NOW, job, node, nodes, queue, quota, running, snapshot


def said(decision: Decision, name: str) -> Outcome:
    return next(outcome for outcome in decision.outcomes if outcome.key.name == name)


def target(decision: Decision, name: str) -> Grant:
    return said(decision, name).target


def decided(*jobs: Job, on: int = 2, **fields: object) -> Decision:
    return decide(snapshot(*jobs, on=nodes(on), **fields), Policy())


LAB = (queue("mine", quota(8), cohort="lab"), queue("yours", quota(8), cohort="lab"))


def test_a_lender_takes_its_quota_back_from_surplus_although_min_runtime_protects_it() -> None:
    borrower = running(
        job("borrower", 2, 16, queue_name="yours", min_runtime_seconds=1e6), {"h100-0": 8, "h100-1": 8}, since=NOW - 10
    )
    decision = decided(borrower, job("owner", 4, 8, queue_name="mine"), queues=LAB)
    assert target(decision, "owner").replicas >= 4
    assert 2 <= target(decision, "borrower").replicas <= 12


def test_a_running_lender_grows_into_its_nominal_quota() -> None:
    borrower = running(job("borrower", 2, 16, queue_name="yours"), {"h100-0": 8, "h100-1": 6})
    owner = running(job("owner", 2, 8, queue_name="mine"), {"h100-1": 2})
    decision = decided(borrower, owner, queues=LAB)
    assert target(decision, "owner").replicas == 8
    assert target(decision, "borrower").replicas == 8


def test_a_replica_that_asks_more_by_now_is_not_free_room_for_others() -> None:
    """Its pod has one of 16, and three are granted: 13 are left, not 15."""
    edited = running(job("edited", 1, 1, queue_name="mine"), {"h100-0": 1})
    edited = replace(edited, per_replica=3, requests={**edited.requests, GPU: 3})
    world = snapshot(edited, on=nodes(2), queues=LAB)
    assert Ledger(world, {edited.key: Terms()}).unoccupied(H100) == 13


def heavy(low: int = 2) -> Job:
    """A borrower of 14 accelerators, 6 of them not its queue's own, that values each of them highly."""
    return running(job("borrower", low, 16, queue_name="heavy"), {"h100-0": 8, "h100-1": 6})


UNEVEN = (LAB[0], queue("heavy", quota(8), cohort="lab", weight=100.0))


def test_a_running_lender_grows_although_the_borrower_would_make_more_of_it() -> None:
    owner = running(job("owner", 2, 8, queue_name="mine"), {"h100-1": 2})
    decision = decided(heavy(), owner, queues=UNEVEN)
    assert target(decision, "owner").replicas == 8
    assert target(decision, "borrower").replicas == 8


@pytest.mark.parametrize("has", [0, 2], ids=["it waits", "it runs"])
def test_free_accelerators_that_no_quota_covers_are_no_reason_to_keep_what_is_borrowed(has: int) -> None:
    """Eight are free, and the cohort has nothing to use them by."""
    owner = job("owner", 2 if has else 8, 8, queue_name="mine")
    borrower = running(job("borrower", 2, 16, queue_name="heavy"), {"h100-0": 8, "h100-1": 8 - has})
    decision = decided(borrower, running(owner, {"h100-2": has}) if has else owner, queues=UNEVEN, on=3)
    assert target(decision, "owner").replicas == 8
    assert target(decision, "borrower").replicas == 8


@pytest.mark.parametrize(
    ("amount", "holds", "on", "foreign", "back"),
    [(4, 16, 3, 0, 4), (6, 12, 3, 0, 2), (4, 12, 2, 0, 0), (6, 12, 2, 0, 2), (3, 12, 2, 4, 3), (4, 8, 3, 0, 0)],
    ids=[
        "all quota is used",
        "some is not",
        "as much is free",
        "less is free",
        "others hold it",
        "nothing is borrowed",
    ],
)
def test_what_is_free_and_covered_by_quota_is_taken_before_borrowers_give_back(
    amount: int, holds: int, on: int, foreign: int, back: int
) -> None:
    borrower = running(job("borrower", 1, 16, queue_name="yours"), {"h100-0": 8, "h100-1": holds - 8})
    there = (*nodes(on)[:-1], replace(nodes(on)[-1], foreign={GPU: foreign}))
    ledger = Ledger(snapshot(borrower, on=there, queues=LAB), {borrower.key: Terms()})
    ledger.divide(amount, H100, (LAB[1],))
    assert ledger.reclaimed["yours", "h100"] == back


def test_a_running_lender_takes_back_no_more_than_its_nominal_quota() -> None:
    """What the borrower has of a third queue's quota is not the owner's to take."""
    queues = (LAB[0], queue("heavy", quota(4), cohort="lab", weight=100.0), queue("third", quota(4), cohort="lab"))
    borrower = running(job("borrower", 2, 16, queue_name="heavy"), {"h100-0": 8, "h100-1": 4})
    owner = running(job("owner", 2, 16, queue_name="mine"), {"h100-1": 4})
    decision = decided(borrower, owner, queues=queues)
    assert target(decision, "owner").replicas == 8
    assert target(decision, "borrower").replicas == 8


def test_all_running_jobs_of_a_lender_grow_into_its_nominal_quota() -> None:
    owners = [running(job(name, 2, 4, queue_name="mine"), {"h100-1": 2}) for name in ("one", "two")]
    borrower = running(job("borrower", 2, 16, queue_name="heavy"), {"h100-0": 8, "h100-1": 4})
    decision = decided(borrower, *owners, queues=UNEVEN)
    assert [target(decision, name).replicas for name in ("one", "two", "borrower")] == [4, 4, 8]


def test_growth_into_quota_that_nobody_borrows_pays_for_its_restart() -> None:
    """A moment after its start; with a borrower about it would grow at once, as its quota is not others' to keep."""
    young = running(
        job("young", 2, 8, queue_name="mine", created=NOW - 30, restart_seconds=600.0), {"h100-0": 2}, since=NOW - 30
    )
    assert target(decided(young, queues=LAB), "young").replicas == 2
    borrower = running(job("borrower", 2, 16, queue_name="heavy"), {"h100-0": 6, "h100-1": 8})
    assert target(decided(young, borrower, queues=UNEVEN), "young").replicas == 8


def test_nobody_is_held_back_for_growth_that_is_worth_nothing() -> None:
    owner = running(job("owner", 2, 8, queue_name="mine", curve=Points(((2, 1.0), (8, 1.0)))), {"h100-1": 2})
    decision = decided(heavy(), owner, queues=UNEVEN)
    assert target(decision, "owner").replicas == 2
    assert target(decision, "borrower").replicas == 14


def test_borrowed_admissions_go_when_surplus_is_not_enough_youngest_first() -> None:
    old = running(job("old", 8, 8, queue_name="yours", created=NOW - 5000), {"h100-0": 8})
    young = running(job("young", 8, 8, queue_name="yours", created=NOW - 1000), {"h100-1": 8})
    decision = decided(old, young, job("owner", 8, 8, queue_name="mine"), queues=LAB)
    assert target(decision, "owner").replicas == 8
    assert target(decision, "old").replicas == 8
    assert target(decision, "young").replicas == 0
    assert said(decision, "young").reason == "Preempted"
    assert "team/owner" in said(decision, "young").message


def test_a_lower_class_goes_before_a_younger_one() -> None:
    low = running(job("low", 8, 8, queue_name="yours", priority=1, created=NOW - 5000), {"h100-0": 8})
    high = running(job("high", 8, 8, queue_name="yours", priority=5, created=NOW - 1000), {"h100-1": 8})
    decision = decided(low, high, job("owner", 8, 8, queue_name="mine"), queues=LAB)
    assert target(decision, "low").replicas == 0
    assert target(decision, "high").replicas == 8


def test_several_borrowers_give_in_proportion_to_what_they_borrowed() -> None:
    queues = (
        queue("a", quota(4), cohort="lab"),
        queue("b", quota(4), cohort="lab"),
        queue("owner", quota(16), cohort="lab"),
    )
    big = running(job("big", 1, 16, queue_name="a"), {"h100-0": 8, "h100-1": 8})
    small = running(job("small", 1, 8, queue_name="b"), {"h100-2": 8})
    decision = decided(big, small, job("claim", 8, 8, queue_name="owner"), on=3, queues=queues)
    assert target(decision, "claim").replicas == 8
    assert target(decision, "big").replicas == 10
    assert target(decision, "small").replicas == 6


@pytest.mark.parametrize(("on", "big", "small"), [((8, 8, 8), 7, 5), ((8, 8, 4), 4, 4)], ids=["8 free", "4 free"])
def test_what_is_free_goes_to_an_owner_before_anything_is_taken_back(on: tuple[int, ...], big: int, small: int) -> None:
    queues = (
        queue("a", quota(4), cohort="lab"),
        queue("b", quota(4), cohort="lab"),
        queue("o", quota(16), cohort="lab"),
    )
    jobs = (
        running(job("big", 1, 10, queue_name="a"), {"h100-0": 8, "h100-1": 2}),
        running(job("small", 1, 6, queue_name="b"), {"h100-1": 6}),
        job("claim", 12, 12, queue_name="o"),
    )
    there = tuple(node(f"h100-{at}", room) for at, room in enumerate(on))
    decision = decide(snapshot(*jobs, on=there, queues=queues), Policy())
    assert [target(decision, name).replicas for name in ("claim", "big", "small")] == [12, big, small]


def test_a_non_preemptible_job_never_borrows() -> None:
    decision = decided(job("rigid", 1, 16, queue_name="mine", preemptible=False), queues=LAB)
    assert target(decision, "rigid").replicas == 8


def test_a_non_preemptible_job_does_not_start_beyond_the_nominal_quota() -> None:
    decision = decided(job("rigid", 12, 16, queue_name="mine", preemptible=False), queues=LAB)
    assert target(decision, "rigid").replicas == 0
    assert said(decision, "rigid").reason == "QuotaExceeded"


ALONE = (queue("only", quota(16)),)
# Without any Queue all jobs stand in one, without a quota.
in_one_queue = pytest.mark.parametrize(("only", "queues"), [("only", ALONE), (None, ())], ids=["a Queue", "no Queue"])


@in_one_queue
def test_a_higher_class_takes_an_admission_of_its_queue(only: str | None, queues: tuple[Queue, ...]) -> None:
    low = running(job("low", 16, 16, queue_name=only, priority=1), {"h100-0": 8, "h100-1": 8})
    decision = decided(low, job("urgent", 8, 8, queue_name=only, priority=9), queues=queues)
    assert target(decision, "urgent").replicas == 8
    assert target(decision, "low").replicas == 0


@in_one_queue
def test_surplus_goes_before_an_admission(only: str | None, queues: tuple[Queue, ...]) -> None:
    low = running(job("low", 4, 16, queue_name=only, priority=1), {"h100-0": 8, "h100-1": 8})
    decision = decided(low, job("urgent", 8, 8, queue_name=only, priority=9), queues=queues)
    assert target(decision, "urgent").replicas == 8
    assert target(decision, "low").replicas == 8


@in_one_queue
def test_min_runtime_protects_from_a_higher_class(only: str | None, queues: tuple[Queue, ...]) -> None:
    low = running(
        job("low", 16, 16, queue_name=only, priority=1, min_runtime_seconds=300),
        {"h100-0": 8, "h100-1": 8},
        since=NOW - 100,
    )
    decision = decided(low, job("urgent", 8, 8, queue_name=only, priority=9), queues=queues)
    assert target(decision, "low").replicas == 16
    assert target(decision, "urgent").replicas == 0
    assert decision.recheck_after is not None
    assert decision.recheck_after <= 200


def test_a_class_of_another_queue_takes_nothing() -> None:
    queues = (queue("a", quota(16), cohort="lab"), queue("b", quota(0), cohort="lab"))
    low = running(job("low", 16, 16, queue_name="a", priority=1), {"h100-0": 8, "h100-1": 8})
    decision = decided(low, job("urgent", 8, 8, queue_name="b", priority=9), queues=queues)
    assert target(decision, "low").replicas == 16


@in_one_queue
def test_nobody_loses_a_minimum_to_an_equal(only: str | None, queues: tuple[Queue, ...]) -> None:
    first = running(job("first", 16, 16, queue_name=only), {"h100-0": 8, "h100-1": 8})
    decision = decided(first, job("second", 1, 1, queue_name=only), queues=queues)
    assert target(decision, "first").replicas == 16
    assert said(decision, "second").reason in ("NoCapacity", "QuotaExceeded")


def test_an_equal_takes_surplus_by_value() -> None:
    first = running(job("first", 1, 16, queue_name="only"), {"h100-0": 8, "h100-1": 8})
    decision = decided(first, job("second", 1, 16, queue_name="only"), queues=ALONE)
    assert target(decision, "second").replicas >= 4
    assert target(decision, "first").replicas >= 4


@in_one_queue
def test_a_non_preemptible_job_is_no_victim_of_a_higher_class(only: str | None, queues: tuple[Queue, ...]) -> None:
    rigid = running(job("rigid", 16, 16, queue_name=only, preemptible=False), {"h100-0": 8, "h100-1": 8})
    decision = decided(rigid, job("urgent", 8, 8, queue_name=only, priority=9), queues=queues)
    assert target(decision, "rigid").replicas == 16


def test_a_job_that_was_admitted_a_moment_ago_does_not_make_room_for_an_equal_on_another_flavor() -> None:
    """Only h100 has a node for a pod of two."""
    pair, there = job("pair", 1, 1, 2), (node("h100-0", 2), node("a100-0", 1, "a100"))
    for at, ago, on, goes in (
        ("within", 10.0, "h100-0", "h100"),
        ("after", 300.0, "h100-0", "a100"),
        ("on a lost node", 10.0, "gone", "a100"),
    ):
        single = running(job("single", 1, 1, min_runtime_seconds=300.0), {on: 1}, since=NOW - ago)
        decision = decide(snapshot(single, pair, on=there), Policy())
        assert target(decision, "single") == Grant(goes, 1), at
        assert target(decision, "pair").replicas == (goes == "a100"), at


@pytest.mark.parametrize("least", [4, 8])
def test_a_queue_takes_its_own_from_a_borrower_of_a_moment_ago_that_may_go_to_another_flavor(least: int) -> None:
    """What the queue wants back is the borrower's surplus (of 4), or all that it has."""
    there, flavors = (*nodes(1), *nodes(1, flavor="a100")), (replace(A100, speed=1.0), H100)
    mine = queue("mine", quota(8), quota(0, "a100"), cohort="lab")
    yours = queue("yours", quota(0), quota(8, "a100"), cohort="lab")
    own = job("borrower", least, 8, queue_name="yours", min_runtime_seconds=300.0)
    borrower, owner = running(own, {"h100-0": 8}, since=NOW - 10), job("owner", least, 8, queue_name="mine")
    decision = decide(snapshot(borrower, owner, on=there, queues=(mine, yours), flavors=flavors), Policy())
    assert target(decision, "owner") == Grant("h100", 8)
    assert target(decision, "borrower") == Grant("a100", 8)


def test_lost_capacity_takes_at_once_and_says_who_lost() -> None:
    one = running(job("one", 4, 8, min_runtime_seconds=1e6), {"h100-0": 8}, since=NOW - 10)
    two = running(job("two", 4, 8, min_runtime_seconds=1e6), {"gone": 8}, since=NOW - 10)
    decision = decided(one, two, on=1)
    assert target(decision, "one").replicas + target(decision, "two").replicas <= 8
    assert target(decision, "one").replicas >= 4
    assert target(decision, "two").replicas >= 4


def test_an_evicted_job_keeps_its_place_in_the_queue() -> None:
    low = running(
        job("low", 16, 16, queue_name="only", priority=1), {"h100-0": 8, "h100-1": 8}, queued_since=NOW - 9999
    )
    decision = decided(low, job("urgent", 8, 8, queue_name="only", priority=9), queues=ALONE)
    assert said(decision, "low").memory.queued_since == NOW - 9999
    assert said(decision, "low").memory.admission is None


def test_grace_shrinks_nobody() -> None:
    one = running(job("one", 1, 8), {"gone": 8})
    quiet: Snapshot = snapshot(one, on=(node("h100-0", 1),), grace={"h100": NOW + 100})
    assert decide(quiet, Policy()).resizes == ()
    over = snapshot(one, on=(node("h100-0", 1),), grace={"h100": NOW - 1})
    assert target(decide(over, Policy()), "one").replicas == 1


def test_no_promise_to_a_lower_class_shuts_out_a_higher_one_of_its_queue_that_would_take_it_back() -> None:
    """The small job's nominal quota is wanted by another queue's borrower; the urgent one needs the whole cluster."""
    urgent = job("urgent", 3, 3, 8, queue_name="mine", priority=5)
    small = job("small", 1, 6, queue_name="mine")
    rival = job("rival", 3, 3, 8, queue_name="yours")
    shares = (queue("mine", quota(8), cohort="lab"), queue("yours", quota(16), cohort="lab"))
    decision = decided(urgent, small, rival, on=3, queues=shares)
    assert target(decision, "urgent").replicas == 3
    assert target(decision, "small").replicas == 0


def test_nobody_borrows_what_an_owner_uses_of_its_own_quota() -> None:
    """By value the borrower is worth more than the second replica of the owner, which would take it back at once."""
    owner = running(job("owner", 1, 5, 8, queue_name="yours"), {"h100-0": 1, "h100-1": 1})
    firm = running(job("firm", 2, 5, 4, queue_name="mine", preemptible=False), {"h100-2": 2})
    shares = (queue("mine", quota(8), cohort="lab"), queue("yours", quota(16), cohort="lab"))
    decision = decided(owner, firm, job("borrower", 1, 7, queue_name="mine"), on=3, queues=shares)
    assert target(decision, "owner").replicas == 2
    assert target(decision, "borrower").replicas == 0


def test_each_owner_makes_room_of_its_own() -> None:
    """What was promised to the first is not there for the second."""
    whole = (queue("mine", quota(16), cohort="lab"), queue("yours", quota(0), cohort="lab"))
    old = running(job("old", 8, 8, queue_name="yours", created=NOW - 5000), {"h100-0": 8})
    young = running(job("young", 8, 8, queue_name="yours", created=NOW - 1000), {"h100-1": 8})
    owners = [job(name, 8, 8, queue_name="mine") for name in ("first", "second")]
    decision = decided(old, young, *owners, queues=whole)
    assert [target(decision, name).replicas for name in ("old", "young", "first", "second")] == [0, 0, 8, 8]
    assert {said(decision, name).reason for name in ("old", "young")} == {"Preempted"}


@pytest.mark.parametrize(("on", "yours"), [((8, 4), 8 + 2), ((8, 8, 8), 8 + 6)], ids=["few nodes", "many nodes"])
def test_a_queue_may_use_its_own_and_what_is_free_of_the_cohort(on: tuple[int, ...], yours: int) -> None:
    mine = running(job("mine", 2, 8, queue_name="mine"), {"n0": 2})
    theirs = running(job("theirs", 8, 8, queue_name="yours"), {"n0": 6, "n1": 2})
    there = (*(node(f"n{at}", gpus) for at, gpus in enumerate(on)), node("slow", 4, "a100"))
    now = snapshot(mine, theirs, on=there, queues=LAB)
    rights = settle(replace(now, terms={j.key: Terms() for j in now.jobs}), Churn(now, NO_BUDGET), {})
    ceilings = {(c.queue, c.flavor): c.accelerators for c in rights.standing}
    assert ceilings["yours", "h100"] == yours
    assert ceilings["mine", "h100"] == 8


@pytest.mark.parametrize("left", [node("n1", 8, placeable=False), node("n1", 7)], ids=["cordoned", "a device is gone"])
def test_what_runs_where_no_new_pod_goes_does_not_take_what_is_free_elsewhere(left: Node) -> None:
    theirs = running(job("theirs", 8, 8, queue_name="yours"), {"n1": 8})
    now = snapshot(theirs, on=(node("n0", 4), left), queues=LAB)
    rights = settle(replace(now, terms={j.key: Terms() for j in now.jobs}), Churn(now, NO_BUDGET), {})
    assert {c.queue: c.accelerators for c in rights.standing if c.flavor == "h100"} == {"mine": 8, "yours": 8 + 4}


def test_who_fits_beside_a_cordoned_node_is_admitted() -> None:
    theirs = running(job("theirs", 8, 8, queue_name="yours"), {"n1": 8})
    beside = (node("n0", 4), node("n1", 8, placeable=False))
    decision = decide(snapshot(theirs, job("waits", 4, 4, queue_name="yours"), on=beside, queues=LAB), Policy())
    assert [target(decision, name).replicas for name in ("theirs", "waits")] == [8, 4]


@pytest.mark.parametrize("needs", [1, 4, 5, 9, 13, 16])
def test_no_more_admissions_go_than_are_needed(needs: int) -> None:
    whole = (queue("mine", quota(16), cohort="lab"), queue("yours", quota(0), cohort="lab"))
    borrowers = [
        running(job(f"b{at}", 4, 4, queue_name="yours", created=NOW - 1000 * at - 1000), {f"h100-{at // 2}": 4})
        for at in range(4)
    ]
    decision = decided(*borrowers, job("owner", needs, needs, queue_name="mine"), queues=whole)
    assert target(decision, "owner").replicas == needs
    gone = -(-needs // 4)
    assert [target(decision, f"b{at}").replicas for at in range(4)] == [0] * gone + [4] * (4 - gone)


@pytest.mark.parametrize(
    ("amount", "weights", "shares"),
    [
        (5, {"a": 6, "b": 3}, {"a": 3, "b": 2}),
        (9, {"a": 1, "b": 1}, {"a": 1, "b": 1}),
        (3, {"a": 0}, {"a": 0}),
        (0, {"a": 2}, {"a": 0}),
        (1, {"b": 2, "a": 2}, {"a": 1, "b": 0}),
    ],
)
def test_proportional_division_by_largest_remainder(
    amount: int, weights: dict[str, int], shares: dict[str, int]
) -> None:
    assert proportional(amount, weights) == shares


def test_who_may_lose_its_minimum_goes_and_not_who_has_just_begun_to_run() -> None:
    """The 4s of the urgent job need a place that only two leave together; the one in its minRuntime is not of them."""
    rich = running(
        job("rich", 2, 8, queue_name="only", priority=9), {f"h100-{n}": k for n, k in enumerate((1, 1, 3, 2))}
    )
    begun = running(job("begun", 1, 1, 4, queue_name="only", min_runtime_seconds=300), {"h100-1": 1}, since=NOW - 81)
    late = running(job("late", 2, 8, queue_name="only"), {"h100-1": 2, "h100-3": 2, "h100-4": 1}, since=NOW - 1)
    ready, *others = late.pods
    late = replace(late, pods=(ready, *(replace(pod, ready=False, ready_since=None) for pod in others)))
    on = tuple(node(f"h100-{at}", size) for at, size in enumerate((3, 8, 3, 4, 2)))
    urgent = job("urgent", 1, 3, 4, queue_name="only", priority=9)
    decision = decide(snapshot(rich, begun, late, urgent, on=on, queues=ALONE), Policy())
    assert {name: target(decision, name).replicas for name in ("begun", "late", "urgent")} == {
        "begun": 1,
        "late": 0,
        "urgent": 1,
    }


@in_one_queue
def test_what_an_evicted_job_left_goes_to_whom_it_left_it_for(only: str | None, queues: tuple[Queue, ...]) -> None:
    """As many would run if another of the class had its place, and the evicted one came back beside that."""
    first = job("first", 2, 2, 8, queue_name=only, priority=9, created=NOW - 101)
    second = job("second", 2, 8, 2, queue_name=only, priority=9, created=NOW - 100)
    low = job("low", 4, 8, queue_name=only, created=NOW - 300)
    low = replace(low, memory=replace(low.memory, restarts=1))
    decision = decided(first, second, low, queues=queues)
    assert {name: target(decision, name).replicas for name in ("first", "second", "low")} == {
        "first": 2,
        "second": 0,
        "low": 0,
    }


def test_who_waits_for_new_nodes_is_protected_as_within_its_min_runtime() -> None:
    low = running(job("low", 8, 8, queue_name="only"), {"h100-0": 4})
    assert low.admission is not None
    low = replace(low, memory=replace(low.memory, admission=replace(low.admission, replicas=8, new_nodes=1)))
    offer = replace(H100, provisionable=Provisionable(2, 8))
    urgent = job("urgent", 8, 8, queue_name="only", priority=9)
    on = (node("h100-0"), node("h100-1", foreign={GPU: 8}))
    world = snapshot(low, urgent, on=on, queues=ALONE, flavors=(A100, offer))
    assert target(decide(world, Policy()), "low").replicas == 8


def test_who_may_grow_into_its_quota_is_not_moved_within_its_min_runtime() -> None:
    begun = running(job("begun", 2, 4, queue_name="mine", min_runtime_seconds=300), {"h100-0": 2}, since=NOW - 20)
    other = running(job("other", 1, 1, queue_name="yours"), {"h100-1": 1})
    come = job("come", 8, 8, queue_name="mine", nodes=NodeChoice(selector=(("gpu", "h100"),)))
    queues = (queue("mine", quota(12), quota(8, "a100"), cohort="lab"), queue("yours", quota(0), cohort="lab"))
    on = (node("a100-0", flavor="a100"), node("h100-0"), node("h100-1", 1))
    decision = decide(snapshot(begun, other, come, on=on, queues=queues), Policy())
    assert target(decision, "begun").flavor == "h100"
