"""What travels to the worker and back: an integer or linear program as arrays, and its answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from apportion.optimizer.fit import Fit
from apportion.optimizer.options import Bools, Floats, Ints
from apportion.optimizer.problem import Problem

WHOLE = 1e-6  # how far from an integer a solver's value may be


@dataclass(frozen=True)
class Program:
    """max cost x  with lower <= x <= upper and rows A x <= right (= where `equal`); entries as coordinate lists."""

    cost: Floats
    lower: Floats
    upper: Floats
    integer: Bools
    names: Sequence[str]
    row: Ints
    column: Ints
    entry: Floats
    right: Floats
    equal: Bools
    row_names: Sequence[str]


@dataclass(frozen=True)
class Limits:
    """How to solve it: the method, whether integers count, and when to stop (relative gap, nodes, seconds).

    enough: an objective that is good enough to stop at, as far as the method can.
    """

    method: str
    mip: bool
    gap: float
    seconds: float
    nodes: int = 20_000
    enough: float = float("inf")


@dataclass(frozen=True)
class Answer:
    """`values` is None where nothing usable came back. bound: None where the solver shows none. prices by row."""

    values: Floats | None = None
    optimal: bool = False
    infeasible: bool = False
    bound: float | None = None
    prices: Floats = field(default_factory=lambda: np.zeros(0))
    message: str = ""


NOTHING = Answer()


@dataclass(frozen=True)
class Restricted:
    """A program over some of the columns: `chosen` says which; the first `len(rows)` rows are the problem's."""

    program: Program
    chosen: Ints


def restrict(problem: Problem, fit: Fit | None, chosen: Ints, cost: Floats, upper: Floats) -> Restricted:
    """The program over these columns; `upper` caps single columns (by column of the whole problem).

    After the columns come the rooms y, then how many nodes are filled after each pattern of `fit`.
    """
    rows, count, ys = problem.rows, len(chosen), len(problem.rows.y_lower)
    position = np.full(len(problem.value), -1, dtype=np.int64)
    position[chosen] = np.arange(count)
    inside = position[rows.column] >= 0
    group = problem.options.columns.group[chosen]
    single = np.bincount(group, minlength=len(problem.size))[group] == 1
    floor = np.where(single, problem.must[group], 0)
    cap = np.maximum(np.minimum(upper[chosen], problem.size[group]), floor)
    draft = _Draft(len(rows), count + ys)
    _choices(draft, problem, group)
    if fit is not None:
        _filled(draft, fit, position)
    nodes = np.array(draft.most, dtype=np.float64)
    program = Program(
        cost=np.concatenate([cost[chosen], np.zeros(ys + len(nodes))]),
        lower=np.concatenate([floor.astype(np.float64), rows.y_lower, np.zeros(len(nodes))]),
        upper=np.concatenate([cap.astype(np.float64), rows.y_upper, nodes]),
        integer=np.repeat(np.array([True, False, True]), [count, ys, len(nodes)]),
        names=[f"{kind}{at}" for kind, most in (("x", count), ("y", ys), ("z", len(nodes))) for at in range(most)],
        row=np.concatenate([rows.row[inside], rows.y_row, *draft.row]),
        column=np.concatenate([position[rows.column[inside]], rows.y_column + count, *draft.column]),
        entry=np.concatenate([rows.entry[inside], rows.y_entry, *draft.entry]),
        right=np.concatenate([rows.right, np.array(draft.right)]),
        equal=np.concatenate([np.zeros(len(rows), dtype=np.bool_), np.array(draft.equal, dtype=np.bool_)]),
        row_names=[*rows.names, *draft.names],
    )
    return Restricted(program, chosen)


class _Draft:
    """Rows after the problem's own, and variables after its columns and rooms: `most` is their upper end."""

    def __init__(self, rows: int, variables: int) -> None:
        self._rows, self._variables = rows, variables
        self.row: list[Ints] = []
        self.column: list[Ints] = []
        self.entry: list[Floats] = []
        self.right: list[float] = []
        self.equal: list[bool] = []
        self.names: list[str] = []
        self.most: list[int] = []

    def add(self, name: str, columns: Ints, entries: Floats, right: float, equal: bool = False) -> None:
        self.row.append(np.full(len(columns), self._rows + len(self.right), dtype=np.int64))
        self.column.append(columns)
        self.entry.append(entries)
        self.right.append(right)
        self.equal.append(equal)
        self.names.append(name)

    def variables(self, count: int, most: int) -> Ints:
        first = self._variables + len(self.most)
        self.most += [most] * count
        return np.arange(first, first + count)


def _choices(draft: _Draft, problem: Problem, group: Ints) -> None:
    """Of each group, by column, at most its members, and at least those that must run."""
    groups = np.unique(group)
    start = np.searchsorted(group, groups)
    stop = np.append(start[1:], len(group))
    for number, first, last in zip(groups.tolist(), start.tolist(), stop.tolist(), strict=True):
        if last - first == 1:
            continue
        size, must = int(problem.size[number]), int(problem.must[number])
        name, mine, one = str(problem.options.groups[number].like.key), np.arange(first, last), np.ones(last - first)
        draft.add(f"choice/{name}", mine, one, float(size), must == size)
        if 0 < must < size:
            draft.add(f"keeps/{name}", mine, -one, -float(must))


def _filled(draft: _Draft, fit: Fit, position: Ints) -> None:
    """New pods of a kind are no more than the patterns hold of it, and a class fills no more nodes than it has."""
    for number, (pool, kinds) in enumerate(zip(fit.pools, fit.kinds, strict=True)):
        nodes, held = [], []
        for at, alike in enumerate(pool.classes):
            mine = draft.variables(len(alike.patterns), len(alike.nodes))
            draft.add(f"nodes/{number}.{at}", mine, np.ones(len(mine)), float(len(alike.nodes)))
            nodes.append(mine)
            held.append(alike.patterns)
        for kind in range(len(pool.kinds)):
            pods = np.flatnonzero((kinds == kind) & (position >= 0))
            each = [patterns[:, kind] for patterns in held]
            columns = np.concatenate([position[pods], *nodes])
            draft.add(f"pods/{number}.{kind}", columns, np.concatenate([fit.new[pods], *(-one for one in each)]), 0.0)


def whole(values: Floats, count: int) -> Floats | None:
    """The first `count` values as integers; None where one is not (CBC leaves fractions where it found nothing)."""
    first = values[:count]
    rounded = np.round(first)
    if not np.isfinite(first).all() or (np.abs(first - rounded) > 10 * WHOLE).any():
        return None
    return rounded
