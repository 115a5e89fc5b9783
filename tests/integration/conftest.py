"""Fixtures: a control plane with an operator that a test session shares, planes for tests that need their own, and a
bare sandbox."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from apportion.sandbox import Sandbox
from integration.bare_client import Api
from integration.cluster import Cluster, cluster_on
from integration.operator_process import Operator, is_ready
from integration.plane import ControlPlane


@pytest.fixture(scope="session")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("shared-plane"))
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def shared_operator(shared_plane: ControlPlane) -> Iterator[Operator]:
    operator = Operator(shared_plane.operators_kubeconfig, shared_plane.folder)
    operator.start()
    yield operator
    operator.stop()


@pytest.fixture
async def cluster(shared_plane: ControlPlane, shared_operator: Operator) -> AsyncIterator[Cluster]:
    """A namespace and a GPU product of the test's own in a cluster where an operator runs; its nodes are the test's."""
    assert shared_operator.alive, f"the operator ended:\n{shared_operator.log()}"
    await is_ready(shared_operator)
    async with cluster_on(shared_plane, shared_operator) as cluster:
        yield cluster


@pytest.fixture
def own_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path)
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture
async def own_cluster(own_plane: ControlPlane) -> AsyncIterator[Cluster]:
    """A control plane without any operator yet."""
    async with cluster_on(own_plane) as cluster:
        yield cluster


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(start_seconds=0.01, bind_seconds=0.001, bookmark_seconds=0.05) as sandbox:
        yield sandbox


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=4)) as session:
        yield session


@pytest.fixture
def api(session: aiohttp.ClientSession, sandbox: Sandbox) -> Api:
    return Api(session, sandbox.url)
