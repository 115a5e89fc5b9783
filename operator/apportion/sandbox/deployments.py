"""The Deployment controller: a ReplicaSet for each template, and the change from one to the next."""

import hashlib

from apportion.sandbox.clock import seconds_of, timestamp
from apportion.sandbox.events import Recorder
from apportion.sandbox.objects import controlled_by, labels_of, owner_of
from apportion.sandbox.pods import condition, is_over, with_condition
from apportion.sandbox.rules import NAME_LETTERS
from apportion.sandbox.selectors import selector_matches
from apportion.sandbox.storage import Change
from apportion.sandbox.store import Deletion, Store, Write
from apportion.sandbox.subresources import share
from apportion.sandbox.trees import Obj, clone, compact, dig
from apportion.sandbox.workqueue import WorkQueue

_NAME = "deployment-controller"
_SETS = ("apps", "replicasets")
_PODS = ("", "pods")
_HASH = "pod-template-hash"
_REVISION = "deployment.kubernetes.io/revision"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MAXIMUM = "deployment.kubernetes.io/max-replicas"

Place = tuple[str, str]


def template_hash(template: Obj, collisions: int) -> str:
    """Ten letters that name a template; others after each collision with a ReplicaSet of somebody else."""
    digest = hashlib.sha256(compact(template) + str(collisions or "").encode()).digest()
    return "".join(NAME_LETTERS[byte % len(NAME_LETTERS)] for byte in digest[:10])


def rolling_bounds(spec: Obj) -> tuple[int, int]:
    """(pods above the wanted number, pods below it) that a rolling update may go to."""
    rolling = dig(spec, "strategy", "rollingUpdate") or {}
    replicas = spec["replicas"]
    surge = share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def _status(obj: Obj, name: str) -> int:
    return int(dig(obj, "status", name) or 0)


def _replicas(replica_set: Obj) -> int:
    return int(replica_set["spec"]["replicas"])


def _made_for(deployment: Obj, sets: list[Obj]) -> Obj | None:
    """The oldest of the sets that has the Deployment's template, whatever its name."""
    return next((each for each in sets if _unhashed(each["spec"]["template"]) == deployment["spec"]["template"]), None)


def _unhashed(template: Obj) -> Obj:
    labels = {key: value for key, value in template["metadata"]["labels"].items() if key != _HASH}
    return {**template, "metadata": {**template["metadata"], "labels": labels}}


def _revision(replica_set: Obj) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(_REVISION, "0"))


