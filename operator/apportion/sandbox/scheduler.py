"""The scheduler: pods without a node, by priority and age, onto the node that scores best.

Preemption is not simulated. Pods of one template share the outcome of the filters, and an attempt that failed is not
repeated before something has become free.
"""

import heapq
from collections import Counter
from itertools import count
from random import Random

from apportion.sandbox.events import Recorder
from apportion.sandbox.placement import Demand, NodeState, static_refusal
from apportion.sandbox.pods import is_over, with_condition
from apportion.sandbox.storage import Change
from apportion.sandbox.store import Store
from apportion.sandbox.subresources import bind
from apportion.sandbox.trees import Obj, dig

_NAME = "default-scheduler"
_ALL_NODES = 100
_LEAST_PERCENT = 5
"""Pods per turn: requests are served between turns."""
_REFRESH_SECONDS = 2.0
"""A pod that still does not fit is told the new numbers at most this often."""


class _Waiting:
    """A pod without a node, and what was last written about it."""

    __slots__ = ("demand", "message", "order", "place", "queued", "written")

    def __init__(self, place: tuple[str, str], demand: Demand, order: tuple[int, int]) -> None:
        self.place = place
        self.demand = demand
        self.order = order
        self.queued = False
        self.message = ""
        self.written = 0.0


