"""Where a pod may go: the scheduler's filters, as pure functions of a pod and a node."""

from typing import Any

from apportion.sandbox.objects import labels_of
from apportion.sandbox.pods import Amounts, add, amounts, pod_amounts
from apportion.sandbox.selectors import requirement
from apportion.sandbox.trees import Obj, compact, dig

UNSCHEDULABLE = "node(s) were unschedulable"
TAINTED = "node(s) had untolerated taint(s)"
MISMATCHED = "node(s) didn't match Pod's node affinity/selector"
CROWDED = "Too many pods"
_UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_DEFAULT_CPU, _DEFAULT_MEMORY = 100, 200 * 2**20
"""What scoring takes for a container that requests none, as in the real scheduler."""


def tolerates(tolerations: list[Obj], taint: Obj) -> bool:
    """Whether any toleration covers the taint."""
    return any(covers(each, taint) for each in tolerations)


def covers(toleration: Obj, taint: Obj) -> bool:
    """Whether one toleration covers the taint."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _term_matches(term: Obj, node: Obj) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    name = {"metadata.name": node["metadata"]["name"]}
    labels = labels_of(node)
    return all(_holds(each, labels) for each in expressions) and all(_holds(each, name) for each in fields)


def _holds(expression: Obj, labels: dict[str, str]) -> bool:
    try:
        return requirement(expression["key"], expression["operator"], expression.get("values") or [])(labels)
    except ValueError:
        return False


def matches_affinity(spec: Obj, node: Obj) -> bool:
    """nodeSelector and the required node affinity, whose terms are alternatives."""
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity: Any = dig(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    if affinity is None:
        return True
    return any(_term_matches(term, node) for term in affinity.get("nodeSelectorTerms") or ())


def static_refusal(spec: Obj, node: Obj) -> str:
    """Why the node will not do however empty it is; "" when it will. In the order of the real filters."""
    tolerations = spec.get("tolerations") or []
    if dig(node, "spec", "unschedulable") and not tolerates(tolerations, _UNSCHEDULABLE_TAINT):
        return UNSCHEDULABLE
    for taint in dig(node, "spec", "taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerates(tolerations, taint):
            return TAINTED
    return "" if matches_affinity(spec, node) else MISMATCHED


class Demand:
    """What placing a pod depends on; pods of one template share it by `signature`."""

    __slots__ = ("amounts", "scored", "signature")

    def __init__(self, spec: Obj) -> None:
        self.amounts = {name: amount for name, amount in pod_amounts(spec).items() if amount}
        self.scored = _scored_amounts(spec, self.amounts)
        parts = [spec.get("nodeSelector"), dig(spec, "affinity", "nodeAffinity"), spec.get("tolerations"), self.amounts]
        self.signature = compact(parts)


def _scored_amounts(spec: Obj, requested: Amounts) -> Amounts:
    scored = dict(requested)
    for name, default in (("cpu", _DEFAULT_CPU), ("memory", _DEFAULT_MEMORY)):
        lacking = sum(
            name not in (dig(container, "resources", "requests") or {}) for container in spec.get("containers") or ()
        )
        scored[name] = requested.get(name, 0) + lacking * default
    return scored


class NodeState:
    """A node with what its pods take of it."""

    __slots__ = ("allocatable", "free", "name", "node", "pods", "scored")

    def __init__(self, node: Obj) -> None:
        self.name: str = node["metadata"]["name"]
        self.pods: dict[str, Demand] = {}
        self.scored: Amounts = {}
        self.free: Amounts = {}
        self.update(node)

    def update(self, node: Obj) -> None:
        self.node = node
        self.allocatable = amounts(dig(node, "status", "allocatable"))
        self.free = dict(self.allocatable)
        for demand in self.pods.values():
            add(self.free, demand.amounts, -1)

    def put(self, uid: str, demand: Demand) -> None:
        self.pods[uid] = demand
        add(self.free, demand.amounts, -1)
        add(self.scored, demand.scored)

    def take(self, uid: str) -> None:
        demand = self.pods.pop(uid, None)
        if demand is not None:
            add(self.free, demand.amounts)
            add(self.scored, demand.scored, -1)

    def fits(self, demand: Demand) -> bool:
        free = self.free
        for name, amount in demand.amounts.items():
            if free.get(name, 0) < amount:
                return False
        return len(self.pods) < self.allocatable.get("pods", 110)

    def shortages(self, demand: Demand) -> list[str]:
        """Why a pod does not fit, in the scheduler's words."""
        reasons = [CROWDED] if len(self.pods) >= self.allocatable.get("pods", 110) else []
        lacking = [name for name, amount in demand.amounts.items() if self.free.get(name, 0) < amount]
        return reasons + [f"Insufficient {name}" for name in sorted(lacking)]

    def score(self, demand: Demand, most: bool) -> int:
        """0 to 100, from cpu and memory as in the real scheduler; packing also looks at the accelerators asked for."""
        names = ["cpu", "memory"]
        if most:
            names += [name for name in demand.amounts if "/" in name]
        total = counted = 0
        for name in names:
            capacity = self.allocatable.get(name, 0)
            if not capacity:
                continue
            used = min(capacity, self.scored.get(name, 0) + demand.scored.get(name, 0))
            total += (used if most else capacity - used) * 100 // capacity
            counted += 1
        return total // counted if counted else 0
