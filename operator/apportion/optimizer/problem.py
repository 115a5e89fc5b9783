"""The whole program as arrays, and what prices prove about it."""

from dataclasses import dataclass, replace

import numpy as np

from apportion.optimizer.options import Bools, Floats, Ints, Options
from apportion.optimizer.rows import Draft, Rows


@dataclass(frozen=True)
class Problem:
    """max value x  over the options and rows, where group g gives options to between must[g] and size[g] members.

    offered: the columns that may be used (options that break a promise are used only where it cannot be kept).
    """

    options: Options
    rows: Rows
    size: Ints
    must: Ints
    offered: Bools

    @property
    def value(self) -> Floats:
        return self.options.columns.value

    def worth(self, value: Floats, offered: Bools) -> "Problem":
        """The same with another objective, over these columns alone."""
        options = replace(self.options, columns=replace(self.options.columns, value=value))
        return replace(self, options=options, offered=offered)

    def unstaged(self, count: int) -> "Problem":
        """The problem without what the stages of admission added to its first `count` rows; promises stay."""
        promises = np.array([group.keeps > 0 for group in self.options.groups], dtype=np.bool_)
        return replace(self, rows=self.rows.first(count), must=np.where(promises, self.must, 0))

    def on(self, options: Options, limits: Rows, count: int) -> "Problem":
        """The problem with other options of equal columns, all allowed, and their rows for its first `count`."""
        draft = Draft(limits)
        for at in range(count, len(self.rows)):
            mine = self.rows.row == at
            draft.add(self.rows.names[at], self.rows.column[mine], self.rows.entry[mine], float(self.rows.right[at]))
        offered = self.offered | (options.columns.reduced <= 0)
        return replace(self, options=options, rows=draft.rows(), offered=offered)

    def load(self, x: Floats) -> Floats:
        """A x, by row."""
        rows = self.rows
        return np.bincount(rows.row, rows.entry * x[rows.column], minlength=len(rows)).astype(np.float64)

    def keeps_to(self, x: Floats) -> bool:
        """Whether every group has as many members running as it must, and rows without borrowed room hold."""
        given = np.bincount(self.options.columns.group, x, minlength=len(self.size))
        plain = np.ones(len(self.rows), dtype=np.bool_)
        plain[self.rows.y_row] = False
        over = self.load(x) - self.rows.right > 1e-6 * np.maximum(1.0, np.abs(self.rows.right))
        return bool((given >= self.must).all() and not (over & plain).any())

    def charge(self, prices: Floats) -> Floats:
        """A' lambda, by column: what an option pays for the rows it uses."""
        rows = self.rows
        return np.bincount(rows.column, rows.entry * prices[rows.row], minlength=len(self.value)).astype(np.float64)

    def best_response(self, reduced: Floats) -> Floats:
        """By group: its best reduced value; minus infinity for a group without an offered column."""
        best = np.full(len(self.size), -np.inf)
        columns = self.options.columns
        used = np.flatnonzero(np.diff(columns.start) > 0)
        if len(used):
            shown = np.where(self.offered, reduced, -np.inf)
            best[used] = np.maximum.reduceat(shown, columns.start[:-1][used])
        return best

    def slack(self, prices: Floats) -> Floats:
        """By column: how much of the bound L is lost for one member that takes it (infinite where not offered)."""
        reduced = self.value - self.charge(prices)
        best = self.best_response(reduced)
        # Every member of a group that must run takes some option: for it nothing is no alternative.
        best = np.where(self.must == self.size, best, np.maximum(best, 0.0))
        return np.where(self.offered, best[self.options.columns.group] - reduced, np.inf)

    def bound(self, prices: Floats, weights: Floats | None = None) -> float:
        """L(lambda) = lambda'b + sum_j max(0, max_o (u_jo - lambda'A_o)), without the 0 for members that must run.

        The y of cohorts add their best value over their box. Holds for any prices >= 0 (optimizer.md, "Certificate").
        `weights` replaces the value as the objective.
        """
        rows = self.rows
        best = self.best_response((self.value if weights is None else weights) - self.charge(prices))
        shown = best > -np.inf
        inner = self.must[shown] * best[shown] + (self.size - self.must)[shown] * np.maximum(best[shown], 0.0)
        return float(prices @ rows.right + inner.sum()) + self.borrowed(prices)

    def borrowed(self, prices: Floats) -> float:
        """What the y of cohorts add to L: their best value over their box."""
        rows = self.rows
        y_cost = np.bincount(rows.y_column, rows.y_entry * prices[rows.y_row], minlength=len(rows.y_lower))
        return float(np.maximum(-y_cost * rows.y_lower, -y_cost * rows.y_upper).sum())
