"""What travels to the worker and back: an integer or linear program as arrays, and its answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from apportion.optimizer.options import Bools, Floats, Ints
from apportion.optimizer.problem import Problem
from apportion.optimizer.rows import Rows

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


def restrict(problem: Problem, rows: Rows, chosen: Ints, cost: Floats, upper: Floats) -> Restricted:
    """The program over these columns; `upper` caps single columns (by column of the whole problem)."""
    columns = problem.options.columns
    position = np.full(len(columns), -1, dtype=np.int64)
    position[chosen] = np.arange(len(chosen))
    inside = position[rows.column] >= 0
    count, ys = len(chosen), len(rows.y_lower)
    group = columns.group[chosen]
    groups = np.unique(group)
    single = np.bincount(group, minlength=len(problem.size))[group] == 1
    cap = np.minimum(upper[chosen], problem.size[group])
    floor = np.where(single, problem.must[group], 0)
    choice_row, choice_column, choice_entry, choice_right, choice_equal, choice_names = [], [], [], [], [], []
    start = np.searchsorted(group, groups)
    stop = np.append(start[1:], count)
    at = len(rows)
    for number, first, last in zip(groups.tolist(), start.tolist(), stop.tolist(), strict=True):
        if last - first == 1:
            continue
        size, must = int(problem.size[number]), int(problem.must[number])
        name = str(problem.options.groups[number].like.key)
        bounds = [("choice", 1.0, size, must == size)]
        if 0 < must < size:
            bounds.append(("keeps", -1.0, -must, False))
        for kind, sign, right, equal in bounds:
            choice_row.append(np.full(last - first, at, dtype=np.int64))
            choice_column.append(np.arange(first, last, dtype=np.int64))
            choice_entry.append(np.full(last - first, sign))
            choice_right.append(float(right))
            choice_equal.append(equal)
            choice_names.append(f"{kind}/{name}")
            at += 1
    program = Program(
        cost=np.concatenate([cost[chosen], np.zeros(ys)]),
        lower=np.concatenate([floor.astype(np.float64), rows.y_lower]),
        upper=np.concatenate([np.maximum(cap, floor).astype(np.float64), rows.y_upper]),
        integer=np.concatenate([np.ones(count, dtype=np.bool_), np.zeros(ys, dtype=np.bool_)]),
        names=[f"x{at}" for at in range(count)] + [f"y{at}" for at in range(ys)],
        row=np.concatenate([rows.row[inside], rows.y_row, *choice_row]),
        column=np.concatenate([position[rows.column[inside]], rows.y_column + count, *choice_column]),
        entry=np.concatenate([rows.entry[inside], rows.y_entry, *choice_entry]),
        right=np.concatenate([rows.right, np.array(choice_right)]),
        equal=np.concatenate([np.zeros(len(rows), dtype=np.bool_), np.array(choice_equal, dtype=np.bool_)]),
        row_names=[*rows.names, *choice_names],
    )
    return Restricted(program, chosen)


def whole(values: Floats, count: int) -> Floats | None:
    """The first `count` values as integers; None where one is not (CBC leaves fractions where it found nothing)."""
    first = values[:count]
    rounded = np.round(first)
    if not np.isfinite(first).all() or (np.abs(first - rounded) > 10 * WHOLE).any():
        return None
    return rounded
