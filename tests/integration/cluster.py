"""A user's hands over HTTP: what a test applies, reads and expects, in a namespace of its own."""

import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from apportion.kube import kinds
from apportion.kube.client import Api, Refused, connect
from apportion.sandbox import gpu_node, node
from integration.manifests import (
    DEFINITION,
    GROUP_VERSION,
    MERGE_PATCH,
    QUOTA,
    REPLICA_SET,
    SERVICE_ACCOUNT,
    Obj,
    deployment,
    namespace,
    training_job,
)
from integration.operator_process import Operator, is_ready
from integration.plane import ControlPlane
from integration.reading import condition, matches, seen_of
from integration.waiting import PATIENCE_SECONDS, until

KINDS = {
    **kinds.BY_NAME,
    **{kind.name: kind for kind in (QUOTA, REPLICA_SET, SERVICE_ACCOUNT, DEFINITION, kinds.EVENT, kinds.LEASE)},
}


@dataclass
class Cluster:
    """What a test works with: a namespace and a GPU product of its own in a control plane."""

    plane: ControlPlane
    api: Api
    operators: list[Operator] = field(default_factory=list)
    token: str = field(default_factory=lambda: secrets.token_hex(3))
    made: list[tuple[str, str]] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.plane.watched[0] if self.plane.watched else f"team-{self.token}"

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
        kind, name = obj["kind"], obj["metadata"]["name"]
        try:
            reply = await self.api.request("POST", self.path(kind), {"fieldManager": manager}, obj)
        except Refused as refused:
            if refused.code != 409:
                raise
            return await self.patch(kind, name, obj, manager=manager)
        self.made.append((kind, name))
        return reply

    async def patch(self, kind: str, name: str, body: Any, subresource: str = "", manager: str = "kubectl") -> Any:
        """A merge patch by a person."""
        path = self.path(kind, name, subresource)
        return await self.api.request("PATCH", path, {"fieldManager": manager}, body, MERGE_PATCH)

    async def get(self, kind: str, name: str, in_namespace: str | None = None) -> Any:
        """The object, or None."""
        try:
            return await self.api.get(self.path(kind, name, in_namespace=in_namespace))
        except Refused as refused:
            if refused.code != 404:
                raise
            return None

    async def all(self, kind: str) -> list[Any]:
        reply = await self.api.get(self.path(kind))
        return list(reply["items"])

    async def delete(self, kind: str, name: str, grace: int | None = None) -> None:
        query = {} if grace is None else {"gracePeriodSeconds": str(grace)}
        with contextlib.suppress(Refused):
            await self.api.request("DELETE", self.path(kind, name), query)

    # --- what is in it -----------------------------------------------------------------------------------------------

    async def nodes(self, count: int = 1, gpus: int = 8, product: str | None = None, **more: Any) -> list[str]:
        """Nodes with GPUs of this test's product, or of another one."""
        names = []
        for _ in range(count):
            index = sum(1 for kind, _ in self.made if kind == "Node")
            made = gpu_node(f"node-{self.token}-{index}", product or self.product, gpus, more.get("taints"))
            made["metadata"]["labels"].update(more.get("labels", {}))
            names.append(await self._join(made))
        return names

    async def plain_node(self) -> str:
        """A node without accelerators."""
        return await self._join(node(f"plain-{self.token}-{len(self.made)}"))

    async def _join(self, manifest: Obj) -> str:
        name: str = manifest["metadata"]["name"]
        await self.apply(self.plane.with_kubelet(manifest))

        async def ready() -> bool:
            found = await self.get("Node", name)
            taints = [taint["key"] for taint in found["spec"].get("taints", [])]
            return condition(found, "Ready").get("status") == "True" and "node.kubernetes.io/not-ready" not in taints

        await self.until(ready, f"node {name} is ready")
        return name

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

    async def uids(self, name: str) -> set[str]:
        """Of the pods of that name that are not being deleted."""
        return {pod["metadata"]["uid"] for pod in await self.pods(name)}

    async def template(self, name: str) -> Any:
        """A Deployment's pod template."""
        return (await self.get("Deployment", name))["spec"]["template"]

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

    async def settle_in(self) -> None:
        await self._alone()
        if self.plane.watched:
            # It is there, and other tests were in it.
            self.plane.do(self.plane.wire.log.clear)
            await self.api.request("DELETE", kinds.EVENT.path(self.namespace))
        else:
            await self.api.request("POST", "/api/v1/namespaces", {}, namespace(self.namespace))

        async def admits_pods() -> bool:
            return await self.get("ServiceAccount", "default") is not None

        await until(admits_pods, "the namespace has its default ServiceAccount")

    async def _alone(self) -> None:
        """The real control plane is shared, and jobs that a test left in other namespaces count in queues."""

        async def no_jobs() -> bool:
            left = (await self.api.get(kinds.JOB.path("")))["items"]
            for job in left:
                with contextlib.suppress(Refused):
                    meta = job["metadata"]
                    await self.api.request("DELETE", kinds.JOB.path(meta["namespace"], meta["name"]))
            return not left

        await until(no_jobs, "no job of an earlier test is left")

    async def clean(self) -> None:
        """Take away all that the test made, and wait until the operators' world is empty again."""
        for job in await self.all("TrainingJob"):
            await self.delete("TrainingJob", job["metadata"]["name"])
        for kind, name in self.made:
            if kind not in ("Node", "TrainingJob"):
                await self.delete(kind, name)
        for kind_name in ("Deployment", "ReplicaSet"):
            for obj in await self.all(kind_name):
                await self.delete(kind_name, obj["metadata"]["name"])

        async def no_pods() -> bool:
            left = await self.all("Pod")
            for pod in left:
                await self.delete("Pod", pod["metadata"]["name"], grace=0)
            return not left

        await until(no_pods, "the test's pods are gone")
        for kind, name in self.made:
            if kind == "Node":
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
    cluster: Cluster, *options: str, ready: bool = True, lease_seconds: float = 2, fresh: bool = False
) -> AsyncIterator[Operator]:
    """An operator of the test's own, through the proxy."""
    plane = cluster.plane
    words = (*plane.operator_options, *options)
    operator = Operator(
        plane.operators_kubeconfig, plane.folder, *words, lease_seconds=lease_seconds, traced=plane.traced, fresh=fresh
    )
    cluster.operators.append(operator)
    operator.start()
    try:
        if ready:
            await is_ready(operator)
        yield operator
    finally:
        operator.stop()


# --- what happens to nodes -------------------------------------------------------------------------------------------


async def set_ready(cluster: Cluster, name: str, ready: bool) -> None:
    """A node's kubelet reports that it is well, or that it is not."""
    await cluster.plane.report(cluster.api, name, ready)


async def cordon(cluster: Cluster, name: str, cordoned: bool = True) -> None:
    await cluster.patch("Node", name, {"spec": {"unschedulable": cordoned or None}})
