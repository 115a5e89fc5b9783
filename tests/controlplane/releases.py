"""The chart as people install it: the helm program against a real API server."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controlplane.plane import Plane
from tools import tool

CHART = Path(__file__).parents[2] / "helm" / "apportion"


@dataclass(frozen=True)
class Release:
    """One release in a namespace of its own. Blocks: call it in a thread."""

    helm: Path
    plane: Plane
    home: Path
    namespace: str
    name: str = "apportion"

    def install(self, *settings: str, chart: Path = CHART) -> None:
        # Another test may have left cluster-scoped objects there, without Helm's marks.
        theirs = ("--take-ownership", "--force-conflicts")
        self.run("install", self.name, str(chart), "--create-namespace", *theirs, *_set(settings))

    def upgrade(self, *settings: str) -> None:
        self.run("upgrade", self.name, str(CHART), *_set(settings))

    def rollback(self) -> None:
        self.run("rollback", self.name)

    def uninstall(self) -> None:
        self.run("uninstall", self.name, "--wait")

    def run(self, *words: str) -> str:
        """What helm prints; fails with what it says."""
        environment = {"PATH": os.defpath, "HOME": str(self.home), "KUBECONFIG": str(self.plane.kubeconfig)}
        command = [str(self.helm), *words, "--namespace", self.namespace]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)


def rendered(*settings: str) -> list[dict[str, Any]]:
    """The chart's objects, under the names that manifests/install.yaml has."""
    command = [tool("helm"), "template", "apportion", str(CHART), "--namespace", "apportion-system", *_set(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def _set(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]
