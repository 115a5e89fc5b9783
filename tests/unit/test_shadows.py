"""Shadow policies: what they would do, hand-checked; and the process that decides for them, which may fail."""

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings

from apportion.baselines import static
from apportion.controller import shadows as module
from apportion.controller.shadows import Shadows
from apportion.metrics import Metrics
from apportion.model.curves import Usl
from apportion.model.jobs import JobKey
from apportion.model.plan import Decision, Grant, Status
from apportion.model.policy import Objective, Policy, Shadow, SolverLimits, Stability
from apportion.model.rounds import Difference, Round
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from apportion.planner.decide import wanted
from apportion.planner.shadow import compared, shadowed
from builders import job, nodes, running, snapshot
from integration.waiting import until
from property.brute_force import job_value
from property.test_decide import worlds

# They run at a lower priority: where others use the machine they take their time.
LONG = 60
LINEAR = Shadow("linear", Objective(exponent=1.0))
SAME = Shadow("same", Objective())
POLICY = Policy(
    shadows=(LINEAR, SAME),
    solver=SolverLimits(gap=0.0),
    stability=Stability(change_margin=0.0, fewest_moves_within=0.0),
)


@pytest.fixture(scope="module")
def world() -> Snapshot:
    """16 GPUs, 2 a replica. One job scales as its replicas, the other hardly: for throughput alone the first gets all
    it can. A third one waits for its single replica."""
    first = running(job("first", 1, 7, 2, curve=Usl(1.0, 0.0)), {"h100-0": 4})
    second = running(job("second", 1, 7, 2, curve=Usl(1.0, 0.5)), {"h100-1": 4})
    return snapshot(first, second, job("third", 1, 1, 2), on=nodes(2))


def test_the_same_objective_does_the_same_and_another_is_measured_by_the_enforcing_one(world: Snapshot) -> None:
    linear, same = (result.comparison for result in shadowed(world, POLICY))
    decision = decide(world, POLICY)
    enforced = {outcome.key: outcome.target for outcome in decision.outcomes}
    assert (same.differences, same.failure) == ((), "")
    assert same.value == pytest.approx(decision.plan.objective)
    first, second = JobKey("team", "first"), JobKey("team", "second")
    assert linear.differences == (
        Difference(first, enforced[first], Grant("h100", 6)),
        Difference(second, enforced[second], Grant("h100", 1)),
    )
    assert linear.accelerators == (("h100", 16),)
    assert linear.restarts == 2
    assert linear.value is not None
    assert linear.value < decision.plan.objective


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
def test_the_value_of_another_plan_is_what_the_brute_force_judge_says(world: Snapshot) -> None:
    """The difference of both plans, job by job, by a value function that shares no code with the optimizer's."""
    found = wanted(world, POLICY)
    other = compared("static", POLICY, found, partial(decide, world, POLICY, static))
    jobs = {one.key: one for one in found.snapshot.jobs}
    flavors = {flavor.name: flavor for flavor in world.flavors}

    def worth(key: JobKey, grant: Grant) -> float:
        if not grant.replicas:
            return 0.0
        return sum(job_value(found.solved, POLICY, jobs[key], flavors[grant.flavor], grant.replicas))

    gained = sum(worth(d.key, d.other) - worth(d.key, d.enforced) for d in other.differences)
    assert other.value == pytest.approx(found.plan.objective - found.plan.moves_cost + gained)


def test_what_fewest_moves_gave_up_is_no_part_of_the_value(world: Snapshot) -> None:
    found = wanted(world, POLICY)
    stayed = replace(found, plan=replace(found.plan, moves_cost=0.25))
    itself = compared("itself", POLICY, stayed, partial(decide, world, POLICY))
    assert itself.value == pytest.approx(found.plan.objective - 0.25)


def test_a_shadow_that_fails_says_why_and_harms_no_other(world: Snapshot) -> None:
    def broken() -> Decision:
        raise ZeroDivisionError("no curve")

    comparison = compared("broken", POLICY, wanted(world, POLICY), broken)
    assert comparison.failure == "ZeroDivisionError: no curve"
    decision = decide(world, POLICY)
    kept = replace(decision, plan=replace(decision.plan, status=Status.KEPT, warnings=("why",)))
    assert compared("kept", POLICY, wanted(world, POLICY), lambda: kept).failure == "why"


def series(metrics: Metrics) -> Iterator[tuple[str, str, float]]:
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name.startswith("apportion_shadow_") and not sample.name.endswith(("_price", "_created")):
                labels = "/".join(sample.labels[name] for name in ("shadow", "flavor") if name in sample.labels)
                yield sample.name.removeprefix("apportion_shadow_"), labels, sample.value


