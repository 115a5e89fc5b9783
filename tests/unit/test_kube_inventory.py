"""A sudden loss of much of a flavor starts a grace in which nobody on it is shrunk."""

from dataclasses import replace

import pytest

from apportion.kube.inventory import GRACE_SECONDS, Losses
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
    losses = Losses()
    grace(losses, 10, 0)
    assert grace(losses, 4, 1)
    assert grace(losses, 4, GRACE_SECONDS)
    assert not grace(losses, 4, GRACE_SECONDS + 1)


def test_it_ends_when_all_are_back_and_not_when_the_first_are() -> None:
    losses = Losses()
    grace(losses, 10, 0)
    assert grace(losses, 4, 1)
    assert grace(losses, 9, 20)
    assert not grace(losses, 10, 30)
    assert grace(losses, 4, 31), "and begins again when they go again"


def test_it_ends_when_evicted_pods_have_found_the_nodes_that_are_back() -> None:
    losses, runs = Losses(), running(job("a", high=80), {"h100-0": 8, "h100-1": 8})
    evicted = replace(runs, pods=tuple(replace(p, node=None) if p.node == "h100-1" else p for p in runs.pods))
    cases = ((10, runs, False), (4, runs, True), (4, evicted, True), (10, evicted, True), (10, runs, False))
    for after, (count, one, expected) in enumerate(cases):
        seen = snapshot(nodes=nodes(count), jobs=(one,), now=NOW + after)
        assert ("h100" in losses.observe(seen)) is expected, f"at {after} s"


def test_an_operator_that_never_saw_the_nodes_measures_by_what_jobs_were_granted() -> None:
    losses = Losses()
    seen = snapshot(nodes=nodes(1), jobs=(running(job("a", high=16), {"h100-0": 8, "h100-1": 8}),), now=NOW)
    assert "h100" in losses.observe(seen)


def test_nodes_that_were_only_hoped_for_are_no_loss() -> None:
    waits = running(job("a", high=16), {"h100-0": 8})
    assert waits.admission is not None
    more = replace(waits.admission, replicas=16, new_nodes=1)
    seen = snapshot(nodes=nodes(1), jobs=(replace(waits, memory=replace(waits.memory, admission=more)),), now=NOW)
    assert "h100" not in Losses().observe(seen)
