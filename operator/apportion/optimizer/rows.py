"""Rows of a program as arrays, and how they are collected."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from apportion.model.caps import Kind
from apportion.optimizer.cells import Shape
from apportion.optimizer.fit import Fit
from apportion.optimizer.options import Floats, Ints


class Priced(NamedTuple):
    """Whose accelerators a row is about; queue "" is capacity. `per`: accelerators per unit of its right side.

    Of a row with a cap: whose money or power, and how much of it.
    """

    flavor: str
    queue: str
    per: float
    cap: Kind | None = None


class Blocks(NamedTuple):
    """A row of capacity: it counts blocks of the shape on these nodes, divided by `scale`."""

    row: int
    mask: int
    shape: Shape
    scale: float


@dataclass(frozen=True)
class Rows:
    """Rows  A x + Y y <= b  over columns x and borrowed room y (lower <= y <= upper), entries as coordinate lists.

    held: the part of an entry that pods take which stay where they are. blocks: what rows of capacity count. fit: what
    whole x must keep to besides, where rows of capacity do not say it exactly.
    """

    names: tuple[str, ...] = ()
    right: Floats = field(default_factory=lambda: np.zeros(0))
    row: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    column: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    entry: Floats = field(default_factory=lambda: np.zeros(0))
    held: Floats = field(default_factory=lambda: np.zeros(0))
    y_lower: Floats = field(default_factory=lambda: np.zeros(0))
    y_upper: Floats = field(default_factory=lambda: np.zeros(0))
    y_row: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    y_column: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    y_entry: Floats = field(default_factory=lambda: np.zeros(0))
    priced: tuple[tuple[int, Priced], ...] = ()
    blocks: tuple[Blocks, ...] = ()
    fit: Fit | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def by_column(self) -> "ByColumn":
        return ByColumn(self)

    def hold(self, x: Floats) -> bool:
        """Whether all new pods of x fit on the nodes together, as far as that is looked at."""
        return self.fit is None or self.fit.holds(x)

    def first(self, count: int) -> "Rows":
        """The first rows, if none of the others has borrowed room."""
        mine = self.row < count
        return replace(
            self, names=self.names[:count], right=self.right[:count], row=self.row[mine], column=self.column[mine],
            entry=self.entry[mine], held=self.held[mine],
        )  # fmt: skip


class ByColumn(dict[int, list[tuple[int, float]]]):
    """The entries (row, entry) of a column, as plain lists: a step by which something grows touches a handful.

    Empty for a column that no row holds, and for those below 0. It fills itself: nothing is asked more often.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        order = np.argsort(rows.column, kind="stable")
        self._row, self._entry = rows.row[order], rows.entry[order]
        self._start = np.searchsorted(rows.column[order], np.arange(int(rows.column.max(initial=-1)) + 2)).tolist()

    def __missing__(self, column: int) -> list[tuple[int, float]]:
        found: list[tuple[int, float]] = []
        if 0 <= column < len(self._start) - 1:
            here = slice(self._start[column], self._start[column + 1])
            found = list(zip(self._row[here].tolist(), self._entry[here].tolist(), strict=True))
        self[column] = found
        return found


class Draft:
    """Rows while they are collected."""

    def __init__(self, rows: Rows | None = None) -> None:
        rows = rows or Rows()
        self._names = list(rows.names)
        self._right = list(rows.right)
        self._row, self._column, self._entry, self._held = [rows.row], [rows.column], [rows.entry], [rows.held]
        self._blocks, self._fit = list(rows.blocks), rows.fit
        self._y_lower, self._y_upper = list(rows.y_lower), list(rows.y_upper)
        self._y = list(zip(rows.y_row, rows.y_column, rows.y_entry, strict=True))
        self._priced = list(rows.priced)

    def add(self, name: str, columns: Ints, entries: Floats, right: float, priced: Sequence[Priced] = ()) -> int:
        at = len(self._names)
        self._names.append(name)
        self._right.append(right)
        self._row.append(np.full(len(columns), at, dtype=np.int64))
        self._column.append(columns)
        self._entry.append(entries)
        self._held.append(np.zeros(len(columns)))
        self._priced.extend((at, whose) for whose in priced)
        return at

    def capacity(
        self, name: str, counted: "Counted", blocks: tuple[int, Shape, float], priced: Sequence[Priced]
    ) -> None:
        """A row of capacity: blocks of (nodes, shape, scale)."""
        scale = blocks[-1]
        at = self.add(name, counted.columns, counted.entries / scale, counted.right / scale, priced)
        self._held[-1] = counted.held / scale
        self._blocks.append(Blocks(at, *blocks))

    def room(self, lower: float, upper: float, rows: Iterable[tuple[int, float]]) -> None:
        """A variable y within its box, with its entries."""
        at = len(self._y_lower)
        self._y_lower.append(lower)
        self._y_upper.append(upper)
        self._y.extend((row, at, entry) for row, entry in rows)

    def rows(self) -> Rows:
        return Rows(
            tuple(self._names),
            np.array(self._right, dtype=np.float64),
            np.concatenate(self._row),
            np.concatenate(self._column),
            np.concatenate(self._entry),
            np.concatenate(self._held),
            np.array(self._y_lower, dtype=np.float64),
            np.array(self._y_upper, dtype=np.float64),
            np.array([row for row, _, _ in self._y], dtype=np.int64),
            np.array([column for _, column, _ in self._y], dtype=np.int64),
            np.array([entry for _, _, entry in self._y], dtype=np.float64),
            tuple(self._priced),
            tuple(self._blocks),
            self._fit,
        )


class Counted(NamedTuple):
    """The blocks that columns take, the part of it that is `held` by pods that stay, and how many there are."""

    columns: Ints
    entries: Floats
    held: Floats
    right: float
