"""A real control plane of a benchmark's own, with the chart installed."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from apportion.kube.client import Api, connect
from controlplane.components import BENCHMARK
from controlplane.plane import Plane
from integration.real_plane import RealPlane


@contextlib.asynccontextmanager
async def installed_plane() -> AsyncIterator[tuple[Plane, Api]]:
    """The plane, and an administrator's client straight to it."""
    with tempfile.TemporaryDirectory(prefix="apportion-bench-") as name:
        plane = Plane(Path(name) / "plane", BENCHMARK)
        await asyncio.to_thread(plane.start)
        try:
            installed = await asyncio.to_thread(RealPlane, Path(name), plane)
            async with installed.open(), await connect(str(plane.kubeconfig)) as api:
                yield plane, api
        finally:
            await asyncio.to_thread(plane.stop)
