"""Choices without a solver: by marginal value per accelerator, whole gangs, never against a row."""

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from types import MappingProxyType

import numpy as np

from apportion.optimizer.options import Floats
from apportion.optimizer.problem import Problem

TOLERANCE = 1e-7
MOST_OPTIONS_TRIED = 4  # of a group for which others shrink
NOTHING = -1  # the column of a member that gets nothing


class Ledger:
    """What the rows leave while columns are taken and given back one member at a time."""

    def __init__(self, problem: Problem, x: Floats) -> None:
        rows = problem.rows
        # Worked out once for all ledgers of these rows.
        self._of = rows.by_column
        left = rows.right - problem.load(x)
        self._cohorts: dict[int, tuple[list[int], list[float], list[float], float]] = {}
        self._cohort_of: dict[int, int] = {}
        self._borrowed_room(problem, left)
        # A row may be short by as much as rounding; plain lists, since each step touches a handful of rows.
        self._left: list[float] = (left + TOLERANCE * np.maximum(1.0, np.abs(rows.right))).tolist()

    def _borrowed_room(self, problem: Problem, left: Floats) -> None:
        """y is put at its upper end in its queue's row; what the cohort's row then means is checked apart."""
        rows = problem.rows
        for shared in np.unique(rows.y_row[rows.y_entry > 0]).tolist():
            ys = rows.y_column[(rows.y_row == shared) & (rows.y_entry > 0)]
            own = np.array([rows.y_row[(rows.y_column == y) & (rows.y_entry < 0)][0] for y in ys], dtype=np.int64)
            left[own] += rows.y_upper[ys]
            total = float(rows.right[shared]) + TOLERANCE * len(own) * max(1.0, abs(float(rows.right[shared])))
            self._cohorts[shared] = (own.tolist(), rows.y_lower[ys].tolist(), rows.y_upper[ys].tolist(), total)
            self._cohort_of.update(dict.fromkeys(own.tolist(), shared))

    def take(self, column: int, given_back: int = NOTHING) -> bool:
        """Gives a member the column instead of the other; False, and nothing changed, where a row forbids it."""
        left, taken = self._left, self._of[column]
        self._add(given_back)
        # On a full cluster nearly every one is refused, by its first rows.
        for row, entry in taken:
            if left[row] < entry:
                self._subtract(given_back)
                return False
        self._subtract(column)
        if not self._cohorts or self._holds(column):
            return True
        self.move(given_back, column)
        return False

    def move(self, column: int, given_back: int) -> None:
        """A `take` that asks no row."""
        self._add(given_back)
        self._subtract(column)

    def give_back(self, column: int, before: int = NOTHING) -> None:
        """Undoes a `take`."""
        self.move(before, column)

    def over(self, column: int) -> bool:
        """Whether some row that the column is on is broken."""
        return not self._holds(column)

    def broken(self, column: int) -> set[int]:
        """The rows that are broken where the column is on them; of a cohort that borrows too much, those of all."""
        found: set[int] = set()
        for row, _ in self._of[column]:
            if self._left[row] < 0:
                found.add(row)
            shared = self._cohort_of.get(row)
            if shared is not None and not self._cohort_holds(shared):
                found.update(self._cohorts[shared][0])
        return found

    def relieves(self, column: int, other: int) -> bool:
        """Whether the column is on a row that the other one breaks."""
        return not self.broken(other).isdisjoint(row for row, _ in self._of[column])

    def by_row(self, columns: Sequence[int]) -> dict[int, list[int]]:
        """By row: the places in `columns` of those that are on it."""
        found: dict[int, list[int]] = {}
        for at, column in enumerate(columns):
            for row, _ in self._of[column]:
                found.setdefault(row, []).append(at)
        return found

    def _add(self, column: int) -> None:
        left = self._left
        for row, entry in self._of[column]:
            left[row] += entry

    def _subtract(self, column: int) -> None:
        left = self._left
        for row, entry in self._of[column]:
            left[row] -= entry

    def _holds(self, column: int) -> bool:
        left = self._left
        if any(left[row] < 0 for row, _ in self._of[column]):
            return False
        if not self._cohorts:
            return True
        touched = {self._cohort_of[row] for row, _ in self._of[column] if row in self._cohort_of}
        return all(self._cohort_holds(shared) for shared in touched)

    def _cohort_holds(self, shared: int) -> bool:
        own, lower, upper, total = self._cohorts[shared]
        used = (max(low, high - self._left[row]) for row, low, high in zip(own, lower, upper, strict=True))
        return sum(used) <= total


