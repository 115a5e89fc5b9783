"""What goes because something else went: dependants of deleted owners, and the contents of deleted namespaces."""

from apportion.sandbox.rules import FOREGROUND, ORPHAN
from apportion.sandbox.storage import Change, Place
from apportion.sandbox.store import Deletion, Store, Write
from apportion.sandbox.trees import Obj, dig
from apportion.sandbox.workqueue import WorkQueue

_NAME = "generic-garbage-collector"
_BACKGROUND = Deletion(propagation="Background")


class OwnerCollector:
    """The garbage collector: looks at an object when one of its owners goes, or when it waits for its dependants."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: WorkQueue[Place] = WorkQueue(store.clock, self._reconcile)
        store.storage.listen(None, self._on_change)

    def _on_change(self, change: Change) -> None:
        meta = change.obj["metadata"]
        storage = self._store.storage
        owners = meta.get("ownerReferences") or ()
        if change.type == "DELETED":
            for dependant in storage.owned(meta["uid"]):
                self._add(dependant)
            for owner in owners:
                place = storage.place_of(owner["uid"])
                if place is not None:
                    self._queue.add(place)
            return
        waits = "deletionTimestamp" in meta and {FOREGROUND, ORPHAN} & set(meta.get("finalizers") or ())
        if waits or any(not storage.exists(owner["uid"]) for owner in owners):
            self._queue.add((change.key, meta.get("namespace", ""), meta["name"]))

    def _add(self, obj: Obj) -> None:
        place = self._store.storage.place_of(obj["metadata"]["uid"])
        if place is not None:
            self._queue.add(place)

    def _reconcile(self, place: Place) -> None:
        record = self._store.storage.find(*place)
        if record is None:
            return
        meta = record.obj["metadata"]
        finalizers = meta.get("finalizers") or []
        if "deletionTimestamp" in meta and FOREGROUND in finalizers:
            self._delete_dependants(place, record.obj)
        elif "deletionTimestamp" in meta and ORPHAN in finalizers:
            for dependant in self._store.storage.owned(meta["uid"]):
                self._disown(dependant, {meta["uid"]})
            self._finish(place, record.obj, ORPHAN)
        else:
            self._delete_if_orphan(place, record.obj)

    def _delete_if_orphan(self, place: Place, obj: Obj) -> None:
        owners = obj["metadata"].get("ownerReferences") or []
        gone = {owner["uid"] for owner in owners if not self._store.storage.exists(owner["uid"])}
        if not gone:
            return
        if len(gone) < len(owners):
            self._disown(obj, gone)
        elif "deletionTimestamp" not in obj["metadata"]:
            resource = self._store.resource(_word(place))
            how = Deletion(propagation="Background", uid=obj["metadata"]["uid"])
            self._store.delete(resource, place[1], place[2], how)

    def _delete_dependants(self, place: Place, owner: Obj) -> None:
        blocking = False
        for dependant in self._store.storage.owned(owner["metadata"]["uid"]):
            meta = dependant["metadata"]
            references = meta["ownerReferences"]
            own = next(each for each in references if each["uid"] == owner["metadata"]["uid"])
            others = [each for each in references if each is not own and self._store.storage.exists(each["uid"])]
            if others:
                self._disown(dependant, {own["uid"]})
                continue
            blocking = blocking or bool(own.get("blockOwnerDeletion"))
            at = self._store.storage.place_of(meta["uid"])
            if at is not None and "deletionTimestamp" not in meta:
                how = Deletion(propagation="Foreground", uid=meta["uid"])
                self._store.delete(_word(at), at[1], at[2], how)
        remaining = self._store.storage.owned(owner["metadata"]["uid"])
        if not remaining or not blocking:
            self._finish(place, owner, FOREGROUND)

    def _disown(self, obj: Obj, uids: set[str]) -> None:
        def without(old: Obj) -> Obj:
            references = [each for each in old["metadata"].get("ownerReferences") or () if each["uid"] not in uids]
            return {**old, "metadata": {**old["metadata"], "ownerReferences": references}}

        place = self._store.storage.place_of(obj["metadata"]["uid"])
        if place is not None:
            self._store.revise(_word(place), place[1], place[2], without, Write(_NAME))

    def _finish(self, place: Place, obj: Obj, finalizer: str) -> None:
        if self._store.storage.find(*place) is None:
            return

        def without(old: Obj) -> Obj:
            finalizers = [each for each in old["metadata"].get("finalizers") or () if each != finalizer]
            return {**old, "metadata": {**old["metadata"], "finalizers": finalizers}}

        self._store.revise(_word(place), place[1], place[2], without, Write(_NAME))


def _word(place: Place) -> str:
    group, plural = place[0]
    return f"{plural}.{group}" if group else plural


class NamespaceCollector:
    """Empties namespaces that are being deleted, and lets them go when they are empty."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ending: set[str] = set()
        self._queue: WorkQueue[str] = WorkQueue(store.clock, self._reconcile)
        store.storage.listen(None, self._on_change)

    def _on_change(self, change: Change) -> None:
        meta = change.obj["metadata"]
        if change.key == ("", "namespaces"):
            if change.type == "DELETED":
                self._ending.discard(meta["name"])
            elif "deletionTimestamp" in meta:
                self._ending.add(meta["name"])
                self._queue.add(meta["name"])
        elif change.type == "DELETED" and meta.get("namespace") in self._ending:
            self._queue.add(meta["namespace"])

    def _reconcile(self, name: str) -> None:
        namespace = self._store.peek("namespaces", "", name)
        if namespace is None:
            return
        left = 0
        for key in self._store.storage.collections():
            for record in list(self._store.storage.records(key, name)):
                meta = record.obj["metadata"]
                if "deletionTimestamp" not in meta:
                    self._store.delete(_word((key, "", "")), name, meta["name"], _BACKGROUND)
            left += sum(1 for _ in self._store.storage.records(key, name))
        if not left and dig(namespace, "spec", "finalizers"):
            self._store.revise("namespaces", "", name, lambda old: {**old, "spec": {"finalizers": []}}, Write(_NAME))
