"""Whatever a job reports of itself, its curve is one that can be decided on, and promises no more than is allowed."""

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.learning import informed
from apportion.model.curves import GLOBAL_BATCH, PER_REPLICA_BATCH, Curve, Usl
from apportion.model.eligibility import speed
from apportion.model.jobs import Job, Memory
from apportion.model.measured import HIGHEST_RATE, LOWEST_RATE, Observation, Record
from apportion.model.policy import Policy, Stability
from apportion.planner import decide
from builders import A100, H100, NOW, job, node, nodes, running, snapshot

rates = st.floats(math.log(LOWEST_RATE), math.log(HIGHEST_RATE)).map(
    lambda log: min(max(math.exp(log), LOWEST_RATE), HIGHEST_RATE)
)
observations = st.builds(
    Observation, st.integers(1, 100_000), st.sampled_from(["h100", "a100", "gone"]), rates, st.floats(0.0, 1e11)
)
records = st.lists(observations, max_size=16).map(lambda points: Record(tuple(points)))
curves = st.sampled_from([PER_REPLICA_BATCH, GLOBAL_BATCH])
FLAVORS = (A100, H100)
ON = (*nodes(2), *nodes(1, flavor="a100"))


@settings(max_examples=300, deadline=None)
@given(records, curves)
def test_any_record_gives_a_curve_that_can_be_decided_on(record: Record, curve: Curve) -> None:
    [found] = informed((job("a", 1, 64, curve=curve, memory=Memory(record=record)),), FLAVORS, ON)
    by_size = [found.curve.at(count) for count in (1, 2, 3, 8, 16, 64, 100_000)]
    assert all(math.isfinite(rate) and rate > 0 for rate in by_size)
    assert all(math.isfinite(speed(found, flavor)) and speed(found, flavor) > 0 for flavor in FLAVORS)
    for count in (2, 8, 64, 100_000):
        assert found.curve.at(count) <= found.curve.at(1) * count * (1 + 1e-9)


def reporting(record: Record) -> Job:
    """A job of 2 to 6 that runs on two h100 and has reported these rates."""
    asked = running(job("liar", 2, 6), {"h100-0": 2})
    return replace(asked, memory=replace(asked.memory, record=record))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(Observation, st.integers(1, 6), st.just("h100"), rates, st.just(NOW)), max_size=6))
def test_no_report_takes_more_than_a_job_that_declares_to_scale_perfectly(points: list[Observation]) -> None:
    """Eight accelerators, an honest elastic neighbour. What a liar gets is at most what his spec could have asked."""
    honest = running(job("honest", 1, 8), {"h100-0": 4})
    on = (node("h100-0"),)
    free = Policy(stability=Stability(change_margin=0.0, fewest_moves_within=0.0))

    def granted(*jobs: Job) -> dict[str, int]:
        found = decide(snapshot(*informed(jobs, FLAVORS, on), on=on), free)
        return {outcome.key.name: outcome.target.replicas for outcome in found.outcomes}

    best = granted(replace(reporting(Record()), curve=Usl(1.0, 0.0, 0.0), declared=True), honest)
    lied = granted(reporting(Record(tuple(points))), honest)
    assert lied["liar"] <= best["liar"] <= 6
    assert lied["honest"] >= max(1, best["honest"])
