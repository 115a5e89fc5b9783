"""Throughput as a function of replicas.

The Universal Scalability Law, X(R) = l R / (1 + s (R - 1) + c R (R - 1)) (Gunther; throughput.md), declared points
with linear interpolation in between, or what was learned of a job.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace


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


@dataclass(frozen=True)
class Learned:
    """A curve that was fitted to measurements: 1 / X(R) = t0 / R + t1 + t2 R, and more beyond one node.

    There `crossing` / R is added, or `crossing` itself where a step waits for it once whatever its size (`shared`: the
    global batch). None of the four is negative, so no measurement makes it scale better than proportionally. block:
    replicas that fit on one node (0: nothing is known of that). reach: beyond so many replicas nothing more is
    promised, since it is too far from what was measured. spread: relative standard deviation of the rate at `reach`,
    what the fit itself says of its uncertainty.
    """

    t0: float
    t1: float = 0.0
    t2: float = 0.0
    crossing: float = 0.0
    shared: bool = False
    block: int = 0
    reach: int = 1
    spread: float = 0.0

    def at(self, replicas: int) -> float:
        """What is promised."""
        return self.believed(min(replicas, self.reach))

    def believed(self, replicas: int) -> float:
        """What the fit says, however far from what was measured."""
        beyond = self.crossing if 0 < self.block < replicas else 0.0
        apart, together = (0.0, beyond) if self.shared else (beyond, 0.0)
        return 1.0 / ((self.t0 + apart) / replicas + self.t1 + together + self.t2 * replicas)

    def scaled(self, factor: float) -> "Learned":
        """The same shape, so many times as fast."""
        return replace(
            self, t0=self.t0 / factor, t1=self.t1 / factor, t2=self.t2 / factor, crossing=self.crossing / factor
        )


Curve = Usl | Points | Learned

PER_REPLICA_BATCH = Usl(sigma=0.017, kappa=0.0)
GLOBAL_BATCH = Usl(sigma=0.19, kappa=0.006)
