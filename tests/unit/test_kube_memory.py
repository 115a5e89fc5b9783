"""What the operator remembers of a job lies in its status: nothing is lost there, and a forged one is no error."""

from dataclasses import fields
from typing import Any

import pytest

from apportion.api.parse import parse_training_job
from apportion.kube.memory import LONGEST_MESSAGE, read_memory, status_of
from apportion.model.jobs import Admission, Backoff, Condition, Displaced, Memory
from apportion.model.measured import Observation, Record
from unit.api_cases import JOB, changed

NOW = 1_790_000_000.25
WHOLE = 1_790_000_000.0
FULL = Memory(
    phase="Running",
    admission=Admission("h100", 4, 12, NOW - 60, new_nodes=1),
    replicas=3,
    restarts=5,
    restarted_at=(NOW - 60, NOW - 30),
    displaced=Displaced("team/gang", "a100", 2, NOW - 90),
    ready_restarts=2,
    reverts=(NOW - 20,),
    retried="again",
    queued_since=NOW - 600,
    backoff=(Backoff("a100", 2, NOW + 60), Backoff("l4", 1, NOW + 30)),
    conditions=(
        Condition("Admitted", True, "Admitted", "4 on h100", WHOLE - 60),
        Condition("Running", False, "PodsNotReady", "not all of 4 pods are ready", WHOLE),
    ),
    message="4 on h100",
    record=Record((Observation(4, "h100", 12.5, NOW),), 87.5, 0.625, NOW),
    throughput=(13.0, 12.5),
)


def read(**status: Any) -> Memory:
    return read_memory({"status": status})


def test_all_that_is_remembered_of_a_job_survives_its_status() -> None:
    assert read(**status_of(FULL, 3)) == FULL
    forgotten = [one.name for one in fields(Memory) if getattr(FULL, one.name) == getattr(Memory(), one.name)]
    assert forgotten == [], "a field of which this test says nothing"


def test_a_job_of_which_nothing_is_known_says_no_more_than_that() -> None:
    assert status_of(Memory(phase="Pending"), 1) == {
        "phase": "Pending",
        "replicas": 0,
        "restarts": 0,
        "message": "",
        "observedGeneration": 1,
        "conditions": [],
    }


def test_texts_that_are_longer_than_the_schema_allows_are_cut() -> None:
    """A webhook may answer anything, and a status that the API server refuses would tell nothing."""
    long = "x" * 40_000
    memory = Memory(
        phase="Pending",
        message=long,
        retried=long,
        conditions=(Condition("Degraded", True, "WorkloadRefused", long, WHOLE),),
    )
    status = status_of(memory, 1)
    parse_training_job({**changed(JOB, {}), "status": status})
    assert status["message"] == status["conditions"][0]["message"] == "x" * (LONGEST_MESSAGE - 3) + "..."
    assert len(status["message"]) == LONGEST_MESSAGE
    whole = "x" * LONGEST_MESSAGE
    assert status_of(Memory(message=whole), 1)["message"] == whole


@pytest.mark.parametrize(
    "admission",
    [
        "x",
        {},
        {"replicas": 2},
        {"flavor": "h100"},
        {"flavor": "h100", "replicas": 0},
        {"flavor": "h100", "replicas": -1},
    ],
)
def test_a_forged_grant_is_none(admission: Any) -> None:
    assert read(admission=admission).admission is None


@pytest.mark.parametrize(
    "given_up",
    [
        {"flavor": "h100", "replicas": 1},
        {"by": "team/gang", "replicas": 1},
        {"by": "team/gang", "flavor": "h100", "replicas": 0},
    ],
)
def test_a_forged_place_that_was_given_up_is_none(given_up: Any) -> None:
    assert read(displaced=given_up).displaced is None


def test_forged_counts_and_times_are_nothing() -> None:
    forged = read(
        restarts=-3,
        readyRestarts=-1,
        restartedAt=["yesterday", 7, "2026-01-01T00:00:00Z"],
        revertedAt="2026-01-01T00:00:00Z",
        admission={"flavor": "h100", "replicas": 2, "newNodes": -4},
    )
    assert (forged.restarts, forged.ready_restarts, forged.reverts) == (0, 0, ())
    assert len(forged.restarted_at) == 1
    assert forged.admission == Admission("h100", 2, 0, 0.0)
