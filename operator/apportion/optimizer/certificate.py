"""Prices without a solver: the smoothed dual, minimised by truncated Newton steps (optimizer.md, "Solving").

SciPy's TNC, not its L-BFGS-B: equal prices after equally many evaluations, but the latter goes through LAPACK, whose
threads cost milliseconds a step where the machine has other work.
"""

import numpy as np

from apportion.optimizer.options import Floats
from apportion.optimizer.problem import Problem

TEMPERATURES = (0.1, 0.01)  # of the median value per group: each start is the end of the warmer one
MOST_EVALUATIONS = 60
FEW_EVALUATIONS = 20  # from prices that are known to be near


def smoothed_prices(problem: Problem, start: Floats | None = None) -> Floats:
    """Prices >= 0 by row that nearly minimise L: each max over options becomes mu log sum exp(. / mu)."""
    from scipy.optimize import minimize  # half a second to import, and only needed once something is to be solved

    count = len(problem.rows)
    usable = problem.offered & (problem.value > 0)
    if not count or not usable.any():
        return np.zeros(count)
    dual = _Dual(problem)
    prices = np.zeros(count) if start is None else start / dual.unit * dual.scale
    for temperature in TEMPERATURES if start is None else TEMPERATURES[-1:]:
        dual.temperature = temperature
        found = minimize(
            dual, prices, jac=True, method="TNC", bounds=[(0.0, None)] * count,
            options={"maxfun": MOST_EVALUATIONS if start is None else FEW_EVALUATIONS},
        )  # fmt: skip
        prices = np.where(np.isfinite(found.x), np.maximum(found.x, 0.0), 0.0)
    return np.asarray(prices * dual.unit / dual.scale)


class _Dual:
    """The smoothed L and its gradient, over rows scaled to entries of at most 1 and values of about 1."""

    def __init__(self, problem: Problem) -> None:
        rows, columns = problem.rows, problem.options.columns
        self._problem = problem
        self.temperature = 1.0
        values = problem.value[problem.offered & (problem.value > 0)]
        self.unit = float(np.median(values))
        largest = np.zeros(len(rows))
        np.maximum.at(largest, rows.row, np.abs(rows.entry))
        np.maximum.at(largest, rows.y_row, np.abs(rows.y_entry))
        self.scale = np.where(largest > 0, largest, 1.0)
        self._entry = rows.entry / self.scale[rows.row]
        self._right = rows.right / self.scale
        self._y_entry = rows.y_entry / self.scale[rows.y_row]
        self._value = np.where(problem.offered, problem.value, -np.inf) / self.unit
        used = np.flatnonzero(np.diff(columns.start) > 0)
        self._start = columns.start[:-1][used]
        self._of = np.repeat(np.arange(len(used)), np.diff(columns.start)[used])
        self._size = problem.size[used].astype(np.float64)
        # Groups where only some members must run are treated as free: the start of exact prices, not the bound itself.
        self._optional = problem.must[used] < problem.size[used]

    def __call__(self, prices: Floats) -> tuple[float, Floats]:
        rows, mu = self._problem.rows, self.temperature
        charge = np.bincount(rows.column, self._entry * prices[rows.row], minlength=len(self._value))
        reduced = self._value - charge
        best = np.maximum.reduceat(reduced, self._start)
        best = np.where(self._optional, np.maximum(best, 0.0), best)
        best = np.where(best > -np.inf, best, 0.0)
        weights = np.exp((reduced - best[self._of]) / mu)
        total = np.add.reduceat(weights, self._start) + np.where(
            self._optional, np.exp(-np.maximum(best, 0.0) / mu), 0.0
        )
        total = np.maximum(total, 1e-300)
        inner = self._size * (best + mu * np.log(total))
        share = weights * (self._size / total)[self._of]
        load = np.bincount(rows.row, self._entry * share[rows.column], minlength=len(prices))
        value = float(prices @ self._right + inner.sum())
        gradient = self._right - load
        if len(rows.y_lower):
            cost = np.bincount(rows.y_column, self._y_entry * prices[rows.y_row], minlength=len(rows.y_lower))
            low, high = -cost * rows.y_lower, -cost * rows.y_upper
            top = np.maximum(low, high)
            at_low, at_high = np.exp((low - top) / mu), np.exp((high - top) / mu)
            value += float((top + mu * np.log(at_low + at_high)).sum())
            y = (rows.y_lower * at_low + rows.y_upper * at_high) / (at_low + at_high)
            gradient = gradient - np.bincount(rows.y_row, self._y_entry * y[rows.y_column], minlength=len(prices))
        return value, gradient
