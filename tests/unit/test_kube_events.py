"""Which Events a round posts: one for each transition, none for what stays as it is."""

from dataclasses import replace

import pytest

from apportion.kube.jobs import job_facts
from apportion.kube.reports import transitions
from apportion.model.jobs import FlavorChoice, Job
from apportion.model.plan import Decision
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


def test_why_a_job_waits_is_told_once() -> None:
    waits = job("a", 1, 1, 16)
    again = replace(waits, memory=decided(waits).outcomes[0].memory)
    assert told(again, decided(again)) == []
