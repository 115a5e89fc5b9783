"""kubectl against the sandbox, as a user would try it first."""

import asyncio
import json

import pytest
import yaml

from apportion.sandbox import container, deployment, gpu_node
from tools import tool

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.dev}
spec:
  group: example.dev
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, minimum: 1, default: 3, description: How big it is.}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
WIDGET = "{apiVersion: example.dev/v1, kind: Widget, metadata: {name: w}, spec: {size: %s}}"


class Kubectl:
    """Runs kubectl with the sandbox's kubeconfig."""

    def __init__(self, home, kubeconfig):
        self.path = home / "kubeconfig"
        self.path.write_text(kubeconfig)
        self.environment = {"KUBECONFIG": str(self.path), "HOME": str(home)}

    async def start(self, *words, **options):
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            tool("kubectl"), *words, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment, **options
        )

    async def __call__(self, line, given="", code=0):
        """The output of one command: its standard output, or its error output if `code` is not 0."""
        process = await self.start(*line.split())
        out, err = await process.communicate(given.encode())
        assert process.returncode == code, err.decode()
        return (err if code else out).decode()


@pytest.fixture
def kubectl(tmp_path, sandbox):
    return Kubectl(tmp_path, sandbox.kubeconfig())


def web(replicas):
    return yaml.safe_dump(deployment("web", replicas, spec={"containers": [container("nvidia.com/gpu", 1)]}))


async def test_a_deployment_is_applied_changed_scaled_waited_for_and_deleted(kubectl, sandbox):
    sandbox.store.apply(gpu_node("n"))
    assert await kubectl("apply -f -", web(2)) == "deployment.apps/web created\n"
    assert await kubectl("apply -f -", web(2)) == "deployment.apps/web unchanged\n"
    assert await kubectl("apply -f -", web(3)) == "deployment.apps/web configured\n"
    assert "condition met" in await kubectl("wait --for=condition=Available deployment/web --timeout=4s")
    await kubectl("rollout status deployment/web --timeout=4s")
    assert (await kubectl("get deployment web")).splitlines()[1].split()[:4] == ["web", "3/3", "3", "3"]
    await kubectl("scale deployment/web --replicas=1")
    await sandbox.wait_for(lambda: len(sandbox.store.list("pods")) == 1)
    await kubectl("delete deployment web --timeout=4s")
    await sandbox.wait_for(lambda: not sandbox.store.list("pods"))


async def test_pods_and_nodes_are_shown(kubectl, sandbox):
    sandbox.store.apply(gpu_node("n"))
    sandbox.store.apply(deployment("web", 9, spec={"containers": [container("nvidia.com/gpu", 1)]}))
    await sandbox.wait_for(lambda: sandbox.store.get("deploy", "default", "web")["status"].get("readyReplicas") == 8)
    lines = (await kubectl("get pods -o wide -l app=web")).splitlines()
    assert lines[0].split()[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert sorted(line.split()[2] for line in lines[1:]) == ["Pending"] + ["Running"] * 8
    assert "Ready" in (await kubectl("get nodes")).splitlines()[1]
    pending = next(line.split()[0] for line in lines if "Pending" in line)
    described = await kubectl(f"describe pod {pending}")
    assert "FailedScheduling" in described
    assert "0/1 nodes are available: 1 Insufficient nvidia.com/gpu" in described
    assert "nvidia.com/gpu" in (await kubectl("describe node n")).split("Allocated resources")[1]


async def test_custom_resources_have_columns_defaults_and_explanations(kubectl):
    await kubectl("apply -f -", CRD)
    await kubectl("wait --for=condition=Established crd/widgets.example.dev --timeout=4s")
    await kubectl("apply -f -", WIDGET % "null")
    assert (await kubectl("get wd")).split()[:6] == ["NAME", "SIZE", "READY", "AGE", "w", "3"]
    refused = await kubectl("apply -f -", WIDGET % "0", code=1)
    assert "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1" in refused
    assert "How big it is." in await kubectl("explain widget.spec")
    await kubectl('patch wd w --subresource=status --type=merge -p {"status":{"phase":"New"}}')
    found = json.loads(await kubectl("get wd w -o json"))
    assert (found["status"], found["metadata"]["generation"]) == ({"phase": "New"}, 1)
    assert 'widgets.example.dev "x" not found' in await kubectl("get wd x", code=1)


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("strategic", '{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"y:2"}]}}}}'),
        ("json", '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"y:2"}]'),
        ("merge", '{"metadata":{"labels":{"x":"y"}}}'),
    ],
)
async def test_patches(kubectl, sandbox, kind, patch):
    sandbox.store.apply(deployment("web"))
    await kubectl(f"patch deployment web --type={kind} -p {patch}")
    stored = sandbox.store.get("deployments", "default", "web")
    only = stored["spec"]["template"]["spec"]["containers"]
    assert (only[0]["image"], stored["metadata"]["labels"].get("x")) in (("y:2", None), ("trainer:1", "y"))


async def test_get_watch_prints_what_happens(kubectl, sandbox):
    process = await kubectl.start("get", "configmaps", "-w", "-o", "name")
    sandbox.store.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}})
    assert await asyncio.wait_for(process.stdout.readline(), 4) == b"configmap/one\n"
    sandbox.store.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}})
    assert await asyncio.wait_for(process.stdout.readline(), 4) == b"configmap/two\n"
    process.kill()
    await process.communicate()


async def test_what_is_not_supported_says_so(kubectl):
    assert "server-side apply is not supported" in await kubectl("apply --server-side -f -", web(1), code=1)
    assert "UnsupportedMediaType" in await kubectl("create namespace x", code=1)


async def test_cordon_label_and_annotate(kubectl, sandbox):
    sandbox.store.apply(gpu_node("n"))
    await kubectl("cordon n")
    assert sandbox.store.get("nodes", "", "n")["spec"]["unschedulable"] is True
    await kubectl("label node n a=b")
    await kubectl("annotate node n c=d")
    meta = sandbox.store.get("nodes", "", "n")["metadata"]
    assert (meta["labels"]["a"], meta["annotations"]["c"]) == ("b", "d")