class Steps:
    """Where a member may go from a column: larger options of its flavor, or from nothing any; the best first."""

    def __init__(self, problem: Problem) -> None:
        columns = problem.options.columns
        sizes = np.array([group.like.per_replica for group in problem.options.groups], dtype=np.float64)
        self.accelerators = columns.replicas * np.maximum(sizes, 1.0)[columns.group] if len(columns) else np.zeros(0)
        # Plain lists: a group has a handful of options, and arrays of that length take ten times as long.
        self._start, self._flavor = columns.start.tolist(), columns.flavor.tolist()
        self._value, self._size = problem.value.tolist(), self.accelerators.tolist()
        self._offered = problem.offered.tolist()
        self._known: dict[tuple[int, int], list[tuple[float, int]]] = {}

    def after(self, group: int, column: int) -> list[tuple[float, int]]:
        """(gain per accelerator, column), most per accelerator first; of equals the smaller step."""
        key = (group, column)
        if key not in self._known:
            self._known[key] = self._find(group, column)
        return self._known[key]

    def _find(self, group: int, column: int) -> list[tuple[float, int]]:
        value, accelerators = self._value, self._size
        mine = [at for at in range(self._start[group], self._start[group + 1]) if self._offered[at]]
        worth, size = 0.0, 0.0
        if column != NOTHING:
            worth, size, flavor = value[column], accelerators[column], self._flavor[column]
            mine = [at for at in mine if self._flavor[at] == flavor and accelerators[at] > size]
        steps = [((value[at] - worth) / (accelerators[at] - size), at) for at in mine if value[at] > worth]
        return sorted(steps, key=lambda step: (-step[0], accelerators[step[1]]))


def grown(problem: Problem, x: Floats) -> Floats:
    """x with every step taken that some row does not forbid, the most valuable per accelerator first."""
    x = x.copy()
    ledger, steps = Ledger(problem, x), Steps(problem)
    columns = problem.options.columns
    waiting = problem.size - np.bincount(columns.group, x, minlength=len(problem.size)).astype(np.int64)
    heap: list[tuple[float, int, int, int]] = []

    def offer(group: int, column: int, rank: int = 0) -> None:
        following = steps.after(group, column)
        if rank < len(following):
            heappush(heap, (-following[rank][0], group, column, rank))

    for column in np.flatnonzero(x).tolist():
        offer(int(columns.group[column]), column)
    for group in np.flatnonzero(waiting).tolist():
        offer(group, NOTHING)
    while heap:
        _, group, column, rank = heappop(heap)
        target = steps.after(group, column)[rank][1]
        left = int(waiting[group]) if column == NOTHING else int(x[column])
        moved = 0
        while moved < left and ledger.take(target, column):
            moved += 1
        if column == NOTHING:
            waiting[group] -= moved
        else:
            x[column] -= moved
        x[target] += moved
        if moved:
            offer(group, target)
        if moved < left:
            offer(group, column, rank + 1)
    return x


