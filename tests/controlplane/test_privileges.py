"""No right of the operator is spare: without it something breaks, and the operator says which it lacks.

Every test of tests/integration on the real control plane runs with these rights and no others.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from apportion.kube.client import Api, connect
from apportion.kube.kinds import DEPLOYMENT, JOB, LEASE, POD
from apportion.kube.preflight import problems
from controlplane.plane import Plane
from controlplane.releases import Release
from integration.cluster import Cluster, cluster_on, operating
from integration.manifests import ROLE, SYSTEM, deployment, namespace, training_job
from integration.operator_process import Operator, is_ready, leads
from integration.real_plane import OPERATOR, WATCHED, RealPlane
from integration.waiting import until

CUSTOM = "apportion.dev"
RIGHTS = [
    *((verb, "", kind) for kind in ("nodes", "pods", "namespaces") for verb in ("list", "watch")),
    *((verb, "apps", "deployments") for verb in ("list", "watch")),
    *((verb, CUSTOM, kind) for kind in ("trainingjobs", "queues", "allocationpolicies") for verb in ("list", "watch")),
    *((verb, "scheduling.k8s.io", "priorityclasses") for verb in ("list", "watch")),
    *((verb, "autoscaling", "horizontalpodautoscalers") for verb in ("list", "watch")),
    ("create", "apps", "deployments"),
    ("patch", "apps", "deployments"),
    ("patch", "", "pods"),
    ("create", "", "events"),
    *(("patch", CUSTOM, f"{kind}/status") for kind in ("trainingjobs", "queues", "allocationpolicies")),
]
FINALIZERS = ("update", CUSTOM, "trainingjobs/finalizers")
COORDINATION = "coordination.k8s.io"
LEASES = [(verb, COORDINATION, "leases") for verb in ("create", "get", "update")]


@pytest.fixture(params=[False, True], ids=["everywhere", "namespaced"])
def plane(request: pytest.FixtureRequest, real_plane: Plane, tmp_path: Path) -> Iterator[RealPlane]:
    """As the chart installs it at its default values, and with `watchNamespaces`."""
    if request.param:
        request.getfixturevalue("helm")
    plane = RealPlane(tmp_path, real_plane, (WATCHED,) if request.param else ())
    plane.start()
    yield plane
    plane.stop()


@contextmanager
def without(plane: RealPlane, right: tuple[str, str, str]) -> Iterator[None]:
    plane.take_rights_away(right)
    try:
        yield
    finally:
        plane.give_rights_back()


def held(role: Any) -> set[tuple[str, str, str]]:
    return {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


async def test_the_operator_names_each_right_that_it_lacks(plane: RealPlane) -> None:
    """It is not ready then; tests/integration/test_operator_start.py has it as a process."""
    roles = plane.roles()
    bound = {right: space for space in plane.watched for right in held(roles[ROLE.path(space, OPERATOR)])}
    async with await connect(str(plane.operators_kubeconfig)) as api:
        await until(lambda: settled(plane, api), "the chart's rights are enough")
        for right in RIGHTS:
            verb, group, resource = right
            where = f" in namespace {bound[right]}" if right in bound else ""
            name = f"{verb} {resource}" + (f".{group}" if group else "") + where
            with without(plane, right):

                async def named(name: str = name) -> bool:
                    told = await problems(api, plane.watched)
                    return [f"this identity may not {name}: see the chart's rbac.yaml"] == told

                await until(named, f"it says that it may not {name}")
            await until(lambda: settled(plane, api), f"{name} is given back")


async def settled(plane: RealPlane, api: Api) -> bool:
    return not await problems(api, plane.watched)


async def test_the_table_has_every_right_of_the_roles_and_none_is_given_twice(plane: RealPlane) -> None:
    roles = [held(role) for role in plane.roles().values()]
    assert set().union(*roles) == {*RIGHTS, FINALIZERS, *LEASES}
    assert sum(map(len, roles)) == len(RIGHTS) + 1 + len(LEASES)


async def test_without_the_right_on_finalizers_no_deployment_gets_an_owner(plane: RealPlane) -> None:
    """The API server runs with OwnerReferencesPermissionEnforcement."""
    with without(plane, FINALIZERS):
        async with cluster_on(plane) as cluster, operating(cluster):
            await cluster.nodes()
            await cluster.submit("job")
            await cluster.expect("job", degraded="WorkloadRefused", says="cannot set blockOwnerDeletion")


@pytest.mark.parametrize("verb", ["get", "create", "update"])
@pytest.mark.parametrize("plane", [False], indirect=True, ids=["everywhere"])
async def test_without_a_right_on_its_lease_no_operator_leads_and_it_says_why(plane: RealPlane, verb: str) -> None:
    """It creates one where there is none, and updates one that is there. Its Role is the same in either mode."""
    async with cluster_on(plane) as cluster:
        if verb == "create":
            await cluster.api.request("DELETE", LEASE.path(SYSTEM, "apportion"))
        else:
            async with operating(cluster):
                pass
        await cluster.nodes()
        await cluster.submit("job")
        with without(plane, (verb, COORDINATION, "leases")):
            async with operating(cluster, ready=False) as operator:
                await cluster.until(lambda: f'cannot {verb} resource "leases"' in operator.log(), "the log says why")
                assert await leads(operator, 0.0)
                assert "status" not in await cluster.get("TrainingJob", "job")
                plane.give_rights_back()
                await cluster.expect("job", phase="Running", granted=1)


@pytest.fixture
async def narrow(real_plane: Plane, helm: Path, tmp_path: Path) -> AsyncIterator[tuple[Cluster, str]]:
    """An operator that Helm installed for one namespace, and another namespace."""
    plane = RealPlane(tmp_path, real_plane)
    plane.start()
    async with cluster_on(plane) as cluster:
        other = f"other-{cluster.token}"
        await cluster.api.request("POST", "/api/v1/namespaces", body=namespace(other))
        system = f"narrow-{cluster.token}"
        release = Release(helm, real_plane, tmp_path, system, f"apportion-{cluster.token}")
        watched = f"watchNamespaces={{{cluster.namespace}}}"
        await asyncio.to_thread(
            release.install, watched, "crds.install=false", "trainingPriorityClass.create=false", "replicas=0"
        )
        kubeconfig = real_plane.service_account_kubeconfig(system, release.name)
        operator = Operator(kubeconfig, tmp_path, "--namespace", system, "--watch-namespace", cluster.namespace)
        cluster.operators.append(operator)
        operator.start()
        try:
            await is_ready(operator)
            yield cluster, other
        finally:
            operator.stop()
            await asyncio.to_thread(release.uninstall)
            # An operator of a later test would look after what is left in it.
            await cluster.api.request("DELETE", f"/api/v1/namespaces/{other}")
            await until(lambda: nothing_in(cluster, other), "the other namespace is empty")
    plane.stop()


async def nothing_in(cluster: Cluster, space: str) -> bool:
    lists = [await cluster.api.get(kind.path(space)) for kind in (JOB, DEPLOYMENT, POD)]
    return not [item for found in lists for item in found["items"]]


async def test_in_watched_namespaces_all_goes_on_with_rights_there_alone(narrow: tuple[Cluster, str]) -> None:
    cluster, other = narrow
    await cluster.nodes(gpus=4)
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=4)
    await cluster.queue(f"q-{cluster.token}", {cluster.flavor: 2})
    await cluster.spec("job", queueName=f"q-{cluster.token}")
    await cluster.expect("job", phase="Running", granted=2, deployment=2)
    await cluster.event("job", "Shrunk")
    outside = training_job(other, "outside", (1, 1), 1)
    await cluster.api.request("POST", JOB.path(other), body=outside)
    await cluster.submit("after", (1, 1), queueName=f"q-{cluster.token}")
    await cluster.expect("after", phase="Running", granted=1)
    await cluster.calm()
    assert "status" not in await cluster.get("TrainingJob", "outside", other)


async def test_pods_outside_the_watched_namespaces_use_capacity(narrow: tuple[Cluster, str]) -> None:
    cluster, other = narrow
    await cluster.nodes(gpus=4)
    foreign = deployment(other, "foreign", 3, 1)
    await cluster.api.request("POST", DEPLOYMENT.path(other), body=foreign)

    async def placed() -> bool:
        pods = (await cluster.api.get(POD.path(other)))["items"]
        return [pod["status"].get("phase") for pod in pods] == ["Running"] * 3

    await cluster.until(placed, "the other namespace's pods run")
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=1)


async def test_a_watched_namespace_without_its_role_is_named(narrow: tuple[Cluster, str]) -> None:
    cluster, other = narrow
    command = cluster.operator.command
    kubeconfig = Path(command[command.index("--kubeconfig") + 1])
    async with await connect(str(kubeconfig)) as api:
        assert await problems(api, [cluster.namespace]) == []
        lines = await problems(api, [cluster.namespace, other])
    assert f"this identity may not create deployments.apps in namespace {other}: see the chart's rbac.yaml" in lines
    assert f"this identity may not patch pods in namespace {other}: see the chart's rbac.yaml" in lines
    assert not [line for line in lines if "nodes" in line or other not in line]
