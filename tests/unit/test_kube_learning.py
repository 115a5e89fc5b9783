"""What was learned, and what is wanted, on its way between the wire and the model."""

from dataclasses import replace
from typing import Any

import pytest

from apportion.api.parse import parse_training_job
from apportion.kube.jobs import job_facts
from apportion.kube.memory import read_memory, status_of
from apportion.kube.policies import policy_of
from apportion.kube.reports import transitions
from apportion.learning.following import MOST_POINTS
from apportion.model.curves import Usl
from apportion.model.jobs import Block, Job, Memory, Target
from apportion.model.measured import NO_RECORD, Observation, Record
from apportion.model.policy import Policy, Prometheus
from apportion.planner import decide
from builders import NOW as BUILDERS_NOW
from builders import job, nodes, running, snapshot
from unit.api_cases import ABSENT, JOB, POLICY, changed

NOW = 1_790_000_000.25
FULL = Record(tuple(Observation(n + 1, "h100", 12.5 * n + 1, NOW + n) for n in range(MOST_POINTS)), 87.5, 0.625, NOW)


@pytest.mark.parametrize(
    "record",
    [NO_RECORD, FULL, Record((), None, 0.0, NOW), Record((), 0.0), Record((Observation(2, "a100", 1e15, NOW),))],
)
def test_a_record_survives_the_status_as_it_is(record: Record) -> None:
    memory = Memory(phase="Running", record=record, throughput=(780.0, 765.0))
    status = status_of(memory, 3)
    assert read_memory({"status": status}) == memory
    told = parse_training_job({**changed(JOB, {}), "status": status}).status
    assert (told.curve is None) == (record == NO_RECORD)
    assert told.throughput is not None
    assert told.throughput.observed == 765.0


def test_a_job_of_which_nothing_was_measured_has_no_curve_in_its_status() -> None:
    assert {"curve", "throughput"}.isdisjoint(status_of(Memory(), 1))


@pytest.mark.parametrize(
    "curve",
    [
        "x", [], {"points": "x"}, {"points": [3, {}, {"replicas": 0, "flavor": "a", "rate": 1}]},
        {"points": [{"replicas": 1, "flavor": "a", "rate": rate} for rate in (0, -1, "1", True, 1e-300, 1e300, None)]},
        {"points": [{"replicas": True, "flavor": "a", "rate": 1.0}, {"replicas": 2, "flavor": "", "rate": 1.0}]},
        {"restartSeconds": -1, "progress": 1.5, "progressAt": 7},
    ],
)  # fmt: skip
def test_a_forged_curve_is_no_error_and_says_nothing(curve: Any) -> None:
    assert read_memory({"status": {"curve": curve}}).record.points == ()
    assert read_memory({"status": {"curve": curve}}).record.restart_seconds is None
    assert read_memory({"status": {"curve": curve}}).record.progress is None


def test_targets_are_read() -> None:
    deadline = job_facts(changed(JOB, {})).job.target
    assert deadline == Target(deadline=1_796_112_000.0, work=5_000_000.0)
    assert job_facts(changed(JOB, {"spec.target": {"throughput": 900.5}})).job.target == Target(throughput=900.5)
    assert job_facts(changed(JOB, {"spec.target": ABSENT})).job.target is None


def test_whether_a_curve_is_declared_is_known() -> None:
    usual = {"spec.scaling.points": ABSENT, "spec.scaling.usl": ABSENT}
    assert not job_facts(changed(JOB, usual)).job.declared
    for declared in ("spec.scaling.points", "spec.scaling.usl"):
        assert job_facts(changed(JOB, {declared: ABSENT})).job.declared


def test_where_rates_are_asked_for_is_read() -> None:
    token = "/etc/apportion/prometheus/token"
    assert policy_of(changed(POLICY, {})).prometheus == Prometheus("http://prometheus.monitoring:9090", token)
    plain = changed(POLICY, {"spec.metricsSource.prometheus": {"url": "https://p/prefix/"}})
    assert policy_of(plain).prometheus == Prometheus("https://p/prefix")
    assert policy_of(changed(POLICY, {"spec.metricsSource": ABSENT})).prometheus is None


def told(asked: Job) -> list[tuple[str, str]]:
    """(type, reason) of the Events that a round makes, of a job as it was before the round."""
    decision = decide(snapshot(asked, on=nodes(1)), Policy())
    facts = replace(job_facts(changed(JOB, {})), job=asked)
    return [(type_, reason) for _, type_, reason, _ in transitions(decision, {asked.key: facts})]


def test_an_event_tells_once_that_a_target_will_be_missed_and_that_a_rate_is_not_measured() -> None:
    late = Target(deadline=BUILDERS_NOW + 3600, work=1e9)
    trouble = Block("NoSeries", "spec.scaling.metrics.query: it returns nothing")
    asked = running(job("a", 8, 8, curve=Usl(1.0, 0.0, 0.0), declared=True, target=late), {"h100-0": 8})
    asked = replace(asked, unmeasured=trouble)
    assert told(asked) == [("Warning", "NoSeries"), ("Warning", "TooSlow")]
    memory = decide(snapshot(asked, on=nodes(1)), Policy()).outcomes[0].memory
    assert told(replace(asked, memory=memory)) == []


def test_a_job_that_has_recovered_and_was_never_measured_says_so() -> None:
    asked = running(job("a", 8, 8), {"h100-0": 8})
    troubled = replace(asked, unmeasured=Block("NoSeries", "it returns nothing"))
    memory = decide(snapshot(troubled, on=nodes(1)), Policy()).outcomes[0].memory
    after = decide(snapshot(replace(asked, memory=memory), on=nodes(1)), Policy()).outcomes[0].memory
    assert [c.reason for c in after.conditions if c.type == "Measured"] == ["NotYet"]