def rounded(problem: Problem, x: Floats) -> Floats:
    """A whole x near that of the relaxation: whole entries stay, members in between take what fits, then all grow.

    Members that must run, or run half in the relaxation, and find no room get it from others, who shrink by a step, the
    cheapest first. Even so it may miss what a stage reached: see `Problem.keeps_to`.
    """
    columns = problem.options.columns
    whole = np.floor(x + TOLERANCE)
    ledger = Ledger(problem, whole)
    asked = np.bincount(columns.group, x, minlength=len(problem.size))
    left = np.minimum(problem.size, np.ceil(asked - TOLERANCE))
    left = (left - np.bincount(columns.group, whole, minlength=len(problem.size))).astype(np.int64)
    open_: list[int] = []
    for group in np.flatnonzero(left > 0).tolist():
        first, last = int(columns.start[group]), int(columns.start[group + 1])
        mine = np.arange(first, last)[problem.offered[first:last]]
        # What the relaxation chose comes first, then anything of less, the most valuable first.
        order = mine[np.lexsort((-problem.value[mine], x[mine] - whole[mine] <= TOLERANCE))].tolist()
        for _ in range(int(left[group])):
            column = next((at for at in order if ledger.take(at)), NOTHING)
            if column == NOTHING:
                if problem.must[group] == problem.size[group] or asked[group] >= problem.size[group] / 2:
                    open_.append(group)
                break
            whole[column] += 1
    if open_:
        _make_room(problem, whole, ledger, open_)
    return grown(problem, whole)


def _make_room(problem: Problem, x: Floats, ledger: Ledger, groups: list[int]) -> None:
    """Puts a member of each group at one of its best options, others shrinking for it; x changes in place."""
    columns, value = problem.options.columns, problem.value
    shrinks = _shrinks(problem, x)
    on_row = ledger.by_row([larger for larger, _ in shrinks])
    for group in groups:
        first, last = int(columns.start[group]), int(columns.start[group + 1])
        mine = np.arange(first, last)[problem.offered[first:last]]
        for column in mine[np.argsort(-value[mine] / columns.replicas[mine], kind="stable")][
            :MOST_OPTIONS_TRIED
        ].tolist():
            taken: list[tuple[int, int]] = []
            ledger.move(column, NOTHING)
            while ranks := {rank for row in ledger.broken(column) for rank in on_row.get(row, ())}:
                done = len(taken)
                for rank in sorted(ranks):
                    larger, smaller = shrinks[rank]
                    if x[larger] > 0 and ledger.relieves(larger, column):
                        ledger.move(smaller, larger)
                        x[larger], x[smaller] = x[larger] - 1, x[smaller] + 1
                        taken.append((larger, smaller))
                        if not ledger.over(column):
                            break
                if len(taken) == done:
                    break
            if not ledger.over(column):
                x[column] += 1
                break
            for larger, smaller in reversed(taken):
                ledger.move(larger, smaller)
                x[larger], x[smaller] = x[larger] + 1, x[smaller] - 1
            ledger.move(NOTHING, column)


def _shrinks(problem: Problem, x: Floats) -> list[tuple[int, int]]:
    """(column in use, the next smaller one of its group and flavor), those first that lose least per replica."""
    columns, value = problem.options.columns, problem.value
    found: list[tuple[float, int, int]] = []
    for at in np.flatnonzero(x).tolist():
        before = at - 1
        if before < columns.start[columns.group[at]] or columns.flavor[before] != columns.flavor[at]:
            continue
        if problem.offered[before]:
            fewer = float(columns.replicas[at] - columns.replicas[before])
            found.append((float(value[at] - value[before]) / fewer, at, before))
    return [(larger, smaller) for _, larger, smaller in sorted(found)]


def admitted(
    problem: Problem,
    x: Floats,
    order: Iterable[int],
    choices: Mapping[int, Sequence[int]],
    planned: Mapping[int, Sequence[int]] = MappingProxyType({}),
) -> tuple[Floats, bool]:
    """x with the groups' waiting members at the first of their choices that fits; whether all of them got one.

    planned: by group, what its members try before that, each of them one.
    """
    x = x.copy()
    ledger, complete = Ledger(problem, x), True
    columns = problem.options.columns
    given = np.bincount(columns.group, x, minlength=len(problem.size))
    for group in order:
        left = int(problem.size[group] - given[group])
        for column in planned.get(group, ()):
            if left and problem.offered[column] and ledger.take(column):
                x[column] += 1
                left -= 1
        for column in choices.get(group, ()):
            while left and ledger.take(column):
                x[column] += 1
                left -= 1
        complete = complete and left == 0
    return x, complete
