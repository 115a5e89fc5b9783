"""manifests/install.yaml as people apply it, with real kubectl, on a cluster that has nothing of Apportion yet; and the
commands that docs/tasks.md gives. The control plane is this file's own: these commands touch what all tests share.
"""

import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.nodes import NodeClass
from controlplane.plane import Plane
from controlplane.programs import Say
from controlplane.releases import Release
from integration.manifests import SYSTEM
from integration.operator_process import Operator, is_ready
from integration.real_plane import INSTALL, OPERATOR
from integration.waiting import until
from tools import tool

ROOT = Path(__file__).parents[2]
FIRST_JOB = ROOT / "manifests" / "samples" / "first-job.yaml"
TASKS = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
JOBS = "CustomResourceDefinition trainingjobs.apportion.dev"
PLAIN_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "plain", "namespace": SYSTEM},
    "spec": {"containers": [{"name": "main", "image": "trainer:1"}]},
}


@dataclass(frozen=True)
class Kubectl:
    """An administrator's. Blocks: nothing that a test waits for lives in its own process."""

    plane: Plane
    home: Path

    def __call__(self, line: str, given: str = "", code: int = 0) -> str:
        """What one command prints, on standard output, or as an error if `code` is not 0."""
        environment = {"PATH": os.defpath, "HOME": str(self.home), "KUBECONFIG": str(self.plane.kubeconfig)}
        command = [tool("kubectl"), *line.split()]
        done = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, f"kubectl {line}: {done.stdout}{done.stderr}"
        return done.stderr if code else done.stdout

    def get(self, what: str) -> Any:
        return yaml.safe_load(self(f"get {what} -o yaml"))


