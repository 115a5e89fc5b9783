"""Events: the two shapes that the API knows, and the recorder of the simulated parts."""

from collections import deque
from random import Random

from apportion.sandbox.clock import Clock, timestamp
from apportion.sandbox.store import Deletion, Store, Write
from apportion.sandbox.trees import Obj

_KEPT = 5_000
"""Events of the sandbox's own that are kept; the real server forgets them after an hour instead."""
_RENAMED = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)


def as_core_event(event: Obj) -> Obj:
    """An events.k8s.io/v1 Event as v1 has it, which is how it is stored."""
    names = {new: old for old, new in _RENAMED}
    return {**{names.get(key, key): value for key, value in event.items()}, "apiVersion": "v1"}


def as_new_event(event: Obj) -> Obj:
    """A v1 Event as events.k8s.io/v1 has it."""
    names = dict(_RENAMED)
    return {**{names.get(key, key): value for key, value in event.items()}, "apiVersion": "events.k8s.io/v1"}


def reference(obj: Obj) -> Obj:
    """The ObjectReference of an object."""
    meta = obj["metadata"]
    about = {"kind": obj["kind"], "name": meta["name"], "uid": meta["uid"], "apiVersion": obj["apiVersion"]}
    about["resourceVersion"] = meta["resourceVersion"]
    return {**about, "namespace": meta["namespace"]} if "namespace" in meta else about


class Recorder:
    """Writes Events about objects. One that repeats is counted, not written again."""

    def __init__(self, store: Store, clock: Clock, random: Random) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._known: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._order: deque[tuple[str, str, str]] = deque()

    def record(self, obj: Obj, reason: str, message: str, component: str, kind: str = "Normal") -> None:
        """Record that `reason` happened to `obj`; `kind` is Normal or Warning."""
        same = (obj["metadata"]["uid"], reason, message)
        place = self._known.get(same)
        if place and self._store.peek("events", *place) is not None:
            self._store.revise("events", *place, self._again, Write(component))
            return
        namespace = obj["metadata"].get("namespace", "default")
        now = timestamp(self._clock.now())
        name = f"{obj['metadata']['name']}.{self._random.getrandbits(64):016x}"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": reference(obj),
            "reason": reason,
            "message": message,
            "source": {"component": component},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": kind,
            "eventTime": None,
            "reportingComponent": component,
            "reportingInstance": "",
        }
        space = self._store.peek("namespaces", "", namespace)
        if space is None or "deletionTimestamp" in space["metadata"]:
            return
        self._store.create(self._store.resource("events"), namespace, event, Write(component))
        self._known[same] = (namespace, name)
        self._order.append(same)
        if len(self._order) > _KEPT:
            self._forget()

    def _again(self, event: Obj) -> Obj:
        return {**event, "count": event["count"] + 1, "lastTimestamp": timestamp(self._clock.now())}

    def _forget(self) -> None:
        place = self._known.pop(self._order.popleft())
        if self._store.peek("events", *place) is not None:
            self._store.delete("events", *place, Deletion())
