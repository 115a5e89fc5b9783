"""The harness of the operator's tests: a control plane, operators as real processes, and a user's hands over HTTP.

Tests talk to the API server only. What a cluster does by other means than its API (a node that fails, rights that are
taken away) is in `ControlPlane` and in the functions at the end, so that the suite can run against another one.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from apportion.api.crds import crd_documents
from apportion.kube import kinds
from apportion.kube.client import Api, Refused, connect
from apportion.kube.kinds import Kind
from apportion.sandbox import Sandbox, gpu_node, node
from apportion.sandbox.manifests import container
from fault_proxy import FaultProxy, Seen

Obj = dict[str, Any]

GPU = "nvidia.com/gpu"
GROUP_VERSION = "apportion.dev/v1alpha1"
SYSTEM = "apportion-system"
MERGE_PATCH = "application/merge-patch+json"
PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.05
MANAGED = "apportion.dev/managed"
HOLD = "apportion.dev/hold"
RETRY = "apportion.dev/retry"
COMPLETED = "apportion.dev/completed"
DECISION = "apportion.dev/decision"

QUOTA = Kind("ResourceQuota", "", "v1", "resourcequotas")
CRD = Kind("CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
KINDS = {
    **kinds.BY_NAME,
    QUOTA.name: QUOTA,
    CRD.name: CRD,
    kinds.EVENT.name: kinds.EVENT,
    kinds.LEASE.name: kinds.LEASE,
}


class Wire(FaultProxy):
    """The fault proxy with a hook: `before` and `after` see each request of an operator as it comes and as it ends."""

    def __init__(self, target_url: str) -> None:
        super().__init__(target_url)
        self.before: Callable[[web.BaseRequest], Awaitable[None]] | None = None
        self.after: Callable[[web.BaseRequest], Awaitable[None]] | None = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.before is not None:
            await self.before(request)
        answer = await super()._answer(request)
        if self.after is not None:
            await self.after(request)
        return answer


class ControlPlane:
    """A sandbox and a proxy before it, in a thread of their own. Operators go through the proxy, tests do not."""

    def __init__(self, folder: Path, definitions: bool = True) -> None:
        self.folder = folder
        self.definitions = definitions
        self.kubeconfig = folder / "kubeconfig"
        self.operators_kubeconfig = folder / "kubeconfig-operator"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="control-plane", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self.sandbox: Sandbox
        self.wire: Wire

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.sandbox = Sandbox(
            bind_seconds=0.01, start_seconds=0.03, eviction_seconds=0.5, orphan_seconds=0.2, back_off_seconds=0.1
        )
        async with self.sandbox, Wire(self.sandbox.url) as self.wire:
            for obj in furniture(self.definitions):
                self.sandbox.store.apply(obj)
            config = self.sandbox.kubeconfig()
            self.kubeconfig.write_text(config)
            self.operators_kubeconfig.write_text(config.replace(self.sandbox.url, self.wire.url))
            self._ready.set()
            await self._stop.wait()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(20), "the control plane did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def do(self, action: Callable[[], object]) -> None:
        """Run something in the control plane's thread and wait for it."""

        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    @property
    def deny(self) -> set[tuple[str, str, str]]:
        return self.sandbox.deny

    def log(self) -> list[Seen]:
        """The operators' finished requests, oldest first."""
        return list(self.wire.log)

    def writes(self, path: str = "") -> list[Seen]:
        """The operators' successful and refused writes, less the Lease's and the access reviews."""
        return [
            seen
            for seen in self.log()
            if seen.is_write and re.search(path, seen.path) and not re.search(r"/leases|accessreviews", seen.path)
        ]


def furniture(definitions: bool = True) -> Iterable[Obj]:
    """What the chart would have installed."""
    if definitions:
        yield from crd_documents()
    yield namespace(SYSTEM)
    yield priority_class("apportion-training", 0)


