"""The chart as users meet it: real Helm installs, upgrades, rolls back and uninstalls it, and jobs go on meanwhile."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apportion.kube.client import Refused, connect
from apportion.kube.kinds import JOB, NODE, POD
from controlplane.plane import Plane
from controlplane.releases import CHART, Release
from integration.cluster import Cluster, cluster_on
from integration.manifests import DEFINITION, namespace
from integration.operator_process import Operator, is_ready
from integration.real_plane import RealPlane

# The other tests share a class of this name, which an uninstall would take from them.
OWN = "trainingPriorityClass.create=false"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture
async def cluster(real_plane: Plane, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A node without accelerators is there, and no operator."""
    plane = RealPlane(tmp_path, real_plane)
    plane.start()
    try:
        async with cluster_on(plane) as cluster:
            await cluster.plain_node()
            yield cluster
    finally:
        plane.stop()


@pytest.fixture
async def release(cluster: Cluster, helm: Path, real_plane: Plane, tmp_path: Path) -> Release:
    """Not installed yet; its namespace takes only pods of the restricted pod security."""
    system = f"system-{cluster.token}"
    made = namespace(system)
    made["metadata"]["labels"] = RESTRICTED
    await cluster.api.request("POST", "/api/v1/namespaces", body=made)
    return Release(helm, real_plane, tmp_path, system, f"apportion-{cluster.token}")


async def started(release: Release, folder: Path) -> Operator:
    """What a pod of the release would run, with its identity alone."""
    kubeconfig = release.plane.service_account_kubeconfig(release.namespace, release.name)
    operator = Operator(kubeconfig, folder, "--namespace", release.namespace)
    operator.start()
    await is_ready(operator)
    return operator


async def test_the_service_account_reads_what_a_decision_needs_and_no_secrets(
    cluster: Cluster, release: Release
) -> None:
    await asyncio.to_thread(release.install, OWN)
    try:
        kubeconfig = release.plane.service_account_kubeconfig(release.namespace, release.name)
        async with await connect(str(kubeconfig)) as operator:
            for kind in (JOB, NODE):
                assert (await operator.get(kind.path()))["kind"] == f"{kind.name}List"
            with pytest.raises(Refused, match="secrets is forbidden"):
                await operator.get("/api/v1/secrets")
    finally:
        await asyncio.to_thread(release.uninstall)


async def test_jobs_go_on_through_upgrade_rollback_and_uninstall(
    cluster: Cluster, release: Release, tmp_path: Path
) -> None:
    await asyncio.to_thread(release.install, OWN, "replicas=2")
    await cluster.until(lambda: ready_pods(cluster, release, 2), "both pods of the chart pass admission and run")
    operator = await started(release, tmp_path)
    try:
        await cluster.nodes(gpus=4)
        await cluster.submit("job", (1, 3))
        before = await cluster.expect("job", phase="Running", granted=3)
        uids = await cluster.uids("job")
        untouched = (await cluster.get("Deployment", "job"))["metadata"]["generation"]
        for change in (lambda: release.upgrade(OWN, "podLabels.version=two"), release.rollback):
            await asyncio.to_thread(change)
            operator.stop()
            operator = await started(release, tmp_path)
            await cluster.submit("next", (1, 1))
            await cluster.expect("next", phase="Running")
            await cluster.delete("TrainingJob", "next")
            after = await cluster.expect("job", phase="Running", granted=3)
            assert after["status"]["admission"] == before["status"]["admission"]
            assert await cluster.uids("job") == uids
            assert (await cluster.get("Deployment", "job"))["metadata"]["generation"] == untouched
    finally:
        operator.stop()
        await asyncio.to_thread(release.uninstall)
    await cluster.until(lambda: ready_pods(cluster, release, 0), "the chart's own pods are gone")
    assert await cluster.uids("job") == uids
    assert (await cluster.get("TrainingJob", "job"))["status"]["admission"] == before["status"]["admission"]


async def test_an_upgrade_brings_the_definitions_of_its_version(
    cluster: Cluster, release: Release, tmp_path: Path
) -> None:
    """And an uninstall leaves them: with them every TrainingJob would go."""
    path = DEFINITION.path(name="queues.apportion.dev")
    older = tmp_path / "older"
    shutil.copytree(CHART, older)
    file = older / "files" / "crds" / "queues.yaml"
    definition = yaml.safe_load(file.read_text())
    columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
    definition["spec"]["versions"][0]["additionalPrinterColumns"] = columns[:1]
    file.write_text(yaml.safe_dump(definition))

    async def printed() -> Any:
        return (await cluster.api.get(path))["spec"]["versions"][0]["additionalPrinterColumns"]

    await asyncio.to_thread(release.install, OWN, "replicas=0", chart=older)
    try:
        assert await printed() == columns[:1]
        await asyncio.to_thread(release.upgrade, OWN, "replicas=0")
        assert await printed() == columns
    finally:
        await asyncio.to_thread(release.uninstall)
    assert await printed() == columns


async def ready_pods(cluster: Cluster, release: Release, count: int) -> bool:
    pods: list[Any] = (await cluster.api.get(POD.path(release.namespace)))["items"]
    ready = [pod for pod in pods if pod["status"].get("phase") == "Running"]
    return len(pods) == count == len(ready)
