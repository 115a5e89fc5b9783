"""Custom resource definitions: what makes the server serve a new kind, and stop serving it."""

from typing import Any

from apportion.sandbox.clock import timestamp
from apportion.sandbox.kinds import Resource
from apportion.sandbox.storage import Change
from apportion.sandbox.store import Store
from apportion.sandbox.trees import Obj, clone

_KEY = ("apiextensions.k8s.io", "customresourcedefinitions")
_OPEN: Obj = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def served_resources(crd: Obj) -> list[tuple[Resource, Obj, list[Obj]]]:
    """The resources of a CRD, one per served version, each with its schema and its printer columns."""
    spec = crd["spec"]
    names = spec["names"]
    found = []
    for version in spec["versions"]:
        if not version.get("served", True):
            continue
        subresources: dict[str, Any] = version.get("subresources") or {}
        resource = Resource(
            spec["group"],
            version["name"],
            names["plural"],
            names["kind"],
            namespaced=spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=frozenset(subresources),
            singular=names.get("singular") or names["kind"].lower(),
            list_kind=names.get("listKind") or f"{names['kind']}List",
            custom=True,
        )
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or _OPEN
        found.append((resource, schema, version.get("additionalPrinterColumns") or []))
    return found


class CustomResources:
    """Registers the kinds of the CRDs in the storage as they come, and takes their objects away when they go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.columns: dict[Resource, list[Obj]] = {}
        self.scale_paths: dict[Resource, Obj] = {}
        store.storage.listen(_KEY, self._on_change)

    def _on_change(self, change: Change) -> None:
        if change.before is not None:
            self._unregister(change.before.obj, for_good=change.type == "DELETED")
        if change.type != "DELETED":
            self._register(change.obj)

    def _register(self, crd: Obj) -> None:
        scales: dict[str, Obj] = {
            version["name"]: (version.get("subresources") or {}).get("scale") or {}
            for version in crd["spec"]["versions"]
        }
        for resource, schema, columns in served_resources(crd):
            self._store.catalog.add(resource)
            self._store.schemas[resource] = schema
            self.columns[resource] = columns
            if scales[resource.version]:
                self.scale_paths[resource] = scales[resource.version]
        self._establish(crd)

    def _establish(self, crd: Obj) -> None:
        if (crd.get("status") or {}).get("conditions"):
            return
        since = timestamp(self._store.clock.now())
        conditions = [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", since),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", since),
        ]
        names = clone(crd["spec"]["names"])
        stored = [version["name"] for version in crd["spec"]["versions"] if version.get("storage")]
        status = {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}
        self._store.set_status("customresourcedefinitions", crd, status, "kube-apiserver")

    def _unregister(self, crd: Obj, for_good: bool) -> None:
        key = (crd["spec"]["group"], crd["spec"]["names"]["plural"])
        if for_good:
            for record in list(self._store.storage.records(key)):
                meta = record.obj["metadata"]
                self._store.storage.remove(key, meta.get("namespace", ""), meta["name"])
        for resource, _, _ in served_resources(crd):
            self._store.schemas.pop(resource, None)
            self.columns.pop(resource, None)
            self.scale_paths.pop(resource, None)
        self._store.catalog.drop(key)


def _condition(kind: str, reason: str, message: str, since: str) -> Obj:
    return {"type": kind, "status": "True", "lastTransitionTime": since, "reason": reason, "message": message}
