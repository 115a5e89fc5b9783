"""A finished plan seen again from one job: what its next step would gain, and what the rows that it uses cost."""

from dataclasses import dataclass

import numpy as np

from apportion.model.jobs import JobKey
from apportion.model.plan import Allocation, Grant, Plan
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer.options import Floats
from apportion.optimizer.packing import place
from apportion.optimizer.problem import Problem
from apportion.optimizer.solve import Round

ROUNDING = 1e-6
PACKING = "packing"
"""In the place of a row's name: every row has room, and yet not all pods find a node."""


@dataclass(frozen=True)
class RowUse:
    """One row that a step would use: its name in the program, the part of the step's price that it makes, and by how
    much it would be exceeded, as a part of what the step takes of it (0: it holds, 1: nothing at all is left)."""

    row: str
    price: float
    missing: float


@dataclass(frozen=True)
class Step:
    """A larger grant of one job: `gain` in the objective's unit beyond what it has, and the rows that it would use."""

    grant: Grant
    gain: float
    rows: tuple[RowUse, ...]

    @property
    def price(self) -> float:
        return sum(row.price for row in self.rows)

    @property
    def fits(self) -> bool:
        return not any(row.missing for row in self.rows)


class Pricing:
    """The program of a plan: `snapshot` is the one that it was solved for, with its terms and ceilings."""

    def __init__(self, snapshot: Snapshot, policy: Policy, plan: Plan) -> None:
        found = Round(snapshot, policy)
        self._snapshot, self._limits = snapshot, found.limits
        nobody_must = np.zeros_like(found.sizes)
        self._problem = Problem(found.found, found.limits, found.sizes, nobody_must, found.found.columns.reduced <= 0)
        known = {price.row: price.price for price in plan.row_prices}
        self._prices = np.array([known.get(name, 0.0) for name in found.limits.names])
        self._grants = {a.key: Grant(a.flavor or "", a.replicas) for a in plan.allocations if a.replicas}
        self._group = {job.key: at for at, group in enumerate(found.found.groups) for job in group.members}
        self._x = np.zeros(len(self._problem.value))
        for key in self._group:
            column = self._column(key, self._grants.get(key))
            if column is not None:
                self._x[column] += 1

    @property
    def value(self) -> float:
        """What the plan's allocations are worth, the admission worth of jobs that must run anyway included."""
        return float(self._problem.value @ self._x)

    def worth(self, key: JobKey, grant: Grant) -> float | None:
        """What the job would add to the value with this grant; None where the program has no such choice."""
        if not grant.replicas:
            return 0.0
        column = self._column(key, grant)
        return None if column is None else float(self._problem.value[column])

    def steps(self, key: JobKey) -> list[Step]:
        """The next larger option on the job's flavor, or, of a job that has nothing, the smallest on each flavor.

        Empty for a job that is not a choice, and for one to which more replicas are worth nothing.
        """
        group = self._group.get(key)
        if group is None:
            return []
        columns, here = self._problem.options.columns, self._column(key, self._grants.get(key))
        have = 0 if here is None else int(columns.replicas[here])
        smallest: dict[int, int] = {}
        for at in range(int(columns.start[group]), int(columns.start[group + 1])):
            flavor, replicas = int(columns.flavor[at]), int(columns.replicas[at])
            if replicas > have and (here is None or flavor == int(columns.flavor[here])):
                known = smallest.get(flavor)
                if known is None or replicas < int(columns.replicas[known]):
                    smallest[flavor] = at
        return [self._step(key, here, column) for column in smallest.values()]

    def _step(self, key: JobKey, here: int | None, there: int) -> Step:
        problem, columns = self._problem, self._problem.options.columns
        stepped = self._x.copy()
        stepped[there] += 1
        if here is not None:
            stepped[here] -= 1
        before, after = self._loads(self._x), self._loads(stepped)
        more, over = after - before, after - problem.rows.right
        gain = float(problem.value[there]) - (0.0 if here is None else float(problem.value[here]))
        uses = []
        for row in np.flatnonzero(more > ROUNDING).tolist():
            slack = ROUNDING * max(1.0, abs(float(problem.rows.right[row])))
            missing = min(1.0, float(over[row] / more[row])) if over[row] > slack else 0.0
            price = float(self._prices[row] * more[row])
            if missing or price > ROUNDING:
                uses.append(RowUse(problem.rows.names[row], price, missing))
        grant = Grant(self._snapshot.flavors[int(columns.flavor[there])].name, int(columns.replicas[there]))
        if not any(use.missing for use in uses) and not self._places(key, grant):
            uses.append(RowUse(PACKING, 0.0, 1.0))
        return Step(grant, gain, tuple(uses))

    def _places(self, key: JobKey, grant: Grant) -> bool:
        """Whether all pods find nodes on paper: rows allow more where sizes, CPU and memory do not go together."""
        others = [Allocation(other, had.flavor, had.replicas) for other, had in self._grants.items() if other != key]
        return not place(self._snapshot, [*others, Allocation(key, grant.flavor, grant.replicas)]).unplaced

    def _loads(self, x: Floats) -> Floats:
        """By row what x uses; a queue that must keep some of its own unlent counts with at least that in its cohort."""
        rows = self._problem.rows
        used = self._problem.load(x)
        own = rows.y_entry < 0
        room = rows.y_lower.copy()
        np.maximum.at(room, rows.y_column[own], used[rows.y_row[own]] - rows.right[rows.y_row[own]])
        shared = ~own
        counted = np.bincount(rows.y_row[shared], room[rows.y_column[shared]], minlength=len(rows))
        limit = np.zeros(len(rows))
        np.add.at(limit, rows.y_row[own], rows.y_upper[rows.y_column[own]])
        return np.asarray(used - limit + counted)

    def _column(self, key: JobKey, grant: Grant | None) -> int | None:
        columns, group = self._problem.options.columns, self._group.get(key)
        if grant is None or group is None:
            return None
        for at in range(int(columns.start[group]), int(columns.start[group + 1])):
            flavor = self._snapshot.flavors[int(columns.flavor[at])].name
            if flavor == grant.flavor and int(columns.replicas[at]) == grant.replicas:
                return at
        return None
