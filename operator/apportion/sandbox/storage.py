"""What etcd and the watch cache are to the real server: objects, one revision counter, the latest changes."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from apportion.sandbox.errors import expired
from apportion.sandbox.kinds import Key
from apportion.sandbox.trees import Obj, compact, dig

Place = tuple[Key, str, str]
"""Where an object is: its collection, its namespace ("" if it has none), its name."""


class Record:
    """One stored version of an object, with its JSON text made once for all readers."""

    __slots__ = ("_json", "obj", "revision")

    def __init__(self, obj: Obj, revision: int) -> None:
        self.obj = obj
        self.revision = revision
        self._json: bytes | None = None

    def json(self) -> bytes:
        if self._json is None:
            self._json = compact(self.obj)
        return self._json


class Change(NamedTuple):
    """ADDED, MODIFIED or DELETED, and the versions after and before it (for DELETED, `record` is the last one)."""

    type: str
    key: Key
    record: Record
    before: Record | None

    @property
    def obj(self) -> Obj:
        return self.record.obj


Listener = Callable[[Change], None]


class Storage:
    """Objects by collection, namespace and name. Listeners hear every change, in order, before the writer goes on."""

    def __init__(self, history: int = 20_000) -> None:
        self.revision = 1
        self._history = history
        self._objects: dict[Key, dict[str, dict[str, Record]]] = defaultdict(dict)
        self._changes: dict[Key, deque[Change]] = defaultdict(deque)
        self._compacted: dict[Key, int] = defaultdict(int)
        self._floor = 0
        self._listeners: dict[Key | None, list[Listener]] = defaultdict(list)
        self._by_uid: dict[str, Place] = {}
        self._by_owner: dict[str, set[Place]] = defaultdict(set)
        self._undelivered: deque[Change] = deque()
        self._delivering = False

    def find(self, key: Key, namespace: str, name: str) -> Record | None:
        """The record, or None."""
        names = self._objects[key].get(namespace)
        return names.get(name) if names else None

    def records(self, key: Key, namespace: str = "") -> Iterator[Record]:
        """All records of a collection, or of one namespace, in no order. Not to be held across a write."""
        spaces = self._objects[key]
        if namespace:
            yield from spaces.get(namespace, {}).values()
            return
        for names in spaces.values():
            yield from names.values()

    def collections(self) -> list[Key]:
        """The collections that hold anything."""
        return [key for key, spaces in self._objects.items() if spaces]

    def exists(self, uid: str) -> bool:
        return uid in self._by_uid

    def place_of(self, uid: str) -> Place | None:
        return self._by_uid.get(uid)

    def owned(self, uid: str, key: Key | None = None) -> list[Obj]:
        """The objects that name `uid` among their owners."""
        found = (self.find(*place) for place in self._by_owner.get(uid, ()) if key is None or place[0] == key)
        return [record.obj for record in found if record is not None]

    def put(self, key: Key, obj: Obj) -> Record:
        """Store `obj`, which from now on must not change, under a new revision, and tell the listeners."""
        self.revision += 1
        meta = obj["metadata"]
        meta["resourceVersion"] = str(self.revision)
        namespace, name = meta.get("namespace", ""), meta["name"]
        record = Record(obj, self.revision)
        names = self._objects[key].setdefault(namespace, {})
        before = names.get(name)
        names[name] = record
        place = (key, namespace, name)
        self._by_uid[meta["uid"]] = place
        if before is not None:
            self._forget_owners(before.obj, place)
        for owner in meta.get("ownerReferences") or ():
            self._by_owner[owner["uid"]].add(place)
        self._tell(Change("MODIFIED" if before else "ADDED", key, record, before))
        return record

    def remove(self, key: Key, namespace: str, name: str) -> Record:
        """Take an object out; its last version carries the revision of its removal."""
        names = self._objects[key][namespace]
        before = names.pop(name)
        if not names:
            del self._objects[key][namespace]
        self.revision += 1
        meta = before.obj["metadata"]
        last = Record({**before.obj, "metadata": {**meta, "resourceVersion": str(self.revision)}}, self.revision)
        self._by_uid.pop(meta["uid"], None)
        self._forget_owners(before.obj, (key, namespace, name))
        self._tell(Change("DELETED", key, last, before))
        return last

    def _forget_owners(self, obj: Obj, place: Place) -> None:
        for owner in dig(obj, "metadata", "ownerReferences") or ():
            places = self._by_owner[owner["uid"]]
            places.discard(place)
            if not places:
                del self._by_owner[owner["uid"]]

    def _tell(self, change: Change) -> None:
        changes = self._changes[change.key]
        changes.append(change)
        if len(changes) > self._history:
            self._compacted[change.key] = changes.popleft().record.revision
        self._undelivered.append(change)
        if self._delivering:
            return
        # A listener may write. Its change waits here, or those further down the list would hear it before its cause.
        self._delivering = True
        try:
            while self._undelivered:
                told = self._undelivered.popleft()
                for listener in (*self._listeners[told.key], *self._listeners[None]):
                    listener(told)
        finally:
            self._delivering = False

    def listen(self, key: Key | None, listener: Listener) -> Callable[[], None]:
        """Hear the changes of one collection, or of all (None). Returns what ends it."""
        self._listeners[key].append(listener)
        return lambda: self._listeners[key].remove(listener)

    def since(self, key: Key, revision: int) -> list[Change]:
        """The changes after `revision`. Raises 410 Expired when some of them are no longer kept."""
        oldest = max(self._floor, self._compacted[key])
        if revision < oldest:
            raise expired(f"too old resource version: {revision} ({oldest})")
        newer: list[Change] = []
        for change in reversed(self._changes[key]):
            if change.record.revision <= revision:
                break
            newer.append(change)
        newer.reverse()
        return newer

    def has_changed(self, key: Key, revision: int) -> bool:
        """Whether the collection may be another one than it was at this revision."""
        changes = self._changes[key]
        return self.is_compacted(key, revision) or bool(changes and changes[-1].record.revision > revision)

    def is_compacted(self, key: Key, revision: int) -> bool:
        return revision < max(self._floor, self._compacted[key])

    def compact(self) -> None:
        """Forget all changes, as etcd does every five minutes: whoever asks for older ones gets 410."""
        self._floor = self.revision
        self._changes.clear()
