"""A real Prometheus scrapes an operator; real faults make the chart's alerts fire, and their end resolves them."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fault_proxy import Fault
from integration.cluster import Cluster
from integration.operator_process import Operator
from prometheus.server import ROOT, Prometheus


async def test_all_is_calm_while_jobs_run(cluster: Cluster, watcher: Prometheus) -> None:
    await cluster.nodes(gpus=2)
    await cluster.submit("works", (2, 2))
    await cluster.expect("works", phase="Running")

    async def counted() -> list[Any]:
        return await watcher.query('apportion_jobs{phase="Running"} == 1')

    await cluster.until(counted, "Prometheus knows of the running job")
    assert await watcher.firing() == {}


async def test_a_job_that_waits_too_long_is_told_until_it_runs(cluster: Cluster, watcher: Prometheus) -> None:
    [node] = await cluster.nodes(gpus=2)
    await cluster.submit("starves", (4, 4))
    await cluster.expect("starves", phase="Pending")
    async with looked_at(cluster, node):
        alert = await watcher.fires("ApportionJobStarving")
    assert (ROOT / alert["annotations"]["runbook_url"]).is_file()
    await cluster.nodes(gpus=4)
    await cluster.expect("starves", phase="Running")
    await watcher.calms("ApportionJobStarving")


async def test_rounds_that_hang_are_told_until_they_end(cluster: Cluster, watcher: Prometheus) -> None:
    [node] = await cluster.nodes(gpus=2)
    await cluster.submit("waits", (4, 4))
    await cluster.expect("waits", phase="Pending")
    await watcher.calms("ApportionRoundsStuck")
    goes_on = asyncio.Event()

    async def hang(request: Any) -> None:
        """The API server takes a write and does not answer."""
        if request.method == "PATCH":
            await goes_on.wait()

    cluster.plane.do(lambda: setattr(cluster.plane.wire, "before", hang))
    await cluster.submit("works", (2, 2))
    alert = await watcher.fires("ApportionRoundsStuck")
    assert (ROOT / alert["annotations"]["runbook_url"]).is_file()
    cluster.plane.do(goes_on.set)
    cluster.plane.do(lambda: setattr(cluster.plane.wire, "before", None))
    await cluster.expect("works", phase="Running")
    async with looked_at(cluster, node):
        await watcher.calms("ApportionRoundsStuck")


async def test_a_solver_that_dies_is_told_until_it_lives(cluster: Cluster, watcher: Prometheus) -> None:
    await cluster.nodes(4)
    with workers_killed(cluster.operator):
        for number in range(1, 30):
            if "ApportionSolverFallback" in await watcher.firing():
                break
            # The greedy plan is as good for so few jobs.
            await cluster.submit(f"job-{number}", (1, 1))
            await cluster.expect(f"job-{number}", granted=1)
    await watcher.fires("ApportionSolverFallback")
    await watcher.calms("ApportionSolverFallback")
    assert not {"ApportionRoundsFailing", "ApportionDown"} & set(await watcher.firing())


async def test_an_operator_that_stands_still_is_told_until_it_goes_on(cluster: Cluster, watcher: Prometheus) -> None:
    cluster.operator.freeze()
    alert = await watcher.fires("ApportionDown")
    assert alert["labels"]["severity"] == "critical"
    cluster.operator.thaw()
    await watcher.calms("ApportionDown")


async def test_watches_that_are_refused_are_told_until_they_are_not(cluster: Cluster, watcher: Prometheus) -> None:
    wire = cluster.plane.wire
    cluster.plane.do(lambda: wire.rules.append(Fault(method="GET", path="/nodes.*watch=true", status=403)))
    cluster.plane.do(wire.cut_watches)
    alert = await watcher.fires("ApportionUnwatched")
    assert alert["labels"]["resource"] == "nodes"
    assert (ROOT / alert["annotations"]["runbook_url"]).is_file()
    assert "ApportionSnapshotStale" not in await watcher.firing(), "LISTs stand in"
    cluster.plane.do(wire.rules.clear)
    await watcher.calms("ApportionUnwatched")


@contextlib.asynccontextmanager
async def looked_at(cluster: Cluster, node: str) -> AsyncIterator[None]:
    """A round every second, as there is one every minute while a job waits."""

    async def look() -> None:
        number = 0
        while True:
            await cluster.patch("Node", node, {"metadata": {"labels": {"example.com/look": str(number)}}})
            number += 1
            await asyncio.sleep(1)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()


@contextlib.contextmanager
def workers_killed(operator: Operator) -> Iterator[None]:
    """kill -9 of every solver process of an operator as soon as it is seen."""
    enough = threading.Event()

    def kill() -> None:
        while not enough.wait(0.01):
            for pid in operator.solvers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
