"""snapshot, plan and explain against a live API server: the sandbox, in a thread of this process."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from apportion.cli.main import cli
from apportion.cli.stage import furnish
from apportion.sandbox import Sandbox, gpu_node
from unit.terminal import Terminal

AT = ("--at", "2030-01-01T00:00:00Z")
SECRETS = ("hunter2", "s3cr3t-annotation")


@dataclass
class Live:
    sandbox: Sandbox
    config: str
    loop: asyncio.AbstractEventLoop

    def apply(self, obj: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(self._apply(obj), self.loop).result(20)

    async def _apply(self, obj: dict[str, Any]) -> None:
        self.sandbox.store.apply(obj)

    def ran(self, *words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "--kubeconfig", self.config], env={"COLUMNS": "200"})


def job(name: str, low: int, high: int) -> dict[str, Any]:
    env = [{"name": "TOKEN", "value": SECRETS[0]}]
    container = {"name": "main", "image": "x", "env": env, "resources": {"limits": {"nvidia.com/gpu": "2"}}}
    return {
        "apiVersion": "apportion.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": SECRETS[1]},
        },
        "spec": {"minReplicas": low, "maxReplicas": high, "template": {"spec": {"containers": [container]}}},
    }


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Two nodes with 8 H100 each, two jobs; no operator runs."""
    config = tmp_path_factory.mktemp("live") / "kubeconfig"
    ready = threading.Event()
    found: list[Live] = []
    stop: list[asyncio.Event] = []

    async def serve() -> None:
        stop.append(asyncio.Event())
        async with Sandbox() as sandbox:
            furnish(sandbox, nodes=False)
            for obj in (gpu_node("gpu-0"), gpu_node("gpu-1"), job("big", 4, 8), job("small", 1, 2)):
                sandbox.store.apply(obj)
            await asyncio.to_thread(config.write_text, sandbox.kubeconfig())
            found.append(Live(sandbox, str(config), asyncio.get_running_loop()))
            ready.set()
            await stop[0].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    found[0].loop.call_soon_threadsafe(stop[0].set)
    thread.join(20)


def test_snapshot_is_one_list_of_all_that_the_operator_reads(live: Live, tmp_path: Path) -> None:
    printed = live.ran("snapshot")
    assert printed.exit_code == 0, printed.output
    document = yaml.safe_load(printed.stdout)
    assert document["kind"] == "List"
    kinds = [item["kind"] for item in document["items"]]
    assert (kinds.count("Node"), kinds.count("TrainingJob")) == (2, 2)
    assert {"Namespace", "PriorityClass"} <= set(kinds)
    assert live.ran("snapshot", "-o", str(tmp_path / "cluster.yaml")).stdout == ""
    assert yaml.safe_load((tmp_path / "cluster.yaml").read_text()).keys() == document.keys()


def test_snapshot_holds_no_values_of_the_environment(live: Live) -> None:
    text = live.ran("snapshot").stdout
    assert "TOKEN" in text
    assert [secret for secret in SECRETS if secret in text] == []


def test_plan_of_a_live_cluster_is_the_plan_of_its_snapshot(live: Live, tmp_path: Path) -> None:
    path = str(tmp_path / "cluster.yaml")
    assert live.ran("snapshot", "-o", path).exit_code == 0
    here = live.ran("plan", "-o", "json", *AT)
    there = CliRunner().invoke(cli, ["plan", "-f", path, "-o", "json", *AT])
    first, second = (json.loads(done.stdout) for done in (here, there))
    assert {entry["name"]: entry["replicas"] for entry in first["allocations"]} == {"big": 6, "small": 2}
    assert first.pop("solveSeconds") > 0
    assert second.pop("solveSeconds") > 0
    assert first == second


def test_explain_reads_the_live_cluster(live: Live) -> None:
    done = live.ran("explain", "tj/big")
    assert done.exit_code == 0
    assert "TrainingJob default/big" in done.stdout


def test_a_what_if_of_a_live_cluster_is_that_of_its_snapshot(live: Live, tmp_path: Path) -> None:
    path, new = str(tmp_path / "cluster.yaml"), tmp_path / "new.yaml"
    assert live.ran("snapshot", "-o", path).exit_code == 0
    new.write_text(yaml.safe_dump(job("third", 1, 4)))
    ask = ["plan", "-o", "json", *AT, "--what-if", "add 1 node like gpu-0", "--what-if", f"submit {new}"]
    here, there = live.ran(*ask), CliRunner().invoke(cli, [*ask, "-f", path])
    assert here.exit_code == 0, here.output
    assert json.loads(here.stdout) == json.loads(there.stdout)
    effects = {row["name"]: row["effect"] for row in json.loads(here.stdout)["jobs"]}
    assert effects["third"] == "gains"
    assert [raw["metadata"]["name"] for raw in live.sandbox.store.list("trainingjobs")] == ["big", "small"]


def test_nothing_is_written(live: Live) -> None:
    before = live.sandbox.store.list("trainingjobs")
    live.ran("plan")
    assert live.sandbox.store.list("trainingjobs") == before
    assert live.sandbox.store.list("deployments") == []


def test_a_missing_right_is_said_in_one_line(live: Live) -> None:
    right = ("list", "", "pods")
    live.sandbox.deny.add(right)
    try:
        done = live.ran("snapshot")
    finally:
        live.sandbox.deny.discard(right)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "pods" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unreachable_server_is_said_in_one_line(live: Live, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(live.config).read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    done = CliRunner().invoke(cli, ["plan", "--kubeconfig", str(path)])
    assert done.exit_code == 2
    assert "127.0.0.1:9" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_definitions_that_are_missing_are_no_jobs(tmp_path: Path) -> None:
    """A cluster without Apportion's definitions can be looked at all the same."""

    async def bare() -> Result:
        async with Sandbox() as sandbox:
            sandbox.store.apply(gpu_node("gpu-0"))
            path = tmp_path / "kubeconfig"
            await asyncio.to_thread(path.write_text, sandbox.kubeconfig())
            words = ["plan", "-o", "json", "--kubeconfig", str(path)]
            return await asyncio.to_thread(CliRunner().invoke, cli, words)

    done = asyncio.run(bare())
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["allocations"] == []
    assert document["capacity"][0]["allocatable"] == 8


def test_the_live_view_follows_the_cluster_outlives_an_outage_and_ends_on_interrupt(live: Live) -> None:
    terminal = Terminal("top", "--kubeconfig", live.config, "--interval", "1")
    try:
        at = terminal.shows(r"default/big +- +- +- +6 nvidia")
        live.apply(gpu_node("gpu-2"))
        at = terminal.shows(r"default/big +- +- +- +8 nvidia", at)
        live.sandbox.deny.add(("list", "", "pods"))
        at = terminal.shows(r"not current: .*pods", at)
        live.sandbox.deny.discard(("list", "", "pods"))
        at = terminal.shows(r"default/big", at)
    finally:
        code = terminal.interrupt()
    assert code == 0
    assert "Traceback" not in terminal.text
