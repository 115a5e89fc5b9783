"""What admission adds to a pod: its priority, and how long it bears a node that is not ready."""

from apportion.sandbox.errors import forbidden
from apportion.sandbox.kinds import Resource
from apportion.sandbox.store import Store
from apportion.sandbox.trees import Obj

_BORNE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def complete_pod(store: Store, resource: Resource, obj: Obj, toleration_seconds: float = 300) -> None:
    """Resolve a pod's priority class and add the two default tolerations. Raises 403 for an unknown class."""
    if resource.key != ("", "pods"):
        return
    spec = obj["spec"]
    _set_priority(store, resource, obj)
    tolerations = list(spec.get("tolerations") or ())
    for key in _BORNE:
        if not any(
            each.get("key") in (key, None, "") and each.get("effect") in ("NoExecute", None, "") for each in tolerations
        ):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": toleration_seconds}
            )
    spec["tolerations"] = tolerations


def _covers(toleration: Obj, key: str) -> bool:
    return (toleration.get("key") or key) == key and (toleration.get("effect") or "NoExecute") == "NoExecute"


def _set_priority(store: Store, resource: Resource, pod: Obj) -> None:
    spec = pod["spec"]
    name = spec.get("priorityClassName", "")
    if name:
        found = store.peek("priorityclasses", "", name)
        if found is None:
            why = f"no PriorityClass with name {name} was found"
            raise forbidden(resource, pod["metadata"]["name"], why)
    else:
        records = store.storage.records(("scheduling.k8s.io", "priorityclasses"))
        found = next((record.obj for record in records if record.obj.get("globalDefault")), None)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
    computed = found["value"] if found else 0
    if spec.get("priority") not in (None, computed):
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
            f"controller computed {computed} from the given PriorityClass name"
        )
        raise forbidden(resource, pod["metadata"]["name"], why)
    spec["priority"] = computed
    spec["preemptionPolicy"] = (found or {}).get("preemptionPolicy", "PreemptLowerPriority")
