"""A node that offers less than its pods hold, as devices broke under them; and one that is gone with its pods."""

from dataclasses import replace
from typing import Any

import pytest

from apportion.model.plan import Allocation, Status
from apportion.model.policy import Aim, Objective, Policy
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import violations
from apportion.optimizer.cells import cells_of
from apportion.optimizer.staying import Ground, needed
from apportion.planner import decide
from builders import GPU, LONG_AGO, NOW, job, node, queue, quota, running, snapshot


def granted(world: Snapshot) -> dict[str, int]:
    decision = decide(world, Policy())
    assert decision.plan.status is not Status.KEPT, decision.warnings
    return {outcome.key.name: outcome.granted.replicas for outcome in decision.outcomes}


def short_of_one(*others: int) -> Snapshot:
    """Two replicas of 4 on a node that offers 7 of 8 by now, and others of these sizes; one of 4 waits."""
    runs = running(job("runs", 2, 2, 4), {"lost": 2})
    return snapshot(
        runs, job("waits", 1, 1, 4), on=(node("lost", 7), *(node(f"n{at}", size) for at, size in enumerate(others)))
    )


def test_what_a_node_lost_under_a_minimum_takes_no_room_on_another() -> None:
    assert granted(short_of_one(6)) == {"runs": 2, "waits": 1}
    # It gives none either.
    assert granted(short_of_one(3)) == {"runs": 2, "waits": 0}


def test_a_job_at_its_minimum_keeps_its_pods_where_devices_broke() -> None:
    assert granted(short_of_one()) == {"runs": 2, "waits": 0}


def test_surplus_is_given_back_where_devices_broke() -> None:
    elastic = running(job("runs", 2, 8), {"lost": 8})
    assert granted(snapshot(elastic, on=(node("lost", 7),))) == {"runs": 7}
    beside = snapshot(elastic, job("waits", 6, 6), on=(node("lost", 7), node("other", 6)))
    assert granted(beside) == {"runs": 7, "waits": 6}


def test_a_pod_that_is_missing_may_still_come_where_there_is_room() -> None:
    runs = running(job("runs", 3, 3, 4), {"lost": 2, "other": 1})
    runs = replace(runs, pods=runs.pods[:2])
    assert granted(snapshot(runs, on=(node("lost", 7), node("other", 4)))) == {"runs": 3}


def test_only_minimums_that_were_promised_need_what_is_lost() -> None:
    """A node that offers 5 of 8 by now; a job of 2 to 8 replicas of 1, and one of 1 to 4."""
    jobs = [running(job("a", 2, 8), {"lost": 4}), running(job("b", 1, 4), {"lost": 4})]
    world = snapshot(*jobs, on=(node("lost", 5),))

    def held(a: int, b: int) -> int:
        under = replace(world, terms={jobs[0].key: Terms(keeps=a), jobs[1].key: Terms(keeps=b)})
        cells = cells_of(under)
        return int(needed(under, Ground(under, cells), jobs)[0, cells.column(GPU)])

    assert (held(2, 1), held(4, 1), held(2, 0), held(0, 0)) == (3, 3, 2, 0)


def test_who_loses_its_minimum_after_all_needs_nothing() -> None:
    """Five were granted where there are three by now; who is left out of it leaves no room for what it held."""
    gang = running(job("gang", 3, 3), {"lost": 3})
    jobs = [
        replace(gang, pods=gang.pods[:2]),
        running(job("high", 1, 3, priority=100), {"lost": 1}),
        replace(running(job("unbound", 1, 1), {"lost": 1}), pods=()),
    ]
    assert granted(snapshot(*jobs, on=(node("lost", 3),))) == {"gang": 0, "high": 1, "unbound": 1}


@pytest.mark.parametrize("offered", [8, 7])
def test_a_queue_borrows_what_is_free_although_another_node_lost_some(offered: int) -> None:
    queues = (queue("a", quota(10), cohort="all"), queue("b", quota(4), cohort="all"))
    runs = running(job("runs", 8, 8, queue_name="a"), {"lost": 8})
    on = (node("lost", offered), node("other", 6))
    assert granted(snapshot(runs, job("borrows", 6, 6, queue_name="b"), on=on, queues=queues)) == {
        "runs": 8,
        "borrows": 6,
    }


