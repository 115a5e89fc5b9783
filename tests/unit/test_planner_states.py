"""What a job's pods, its workload and its memory come to before anything is planned: each rule at its edge."""

from dataclasses import replace
from typing import Any

import pytest

from apportion.model.jobs import Admission, Backoff, Block, Condition, Job, Memory, Pod, Workload
from apportion.model.measured import Record
from apportion.model.snapshot import Terms
from apportion.planner.lifecycle import (
    LONGEST_BACKOFF_SECONDS,
    STABLE_READY_SECONDS,
    State,
    assess,
    base_terms,
)
from builders import NOW, job, running

TWO = running(job("one", 1, 4, placement_timeout_seconds=60.0), {"h100-0": 2}, since=NOW - 1000)
WORKLOAD = Workload("one", "uid-w", 2, owned=True, flavor="h100", decision="1", granted=2, has_annotations=True)


def remembering(one: Job = TWO, **memory: Any) -> Job:
    return replace(one, memory=replace(one.memory, **memory))


def pods(*changes: dict[str, Any]) -> Job:
    """Granted two; with these pods."""
    return replace(TWO, pods=tuple(replace(TWO.pods[0], name=f"p{at}", **one) for at, one in enumerate(changes)))


def granted(state: State) -> int:
    admission = state.job.admission
    return admission.replicas if admission is not None else 0


def degraded(state: State) -> str:
    return state.degraded.reason if state.degraded is not None else ""


# --- ends and beginnings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "phase", "now_is"),
    [
        ({"retried": "1"}, "Failed", ""),
        ({"retried": "1"}, "Succeeded", ""),
        ({"retried": "old"}, "Failed", "Failed"),
        ({"retried": ""}, "Failed", "Failed"),
        ({"retried": "old", "generation": 2}, "Failed", ""),
        ({"retried": "old", "generation": 2}, "Succeeded", "Succeeded"),
        ({"retried": "old", "generation": 2}, "Running", "Running"),
    ],
    ids=[
        "retry of a failed one", "retry of one that succeeded", "obeyed already", "the annotation is taken off",
        "another spec of a failed one", "another spec of one that succeeded", "another spec of one that runs",
    ],
)  # fmt: skip
def test_a_job_starts_again_by_a_new_value_of_retry_or_by_a_new_spec_after_a_failure(
    changes: dict[str, Any], phase: str, now_is: str
) -> None:
    asked = remembering(replace(TWO, **changes), phase=phase, retried="old", queued_since=NOW - 5)
    found = assess(asked, NOW).job.memory
    assert (found.phase, found.queued_since) == (now_is, NOW - 5 if now_is else None)


def test_who_starts_again_forgets_its_failures_and_keeps_what_was_measured() -> None:
    record = Record((), 30.0)
    before = Memory(
        "Failed",
        ready_restarts=5,
        reverts=(NOW - 5,),
        backoff=(Backoff("h100", 3, NOW + 99),),
        restarts=4,
        record=record,
    )
    found = assess(replace(TWO, pods=(), retried="1", memory=before), NOW).job.memory
    assert (found.ready_restarts, found.reverts, found.backoff, found.retried) == (0, (), (), "1")
    assert (found.restarts, found.record) == (4, record)


@pytest.mark.parametrize(("progress", "finished"), [(1.0, "Succeeded"), (0.999, "")])
def test_a_job_whose_progress_is_whole_has_succeeded(progress: float, finished: str) -> None:
    assert assess(remembering(record=Record(progress=progress)), NOW).finished == finished


def test_an_end_is_told_on_as_it_was_told_first() -> None:
    said = Condition("Complete", True, "FailureLimit", "6 restarts", NOW)
    over = remembering(phase="Failed", conditions=(Condition("Running", False, "X", "y", NOW), said))
    assert assess(over, NOW).verdict == Block("FailureLimit", "6 restarts")
    assert assess(remembering(phase="Failed"), NOW).verdict == Block("Failed", "")


def test_pods_that_ended_well_are_no_end_while_others_are_still_to_come() -> None:
    well = {"exit_code": 0, "exited_at": NOW - 5}
    assert assess(pods(well, well), NOW).finished == "Succeeded"
    assert assess(pods(well), NOW).finished == ""


