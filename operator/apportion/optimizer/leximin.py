"""MaxMinFair: the worst off first, step by step (optimizer.md, "Max-min").

A job's level is x / w, 0 while it waits. One plan is better than another if its levels in rising order are greater at
the first place where they differ. Each step finds how many jobs can be above the level where the worst off of those
that are not settled stands: as many as all of them, and nobody is stuck there, or fewer, and the rest is settled. How
many are to be at and above the level is a row of all later steps; who they are stays open.
"""

from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

import numpy as np

from apportion.optimizer.greedy import NOTHING, Ledger
from apportion.optimizer.options import Floats, Ints
from apportion.optimizer.problem import Problem
from apportion.optimizer.rows import Draft
from apportion.optimizer.solving import Solvers

MOST_COLUMNS = 2000  # of a program that is solved step by step; a larger one is filled from below
MOST_STEPS = 64  # solved; what they leave open is filled from below
DIGITS = 9  # of a level's logarithm: levels nearer to each other are equal


@dataclass(frozen=True)
class Levelled:
    """The problem with what was reached as rows, and an x that keeps to it.

    proved: no x has better levels. Else everybody keeps at least the level that they have in x.
    """

    problem: Problem
    x: Floats
    proved: bool


def levelled(problem: Problem, start: Floats, solvers: Solvers) -> Levelled:
    """The best levels for everybody, from any x that keeps to the rows."""
    steps = _Steps(problem, start, solvers)
    if steps.solved():
        return Levelled(steps.problem, steps.x, proved=True)
    return Levelled(_kept(problem, steps.x, steps.rank), steps.x, proved=False)


def levels(problem: Problem, x: Floats) -> tuple[int, ...]:
    """By member in rising order: the place of its level among all that occur, 0 if it waits."""
    return tuple(_standing(problem, x, _ranks(problem)).tolist())


def _ranks(problem: Problem) -> Ints:
    """By column: the place of its level among all levels, from 1."""
    columns = problem.options.columns
    weight = np.array([group.weight for group in problem.options.groups], dtype=np.float64)[columns.group]
    with np.errstate(divide="ignore"):
        level = np.round(np.log(np.maximum(columns.rate, 0.0)) - np.log(weight), DIGITS)
    return np.unique(level, return_inverse=True)[1].astype(np.int64) + 1


def _standing(problem: Problem, x: Floats, rank: Ints) -> Ints:
    given = np.repeat(rank, np.round(x).astype(np.int64))
    waiting = np.zeros(max(0, int(problem.size.sum()) - len(given)), dtype=np.int64)
    return np.sort(np.concatenate([waiting, given]))


class _Steps:
    """`x` is the best that was found so far; `problem` has a row for all that is settled."""

    def __init__(self, problem: Problem, start: Floats, solvers: Solvers) -> None:
        self.problem, self.rank = problem, _ranks(problem)
        self._bare, self._solvers = problem, solvers
        self._offered = np.flatnonzero(problem.offered)
        top = np.zeros(len(problem.size), dtype=np.int64)
        np.maximum.at(top, problem.options.columns.group[self._offered], self.rank[self._offered])
        self._top = top
        self._held: list[tuple[int, int]] = []
        self.x = _filled(problem, start, self.rank)

    def solved(self) -> bool:
        """Whether all steps were taken, each with a proof."""
        open_ = total = int(self.problem.size.sum())
        solves = 0
        while open_ > 0:
            standing = _standing(self.problem, self.x, self.rank)
            worst = int(standing[total - open_])
            self._hold((worst, open_))
            above = int(np.count_nonzero(standing > worst))
            # Nobody is above the best of their own options.
            most = min(open_, int(self.problem.size[self._top > worst].sum()))
            if above < most:
                solves += 1
                if solves > MOST_STEPS or not self._improved(worst, above):
                    return False
                above = int(np.count_nonzero(_standing(self.problem, self.x, self.rank) > worst))
            if above < open_:
                self._held.append((worst + 1, above))
                open_ = above
        return True

    def _improved(self, worst: int, above: int) -> bool:
        """Puts as many as possible above the level; False without a proof that more cannot be."""
        if len(self._offered) > MOST_COLUMNS:
            return False
        counted = (self.rank > worst).astype(np.float64)
        found = self._solvers.solve(self.problem, self._offered, counted)
        if found is None:
            return False
        reached = round(float(counted @ found.x))
        if reached > above:
            self.x = _filled(self.problem, found.x, self.rank)
        return found.optimal

    def _hold(self, row: tuple[int, int]) -> None:
        """At least so many at a level or above: what one row says of as many at a lower level is said no more."""
        self._held = [(rank, count) for rank, count in self._held if count > row[1]] + [row]
        draft, columns = Draft(self._bare.rows), self.problem.options.columns
        for rank, count in self._held:
            here = np.flatnonzero((self.rank >= rank) & (columns.replicas > 0)) if rank else np.zeros(0, dtype=np.int64)
            if len(here):
                draft.add(f"level/{rank}", here, -np.ones(len(here)), -float(count))
        self.problem = replace(self._bare, rows=draft.rows())


def _kept(problem: Problem, x: Floats, rank: Ints) -> Problem:
    """Everybody keeps at least the level that the least of their group has in x."""
    columns = problem.options.columns
    used = np.flatnonzero(x > 0)
    least = np.full(len(problem.size), np.iinfo(np.int64).max)
    np.minimum.at(least, columns.group[used], rank[used])
    least[least == np.iinfo(np.int64).max] = 0
    given = np.bincount(columns.group, x, minlength=len(problem.size)).round().astype(np.int64)
    offered = problem.offered & (rank >= least[columns.group])
    return replace(problem, offered=offered, must=np.maximum(problem.must, given))


def _filled(problem: Problem, x: Floats, rank: Ints) -> Floats:
    """x with the worst off raised by a step as often as some row does not forbid it, then the next."""
    columns = problem.options.columns
    x, ledger = x.copy(), Ledger(problem, x)
    given = np.bincount(columns.group, x, minlength=len(problem.size)).round().astype(np.int64)
    heap: list[tuple[int, int, int]] = [
        (0, group, NOTHING) for group in range(len(given)) for _ in range(int(problem.size[group] - given[group]))
    ]
    heap += [
        (int(rank[at]), int(columns.group[at]), at) for at in np.flatnonzero(x).tolist() for _ in range(round(x[at]))
    ]
    heapify(heap)
    stuck: set[tuple[int, int]] = set()
    known: dict[tuple[int, int], list[int]] = {}
    while heap:
        _, group, column = heappop(heap)
        here = (group, column)
        if here in stuck:
            continue
        if here not in known:
            known[here] = _next(problem, group, column, rank)
        target = next((at for at in known[here] if ledger.take(at, column)), NOTHING)
        if target == NOTHING:
            stuck.add(here)
            continue
        if column != NOTHING:
            x[column] -= 1
        x[target] += 1
        heappush(heap, (int(rank[target]), group, target))
    return x


def _next(problem: Problem, group: int, column: int, rank: Ints) -> list[int]:
    """The next larger option of the same flavor; of one that waits, the smallest on each, the fastest first."""
    columns = problem.options.columns
    first, last = int(columns.start[group]), int(columns.start[group + 1])
    mine = np.arange(first, last)[problem.offered[first:last]]
    if column == NOTHING:
        _, smallest = np.unique(columns.flavor[mine], return_index=True)
        return sorted(mine[smallest].tolist(), key=lambda at: (-int(rank[at]), at))
    same = mine[(columns.flavor[mine] == columns.flavor[column]) & (rank[mine] > rank[column])]
    return [int(at) for at in same[:1]]
