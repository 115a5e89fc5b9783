"""The real control plane for every folder of tests: one that all of them share, in one process of pytest."""

import os
from collections.abc import Iterator

import pytest

from controlplane import programs
from controlplane.plane import Plane


# First, because pytest-xdist reads the mark in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A plane takes 0.7 GB and a core for seconds: pytest-xdist shall not start a second one in another worker."""
    for item in items:
        if "plane_programs" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("real-plane"))


@pytest.fixture(scope="session")
def plane_programs(request: pytest.FixtureRequest) -> programs.Say:
    """The programs are built; what is returned prints a line past pytest's capture, since a build takes minutes."""
    if reason := programs.why_not():
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            os.write(2, f"\n[control plane] {line}\n".encode())

    programs.binaries(say)
    return say


@pytest.fixture(scope="session")
def real_plane(plane_programs: programs.Say, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A real control plane that all tests of this process share: nodes and namespaces are each test's own."""
    with Plane(tmp_path_factory.mktemp("real-plane"), say=plane_programs) as plane:
        yield plane