# --- pods that do not come -------------------------------------------------------------------------------------------

BOUND: dict[str, Any] = {}
PENDING: dict[str, Any] = {"node": None, "phase": "Pending", "created": NOW - 60}


@pytest.mark.parametrize(
    ("changes", "fields", "reason", "left"),
    [
        ((BOUND, PENDING), {}, "PlacementFailed", 1),
        ((BOUND, {**PENDING, "created": NOW - 59}), {}, "", 2),
        ((BOUND, {**PENDING, "terminating": True}), {}, "", 2),
        (({"terminating": True}, PENDING), {}, "PlacementFailed", 0),
        (({**PENDING, "created": NOW - 10}, PENDING), {}, "PlacementFailed", 0),
        ((BOUND, PENDING), {"in_grace": True}, "", 2),
        ((BOUND, PENDING), {"stays": True}, "PlacementFailed", 2),
    ],
    ids=[
        "its time is over", "it is not", "it is leaving", "one that is bound is leaving", "the first of them counts",
        "much of the flavor was lost", "it is to stay as it is",
    ],
)  # fmt: skip
def test_pods_that_stay_pending_give_back_what_is_not_bound(
    changes: tuple[dict[str, Any], ...], fields: dict[str, Any], reason: str, left: int
) -> None:
    state = assess(pods(*changes), NOW, **fields)
    assert (degraded(state), granted(state)) == (reason, left)


def test_a_pod_that_was_there_before_the_grant_is_waited_for_from_the_grant_on() -> None:
    late = pods(BOUND, PENDING)
    young = remembering(late, admission=Admission("h100", 2, 1, NOW - 10))
    state = assess(young, NOW)
    assert (granted(state), state.recheck_at) == (2, NOW + 50)


def test_nodes_that_did_not_come_are_told_as_such() -> None:
    asked = remembering(pods(BOUND, PENDING), admission=Admission("h100", 2, 1, NOW - 1000, new_nodes=1))
    state = assess(asked, NOW)
    assert state.degraded is not None
    assert state.degraded.reason == "NodesNotProvided"
    assert state.degraded.message.startswith("not all of 1 new nodes came: 1 of 2 pods on h100 stayed Pending for 60 s")


@pytest.mark.parametrize(
    ("changes", "reason", "left"),
    [
        ((BOUND,), "PodsRefused", 1),
        ((BOUND, {"terminating": True}), "PodsRefused", 1),
        ((BOUND, BOUND), "", 2),
    ],
    ids=["one is missing", "one is leaving", "all are there"],
)
def test_refused_pods_are_given_back_where_some_are_missing(
    changes: tuple[dict[str, Any], ...], reason: str, left: int
) -> None:
    """The condition of the Deployment may be an old one."""
    state = assess(replace(pods(*changes), workload=replace(WORKLOAD, refusal="exceeded quota")), NOW)
    assert (degraded(state), granted(state)) == (reason, left)


def test_a_refused_change_leaves_no_more_than_was_granted() -> None:
    state = assess(replace(pods(BOUND, BOUND, BOUND), refusal="denied"), NOW)
    assert (degraded(state), granted(state)) == ("WorkloadRefused", 2)


@pytest.mark.parametrize(("flavor", "left"), [("h100", 0), ("a100", 2)])
def test_a_grant_whose_deployment_was_refused_is_given_back_while_its_own_flavor_rests(flavor: str, left: int) -> None:
    said = (Condition("Degraded", True, "WorkloadRefused", "denied", NOW - 5),)
    asked = remembering(replace(TWO, pods=()), backoff=(Backoff(flavor, 1, NOW + 30),), conditions=said)
    state = assess(asked, NOW)
    assert (degraded(state), granted(state)) == ("WorkloadRefused", left)


def test_each_failure_doubles_the_wait_up_to_an_hour_and_other_flavors_keep_theirs() -> None:
    others = (Backoff("z", 2, NOW + 5), Backoff("a", 1, NOW + 7))
    waits = []
    for failures in (0, 1, 2, 20, 2000):
        before = (*others, *((Backoff("h100", failures, NOW - 1),) if failures else ()))
        found = assess(remembering(pods(PENDING, PENDING), backoff=before), NOW).job.memory.backoff
        assert [entry.flavor for entry in found] == ["a", "h100", "z"]
        waits.append(found[1].until - NOW)
    assert waits == [60, 120, 240, LONGEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS]


