"""What kubelets do again and again, and KWOK does once: report that a running pod is ready.

The node-lifecycle controller marks the pods of a node that was silent as not ready, some of them only after the node is
back; and after an outage of the API server KWOK can be silent for longer than a node may be.
"""

import asyncio

from controlplane.history import Obj, condition, takes_pods, uid
from controlplane.scene import Scene
from integration.manifests import MERGE_PATCH, readiness
from integration.real_plane import REPORTED

QUERY = {"fieldManager": "kubelet"}


async def report_again(scene: Scene) -> None:
    """For every pod of a node that is well, as last observed."""
    world = scene.observer.world
    well = {name for name, node in world.of("Node").items() if takes_pods(node)}
    late = [pod for pod in world.of("Pod").values() if pod["spec"].get("nodeName") in well and _is_late(pod)]
    await asyncio.gather(*(_report(scene, pod) for pod in late))


def _is_late(pod: Obj) -> bool:
    runs = pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    return runs and condition(pod, "Ready").get("status") != "True"


async def _report(scene: Scene, pod: Obj) -> None:
    """Unless it is gone, or is another by now."""
    cluster, name = scene.cluster, pod["metadata"]["name"]
    found = await cluster.get("Pod", name)
    if found is None or uid(found) != uid(pod):
        return
    others = [each for each in found["status"]["conditions"] if each["type"] != "Ready"]
    body = {"metadata": {"uid": uid(pod)}, "status": {"conditions": [*others, readiness(True)]}}
    await cluster.api.request("PATCH", cluster.path("Pod", name, "status"), QUERY, body, MERGE_PATCH)


async def leave_to_kwok(scene: Scene, node: str) -> None:
    """What was reported in its kubelet's place was the last: KWOK keeps the node well from now on."""
    await scene.cluster.patch("Node", node, {"metadata": {"annotations": {REPORTED: None}}})