def test_metrics_say_what_each_shadow_would_do_and_forget_it(world: Snapshot) -> None:
    metrics, results = Metrics(), shadowed(world, POLICY)
    metrics.observe_shadows(results)
    found = {(name, labels): value for name, labels, value in series(metrics)}
    linear = results[0].comparison
    wanted_values = {
        ("value", "linear"): linear.value,
        ("jobs_differing", "linear"): 2,
        ("restarts", "linear"): 2,
        ("accelerators", "linear/h100"): 16,
        ("gap_ratio", "same"): results[1].comparison.gap,
        ("jobs_differing", "same"): 0,
        ("skipped_total", ""): 0,
    }
    assert {name: found.get(name) for name in wanted_values} == wanted_values
    failed = replace(results[0], comparison=replace(linear, failure="why"))
    unknown = replace(results[1], comparison=replace(results[1].comparison, value=None))
    metrics.observe_shadows((failed, unknown))
    found = {(name, labels): value for name, labels, value in series(metrics)}
    assert found["failures_total", "linear"] == 1
    assert ("value", "linear") not in found
    assert math.isnan(found["value", "same"])
    metrics.no_shadows()
    assert {name for name, _, _ in series(metrics)} == {"failures_total", "skipped_total"}


@asynccontextmanager
async def deciding(metrics: Metrics, told: list[Round]) -> AsyncIterator[Shadows]:
    shadows = Shadows(metrics, told.append)
    task = asyncio.create_task(shadows.run())
    yield shadows
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def a_round(world: Snapshot, number: int = 1, policy: Policy = POLICY) -> Round:
    decision = replace(decide(world, policy), round=number)
    return Round(world, policy, decision)


async def test_a_round_is_told_with_its_shadows_and_without_where_there_are_none(world: Snapshot) -> None:
    told: list[Round] = []
    async with deciding(Metrics(), told) as shadows:
        shadows.offer(a_round(world, policy=replace(POLICY, shadows=())))
        assert [round_.shadows for round_ in told] == [()]
        shadows.offer(a_round(world))
        assert len(told) == 1, "a shadow is not waited for"
        await until(lambda: len(told) == 2, "the shadows have decided", LONG)
    assert told[1].shadows == shadowed(world, POLICY)


async def test_only_the_newest_round_waits_for_its_shadows_and_every_round_is_told(world: Snapshot) -> None:
    told: list[Round] = []
    metrics = Metrics()
    async with deciding(metrics, told) as shadows:
        for number in range(4):
            shadows.offer(a_round(world, number))
        await until(lambda: len(told) == 4, "all are told", LONG)
    assert [(round_.decision.round, bool(round_.shadows)) for round_ in told] == [
        (0, False), (1, False), (2, False), (3, True)
    ]  # fmt: skip
    assert {name: value for name, _, value in series(metrics)}["skipped_total"] == 3


async def test_a_process_that_dies_costs_one_rounds_shadows(world: Snapshot) -> None:
    told: list[Round] = []
    metrics = Metrics()
    async with deciding(metrics, told) as shadows:
        shadows.offer(a_round(world, 1))
        await until(lambda: len(told) == 1, "the shadows have decided", LONG)
        process = shadows._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        shadows.offer(a_round(world, 2))
        await until(lambda: shadows._waiting is None, "the round is on its way", LONG)
        os.kill(process.pid, signal.SIGKILL)
        await until(lambda: len(told) == 2, "the round is told", LONG)
        shadows.offer(a_round(world, 3))
        await until(lambda: len(told) == 3, "a new process decides", LONG)
    failures = [result.comparison.failure for result in told[1].shadows]
    assert len(failures) == 2
    assert all(failures)
    assert told[2].shadows == told[0].shadows
    found = {(name, labels): value for name, labels, value in series(metrics)}
    assert (found["failures_total", "linear"], found["failures_total", "same"]) == (1, 1)


async def test_a_process_that_is_too_slow_is_not_waited_for(world: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Round] = []
    async with deciding(Metrics(), told) as shadows:
        shadows.offer(a_round(world, 1))
        await until(lambda: len(told) == 1, "the shadows have decided", LONG)
        slow = shadows._process
        assert slow is not None
        os.kill(slow.pid, signal.SIGSTOP)
        with monkeypatch.context() as patched:
            patched.setattr(module, "PATIENCE_SECONDS", 0.1)
            hurried = replace(POLICY, solver=SolverLimits(time_limit_seconds=0.0))
            shadows.offer(replace(a_round(world, 2), policy=hurried))
            await until(lambda: len(told) == 2, "the round is told", LONG)
        shadows.offer(a_round(world, 3))
        await until(lambda: len(told) == 3, "a new process decides", LONG)
    assert slow.returncode is not None
    assert [result.comparison.failure for result in told[1].shadows] == ["TimeoutError: "] * 2
    assert told[2].shadows == told[0].shadows


async def test_the_process_ends_with_the_task_and_rounds_that_wait_are_told(world: Snapshot) -> None:
    told: list[Round] = []
    async with deciding(Metrics(), told) as shadows:
        shadows.offer(a_round(world, 1))
        await until(lambda: shadows._process is not None, "it started", LONG)
        process = shadows._process
        shadows.offer(a_round(world, 2))
    assert process is not None
    assert process.returncode is not None
    assert sorted(round_.decision.round for round_ in told) == [1, 2]
