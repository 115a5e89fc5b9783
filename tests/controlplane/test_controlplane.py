"""The real control plane does what a cluster does: nodes, pods, schemas, rights, outages."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from apportion.kube.client import Api, Refused, Unreachable, connect
from apportion.kube.kinds import DEPLOYMENT, JOB, NODE, POD
from apportion.sandbox import container, deployment
from controlplane import probe
from controlplane.components import DEFAULT_SCHEDULER, GPU, PACKING_SCHEDULER
from controlplane.nodes import NodeClass, add_nodes, remove_nodes, until_ready
from controlplane.plane import Plane

CRDS = sorted((Path(__file__).parents[2] / "crds").glob("*.yaml"))
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SELF_REVIEW = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
MERGE = "application/merge-patch+json"
PATIENCE_SECONDS = 60


@pytest.fixture
async def api(real_plane: Plane) -> AsyncIterator[Api]:
    async with await connect(str(real_plane.kubeconfig)) as api:
        yield api


@pytest.fixture
async def space(api: Api) -> AsyncIterator[str]:
    """A namespace of the test's own, with the ServiceAccount `worker`."""
    name = f"team-{secrets.token_hex(3)}"
    await api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    await api.create(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "worker"}})

    async def admits_pods() -> bool:
        accounts = await api.get(f"/api/v1/namespaces/{name}/serviceaccounts")
        return "default" in [account["metadata"]["name"] for account in accounts["items"]]

    await until(admits_pods, "the namespace's default ServiceAccount exists")
    yield name
    await api.request("DELETE", f"/api/v1/namespaces/{name}")


async def until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := await holds()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)
    return value


@contextlib.asynccontextmanager
async def nodes_of(api: Api, count: int, sort: NodeClass) -> AsyncIterator[list[str]]:
    names = await add_nodes(api, count, sort, prefix=f"n-{secrets.token_hex(3)}")
    await until_ready(api, names)
    yield names
    await remove_nodes(api, names)


async def running(api: Api, space: str, count: int) -> list[Any]:
    """The pods of a namespace, as soon as `count` of them run."""

    async def run() -> list[Any]:
        pods = (await api.get(POD.path(space)))["items"]
        return pods if [pod["status"]["phase"] for pod in pods] == ["Running"] * count else []

    pods: list[Any] = await until(run, f"{count} pods run")
    return pods


def gpu_pods(space: str, replicas: int, gpus: int, product: str) -> dict[str, Any]:
    chosen = {"nvidia.com/gpu.product": product}
    return deployment("train", replicas, space, {"containers": [container(GPU, gpus)], "nodeSelector": chosen})