class Deployments:
    """Follows Deployments, their ReplicaSets and, for Recreate, the last of the old pods."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder
        self._orphans: set[Place] = set()
        self._queue: WorkQueue[Place] = WorkQueue(store.clock, self._reconcile)
        store.storage.listen(("apps", "deployments"), self._on_deployment)
        store.storage.listen(_SETS, self._on_set)
        store.storage.listen(_PODS, self._on_pod)

    def _on_deployment(self, change: Change) -> None:
        meta = change.obj["metadata"]
        if change.type != "DELETED":
            self._queue.add((meta["namespace"], meta["name"]))

    def _on_set(self, change: Change) -> None:
        owner, meta = owner_of(change.obj), change.obj["metadata"]
        place = meta["namespace"], meta["name"]
        if owner is not None or change.type == "DELETED":
            self._orphans.discard(place)
        else:
            self._orphans.add(place)
            for record in self._store.storage.records(("apps", "deployments"), meta["namespace"]):
                self._queue.add((meta["namespace"], record.obj["metadata"]["name"]))
        if owner is not None and owner["kind"] == "Deployment":
            self._queue.add((meta["namespace"], owner["name"]))

    def _on_pod(self, change: Change) -> None:
        if change.type != "DELETED" and not is_over(change.obj):
            return
        owner = owner_of(change.obj)
        if owner is None or owner["kind"] != "ReplicaSet":
            return
        namespace = change.obj["metadata"]["namespace"]
        replica_set = self._store.peek("replicasets", namespace, owner["name"])
        above = owner_of(replica_set) if replica_set else None
        if above is not None:
            self._queue.add((namespace, above["name"]))

    def _reconcile(self, place: Place) -> None:
        deployment = self._store.peek("deployments", *place)
        if deployment is None or "deletionTimestamp" in deployment["metadata"]:
            return
        self._adopt(deployment)
        sets = self._sets_of(deployment)
        new = _made_for(deployment, sets)
        old = [each for each in sets if each is not new]
        if deployment["spec"].get("paused"):
            if new is not None:
                self._scale(deployment, new, deployment["spec"]["replicas"])
        elif deployment["spec"]["strategy"]["type"] == "Recreate":
            self._recreate(deployment, new, old)
        else:
            self._roll(deployment, new, old)
        self._clean_up(deployment, old)
        self._write_status(place)

    def _sets_of(self, deployment: Obj) -> list[Obj]:
        """Its ReplicaSets, oldest first."""
        owned = self._store.storage.owned(deployment["metadata"]["uid"], _SETS)
        return sorted(owned, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]))

    def _adopt(self, deployment: Obj) -> None:
        """Take over the ReplicaSets of its selector that nobody controls."""
        owner = controlled_by(deployment)

        def adopted(old: Obj) -> Obj:
            others = old["metadata"].get("ownerReferences") or []
            return {**old, "metadata": {**old["metadata"], "ownerReferences": [*others, owner]}}

        for namespace, name in sorted(self._orphans):
            found = self._store.peek("replicasets", namespace, name)
            if found is None or namespace != deployment["metadata"]["namespace"]:
                continue
            selected = selector_matches(deployment["spec"]["selector"], labels_of(found))
            if selected and "deletionTimestamp" not in found["metadata"]:
                self._store.revise("replicasets", namespace, name, adopted, Write(_NAME))

    def _recreate(self, deployment: Obj, new: Obj | None, old: list[Obj]) -> None:
        for each in old:
            self._scale(deployment, each, 0)
        pods = (pod for each in old for pod in self._store.storage.owned(each["metadata"]["uid"], _PODS))
        if all(is_over(pod) for pod in pods):
            wanted = deployment["spec"]["replicas"]
            new = new or self._create(deployment, old, wanted)
            if new is not None:
                self._scale(deployment, new, wanted)

    def _roll(self, deployment: Obj, new: Obj | None, old: list[Obj]) -> None:
        spec = deployment["spec"]
        wanted = spec["replicas"]
        surge, unavailable = rolling_bounds(spec)
        total = sum(map(_replicas, old)) + (_replicas(new) if new else 0)
        present = _replicas(new) if new else 0
        room = max(0, wanted + surge - total)
        target = wanted if not any(map(_replicas, old)) else min(wanted, present + room)
        if new is None:
            new = self._create(deployment, old, target)
            if new is None:
                return
        elif self._scale(deployment, new, target):
            return
        self._shrink_old(deployment, new, [each for each in old if _replicas(each)], wanted - unavailable)

    def _shrink_old(self, deployment: Obj, new: Obj, old: list[Obj], least: int) -> None:
        """Take from the old sets first what does not work anyway, then what the available pods allow."""
        lacking = _replicas(new) - _status(new, "availableReplicas")
        budget = sum(map(_replicas, old)) + _replicas(new) - least - lacking
        if budget <= 0:
            return
        spare = max(0, sum(_status(each, "availableReplicas") for each in (*old, new)) - least)
        for each in old:
            broken = max(0, min(_replicas(each) - _status(each, "availableReplicas"), budget))
            budget -= broken
            taken = min(_replicas(each) - broken, spare)
            spare -= taken
            self._scale(deployment, each, _replicas(each) - broken - taken)

    def _create(self, deployment: Obj, old: list[Obj], replicas: int) -> Obj | None:
        """None: another one's ReplicaSet has the name. That is counted, and the next look takes the next name."""
        meta, spec, collisions = deployment["metadata"], deployment["spec"], _status(deployment, "collisionCount")
        letters = template_hash(spec["template"], collisions)
        template = clone(spec["template"])
        template["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), _HASH: letters}
        selector = clone(spec["selector"])
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), _HASH: letters}
        name = f"{meta['name']}-{letters}"
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "labels": dict(template["metadata"]["labels"]),
                "annotations": {_REVISION: str(max(map(_revision, old), default=0) + 1)},
                "ownerReferences": [controlled_by(deployment)],
            },
            "spec": {
                "replicas": replicas,
                "selector": selector,
                "template": template,
                "minReadySeconds": spec.get("minReadySeconds") or 0,
            },
        }
        if self._store.peek("replicasets", meta["namespace"], name) is not None:
            status = {**(deployment.get("status") or {}), "collisionCount": collisions + 1}
            self._store.set_status("deployments", deployment, status, _NAME)
            return None
        made = self._store.create(self._store.resource("replicasets"), meta["namespace"], body, Write(_NAME)).obj
        self._tell(deployment, name, 0, replicas)
        return made

    def _scale(self, deployment: Obj, replica_set: Obj, replicas: int) -> bool:
        """Write a ReplicaSet's number and the bookkeeping beside it. True when the number changed."""
        meta = replica_set["metadata"]
        before = _replicas(replica_set)
        wanted = deployment["spec"]["replicas"]
        surge = rolling_bounds(deployment["spec"])[0] if "rollingUpdate" in deployment["spec"]["strategy"] else 0
        notes = {_DESIRED: str(wanted), _MAXIMUM: str(wanted + surge)}

        def rescaled(old: Obj) -> Obj:
            annotations = {**(old["metadata"].get("annotations") or {}), **notes}
            metadata = {**old["metadata"], "annotations": annotations}
            return {**old, "metadata": metadata, "spec": {**old["spec"], "replicas": replicas}}

        self._store.revise("replicasets", meta["namespace"], meta["name"], rescaled, Write(_NAME))
        if replicas != before:
            self._tell(deployment, meta["name"], before, replicas)
        return replicas != before

    def _tell(self, deployment: Obj, name: str, before: int, after: int) -> None:
        if before == after:
            return
        verb = "up" if after > before else "down"
        message = f"Scaled {verb} replica set {name} from {before} to {after}"
        self._recorder.record(deployment, "ScalingReplicaSet", message, _NAME)

    def _clean_up(self, deployment: Obj, old: list[Obj]) -> None:
        empty = [each for each in old if not _replicas(each) and not _status(each, "replicas")]
        surplus = len(empty) - (deployment["spec"].get("revisionHistoryLimit") or 0)
        for each in sorted(empty, key=_revision)[: max(0, surplus)]:
            meta = each["metadata"]
            self._store.delete("replicasets", meta["namespace"], meta["name"], Deletion(propagation="Background"))

    def _write_status(self, place: Place) -> None:
        deployment = self._store.peek("deployments", *place)
        if deployment is None:
            return
        sets = self._sets_of(deployment)
        new = _made_for(deployment, sets)
        if new is not None:
            self._note_revision(place, new, sets)
            deployment = self._store.peek("deployments", *place) or deployment
        counts = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": sum(_status(each, "replicas") for each in sets),
            "collisionCount": _status(deployment, "collisionCount"),
            "updatedReplicas": _status(new, "replicas") if new else 0,
            "readyReplicas": sum(_status(each, "readyReplicas") for each in sets),
            "availableReplicas": sum(_status(each, "availableReplicas") for each in sets),
        }
        counts["unavailableReplicas"] = max(0, sum(map(_replicas, sets)) - counts["availableReplicas"])
        status: Obj = {name: value for name, value in counts.items() if value}
        status["conditions"] = list(dig(deployment, "status", "conditions") or ())
        status = self._with_conditions(deployment, sets, new, counts, status)
        self._store.set_status("deployments", deployment, status, _NAME)

    def _note_revision(self, place: Place, new: Obj, sets: list[Obj]) -> None:
        newest = max((_revision(each) for each in sets if each is not new), default=0) + 1
        revision = str(max(newest, _revision(new)))

        def noted(obj: Obj) -> Obj:
            annotations = {**(obj["metadata"].get("annotations") or {}), _REVISION: revision}
            return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}

        self._store.revise("replicasets", place[0], new["metadata"]["name"], noted, Write(_NAME))
        self._store.revise("deployments", *place, noted, Write(_NAME))

    def _with_conditions(
        self, deployment: Obj, sets: list[Obj], new: Obj | None, counts: dict[str, int], status: Obj
    ) -> Obj:
        now, spec = self._store.clock.now(), deployment["spec"]
        unavailable = rolling_bounds(spec)[1] if spec["strategy"]["type"] == "RollingUpdate" else 0
        if counts["availableReplicas"] >= spec["replicas"] - unavailable:
            words = "MinimumReplicasAvailable", "Deployment has minimum availability."
            status = with_condition(status, "Available", True, now, *words)
        else:
            words = "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
            status = with_condition(status, "Available", False, now, *words)
        failures = [c for each in sets if (c := condition(each.get("status"), "ReplicaFailure"))]
        status["conditions"] = [each for each in status["conditions"] if each["type"] != "ReplicaFailure"]
        if failures:
            why = failures[0]
            status = with_condition(status, "ReplicaFailure", True, now, why["reason"], why["message"])
        return self._with_progress(deployment, new, counts, status)

    def _with_progress(self, deployment: Obj, new: Obj | None, counts: dict[str, int], status: Obj) -> Obj:
        now, wanted = self._store.clock.now(), deployment["spec"]["replicas"]
        if new is None:
            return status
        name = new["metadata"]["name"]
        complete = counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == wanted
        if complete:
            message = f'ReplicaSet "{name}" has successfully progressed.'
            return with_condition(status, "Progressing", True, now, "NewReplicaSetAvailable", message)
        limit = deployment["spec"].get("progressDeadlineSeconds") or 600
        before = deployment.get("status") or {}
        moved = any(
            counts[each] != before.get(each, 0) for each in ("updatedReplicas", "availableReplicas", "replicas")
        )
        present = condition(status, "Progressing")
        done = present is not None and present["reason"] in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded")
        if done and not moved and counts["observedGeneration"] == before.get("observedGeneration"):
            return status
        since = now if moved or present is None or done else seconds_of(present.get("lastUpdateTime"))
        if now - since >= limit:
            message = f'ReplicaSet "{name}" has timed out progressing.'
            return with_condition(status, "Progressing", False, now, "ProgressDeadlineExceeded", message)
        meta = deployment["metadata"]
        self._queue.add_after((meta["namespace"], meta["name"]), since + limit - now + 0.01)
        message = f'ReplicaSet "{name}" is progressing.'
        result = with_condition(status, "Progressing", True, now, "ReplicaSetUpdated", message)
        return _updated(result, since)


def _updated(status: Obj, since: float) -> Obj:
    conditions = [
        {**each, "lastUpdateTime": timestamp(since)} if each["type"] == "Progressing" else each
        for each in status["conditions"]
    ]
    return {**status, "conditions": conditions}
