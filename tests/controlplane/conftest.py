"""Fixtures: an operator with the rights that the chart gives it on the real control plane, and a plane to be shaken."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane import programs
from controlplane.plane import Plane
from controlplane.scene import Scene, scene_on
from integration.cluster import Cluster, cluster_on
from integration.operator_process import Operator, is_ready
from integration.real_plane import RealPlane


@pytest.fixture
async def cluster(real_plane: Plane, tmp_path: Path) -> AsyncIterator[Cluster]:
    plane = RealPlane(tmp_path, real_plane)
    plane.start()
    operator = Operator(plane.operators_kubeconfig, tmp_path)
    operator.start()
    try:
        await is_ready(operator)
        async with cluster_on(plane, operator) as cluster:
            yield cluster
    finally:
        operator.stop()
        plane.stop()


@pytest.fixture(scope="session")
def rough_plane(plane_programs: programs.Say, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane for tests that stop parts of it; pods bear a lost node for five minutes, unless they say less."""
    with Plane(tmp_path_factory.mktemp("rough-plane"), say=plane_programs) as plane:
        yield plane


@pytest.fixture
async def scene(rough_plane: Plane, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_on(rough_plane, tmp_path) as scene:
        yield scene
