"""Why a job waits, why it does not grow, why it is not elsewhere: each reason in the case that it is for."""

from dataclasses import replace
from typing import Any

import pytest

from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Backoff, Block, FlavorChoice, Job, Memory
from apportion.model.plan import NOTHING, Decision, Grant, Outcome, Plan, Status
from apportion.model.policy import NO_BUDGET, Policy
from apportion.model.selection import NodeChoice, Requirement, Taint
from apportion.model.snapshot import Ceiling, Snapshot, Terms
from apportion.planner import decide
from apportion.planner.churn import Churn
from apportion.planner.decide import wanted
from apportion.planner.elsewhere import elsewhere
from apportion.planner.explain import Reasons, free_after, shown
from builders import A100, GPU, LONG_AGO, NOW, job, node, nodes, queue, quota, running, snapshot


def outcome_of(decision: Decision, name: str) -> Outcome:
    return next(one for one in decision.outcomes if one.key.name == name)


def waits(one: Job, *others: Job, on: tuple[Any, ...], **fields: Any) -> tuple[str, str]:
    """Reason and message of a job that gets nothing."""
    said = outcome_of(decide(snapshot(one, *others, on=on, **fields), Policy()), one.key.name)
    assert said.target.replicas == 0
    return said.reason, said.message


def tpu(name: str) -> Job:
    return replace(job(name, 1, 1), resource="google.com/tpu", requests={"google.com/tpu": 1, "pods": 1})


def test_a_resource_that_nobody_offers() -> None:
    assert waits(tpu("one"), on=nodes(1)) == (
        "NoCompatibleFlavor",
        "needs google.com/tpu; no node of the cluster offers it",
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "counts as h100: name a flavor for it in the AllocationPolicy"),
        ({"flavor": None, "why_not": "offers several things", "placeable": False}, "offers several things"),
    ],
)
def test_a_resource_that_a_node_offers_and_no_flavor_counts(fields: dict[str, Any], why: str) -> None:
    offering = node("both", allocatable={"google.com/tpu": 4}, **fields)
    said = f"needs google.com/tpu; node both offers it, but {why}"
    assert waits(tpu("one"), on=(*nodes(1), offering)) == ("NoCompatibleFlavor", said)


@pytest.mark.parametrize(
    ("where", "on", "says"),
    [
        (NodeChoice(selector=(("zone", "b"),)), nodes(3), "none of 3 nodes with h100 matches zone=b"),
        (
            NodeChoice(requirements=(Requirement("memory", "Gt", ("80",)),)),
            (node("n", labels={"gpu": "h100", "memory": "40"}),),
            "none of 1 nodes with h100 matches memory Gt 80",
        ),
        (
            NodeChoice(alternatives=tuple((Requirement("zone", "In", (f"z{i}",) * 99),) for i in range(7))),
            nodes(1),
            "none of 1 nodes with h100 matches "
            + "; ".join(f"zone In {f'z{i},' * 8}..." for i in range(5))
            + "; 2 more",
        ),
        (
            NodeChoice(selector=(("zone", "a"),)),
            (
                node("here", labels={"gpu": "h100", "zone": "a"}, taints=(Taint("team", "x"),)),
                node("there", labels={"gpu": "h100", "zone": "b"}),
            ),
            "the taint team=x:NoSchedule of the nodes with h100 is not tolerated",
        ),
    ],
    ids=["label", "requirement", "many", "taint"],
)
def test_no_node_takes_the_pod(where: NodeChoice, on: tuple[Any, ...], says: str) -> None:
    assert waits(job("one", nodes=where), on=on) == ("NoCompatibleFlavor", says)


def test_nodes_of_another_flavor_are_not_counted() -> None:
    on = (*nodes(2), *nodes(5, flavor="a100"))
    only = job("one", flavors=(FlavorChoice("h100"),), nodes=NodeChoice(selector=(("zone", "b"),)))
    assert waits(only, on=on)[1] == "none of 2 nodes with h100 matches zone=b"


