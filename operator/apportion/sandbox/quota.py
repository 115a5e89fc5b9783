"""ResourceQuota: pods beyond it are refused, and its status says what is used."""

from apportion.sandbox.errors import forbidden
from apportion.sandbox.kinds import Resource
from apportion.sandbox.pods import Amounts, add, amounts, is_over, pod_amounts
from apportion.sandbox.storage import Change
from apportion.sandbox.store import Store
from apportion.sandbox.trees import Obj, dig
from apportion.sandbox.workqueue import WorkQueue

_NAME = "resourcequota-controller"
_KEY = ("", "resourcequotas")


def charge(pod: Obj) -> Amounts:
    """What a pod counts for, by the names that quotas use."""
    requests, limits = pod_amounts(pod["spec"]), pod_amounts(pod["spec"], "limits")
    charged = {"pods": 1, "count/pods": 1}
    charged.update({f"requests.{name}": amount for name, amount in requests.items()})
    charged.update({name: amount for name, amount in requests.items() if name in ("cpu", "memory")})
    charged.update({f"limits.{name}": amount for name, amount in limits.items() if name in ("cpu", "memory")})
    return charged


def _text(name: str, amount: int) -> str:
    if not name.endswith("cpu"):
        return str(amount)
    return f"{amount}m" if amount % 1000 else str(amount // 1000)


class Quotas:
    """Keeps the use of every namespace as pods come and go. Scopes of quotas are not simulated."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._charges: dict[str, tuple[str, Amounts]] = {}
        self._used: dict[str, Amounts] = {}
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(store.clock, self._reconcile)
        store.storage.listen(("", "pods"), self._on_pod)
        store.storage.listen(_KEY, self._on_quota)
        store.admission.append(self._admit)

    def _on_pod(self, change: Change) -> None:
        pod = change.obj
        uid, namespace = pod["metadata"]["uid"], pod["metadata"]["namespace"]
        counted = change.type != "DELETED" and not is_over(pod)
        if counted == (uid in self._charges):
            return
        if counted:
            self._charges[uid] = (namespace, charge(pod))
            add(self._used.setdefault(namespace, {}), self._charges[uid][1])
        else:
            add(self._used[namespace], self._charges.pop(uid)[1], -1)
        for record in self._store.storage.records(_KEY, namespace):
            self._queue.add((namespace, record.obj["metadata"]["name"]))

    def _on_quota(self, change: Change) -> None:
        if change.type != "DELETED":
            self._queue.add((change.obj["metadata"]["namespace"], change.obj["metadata"]["name"]))

    def _admit(self, resource: Resource, pod: Obj) -> None:
        """Raise 403 Forbidden for a pod that would pass a quota."""
        if resource.key != ("", "pods"):
            return
        namespace = pod["metadata"]["namespace"]
        quotas = list(self._store.storage.records(_KEY, namespace))
        if not quotas:
            return
        asked, used = charge(pod), self._used.get(namespace, {})
        for record in quotas:
            name = record.obj["metadata"]["name"]
            hard = amounts(dig(record.obj, "spec", "hard"))
            unset = sorted(word for word in hard if word not in asked and word.endswith(("cpu", "memory")))
            if unset:
                why = f"failed quota: {name}: must specify {','.join(unset)}"
                raise forbidden(resource, pod["metadata"]["name"], why)
            over = sorted(w for w, most in hard.items() if asked.get(w) and used.get(w, 0) + asked[w] > most)
            if over:
                parts = [
                    ",".join(f"{word}={_text(word, values.get(word, 0))}" for word in over)
                    for values in (asked, used, hard)
                ]
                why = f"exceeded quota: {name}, requested: {parts[0]}, used: {parts[1]}, limited: {parts[2]}"
                raise forbidden(resource, pod["metadata"]["name"], why)

    def _reconcile(self, place: tuple[str, str]) -> None:
        quota = self._store.peek("resourcequotas", *place)
        if quota is None:
            return
        hard: Obj = dig(quota, "spec", "hard") or {}
        used = self._used.get(place[0], {})
        counted = {name: _text(name, used.get(name, 0)) for name in hard}
        self._store.set_status("resourcequotas", quota, {"hard": dict(hard), "used": counted}, _NAME)
