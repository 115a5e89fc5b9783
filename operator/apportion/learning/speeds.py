"""How fast flavors are relative to each other: for one job by what was measured of it, for the others by their mean."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from apportion.model.curves import Curve
from apportion.model.flavors import Flavor
from apportion.model.measured import Observation

# The fastest and the slowest accelerator that anybody would train one job on do not differ by more.
MOST_APART = 16.0
WIDEST = math.log(MOST_APART)

Speeds = Mapping[str, float]


def levels(points: Iterable[Observation], curve: Curve) -> dict[str, float]:
    """By flavor: how many times as fast as `curve` the job is there; the geometric mean over its measured sizes."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for point in points:
        expected = curve_at(curve, point.replicas)
        if expected > 0:
            ratios[point.flavor].append(math.log(point.rate / expected))
    return {flavor: math.exp(sum(found) / len(found)) for flavor, found in sorted(ratios.items())}


def curve_at(curve: Curve, replicas: int) -> float:
    """A declared curve may be anything; 0 where it gives no usable rate."""
    try:
        rate = float(curve.at(replicas))
    except (ArithmeticError, IndexError, ValueError):
        return 0.0
    return rate if math.isfinite(rate) and rate > 0 else 0.0


def usual(flavors: Iterable[Flavor], measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each flavor's speed for a job of which nothing is known there: the mean of the jobs that were measured on it.

    measured: by job, its levels. What one job says counts by what it says of two flavors, relative to what the catalog
    says of them: the unit of its rate cancels. Geometric means, so that the order of flavors does not matter, and a
    single job moves them by its share at most. Where no job was on two flavors, the catalog holds.
    """
    catalog = {flavor.name: flavor.speed for flavor in flavors if flavor.speed > 0 and math.isfinite(flavor.speed)}
    votes: dict[str, list[float]] = defaultdict(list)
    for levels_ in measured:
        known = {name: level for name, level in levels_.items() if name in catalog}
        if len(known) < 2:
            continue
        logs = {name: math.log(level / catalog[name]) for name, level in known.items()}
        middle = sum(logs.values()) / len(logs)
        for name, log in logs.items():
            votes[name].append(min(max(log - middle, -WIDEST), WIDEST))
    return {
        name: speed * math.exp(sum(votes[name]) / len(votes[name])) if votes[name] else speed
        for name, speed in catalog.items()
    }


def bounded(speed: float, expected: float) -> float:
    """A measured speed, as far from what is expected of the flavor as can be believed."""
    return min(max(speed, expected / MOST_APART), expected * MOST_APART)