def test_nodes_that_are_not_ready_are_named() -> None:
    on = (node("broken", placeable=False, why_not="NotReady"),)
    assert waits(job("one"), on=on) == (
        "NoCompatibleFlavor",
        "none of 1 nodes with h100 is placeable (node broken: NotReady)",
    )


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (job("one", 5, 8, 4), "needs 5 replicas of 4 h100 at once; the empty cluster has room for 4"),
        (job("one", 1, 1, 16), "needs 16 nvidia.com/gpu on one node; the largest with h100 has 8"),
        (
            replace(job("one", 1, 1), requests={GPU: 1, "cpu": 65_500, "pods": 1}),
            "needs 65.5 cpu on one node; the largest with h100 has 64",
        ),
        (
            replace(job("one", 1, 1), requests={GPU: 1, "memory": 2**40, "pods": 1}),
            "needs 1.02e+03Gi memory on one node; the largest with h100 has 512Gi",
        ),
    ],
    ids=["gang", "gpus", "cpu", "memory"],
)
def test_what_the_empty_cluster_could_not_hold(one: Job, says: str) -> None:
    assert waits(one, on=nodes(2)) == ("GangTooLarge", says)


def test_a_node_may_be_too_small_for_the_requests_together() -> None:
    on = (
        node("many", 8, allocatable={"cpu": 1000}),
        node("fast", 1),
    )
    one = replace(job("one", 1, 1, 4), requests={GPU: 4, "cpu": 8000, "pods": 1})
    assert waits(one, on=on) == (
        "GangTooLarge",
        "needs 4 h100 with 8 cpu on one node; no node with h100 has them together",
    )


@pytest.mark.parametrize(
    ("queues", "says"),
    [
        ((queue("mine", quota(8, "a100")),), "queue mine lists no quota for h100"),
        ((queue("mine", quota(2)),), "needs 4 h100; queue mine may use at most 2"),
        (
            (queue("mine", quota(2, borrow=1), cohort="lab"), queue("yours", quota(8), cohort="lab")),
            "needs 4 h100; queue mine may use at most 3",
        ),
        (
            (queue("mine", quota(2), cohort="lab"), queue("yours", quota(8, lend=1), cohort="lab")),
            "needs 4 h100; queue mine may use at most 3",
        ),
    ],
    ids=["unlisted", "nominal", "borrowing limit", "lending limit"],
)
def test_what_no_quota_could_ever_allow(queues: tuple[Any, ...], says: str) -> None:
    assert waits(job("one", 4, 4, queue_name="mine"), on=nodes(1), queues=queues) == ("QuotaExceeded", says)


def test_a_quota_that_is_full_now() -> None:
    full = running(job("full", 2, 2, queue_name="mine"), {"h100-0": 2})
    said = waits(job("one", 1, 1, queue_name="mine"), full, on=nodes(1), queues=(queue("mine", quota(2)),))
    assert said == ("QuotaExceeded", "needs 1 h100; queue mine holds 2 of its 2")


def test_a_job_that_never_borrows_is_measured_against_those_of_its_queue_that_do_not_either() -> None:
    lab = (queue("mine", quota(3), cohort="lab"), queue("yours", quota(9), cohort="lab"))
    safe = job("safe", 2, 2, queue_name="mine", preemptible=False)
    elastic = running(job("elastic", 2, 2, queue_name="mine"), {"h100-0": 2})
    assert waits(safe, elastic, on=nodes(1, 3), queues=lab) == (
        "NoCapacity",
        "needs 2 h100; 1 are free; queue mine holds 2",
    )
    other = running(job("other", 2, 2, queue_name="mine", preemptible=False), {"h100-0": 2})
    assert waits(safe, other, on=nodes(1), queues=lab) == (
        "QuotaExceeded",
        "needs 2 h100; non-preemptible jobs never borrow; those of queue mine hold 2 of its 3",
    )


