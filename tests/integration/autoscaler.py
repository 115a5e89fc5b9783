"""A stand-in for cluster-autoscaler or Karpenter: while a pod is Pending for want of a node, it adds nodes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from integration.cluster import Cluster
from integration.manifests import GPU
from integration.reading import condition


@dataclass
class Autoscaler:
    """Adds nodes of `gpus` GPUs with the test's product, `most` in all, as many as its Pending pods fill."""

    cluster: Cluster
    gpus: int
    most: int
    made: list[str] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            missing = min(self.most, await self._needed()) - len(self.made)
            if missing > 0:
                self.made += await self.cluster.nodes(missing, gpus=self.gpus)
            await asyncio.sleep(0.05)

    async def _needed(self) -> int:
        """Nodes for the pods of which the scheduler says that they fit nowhere, and for those on its own nodes."""
        asked = 0
        for pod in await self.cluster.all("Pod"):
            waits = condition(pod, "PodScheduled").get("reason") == "Unschedulable"
            if "deletionTimestamp" not in pod["metadata"] and (waits or pod["spec"].get("nodeName") in self.made):
                asked += int(pod["spec"]["containers"][0]["resources"]["limits"].get(GPU, 0))
        return -(-asked // self.gpus)


@asynccontextmanager
async def autoscaling(cluster: Cluster, most: int, gpus: int = 4) -> AsyncIterator[Autoscaler]:
    found = Autoscaler(cluster, gpus, most)
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
