"""Fixtures: an operator on a sandbox of its own, scraped by a real Prometheus."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from integration.cluster import Cluster, cluster_on
from integration.operator_process import Operator, is_ready
from integration.plane import ControlPlane
from integration.sandbox_plane import SandboxPlane
from prometheus.server import Prometheus, free_port
from tools import tool


@dataclass(frozen=True)
class Scraped:
    plane: ControlPlane
    operator: Operator
    prometheus: Prometheus


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """What all tests share: each makes its own trouble and waits for its end."""
    program = tool("prometheus")
    folder = tmp_path_factory.mktemp("scraped")
    plane = SandboxPlane(folder)
    plane.start()
    # An audit now and then confirms the snapshot: its age stays under the limit of the alert.
    operator = Operator(plane.operators_kubeconfig, folder, "--port", str(port := free_port()), "--audit-seconds", "1")
    server = Prometheus(program, folder, port)
    operator.start()
    server.start()
    try:
        yield Scraped(plane, operator, server)
    finally:
        server.stop()
        operator.stop()
        plane.stop()


@pytest.fixture
async def cluster(scraped: Scraped) -> AsyncIterator[Cluster]:
    await is_ready(scraped.operator)
    async with cluster_on(scraped.plane, scraped.operator) as cluster:
        yield cluster


@pytest.fixture
async def watcher(scraped: Scraped, cluster: Cluster) -> Prometheus:
    await scraped.prometheus.ready()
    return scraped.prometheus
