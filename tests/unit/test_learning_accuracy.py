"""How well a curve that was fitted to three sizes foretells the larger ones, on truths that it cannot express.

The jobs are made here from what a training step does, with none of the fit's formulas: a step computes, then gradients
go round a ring or up a tree, fast inside a node and slowly between nodes, so that rates fall in steps where another
node begins; or the rate is a power of the replicas with a drop at the second node.
"""

import math
from collections.abc import Callable
from random import Random
from statistics import median

import pytest

from apportion.learning.fitting import GLOBAL, PER_REPLICA, Measured, fitted

Truth = Callable[[int], float]

LARGEST = 32
JOBS = 600
NOISE = 0.05
AT_MOST = 0.20


def per_replica_batch(random: Random, block: int) -> Truth:
    """Each replica's batch stays: rate = R / the time of a step."""
    drop, exponent = random.uniform(0.56, 1.0), random.uniform(0.75, 0.97)
    ring, slower, tree = random.uniform(0.0, 0.08), random.uniform(1.0, 5.0), random.uniform(0.0, 0.05)

    def by_ring(replicas: int) -> float:
        nodes, inside = math.ceil(replicas / block), min(replicas, block)
        return replicas / (1 + 2 * ring * (inside - 1) / inside + 2 * ring * slower * (nodes - 1) / nodes)

    def by_tree(replicas: int) -> float:
        nodes = math.ceil(replicas / block)
        return replicas / (1 + tree * math.log2(replicas) + (1 / drop - 1) * math.log2(nodes) / 2)

    def by_power(replicas: int) -> float:
        return float(replicas**exponent) * (drop if replicas > block else 1.0)

    return random.choice([by_ring, by_tree, by_power])


def global_batch(random: Random, block: int) -> Truth:
    """The whole batch stays: rate = 1 / the time of a step, of which a part is shared."""
    drop, exponent = random.uniform(0.56, 1.0), random.uniform(0.3, 0.8)
    serial, ring, slower = random.uniform(0.02, 0.3), random.uniform(0.02, 0.15), random.uniform(1.0, 4.0)
    tree = random.uniform(0.0, 0.08)

    def by_ring(replicas: int) -> float:
        nodes, inside = math.ceil(replicas / block), min(replicas, block)
        shared = serial + (1 - serial) / replicas
        return 1 / (shared + 2 * ring * (inside - 1) / inside + 2 * ring * slower * (nodes - 1) / nodes)

    def by_tree(replicas: int) -> float:
        nodes = math.ceil(replicas / block)
        shared = serial + (1 - serial) / replicas
        return 1 / (shared + tree * math.log2(replicas) + 2 * tree * math.log2(nodes))

    def by_power(replicas: int) -> float:
        return float(replicas**exponent) * (drop if replicas > block else 1.0)

    return random.choice([by_ring, by_tree, by_power])


def errors(make: Callable[[Random, int], Truth], sizes: int, jobs: int = JOBS) -> list[float]:
    """Relative errors at all sizes above the measured ones. A job starts with 1, 2 or 4 replicas and is doubled."""
    prior = PER_REPLICA if make is per_replica_batch else GLOBAL
    found = []
    for seed in range(jobs):
        random = Random(seed)
        block, first, unit = random.choice([2, 4, 8]), random.choice([1, 2, 4]), random.uniform(1.0, 10_000.0)
        truth = make(random, block)
        seen = [first * 2**step for step in range(sizes)]
        measured = tuple(Measured(n, unit * truth(n) * math.exp(random.gauss(0.0, NOISE))) for n in seen)
        curve = fitted(measured, prior, block, 1)
        found += [abs(curve.believed(n) / (unit * truth(n)) - 1) for n in range(seen[-1] + 1, LARGEST + 1)]
    return found


@pytest.mark.parametrize("make", [per_replica_batch, global_batch])
def test_three_sizes_foretell_all_larger_ones(make: Callable[[Random, int], Truth]) -> None:
    assert median(errors(make, sizes=3)) <= AT_MOST


@pytest.mark.parametrize("make", [per_replica_batch, global_batch])
def test_more_measured_sizes_foretell_better(make: Callable[[Random, int], Truth]) -> None:
    one, two, three = (median(errors(make, sizes)) for sizes in (1, 2, 3))
    assert three < one
    assert two < 1.1 * one
