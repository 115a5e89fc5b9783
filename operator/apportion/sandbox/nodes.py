"""The node lifecycle: what happens to nodes that are not ready, cordoned or gone, and to the pods on them."""

from apportion.sandbox.clock import seconds_of, timestamp
from apportion.sandbox.events import Recorder
from apportion.sandbox.placement import covers
from apportion.sandbox.pods import condition, is_over, with_condition
from apportion.sandbox.storage import Change
from apportion.sandbox.store import Deletion, Store, Write
from apportion.sandbox.trees import Obj, dig
from apportion.sandbox.workqueue import WorkQueue

_NAME = "node-controller"
_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_CORDONED = "node.kubernetes.io/unschedulable"
_OWN = frozenset({_NOT_READY, _UNREACHABLE, _CORDONED})
_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


def own_taints(node: Obj, now: float) -> list[Obj]:
    """The taints that the state of a node calls for, beside those of others, each with the time it was set."""
    present = dig(node, "spec", "taints") or []
    wanted: list[tuple[str, str]] = [(_CORDONED, "NoSchedule")] if dig(node, "spec", "unschedulable") else []
    found = condition(node.get("status"), "Ready")
    if found is not None and found["status"] != "True":
        key = _NOT_READY if found["status"] == "False" else _UNREACHABLE
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    taints = [taint for taint in present if taint["key"] not in _OWN]
    for key, effect in wanted:
        old = next((taint for taint in present if (taint["key"], taint["effect"]) == (key, effect)), None)
        taints.append(old or {"key": key, "effect": effect, "timeAdded": timestamp(now)})
    return taints


class Nodes:
    """Follows nodes and the pods on them."""

    def __init__(self, store: Store, recorder: Recorder, orphan_seconds: float) -> None:
        self._store = store
        self._recorder = recorder
        self._orphan_seconds = orphan_seconds
        self._by_node: dict[str, set[str]] = {}
        self._nodes: WorkQueue[str] = WorkQueue(store.clock, self._reconcile)
        self._pods: WorkQueue[str] = WorkQueue(store.clock, self._reconcile_pod)
        store.storage.listen(("", "nodes"), self._on_node)
        store.storage.listen(("", "pods"), self._on_pod)

    def _on_node(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        if change.type == "DELETED":
            for uid in sorted(self._by_node.get(name, ())):
                self._pods.add_after(uid, self._orphan_seconds)
        elif change.before is None or _state(change.before.obj) != _state(change.obj):
            self._nodes.add(name)

    def _on_pod(self, change: Change) -> None:
        node, uid = dig(change.obj, "spec", "nodeName"), change.obj["metadata"]["uid"]
        if not node:
            return
        if change.type == "DELETED":
            self._by_node.get(node, set()).discard(uid)
        elif uid not in self._by_node.setdefault(node, set()):
            self._by_node[node].add(uid)
            gone = self._store.peek("nodes", "", node) is None
            self._pods.add_after(uid, self._orphan_seconds if gone else 0)

    def _reconcile(self, name: str) -> None:
        node = self._store.peek("nodes", "", name)
        if node is None:
            return
        found = condition(node.get("status"), "Ready")
        if found is None:
            self._store.set_status("nodes", node, self._registered(node), "kubelet")
            return
        taints = own_taints(node, self._store.clock.now())
        if taints != (dig(node, "spec", "taints") or []):
            reason = {"True": "NodeReady", "False": "NodeNotReady"}.get(found["status"], "NodeNotReady")
            self._store.revise("nodes", "", name, lambda old: _with_taints(old, taints), Write(_NAME))
            self._recorder.record(node, reason, f"Node {name} status is now: {reason}", _NAME)
        for uid in sorted(self._by_node.get(name, ())):
            if found["status"] != "True":
                self._mark_not_ready(uid)
            self._pods.add(uid)

    def _registered(self, node: Obj) -> Obj:
        """What a kubelet writes when it first reports: a node without a Ready condition gets one here."""
        now, status = self._store.clock.now(), dict(node.get("status") or {})
        for kind, reason, message in _PRESSURES:
            status = with_condition(status, kind, False, now, reason, message)
        status = with_condition(status, "Ready", True, now, "KubeletReady", "kubelet is posting ready status")
        status.setdefault("nodeInfo", _NODE_INFO)
        status.setdefault("addresses", [{"type": "Hostname", "address": node["metadata"]["name"]}])
        return status

    def _pod(self, uid: str) -> Obj | None:
        place = self._store.storage.place_of(uid)
        record = self._store.storage.find(*place) if place else None
        return record.obj if record else None

    def _mark_not_ready(self, uid: str) -> None:
        pod = self._pod(uid)
        ready = condition(pod.get("status"), "Ready") if pod else None
        if pod is not None and ready is not None and ready["status"] == "True":
            status = with_condition(pod["status"], "Ready", False, self._store.clock.now(), "NodeNotReady")
            self._store.set_status("pods", pod, status, _NAME)

    def _reconcile_pod(self, uid: str) -> None:
        pod = self._pod(uid)
        if pod is None:
            return
        meta = pod["metadata"]
        node = self._store.peek("nodes", "", pod["spec"]["nodeName"])
        if node is None:
            self._store.delete("pods", meta["namespace"], meta["name"], Deletion(grace=0, uid=uid))
            return
        if is_over(pod) or "deletionTimestamp" in meta:
            return
        due = _eviction_time(pod, node)
        if due is None:
            return
        now = self._store.clock.now()
        if due > now:
            self._pods.add_after(uid, due - now)
            return
        message = f"Marking for deletion Pod {meta['namespace']}/{meta['name']}"
        self._recorder.record(pod, "TaintManagerEviction", message, "taint-eviction-controller")
        self._store.delete("pods", meta["namespace"], meta["name"], Deletion(uid=uid))


_NODE_INFO = {
    "architecture": "amd64",
    "bootID": "",
    "containerRuntimeVersion": "sandbox://1",
    "kernelVersion": "0",
    "kubeProxyVersion": "",
    "kubeletVersion": "v1.36.0",
    "machineID": "",
    "operatingSystem": "linux",
    "osImage": "Apportion sandbox",
    "systemUUID": "",
}


def _with_taints(node: Obj, taints: list[Obj]) -> Obj:
    spec = {key: value for key, value in node["spec"].items() if key != "taints"}
    return {**node, "spec": {**spec, "taints": taints} if taints else spec}


def _state(node: Obj) -> tuple[object, ...]:
    ready = condition(node.get("status"), "Ready")
    return dig(node, "spec", "taints"), dig(node, "spec", "unschedulable"), ready and ready["status"]


def _eviction_time(pod: Obj, node: Obj) -> float | None:
    """When the NoExecute taints of its node put a pod out, in seconds since the epoch; None for never."""
    tolerations = pod["spec"].get("tolerations") or []
    times: list[float] = []
    for taint in dig(node, "spec", "taints") or ():
        if taint["effect"] != "NoExecute":
            continue
        covering = [each for each in tolerations if covers(each, taint)]
        if not covering:
            return 0.0
        bounds = [each["tolerationSeconds"] for each in covering if each.get("tolerationSeconds") is not None]
        if bounds:
            times.append(seconds_of(taint.get("timeAdded")) + max(0.0, min(bounds)))
    return min(times, default=None)
