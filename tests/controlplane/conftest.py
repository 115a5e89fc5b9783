"""Fixtures: an operator with the identity that the chart gives it, on the real control plane."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.plane import Plane
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
