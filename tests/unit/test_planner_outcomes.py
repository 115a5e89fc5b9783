"""What is said and remembered of a job after a round: phase, conditions, the one sentence, and the grant."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from apportion.model.jobs import Admission, Block, Condition, Displaced, Job, JobKey, Memory, Pod, Target
from apportion.model.plan import NOTHING, Clearing, Departure, Grant, Outcome, Plan, Status
from apportion.model.policy import NO_BUDGET
from apportion.planner.churn import Churn
from apportion.planner.explain import Reasons
from apportion.planner.lifecycle import State
from apportion.planner.outcomes import Round, outcome
from builders import LONG_AGO, NOW, job, nodes, running, snapshot

TWO, FOUR, AWAY = Grant("h100", 2), Grant("h100", 4), Grant("a100", 2)
RUNS = running(job("one", 1, 8), {"h100-0": 2})
WAITS = job("one", 1, 8)
KEY = RUNS.key


Taken = Mapping[JobKey, str]
EMPTY: Taken = {}


def said(
    asked: Job | State, before: Grant, granted: Grant, target: Grant | None = None, taken: Taken = EMPTY, **round_: Any
) -> Outcome:
    """Of a round that grants what it wants, unless it wants something else."""
    state = asked if isinstance(asked, State) else State(asked)
    wants = target or granted
    world = snapshot(state.job, on=nodes(2))
    plan = Plan((), 0.0, 0.0, Status.OPTIMAL, "")
    reasons = Reasons(world, plan, {KEY: wants}, Churn(world, NO_BUDGET))
    shared = Round(**{"number": 9, "now": NOW, "reasons": reasons, "taken": taken, "new_nodes": {}, **round_})
    return outcome(shared, state, before, wants, granted)


def condition(found: Outcome, type_: str) -> Condition | None:
    return next((one for one in found.memory.conditions if one.type == type_), None)


def remembering(one: Job = RUNS, **memory: Any) -> Job:
    return replace(one, memory=replace(one.memory, **memory))


# --- what is remembered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "before", "granted", "restarts"),
    [
        (RUNS, TWO, TWO, 0),
        (RUNS, TWO, FOUR, 1),
        (RUNS, TWO, AWAY, 1),
        (RUNS, TWO, NOTHING, 1),
        (WAITS, NOTHING, TWO, 0),
        (State(RUNS, finished="Failed", verdict=Block("FailureLimit", "x")), TWO, NOTHING, 0),
        (State(RUNS, blocked=Block("Suspended", "x")), TWO, NOTHING, 0),
    ],
    ids=["as it was", "grows", "moves", "is evicted", "starts", "has ended", "is suspended by its owner"],
)
def test_a_restart_is_a_change_that_the_operator_makes_to_what_runs(
    asked: Job | State, before: Grant, granted: Grant, restarts: int
) -> None:
    found = said(asked, before, granted).memory
    assert (found.restarts, found.restarted_at) == (restarts, (NOW,) * restarts)


@pytest.mark.parametrize(
    ("memory", "since"),
    [({}, LONG_AGO), ({"retried": "1"}, NOW), ({"queued_since": NOW - 7}, NOW - 7)],
    ids=["it came", "it was started again", "known already"],
)
def test_a_job_queues_from_when_it_came_or_was_started_again(memory: dict[str, Any], since: float) -> None:
    assert said(remembering(WAITS, **memory), NOTHING, NOTHING).memory.queued_since == since


def test_what_a_template_is_warned_of_is_told_in_the_first_round_alone() -> None:
    warned = replace(WAITS, warnings=(Block("CanPreempt", "x"),))
    now = (Block("ReplicasReverted", "y"),)
    first = said(State(warned, notices=now), NOTHING, TWO)
    assert [one.reason for one in first.notices] == ["ReplicasReverted", "CanPreempt"]
    again = said(State(remembering(warned, phase="Pending"), notices=now), NOTHING, TWO)
    assert [one.reason for one in again.notices] == ["ReplicasReverted"]


def test_a_grant_keeps_its_round_while_it_is_the_same() -> None:
    assert said(RUNS, TWO, TWO).memory.admission == RUNS.admission
    assert said(RUNS, TWO, FOUR).memory.admission == Admission("h100", 4, 9, NOW)
    assert said(RUNS, TWO, NOTHING).memory.admission is None


def waiting_for(new_nodes: int, granted: int = 2) -> Job:
    """One of its pods is bound, the other waits for a node that does not exist."""
    late = Pod("late", "late", None, RUNS.requests, NOW - 5, phase="Pending")
    there = replace(RUNS, pods=(RUNS.pods[0], late))
    return remembering(there, admission=Admission("h100", granted, 1, LONG_AGO, new_nodes))


def test_a_grant_asks_for_as_many_nodes_as_it_did_until_its_pods_are_bound() -> None:
    more = said(waiting_for(2), TWO, FOUR, new_nodes={KEY: 1}).memory.admission
    assert more == Admission("h100", 4, 9, NOW, 2)
    same = said(waiting_for(2), TWO, TWO).memory.admission
    assert same == Admission("h100", 2, 1, LONG_AGO, 2)
    there = said(remembering(admission=Admission("h100", 2, 1, LONG_AGO, 2)), TWO, TWO).memory.admission
    assert there == Admission("h100", 2, 1, LONG_AGO)
    fresh = said(WAITS, NOTHING, TWO, new_nodes={KEY: 1}).memory.admission
    assert fresh == Admission("h100", 2, 9, NOW, 1)


ASIDE = Displaced("team/gang", "h100", 2, NOW - 60)


@pytest.mark.parametrize(
    ("asked", "granted", "target", "taken", "kept"),
    [
        (WAITS, NOTHING, TWO, {}, True),
        (WAITS, TWO, FOUR, {}, True),
        (WAITS, TWO, TWO, {}, False),
        (WAITS, NOTHING, NOTHING, {}, True),
        (WAITS, NOTHING, TWO, {KEY: "taken by its betters"}, False),
        (State(remembering(WAITS, displaced=ASIDE), blocked=Block("Suspended", "x")), NOTHING, NOTHING, {}, False),
        (State(remembering(WAITS, displaced=ASIDE), finished="Failed"), NOTHING, NOTHING, {}, False),
    ],
    ids=["waits", "has a part", "has all", "nothing is planned", "somebody has a right to it", "suspended", "ended"],
)
def test_a_job_that_made_room_is_remembered_until_it_has_what_is_meant_for_it(
    asked: Job | State, granted: Grant, target: Grant, taken: Taken, kept: bool
) -> None:
    asked = remembering(asked, displaced=ASIDE) if isinstance(asked, Job) else asked
    assert said(asked, NOTHING, granted, target, taken).memory.displaced == (ASIDE if kept else None)


# --- the sentence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "target", "says"),
    [
        (NOTHING, TWO, "has nothing now, and gets 2 on h100 once that one has its place"),
        (TWO, FOUR, "has 2 on h100, and gets 4 on h100 once that one has its place"),
        (NOTHING, NOTHING, "has nothing now, and gets at least its minimum of 1 as soon as there is room"),
    ],
)
def test_a_job_that_made_room_says_for_whom_and_what_comes(granted: Grant, target: Grant, says: str) -> None:
    found = said(remembering(WAITS, displaced=ASIDE), NOTHING, granted, target)
    assert (found.reason, found.memory.message) == (
        "MovedToMakeRoom", f"moved to make room for team/gang: {says}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "before", "granted", "target", "reason"),
    [
        (State(RUNS, degraded=Block("PodsRefused", "x")), TWO, TWO, TWO, "PodsRefused"),
        (State(RUNS, finished="Failed", verdict=Block("FailureLimit", "x")), TWO, NOTHING, NOTHING, "FailureLimit"),
        (replace(WAITS, held=True), NOTHING, NOTHING, NOTHING, "Held"),
        (WAITS, NOTHING, NOTHING, TWO, "WaitingForRoom"),
        (RUNS, TWO, TWO, FOUR, "WaitingForRoom"),
        (RUNS, TWO, TWO, AWAY, "WaitingForRoom"),
        (WAITS, NOTHING, NOTHING, NOTHING, "NoCapacity"),
        (waiting_for(1), TWO, TWO, TWO, "WaitingForNodes"),
        (RUNS, TWO, TWO, TWO, "NotWorthIt"),
    ],
    ids=[
        "degraded", "ended", "held", "gets something", "gets more", "moves", "gets nothing", "nodes are to come",
        "stays",
    ],
)  # fmt: skip
def test_the_first_thing_that_matters_is_said(
    asked: Job | State, before: Grant, granted: Grant, target: Grant, reason: str
) -> None:
    found = said(asked, before, granted, target)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("before", "reason"), [(TWO, "Preempted"), (NOTHING, "NoCapacity")], ids=["it had something", "it had nothing"]
)
def test_who_lost_what_it_had_to_somebody_hears_to_whom(before: Grant, reason: str) -> None:
    found = said(RUNS if before is TWO else WAITS, before, NOTHING, taken={KEY: "team/other has a right"})
    assert found.reason == reason
    if before is TWO:
        assert found.memory.message == "team/other has a right; it keeps its place in the queue"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (FOUR, "has 2; would get 4 on h100 if the policy's mode were Enforce"),
        (NOTHING, "has 2; would get nothing if the policy's mode were Enforce"),
    ],
)
def test_an_observing_operator_says_what_it_would_do(target: Grant, says: str) -> None:
    found = said(RUNS, TWO, TWO, target, observing=True)
    assert (found.reason, found.memory.message, found.touch) == ("Observed", says, False)
    assert said(RUNS, TWO, TWO, TWO, observing=True).reason == "NotWorthIt", "nothing else than what it has"


def clearing(count: int) -> Clearing:
    leaving = tuple(Departure(JobKey("team", f"j{at}"), NOTHING, (), 20.0) for at in reversed(range(count)))
    return Clearing(KEY, TWO, leaving)


@pytest.mark.parametrize(
    ("count", "who"), [(1, "team/j0"), (3, "team/j0, team/j1, team/j2"), (5, "team/j0, team/j1, team/j2 and 2 others")]
)
def test_a_gang_for_which_others_move_says_who_and_what_that_costs(count: int, who: str) -> None:
    found = said(WAITS, NOTHING, NOTHING, TWO, clearing=clearing(count))
    assert found.memory.message == (
        f"gets 2 on h100 once {who} made room; the restarts cost {20 * count} accelerator-seconds"
    )


@pytest.mark.parametrize(("nodes_", "says"), [(1, "up to 1 new node with h100"), (2, "up to 2 new nodes with h100")])
def test_pods_that_wait_for_nodes_say_for_how_many_and_how_long(nodes_: int, says: str) -> None:
    found = said(waiting_for(nodes_), TWO, TWO)
    assert found.memory.message == (f"1 of 2 pods wait for {says}; given back if they do not come within 60 s")
    runs = condition(found, "Running")
    assert runs is not None
    assert (runs.status, runs.reason) == (False, "WaitingForNodes")


# --- phase and conditions --------------------------------------------------------------------------------------------


def with_pod(**fields: Any) -> Job:
    return replace(RUNS, pods=(*RUNS.pods, replace(RUNS.pods[0], name="more", **fields)))


@pytest.mark.parametrize(
    ("asked", "granted", "phase"),
    [
        (RUNS, TWO, "Running"),
        (RUNS, FOUR, "Resizing"),
        (RUNS, Grant("h100", 1), "Resizing"),
        (RUNS, AWAY, "Resizing"),
        (remembering(phase="Starting"), FOUR, "Starting"),
        (with_pod(terminating=True), TWO, "Resizing"),
        (with_pod(), TWO, "Resizing"),
        (replace(RUNS, pods=(RUNS.pods[0], replace(RUNS.pods[1], ready=False))), TWO, "Resizing"),
        (RUNS, NOTHING, "Pending"),
        (State(RUNS, blocked=Block("Suspended", "x")), NOTHING, "Suspended"),
        (State(RUNS, blocked=Block("Invalid", "x")), TWO, "Invalid"),
        (State(RUNS, blocked=Block("WorkloadNotFound", "x")), NOTHING, "Pending"),
        (State(RUNS, finished="Succeeded"), NOTHING, "Succeeded"),
    ],
    ids=[
        "all are ready", "is to grow", "is to shrink", "is to move", "grows before it ran", "one is leaving",
        "there is one too many", "one is not ready", "evicted", "suspended", "cannot be read",
        "has no Deployment", "ended",
    ],
)  # fmt: skip
def test_the_phase_follows_from_pods_and_grant(asked: Job | State, granted: Grant, phase: str) -> None:
    if isinstance(asked, State) and asked.finished:
        asked = replace(asked, verdict=Block("ExitedZero", "x"))
    assert said(asked, TWO, granted).memory.phase == phase


def test_pods_that_are_ready_are_counted_but_not_those_that_leave() -> None:
    assert said(with_pod(terminating=True), TWO, TWO).memory.replicas == 2


def test_a_condition_is_there_once_it_has_held_and_since_when_it_changed() -> None:
    first = said(WAITS, NOTHING, TWO)
    assert [one.type for one in first.memory.conditions] == ["Admitted", "Running"]
    broken = State(
        replace(RUNS, memory=Memory(phase="Running", admission=RUNS.admission)), degraded=Block("PodsRefused", "x")
    )
    began = condition(said(broken, TWO, TWO), "Degraded")
    assert began == Condition("Degraded", True, "PodsRefused", "x", NOW)
    since = (replace(began, since=NOW - 60),)
    goes_on = State(remembering(conditions=since), degraded=Block("PlacementFailed", "y"))
    assert condition(said(goes_on, TWO, TWO), "Degraded") == Condition(
        "Degraded", True, "PlacementFailed", "y", NOW - 60
    )
    over = said(remembering(conditions=since), TWO, TWO)
    assert condition(over, "Degraded") == Condition("Degraded", False, "AsExpected", "nothing is wrong", NOW)


@pytest.mark.parametrize(
    ("state", "granted", "reason"),
    [
        (State(RUNS, blocked=Block("WorkloadNotFound", "x")), TWO, "WorkloadNotFound"),
        (State(RUNS, blocked=Block("WorkloadNotFound", "x")), NOTHING, None),
        (State(RUNS, blocked=Block("Suspended", "x")), TWO, None),
        (State(RUNS, "Failed", Block("FailureLimit", "x"), degraded=Block("WorkloadFailing", "y")), NOTHING, None),
    ],
    ids=["blocked while it runs", "blocked and has nothing", "suspended by its owner", "ended"],
)  # fmt: skip
def test_a_job_is_degraded_while_it_runs_and_not_as_it_should(state: State, granted: Grant, reason: str | None) -> None:
    found = condition(said(state, TWO, granted), "Degraded")
    assert (found.reason if found is not None and found.status else None) == reason


def test_a_job_that_makes_room_in_this_round_remembers_what_it_had_unless_nothing_is_done() -> None:
    leaves = Clearing(JobKey("team", "gang"), TWO, (Departure(KEY, NOTHING, (), 120.0),))
    given_up = said(RUNS, TWO, NOTHING, clearing=leaves).memory.displaced
    assert given_up == Displaced("team/gang", "h100", 2, NOW)
    assert said(RUNS, TWO, TWO, clearing=leaves, observing=True).memory.displaced is None


FAST = replace(RUNS, target=Target(throughput=1000.0), declared=True)
LATE = replace(RUNS, target=Target(deadline=NOW - 1, work=1000.0), declared=True)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (FAST, {"ThroughputAtRisk"}),
        (LATE, {"DeadlineAtRisk"}),
        (State(FAST, finished="Succeeded", verdict=Block("MarkedComplete", "x")), set()),
        (State(LATE, finished="Succeeded", verdict=Block("MarkedComplete", "x")), set()),
        (RUNS, set()),
    ],
    ids=["a rate", "a deadline", "a rate of one that ended", "a deadline of one that ended", "no target"],
)
def test_a_target_that_will_be_missed_is_told_by_its_own_condition(asked: Job | State, shown: set[str]) -> None:
    found = said(asked, TWO, NOTHING if isinstance(asked, State) else TWO)
    assert {one.type for one in found.memory.conditions if one.status and one.type.endswith("AtRisk")} == shown
