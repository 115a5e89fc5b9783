"""A tenant who may only edit TrainingJobs in one namespace tries what docs/security.md lists; the real authorizer,
admission and operator refuse it, and the victims go on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from apportion.kube.client import Api, Refused, connect
from apportion.kube.kinds import DEPLOYMENT, JOB, POLICY, QUEUE_KIND
from controlplane.access import Refused as AccessRefused
from controlplane.plane import Plane
from integration.cluster import Cluster, cluster_on
from integration.manifests import deployment, namespace, training_job
from integration.operator_process import Operator, is_ready
from integration.real_plane import RealPlane

EDITOR = "apportion-editor"
TENANT = "tenant"


@pytest.fixture(scope="module")
def served(real_plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealPlane, Operator]]:
    """One operator for all tests here: each has a namespace of its own."""
    folder = tmp_path_factory.mktemp("served")
    plane = RealPlane(folder, real_plane)
    plane.start()
    operator = Operator(plane.operators_kubeconfig, folder)
    operator.start()
    yield plane, operator
    operator.stop()
    plane.stop()


@pytest.fixture
async def cluster(served: tuple[RealPlane, Operator]) -> AsyncIterator[Cluster]:
    plane, operator = served
    await is_ready(operator)
    async with cluster_on(plane, operator) as cluster:
        yield cluster


@pytest.fixture
async def tenant(cluster: Cluster, real_plane: Plane) -> AsyncIterator[Api]:
    """An identity with the chart's editor role in the test's namespace, and nothing else."""
    space = cluster.namespace
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": TENANT}}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": TENANT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": EDITOR},
        "subjects": [{"kind": "ServiceAccount", "name": TENANT, "namespace": space}],
    }
    await cluster.api.request("POST", f"/api/v1/namespaces/{space}/serviceaccounts", body=account)
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{space}/rolebindings"
    await cluster.api.request("POST", path, body=binding)
    async with await connect(str(real_plane.service_account_kubeconfig(space, TENANT))) as api:
        yield api


async def submit(tenant: Api, job: Any) -> Any:
    return await tenant.request("POST", JOB.path(job["metadata"]["namespace"]), body=job)


def referring(cluster: Cluster, name: str, to: str, **spec: Any) -> Any:
    return training_job(cluster.namespace, name, (1, 2), 0, workloadRef={"name": to}, **spec)


def written_by(deployment: Any) -> tuple[Any, set[str]]:
    """What a Deployment asks for, and who wrote it other than its controller."""
    managers = {entry["manager"] for entry in deployment["metadata"]["managedFields"]}
    return deployment["spec"], managers - {"kube-controller-manager"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", DEPLOYMENT.path("{mine}")),
        ("POST", QUEUE_KIND.path()),
        ("POST", POLICY.path()),
        ("POST", JOB.path("default")),
        ("PATCH", JOB.path("{mine}", "any", "status")),
        ("GET", "/api/v1/namespaces/{mine}/secrets"),
        ("GET", "/api/v1/nodes"),
    ],
)
async def test_the_editor_role_reaches_nothing_else(cluster: Cluster, tenant: Api, method: str, path: str) -> None:
    with pytest.raises(Refused) as refused:
        await tenant.request(method, path.format(mine=cluster.namespace), body=None if method == "GET" else {})
    assert refused.value.code == 403


async def test_a_deployment_of_another_namespace_cannot_be_named(cluster: Cluster, tenant: Api) -> None:
    other = f"victim-{cluster.token}"
    await cluster.api.request("POST", "/api/v1/namespaces", body=namespace(other))
    victim = deployment(other, "train", 0, 1)
    await cluster.api.request("POST", DEPLOYMENT.path(other), body=victim)
    before = await cluster.get("Deployment", "train", other)
    await cluster.nodes()
    with pytest.raises(Refused, match=r"spec\.workloadRef\.name") as refused:
        await submit(tenant, referring(cluster, "a", f"{other}/train"))
    assert refused.value.code == 422
    with pytest.raises(Refused, match="namespace") as refused:
        await tenant.request("POST", JOB.path(cluster.namespace), body=training_job(other, "b", (1, 1), 1))
    assert refused.value.code == 400
    await submit(tenant, referring(cluster, "c", "train"))
    await cluster.expect("c", refused="WorkloadNotFound")
    assert written_by(await cluster.get("Deployment", "train", other)) == written_by(before)


async def test_a_deployment_that_did_not_opt_in_is_left_alone(cluster: Cluster, tenant: Api) -> None:
    await cluster.nodes()
    await cluster.deploy("web", replicas=1, managed=False)
    before = await cluster.get("Deployment", "web")
    await submit(tenant, referring(cluster, "grabs", "web"))
    await cluster.expect("grabs", refused="WorkloadNotManaged")
    # A template of the same name would replace it.
    await submit(tenant, training_job(cluster.namespace, "web", (1, 1), 1))
    await cluster.expect("web", refused="WorkloadConflict")
    assert written_by(await cluster.get("Deployment", "web")) == written_by(before)


async def test_another_teams_queue_and_the_top_class_are_refused(cluster: Cluster, tenant: Api) -> None:
    await cluster.nodes()
    theirs, open_ = f"theirs-{cluster.token}", f"open-{cluster.token}"
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "somebody-else"}}
    await cluster.queue(theirs, {cluster.flavor: 8}, namespaceSelector=selector)
    await cluster.queue(open_, {cluster.flavor: 8}, allowedPriorityClasses=[])
    await submit(tenant, training_job(cluster.namespace, "jumps", (1, 1), 1, queueName=theirs))
    await cluster.expect("jumps", refused="QueueForbidden", granted=0)
    top = training_job(cluster.namespace, "top", (1, 1), 1, queueName=open_, priorityClassName="system-node-critical")
    await submit(tenant, top)
    await cluster.expect("top", refused="PriorityForbidden", granted=0)


async def test_forged_status_and_annotations_decide_nothing(cluster: Cluster, tenant: Api) -> None:
    await cluster.nodes(gpus=2)
    forged = training_job(cluster.namespace, "forged", (4, 4), 1)
    admission = {"flavor": cluster.flavor, "replicas": 4, "round": 1, "since": "2020-01-01T00:00:00Z"}
    forged["status"] = {"phase": "Running", "admission": admission, "queuedSince": "2001-01-01T00:00:00Z"}
    notes = {"apportion.dev/decision": "1", "apportion.dev/granted": "4", "apportion.dev/flavor": cluster.flavor}
    forged["metadata"]["annotations"] = notes
    created = await submit(tenant, forged)
    assert "status" not in created
    await cluster.expect("forged", refused="GangTooLarge", granted=0)
    assert await cluster.get("Deployment", "forged") is None or not await cluster.pods("forged")


async def test_labels_of_a_template_do_not_make_its_pods_another_jobs(cluster: Cluster, tenant: Api) -> None:
    await cluster.nodes(gpus=4)
    await cluster.submit("victim", (1, 1))
    await cluster.expect("victim", phase="Running")
    uids = await cluster.uids("victim")
    thief = training_job(cluster.namespace, "thief", (1, 1), 1)
    thief["spec"]["template"]["metadata"]["labels"] = {"apportion.dev/job": "victim"}
    await submit(tenant, thief)
    await cluster.expect("thief", phase="Running")
    await cluster.expect("victim", phase="Running", ready=1)
    assert await cluster.uids("victim") == uids


@pytest.mark.parametrize(
    ("where", "codes"),
    [("annotation", {422}), ("template", {400, 413, 422}), ("steps", {422})],
    ids=lambda value: str(value),
)
async def test_huge_objects_are_refused_and_others_go_on(
    cluster: Cluster, tenant: Api, real_plane: Plane, where: str, codes: set[int]
) -> None:
    huge = training_job(cluster.namespace, "huge", (1, 1), 1)
    if where == "annotation":
        huge["metadata"]["annotations"] = {"note": "x" * 300_000}
    elif where == "template":
        huge["spec"]["template"]["metadata"]["annotations"] = {"note": "x" * 4_000_000}
    else:
        huge["spec"]["replicaSteps"] = list(range(1, 100_000))
    access = real_plane.admin.of_service_account(cluster.namespace, TENANT)
    # The operator's own client warns of a body of this size.
    with pytest.raises(AccessRefused) as refused:
        await asyncio.to_thread(access.request, "POST", JOB.path(cluster.namespace), huge)
    assert refused.value.code in codes
    await cluster.nodes()
    await cluster.submit("other")
    await cluster.expect("other", phase="Running")


async def test_a_template_gets_no_more_than_a_deployment_would(cluster: Cluster, tenant: Api) -> None:
    """Pod security admission judges its pods like all others, and the API server its Deployment."""
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    path = f"/api/v1/namespaces/{cluster.namespace}"
    await cluster.api.request("PATCH", path, {}, label, "application/merge-patch+json")
    await cluster.nodes()
    host = training_job(cluster.namespace, "host", (1, 1), 1)
    host["spec"]["template"]["spec"]["hostNetwork"] = True
    await submit(tenant, host)
    await cluster.expect("host", degraded="PodsRefused", says="violates PodSecurity")
    assert await cluster.pods("host") == []
    root = training_job(cluster.namespace, "root", (1, 1), 1)
    root["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    await submit(tenant, root)
    await cluster.expect("root", degraded="WorkloadRefused", granted=0, says="disallowed by cluster policy")
    assert await cluster.pods("root") == []
