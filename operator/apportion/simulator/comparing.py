"""What seeds say together: means, and paired bootstrap intervals of the difference to another policy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
COVERED = 0.95
FEWEST = 3  # seeds, below which an interval would be a pretence


@dataclass(frozen=True)
class Interval:
    """The mean of the differences, seed by seed; low and high None: too few seeds."""

    mean: float
    low: float | None = None
    high: float | None = None


def mean(values: Sequence[float | None]) -> float | None:
    """None where one is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def difference(first: Sequence[float | None], other: Sequence[float | None], seed: int = 0) -> Interval | None:
    """other - first, each pair of the same seed: percentile bootstrap over the pairs (Efron and Tibshirani, 1993).

    None where a value is missing.
    """
    pairs = [(a, b) for a, b in zip(first, other, strict=True) if a is not None and b is not None]
    if not pairs or len(pairs) < len(first):
        return None
    differences = np.array([b - a for a, b in pairs])
    if len(differences) < FEWEST:
        return Interval(float(differences.mean()))
    random = np.random.default_rng(seed)
    drawn = random.choice(differences, size=(RESAMPLES, len(differences))).mean(axis=1)
    low, high = np.quantile(drawn, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return Interval(float(differences.mean()), float(low), float(high))
