"""Money and power by who holds the accelerators, and what adds up over time, in hand-computed figures."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from apportion.assessment.metering import Draw, draws
from apportion.metrics import Metrics
from apportion.model.snapshot import Snapshot
from builders import A100, GPU, H100, job, node, queue, quota, running, snapshot

DEAR = replace(H100, price_per_hour=2.5, watts=700.0, idle_watts=80.0)
SILENT = A100


@pytest.fixture(scope="module")
def world() -> Snapshot:
    """16 H100: red's job holds 4, one without a queue 2, others 3, nobody 7. And 8 A100 of which nothing is known."""
    red = running(job("red", each=2, queue_name="red"), {"a": 1, "b": 1})
    plain = running(job("plain", each=1, queue_name="gone"), {"b": 2})
    return snapshot(
        red,
        plain,
        on=(node("a", foreign={GPU: 3}), node("b", placeable=False), node("c", flavor="a100")),
        flavors=(SILENT, DEAR),
        queues=(queue("red", quota(8)),),
    )


def test_each_holder_pays_for_what_its_pods_hold_and_idle_is_counted(world: Snapshot) -> None:
    assert draws(world) == (
        Draw("", "a100", "idle", 8.0, None, None),
        Draw("gone", "h100", "jobs", 2.0, 5.0, 1400.0),
        Draw("red", "h100", "jobs", 4.0, 10.0, 2800.0),
        Draw("", "h100", "others", 3.0, 7.5, 2100.0),
        Draw("", "h100", "idle", 7.0, 17.5, 560.0),
    )


def test_cpu_is_paid_by_the_core() -> None:
    cores = replace(H100, name="cpu", resource="cpu", price_per_hour=0.04, watts=5.0)
    one = running(job("one", resource="cpu", requests={"cpu": 1500, "pods": 1}), {"a": 2}, flavor="cpu")
    world = snapshot(one, on=(node("a", flavor="cpu", allocatable={"cpu": 4000}),), flavors=(cores,))
    assert draws(world) == (
        Draw("", "cpu", "jobs", 3.0, pytest.approx(0.12), 15.0),
        Draw("", "cpu", "idle", 1.0, 0.04, None),
    )


def series(metrics: Metrics, name: str) -> dict[tuple[str, str, str], float]:
    return {
        (sample.labels["queue"], sample.labels["flavor"], sample.labels["use"]): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == f"apportion_{name}"
    }


def test_gauges_show_what_is_held_now_and_leave_nothing_behind(world: Snapshot) -> None:
    metrics = Metrics()
    metrics.meter(100.0, world)
    assert series(metrics, "cost_per_hour") == {
        ("gone", "h100", "jobs"): 5.0,
        ("red", "h100", "jobs"): 10.0,
        ("", "h100", "others"): 7.5,
        ("", "h100", "idle"): 17.5,
    }
    assert sum(series(metrics, "power_watts").values()) == 1400 + 2800 + 2100 + 560
    metrics.meter(101.0, replace(world, jobs=()))
    assert series(metrics, "power_watts") == {("", "h100", "others"): 2100.0, ("", "h100", "idle"): 13 * 80.0}


def test_counters_add_up_over_time_by_what_was_held_meanwhile(world: Snapshot) -> None:
    metrics = Metrics()
    metrics.meter(100.0, world)
    assert series(metrics, "cost_total") == {}
    metrics.meter(1900.0)
    metrics.meter(3700.0, replace(world, jobs=()))
    assert series(metrics, "cost_total")["red", "h100", "jobs"] == pytest.approx(10.0)
    assert series(metrics, "energy_joules_total")["red", "h100", "jobs"] == pytest.approx(2800 * 3600)
    metrics.meter(7300.0)
    assert series(metrics, "cost_total")["red", "h100", "jobs"] == pytest.approx(10.0)
    assert series(metrics, "cost_total")["", "h100", "idle"] == pytest.approx(17.5 + 13 * 2.5)
    assert series(metrics, "energy_joules_total")["", "h100", "idle"] == pytest.approx((560 + 13 * 80) * 3600)


def test_a_replica_that_does_not_lead_counts_nothing(world: Snapshot) -> None:
    metrics = Metrics()
    metrics.meter(100.0, world)
    metrics.rest()
    assert series(metrics, "power_watts") == {}
    metrics.meter(4000.0)
    metrics.meter(5000.0, world)
    assert series(metrics, "cost_total") == {}
    metrics.meter(5360.0)
    assert series(metrics, "cost_total")["red", "h100", "jobs"] == pytest.approx(1.0)
