"""Patterns of pods on nodes: all of them, whether many pods fit together, and where a search ends."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from apportion.model.jobs import JobKey
from apportion.model.plan import Allocation, Status
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Terms
from apportion.optimizer import patterns as room
from apportion.optimizer import place, solve
from apportion.optimizer.attempts import Attempt
from apportion.optimizer.cells import cells_of, request
from apportion.optimizer.fit import fit_of
from apportion.optimizer.options import Options, stood
from apportion.optimizer.patterns import Kind, Patterns, patterns_of
from apportion.optimizer.repair import Assignment
from apportion.optimizer.rows import Rows
from apportion.optimizer.solve import Effort, Round
from optimizer_builders import EXACT, GPU, granted, job, node, running, snapshot, under
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


def test_pods_of_others_that_an_exchange_moved_keep_their_room() -> None:
    """Exchanges move the pinned job's pods; that is not enough, and the others are placed anew beside them."""
    pinned = replace(running(job("pinned", 1, 4, 1), {"n": 3}), pods=())
    sizes = {"a": (4, 3), "b": (1, 4), "c": (1, 4)}
    jobs = [job(name, 1, 5, size) for name, (_, size) in sizes.items()]
    rooms = {"n": 4, "m": 6, "o": 8, "p": 6}
    base = under(
        snapshot([node(name, gpus) for name, gpus in rooms.items()], [pinned, *jobs]), pinned=Terms(pinned=True)
    )
    found = place(base, [Allocation(JobKey("ns", name), "h100", count) for name, (count, _) in sizes.items()])
    each = {one.key: one.per_replica for one in base.jobs}
    for name, gpus in rooms.items():
        assert sum(each[key] * where.get(name, 0) for key, where in found.placed.items()) <= gpus


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


