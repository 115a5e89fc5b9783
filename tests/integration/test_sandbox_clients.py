"""The two client libraries that Apportion uses, against the sandbox: kopf, in its own process, and kubernetes.aio."""

import asyncio
import sys

import pytest

from apportion.sandbox import ManualClock, Sandbox, deployment, pod
from fault_proxy import FaultProxy

OPERATOR = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = 60

@kopf.on.event("", "v1", "configmaps")
def seen(type, name, body, **_):
    print(type, name, (body.get("data") or {}).get("x"), flush=True)
"""


def config(name, x):
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"x": x}}


async def expect(process, line):
    """Read the operator's output up to a line. kopf repeats what it lists, so other lines may come before."""
    async with asyncio.timeout(4):
        while (await process.stdout.readline()).decode().strip() != line:
            assert process.returncode is None


async def test_kopf_sees_replay_updates_and_deletions_and_survives_cuts_and_410(sandbox, tmp_path):
    (tmp_path / "handlers.py").write_text(OPERATOR)
    async with FaultProxy(sandbox.url) as proxy:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(sandbox.kubeconfig().replace(sandbox.url, proxy.url))
        sandbox.store.apply(config("a", "1"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kopf", "run", "--quiet", "-A", "handlers.py",
            cwd=tmp_path, env={"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await expect(process, "None a 1")
            sandbox.store.apply(config("a", "2"))
            await expect(process, "MODIFIED a 2")
            sandbox.store.apply(config("b", "1"))
            await expect(process, "ADDED b 1")
            sandbox.store.delete("configmaps", "default", "b")
            await expect(process, "DELETED b 1")
            sandbox.end_watches()
            sandbox.store.apply(config("a", "3"))
            sandbox.compact()
            await expect(process, "None a 3")
            assert proxy.writes() == []
        finally:
            process.terminate()
            await process.communicate()


@pytest.fixture
async def client(sandbox, tmp_path):
    aio = pytest.importorskip("kubernetes.aio")
    path = tmp_path / "kubeconfig"
    path.write_text(sandbox.kubeconfig())
    configuration = aio.client.Configuration()
    await aio.config.load_kube_config(str(path), client_configuration=configuration)
    async with aio.client.ApiClient(configuration) as client:
        yield client


async def raw(client, method, path, body=None, kind="application/json"):
    """One request through the client's own stack, its reply as JSON."""
    headers = {"Accept": "application/json", "Content-Type": kind}
    reply = await client.call_api(
        path, method, header_params=headers, body=body, auth_settings=["BearerToken"],
        _preload_content=False, response_type="object",
    )  # fmt: skip
    return await reply.json()


async def test_the_kubernetes_client_reads_its_models_and_raw_json(sandbox, client):
    from kubernetes.aio import client as api

    sandbox.store.apply(pod("p"))
    sandbox.store.apply(deployment("d"))
    pods = await api.CoreV1Api(client).list_namespaced_pod("default", label_selector="!app")
    assert [each.metadata.name for each in pods.items] == ["p"]
    found = await api.AppsV1Api(client).read_namespaced_deployment("d", "default")
    assert found.spec.replicas == 1


async def test_leases_change_hands_only_with_the_present_revision(sandbox, client):
    from kubernetes.aio import client as api

    leases = api.CoordinationV1Api(client)
    body = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 5}}
    first = await leases.create_namespaced_lease("default", body)
    body["metadata"]["resourceVersion"] = first.metadata.resource_version
    body["spec"]["holderIdentity"] = "b"
    await leases.replace_namespaced_lease("leader", "default", body)
    with pytest.raises(api.ApiException) as refused:
        await leases.replace_namespaced_lease("leader", "default", body)
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")
    assert sandbox.store.get("leases", "default", "leader")["spec"]["holderIdentity"] == "b"


def test_a_manual_clock_needs_no_loop():
    assert Sandbox(clock=ManualClock()).store.apply(pod("p"))["metadata"]["creationTimestamp"] == "2027-01-15T08:00:00Z"