class Operator:
    """One operator process."""

    def __init__(self, kubeconfig: Path, folder: Path, *options: str, lease_seconds: float = 2) -> None:
        self.log_path = folder / f"operator-{secrets.token_hex(3)}.log"
        self.command = [
            sys.executable, "-m", "apportion.cli", "run", "--kubeconfig", str(kubeconfig), "--host", "127.0.0.1",
            "--port", "0", "--log-format", "text", "--lease-seconds", str(lease_seconds), *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as sink:
            self.process = subprocess.Popen(self.command, stdout=sink, stderr=sink)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self) -> None:
        """kill -9."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM, as a kubelet does it."""
        if self.alive:
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGTERM)
        self._wait()

    def _wait(self) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"the operator did not end in 15 s:\n{self.log()}") from None

    def restart(self) -> None:
        """After kill or stop: the same command again; its log goes on in the same file."""
        self.log_path.rename(self.log_path.with_suffix(f".{secrets.token_hex(2)}.log"))
        self.start()

    def port(self) -> int | None:
        found = re.search(r"on port (\d+)", self.log())
        return int(found.group(1)) if found else None

    async def get(self, path: str) -> tuple[int, str]:
        """(status, body) of a probe or of the metrics; (0, "") while nothing listens."""
        port = self.port()
        if port is None:
            return 0, ""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://127.0.0.1:{port}{path}") as reply,
            ):
                return reply.status, await reply.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def metrics(self) -> dict[str, float]:
        """By series, labels included."""
        _, body = await self.get("/metrics")
        lines = [line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#")]
        return {series: float(value) for series, _, value in lines}


async def until(
    holds: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS, told: Callable[[], Any] | None = None
) -> Any:
    """Wait until `holds()`, which may be a coroutine function, is true, and return its value; else fail with `told`."""
    deadline = time.monotonic() + seconds
    while True:
        value = holds()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            more = told() if told is not None else ""
            if asyncio.iscoroutine(more):
                more = await more
            pytest.fail(f"not within {seconds:.0f} s: {what}\n{more}", pytrace=False)
        await asyncio.sleep(LOOK_SECONDS)


@dataclass
class Cluster:
    """What a test works with: a namespace and a GPU product of its own in a control plane."""

    plane: ControlPlane
    api: Api
    operators: list[Operator] = field(default_factory=list)
    token: str = field(default_factory=lambda: secrets.token_hex(3))
    made: list[tuple[Kind, str, str]] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        return self.plane.kubeconfig

    @property
    def namespace(self) -> str:
        return f"team-{self.token}"

    @property
    def product(self) -> str:
        return f"NVIDIA-{self.token}"

    @property
    def flavor(self) -> str:
        return f"nvidia-{self.token}"

    @property
    def operator(self) -> Operator:
        return self.operators[0]

    # --- objects -----------------------------------------------------------------------------------------------------

    def path(self, kind: str, name: str = "", subresource: str = "", in_namespace: str | None = None) -> str:
        known = KINDS[kind]
        return known.path(in_namespace or self.namespace if known.namespaced else "", name, subresource)

    async def apply(self, obj: Obj, manager: str = "kubectl") -> Any:
        """Create, or lay over what is there. Raises Refused."""
        kind = KINDS[obj["kind"]]
        meta = obj["metadata"]
        space = meta.get("namespace", self.namespace) if kind.namespaced else ""
        query = {"fieldManager": manager}
        try:
            reply = await self.api.request("POST", kind.path(space), query, obj)
        except Refused as refused:
            if refused.code != 409:
                raise
            return await self.api.request("PATCH", kind.path(space, meta["name"]), query, obj, MERGE_PATCH)
        self.made.append((kind, space, meta["name"]))
        return reply

    async def patch(
        self,
        kind: str,
        name: str,
        body: Any,
        subresource: str = "",
        manager: str = "kubectl",
        in_namespace: str | None = None,
    ) -> Any:
        """A merge patch by a person."""
        path = self.path(kind, name, subresource, in_namespace)
        return await self.api.request("PATCH", path, {"fieldManager": manager}, body, MERGE_PATCH)

    async def get(self, kind: str, name: str, in_namespace: str | None = None) -> Any:
        """The object, or None."""
        try:
            return await self.api.get(self.path(kind, name, in_namespace=in_namespace))
        except Refused as refused:
            if refused.code != 404:
                raise
            return None

    async def all(self, kind: str, in_namespace: str | None = None) -> list[Any]:
        reply = await self.api.get(self.path(kind, in_namespace=in_namespace))
        return list(reply["items"])

    async def delete(self, kind: str, name: str, in_namespace: str | None = None, grace: int | None = None) -> None:
        query = {} if grace is None else {"gracePeriodSeconds": str(grace)}
        with contextlib.suppress(Refused):
            await self.api.request("DELETE", self.path(kind, name, in_namespace=in_namespace), query)

    # --- what is in it -----------------------------------------------------------------------------------------------

    async def nodes(self, count: int = 1, gpus: int = 8, product: str | None = None, **more: Any) -> list[str]:
        """Nodes with GPUs of this test's product, or of another one."""
        names = []
        for _ in range(count):
            index = sum(1 for kind, _, _ in self.made if kind.name == "Node")
            made = gpu_node(f"node-{self.token}-{index}", product or self.product, gpus, more.get("taints"))
            made["metadata"]["labels"].update(more.get("labels", {}))
            await self.apply(made)
            names.append(made["metadata"]["name"])
        return names

    async def plain_node(self) -> str:
        """A node without accelerators."""
        made = node(f"plain-{self.token}-{len(self.made)}")
        await self.apply(made)
        return str(made["metadata"]["name"])

    async def submit(self, name: str, replicas: tuple[int, int] = (1, 1), gpus: int = 1, **spec: Any) -> Any:
        """Create a TrainingJob with an embedded template; see `training_job`."""
        return await self.apply(self.job(name, replicas, gpus, **spec))

    def job(self, name: str, replicas: tuple[int, int] = (1, 1), gpus: int = 1, **spec: Any) -> Obj:
        return training_job(self.namespace, name, replicas, gpus, **spec)

    async def reference(self, name: str, replicas: tuple[int, int] = (1, 1), **spec: Any) -> Any:
        """Create a TrainingJob for the Deployment of that name."""
        return await self.apply(
            training_job(self.namespace, name, replicas, 0, workloadRef={"name": spec.pop("workload", name)}, **spec)
        )

    async def deploy(self, name: str, replicas: int = 0, gpus: int = 1, managed: bool = True, **spec: Any) -> Any:
        return await self.apply(deployment(self.namespace, name, replicas, gpus, managed, **spec))

    async def queue(self, name: str, quotas: dict[str, Any], **spec: Any) -> Any:
        """`quotas`: flavor -> nominal quota, or the whole entry without its name."""
        flavors = [
            {"name": flavor, **(quota if isinstance(quota, dict) else {"nominalQuota": quota})}
            for flavor, quota in quotas.items()
        ]
        return await self.apply(
            {
                "apiVersion": GROUP_VERSION,
                "kind": "Queue",
                "metadata": {"name": name},
                "spec": {**spec, "flavors": flavors},
            }
        )

    async def policy(self, **spec: Any) -> Any:
        meta = {"name": "default"}
        return await self.apply(
            {"apiVersion": GROUP_VERSION, "kind": "AllocationPolicy", "metadata": meta, "spec": spec}
        )

    async def annotate(self, name: str, key: str, value: str | None) -> None:
        await self.patch("TrainingJob", name, {"metadata": {"annotations": {key: value}}})

    async def spec(self, name: str, **spec: Any) -> None:
        await self.patch("TrainingJob", name, {"spec": spec})

    async def scale(self, name: str, replicas: int, manager: str = "kubectl") -> None:
        """Somebody else's hand on a Deployment."""
        await self.patch("Deployment", name, {"spec": {"replicas": replicas}}, manager=manager)

    async def pods(self, name: str, leaving: bool = False) -> list[Any]:
        """The pods of a job's or a Deployment's name, oldest first; those being deleted only if asked."""
        found = [
            pod
            for pod in await self.all("Pod")
            if name in (pod["metadata"].get("labels", {}).get(key) for key in ("apportion.dev/job", "app"))
            and (leaving or "deletionTimestamp" not in pod["metadata"])
        ]
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    async def events(self, name: str, reason: str = "") -> list[str]:
        """Messages of the Events about a TrainingJob."""
        return [
            event["message"]
            for event in await self.all("Event")
            if event["involvedObject"]["kind"] == "TrainingJob"
            and event["involvedObject"]["name"] == name
            and reason in ("", event["reason"])
        ]

    # --- what is expected --------------------------------------------------------------------------------------------

    async def until(self, holds: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
        return await until(holds, what, seconds, self.told)

    async def expect(self, name: str, **wanted: Any) -> Any:
        """Wait until a job is as wanted, and return it.

        phase; granted (replicas of status.admission, 0: none); flavor; ready (status.replicas); refused (reason of
        Admitted=False); degraded, complete (reason of the condition that is True; None: it is not); invalid (a part of
        that condition's message); says (a part of status.message); deployment (replicas of its Deployment's spec).
        """
        seconds = wanted.pop("seconds", PATIENCE_SECONDS)
        workload = wanted.pop("workload", name)

        async def as_wanted() -> Any:
            job = await self.get("TrainingJob", name)
            if job is None:
                return None
            found = seen_of(job)
            if "deployment" in wanted:
                deployed = await self.get("Deployment", workload)
                found["deployment"] = deployed["spec"]["replicas"] if deployed else None
            return job if all(matches(found.get(key), value, key) for key, value in wanted.items()) else None

        return await self.until(as_wanted, f"{name}: {wanted}", seconds)

    async def event(self, name: str, reason: str, *parts: str) -> str:
        """Wait for an Event about a job whose message has all the parts."""

        async def found() -> str | None:
            messages = await self.events(name, reason)
            return next((message for message in messages if all(part in message for part in parts)), None)

        return str(await self.until(found, f"an Event {reason} about {name} with {parts}"))

    async def calm(self, seconds: float = 1.0) -> None:
        """Wait until the operators have written nothing but the Lease for a while: a round has taken everything in."""
        last, since = len(self.plane.writes()), time.monotonic()

        def quiet() -> bool:
            nonlocal last, since
            now = len(self.plane.writes())
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since >= seconds

        await self.until(quiet, f"no write for {seconds} s", 30)

    async def told(self) -> str:
        """The objects involved, for a failure message."""
        lines = []
        for kind in ("TrainingJob", "Deployment"):
            for obj in await self.all(kind):
                obj["metadata"].pop("managedFields", None)
                lines.append(f"--- {kind} {obj['metadata']['name']}\n{json.dumps(obj, indent=1)[:6000]}")
        for pod in await self.all("Pod"):
            conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", [])}
            gone = " leaving" if "deletionTimestamp" in pod["metadata"] else ""
            where = pod["spec"].get("nodeName")
            lines.append(
                f"--- Pod {pod['metadata']['name']} on {where} {pod['status'].get('phase')}{gone} {conditions}"
            )
        for each in await self.all("Node"):
            lines.append(f"--- Node {each['metadata']['name']} {each['spec']} {each['status'].get('allocatable')}")
        for queue in await self.all("Queue"):
            lines.append(f"--- Queue {queue['metadata']['name']} {queue['spec']} {queue.get('status')}")
        lines += [
            f"--- log of the operator {each.pid if each.process else ''}\n{each.log()[-5000:]}"
            for each in self.operators
        ]
        return "\n".join(lines)

    # --- life --------------------------------------------------------------------------------------------------------

    async def settle_in(self, labels: dict[str, str] | None = None) -> None:
        await self.add_namespace(self.namespace, labels)

    async def add_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        await self.api.request("POST", "/api/v1/namespaces", {}, namespace(name, labels))
        self.namespaces.append(name)

    async def clean(self) -> None:
        """Take away all that the test made, and wait until the operators' world is empty again."""
        for space in self.namespaces:
            for job in await self.all("TrainingJob", space):
                await self.delete("TrainingJob", job["metadata"]["name"], space)
        for kind, space, name in self.made:
            if kind.name not in ("Node", "TrainingJob", "Namespace"):
                await self.delete(kind.name, name, space or None)
        for space in self.namespaces:
            for kind_name in ("Deployment", "ReplicaSet"):
                for obj in await self.all(kind_name, space):
                    await self.delete(kind_name, obj["metadata"]["name"], space)

        async def no_pods() -> bool:
            left = [pod for space in self.namespaces for pod in await self.all("Pod", space)]
            for pod in left:
                await self.delete("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], grace=0)
            return not left

        await until(no_pods, "the test's pods are gone")
        for kind, _, name in self.made:
            if kind.name == "Node":
                await self.delete("Node", name)


@contextlib.asynccontextmanager
async def cluster_on(plane: ControlPlane, *operators: Operator) -> AsyncIterator[Cluster]:
    """A cluster for one test; what the test made is taken away afterwards."""
    async with await connect(str(plane.kubeconfig)) as api:
        cluster = Cluster(plane, api, list(operators))
        await cluster.settle_in()
        try:
            yield cluster
        finally:
            await cluster.clean()


@contextlib.asynccontextmanager
async def operating(
    cluster: Cluster, *options: str, ready: bool = True, lease_seconds: float = 2
) -> AsyncIterator[Operator]:
    """An operator of the test's own, through the proxy."""
    operator = Operator(cluster.plane.operators_kubeconfig, cluster.plane.folder, *options, lease_seconds=lease_seconds)
    cluster.operators.append(operator)
    operator.start()
    try:
        if ready:
            await is_ready(operator)
        yield operator
    finally:
        operator.stop()


async def is_ready(operator: Operator, seconds: float = 40) -> None:
    async def answers() -> bool:
        assert operator.alive, f"the operator ended:\n{operator.log()}"
        return (await operator.get("/readyz"))[0] == 200

    await until(answers, "the operator is ready", seconds, operator.log)


# --- reading a job ---------------------------------------------------------------------------------------------------


def condition(obj: Any, kind: str) -> Any:
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def seen_of(job: Any) -> dict[str, Any]:
    """A job's status in the words of `Cluster.expect`."""
    status = job.get("status", {})
    admission = status.get("admission", {})

    def holds(kind: str, value: str = "True", what: str = "reason") -> Any:
        found = condition(job, kind)
        return found.get(what) if found.get("status") == value else None

    return {
        "phase": status.get("phase"),
        "granted": admission.get("replicas", 0) if status else None,
        "flavor": admission.get("flavor"),
        "ready": status.get("replicas", 0),
        "refused": holds("Admitted", "False"),
        "degraded": holds("Degraded"),
        "complete": holds("Complete"),
        "invalid": holds("Invalid", what="message"),
        "says": status.get("message", ""),
        "generation": status.get("observedGeneration") == job["metadata"].get("generation"),
    }


def matches(found: Any, wanted: Any, key: str) -> bool:
    if key in ("says", "invalid") and wanted is not None:
        parts = [wanted] if isinstance(wanted, str) else wanted
        return found is not None and all(part in found for part in parts)
    return bool(found == wanted)


# --- manifests -------------------------------------------------------------------------------------------------------


def namespace(name: str, labels: dict[str, str] | None = None) -> Obj:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}


def priority_class(name: str, value: int, policy: str = "Never") -> Obj:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "preemptionPolicy": policy,
    }


def training_job(space: str, name: str, replicas: tuple[int, int], gpus: int, **spec: Any) -> Obj:
    """A job whose rules need no time to pass. pods: annotations of its pods, which direct the sandbox's kubelet;
    pod: laid over the pod's spec; annotations: of the job itself. gpus 0 and workloadRef: no template."""
    pods, pod, annotations = spec.pop("pods", {}), spec.pop("pod", {}), spec.pop("annotations", {})
    body: Obj = {
        "minReplicas": replicas[0],
        "maxReplicas": replicas[1],
        "restartSeconds": 0,
        "minRuntimeSeconds": 0,
        "placementTimeoutSeconds": 30,
    }
    if "workloadRef" not in spec:
        body["template"] = {
            "metadata": {"annotations": pods},
            "spec": {"containers": [container(GPU if gpus else "", gpus)], **pod},
        }
    meta = {"name": name, "namespace": space, "annotations": annotations}
    return {"apiVersion": GROUP_VERSION, "kind": "TrainingJob", "metadata": meta, "spec": {**body, **spec}}


def deployment(space: str, name: str, replicas: int, gpus: int, managed: bool = True, **spec: Any) -> Obj:
    """A Deployment as another team would write it. pods and pod as in `training_job`; meta: laid over its metadata."""
    pods, pod, meta = spec.pop("pods", {}), spec.pop("pod", {}), spec.pop("meta", {})
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": space,
            "labels": {**labels, **({MANAGED: "true"} if managed else {})},
            **meta,
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": pods},
                "spec": {
                    "containers": [container(GPU if gpus else "", gpus)],
                    "terminationGracePeriodSeconds": 5,
                    **pod,
                },
            },
            **spec,
        },
    }


def foreign_pod(space: str, name: str, gpus: int, **spec: Any) -> Obj:
    """A pod that nobody controls."""
    pods = spec.pop("pods", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "annotations": pods},
        "spec": {"containers": [container(GPU, gpus)], "terminationGracePeriodSeconds": 30, **spec},
    }


# --- what happens to nodes -------------------------------------------------------------------------------------------


async def set_ready(cluster: Cluster, name: str, ready: bool) -> None:
    """A node's kubelet reports, or stops to be well."""
    said = {"type": "Ready", "status": "True" if ready else "False", "reason": "Test", "message": "set by a test"}
    await cluster.patch("Node", name, {"status": {"conditions": [said]}}, "status", manager="kubelet")


async def cordon(cluster: Cluster, name: str, cordoned: bool = True) -> None:
    await cluster.patch("Node", name, {"spec": {"unschedulable": cordoned or None}})
