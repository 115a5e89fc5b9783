"""The real control plane for every folder of tests: one that all of them share, in one process of pytest."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from controlplane import programs
from controlplane.components import Options
from controlplane.plane import Plane
from tools import missing

PLANE_TESTS = re.compile(r"^tests/(controlplane|image)/|\[real(-[^]]*)?\]$")
"""Those of these folders, and those of others that are for the sandbox and for the real control plane."""
SHAKEN = re.compile(r"^tests/controlplane/test_(faults|soak)\.py")
"""Those that stop parts of a control plane, and so have another one for themselves."""
# The same examples in every run, and no test is late: these machines are shared.
settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")
# Tests wait for pods to leave a node that is not ready.
OPTIONS = Options(not_ready_seconds=1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-on-real", action="store_true", help="run on the real control plane also what takes too long for each run"
    )
    parser.addoption(
        "--namespaced",
        action="store_true",
        help="tests/integration on the real control plane with operators of one namespace, that may write nowhere else",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip on the real control plane what is marked `long`, whose reason tells why that loses little.

    Property tests run without the tracer of coverage, which doubles their time, and so do those of the real control
    plane: others reach the same lines.
    """
    for item in items:
        if item.nodeid.startswith("tests/property/") or PLANE_TESTS.search(item.nodeid):
            item.add_marker(pytest.mark.no_cover)
    if config.getoption("all_on_real"):
        return
    for item in items:
        mark = item.get_closest_marker("long")
        if mark is not None and PLANE_TESTS.search(item.nodeid):
            item.add_marker(pytest.mark.skip(reason=f"{mark.kwargs['reason']}; --all-on-real runs it"))


class OnePlane(LoadScopeScheduling):  # type: ignore[misc]
    """Each test goes to the worker that is free, but those on the same real control plane all to one.

    A plane takes 1.2 GB and a core for seconds, so there shall not be one of each in each worker. Both go first, as
    they have the most tests, and each to a worker of its own: none of the long ones is left for the end. The mark
    xdist_group would say the same, but with pytest 9.2 pytest-xdist 3.8 ignores it (issue 1386 of pytest-xdist).
    """

    def _split_scope(self, nodeid: str) -> str:
        if SHAKEN.search(nodeid):
            return "the shaken control plane"
        return "the real control plane" if PLANE_TESTS.search(nodeid) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OnePlane | None:
    return OnePlane(config, log) if config.getvalue("dist") == "worksteal" else None


@pytest.fixture(scope="session")
def plane_programs(request: pytest.FixtureRequest) -> programs.Say:
    """The programs are built; what is returned prints a line past pytest's capture, since a build takes minutes."""
    skip_unless_possible()
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            os.write(2, f"\n[control plane] {line}\n".encode())

    programs.binaries(say)
    return say


@pytest.fixture(scope="session")
def helm(plane_programs: programs.Say) -> Path:
    """The path of the program."""
    skip_unless_possible(programs.HELM_PROGRAM)
    return programs.build(programs.HELM_PROGRAM, plane_programs)


def skip_unless_possible(*needed: programs.Program) -> None:
    """Where neither Go nor the built programs are, a developer's tests are skipped, and a merge's tests fail."""
    if reason := programs.why_not(*needed):
        missing(reason)


@pytest.fixture(scope="session")
def real_plane(plane_programs: programs.Say, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A real control plane that all tests of this process share: nodes and namespaces are each test's own."""
    with Plane(tmp_path_factory.mktemp("real-plane"), OPTIONS, plane_programs) as plane:
        yield plane
