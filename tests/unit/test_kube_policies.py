"""Queues and the AllocationPolicy as the planner gets them: no field of theirs is lost on the way."""

from dataclasses import fields
from typing import Any

import pytest

from apportion.kube.policies import last_flavors, policy_of, queue_of
from apportion.model.flavors import Flavor, Provisionable
from apportion.model.policy import (
    Aim,
    ChurnBudget,
    Defragmentation,
    Mode,
    Objective,
    Policy,
    Prometheus,
    QueueChurn,
    Shadow,
    SolverLimits,
    Stability,
)
from apportion.model.queues import Queue, Quota
from apportion.model.selection import Requirement, Toleration
from builders import GPU
from unit.api_cases import POLICY, QUEUE, changed


def as_said(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
    raw = changed(kind, changes)
    raw["metadata"] |= {"uid": "u", "generation": 3}
    return {**raw, "status": {"conditions": "forged"}}


def test_every_field_of_a_queue_reaches_the_planner() -> None:
    selector = {
        "matchLabels": {"team": "research"},
        "matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["test", "dev"]}],
    }
    assert queue_of(as_said(QUEUE, {"spec.namespaceSelector": selector})) == Queue(
        name="research",
        cohort="lab",
        weight=2.0,
        quotas=(Quota("h100", 32, 16, 8), Quota("*", 8)),
        namespaces=(Requirement("team", "In", ("research",)), Requirement("env", "NotIn", ("test", "dev"))),
        allowed_priority_classes=("normal", "high"),
        budget_per_hour=120.0,
        power_cap_watts=40_000.0,
        uid="u",
        generation=3,
    )


def test_a_queue_that_says_nothing_forbids_nothing() -> None:
    """But an empty list of classes allows none."""
    plain = queue_of({"metadata": {"name": "q"}, "spec": {}})
    assert plain == Queue("q", generation=plain.generation)
    assert queue_of({"metadata": {"name": "q"}, "spec": {"allowedPriorityClasses": []}}).allowed_priority_classes == ()


FULL = {
    "spec.mode": "Observe",
    "spec.objective": {"name": "MaxThroughput", "exponent": 0.5, "admissionWorth": 0.3, "sizeExponent": 0.4},
    "spec.stability": {
        "changeMargin": 0.2,
        "expectedHoldSeconds": 900,
        "fewestMovesWithin": 0.01,
        "churnBudget": {"restartSecondsPerHour": 3600, "queues": [{"name": "red", "restartSecondsPerHour": 600}]},
    },
    "spec.solver": {"timeLimitSeconds": 20, "gap": 0.02},
    "spec.flavors": [
        {
            "name": "h100",
            "resource": GPU,
            "nodeSelector": {"pool": "h", "disk": "ssd"},
            "tolerations": [
                {"key": "team", "operator": "Equal", "value": "x", "effect": "NoSchedule"},
                {"operator": "Exists"},
            ],
            "pricePerHour": 2.5,
            "watts": 700,
            "idleWatts": 80,
            "speed": 0.5,
            "provisionable": {"maxNodes": 4, "acceleratorsPerNode": 8},
        },
        {"name": "l4"},
    ],
}


def test_every_field_of_a_policy_reaches_the_planner() -> None:
    policy = policy_of(as_said(POLICY, FULL))
    assert policy == Policy(
        name="default",
        mode=Mode.OBSERVE,
        objective=Objective(0.5, 0.3, 0.4, Aim.MAX_THROUGHPUT),
        stability=Stability(0.2, 900.0, 0.01, ChurnBudget(3600.0, (QueueChurn("red", 600.0),))),
        defragmentation=Defragmentation.ENABLED,
        flavors=(
            Flavor(
                name="h100",
                resource=GPU,
                node_selector=(("disk", "ssd"), ("pool", "h")),
                tolerations=(Toleration("team", "Equal", "x", "NoSchedule"), Toleration("", "Exists", "", "")),
                price_per_hour=2.5,
                watts=700.0,
                idle_watts=80.0,
                speed=0.5,
                provisionable=Provisionable(4, 8, 900.0, 0.2),
            ),
            Flavor("l4", "", ()),
        ),
        solver=SolverLimits(20.0, 0.02),
        budget_per_hour=900.0,
        power_cap_watts=250_000.0,
        prometheus=Prometheus("http://prometheus.monitoring:9090", "/etc/apportion/prometheus/token"),
        shadows=(Shadow("linear", Objective(exponent=1.0)),),
        uid="u",
        generation=3,
    )
    silent = {one.name for one in fields(Policy) if getattr(policy, one.name) == getattr(Policy(), one.name)}
    assert silent == {"name"}, "a field of which this test says nothing"


@pytest.mark.parametrize("url", ["http://p:9090/", "http://p:9090"])
def test_the_url_of_a_prometheus_may_end_in_a_slash(url: str) -> None:
    source = {"prometheus": {"url": url}}
    assert policy_of(changed(POLICY, {"spec.metricsSource": source})).prometheus == Prometheus("http://p:9090", "")


def test_flavors_are_those_of_nodes_and_those_of_the_catalog_that_could_have_some() -> None:
    """An entry without a resource only adds to what nodes carry; what nodes carry has the last word."""
    catalog = (Flavor("new", GPU, (("pool", "new"),)), Flavor("l4", ""), Flavor("h100", GPU, price_per_hour=1.0))
    carried = (Flavor("h100", GPU, price_per_hour=2.0), Flavor("a100", GPU))
    found = last_flavors(carried, catalog)
    assert [(flavor.name, flavor.price_per_hour) for flavor in found] == [("a100", None), ("h100", 2.0), ("new", None)]
    assert found[-1].tolerations == (Toleration(GPU, "Exists"),)
