"""Which Events a round posts: one for each transition, none for what stays as it is."""

from dataclasses import replace

import pytest

from apportion.kube.jobs import job_facts
from apportion.kube.reports import event, transitions
from apportion.model.jobs import Block, Condition, FlavorChoice, Job, Memory
from apportion.model.plan import NOTHING, Decision
from apportion.model.policy import Policy
from apportion.planner import decide
from builders import job, nodes, running, snapshot
from unit.api_cases import JOB, changed

BOTH = (*nodes(1), *nodes(1, flavor="a100"))
FULL = running(job("a", 1, 8), {"h100-0": 8})


def decided(asked: Job) -> Decision:
    return decide(snapshot(asked, on=BOTH), Policy())


def told(asked: Job, decision: Decision) -> list[tuple[str, str]]:
    """(type, reason) of the Events of the round, of a job as it was before it."""
    facts = replace(job_facts(changed(JOB, {})), job=asked)
    return [(type_, reason) for _, type_, reason, _ in transitions(decision, {asked.key: facts})]


@pytest.mark.parametrize(
    ("asked", "events"),
    [
        (job("a"), [("Normal", "Admitted")]),
        (FULL, []),
        (running(job("a", 1, 8), {"h100-0": 4}), [("Normal", "Grown")]),
        (running(job("a", 1, 4), {"h100-0": 8}), [("Normal", "Shrunk")]),
        (replace(FULL, suspended=True), [("Normal", "Evicted")]),
        (replace(FULL, flavors=(FlavorChoice("a100"),)), [("Normal", "Moved")]),
        (job("a", 1, 1, 16), [("Normal", "GangTooLarge")]),
        (replace(FULL, completed=True), [("Normal", "Evicted"), ("Normal", "MarkedComplete")]),
    ],
    ids=["admitted", "as it was", "grown", "shrunk", "suspended", "moved", "refused", "completed"],
)
def test_a_transition_is_told_by_the_events_that_users_know_it_by(asked: Job, events: list[tuple[str, str]]) -> None:
    assert told(asked, decided(asked)) == events


OVER = (Block("ExitedZero", "done"), "Succeeded", "Normal"), (Block("FailureLimit", "6 restarts"), "Failed", "Warning")


@pytest.mark.parametrize(("why", "phase", "type_"), OVER, ids=["it succeeded", "it failed"])
def test_the_end_of_a_job_is_told_and_a_bad_one_is_a_warning(why: Block, phase: str, type_: str) -> None:
    ended = replace(job("a"), memory=Memory(phase="Running"))
    decision = decided(ended)
    said = Condition("Complete", True, why.reason, why.message, 0.0)
    outcome = replace(decision.outcomes[0], memory=Memory(phase=phase, conditions=(said,)))
    outcome = replace(outcome, granted=NOTHING, current=NOTHING)
    assert told(ended, replace(decision, outcomes=(outcome,))) == [(type_, why.reason)]


def conditioned(*conditions: Condition) -> Decision:
    """A decision that changes nothing but says these."""
    decision = decided(FULL)
    (outcome,) = decision.outcomes
    return replace(decision, outcomes=(replace(outcome, memory=replace(outcome.memory, conditions=conditions)),))


@pytest.mark.parametrize("type_", ["Degraded", "Invalid", "DeadlineAtRisk", "ThroughputAtRisk"])
def test_what_is_wrong_is_told_when_it_begins_and_when_its_reason_changes(type_: str) -> None:
    one, other = (Condition(type_, True, reason, "so it is", 0.0) for reason in ("One", "Other"))
    well = Condition(type_, False, "AsExpected", "", 0.0)

    def after(*before: Condition) -> list[tuple[str, str]]:
        return told(replace(FULL, memory=replace(FULL.memory, conditions=before)), conditioned(one))

    assert after() == after(well) == after(other) == [("Warning", "One")]
    assert after(one) == []
    assert told(replace(FULL, memory=replace(FULL.memory, conditions=(one,))), conditioned(well)) == []


def test_who_is_evicted_hears_that_once_and_not_also_that_it_waits() -> None:
    evicted = replace(FULL, suspended=True)
    assert [reason for _, reason in told(evicted, decided(evicted))] == ["Evicted"]


def test_a_notice_of_the_round_is_a_warning() -> None:
    decision = decided(FULL)
    noticed = replace(decision.outcomes[0], notices=(Block("ReplicasReverted", "from 2 to 5"),))
    assert told(FULL, replace(decision, outcomes=(noticed,))) == [("Warning", "ReplicasReverted")]


def messages(asked: Job) -> list[str]:
    facts = replace(job_facts(changed(JOB, {})), job=asked)
    return [message for *_, message in transitions(decided(asked), {asked.key: facts})]


def test_an_event_says_how_much_of_what() -> None:
    assert messages(job("a", 1, 4)) == ["admitted with 4 on h100"]
    assert messages(running(job("a", 1, 8), {"h100-0": 4})) == ["from 4 to 8 on h100"]
    assert messages(replace(FULL, flavors=(FlavorChoice("a100"),))) == ["from 8 on h100 to 8 on a100"]
    assert messages(replace(FULL, suspended=True)) == ["8 on h100 are given back: spec.suspend is true"]


def test_an_event_is_about_its_job_and_no_longer_than_the_api_server_takes() -> None:
    facts = job_facts({**changed(JOB, {}), "metadata": {"name": "n" * 250, "namespace": "team", "uid": "u"}})
    outcome = decided(job("a")).outcomes[0]
    body = event(outcome, facts, ("Warning", "Why", "x" * 2000), 1_767_225_600.5)
    about = body["involvedObject"]
    assert (about["kind"], about["namespace"], about["name"], about["uid"]) == ("TrainingJob", "team", "n" * 250, "u")
    assert (body["type"], body["reason"], body["message"]) == ("Warning", "Why", "x" * 1000)
    assert body["metadata"] == {"generateName": "n" * 200 + ".", "namespace": "team"}
    assert body["firstTimestamp"] == body["lastTimestamp"] == "2026-01-01T00:00:00Z"


def test_why_a_job_waits_is_told_once() -> None:
    waits = job("a", 1, 1, 16)
    again = replace(waits, memory=decided(waits).outcomes[0].memory)
    assert told(again, decided(again)) == []
