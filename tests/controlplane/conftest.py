"""Fixtures: an operator with the rights that the chart gives it on the real control plane, and a plane to be shaken."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane import programs
from controlplane.plane import Plane
from controlplane.scene import Scene, scene_on


@pytest.fixture(scope="session")
def rough_plane(plane_programs: programs.Say, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane for tests that stop parts of it; pods bear a lost node for five minutes, unless they say less."""
    with Plane(tmp_path_factory.mktemp("rough-plane"), say=plane_programs) as plane:
        yield plane


@pytest.fixture
async def scene(rough_plane: Plane, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_on(rough_plane, tmp_path) as scene:
        yield scene