def test_free_is_what_no_pod_holds_node_by_node() -> None:
    (row,) = (row for row in decide(short_of_one(6), Policy()).capacity if row.flavor == "h100")
    assert (row.allocatable, row.others_use, row.jobs_use, row.free) == (13, 0, 8, 6)


def test_more_than_there_is_breaks_no_rule_where_nobody_has_more_than_before() -> None:
    """Granted and not bound yet when the node lost devices: no pod has a claim to stay."""
    runs, grows = (replace(running(job(name, 1, 8), {"lost": 4}), pods=()) for name in ("runs", "grows"))
    world = snapshot(runs, grows, job("new", 1, 1), on=(node("lost", 7),))

    def wrong(**replicas: int) -> list[str]:
        return violations(world, [Allocation(one.key, "h100", replicas.get(one.key.name, 0)) for one in world.jobs])

    assert wrong(runs=4, grows=4) == []
    assert wrong(runs=2, grows=5) == []
    for more in ({"runs": 3, "grows": 5}, {"runs": 4, "grows": 4, "new": 1}):
        assert wrong(**more) == [f"h100: {sum(more.values())} nvidia.com/gpu granted on nodes that have 7 free"]


def test_what_pods_of_a_minimum_hold_is_there_for_them_alone() -> None:
    runs = running(job("runs", 6, 8), {"lost": 8})
    world = snapshot(runs, job("new", 1, 2), on=(node("lost", 5), node("other", 1)))
    new = world.jobs[0].key

    def wrong(replicas: int, more: int) -> list[str]:
        return violations(world, [Allocation(runs.key, "h100", replicas), Allocation(new, "h100", more)])

    assert wrong(6, 1) == []
    assert wrong(6, 2) == ["h100: 8 nvidia.com/gpu granted on nodes that have 7 free"]
    assert wrong(7, 1) == ["h100: 8 nvidia.com/gpu granted on nodes that have 7 free"]


def two_lost_a_node(**stands: Any) -> Snapshot:
    """Two jobs whose pods are gone with their node, and one that has the only other node in full, its minimum."""
    lost = [replace(running(job(name, 1, 1), {"gone": 1}), pods=()) for name in ("lost-1", "lost-2")]
    since = stands.pop("since", LONG_AGO)
    there = running(job("stands", 2, 2, **stands), {"left": 2}, since=since)
    return snapshot(*lost, there, on=(node("left", 2),))


@pytest.mark.parametrize(
    "stands",
    [{}, {"since": NOW - 10}, {"preemptible": False}, {"priority": 5}],
    ids=["an equal", "an equal within its minRuntime", "not preemptible", "a higher class"],
)
def test_who_lost_its_node_takes_no_place_of_whoever_has_its_pods(stands: dict[str, Any]) -> None:
    assert granted(two_lost_a_node(**stands)) == {"lost-1": 0, "lost-2": 0, "stands": 2}


def test_who_lost_its_node_takes_the_place_of_a_lower_class_but_not_if_that_is_not_preemptible() -> None:
    assert granted(two_lost_a_node(priority=-5)) == {"lost-1": 1, "lost-2": 1, "stands": 0}
    assert granted(two_lost_a_node(priority=-5, preemptible=False)) == {"lost-1": 0, "lost-2": 0, "stands": 2}


def test_a_replica_that_asks_more_by_now_takes_that_where_its_pod_stays() -> None:
    """Its pod has one of 8 accelerators, and the one that replaces it takes 3: three of 2 do not fit beside it."""
    edited = running(job("edited", 1, 1), {"n": 1})
    edited = replace(edited, per_replica=3, requests={**edited.requests, GPU: 3})
    world = snapshot(edited, job("waits", 3, 3, 2), on=(node("n", 8),))
    for aim in Aim:
        decision = decide(world, Policy(objective=Objective(name=aim)))
        assert decision.plan.status is not Status.KEPT, decision.warnings
        assert [outcome.granted.replicas for outcome in decision.outcomes] == [1, 0]
