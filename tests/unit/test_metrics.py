"""The metrics of one finished decision, by name and value, and that the reference has them all."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from apportion import __version__
from apportion.metrics import Metrics, RoundTimes
from apportion.model.caps import Kind
from apportion.model.plan import Decision, Price
from apportion.model.policy import Objective, Policy, Shadow
from apportion.model.snapshot import Snapshot
from apportion.optimizer import kept
from apportion.planner import decide
from apportion.planner.shadow import shadowed
from builders import A100, H100, NOW, job, node, queue, quota, running, snapshot

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
TIMES = RoundTimes(snapshot=0.02, decide=0.3, actuate=0.1)
Labels = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def world() -> Snapshot:
    """Eight H100: one job runs on 2 and wants 4; one waits for 600 s that can never fit."""
    first = running(job("first", 2, 4, queue_name="red", restart_seconds=7.0), {"a": 2})
    waiting = replace(job("waiting", 9, 9, queue_name="blue", created=NOW - 600.0))
    queues = (
        queue("red", quota(6), cohort="lab", power_cap_watts=5000.0),
        queue("blue", quota(2), cohort="lab"),
    )
    flavors = (A100, replace(H100, price_per_hour=2.5, watts=700.0))
    return snapshot(first, waiting, on=(node("a"),), queues=queues, flavors=flavors)


@pytest.fixture(scope="module")
def decision(world: Snapshot) -> Decision:
    found = decide(world, Policy(budget_per_hour=50.0))
    prices = (Price("h100", 0.5), Price("h100", 0.25, "red"), Price("", 0.125, cap=Kind.BUDGET))
    caps = tuple(replace(use, price=0.125 if use.kind is Kind.BUDGET else 0.0) for use in found.cap_use)
    use = tuple(replace(use, price=0.25 if use.queue == "red" else 0.0) for use in found.queue_use)
    return replace(found, plan=replace(found.plan, prices=prices), queue_use=use, cap_use=caps)


def series(metrics: Metrics) -> Mapping[tuple[str, Labels], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def observed(world: Snapshot, decision: Decision, times: int = 1) -> Mapping[tuple[str, Labels], float]:
    metrics = Metrics()
    for _ in range(times):
        metrics.observe(world, decision, TIMES)
    return series(metrics)


def test_decision_of_the_fixture(decision: Decision) -> None:
    assert [(resize.kind, resize.target.replicas, resize.wave) for resize in decision.resizes] == [("Grow", 4, 0)]
    assert [outcome.memory.phase for outcome in decision.outcomes] == ["Resizing", "Pending"]


def test_values_of_one_round(world: Snapshot, decision: Decision) -> None:
    got = observed(world, decision)
    grown, waiting = decision.outcomes
    wanted = {
        ("apportion_solver_objective", ()): decision.plan.objective,
        ("apportion_solver_bound", ()): decision.plan.bound,
        ("apportion_solver_gap_ratio", ()): decision.plan.gap,
        ("apportion_solver_status", (("status", "Optimal"),)): 1,
        ("apportion_solver_status", (("status", "Feasible"),)): 0,
        ("apportion_solver_status", (("status", "Kept"),)): 0,
        ("apportion_accelerators_allocated", (("flavor", "h100"),)): 4,
        ("apportion_accelerators_free", (("flavor", "h100"),)): 6,
        ("apportion_accelerators_allocated", (("flavor", "a100"),)): 0,
        ("apportion_shadow_price", (("flavor", "h100"),)): 0.5,
        ("apportion_shadow_price", (("flavor", "a100"),)): 0,
        ("apportion_queue_shadow_price", (("flavor", "h100"), ("queue", "red"))): 0.25,
        ("apportion_queue_shadow_price", (("flavor", "h100"), ("queue", "blue"))): 0,
        ("apportion_jobs", (("phase", "Resizing"), ("reason", grown.reason))): 1,
        ("apportion_jobs", (("phase", "Pending"), ("reason", waiting.reason))): 1,
        ("apportion_oldest_pending_seconds", ()): 600,
        ("apportion_resizes_total", (("kind", "Grow"), ("reason", grown.reason))): 1,
        ("apportion_restart_seconds_total", ()): 7,
        ("apportion_queue_usage", (("flavor", "h100"), ("queue", "red"))): 4,
        ("apportion_queue_usage", (("flavor", "h100"), ("queue", "blue"))): 0,
        ("apportion_queue_nominal_quota", (("flavor", "h100"), ("queue", "blue"))): 2,
        ("apportion_queue_share_ratio", (("queue", "red"),)): 1,
        ("apportion_queue_share_ratio", (("queue", "blue"),)): 0,
        ("apportion_budget_used_per_hour", (("queue", ""),)): 10,
        ("apportion_budget_limit_per_hour", (("queue", ""),)): 50,
        ("apportion_budget_shadow_price", (("queue", ""),)): 0.125,
        ("apportion_power_used_watts", (("queue", "red"),)): 2800,
        ("apportion_power_cap_watts", (("queue", "red"),)): 5000,
        ("apportion_power_shadow_price", (("queue", "red"),)): 0,
        ("apportion_queue_dominant_share_ratio", (("queue", "red"),)): 0.5,
        ("apportion_queue_dominant_share_ratio", (("queue", "blue"),)): 0,
        ("apportion_fairness_jain_ratio", ()): 0.5,
        ("apportion_last_round_timestamp_seconds", ()): NOW,
        ("apportion_build_info", (("version", __version__),)): 1,
        ("apportion_round_duration_seconds_count", (("phase", "total"),)): 1,
        ("apportion_round_duration_seconds_sum", (("phase", "total"),)): pytest.approx(0.42),
        ("apportion_round_duration_seconds_sum", (("phase", "decide"),)): pytest.approx(0.3),
        ("apportion_round_duration_seconds_bucket", (("le", "0.25"), ("phase", "decide"))): 0,
        ("apportion_round_duration_seconds_bucket", (("le", "0.5"), ("phase", "decide"))): 1,
    }
    assert {name: got.get(name) for name in wanted} == wanted
    assert ("apportion_shadow_price", (("flavor", ""),)) not in got, "money is no flavor"


def test_counters_add_up_and_gauges_do_not(world: Snapshot, decision: Decision) -> None:
    got = observed(world, decision, times=3)
    assert got["apportion_restart_seconds_total", ()] == 21
    assert got["apportion_accelerators_allocated", (("flavor", "h100"),)] == 4


def test_what_is_gone_leaves_no_series_behind(world: Snapshot, decision: Decision) -> None:
    metrics = Metrics()
    metrics.observe(world, decision, TIMES)
    empty = snapshot(on=(node("a"),))
    metrics.observe(empty, decide(empty, Policy()), TIMES)
    names = {name for name, _ in series(metrics)}
    gone = {"apportion_jobs", "apportion_queue_usage", "apportion_queue_share_ratio", "apportion_queue_shadow_price"}
    gone |= {f"apportion_budget_{name}" for name in ("used_per_hour", "limit_per_hour", "shadow_price")}
    gone |= {f"apportion_power_{name}" for name in ("used_watts", "cap_watts", "shadow_price")}
    assert not names & {*gone, "apportion_queue_dominant_share_ratio"}
    assert math.isnan(series(metrics)["apportion_fairness_jain_ratio", ()])
    assert series(metrics)["apportion_oldest_pending_seconds", ()] == 0


def test_what_is_not_scarce_has_the_price_0(world: Snapshot, decision: Decision) -> None:
    metrics = Metrics()
    metrics.observe(world, decision, TIMES)
    content = snapshot(running(job("first", 2, 2), {"a": 2}), on=(node("a"),))
    metrics.observe(content, decide(content, Policy()), TIMES)
    assert series(metrics)["apportion_shadow_price", (("flavor", "h100"),)] == 0


def test_no_price_is_told_where_no_plan_was_made(world: Snapshot, decision: Decision) -> None:
    nothing = replace(decision, plan=kept(world, "no plan"))
    assert not [name for name, _ in observed(world, nothing) if name.endswith("shadow_price")]


def test_who_starts_is_counted_as_a_change_and_costs_no_restart() -> None:
    fresh = snapshot(job("fresh", 1, 2, restart_seconds=7.0), on=(node("a"),))
    got = observed(fresh, decide(fresh, Policy()))
    assert sum(value for (name, _), value in got.items() if name == "apportion_resizes_total") == 1
    assert got["apportion_restart_seconds_total", ()] == 0


def test_changes_that_wait_are_not_counted(world: Snapshot, decision: Decision) -> None:
    later = replace(decision, resizes=tuple(replace(resize, wave=1) for resize in decision.resizes))
    assert not [name for name, _ in observed(world, later) if name == "apportion_resizes_total"]


def test_fallbacks_are_counted_by_solver() -> None:
    metrics = Metrics()
    metrics.fallback("greedy")
    metrics.fallback("greedy")
    assert series(metrics)["apportion_solver_fallbacks_total", (("solver", "greedy"),)] == 2


def test_no_series_carries_a_job(world: Snapshot, decision: Decision) -> None:
    values = {value for _, labels in observed(world, decision) for _, value in labels}
    assert not values & {"first", "waiting", "team/first", "team"}


def test_reference_lists_every_family_with_its_labels(world: Snapshot, decision: Decision) -> None:
    metrics = Metrics()
    metrics.observe(world, decision, TIMES)
    metrics.fallback("cbc")
    metrics.failures.labels("DecisionFailed").inc()
    metrics.api_errors.labels("patch", "Conflict").inc()
    metrics.unwatched.labels("pods").set(0)
    priced = tuple(replace(flavor, price_per_hour=1.0, watts=1.0, idle_watts=1.0) for flavor in world.flavors)
    metrics.meter(0.0, replace(world, flavors=priced))
    metrics.meter(1.0)
    metrics.unrecorded.labels("Disk").inc()
    linear = replace(Policy(), shadows=(Shadow("linear", Objective(1.0)),))
    metrics.observe_shadows(shadowed(world, linear))
    metrics.shadow_failures.labels("linear").inc()
    rows = re.findall(r"^\| `(apportion_\w+)` \| (\w+) \| (.*?) \|", REFERENCE.read_text(), flags=re.M)
    listed = {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels in rows}
    exposed = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if not name.endswith("_created"):
            exposed[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    assert exposed == listed
