"""The kubelets of all nodes: pods start, become ready, end, are restarted with back-off, and go.

Annotations of a pod direct it (prefix sandbox.apportion.dev/): terminates-after, how many seconds its containers take
to stop; exit-after and exit-code, when and how the main container ends by itself after each start; never-ready.
"""

from dataclasses import dataclass

from apportion.sandbox import containers
from apportion.sandbox.events import Recorder
from apportion.sandbox.pods import condition, is_over, is_ready, phase
from apportion.sandbox.storage import Change
from apportion.sandbox.store import Deletion, Store
from apportion.sandbox.trees import Obj, dig
from apportion.sandbox.workqueue import WorkQueue

_NAME = "kubelet"
_STOP_SECONDS = 0.2
_LONGEST_BACK_OFF = 300.0


@dataclass
class _Run:
    """What a kubelet remembers of a pod between two looks: timers that are set, and its back-off in seconds."""

    starting: bool = False
    stopping: float = float("inf")
    ending: bool = False
    back_off: float = 0.0
    ended_at: float = 0.0


class Kubelets:
    """Follows the pods that have a node. On a node that is unreachable nothing moves until it is back."""

    def __init__(self, store: Store, recorder: Recorder, start_seconds: float, back_off_seconds: float) -> None:
        self._store = store
        self._recorder = recorder
        self._start_seconds = start_seconds
        self._back_off_seconds = back_off_seconds
        self._runs: dict[str, _Run] = {}
        self._by_node: dict[str, set[str]] = {}
        self._addresses = 0
        self._queue: WorkQueue[str] = WorkQueue(store.clock, self._reconcile)
        store.storage.listen(("", "pods"), self._on_pod)
        store.storage.listen(("", "nodes"), self._on_node)

    def _on_pod(self, change: Change) -> None:
        node = dig(change.obj, "spec", "nodeName")
        if not node:
            return
        uid = change.obj["metadata"]["uid"]
        if change.type == "DELETED":
            self._runs.pop(uid, None)
            self._by_node.get(node, set()).discard(uid)
            return
        self._by_node.setdefault(node, set()).add(uid)
        self._queue.add(uid)

    def _on_node(self, change: Change) -> None:
        if change.type != "DELETED":
            old = condition(change.before.obj.get("status"), "Ready") if change.before else None
            if old != condition(change.obj.get("status"), "Ready"):
                for uid in sorted(self._by_node.get(change.obj["metadata"]["name"], ())):
                    self._queue.add(uid)

    def _pod(self, uid: str) -> Obj | None:
        place = self._store.storage.place_of(uid)
        record = self._store.storage.find(*place) if place else None
        return record.obj if record else None

    def _node_status(self, pod: Obj) -> str:
        """True, False or Unknown, as the node's Ready condition has it; Unknown for a node that is gone."""
        node = self._store.peek("nodes", "", pod["spec"]["nodeName"])
        found = condition(node.get("status"), "Ready") if node else None
        return str(found["status"]) if found else ("True" if node else "Unknown")

    def _reconcile(self, uid: str) -> None:
        pod = self._pod(uid)
        if pod is None or self._node_status(pod) == "Unknown":
            return
        run = self._runs.setdefault(uid, _Run())
        if "deletionTimestamp" in pod["metadata"]:
            self._stop(uid, run, pod)
        elif is_over(pod):
            return
        elif not containers.main_status(pod) and phase(pod) == "Pending":
            self._write(pod, containers.creating(pod, self._store.clock.now()))
        elif phase(pod) == "Pending":
            self._start(uid, run)
        elif "running" in containers.main_status(pod)["state"]:
            self._keep(uid, run, pod)
        else:
            self._restart(uid, run, pod)

    def _write(self, pod: Obj, status: Obj) -> None:
        self._store.set_status("pods", pod, status, _NAME)

    def _start(self, uid: str, run: _Run) -> None:
        if run.starting:
            return
        run.starting = True

        def started() -> None:
            pod = self._pod(uid)
            run.starting = False
            if pod is not None and "deletionTimestamp" not in pod["metadata"] and self._node_status(pod) != "Unknown":
                self._write(pod, containers.running(pod, self._store.clock.now(), self._address()))

        self._store.clock.call_later(self._start_seconds, started)

    def _address(self) -> str:
        self._addresses += 1
        return f"10.{self._addresses >> 16 & 255}.{self._addresses >> 8 & 255}.{self._addresses & 255}"

    def _keep(self, uid: str, run: _Run, pod: Obj) -> None:
        """A running pod: its readiness, and the end of its main container if it has one."""
        ready = containers.note(pod, "never-ready") != "true" and self._node_status(pod) == "True"
        if ready != is_ready(pod):
            statuses = [{**each, "ready": ready} for each in pod["status"]["containerStatuses"]]
            status = {**pod["status"], "containerStatuses": statuses}
            self._write(pod, containers.with_readiness(pod, status, ready, self._store.clock.now()))
        after = containers.seconds_note(pod, "exit-after")
        if after is None or run.ending:
            return
        run.ending = True

        def end() -> None:
            run.ending = False
            current = self._pod(uid)
            if current is None or "deletionTimestamp" in current["metadata"]:
                return
            if "running" in containers.main_status(current).get("state", {}):
                run.ended_at = self._store.clock.now()
                self._write(current, containers.ended(current, run.ended_at))

        self._store.clock.call_later(after, end)

    def _restart(self, uid: str, run: _Run, pod: Obj) -> None:
        """The first restart is immediate; after that each wait is twice the last; as upstream, for exit code 0 too."""
        due = run.ended_at + run.back_off
        now = self._store.clock.now()
        if now >= due:
            run.back_off = min(_LONGEST_BACK_OFF, run.back_off * 2 or self._back_off_seconds)
            self._write(pod, containers.restarted(pod, now))
            return
        if "waiting" not in containers.main_status(pod)["state"]:
            self._write(pod, containers.backing_off(pod, run.back_off))
            message = f"Back-off restarting failed container {containers.main_status(pod)['name']} in pod"
            self._recorder.record(pod, "BackOff", message, _NAME, "Warning")
        self._queue.add_after(uid, due - now + 0.001)

    def _stop(self, uid: str, run: _Run, pod: Obj) -> None:
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        wanted = containers.seconds_note(pod, "terminates-after")
        needed = min(grace, _STOP_SECONDS if wanted is None else wanted)
        due = self._store.clock.now() + needed
        if run.stopping <= due:
            return
        run.stopping = due

        def stopped() -> None:
            current = self._pod(uid)
            if current is None or run.stopping != due:
                return
            if self._node_status(current) == "Unknown":
                run.stopping = float("inf")
                return
            meta = current["metadata"]
            self._store.delete("pods", meta["namespace"], meta["name"], Deletion(grace=0, uid=uid))

        self._store.clock.call_later(needed, stopped)
