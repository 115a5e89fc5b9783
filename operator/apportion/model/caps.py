"""Caps on what runs: money per hour and watts, of all jobs together or of one queue's."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from apportion.model.flavors import Flavor
from apportion.model.policy import Policy
from apportion.model.queues import Queue

LARGEST = 1e15  # of money or watts for one accelerator: products with counts stay finite


class Kind(StrEnum):
    """Budget: money per hour. Power: watts."""

    BUDGET = "budget"
    POWER = "power"

    @property
    def words(self) -> str:
        return "budget" if self is Kind.BUDGET else "power cap"

    @property
    def unit(self) -> str:
        return "per hour" if self is Kind.BUDGET else "W"

    @property
    def field(self) -> str:
        """The flavor's field that says what one accelerator counts."""
        return "pricePerHour" if self is Kind.BUDGET else "watts"


@dataclass(frozen=True)
class Cap:
    """At most `limit` in all; queue "" is the whole cluster.

    each: what one granted accelerator counts, by flavor. Idle accelerators count nothing; nor do those of a flavor
    that does not say what they cost or draw (see `caps_of`, which warns).
    """

    kind: Kind
    queue: str
    limit: float
    each: Mapping[str, float]

    @property
    def whose(self) -> str:
        return f"queue {self.queue}" if self.queue else "the cluster"

    def covers(self, queue: str | None) -> bool:
        return not self.queue or self.queue == queue

    def used(self, accelerators: Mapping[tuple[str | None, str], float]) -> float:
        """What accelerators by (queue, flavor) count against it."""
        counted = accelerators.items()
        return math.fsum(count * self.each.get(name, 0.0) for (queue, name), count in counted if self.covers(queue))


def caps_of(policy: Policy, queues: Iterable[Queue], flavors: Iterable[Flavor]) -> tuple[tuple[Cap, ...], list[str]]:
    """The cluster's caps, then those of the queues. Second: warnings, each of which names a queue or flavor."""
    flavors, warnings = tuple(flavors), list[str]()
    caps: list[Cap] = []
    for kind, queue, limit in _limits(policy, queues):
        whose = f"queue {queue}" if queue else "the AllocationPolicy"
        if not math.isfinite(limit) or limit < 0:
            warnings.append(
                f"{whose}: a {kind.words} of {limit} is not a number of at least 0; there is no such limit now"
            )
            continue
        caps.append(Cap(kind, queue, limit, _each(kind, flavors)))
    for kind in dict.fromkeys(cap.kind for cap in caps):
        known = _each(kind, flavors)
        warnings += [
            f"flavor {flavor.name}: no usable {kind.field}; what runs on it counts nothing against any {kind.words}"
            for flavor in flavors
            if flavor.name not in known
        ]
    return tuple(caps), warnings


def _limits(policy: Policy, queues: Iterable[Queue]) -> Iterator[tuple[Kind, str, float]]:
    for name, per_hour, watts in (
        ("", policy.budget_per_hour, policy.power_cap_watts),
        *((queue.name, queue.budget_per_hour, queue.power_cap_watts) for queue in queues),
    ):
        if per_hour is not None:
            yield Kind.BUDGET, name, per_hour
        if watts is not None:
            yield Kind.POWER, name, watts


def _each(kind: Kind, flavors: Iterable[Flavor]) -> dict[str, float]:
    """By flavor; without those that do not say, or say nonsense."""
    said = {flavor.name: flavor.price_per_hour if kind is Kind.BUDGET else flavor.watts for flavor in flavors}
    known = {name: each for name, each in said.items() if each is not None and math.isfinite(each) and each >= 0}
    return {name: min(each, LARGEST) for name, each in known.items()}
