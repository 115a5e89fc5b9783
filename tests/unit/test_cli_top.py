"""apportion top: its columns from files (the live view is in test_cli_live.py)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from apportion.cli.main import cli
from apportion.sandbox import gpu_node

GPU = "nvidia.com/gpu"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
PRODUCT = "NVIDIA-H100-80GB-HBM3"


def cluster(replicas: int = 2) -> list[Any]:
    """One node with 8 H100, a job with pods of 2, another that waits, a queue, a policy with price and watts."""
    policy = {
        "apiVersion": "apportion.dev/v1alpha1", "kind": "AllocationPolicy", "metadata": {"name": "default"},
        "spec": {"flavors": [{
            "name": "h100", "resource": GPU, "nodeSelector": {f"{GPU}.product": PRODUCT},
            "pricePerHour": "2.50", "watts": 700, "idleWatts": 80,
        }]},
    }  # fmt: skip
    queue = {
        "apiVersion": "apportion.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "red"},
        "spec": {"flavors": [{"name": "h100", "nominalQuota": 8}]},
    }  # fmt: skip
    container = {"name": "main", "image": "x", "resources": {"limits": {GPU: "2"}}}
    jobs = [
        {
            "apiVersion": "apportion.dev/v1alpha1", "kind": "TrainingJob",
            "metadata": {"name": name, "namespace": "team", "uid": name},
            "spec": {
                "queueName": "red", "minReplicas": 1, "maxReplicas": 2, "minRuntimeSeconds": 0,
                "template": {"spec": {"containers": [container]}},
            },
        }
        for name in ("one", "two")
    ]  # fmt: skip
    jobs[0]["status"] = {
        "phase": "Running",
        "admission": {"flavor": "h100", "replicas": replicas, "round": 1, "since": "2026-01-01T00:00:00Z"},
    }
    owner = {
        "apiVersion": "apportion.dev/v1alpha1",
        "kind": "TrainingJob",
        "name": "one",
        "uid": "one",
        "controller": True,
    }
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "one", "namespace": "team", "uid": "d", "ownerReferences": [owner]},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}},
    }  # fmt: skip
    pods = [
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": f"one-{index}", "namespace": "team", "uid": f"p{index}", "labels": {"pod-template-hash": "abc"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "one-abc", "uid": "r", "controller": True}],
            },
            "spec": {"nodeName": "a", "containers": [container]},
            "status": {"phase": "Running", **READY},
        }
        for index in range(replicas)
    ]  # fmt: skip
    machine = gpu_node("a", gpus=8)
    machine["metadata"]["labels"][f"{GPU}.product"] = PRODUCT
    return [{**machine, "status": {**machine["status"], **READY}}, policy, queue, *jobs, deployment, *pods]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(objects: list[Any]) -> str:
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump_all(objects))
        return str(path)

    return write


def test_money_power_and_plan_of_flavors_queues_and_jobs(write: Callable[..., str]) -> None:
    path = write(cluster())
    done = CliRunner().invoke(cli, ["top", "-f", path])
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["h100", "1", "8", "4", "0", "4", "20.00", "3120"] in [row[:8] for row in rows]
    assert ["red", "h100", "8", "4", "8", "10.00", "2800"] in [row[:7] for row in rows]
    assert [row for row in rows if row[:1] == ["team/one"]] == [
        ["team/one", "red", "Running", "2", "h100", "2", "h100", "10.00", "2800", "AtMaximum"]
    ]
    assert [row[:7] for row in rows if row[:1] == ["team/two"]] == [["team/two", "red", "-", "-", "2", "h100", "0.00"]]
    planned = json.loads(CliRunner().invoke(cli, ["plan", "-f", path, "-o", "json"]).stdout)["prices"]
    prices = {price["queue"] or price["flavor"]: f"{price['price']:.3g}" for price in planned}
    shown = {row[0]: row[-1] for row in rows if row[:1] in (["h100"], ["red"]) and row[-1] != "0"}
    assert shown == prices
    assert prices
    assert re.search(r"mode Enforce, plan Optimal, gap 0\.00%; 20\.00 per hour, 3120 W in all", done.stdout)


def test_what_no_flavor_says_is_not_shown_as_nothing(write: Callable[..., str]) -> None:
    silent = [raw for raw in cluster() if raw["kind"] != "AllocationPolicy"]
    rows = [
        line.split() for line in CliRunner().invoke(cli, ["top", "--once", "-f", write(silent)]).stdout.splitlines()
    ]
    assert next(row for row in rows if row[:1] == ["team/one"])[-3:-1] == ["-", "-"]
