"""Who may be moved within minRuntime: only who has lost a node, and not who is between two flavors."""

from dataclasses import replace

import pytest

from apportion.model.jobs import Condition, FlavorChoice, Job
from apportion.model.plan import NOTHING, Decision, Grant
from apportion.model.policy import NO_BUDGET, Policy
from apportion.planner import decide
from apportion.planner.churn import Churn
from apportion.planner.standing import standing
from apportion.planner.terms import settle
from builders import LONG_AGO, NOW, job, node, nodes, running, snapshot

MOVED = NOW - 20  # to h100, within the minRuntime of 300 s
RIGID = running(job("one", 2, 2, min_runtime_seconds=300.0), {"h100-0": 2}, since=MOVED)


def running_until(one: Job, since: float, ready: bool = False) -> Job:
    """Its Running condition is `ready` since then."""
    return replace(one, memory=replace(one.memory, conditions=(Condition("Running", ready, "", "", since),)))


def on(one: Job, *where: str | None, **fields: object) -> Job:
    return replace(one, pods=tuple(replace(pod, node=at, **fields) for at, pod in zip(where, one.pods, strict=False)))


def may_move(one: Job, lost: str = "") -> bool:
    there = tuple(replace(each, placeable=each.name != lost) for each in (*nodes(2), node("a100-0", 8, "a100")))
    now = snapshot(one, on=there)
    _, terms = standing(now, Policy())
    return settle(replace(now, terms=terms), Churn(now, NO_BUDGET), {}).terms[one.key].moves


UNDER_WAY = running_until(RIGID, MOVED)
WAS_THERE = running_until(RIGID, NOW - 5)


@pytest.mark.parametrize(
    "one",
    [
        on(UNDER_WAY),
        on(UNDER_WAY, None),
        on(UNDER_WAY, "h100-0", "h100-0", ready=False),
        on(UNDER_WAY, "h100-0", None),
        on(UNDER_WAY, "a100-0", "a100-0", terminating=True),
        running_until(on(RIGID), LONG_AGO),
    ],
    ids=["no pod yet", "Pending", "not ready yet", "half there", "the old ones are going", "its first admission"],
)
def test_who_is_under_way_is_not_moved_again(one: Job) -> None:
    assert not may_move(one)


def test_the_old_pods_of_who_leaves_a_lost_node_say_nothing_of_the_new_place() -> None:
    """In the moment after the patch they are not even going yet."""
    assert not may_move(on(UNDER_WAY, "a100-0", "a100-0"), lost="a100-0")


@pytest.mark.parametrize(
    ("one", "lost"),
    [
        (on(UNDER_WAY, "h100-0", "h100-0"), "h100-0"),
        (on(UNDER_WAY, "h100-0", "gone"), ""),
        (on(WAS_THERE, "h100-0", "h100-1"), "h100-1"),
        (on(WAS_THERE, "h100-0"), ""),
        (on(WAS_THERE, None, None), ""),
    ],
    ids=[
        "cordoned before it was whole",
        "deleted before it was whole",
        "cordoned",
        "gone with its pods",
        "its pods made anew",
    ],
)
def test_who_has_lost_a_node_may_move(one: Job, lost: str) -> None:
    assert may_move(one, lost)


def test_a_job_is_not_moved_back_while_its_old_pods_go() -> None:
    """Round by round: from a100 to h100, where it is faster; then somebody comes who can use h100 only."""
    slow = running(job("one", 8, 8, min_runtime_seconds=300.0), {"a100-0": 8}, "a100")
    slow = running_until(slow, LONG_AGO, ready=True)
    there = (*nodes(1), node("a100-0", 8, "a100"))

    def decided(one: Job, *others: Job, at: float) -> Decision:
        return decide(snapshot(one, *others, on=there, now=at), Policy())

    first = decided(slow, at=NOW).outcomes[0]
    assert (first.current, first.granted) == (Grant("a100", 8), Grant("h100", 8))
    going = replace(slow, memory=first.memory, pods=tuple(replace(pod, terminating=True) for pod in slow.pods))
    picky = job("two", 8, 8, created=NOW - 1, flavors=(FlavorChoice("h100"),))
    after = {one.key.name: one for one in decided(going, picky, at=NOW + 5).outcomes}
    assert after["one"].target == Grant("h100", 8)
    assert after["two"].granted == NOTHING
