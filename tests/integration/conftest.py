"""Fixtures: a control plane with an operator that a test session shares, planes for tests that need their own, both of
each kind, and a bare sandbox."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from apportion.sandbox import Sandbox
from integration.bare_client import Api
from integration.cluster import Cluster, cluster_on
from integration.operator_process import is_ready
from integration.plane import ControlPlane
from integration.real_plane import WATCHED, RealPlane
from integration.sandbox_plane import SandboxPlane
from integration.stage import MakePlane, Stage

PLANES = ("sandbox", "real")


@pytest.fixture(scope="session", params=PLANES)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Every test of an operator plays on both; where the real one cannot be, it is skipped and says why."""
    real = request.param == "real"
    make: MakePlane = SandboxPlane
    if real:
        watched: tuple[str, ...] = ()
        if request.config.getoption("namespaced"):
            request.getfixturevalue("helm")
            watched = (WATCHED,)
        make = partial(RealPlane, plane=request.getfixturevalue("real_plane"), watched=watched)
    stage = Stage(tmp_path_factory.mktemp(f"shared-{request.param}"), make, single=real)
    yield stage
    stage.close()


@pytest.fixture
async def cluster(stage: Stage) -> AsyncIterator[Cluster]:
    """A namespace and a GPU product of the test's own in a cluster where an operator runs; its nodes are the test's."""
    plane, operator = stage.shared()
    assert operator.alive, f"the operator ended:\n{operator.log()}"
    await is_ready(operator)
    async with cluster_on(plane, operator) as cluster:
        yield cluster


@pytest.fixture
def own_plane(stage: Stage, tmp_path: Path) -> Iterator[ControlPlane]:
    with stage.own(tmp_path) as plane:
        yield plane


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