def test_a_cohort_that_is_full_now() -> None:
    full = running(job("full", 4, 4, queue_name="yours"), {"h100-0": 4})
    lab = (queue("mine", quota(1), cohort="lab"), queue("yours", quota(4), cohort="lab"))
    said = waits(job("one", 2, 2, queue_name="mine"), full, on=nodes(1), queues=lab)
    assert said == ("QuotaExceeded", "needs 2 h100; cohort lab holds 4 of its 5")


def test_no_room_says_what_is_free_and_who_holds_the_rest() -> None:
    full = running(job("full", 6, 6), {"h100-0": 6})
    assert waits(job("one", 4, 4), full, on=nodes(1)) == (
        "NoCapacity",
        "needs 4 h100; 2 are free; namespace team holds 6",
    )


def test_free_accelerators_that_lie_apart_are_no_room() -> None:
    first = running(job("first", 6, 6), {"h100-0": 6})
    second = running(job("second", 6, 6), {"h100-1": 6})
    assert waits(job("one", 1, 1, 4), first, second, on=nodes(2)) == (
        "NoCapacity",
        "needs 4 h100; 4 are free, but not whole: a replica needs 4 h100 with 1 cpu on one node",
    )


@pytest.mark.parametrize(
    ("ceiling", "says"),
    [
        ((), "needs 2 h100; 8 are free, and left in this round"),
        ((Ceiling("yours", "h100", 2),), "needs 2 h100; 8 are free, and left in this round"),
        ((Ceiling("mine", "a100", 1),), "needs 2 h100; 8 are free, and left in this round"),
        ((Ceiling("mine", "a100", 1), Ceiling("mine", "h100", 1)),
         "needs 2 h100; 8 are free, and kept for queues that own them"),
    ],
    ids=["no ceiling", "another queue's", "another flavor's", "another queue takes back"],
)  # fmt: skip
def test_free_accelerators_that_a_queue_may_not_borrow_now(ceiling: tuple[Ceiling, ...], says: str) -> None:
    """What is free is whole: it is not the shape of the nodes."""
    lab = (queue("mine", quota(1), cohort="lab"), queue("yours", quota(8), cohort="lab"))
    asked = job("one", 2, 2, queue_name="mine")
    world = snapshot(asked, on=nodes(1), queues=lab, ceilings=ceiling)
    reasons = Reasons(world, Plan((), 0.0, 0.0, Status.OPTIMAL, ""), {asked.key: NOTHING}, Churn(world, NO_BUDGET))
    assert reasons.waiting(asked) == Block("NoCapacity", says)


def test_a_flavor_in_back_off_is_the_reason() -> None:
    rests = replace(job("one"), memory=Memory(backoff=(Backoff("h100", 1, NOW + 50),)))
    assert waits(rests, on=nodes(1)) == (
        "BackingOff",
        "its pods could not be placed on h100; tried again after the back-off",
    )


def stays(one: Job, *others: Job, on: tuple[Any, ...], **fields: Any) -> tuple[str, str]:
    """Reason and message of a running job that neither grows nor shrinks."""
    said = outcome_of(decide(snapshot(one, *others, on=on, **fields), Policy()), one.key.name)
    assert said.target == said.current
    return said.reason, said.message


TWO = {"h100-0": 2}


def test_a_job_at_its_maximum() -> None:
    assert stays(running(job("one", 1, 2), TWO), on=nodes(1)) == ("AtMaximum", "2 of at most 2 on h100")


def test_a_job_that_is_held() -> None:
    reason, message = stays(running(job("one", 1, 4, held=True), TWO), on=nodes(1))
    assert (reason, message) == ("Held", "2 of at most 4: the annotation apportion.dev/hold keeps it as it is")


def test_a_job_that_is_held_at_its_maximum() -> None:
    """The annotation keeps nothing from it."""
    assert stays(running(job("one", 1, 2, held=True), TWO), on=nodes(1)) == ("AtMaximum", "2 of at most 2 on h100")


def test_a_job_that_is_held_beyond_its_maximum() -> None:
    reason, message = stays(running(job("one", 1, 1, held=True), TWO), on=nodes(1))
    assert (reason, message) == ("Held", "2 of at most 1: the annotation apportion.dev/hold keeps it as it is")


