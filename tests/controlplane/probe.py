"""Whether everything works together: a pod runs on a node.

That takes all components: the controllers make the namespace's ServiceAccount and take the node's first taint away, the
scheduler binds, KWOK reports the node as ready and the pod as running.
"""

from apportion.sandbox import container, node
from controlplane.access import Access, Refused
from controlplane.nodes import played_by_kwok

NAME = "controlplane-probe"
NODE = f"/api/v1/nodes/{NAME}"
PODS = "/api/v1/namespaces/default/pods"
POD = {
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
        if access.request("GET", f"{PODS}/{NAME}")["status"]["phase"] != "Running":
            return False
        access.request("DELETE", f"{PODS}/{NAME}?gracePeriodSeconds=0")
        access.request("DELETE", NODE)
    except (OSError, Refused):
        # 403 while the namespace has no ServiceAccount yet.
        return False
    return True


def _create(access: Access, path: str, body: object) -> None:
    try:
        access.request("POST", path, body)
    except Refused as refused:
        if refused.code != 409:
            raise