def test_a_search_ends_after_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fullest pattern of the first node leads nowhere here."""
    patterns = Pool((12, 8, 8), {2: 9, 4: 9, 5: 9, 6: 9}).patterns()
    assert patterns.arranged((0, 1, 0, 2)) is not None
    monkeypatch.setattr(room, "MOST_STEPS", 1)
    assert patterns.arranged((0, 1, 0, 2)) is None


def test_what_is_proved_holds_for_the_pods_that_stay() -> None:
    """Each node has room for one of the threes or for a two, as their processors bind: prices alone prove less."""
    cpu = {"a": 2_000, "b": 3_000, "c": 2_000, "d": 3_000, "e": 1_000}
    jobs = [
        job("a", 1, 1, 3, requests={"cpu": cpu["a"]}),
        job("b", 1, 1, 1, requests={"cpu": cpu["b"]}),
        job("c", 1, 1, 3, requests={"cpu": cpu["c"]}),
        running(job("d", 1, 3, 3, requests={"cpu": cpu["d"]}), {"n": 1}),
        job("e", 1, 2, 2, requests={"cpu": cpu["e"]}),
    ]
    nodes = [node("n", 4, allocatable={"cpu": 4_000}), node("m", 4, allocatable={"cpu": 8_000})]
    plan = solve(under(snapshot(nodes, jobs), d=Terms(keeps=1)), EXACT)
    assert granted(plan) == {"a": 0, "b": 1, "c": 0, "d": 1, "e": 1}
    assert plan.status is Status.OPTIMAL
    assert plan.bound_staying == pytest.approx(plan.objective)


def test_who_stays_where_has_to_be_settled_before_patterns_say_anything() -> None:
    shrinks = running(job("a", 1, 2, 3), {"n": 1, "m": 1})
    found = Round(snapshot([node("n", 4), node("m", 4)], [shrinks, job("b")]), EXACT)
    assert fit_of(found.found, found.ground.cells) is None
    both = int(np.flatnonzero(found.found.columns.replicas == 2)[0])
    kept = stood(found.found, found.ground, {shrinks.key: both, JobKey("ns", "b"): -1})
    fit = fit_of(kept, found.ground.cells)
    assert fit is not None
    assert [alike.patterns.tolist() for pool in fit.pools for alike in pool.classes] == [[[1]]]


def test_jobs_alike_of_which_one_shrinks_leave_it_open_who_stays() -> None:
    alike = [running(job(name, 1, 2), {where: 2}) for name, where in (("a", "n"), ("b", "m"))]
    found = Round(snapshot([node("n", 4), node("m", 4)], [*alike, job("c", 1, 1, 2)]), EXACT)
    (group,) = [group for group in found.found.groups if group.size == 2]
    columns = {
        key: int(np.flatnonzero(found.found.columns.replicas == count)[0])
        for key, count in zip((one.key for one in group.members), (1, 2), strict=True)
    } | {JobKey("ns", "c"): -1}
    assert fit_of(stood(found.found, found.ground, columns), found.ground.cells) is None
    assert group.size == 2


def test_room_of_a_job_that_has_to_go_is_not_taken_for_filled() -> None:
    """Its queue has no quota for the flavor any more: none of its options is there, and its pods leave."""
    leaves = running(job("a", 1, 1, 3, queue_name="q"), {"n": 1})
    queue = Queue("q", quotas=(Quota("a100", 8),))
    nodes = [node("n", 4), node("m", 4, "a100")]
    found = Round(snapshot(nodes, [leaves, job("b", 1, 1, 2)], queues=(queue,)), EXACT)
    assert fit_of(found.found, found.ground.cells) is None


def test_a_gang_of_a_higher_class_is_not_left_out_because_pods_do_not_move() -> None:
    """If they moved, both of low's pods would share a node: then high would fit beside them. As they are, low shrinks,
    although what it loses is worth more than high."""
    low = running(job("low", 1, 4, 2, queue_name="q"), {"n": 1, "m": 1})
    queues = (Queue("q", quotas=(Quota("*", 8),)), Queue("r", weight=0.01, quotas=(Quota("*", 8),)))
    high = job("high", 1, 1, 4, priority=100, queue_name="r")
    base = snapshot([node("n", 4), node("m", 4)], [low, high], queues=queues)
    plan = solve(under(base, low=Terms(keeps=1), high=Terms()), EXACT)
    assert granted(plan) == {"high": 1, "low": 1}


def test_an_attempt_that_admits_less_than_moving_pods_would_is_never_as_good() -> None:
    low = running(job("low", 1, 4, 2), {"n": 1, "m": 1})
    high = job("high", 1, 1, 4, priority=100)
    base = under(snapshot([node("n", 4), node("m", 4)], [low, high]), low=Terms(keeps=1), high=Terms())
    found = Round(base, EXACT)
    loose = found.placed(*found.loose, Effort(0.0, {}))
    columns, groups = found.found.columns, found.found.groups
    most = [at for at in range(len(columns)) if groups[columns.group[at]].like is low or columns.replicas[at] == 4]
    x = np.zeros(len(columns))
    x[most[-1]] = 1
    alone = Assignment({low.key: most[-1], high.key: -1}, x, (), resolved=True)
    rich = replace(loose, assignment=alone, best=replace(loose.best, value=float(loose.problem.value @ x)), bound=0.0)
    assert not found._as_good(rich, replace(loose, bound=0.0))


def test_nothing_is_solved_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all attempts leave the same pods in their places they are one program."""
    asked: list[tuple[bytes, bytes, bool]] = []
    placed = Round.placed

    def told(self: Round, found: Options, rows: Rows, effort: Effort) -> Attempt:
        asked.append((found.free.tobytes(), found.allowed.tobytes(), effort.rough))
        return placed(self, found, rows, effort)

    monkeypatch.setattr(Round, "placed", told)
    low = running(job("low", 1, 4, 2), {"n": 1, "m": 1})
    base = snapshot([node("n", 4), node("m", 4)], [low, job("high", 1, 1, 4, priority=100)])
    solve(under(base, low=Terms(keeps=1)), EXACT)
    assert len(asked) > 2
    counted = [one for one in asked if one[0] != asked[0][0]]
    assert len(set(counted)) == len(counted)
