"""What the simulated parts need to know about a pod."""

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from apportion.sandbox.clock import seconds_of, timestamp
from apportion.sandbox.trees import Obj, dig

Amounts = dict[str, int]
"""Resources by name: cpu in thousandths, everything else in whole units (memory in bytes)."""

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_LARGEST = Decimal(2**63 - 1)  # as in Kubernetes, which takes it for everything above
_QUANTITY = re.compile(r"(?P<digits>[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)(?P<suffix>[numkMGTPE]?|[KMGTPE]i)")


@lru_cache(maxsize=4096)
def quantity(name: str, text: str) -> int:
    """A quantity of the resource `name`, rounded up to its unit. Raises ValueError for what is no quantity."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"quantities must match the regular expression, got {text!r}")
    value = max(-_LARGEST, min(_LARGEST, Decimal(found["digits"]))) * _SUFFIXES[found["suffix"]]
    scaled = min(_LARGEST, value) * (1000 if name.endswith("cpu") else 1)
    return int(scaled.to_integral_value(ROUND_CEILING))


def amounts(listed: Obj | None) -> Amounts:
    """A ResourceList as whole numbers."""
    return {name: quantity(name, str(text)) for name, text in (listed or {}).items()}


def add(total: Amounts, more: Amounts, sign: int = 1) -> None:
    """Add to, or with sign -1 take from, `total` in place."""
    for name, amount in more.items():
        total[name] = total.get(name, 0) + sign * amount


def _largest(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in left.keys() | right.keys()}


def _container_amounts(container: Obj, field: str) -> Amounts:
    return amounts(dig(container, "resources", field))


def pod_amounts(spec: Obj, field: str = "requests") -> Amounts:
    """What the scheduler counts for a pod: containers and sidecars, or the peak of its start; and overhead."""
    running: Amounts = {}
    for container in spec.get("containers") or ():
        add(running, _container_amounts(container, field))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _container_amounts(container, field)
        if container.get("restartPolicy") == "Always":
            add(running, own)
            add(sidecars, own)
            peak = _largest(peak, sidecars)
        else:
            add(own, sidecars)
            peak = _largest(peak, own)
    total = _largest(running, peak)
    total.update(amounts(dig(spec, "resources", field)))
    if spec.get("overhead"):
        add(total, amounts(spec["overhead"]))
    return total


def phase(pod: Obj) -> str:
    return str(dig(pod, "status", "phase") or "Pending")


def is_over(pod: Obj) -> bool:
    """Succeeded or Failed: it holds nothing any more."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Obj) -> bool:
    """Counts as a replica: neither over nor on its way out."""
    return not is_over(pod) and "deletionTimestamp" not in pod["metadata"]


def condition(status: Obj | None, kind: str) -> Obj | None:
    """The condition of that type in a status."""
    for each in (status or {}).get("conditions") or ():
        if each["type"] == kind:
            return dict(each)
    return None


def is_ready(pod: Obj) -> bool:
    found = condition(pod.get("status"), "Ready")
    return found is not None and found["status"] == "True"


def ready_since(pod: Obj) -> float:
    """When the pod became ready, in seconds since the epoch; 0 if it is not."""
    found = condition(pod.get("status"), "Ready")
    return seconds_of(found["lastTransitionTime"]) if found and found["status"] == "True" else 0.0


def with_condition(status: Obj, kind: str, value: bool | str, now: float, reason: str = "", message: str = "") -> Obj:
    """The status with that condition. The time of its transition stays while its value does."""
    word = value if isinstance(value, str) else ("True" if value else "False")
    old = condition(status, kind)
    since = old["lastTransitionTime"] if old and old["status"] == word else timestamp(now)
    new: Obj = {"type": kind, "status": word, "lastTransitionTime": since}
    if reason:
        new["reason"] = reason
    if message:
        new["message"] = message
    others = list(status.get("conditions") or ())
    at = next((i for i, each in enumerate(others) if each["type"] == kind), len(others))
    others[at : at + 1] = [new]
    return {**status, "conditions": others}
