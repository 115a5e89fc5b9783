"""What the accelerators cost and draw at this moment, by who holds them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from apportion.assessment.holding import IDLE, Holding, holdings
from apportion.model.flavors import Flavor
from apportion.model.snapshot import Snapshot


@dataclass(frozen=True)
class Draw:
    """Accelerators of one flavor that one queue's jobs hold ("": jobs without a queue), or others, or nobody.

    per_hour: money per hour, what is idle included, since it is paid for too. watts: power, that of idle accelerators
    by the flavor's idleWatts. None where the flavor does not say.
    """

    queue: str
    flavor: str
    use: str
    accelerators: float
    per_hour: float | None
    watts: float | None


def draws(snapshot: Snapshot) -> tuple[Draw, ...]:
    """By flavor, use and queue."""
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    counted: dict[tuple[str, str, str], float] = {}
    for row in holdings(snapshot):
        key = (row.flavor, row.use, row.queue)
        counted[key] = counted.get(key, 0.0) + row.accelerators
    return tuple(
        Draw(queue, flavor, use, count, *charge(flavors[flavor], use, count))
        for (flavor, use, queue), count in counted.items()
    )


def charge(flavor: Flavor, use: str, accelerators: float) -> tuple[float | None, float | None]:
    """(money per hour, watts) of so many accelerators."""
    each = flavor.idle_watts if use == IDLE else flavor.watts
    return _times(accelerators, flavor.price_per_hour), _times(accelerators, each)


def charge_of(row: Holding, flavors: Mapping[str, Flavor]) -> tuple[float | None, float | None]:
    return charge(flavors[row.flavor], row.use, row.accelerators)


def _times(accelerators: float, each: float | None) -> float | None:
    return None if each is None or not math.isfinite(each) or each < 0 else accelerators * each