def feasible_nodes_to_find(nodes: int) -> int:
    """When enough nodes were found to score, as upstream (percentageOfNodesToScore unset): all of up to 100 nodes, then
    a share that falls from 50 % to 5 %, never fewer than 100."""
    if nodes <= _ALL_NODES:
        return nodes
    share = max(_LEAST_PERCENT, 50 - nodes // 125)
    return max(_ALL_NODES, nodes * share // 100)


class Scheduler:
    """Follows nodes and pods, and binds."""

    def __init__(self, store: Store, recorder: Recorder, bind_seconds: float, scoring: str, random: Random) -> None:
        if scoring not in ("LeastAllocated", "MostAllocated"):
            raise ValueError(f"scoring is LeastAllocated or MostAllocated, not {scoring!r}")
        self._store = store
        self._recorder = recorder
        self._bind_seconds = bind_seconds
        self._most = scoring == "MostAllocated"
        self._random = random
        self._start = self._next_start = 0
        self._nodes: dict[str, NodeState] = {}
        self._bound: dict[str, str] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._heap: list[tuple[tuple[int, int], str]] = []
        self._arrivals = count()
        self._awake = False
        self._static: dict[bytes, tuple[list[NodeState], Counter[str]]] = {}
        self._failed: dict[bytes, str] = {}
        store.storage.listen(("", "nodes"), self._on_node)
        store.storage.listen(("", "pods"), self._on_pod)

    # Following

    def _on_node(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        if change.type == "DELETED":
            self._nodes.pop(name, None)
        elif name in self._nodes:
            if not _differs(change):
                return
            self._nodes[name].update(change.obj)
        else:
            self._nodes[name] = NodeState(change.obj)
            for uid, at in self._bound.items():
                place = self._store.storage.place_of(uid)
                record = self._store.storage.find(*place) if at == name and place else None
                if record is not None:
                    self._nodes[name].put(uid, Demand(record.obj["spec"]))
        self._static.clear()
        self._retry()

    def _on_pod(self, change: Change) -> None:
        pod = change.obj
        uid, node = pod["metadata"]["uid"], dig(pod, "spec", "nodeName")
        if change.type == "DELETED" or is_over(pod):
            self._waiting.pop(uid, None)
            at = self._bound.pop(uid, None)
            if at is not None:
                if at in self._nodes:
                    self._nodes[at].take(uid)
                self._retry()
        elif node:
            waiting = self._waiting.pop(uid, None)
            if uid not in self._bound:
                self._bound[uid] = node
                if node in self._nodes:
                    self._nodes[node].put(uid, waiting.demand if waiting else Demand(pod["spec"]))
        elif uid not in self._waiting:
            if pod["spec"].get("schedulerName", _NAME) == _NAME and not pod["spec"].get("schedulingGates"):
                self._await(pod)
        elif "deletionTimestamp" in pod["metadata"]:
            del self._waiting[uid]

    def _await(self, pod: Obj) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            return
        meta = pod["metadata"]
        order = (-int(pod["spec"].get("priority") or 0), next(self._arrivals))
        self._waiting[meta["uid"]] = _Waiting((meta["namespace"], meta["name"]), Demand(pod["spec"]), order)
        self._enqueue(meta["uid"])
        self._wake(self._bind_seconds)

    def _enqueue(self, uid: str) -> None:
        waiting = self._waiting[uid]
        if not waiting.queued:
            waiting.queued = True
            heapq.heappush(self._heap, (waiting.order, uid))

    def _retry(self) -> None:
        """Something may have become free: everything that waits is worth another attempt."""
        self._failed.clear()
        for uid in self._waiting:
            self._enqueue(uid)
        if self._heap:
            self._wake(self._bind_seconds)

    def _wake(self, seconds: float) -> None:
        if not self._awake:
            self._awake = True
            self._store.clock.call_later(seconds, self._work)

    # Deciding

    def _work(self) -> None:
        self._awake = False
        """One pod, then the API server's turn: the real scheduler is another process, and does not hold it up."""
        if self._heap:
            _, uid = heapq.heappop(self._heap)
            waiting = self._waiting.get(uid)
            if waiting is not None:
                waiting.queued = False
                self._schedule(uid, waiting)
        if self._heap:
            self._wake(0)

    def _schedule(self, uid: str, waiting: _Waiting) -> None:
        demand = waiting.demand
        message = self._failed.get(demand.signature)
        if message is None:
            node = self._choose(demand, waiting.place)
            if node is not None:
                bind(self._store, *waiting.place, node.name, _NAME)
                pod = self._store.peek("pods", *waiting.place)
                if pod is not None:
                    done = f"Successfully assigned {'/'.join(waiting.place)} to {node.name}"
                    self._recorder.record(pod, "Scheduled", done, _NAME)
                return
            message = self._failed[demand.signature] = self._why_not(demand, waiting.place)
        self._refuse(uid, waiting, message)

    def _candidates(self, demand: Demand, place: tuple[str, str]) -> tuple[list[NodeState], Counter[str]]:
        found = self._static.get(demand.signature)
        if found is None:
            pod = self._store.peek("pods", *place)
            assert pod is not None
            reasons: Counter[str] = Counter()
            admitted = []
            for state in self._nodes.values():
                reason = static_refusal(pod["spec"], state.node)
                if reason:
                    reasons[reason] += 1
                else:
                    admitted.append(state)
            found = self._static[demand.signature] = (admitted, reasons)
        return found

    def _choose(self, demand: Demand, place: tuple[str, str]) -> NodeState | None:
        best: list[NodeState] = []
        highest = -1
        admitted = self._candidates(demand, place)[0]
        enough = feasible_nodes_to_find(len(admitted))
        for looked, at in enumerate(range(self._start, self._start + len(admitted)), start=1):
            if not enough:
                break
            state = admitted[at % len(admitted)]
            if not state.fits(demand):
                continue
            enough -= 1
            self._next_start = self._start + looked
            score = state.score(demand, self._most)
            if score > highest:
                best, highest = [state], score
            elif score == highest:
                best.append(state)
        self._start = self._next_start % max(1, len(self._nodes))
        return self._random.choice(best) if best else None

    def _why_not(self, demand: Demand, place: tuple[str, str]) -> str:
        admitted, refused = self._candidates(demand, place)
        total = len(self._nodes)
        if not total:
            return "no nodes available to schedule pods"
        reasons = Counter(refused)
        for state in admitted:
            reasons.update(state.shortages(demand))
        listed = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
        helpless = f"preemption: 0/{total} nodes are available: {total} Preemption is not helpful for scheduling."
        return f"0/{total} nodes are available: {listed}. {helpless}"

    def _refuse(self, uid: str, waiting: _Waiting, message: str) -> None:
        now = self._store.clock.now()
        if message == waiting.message:
            return
        wait = waiting.written + _REFRESH_SECONDS - now
        if waiting.message and wait > 0:
            self._store.clock.call_later(wait, lambda: self._look_again(uid))
            return
        waiting.message, waiting.written = message, now
        pod = self._store.peek("pods", *waiting.place)
        if pod is not None:
            status = with_condition(pod.get("status") or {}, "PodScheduled", False, now, "Unschedulable", message)
            self._store.set_status("pods", pod, status, _NAME)
            self._recorder.record(pod, "FailedScheduling", message, _NAME, "Warning")

    def _look_again(self, uid: str) -> None:
        if uid in self._waiting:
            self._enqueue(uid)
            self._wake(0)


def _differs(change: Change) -> bool:
    """Whether a node changed in what placement looks at. Heartbeats do not."""
    old, new = change.before.obj if change.before else {}, change.obj
    return any(
        dig(old, *path) != dig(new, *path) for path in (("spec",), ("metadata", "labels"), ("status", "allocatable"))
    )
