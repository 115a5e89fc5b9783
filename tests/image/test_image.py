"""The image as the Dockerfile makes it, without a container engine: its steps are followed in folders, and its process
runs as the chart says, as a user without rights, on a file system where only the chart's volumes can be written.

What stands in for the base image python:3.11-slim is this machine: see building.py.
"""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from apportion.sandbox import gpu_node
from image.building import Image
from image.conftest import Access
from image.container import Container, deployed, volumes
from image.isolation import Mount
from integration.cluster import cluster_on
from integration.manifests import readiness, training_job
from integration.operator_process import is_ready
from integration.plane import ControlPlane

PINS = Path(__file__).parents[2] / "requirements-dev.txt"
BASE_LIBRARIES = {"libc", "libdl", "libgcc_s", "libm", "libpthread", "librt", "libstdc++", "libz", "ld-linux-x86-64"}
"""Of Debian's libc6, libgcc-s1, libstdc++6 and zlib1g: dpkg and apt need them, so every Debian image has them."""
PLACES = (
    "/",
    "/opt/apportion",
    "/etc",
    "/usr",
    "/usr/local",
    "/root",
    "/home",
    "/var/tmp",
    "/run",
    "/dev",
    "/tmp",
    "/history",
)
TRY_TO_WRITE = """
import os, sys
for place in sys.argv[1:]:
    try:
        open(os.path.join(place, "written"), "w").close()
        print(place)
    except OSError:
        pass
"""
WHO = """
import os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(os.getuid(), os.getgid(), os.getpid(), int(status["CapEff"], 16), int(status["NoNewPrivs"]))
"""
DECIDE = """
import sys
from apportion.cli.source import Source, read
from apportion.model.policy import Policy, SolverLimits
from apportion.planner import decide
snapshot = read(Source(("-",), None, None, None)).snapshot
plan = decide(snapshot, Policy(solver=SolverLimits(methods=(sys.argv[1],)))).plan
print(plan.method, *(allocation.replicas for allocation in plan.allocations), *plan.warnings)
"""
DISTRIBUTIONS = """
from importlib.metadata import distributions
for each in distributions():
    print(each.metadata["Name"], each.version)
"""


def output(image: Image, mounts: Iterable[Mount], *words: str, given: str = "") -> str:
    """What a command in a container prints."""
    done = subprocess.run(
        image.cell(*mounts).command(*words), input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def content(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and the time of its last change."""
    found = ((path, path.lstat()) for path in root.rglob("*"))
    return {str(path): (status.st_size, status.st_mtime_ns) for path, status in found}


def test_it_runs_as_the_charts_user_without_rights(image: Image) -> None:
    pod, container = deployed()
    user, group = pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]
    assert image.user == f"{user}:{group}"
    assert "command" not in container
    assert output(image, [], "python", "-c", WHO).split() == [str(user), str(group), "1", "0", "1"]


def test_only_the_charts_volumes_can_be_written(image: Image, tmp_path: Path) -> None:
    assert output(image, [], "python", "-c", TRY_TO_WRITE, *PLACES).split() == []
    assert output(image, volumes(tmp_path), "python", "-c", TRY_TO_WRITE, *PLACES).split() == ["/tmp", "/history"]
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["written"]


def test_it_holds_the_tested_versions_and_nothing_of_the_build(image: Image) -> None:
    held = dict(re.findall(r"^(\S+) (\S+)$", normal(output(image, [], "python", "-c", DISTRIBUTIONS)), re.M))
    pins = dict(re.findall(r"^([^#=\s]+)==(\S+)$", normal(PINS.read_text()), re.M))
    assert held.pop("apportion") == "0.1.0"
    assert len(held) > 20
    assert held.items() <= pins.items()
    assert not {"pytest", "ruff", "mypy", "pip", "setuptools"} & held.keys()
    left = {path.name for path in image.root.iterdir() if path.is_dir() and any(path.rglob("*.whl"))}
    assert left == set()


def normal(names: str) -> str:
    return names.lower().replace("_", "-")


def test_its_libraries_ask_of_the_base_image_only_what_every_debian_has(image: Image) -> None:
    environment = image.root / "opt" / "apportion"
    files = [path for path in environment.rglob("*.so*") if path.is_file()]
    files += environment.glob("lib/*/site-packages/pulp/solverdir/cbc/linux/i64/cbc")
    inside = [f"/{path.relative_to(image.root)}" for path in files]
    found = re.findall(r"^\s(\S+?)(?:\.so\S*)? (?:=> (\S+))?", output(image, [], "ldd", *inside), re.M)
    others = {Path(name).name for name, where in found if not where.startswith("/opt/apportion/")}
    brought = {path.name.partition(".so")[0] for path in files}
    assert others - brought - {"linux-vdso", "statically"} == BASE_LIBRARIES


@pytest.mark.parametrize("method", ["highs", "cbc"])
def test_each_solver_decides_in_it(image: Image, tmp_path: Path, method: str) -> None:
    job = training_job("team", "job", (1, 8), 1)
    node = gpu_node("node")
    node["status"]["conditions"] = [readiness(True)]
    given = yaml.safe_dump_all([node, job])
    assert output(image, volumes(tmp_path), "python", "-c", DECIDE, method, given=given).split() == [method, "8"]
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_the_operator_decides_and_ends_in_it(
    image: Image, plane: ControlPlane, access: Access, tmp_path: Path
) -> None:
    """On the real control plane as in a pod: with the ServiceAccount's token and nothing else to find the server by."""
    mount, there = access(tmp_path)
    mounts = [*volumes(tmp_path), mount]
    image.cell(*mounts)
    before = content(image.root)
    operator = Container(image, tmp_path, mounts, there)
    operator.start()
    try:
        await is_ready(operator)
        async with cluster_on(plane, operator) as cluster:
            await cluster.nodes(gpus=4)
            await cluster.submit("job", (1, 4))
            await cluster.expect("job", phase="Running", granted=4, deployment=4)
            assert "1 changed" in operator.log()
            assert ", highs;" in operator.log()
    finally:
        operator.stop()
    assert operator.process is not None
    assert operator.process.returncode == 0, operator.log()
    assert content(image.root) == before
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("plane", ["sandbox"], indirect=True)
async def test_without_the_charts_volume_it_says_what_its_solvers_lack(
    image: Image, plane: ControlPlane, access: Access, tmp_path: Path
) -> None:
    """And goes on with the plan that needs no solver."""
    mount, there = access(tmp_path)
    operator = Container(image, tmp_path, [mount], there)
    operator.start()
    try:
        await is_ready(operator)
        async with cluster_on(plane, operator) as cluster:
            await cluster.nodes(gpus=4)
            await cluster.submit("job", (1, 4))
            await cluster.expect("job", phase="Running", granted=4)
            said = "the plan is that of greedy, not of the first solver: no solver process: "
            await cluster.until(lambda: f"{said}[Errno 2] No usable temporary" in operator.log(), "the log says why")
            assert (await operator.metrics())['apportion_solver_fallbacks_total{solver="greedy"}'] >= 1
    finally:
        operator.stop()
