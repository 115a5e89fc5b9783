"""The chart on a real API server: it installs, and its ServiceAccount has the rights that the operator asks for."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from apportion.kube.client import Refused, connect
from apportion.kube.kinds import JOB, NODE
from controlplane.plane import Plane

CHART = Path(__file__).parents[2] / "helm" / "apportion"
SYSTEM = "apportion-chart"


@pytest.fixture
def installed(helm: Path, real_plane: Plane, tmp_path: Path) -> Iterator[Plane]:
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "KUBECONFIG": str(real_plane.kubeconfig)}

    def run(*words: str) -> None:
        done = subprocess.run([helm, *words, "--namespace", SYSTEM], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    # Another test may have left the definitions there, without Helm's marks.
    run("install", "apportion", str(CHART), "--create-namespace", "--take-ownership")
    yield real_plane
    run("uninstall", "apportion", "--wait")


async def test_chart_gives_its_service_account_what_the_operator_reads_and_no_secrets(installed: Plane) -> None:
    kubeconfig = installed.service_account_kubeconfig(SYSTEM, "apportion")
    async with await connect(str(kubeconfig)) as operator:
        for kind in (JOB, NODE):
            assert (await operator.get(kind.path()))["kind"] == f"{kind.name}List"
        with pytest.raises(Refused, match="secrets is forbidden"):
            await operator.get("/api/v1/secrets")