async def test_nodes_become_ready_with_what_their_class_says(api: Api) -> None:
    taint = {"key": "dedicated", "value": "training", "effect": "NoSchedule"}
    sort = NodeClass("NVIDIA-L4", gpus=2, cpu="48", memory="192Gi", zone="west-a", taints=(taint,))
    async with nodes_of(api, 20, sort) as names:
        found = await api.get(NODE.path(name=names[-1]))
    assert len(names) == 20
    assert found["status"]["allocatable"] | {GPU: "2", "cpu": "48", "memory": "192Gi"} == found["status"]["allocatable"]
    assert found["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-L4"
    assert found["metadata"]["labels"]["topology.kubernetes.io/zone"] == "west-a"
    assert found["spec"]["taints"] == [taint]


async def test_plane_is_found_to_work_though_its_kubelets_forgot_a_pod(api: Api, real_plane: Plane) -> None:
    forgotten = {**probe.POD, "spec": {**probe.POD["spec"], "nodeName": "no-such-node"}}
    await api.create(probe.PODS, forgotten)

    async def works() -> bool:
        return await asyncio.to_thread(probe.probe, real_plane.admin)

    # The garbage collector takes such a pod away as well, but after 40 s at the earliest.
    await until(works, "a pod runs on a node", 20)


async def test_deployment_runs_as_many_pods_as_there_are_gpus(api: Api, space: str) -> None:
    product = f"NVIDIA-{space}"
    async with nodes_of(api, 2, NodeClass(product)) as names:
        await api.create(DEPLOYMENT.path(space), gpu_pods(space, 4, 4, product))
        pods = await running(api, space, 4)
        # Two pods of four GPUs on each node of eight: the scheduler counts them.
        assert sorted(pod["spec"]["nodeName"] for pod in pods) == sorted(names * 2)
        await api.request("PATCH", DEPLOYMENT.path(space, "train"), None, {"spec": {"replicas": 5}}, MERGE)

        async def one_too_many() -> list[Any]:
            pods = (await api.get(POD.path(space)))["items"]
            conditions = [each for pod in pods for each in pod["status"].get("conditions", [])]
            return [each["message"] for each in conditions if each.get("reason") == "Unschedulable"]

        assert f"Insufficient {GPU}" in (await until(one_too_many, "the fifth pod is refused"))[0]


@pytest.mark.parametrize(("scheduler", "used"), [(DEFAULT_SCHEDULER, 4), (PACKING_SCHEDULER, 1)])
async def test_pods_are_spread_or_packed_as_their_scheduler_does(
    api: Api, space: str, scheduler: str, used: int
) -> None:
    product = f"NVIDIA-{space}"
    async with nodes_of(api, 4, NodeClass(product)):
        wanted = gpu_pods(space, 4, 2, product)
        wanted["spec"]["template"]["spec"]["schedulerName"] = scheduler
        await api.create(DEPLOYMENT.path(space), wanted)
        assert len({pod["spec"]["nodeName"] for pod in await running(api, space, 4)}) == used


async def test_pod_takes_as_long_to_end_as_its_annotation_says(api: Api, space: str) -> None:
    product = f"NVIDIA-{space}"
    async with nodes_of(api, 1, NodeClass(product)):
        slow = gpu_pods(space, 1, 1, product)
        slow["spec"]["template"]["metadata"]["annotations"] = {"sandbox.apportion.dev/terminates-after": "3600"}
        await api.create(DEPLOYMENT.path(space), slow)
        [pod] = await running(api, space, 1)
        path = POD.path(space, pod["metadata"]["name"])
        await api.request("DELETE", path)
        # The successor runs while the first still ends.
        pods = await running(api, space, 2)
        assert len([pod for pod in pods if "deletionTimestamp" in pod["metadata"]]) == 1
        await api.request("DELETE", path, {"gracePeriodSeconds": "0"})


async def definitions(api: Api) -> None:
    """Install the three CRDs, if no earlier test has done it, and wait until they are served."""
    for path in CRDS:
        with contextlib.suppress(Refused):
            await api.create(DEFINITIONS, yaml.safe_load(path.read_text()))

    async def established() -> bool:
        found = [each for each in (await api.get(DEFINITIONS))["items"] if each["spec"]["group"] == JOB.group]
        # For a moment a new definition has null there.
        conditions = [each.get("status", {}).get("conditions") or [] for each in found]
        return sum((c["type"], c["status"]) == ("Established", "True") for each in conditions for c in each) == 3

    await until(established, "three CustomResourceDefinitions are established")


def training_job(minimum: int, maximum: int) -> dict[str, Any]:
    template = {"spec": {"containers": [container(GPU, 1)]}}
    spec = {"minReplicas": minimum, "maxReplicas": maximum, "template": template}
    return {"apiVersion": f"{JOB.group}/{JOB.version}", "kind": JOB.name, "metadata": {"name": "job"}, "spec": spec}


async def test_crds_are_established_and_a_broken_cel_rule_is_refused(api: Api, space: str) -> None:
    await definitions(api)
    with pytest.raises(Refused, match="minReplicas must not be above maxReplicas") as refused:
        await api.create(JOB.path(space), training_job(4, 2))
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    stored = await api.create(JOB.path(space), training_job(2, 4))
    assert stored["spec"]["maxReplicas"] == 4


async def grant(api: Api, space: str, *rules: dict[str, list[str]]) -> None:
    """Give the ServiceAccount `worker` these rights in its namespace."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{space}"
    await api.create(f"{rbac}/roles", {"metadata": {"name": "worker"}, "rules": list(rules)})
    binding = {
        "metadata": {"name": "worker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "worker"},
        "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": space}],
    }
    await api.create(f"{rbac}/rolebindings", binding)


async def test_service_account_may_do_what_it_was_granted_and_no_more(api: Api, space: str, real_plane: Plane) -> None:
    await grant(api, space, {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})
    kubeconfig = real_plane.service_account_kubeconfig(space, "worker")
    async with await connect(str(kubeconfig)) as worker:
        # The authorizer learns of new roles by a watch of its own.
        async def granted() -> bool:
            with contextlib.suppress(Refused):
                return bool((await worker.get(POD.path(space)))["kind"] == "PodList")
            return False

        await until(granted, "the role is in force")
        with pytest.raises(Refused, match=f"system:serviceaccount:{space}:worker") as refused:
            await worker.request("DELETE", POD.path(space, "any"))
        assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
        with pytest.raises(Refused, match="at the cluster scope"):
            await worker.get(NODE.path())
    asked = {(event["verb"], event["responseStatus"]["code"]) for event in real_plane.audit(account(space))}
    assert asked >= {("list", 200), ("delete", 403), ("list", 403)}


def account(space: str) -> str:
    return f"system:serviceaccount:{space}:worker"


async def test_blocking_owner_needs_rights_on_its_finalizers(api: Api, space: str, real_plane: Plane) -> None:
    """As on OpenShift: a forgotten right of the chart shows here, not first there."""
    config_maps = f"/api/v1/namespaces/{space}/configmaps"
    owner = await api.create(DEPLOYMENT.path(space), deployment("owner", 0, space))
    await grant(api, space, {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]})
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "owner", "uid": owner["metadata"]["uid"]}
    async with await connect(str(real_plane.service_account_kubeconfig(space, "worker"))) as worker:

        async def granted() -> bool:
            with contextlib.suppress(Refused):
                await worker.create(
                    config_maps, {"metadata": {"generateName": "plain-", "ownerReferences": [reference]}}
                )
                return True
            return False

        await until(granted, "the role is in force")
        blocking = {**reference, "blockOwnerDeletion": True}
        with pytest.raises(Refused, match="cannot set blockOwnerDeletion") as refused:
            await worker.create(config_maps, {"metadata": {"name": "blocking", "ownerReferences": [blocking]}})
    assert refused.value.code == 403


async def test_outage_keeps_data_and_tokens_and_a_compaction_in_it_ends_old_watches(
    api: Api, space: str, real_plane: Plane
) -> None:
    """One test of three things: after each outage the components take longer to come back, up to half a minute."""
    path = f"/api/v1/namespaces/{space}/configmaps"
    old = (await api.create(path, {"metadata": {"name": "old"}}))["metadata"]["resourceVersion"]
    before = await api.create(path, {"metadata": {"name": "kept"}, "data": {"a": "1"}})
    kubeconfig = real_plane.service_account_kubeconfig(space, "worker")
    pid, url = real_plane.apiserver.pid, real_plane.admin.url

    await asyncio.to_thread(real_plane.stop_apiserver)
    with pytest.raises(Unreachable):
        await api.get(path)
    assert await asyncio.to_thread(real_plane.compact) > int(old)
    await asyncio.to_thread(real_plane.start_apiserver)

    assert (real_plane.apiserver.pid != pid, real_plane.admin.url) == (True, url)
    assert await api.get(f"{path}/kept") == before
    event = await api.get(path, {"watch": "true", "resourceVersion": old, "timeoutSeconds": "5"})
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    async with await connect(str(kubeconfig)) as worker:
        who = await worker.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", SELF_REVIEW)
    assert who["status"]["userInfo"]["username"] == account(space)
    async with nodes_of(api, 1, NodeClass(f"NVIDIA-{space}")):
        await api.create(DEPLOYMENT.path(space), gpu_pods(space, 1, 8, f"NVIDIA-{space}"))
        await running(api, space, 1)