def test_a_step_for_which_the_quota_is_missing() -> None:
    mine = running(job("one", 1, 4, queue_name="mine"), TWO)
    assert stays(mine, on=nodes(1), queues=(queue("mine", quota(2)),)) == (
        "QuotaExceeded",
        "2 of at most 4: the next step (3) needs 1 more h100; queue mine holds 2 of its 2",
    )


def test_a_step_beyond_what_may_be_borrowed() -> None:
    mine = running(job("one", 1, 4, queue_name="mine"), TWO)
    lab = (queue("mine", quota(1, borrow=1), cohort="lab"), queue("yours", quota(8), cohort="lab"))
    assert stays(mine, on=nodes(1), queues=lab) == (
        "QuotaExceeded",
        "2 of at most 4: the next step (3) needs 1 more h100; queue mine holds 2 of its 1 and may borrow 1",
    )


def test_a_step_for_which_there_is_no_room() -> None:
    other = running(job("other", 6, 6), {"h100-0": 6})
    assert stays(running(job("one", 1, 4), TWO), other, on=nodes(1)) == (
        "NoCapacity",
        "2 of at most 4: the next step (3) needs 1 more h100; 0 are free; namespace team holds 8",
    )


def test_a_step_that_costs_more_than_it_earns() -> None:
    young = running(job("one", 1, 4, restart_seconds=600.0, created=NOW - 60), TWO, since=NOW - 60)
    reason, message = stays(young, on=nodes(1))
    assert reason == "NotWorthIt"
    assert message.startswith("2 of at most 4: the next step (3) needs 1 more h100; that would earn less")


def reasons_of(world: Snapshot, **targets: Grant) -> Reasons:
    """Of a round that gives each job this, or nothing."""
    plan = Plan((), 0.0, 0.0, Status.OPTIMAL, "")
    given = {one.key: targets.get(one.key.name, NOTHING) for one in world.jobs}
    return Reasons(world, plan, given, Churn(world, NO_BUDGET))


def test_a_job_whose_flavor_is_gone_says_so() -> None:
    one = running(job("one", 1, 4), TWO)
    found = reasons_of(snapshot(one, on=nodes(1), flavors=(A100,)), one=Grant("h100", 2)).next_step(one)
    assert found == Block("FlavorGone", "2 of at most 4: flavor h100 is not in the cluster any more")


def test_a_job_whose_queue_lists_its_flavor_no_more_may_have_no_more_of_it() -> None:
    one = running(job("one", 1, 4, queue_name="mine"), TWO)
    world = snapshot(one, on=nodes(1), queues=(queue("mine", quota(8, "a100")),))
    found = reasons_of(world, one=Grant("h100", 2)).next_step(one)
    assert found == Block(
        "QuotaExceeded", "2 of at most 4: the next step (3) needs 1 more h100; queue mine holds 2 of its 0"
    )


@pytest.mark.parametrize("terms", [Terms(pinned=True), Terms(grows=False)], ids=["it is left alone", "it may not grow"])
def test_a_job_that_is_not_to_be_changed_says_so(terms: Terms) -> None:
    one = running(job("one", 1, 4), TWO)
    world = snapshot(one, on=nodes(1), terms={one.key: terms})
    found = reasons_of(world, one=Grant("h100", 2)).next_step(one)
    assert found == Block("NotGrown", "2 of at most 4: not changed for the moment")


def test_a_step_of_several_replicas_needs_room_for_all_of_them() -> None:
    """Two nodes have room for one more each, and the step needs three."""
    one = running(replace(job("one", 1, 5), steps=(2, 5)), TWO)
    others = [running(job(f"other-{at}", 1, 1, 7 - 2 * (at == 0)), {f"h100-{at}": 1}) for at in range(2)]
    world = snapshot(one, *others, on=nodes(2))
    given = {other.key.name: Grant("h100", 1) for other in others}
    found = reasons_of(world, one=Grant("h100", 2), **given).next_step(one)
    assert found == Block(
        "NoCapacity", "2 of at most 5: the next step (5) needs 3 more h100; 2 are free; namespace team holds 14"
    )


