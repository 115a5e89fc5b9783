"""The fit of one job's curve: non-negative least squares on what was measured, with what is usual as further rows.

1 / X(R) = t0 / R + t1 + t2 R is the Universal Scalability Law in a form that is linear in what is sought
(throughput.md): sigma = (t1 + t2) / (t0 + t1 + t2), kappa = t2 / (t0 + t1 + t2). A fourth term is what the second node
costs: time of each replica's own step where batches are per replica, of the one step where the batch is global.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from apportion.model.curves import Learned, Usl

Floats = NDArray[np.float64]

NOISE = 0.05  # relative standard deviation of one measured size
STALE_SECONDS = 12 * 3600.0  # so much older than the newest, a measurement has twice the noise
OPTIMISM = 2  # nothing is promised beyond so many times the largest measured size
FASTEST_ALONE = 10.0  # one replica alone is at most so many times as fast as the fastest measured size
PASSES = 6
FREEDOM = 3.0  # of the prior's tails
SETTLED = 0.02


@dataclass(frozen=True, slots=True)
class Prior:
    """What sigma and kappa, and the cost of the second node over one replica's time, usually are: mean and standard
    deviation. shared: see `Learned`."""

    sigma: tuple[float, float]
    kappa: tuple[float, float]
    crossing: tuple[float, float]
    shared: bool


# sigma and kappa of 199 measured curves (throughput.md). On a slow network the second node takes about half of each
# replica's rate and on a fast one nothing: the mean of its cost is low, and its spread lets one measurement decide.
PER_REPLICA = Prior((0.017, 0.027), (0.0, 0.001), (0.1, 0.2), shared=False)
GLOBAL = Prior((0.19, 0.18), (0.006, 0.027), (0.05, 0.1), shared=True)


@dataclass(frozen=True, slots=True)
class Measured:
    """A rate at a size, `age` seconds before the newest one of the job."""

    replicas: int
    rate: float
    age: float = 0.0


def fitted(measured: tuple[Measured, ...], prior: Prior, block: int, least: int) -> Learned:
    """The curve of at least one measurement. `block`: replicas that fit on a node (0: unknown); `least`: the job's
    minimum, which is always within reach."""
    sizes = np.array([entry.replicas for entry in measured], dtype=np.float64)
    times = np.array([1.0 / entry.rate for entry in measured])
    noise = np.array([NOISE * (1.0 + entry.age / STALE_SECONDS) for entry in measured])
    terms = _terms(sizes, block, prior.shared)
    rows, sides = terms / (times * noise)[:, None], 1.0 / noise
    # What one replica needs is known only from the fit, and weighs the rows of the prior; and a job that is far from
    # what is usual is held to it less (as by Student's t, not by a normal distribution). A few passes settle both.
    least_alone = float(times.min()) / FASTEST_ALONE
    first = int(sizes.argmin())
    usually = Usl(1.0, prior.sigma[0], prior.kappa[0]).at(int(sizes[first]))
    alone, held = max(float(times[first]) * usually, least_alone), np.ones(3)
    for _ in range(PASSES):
        usual, expected = _usual(prior, alone)
        system = np.vstack([rows, usual * held[:, None]])
        found, _ = nnls(system, np.concatenate([sides, expected * held]))
        # What was measured beyond one node alone says little of one replica, which is not infinitely fast.
        found[0] = max(found[0], least_alone - found[1] - found[2])
        alone = float(found[0] + found[1] + found[2])
        away = _usual(prior, alone)[0] @ found - expected
        before, held = held, 1.0 / np.sqrt(1.0 + away**2 / FREEDOM)
        if np.all(np.abs(held - before) < SETTLED):
            break
    reach = max(OPTIMISM * int(sizes.max()), least)
    spread = _spread(system, _terms(np.array([reach], dtype=np.float64), block, prior.shared)[0], found)
    t0, t1, t2, crossing = (float(value) for value in found)
    return Learned(t0, t1, t2, crossing, prior.shared, block, reach, spread)


def _terms(sizes: Floats, block: int, shared: bool) -> Floats:
    crosses = (sizes > block) / (1.0 if shared else sizes) if block > 0 else np.zeros_like(sizes)
    return np.stack([1.0 / sizes, np.ones_like(sizes), sizes, crosses], axis=1)


def _usual(prior: Prior, alone: float) -> tuple[Floats, Floats]:
    """Rows that say sigma, kappa and crossing / alone are what they usually are, each over its standard deviation."""
    (sigma, wide), (kappa, wider), (crossing, widest) = prior.sigma, prior.kappa, prior.crossing
    rows = np.array([
        [-sigma / wide, (1 - sigma) / wide, (1 - sigma) / wide, 0.0],
        [-kappa / wider, -kappa / wider, (1 - kappa) / wider, 0.0],
        [0.0, 0.0, 0.0, 1.0 / widest],
    ])  # fmt: skip
    return rows / alone, np.array([0.0, 0.0, crossing / widest])


def _spread(system: Floats, at: Floats, found: Floats) -> float:
    """Relative standard deviation of the rate, by the curvature of the least squares."""
    # The prior's rows and a single measurement are enough to tell all four unknowns apart.
    return math.sqrt(max(0.0, float(at @ np.linalg.solve(system.T @ system, at)))) / float(at @ found)