@pytest.mark.parametrize(
    ("flavor", "until", "barred", "grows", "known"),
    [
        ("a100", NOW + 1, {"a100"}, True, True),
        ("h100", NOW + 1, {"h100"}, False, True),
        ("h100", NOW, set(), True, True),
        ("h100", NOW - LONGEST_BACKOFF_SECONDS, set(), True, False),
    ],
    ids=["another flavor rests", "its own does", "its time is over", "long ago"],
)
def test_a_flavor_that_rests_is_left_out_and_no_job_grows_there(
    flavor: str, until: float, barred: set[str], grows: bool, known: bool
) -> None:
    state = assess(remembering(backoff=(Backoff(flavor, 1, until),)), NOW)
    assert (state.barred, state.grows, bool(state.job.memory.backoff)) == (barred, grows, known)
    assert state.recheck_at == (until if barred else None)


def test_what_is_told_on_of_a_rest_is_why_the_flavor_rests_and_nothing_else() -> None:
    rests = (Backoff("a100", 1, NOW + 30),)
    for reason, told in (("PlacementFailed", "PlacementFailed"), ("WorkloadFailing", "")):
        said = (Condition("Degraded", True, reason, "so it was", NOW - 5),)
        assert degraded(assess(remembering(backoff=rests, conditions=said), NOW)) == told
    over = (Condition("Degraded", False, "PlacementFailed", "so it was", NOW - 5),)
    assert degraded(assess(remembering(backoff=rests, conditions=over), NOW)) == ""


# --- pods that crash -------------------------------------------------------------------------------------------------

CRASHED: dict[str, Any] = {"ready": False, "restarts": 3, "exit_code": 1}


@pytest.mark.parametrize(
    ("changes", "ready_restarts", "reason"),
    [
        ((CRASHED, CRASHED), 0, "WorkloadFailing"),
        ((CRASHED, BOUND), 0, "WorkloadFailing"),
        (({**CRASHED, "exit_code": None, "waiting_reason": "CrashLoopBackOff"}, BOUND), 0, "WorkloadFailing"),
        (({**CRASHED, "exit_code": 0}, BOUND), 0, ""),
        (({**CRASHED, "exit_code": None}, BOUND), 0, ""),
        ((CRASHED, BOUND), 3, ""),
        (({**CRASHED, "terminating": True}, BOUND), 0, ""),
    ],
    ids=[
        "all", "one", "it waits to be restarted", "it ended well", "it was restarted", "not since it was ready",
        "it is leaving",
    ],
)  # fmt: skip
def test_a_job_whose_pods_crash_says_so_and_does_not_grow(
    changes: tuple[dict[str, Any], ...], ready_restarts: int, reason: str
) -> None:
    state = assess(remembering(pods(*changes), ready_restarts=ready_restarts), NOW)
    assert (degraded(state), state.grows) == (reason, not reason)
    assert state.recheck_at == (NOW + STABLE_READY_SECONDS if reason else None)


def test_a_job_that_crashes_does_not_grow_though_only_another_flavor_rests() -> None:
    state = assess(remembering(pods(CRASHED, BOUND), backoff=(Backoff("a100", 1, NOW + 30),)), NOW)
    assert (state.grows, state.barred) == (False, {"a100"})


def test_new_pods_begin_to_be_counted_anew() -> None:
    """Whose five restarts were forgiven has other pods by now."""
    state = assess(remembering(pods({**CRASHED, "restarts": 1}, BOUND), ready_restarts=5), NOW)
    assert state.job.memory.ready_restarts == 1
    again = assess(remembering(pods({**CRASHED, "restarts": 2}, BOUND), ready_restarts=1), NOW)
    assert degraded(again) == "WorkloadFailing"


@pytest.mark.parametrize(("since", "forgiven"), [(NOW - STABLE_READY_SECONDS, 4), (NOW - STABLE_READY_SECONDS + 1, 0)])
def test_restarts_are_forgiven_once_every_pod_has_been_ready_for_a_while(since: float, forgiven: int) -> None:
    """Without a readiness probe a crashing container is ready for a moment at each start."""
    state = assess(pods({"restarts": 4, "ready": True, "ready_since": since}, BOUND), NOW)
    assert state.job.memory.ready_restarts == forgiven


