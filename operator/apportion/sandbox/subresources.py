"""scale, binding and eviction: the subresources that are not a part of their object."""

from typing import Any

from apportion.sandbox import errors
from apportion.sandbox.crds import CustomResources
from apportion.sandbox.kinds import Resource
from apportion.sandbox.objects import labels_of
from apportion.sandbox.pods import is_active, is_ready, with_condition
from apportion.sandbox.selectors import selector_matches
from apportion.sandbox.storage import Record
from apportion.sandbox.store import Deletion, Edit, Store, Write
from apportion.sandbox.trees import Obj, clone, dig


class Subresources:
    """Reads and writes objects through those of their subresources that have a shape of their own."""

    def __init__(self, store: Store, custom: CustomResources) -> None:
        self._store = store
        self._custom = custom

    def scale(self, resource: Resource, obj: Obj) -> Obj:
        """The Scale of an object."""
        paths = self._paths(resource)
        meta = {key: obj["metadata"].get(key) for key in ("name", "namespace", "uid", "resourceVersion")}
        meta["creationTimestamp"] = obj["metadata"]["creationTimestamp"]
        status: Obj = {"replicas": dig(obj, *paths["statusReplicasPath"]) or 0}
        selector = dig(obj, *paths["labelSelectorPath"])
        if isinstance(selector, dict):
            pairs = sorted((selector.get("matchLabels") or {}).items())
            selector = ",".join(f"{key}={value}" for key, value in pairs)
        if selector:
            status["selector"] = selector
        replicas = dig(obj, *paths["specReplicasPath"])
        spec = {"replicas": replicas} if replicas else {}
        return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}

    def rescale(self, resource: Resource, namespace: str, name: str, edit: Edit, by: Write) -> Record:
        """Change an object's replicas through its Scale; returns the new Scale."""
        path = self._paths(resource)["specReplicasPath"]

        def change(old: Obj) -> Obj:
            given = edit(self.scale(resource, old))
            if not isinstance(given, dict):
                raise errors.bad_request("the body of the request is not a Scale")
            replicas = dig(given, "spec", "replicas") or 0
            if type(replicas) is not int:
                raise errors.Undecodable("Scale cannot be handled as a Scale: spec.replicas is no number")
            if replicas < 0:
                why = "must be greater than or equal to 0"
                raise errors.invalid(resource, name, [errors.invalid_value("spec.replicas", replicas, why)])
            new: Obj = clone(old)
            revision = dig(given, "metadata", "resourceVersion")
            new["metadata"]["resourceVersion"] = revision or old["metadata"]["resourceVersion"]
            below = new
            for step in path[:-1]:
                below = below.setdefault(step, {})
            below[path[-1]] = replicas
            return new

        record = self._store.update(resource, namespace, name, change, Write(by.manager, "", by.dry_run))
        return Record(self.scale(resource, record.obj), record.revision)

    def _paths(self, resource: Resource) -> dict[str, list[str]]:
        custom = self._custom.scale_paths.get(resource, {})
        defaults = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": "" if resource.custom else ".spec.selector",
        }
        return {name: custom.get(name, path).split(".")[1:] or [""] for name, path in defaults.items()}

    def bind(self, namespace: str, name: str, binding: Any, by: Write) -> None:
        """Put a pod on a node. Raises 409 when it is on one already."""
        node = dig(binding, "target", "name") or ""
        if not node:
            raise errors.internal("target.name: Required value")
        bind(self._store, namespace, name, node, by.manager)

    def evict(self, namespace: str, name: str, how: Deletion) -> None:
        """Delete a pod if its disruption budgets admit it. Raises 429 otherwise."""
        pod = self._store.peek("pods", namespace, name)
        if pod is None:
            raise errors.not_found(self._store.resource("pods"), name)
        budgets = self._store.storage.records(("policy", "poddisruptionbudgets"), namespace)
        for record in budgets:
            if selector_matches(record.obj["spec"].get("selector"), labels_of(pod)) and is_ready(pod):
                self._check_budget(record.obj, namespace)
        message = "Eviction API: evicting"
        status = with_condition(
            pod.get("status") or {}, "DisruptionTarget", True, self._store.clock.now(), "EvictionByEvictionAPI", message
        )
        self._store.set_status("pods", pod, status)
        self._store.delete("pods", namespace, name, how)

    def _check_budget(self, budget: Obj, namespace: str) -> None:
        pods = [r.obj for r in self._store.storage.records(("", "pods"), namespace)]
        covered = [p for p in pods if selector_matches(budget["spec"].get("selector"), labels_of(p)) and is_active(p)]
        healthy = sum(is_ready(pod) for pod in covered)
        spec = budget["spec"]
        if "maxUnavailable" in spec:
            needed = len(covered) - share(spec["maxUnavailable"], len(covered), up=True)
        else:
            needed = share(spec.get("minAvailable", 0), len(covered), up=True)
        if healthy - 1 < needed:
            name = budget["metadata"]["name"]
            why = f"The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
            details = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise errors.StatusError(429, "TooManyRequests", message, details)


def share(amount: int | str, total: int, up: bool) -> int:
    """An int-or-percent of `total`, rounded up or down."""
    if isinstance(amount, int):
        return amount
    parts = int(amount.removesuffix("%")) * total
    return -(-parts // 100) if up else parts // 100


def bind(store: Store, namespace: str, name: str, node: str, manager: str) -> None:
    """Write a pod's node and its PodScheduled condition. Raises 409 when it has a node or is on its way out."""

    def bound(pod: Obj) -> Obj:
        if dig(pod, "spec", "nodeName"):
            why = f"pod {name} is already assigned to node {pod['spec']['nodeName']!r}"
            raise errors.conflict(store.resource("pods"), name, why)
        if "deletionTimestamp" in pod["metadata"]:
            raise errors.conflict(store.resource("pods"), name, f"pod {name} is being deleted, cannot be assigned")
        status = with_condition(pod.get("status") or {}, "PodScheduled", True, store.clock.now())
        return {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status}

    store.revise("pods", namespace, name, bound, Write(manager, "binding"))
