"""Throughput as a function of replicas.

The Universal Scalability Law, X(R) = l R / (1 + s (R - 1) + c R (R - 1)) (Gunther; throughput.md), or declared points
with linear interpolation in between.
"""

from bisect import bisect_left
from dataclasses import dataclass


@dataclass(frozen=True)
class Usl:
    rate: float = 1.0
    sigma: float = 0.017
    kappa: float = 0.0

    def at(self, replicas: int) -> float:
        return self.rate * replicas / (1 + self.sigma * (replicas - 1) + self.kappa * replicas * (replicas - 1))


@dataclass(frozen=True)
class Points:
    """Measured or declared (replicas, rate) pairs in rising order of replicas.

    Below the first point the rate is proportional; beyond the last it stays: nothing is promised that was not declared.
    """

    pairs: tuple[tuple[int, float], ...]

    def at(self, replicas: int) -> float:
        counts = [count for count, _ in self.pairs]
        at = bisect_left(counts, replicas)
        if at == len(counts):
            return self.pairs[-1][1]
        count, rate = self.pairs[at]
        if count == replicas:
            return rate
        if at == 0:
            return rate * replicas / count
        before, slower = self.pairs[at - 1]
        return slower + (rate - slower) * (replicas - before) / (count - before)


Curve = Usl | Points

PER_REPLICA_BATCH = Usl(sigma=0.017, kappa=0.0)
GLOBAL_BATCH = Usl(sigma=0.19, kappa=0.006)