def test_a_flavor_that_no_node_carries_is_named() -> None:
    assert waits(job("one", flavors=(FlavorChoice("a100"),)), on=nodes(1)) == (
        "NoCompatibleFlavor",
        "no node carries a100 now",
    )


def test_what_a_required_affinity_asks_is_named() -> None:
    where = NodeChoice(alternatives=((Requirement("zone", "In", ("b",)),), (Requirement("disk", "Exists"),)))
    _, message = waits(job("one", nodes=where), on=nodes(1))
    assert message.startswith("none of 1 nodes with h100 matches zone In b; disk Exists")


def test_what_a_queue_does_not_lend_is_held_though_nobody_uses_it() -> None:
    lab = (queue("mine", quota(1), cohort="lab"), queue("yours", quota(8, lend=2), cohort="lab"))
    one, other = job("one", 2, 2, queue_name="mine"), running(job("other", 2, 2, queue_name="mine"), TWO)
    found = reasons_of(snapshot(one, other, on=nodes(2), queues=lab), other=Grant("h100", 2)).waiting(one)
    assert found == Block("QuotaExceeded", "needs 2 h100; queue mine holds 2 of its 1 and may borrow 2")
    third = (*lab, queue("third", quota(0), cohort="lab"))
    theirs = running(job("theirs", 2, 2, queue_name="third"), TWO)
    world = snapshot(one, theirs, on=nodes(2), queues=third)
    found = reasons_of(world, theirs=Grant("h100", 2)).waiting(one)
    assert found == Block("QuotaExceeded", "needs 2 h100; cohort lab holds 8 of its 9")


def test_of_several_flavors_the_reason_is_the_firsts_and_three_are_told_of() -> None:
    flavors = tuple(Flavor(name, GPU) for name in ("a", "b", "c", "d"))
    quotas = (quota(0, "a"), *(quota(8, name) for name in ("b", "c", "d")))
    lab = (queue("mine", *quotas, cohort="lab"), queue("yours", quota(8, "a"), cohort="lab"))
    full = [running(job(f"full-{name}", 8, 8, queue_name=""), {f"{name}-0": 8}, name) for name in "bcd"]
    theirs = running(job("theirs", 8, 8, queue_name="yours"), {"a-0": 8}, "a")
    on = tuple(one for name in "abcd" for one in nodes(1, flavor=name))
    asked = job("one", 1, 1, queue_name="mine")
    world = snapshot(asked, theirs, *full, on=on, queues=lab, flavors=flavors)
    given = {f"full-{name}": Grant(name, 8) for name in "bcd"}
    found = reasons_of(world, theirs=Grant("a", 8), **given).waiting(asked)
    assert found.reason == "QuotaExceeded"
    assert [part.split(";")[0] for part in found.message.split("; or ")] == ["needs 1 a", "needs 1 b", "needs 1 c"]


def test_the_two_that_hold_most_are_named() -> None:
    holders = {"red": 4, "blue": 3, "grey": 1}
    jobs = [running(job(name, 1, 4, queue_name=name), {"h100-0": count}) for name, count in holders.items()]
    world = snapshot(job("one", 1, 1), *jobs, on=nodes(1))
    found = reasons_of(world, **{name: Grant("h100", count) for name, count in holders.items()}).waiting(world.jobs[2])
    assert world.jobs[2].key.name == "one"
    assert found.message == "needs 1 h100; 0 are free; queue red holds 4, queue blue holds 3"