def test_what_keeps_pods_from_coming_is_told_before_what_others_do() -> None:
    assert degraded(assess(pods(PENDING, CRASHED), NOW)) == "PlacementFailed"


# --- what somebody else writes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "change"),
    [
        ({}, None),
        ({"replicas": 5}, "replicas of Deployment one were changed from 2 to 5"),
        ({"flavor": ""}, "the flavor h100 was taken off the template of Deployment one"),
        ({"replicas": 5, "decision": "0"}, None),
        ({"replicas": 0, "granted": 0, "flavor": "a100"}, None),
        ({"replicas": 5, "granted": None}, None),
    ],
    ids=["nothing", "its size", "its flavor", "our patch is still to come", "on its way to another flavor", "no note"],
)
def test_what_somebody_changed_is_told_and_put_back(changes: dict[str, Any], change: str | None) -> None:
    state = assess(replace(TWO, workload=replace(WORKLOAD, **changes)), NOW)
    assert state.notices == ((Block("ReplicasReverted", change),) if change else ())
    assert (state.touch, state.job.memory.reverts) == (True, (NOW,) if change else ())


@pytest.mark.parametrize(("editor", "who"), [("argocd", "argocd"), ("", "an unknown field manager")])
def test_who_fights_is_named_and_left_alone_until_it_gives_in(editor: str, who: str) -> None:
    """However long ago the third time was: else the fight would begin again every ten minutes."""
    fought = remembering(replace(TWO, workload=replace(WORKLOAD, replicas=5, editor=editor)), reverts=(1.0, 2.0, 3.0))
    state = assess(fought, NOW)
    assert (state.touch, state.notices, state.job.memory.reverts) == (False, (), (1.0, 2.0, 3.0))
    change = "replicas of Deployment one were changed from 2 to 5"
    message = f"{change}; last written by {who}; not put back any more after 3 times"
    assert state.degraded == Block("FieldConflict", message)


# --- the terms that follow -------------------------------------------------------------------------------------------

FREE = Terms()


@pytest.mark.parametrize(
    ("state", "terms"),
    [
        (State(TWO), FREE),
        (State(job("new")), FREE),
        (State(TWO, finished="Failed"), Terms(candidate=False)),
        (State(TWO, blocked=Block("Suspended", "")), Terms(candidate=False)),
        (State(TWO, blocked=Block("WorkloadConflict", "")), Terms(candidate=False)),
        (State(TWO, blocked=Block("WorkloadNotManaged", "")), Terms(candidate=False)),
        (State(TWO, blocked=Block("Invalid", "")), Terms(candidate=True, pinned=True)),
        (State(job("new"), blocked=Block("Invalid", "")), Terms(candidate=False)),
        (State(replace(TWO, held=True)), Terms(candidate=True, pinned=True)),
        (State(TWO, touch=False), Terms(candidate=True, pinned=True)),
        (State(TWO, grows=False), replace(FREE, grows=False)),
        (State(TWO, barred=frozenset({"h100", "a100"})), replace(FREE, barred=frozenset({"a100"}))),
        (State(job("new"), barred=frozenset({"h100"})), replace(FREE, barred=frozenset({"h100"}))),
        (State(replace(TWO, preemptible=False)), replace(FREE, borrows=False)),
    ],
    ids=[
        "runs", "waits", "has ended", "is suspended", "another's Deployment", "a Deployment that nobody lends",
        "cannot be read and runs", "cannot be read and has nothing", "is held", "is fought over", "crashes",
        "rests where it runs", "rests where it would start", "never borrows",
    ],
)  # fmt: skip
def test_the_terms_of_a_job_follow_from_its_state(state: State, terms: Terms) -> None:
    assert base_terms(state) == terms


def test_a_job_whose_nodes_are_still_to_come_neither_grows_nor_moves() -> None:
    first, _ = TWO.pods
    waits = replace(TWO, pods=(first, Pod("late", "late", None, first.requests, NOW - 5, phase="Pending")))
    waits = remembering(waits, admission=Admission("h100", 2, 1, NOW - 10, new_nodes=1))
    assert base_terms(State(waits)) == replace(FREE, grows=False, moves=False)
