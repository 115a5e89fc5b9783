"""Total readers of raw objects: whatever the JSON holds, a value of the asked type comes back."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from apportion.model.resources import CPU

Raw = Mapping[str, Any]
LARGEST = 2**62
# As the API server takes it; Decimal takes much more for a number.
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?", re.ASCII)


def at(raw: Any, *path: str) -> Any:
    """The value at a path of keys, or None where anything on the way is missing or no mapping."""
    for key in path:
        if not isinstance(raw, Mapping):
            return None
        raw = raw.get(key)
    return raw


def mapping(raw: Any, *path: str) -> Raw:
    value = at(raw, *path)
    return value if isinstance(value, Mapping) else {}


def mappings(raw: Any, *path: str) -> Iterator[Raw]:
    """The mappings in the list at a path; anything else in it is passed over."""
    value = at(raw, *path)
    if isinstance(value, list):
        yield from (entry for entry in value if isinstance(entry, Mapping))


def text(raw: Any, *path: str) -> str:
    value = at(raw, *path)
    return value if isinstance(value, str) else ""


def integer(raw: Any, *path: str, default: int = 0) -> int:
    value = at(raw, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def number(raw: Any, *path: str) -> float:
    """A finite number; 0 where it is none."""
    value = at(raw, *path)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else 0.0


def texts(raw: Any, *path: str) -> dict[str, str]:
    """String pairs, as of labels and annotations."""
    return {k: v for k, v in mapping(raw, *path).items() if isinstance(k, str) and isinstance(v, str)}


def seconds(raw: Any, *path: str) -> float | None:
    """An RFC 3339 time as seconds of the epoch; None if it is none."""
    return _epoch(text(raw, *path))


@lru_cache(maxsize=65_536)
def _epoch(value: str) -> float | None:
    try:
        parsed = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=65_536)
def timestamp(epoch: float) -> str:
    """Seconds of the epoch as Kubernetes writes times with fractions (MicroTime)."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def fingerprint(raw: Any) -> str:
    """Names a value: equal JSON has the same one, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(raw, sort_keys=True, default=str).encode()).hexdigest()[:16]


def amounts(raw: Any, *path: str) -> dict[str, int]:
    """A resource list in the model's units (cpu in millicores); malformed or negative quantities are left out."""
    found = {}
    for name, value in mapping(raw, *path).items():
        amount = quantity(str(name), str(value))
        if amount is not None and amount > 0:
            found[str(name)] = amount
    return found


@lru_cache(maxsize=65_536)
def quantity(name: str, value: str) -> int | None:
    """A quantity in the smallest unit of its resource, rounded up as Kubernetes does; None if it is malformed."""
    if QUANTITY.fullmatch(value[:40]) is None:
        return None
    try:
        parsed: Decimal = parse_quantity(value[:40])
        # Before it is an int: one with a million digits takes minutes to make.
        bounded = max(Decimal(-LARGEST), min(Decimal(LARGEST), parsed))
        scaled = bounded * 1000 if name == CPU else bounded
        return min(LARGEST, int(scaled.to_integral_value(rounding="ROUND_CEILING")))
    except (ValueError, ArithmeticError):
        return None
