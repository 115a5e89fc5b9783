"""Nodes without machines: made many at a time, made ready by KWOK."""

import asyncio
import copy
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from apportion.kube.client import Api
from apportion.kube.kinds import NODE
from apportion.sandbox import node
from apportion.sandbox.manifests import GPU_PRODUCT, H100
from controlplane.components import GPU, KWOK_ANNOTATION
from controlplane.processes import Failed

Obj = dict[str, Any]

# The API server creates about 200 objects a second, whatever more is asked at once.
CONCURRENCY = 16
READY_SECONDS = 60.0
LOOK_SECONDS = 0.2
ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True)
class NodeClass:
    """Nodes of one sort; `gpus` 0: none. Quantities as Kubernetes writes them."""

    product: str = H100
    gpus: int = 8
    cpu: str = "192"
    memory: str = "2Ti"
    zone: str = ""
    taints: tuple[Obj, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)

    def manifest(self, name: str) -> Obj:
        labels = {**({ZONE: self.zone} if self.zone else {}), **self.labels}
        allocatable = {"cpu": self.cpu, "memory": self.memory}
        if self.gpus:
            labels |= {GPU_PRODUCT: self.product, "nvidia.com/gpu.count": str(self.gpus)}
            allocatable[GPU] = str(self.gpus)
        return played_by_kwok(node(name, labels, allocatable, list(self.taints)))


def played_by_kwok(manifest: Obj) -> Obj:
    """Any node's manifest, marked so that KWOK plays its kubelet."""
    made = copy.deepcopy(manifest)
    made["metadata"].setdefault("annotations", {})[KWOK_ANNOTATION] = "fake"
    return made


async def add_nodes(api: Api, count: int, sort: NodeClass, prefix: str = "node") -> list[str]:
    """Create `count` nodes and return their names, which begin with `prefix`; they are not ready yet."""
    names = [f"{prefix}-{number}" for number in range(count)]
    await create_nodes(api, [sort.manifest(name) for name in names])
    return names


async def create_nodes(api: Api, manifests: Iterable[Obj]) -> None:
    """Create nodes, many at a time. Raises kube.client.Refused."""
    free = asyncio.Semaphore(CONCURRENCY)

    async def create(manifest: Obj) -> None:
        async with free:
            await api.create(NODE.path(), manifest)

    await asyncio.gather(*(create(manifest) for manifest in manifests))


async def until_ready(api: Api, names: Collection[str], seconds: float = READY_SECONDS) -> None:
    """Return when all these nodes can take pods. Raises Failed."""
    deadline = time.monotonic() + seconds
    while waiting := set(names) - {each["metadata"]["name"] for each in await api.list_all(NODE) if is_ready(each)}:
        if time.monotonic() > deadline:
            some = ", ".join(sorted(waiting)[:5])
            raise Failed(f"{len(waiting)} of {len(names)} nodes are not ready after {seconds:.0f} s, such as {some}")
        await asyncio.sleep(LOOK_SECONDS)


async def remove_nodes(api: Api, names: Iterable[str]) -> None:
    for name in names:
        await api.request("DELETE", NODE.path(name=name))


def is_ready(found: Any) -> bool:
    """Ready by its kubelet, and free of the taints that the node-lifecycle controller puts on nodes that are not."""
    conditions = {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", [])}
    taints = [each["key"] for each in found["spec"].get("taints", [])]
    return conditions.get("Ready") == "True" and not any(key.startswith("node.kubernetes.io/") for key in taints)
