"""A sudden loss of much of a flavor starts a grace in which nobody on it is shrunk."""

from dataclasses import replace
from typing import Any

import pytest

from apportion.kube.inventory import GRACE_SECONDS, Losses
from apportion.model.jobs import Job
from builders import NOW, job, nodes, running, snapshot


def grace(losses: Losses, count: int, after: float) -> bool:
    """Whether the flavor is in grace when so many of its nodes are seen, so many seconds later."""
    seen = snapshot(nodes=nodes(count), now=NOW + after)
    return "h100" in losses.observe(seen)


@pytest.mark.parametrize(("left", "starts"), [(7, False), (6, True), (0, True)])
def test_more_than_thirty_percent_gone_within_a_minute(left: int, starts: bool) -> None:
    losses = Losses()
    assert not grace(losses, 10, 0)
    assert grace(losses, left, 1) is starts


def test_one_by_one_within_a_minute_counts_together_and_over_more_time_does_not() -> None:
    quick, slow = Losses(), Losses()
    assert [grace(quick, 10 - step, 10 * step) for step in range(5)] == [False, False, False, False, True]
    assert not any(grace(slow, 10 - step, 61 * step) for step in range(4))


def test_it_ends_after_five_minutes() -> None:
    """After the loss, not after the last look at it."""
    losses = Losses()
    grace(losses, 10, 0)
    assert grace(losses, 4, 1)
    assert grace(losses, 4, 50)
    assert grace(losses, 4, GRACE_SECONDS)
    assert not grace(losses, 4, GRACE_SECONDS + 1)


def test_it_ends_when_all_are_back_and_not_when_the_first_are() -> None:
    losses = Losses()
    grace(losses, 10, 0)
    assert grace(losses, 4, 1)
    assert grace(losses, 9, 20)
    assert not grace(losses, 10, 30)
    assert grace(losses, 4, 31), "and begins again when they go again"


RUNS = running(job("a", high=80), {"h100-0": 8, "h100-1": 8})


def evicted(**fields: Any) -> Job:
    """With the pods of one node unbound, and changed in these fields."""
    return replace(RUNS, pods=tuple(replace(p, node=None, **fields) if p.node == "h100-1" else p for p in RUNS.pods))


@pytest.mark.parametrize(
    ("last", "holds"),
    [(evicted(), True), (evicted(terminating=True), False), (RUNS, False)],
    ids=["they wait for a node", "they are leaving", "they are bound"],
)
def test_it_ends_when_evicted_pods_have_found_the_nodes_that_are_back(last: Job, holds: bool) -> None:
    losses = Losses()
    cases = ((10, RUNS, False), (4, RUNS, True), (4, evicted(), True), (10, last, holds))
    for after, (count, one, expected) in enumerate(cases):
        seen = snapshot(nodes=nodes(count), jobs=(one,), now=NOW + after)
        assert ("h100" in losses.observe(seen)) is expected, f"at {after} s"


def test_nodes_that_are_there_and_take_no_pods_are_lost() -> None:
    """As when kubelets cannot reach the API server."""
    losses = Losses()
    grace(losses, 10, 0)
    unready = (*nodes(6), *(replace(one, name=f"x{one.name}", placeable=False) for one in nodes(4)))
    assert "h100" in losses.observe(snapshot(nodes=unready, now=NOW + 1))


def test_a_flavor_of_which_nothing_is_left_at_the_start_was_lost_too() -> None:
    seen = snapshot(nodes=(), jobs=(RUNS,), now=NOW)
    assert "h100" in Losses().observe(seen)


def test_an_operator_that_never_saw_the_nodes_measures_by_what_jobs_were_granted() -> None:
    """In accelerators: a replica may have several."""
    for one in (RUNS, running(job("a", high=4, each=4), {"h100-0": 2, "h100-1": 2})):
        assert "h100" in Losses().observe(snapshot(nodes=nodes(1), jobs=(one,), now=NOW))


def test_nodes_that_were_only_hoped_for_are_no_loss() -> None:
    waits = running(job("a", high=16), {"h100-0": 8})
    assert waits.admission is not None
    more = replace(waits.admission, replicas=16, new_nodes=1)
    seen = snapshot(nodes=nodes(1), jobs=(replace(waits, memory=replace(waits.memory, admission=more)),), now=NOW)
    assert "h100" not in Losses().observe(seen)
