"""ServiceAccounts: every namespace has one named default, and a pod gets the token of the one that it names."""

from apportion.sandbox.errors import forbidden
from apportion.sandbox.kinds import Key, Resource
from apportion.sandbox.rules import NAME_LETTERS
from apportion.sandbox.storage import Change
from apportion.sandbox.store import Store, Write
from apportion.sandbox.trees import Obj

_KEY: Key = ("", "serviceaccounts")
_DEFAULT = "default"
_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class ServiceAccounts:
    """Makes the default account of each namespace, and again when it is deleted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.storage.listen(("", "namespaces"), self._on_namespace)
        store.storage.listen(_KEY, self._on_account)

    def _on_namespace(self, change: Change) -> None:
        if change.type == "ADDED":
            self._make(change.obj["metadata"]["name"])

    def _on_account(self, change: Change) -> None:
        if change.type == "DELETED" and change.obj["metadata"]["name"] == _DEFAULT:
            self._make(change.obj["metadata"]["namespace"])

    def _make(self, namespace: str) -> None:
        found = self._store.peek("namespaces", "", namespace)
        if found is None or "deletionTimestamp" in found["metadata"]:
            return
        if self._store.peek("serviceaccounts", namespace, _DEFAULT) is None:
            account = {"metadata": {"name": _DEFAULT}}
            self._store.create(self._store.resource("serviceaccounts"), namespace, account, Write("kube-controller"))


def give_account(store: Store, resource: Resource, obj: Obj) -> None:
    """Give a pod the account that it names, or the default one, with a volume for its token. Raises 403."""
    if resource.key != ("", "pods"):
        return
    spec, meta = obj["spec"], obj["metadata"]
    name = spec.get("serviceAccountName") or _DEFAULT
    account = store.peek("serviceaccounts", meta["namespace"], name)
    if account is None:
        place = f'{meta["namespace"]}/{name}: serviceaccount "{name}" not found'
        raise forbidden(resource, meta["name"], f"error looking up service account {place}")
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    if spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True)):
        _mount_token(store, spec)


def _mount_token(store: Store, spec: Obj) -> None:
    volume = "kube-api-access-" + "".join(store.random.choices(NAME_LETTERS, k=5))
    mounted = False
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        mounts = list(container.get("volumeMounts") or ())
        if all(mount.get("mountPath") != _MOUNT for mount in mounts):
            container["volumeMounts"] = [*mounts, {"name": volume, "readOnly": True, "mountPath": _MOUNT}]
            mounted = True
    if mounted:
        sources = [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": _NAMESPACE_FIELD}]}},
        ]
        projected = {"sources": sources, "defaultMode": 420}
        spec["volumes"] = [*(spec.get("volumes") or ()), {"name": volume, "projected": projected}]


_NAMESPACE_FIELD = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
