"""The ReplicaSet controller: as many pods as asked for, and the upstream order in which they leave."""

from collections import Counter
from random import Random

from apportion.sandbox.clock import seconds_of
from apportion.sandbox.errors import StatusError
from apportion.sandbox.events import Recorder
from apportion.sandbox.objects import controlled_by, labels_of, owner_of
from apportion.sandbox.pods import is_active, is_ready, phase, ready_since, with_condition
from apportion.sandbox.storage import Change
from apportion.sandbox.store import Store, Write
from apportion.sandbox.trees import Obj, clone, dig
from apportion.sandbox.workqueue import WorkQueue

_NAME = "replicaset-controller"
_PODS = ("", "pods")
_SETS = ("apps", "replicasets")
_COST = "controller.kubernetes.io/pod-deletion-cost"
_BURST = 500
_RETRY_SECONDS = 1.0
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}

Place = tuple[str, str]


def departure_order(pods: list[Obj], related: list[Obj], random: Random) -> list[Obj]:
    """The pods in the order in which a shrink deletes them; `related` are the active pods of the same Deployment.

    The order of ActivePodsWithRanks upstream, without its logarithmic buckets of time.
    """
    neighbours = Counter(dig(pod, "spec", "nodeName") for pod in related)
    keyed = [(_rank(pod, neighbours), random.random(), pod) for pod in pods]
    keyed.sort(key=lambda entry: entry[:2])
    return [pod for _, _, pod in keyed]


def _rank(pod: Obj, neighbours: Counter[str | None]) -> tuple[float, ...]:
    node = dig(pod, "spec", "nodeName")
    restarts = sum(each.get("restartCount", 0) for each in dig(pod, "status", "containerStatuses") or ())
    return (
        bool(node),
        _PHASES.get(phase(pod), 0),
        is_ready(pod),
        _deletion_cost(pod),
        -neighbours[node] if node else 0,
        -ready_since(pod),
        -restarts,
        -seconds_of(pod["metadata"]["creationTimestamp"]),
    )


def _deletion_cost(pod: Obj) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(_COST, "0"))
    except ValueError:
        return 0


class ReplicaSets:
    """Follows ReplicaSets and their pods."""

    def __init__(self, store: Store, recorder: Recorder, random: Random) -> None:
        self._store = store
        self._recorder = recorder
        self._random = random
        self._refused: dict[Place, tuple[float, StatusError | None]] = {}
        self._queue: WorkQueue[Place] = WorkQueue(store.clock, self._reconcile)
        store.storage.listen(_SETS, self._on_set)
        store.storage.listen(_PODS, self._on_pod)

    def _on_set(self, change: Change) -> None:
        meta = change.obj["metadata"]
        if change.type != "DELETED":
            self._queue.add((meta["namespace"], meta["name"]))

    def _on_pod(self, change: Change) -> None:
        owner = owner_of(change.obj)
        if owner is not None and owner["kind"] == "ReplicaSet":
            self._queue.add((change.obj["metadata"]["namespace"], owner["name"]))

    def _reconcile(self, place: Place) -> None:
        replica_set = self._store.peek("replicasets", *place)
        if replica_set is None:
            self._refused.pop(place, None)
            return
        owned = self._store.storage.owned(replica_set["metadata"]["uid"], _PODS)
        pods = [pod for pod in owned if is_active(pod)]
        refusal = None
        if "deletionTimestamp" not in replica_set["metadata"]:
            missing = replica_set["spec"]["replicas"] - len(pods)
            if missing > 0:
                refusal = self._create_unless_refused(place, replica_set, min(missing, _BURST))
            elif missing < 0:
                self._delete(replica_set, pods, min(-missing, _BURST))
        # Counted before its own writes, as upstream: the pods' events bring the next look.
        self._write_status(replica_set, pods, refusal)

    def _create_unless_refused(self, place: Place, replica_set: Obj, number: int) -> StatusError | None:
        """Create pods, but after a refusal only when its wait is over: each refusal names another pod, and so changes
        the status that brings the next look."""
        until, refusal = self._refused.pop(place, (0.0, None))
        now = self._store.clock.now()
        if now >= until:
            until, refusal = now + _RETRY_SECONDS, self._create(replica_set, number)
        if refusal is not None:
            self._refused[place] = (until, refusal)
            self._queue.add_after(place, until - now)
        return refusal

    def _create(self, replica_set: Obj, number: int) -> StatusError | None:
        meta, template = replica_set["metadata"], replica_set["spec"]["template"]
        resource = self._store.resource("pods")
        for _ in range(number):
            metadata = {
                **clone(template.get("metadata") or {}),
                "generateName": f"{meta['name']}-",
                "ownerReferences": [controlled_by(replica_set)],
            }
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": clone(template["spec"])}
            try:
                made = self._store.create(resource, meta["namespace"], pod, Write(_NAME)).obj
            except StatusError as error:
                self._recorder.record(replica_set, "FailedCreate", f"Error creating: {error}", _NAME, "Warning")
                return error
            done = f"Created pod: {made['metadata']['name']}"
            self._recorder.record(replica_set, "SuccessfulCreate", done, _NAME)
        return None

    def _delete(self, replica_set: Obj, pods: list[Obj], number: int) -> None:
        for pod in departure_order(pods, self._related(replica_set), self._random)[:number]:
            meta = pod["metadata"]
            self._store.delete("pods", meta["namespace"], meta["name"])
            self._recorder.record(replica_set, "SuccessfulDelete", f"Deleted pod: {meta['name']}", _NAME)

    def _related(self, replica_set: Obj) -> list[Obj]:
        owner = owner_of(replica_set)
        sets = self._store.storage.owned(owner["uid"], _SETS) if owner else [replica_set]
        pods = (pod for each in sets for pod in self._store.storage.owned(each["metadata"]["uid"], _PODS))
        return [pod for pod in pods if is_active(pod)]

    def _write_status(self, replica_set: Obj, pods: list[Obj], refusal: StatusError | None) -> None:
        now = self._store.clock.now()
        needed = replica_set["spec"].get("minReadySeconds") or 0
        ready = [pod for pod in pods if is_ready(pod)]
        waits = [wait for pod in ready if (wait := ready_since(pod) + needed - now) > 0] if needed else []
        if waits:
            meta = replica_set["metadata"]
            self._queue.add_after((meta["namespace"], meta["name"]), min(waits))
        template_labels = dig(replica_set, "spec", "template", "metadata", "labels") or {}
        labelled = sum(template_labels.items() <= labels_of(pod).items() for pod in pods)
        status = {
            "replicas": len(pods),
            "fullyLabeledReplicas": labelled,
            "readyReplicas": len(ready),
            "availableReplicas": len(ready) - len(waits),
            "observedGeneration": replica_set["metadata"]["generation"],
        }
        status = {name: value for name, value in status.items() if value or name == "replicas"}
        if refusal is not None:
            old = {**status, "conditions": dig(replica_set, "status", "conditions") or []}
            status = with_condition(old, "ReplicaFailure", True, now, "FailedCreate", str(refusal))
        self._store.set_status("replicasets", replica_set, status, _NAME)