@pytest.mark.parametrize(
    ("need", "nominal", "reason"),
    [(3, 8, "ChurnBudgetSpent"), (4, 8, "NoCapacity"), (3, 2, "QuotaExceeded")],
    ids=["as much as they have beyond their minimums", "more than that", "more than its queue may use"],
)
def test_what_others_keep_since_the_churn_budget_is_spent_is_named_where_it_would_do(
    need: int, nominal: int, reason: str
) -> None:
    rich = running(job("rich", 5, 8, queue_name="yours"), {"h100-0": 8})
    asked = job("one", need, need, queue_name="mine")
    lab = (queue("mine", quota(nominal, borrow=0), cohort="lab"), queue("yours", quota(8), cohort="lab"))
    world = snapshot(asked, rich, on=nodes(1), queues=lab, terms={rich.key: Terms(steady=True)})
    assert reasons_of(world, rich=Grant("h100", 8)).waiting(asked).reason == reason


def test_nodes_that_do_not_exist_have_nothing_free() -> None:
    on = (*nodes(1), node("hoped-for", exists=False))
    assert free_after(snapshot(on=on), {})["hoped-for"] == {}


@pytest.mark.parametrize(
    ("resource", "amount", "says"),
    [("cpu", 1500, "1.5"), ("memory", 2**30, "1Gi"), ("ephemeral-storage", 3 * 2**29, "1.5Gi"), (GPU, 8, "8")],
)
def test_amounts_are_written_as_people_do(resource: str, amount: int, says: str) -> None:
    assert shown(resource, amount) == says


def not_elsewhere(one: Job, *others: Job, on: tuple[Node, ...]) -> list[str]:
    return elsewhere(wanted(snapshot(one, *others, on=on), Policy()), one)


def test_why_a_job_is_not_elsewhere() -> None:
    one = running(job("one", 2, 4, 4), {"h100-0": 2})
    small, roomy = (*nodes(2), node("a100-0", 4, "a100")), (*nodes(2), *nodes(1, flavor="a100"))
    assert not_elsewhere(one, on=small) == ["a100: 4 are free, the minimum needs 8 (relative speed 0.5)"]
    assert not_elsewhere(one, on=roomy) == ["a100: 8 are free; at relative speed 0.5 the plan is worth more as it is"]
    picky = replace(one, flavors=(FlavorChoice("h100"),))
    assert not_elsewhere(picky, on=roomy) == ["a100: not among the job's flavors"]
    tied = replace(one, nodes=NodeChoice(selector=(("gpu", "h100"),)))
    assert not_elsewhere(tied, on=roomy) == ["a100: none of its nodes takes the pod now (labels, taints, readiness)"]
    assert not_elsewhere(tpu("one"), on=roomy) == []


def test_what_the_plan_gives_to_others_is_not_free_elsewhere() -> None:
    """Nobody holds an a100 yet: by the pods that exist, all 8 were called free."""
    one = running(job("one", 2, 2, 4), {"h100-0": 2})
    other = job("other", 6, 6, flavors=(FlavorChoice("a100"),))
    assert not_elsewhere(one, other, on=(*nodes(1), *nodes(1, flavor="a100"))) == [
        "a100: 2 are free, the minimum needs 8 (relative speed 0.5)"
    ]


def test_nodes_that_may_be_added_are_not_free_elsewhere() -> None:
    one = running(job("one", 2, 2, 4), {"h100-0": 2})
    found = wanted(snapshot(one, on=(*nodes(1), *nodes(1, flavor="a100"))), Policy())
    made_up = tuple(replace(each, exists=each.flavor == "h100") for each in found.snapshot.nodes)
    assert elsewhere(replace(found, snapshot=replace(found.snapshot, nodes=made_up)), one) == [
        "a100: none of its nodes takes the pod now (labels, taints, readiness)"
    ]


def test_a_waiting_job_is_told_about_every_flavor_that_it_could_use() -> None:
    full = running(job("full", 8, 8, flavors=(FlavorChoice("h100"),)), {"h100-0": 8})
    slow = running(job("slow", 6, 6, flavors=(FlavorChoice("a100"),)), {"a100-0": 6}, "a100")
    on = (*nodes(1), *nodes(1, flavor="a100"))
    assert waits(job("one", 4, 4, created=LONG_AGO), full, slow, on=on) == (
        "NoCapacity",
        "needs 4 a100; 2 are free; namespace team holds 6; or needs 4 h100; 0 are free; namespace team holds 8",
    )
