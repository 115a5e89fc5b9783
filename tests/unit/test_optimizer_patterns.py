"""Patterns of pods on nodes: all of them, whether many pods fit together, and where a search ends."""

import itertools
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
import pytest

from apportion.model.jobs import JobKey
from apportion.model.plan import Allocation, Status
from apportion.optimizer import patterns as room
from apportion.optimizer import place, solve
from apportion.optimizer.cells import cells_of, request
from apportion.optimizer.patterns import Kind, Patterns, patterns_of
from optimizer_builders import EXACT, GPU, granted, job, node, snapshot
from property.brute_force import packs


class Pool:
    """Nodes with so many accelerators, and a job of each size that wants so many pods."""

    def __init__(self, rooms: Sequence[int], wanted: Mapping[int, int]) -> None:
        self.jobs = [job(f"j{size}", 1, 9, size) for size in wanted]
        self.base = snapshot([node(f"n{at}", gpus) for at, gpus in enumerate(rooms)], self.jobs)
        self.cells = cells_of(self.base)
        mask = self.cells.mask(self.jobs[0], self.base.flavors[0])
        shapes = [tuple(sorted(request(one).items())) for one in self.jobs]
        self.kinds = {Kind(mask, shape): count for shape, count in zip(shapes, wanted.values(), strict=True)}

    def found(self) -> Patterns | None:
        return patterns_of(self.cells, self.cells.free, self.kinds)

    def patterns(self) -> Patterns:
        found = self.found()
        assert found is not None
        return found

    def size(self, kind: Kind) -> int:
        return dict(kind.shape)[GPU]


def test_patterns_are_all_counts_to_which_none_can_be_added() -> None:
    sizes = (1, 2, 3, 4, 6)
    found = Pool((8, 8), dict.fromkeys(sizes, 8)).patterns()
    left = {one: 8 - sum(np.multiply(one, sizes)) for one in itertools.product(range(9), repeat=5)}
    (alike,) = found.classes
    assert len(alike.nodes) == 2
    assert {tuple(row) for row in alike.patterns.tolist()} == {one for one, rest in left.items() if rest == 0}


def test_no_pattern_holds_more_than_is_wanted() -> None:
    (alike,) = Pool((8,), {1: 2, 3: 2}).patterns().classes
    assert alike.patterns.tolist() == [[2, 2]]


def test_an_arrangement_is_found_where_there_is_one() -> None:
    outcomes = []
    for seed in range(300):
        random = Random(seed)
        wanted = {size: random.randint(0, 4) for size in random.sample((1, 2, 3, 4, 5, 6), 3)}
        pool = Pool([random.choice((4, 6, 8)) for _ in range(3)], wanted)
        found = pool.patterns()
        arranged = found.arranged(tuple(pool.kinds[kind] for kind in found.kinds))
        chosen = [(one, "h100", count) for one, count in zip(pool.jobs, wanted.values(), strict=True)]
        assert (arranged is not None) == packs(pool.base, chosen), seed
        outcomes.append(arranged is not None)
        if not arranged:
            continue
        placed = np.sum([pods for _, pods in arranged], axis=0)
        assert placed.tolist() == [pool.kinds[kind] for kind in found.kinds]
        for at, pods in arranged:
            used = sum(count * pool.size(kind) for kind, count in zip(found.kinds, pods, strict=True))
            assert used <= pool.cells.free[at, pool.cells.column(GPU)]
    assert 50 < sum(outcomes) < 250


def test_pods_are_placed_where_filling_the_fullest_node_first_would_fail() -> None:
    """A 3 on the node of 4 leaves no room for one of the 2s."""
    jobs = [job("threes", 1, 4, 3), job("twos", 1, 4, 2)]
    base = snapshot([node("n", 4), node("m", 8), node("o", 8)], jobs)
    found = place(base, [Allocation(JobKey("ns", "threes"), "h100", 4), Allocation(JobKey("ns", "twos"), "h100", 4)])
    assert not found.unplaced
    assert sum(found.placed[JobKey("ns", "threes")].values()) == 4
    assert sum(found.placed[JobKey("ns", "twos")].values()) == 4
    assert "n" not in found.placed[JobKey("ns", "threes")]


def test_rows_count_two_gangs_that_no_two_nodes_hold_and_the_plan_is_proved_without_them() -> None:
    jobs = [job("a", 2, 2, 3), job("b", 2, 4, 2)]
    plan = solve(snapshot([node("n", 4), node("m", 4)], jobs), EXACT)
    assert granted(plan) == {"a": 0, "b": 4}
    assert plan.status is Status.OPTIMAL
    assert plan.bound == pytest.approx(plan.objective)


def test_too_many_nodes_or_patterns_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool((8, 8, 8), {1: 9, 2: 9, 3: 9})
    monkeypatch.setattr(room, "MOST_NODES", 2)
    assert pool.found() is None
    monkeypatch.setattr(room, "MOST_NODES", 3)
    monkeypatch.setattr(room, "MOST_PATTERNS", 9)
    assert pool.found() is None
    monkeypatch.setattr(room, "MOST_PATTERNS", 10)
    assert pool.patterns().arranged((4, 4, 4)) is not None
    monkeypatch.setattr(room, "MOST_STEPS", 1)
    assert pool.patterns().arranged((4, 4, 4)) is None
