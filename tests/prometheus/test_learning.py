"""An operator learns how jobs scale from a real Prometheus, which scrapes what follows a curve that only we know."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apportion.controller.prometheus import NoNumber, ask
from apportion.model import policy
from integration.cluster import Cluster, cluster_on
from integration.operator_process import Operator, is_ready
from integration.plane import ControlPlane
from integration.reading import condition
from integration.sandbox_plane import SandboxPlane
from prometheus.exporter import Exporter
from prometheus.server import Prometheus
from tools import tool

FLAT, STEEP = 100.0, 10.0
TRUTHS = {"flat": lambda replicas: FLAT, "steep": lambda replicas: STEEP * replicas}
LEARNED_SECONDS = 40.0


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    found = Exporter(TRUTHS)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def server(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    found = Prometheus(tool("prometheus"), tmp_path_factory.mktemp("rates"), exporter.port)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    found = SandboxPlane(tmp_path)
    found.start()
    yield found
    found.stop()


@pytest.fixture
async def cluster(
    plane: ControlPlane, tmp_path: Path, exporter: Exporter, server: Prometheus
) -> AsyncIterator[Cluster]:
    operator = Operator(plane.operators_kubeconfig, tmp_path, "--observe-seconds", "0.3", "--settle-seconds", "1.5")
    operator.start()
    try:
        await is_ready(operator)
        await server.ready("samples_per_second")
        async with cluster_on(plane, operator) as found, followed(found, exporter):
            # Each step that is worth anything is taken, so that few sizes have to be measured.
            worth_it = {"changeMargin": 0, "fewestMovesWithin": 0}
            await found.policy(metricsSource={"prometheus": {"url": server.url}}, stability=worth_it)
            yield found
    finally:
        operator.stop()


@contextlib.asynccontextmanager
async def followed(cluster: Cluster, exporter: Exporter) -> AsyncIterator[None]:
    """The exporter knows how many pods of each job are ready."""

    async def follow() -> None:
        while True:
            for name in exporter.truths:
                ready = [pod for pod in await cluster.pods(name) if condition(pod, "Ready").get("status") == "True"]
                exporter.replicas[name] = len(ready)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def query(name: str, metric: str = "samples_per_second") -> str:
    return f'sum({metric}{{training="{name}"}})'


def points(job: Any) -> dict[int, float]:
    return {point["replicas"]: point["rate"] for point in job.get("status", {}).get("curve", {}).get("points", ())}


async def learned(cluster: Cluster, name: str, *sizes: int) -> Any:
    """Wait until the job's status has rates of these sizes, and return it."""

    async def known() -> Any:
        job = await cluster.get("TrainingJob", name)
        return job if set(sizes) <= points(job).keys() else None

    return await cluster.until(known, f"rates of {sizes} in the status of {name}", LEARNED_SECONDS)


async def test_accelerators_go_where_they_are_measured_to_gain_something(cluster: Cluster) -> None:
    """Two jobs that are alike on paper. One turns out to gain nothing from more: the other gets what it leaves."""
    await cluster.nodes(1, gpus=8)
    await cluster.submit("flat", (1, 8), scaling={"metrics": {"query": query("flat")}})
    await cluster.expect("flat", phase="Running", granted=8)
    job = await learned(cluster, "flat", 8)
    assert points(job) == {8: FLAT}
    assert job["status"]["throughput"]["observed"] == FLAT

    await cluster.submit("steep", (1, 8), scaling={"metrics": {"query": query("steep")}})

    assert points(await learned(cluster, "flat", 4, 8))[4] == FLAT
    await cluster.expect("steep", phase="Running", granted=7, seconds=LEARNED_SECONDS)
    await cluster.expect("flat", phase="Running", granted=1)
    assert points(await learned(cluster, "steep", 7))[7] == 7 * STEEP

    async def cost_known() -> bool:
        return "restartSeconds" in (await cluster.get("TrainingJob", "flat"))["status"]["curve"]

    # Of a resize from 8 to 4 or from 4 to 1: an operator that does not lead for a moment watches none to its end.
    await cluster.until(cost_known, "what a resize of flat has cost", LEARNED_SECONDS)


async def test_what_was_learned_outlives_the_operator_and_a_query_that_fails(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("steep", (1, 4), scaling={"metrics": {"query": query("steep")}})
    before = await learned(cluster, "steep", 4)
    cluster.operator.kill()
    cluster.operator.restart()
    await is_ready(cluster.operator)

    await cluster.spec("steep", scaling={"metrics": {"query": "sum(samples_per_second"}})

    async def told() -> Any:
        job = await cluster.get("TrainingJob", "steep")
        return job if condition(job, "Measured").get("status") == "False" else None

    after = await cluster.until(told, "that steep is not measured", LEARNED_SECONDS)
    assert condition(after, "Measured")["reason"] == "QueryFailed"
    assert "spec.scaling.metrics.query" in condition(after, "Measured")["message"]
    assert points(after) == points(before)
    await cluster.expect("steep", phase="Running", granted=4)

    await cluster.spec("steep", scaling={"metrics": {"query": query("steep")}})

    async def calm() -> bool:
        return condition(await cluster.get("TrainingJob", "steep"), "Measured").get("status") == "True"

    await cluster.until(calm, "that steep is measured again", LEARNED_SECONDS)


async def test_progress_that_reaches_one_ends_the_job(cluster: Cluster, exporter: Exporter) -> None:
    await cluster.nodes(1, gpus=2)
    exporter.progress["steep"] = 0.5
    asked = {"query": query("steep"), "progressQuery": query("steep", "progress")}
    await cluster.submit("steep", (1, 2), scaling={"metrics": asked})

    async def half() -> bool:
        job = await cluster.get("TrainingJob", "steep")
        return bool(job.get("status", {}).get("curve", {}).get("progress") == 0.5)

    await cluster.until(half, "that half is done", LEARNED_SECONDS)
    exporter.progress["steep"] = 1.0
    await cluster.expect("steep", phase="Succeeded", complete="ProgressComplete", deployment=0, seconds=LEARNED_SECONDS)


@pytest.mark.parametrize(
    ("asked", "reason", "said"),
    [
        ("sum(no_such_metric)", "NoSeries", "returns nothing"),
        ("samples_per_second", "NotOneSeries", "2 series"),
        ("sum(", "QueryFailed", "parse error"),
        ("samples_per_second[1m]", "NotOneSeries", "matrix"),
        ("vector(0)/0", "", "nan"),
        ("vector(1)/0", "", "inf"),
        ("-vector(3)", "", "-3"),
        ("scalar(vector(3))", "", "3"),
    ],
)
async def test_what_a_real_prometheus_answers(server: Prometheus, asked: str, reason: str, said: str) -> None:
    await server.ready("samples_per_second")
    async with aiohttp.ClientSession() as session:
        if not reason:
            assert repr(await ask(session, policy.Prometheus(server.url), asked)).removesuffix(".0") == said
            return
        with pytest.raises(NoNumber) as found:
            await ask(session, policy.Prometheus(server.url), asked)
    assert found.value.reason == reason
    assert said in found.value.message
