"""Whether everything works together: a pod runs on a node.

That takes all components: the controllers make the namespace's ServiceAccount and take the node's first taint away, the
scheduler binds, KWOK reports the node as ready and the pod as running.
"""

from datetime import UTC, datetime
from typing import Any

from apportion.sandbox import container, node
from controlplane.access import Access, Refused
from controlplane.nodes import played_by_kwok

NAME = "controlplane-probe"
NODE = f"/api/v1/nodes/{NAME}"
PODS = "/api/v1/namespaces/default/pods"
# KWOK v0.8.0 looks once at a pod that is bound. On a node whose lease it has written, but not yet seen in its watch, it
# takes the pod for another's and never looks again: on a busy machine a minute would not be enough.
FORGOTTEN_SECONDS = 5
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": NAME, "namespace": "default"},
    "spec": {"containers": [container()], "terminationGracePeriodSeconds": 0},
}


def probe(access: Access) -> bool:
    """One look, to be repeated until it says yes; then what was made for it is gone again."""
    try:
        _create(access, "/api/v1/nodes", played_by_kwok(node(NAME)))
        _create(access, PODS, POD)
        pod = access.request("GET", f"{PODS}/{NAME}")
        if pod["status"]["phase"] != "Running":
            if _age_seconds(pod) > FORGOTTEN_SECONDS:
                access.request("DELETE", f"{PODS}/{NAME}?gracePeriodSeconds=0")
            return False
        access.request("DELETE", f"{PODS}/{NAME}?gracePeriodSeconds=0")
        access.request("DELETE", NODE)
    except (OSError, Refused):
        # 403 while the namespace has no ServiceAccount yet.
        return False
    return True


def _age_seconds(pod: dict[str, Any]) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])).total_seconds()


def _create(access: Access, path: str, body: object) -> None:
    try:
        access.request("POST", path, body)
    except Refused as refused:
        if refused.code != 409:
            raise