@pytest.fixture(scope="module")
def plane(plane_programs: Say, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with Plane(tmp_path_factory.mktemp("install-plane"), say=plane_programs) as plane:
        yield plane


@pytest.fixture(scope="module")
def kubectl(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """There is one node."""
    kubectl = Kubectl(plane, tmp_path_factory.mktemp("home"))
    kubectl("create -f -", yaml.safe_dump(NodeClass(gpus=0).manifest("plain")))
    kubectl("wait --for=condition=Ready node/plain --timeout=30s")
    return kubectl


@pytest.fixture
def applied(plane: Plane, kubectl: Kubectl) -> Iterator[str]:
    """The file was applied, on what the test before has left: what kubectl said. No job is left afterwards."""
    yield apply(plane, kubectl)
    kubectl("delete deployment first-job --ignore-not-found")


def apply(plane: Plane, kubectl: Kubectl) -> str:
    said = kubectl(f"apply --validate=strict -f {INSTALL}")
    if "trainingjobs.apportion.dev created" in said:
        # Until the garbage collector knows a kind, what objects of that kind own outlives them.
        plane.restart_controllers()
    return said


@asynccontextmanager
async def operating(plane: Plane, folder: Path) -> AsyncIterator[None]:
    """What a pod of the Deployment would run, with its identity alone."""
    operator = Operator(plane.service_account_kubeconfig(SYSTEM, OPERATOR), folder)
    operator.start()
    try:
        await is_ready(operator)
        yield
    finally:
        operator.stop()


async def first_job(plane: Plane, kubectl: Kubectl, folder: Path) -> set[str]:
    """It runs with all four replicas, and its operator has gone. The uids of its pods."""
    kubectl(f"apply -f {FIRST_JOB}")
    async with operating(plane, folder):
        kubectl("wait --for=condition=Running tj/first-job --timeout=30s")
        kubectl("wait --for=jsonpath={.status.replicas}=4 tj/first-job --timeout=30s")
    return running(kubectl)


def running(kubectl: Kubectl) -> set[str]:
    pods = kubectl.get("pods -l apportion.dev/job=first-job")["items"]
    return {pod["metadata"]["uid"] for pod in pods if pod["status"].get("phase") == "Running"}


def written(kubectl: Kubectl) -> dict[str, Any]:
    """What the file's objects hold that somebody wrote, by kind and name, with the count of changes of their spec.

    kubectl's own "unchanged" is no measure: of a PodDisruptionBudget and of a definition with a fraction in it, it says
    "configured" each time, and nothing is changed.
    """
    found = {}
    for obj in kubectl.get(f"-f {INSTALL}")["items"]:
        for name in ("resourceVersion", "managedFields", "annotations"):
            obj["metadata"].pop(name, None)
        obj.pop("status", None)
        found[f"{obj['kind']} {obj['metadata']['name']}"] = obj
    return found


def documented(command: str) -> list[str]:
    """The lines of the code block in docs/tasks.md that begins with this command, without `kubectl`."""
    (block,) = (block for block in re.findall(r"^```\w*\n(.*?)^```$", TASKS, re.M | re.S) if block.startswith(command))
    return [line.removeprefix("kubectl ") for line in block.splitlines()]


async def test_a_first_apply_creates_everything_a_second_nothing_and_a_delete_takes_the_jobs_along(
    applied: str, plane: Plane, kubectl: Kubectl, tmp_path: Path
) -> None:
    everything = [document["kind"] for document in yaml.safe_load_all(INSTALL.read_text()) if document]
    assert [line.split()[-1] for line in applied.splitlines()] == ["created"] * len(everything)
    kubectl(f"-n {SYSTEM} rollout status deployment/apportion --timeout=30s")
    assert "violates PodSecurity" in kubectl("create -f -", yaml.safe_dump(PLAIN_POD), code=1)
    assert len(await first_job(plane, kubectl, tmp_path)) == 4
    before = written(kubectl)
    assert "created" not in apply(plane, kubectl)
    assert written(kubectl) == before
    kubectl(f"delete -f {INSTALL}")
    assert kubectl("get crd -o name") == ""
    await until(lambda: kubectl("get deployments,pods -o name") == "", "the job's Deployment and pods are gone")


async def test_a_newer_file_brings_its_definitions_and_leaves_jobs_as_they_are(
    applied: str, plane: Plane, kubectl: Kubectl, tmp_path: Path
) -> None:
    uids = await first_job(plane, kubectl, tmp_path)
    newer = tmp_path / "newer.yaml"
    documents = [document for document in yaml.safe_load_all(INSTALL.read_text()) if document]
    for document in documents:
        if document["metadata"]["name"] == "trainingjobs.apportion.dev":
            columns = document["spec"]["versions"][0]["additionalPrinterColumns"]
            columns.append({"name": "New", "type": "string", "jsonPath": ".metadata.uid"})
    newer.write_text(yaml.safe_dump_all(documents))
    before = kubectl.get("tj first-job")
    others = written(kubectl)
    kubectl(f"apply -f {newer}")
    assert [name for name, obj in written(kubectl).items() if obj != others[name]] == [JOBS]
    assert kubectl("get tj first-job").splitlines()[0].split()[-1] == "NEW"
    async with operating(plane, tmp_path):
        kubectl("annotate tj first-job seen=yes")
    after = kubectl.get("tj first-job")
    assert after["status"] == before["status"]
    assert running(kubectl) == uids


async def test_the_documented_removal_leaves_jobs_and_even_replaces_their_pods(
    applied: str, plane: Plane, kubectl: Kubectl, tmp_path: Path
) -> None:
    uids = await first_job(plane, kubectl, tmp_path)
    for line in documented("kubectl delete namespace"):
        kubectl(line)
    assert kubectl("get clusterrole,clusterrolebinding -l app.kubernetes.io/name=apportion -o name") == ""
    assert running(kubectl) == uids
    assert kubectl.get("tj first-job")["status"]["admission"]["replicas"] == 4
    await pods_are_replaced(kubectl, uids)


async def pods_are_replaced(kubectl: Kubectl, uids: set[str]) -> None:
    kubectl("delete pods -l apportion.dev/job=first-job")

    def replaced() -> bool:
        now = running(kubectl)
        return len(now) == len(uids) and not now & uids

    await until(replaced, "new pods of the job run", told=lambda: kubectl("describe replicasets"))


async def test_helm_takes_over_and_its_uninstall_leaves_jobs_that_replace_their_pods(
    applied: str, plane: Plane, kubectl: Kubectl, helm: Path, tmp_path: Path
) -> None:
    uids = await first_job(plane, kubectl, tmp_path)
    release = Release(helm, plane, tmp_path, SYSTEM)
    release.install()
    kubectl(f"-n {SYSTEM} rollout status deployment/apportion --timeout=30s")
    release.uninstall()
    assert kubectl(f"get deployments -n {SYSTEM} -o name") == ""
    assert running(kubectl) == uids
    await pods_are_replaced(kubectl, uids)
    for line in documented("kubectl delete crd"):
        kubectl(line)
    assert kubectl("get crd -o name") == ""
