"""The rows of the program: capacity by cell and block shape, quotas and cohorts, ceilings.

Capacity. For a set E of nodes and any shape h, each pod p that can only go to E counts min_r floor(p_r / h_r) blocks
and a node with free room f holds min_r floor(f_r / h_r) of them (r: the resources h names). Floors of sums are never
below sums of floors, so  sum k blocks(p) <= sum_n blocks(f_n)  holds for every packing. With h = {accelerators: s} for
each replica size s it is row (2) of optimizer.md, exact where the sizes form a divisor chain.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from apportion.model.eligibility import current_grant
from apportion.model.flavors import Flavor
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Snapshot
from apportion.optimizer.cells import Cells, Shape, request
from apportion.optimizer.options import Floats, Ints, Options, promised
from apportion.optimizer.value import terms_of

MOST_SETS = 24  # sets of nodes with rows of their own, per flavor
MOST_SHAPES = 48  # block shapes per set


class Priced(NamedTuple):
    """Whose accelerators a row is about; queue "" is capacity. `per`: accelerators per unit of its right side."""

    flavor: str
    queue: str
    per: float


@dataclass(frozen=True)
class Rows:
    """Rows  A x + Y y <= b  over columns x and borrowed room y (lower <= y <= upper), entries as coordinate lists."""

    names: tuple[str, ...] = ()
    right: Floats = field(default_factory=lambda: np.zeros(0))
    row: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    column: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    entry: Floats = field(default_factory=lambda: np.zeros(0))
    y_lower: Floats = field(default_factory=lambda: np.zeros(0))
    y_upper: Floats = field(default_factory=lambda: np.zeros(0))
    y_row: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    y_column: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    y_entry: Floats = field(default_factory=lambda: np.zeros(0))
    priced: tuple[tuple[int, Priced], ...] = ()

    def __len__(self) -> int:
        return len(self.names)


class Draft:
    """Rows while they are collected."""

    def __init__(self, rows: Rows | None = None) -> None:
        rows = rows or Rows()
        self._names = list(rows.names)
        self._right = list(rows.right)
        self._row, self._column, self._entry = [rows.row], [rows.column], [rows.entry]
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
        self._priced.extend((at, whose) for whose in priced)
        return at

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
            np.array(self._y_lower, dtype=np.float64),
            np.array(self._y_upper, dtype=np.float64),
            np.array([row for row, _, _ in self._y], dtype=np.int64),
            np.array([column for _, column, _ in self._y], dtype=np.int64),
            np.array([entry for _, _, entry in self._y], dtype=np.float64),
            tuple(self._priced),
        )


def rows(snapshot: Snapshot, options: Options, cells: Cells, free: Ints) -> Rows:
    """All rows of capacity and quota; `free` is what pinned jobs leave on the nodes of `cells`."""
    draft = Draft()
    for at, flavor in enumerate(snapshot.flavors):
        _Capacity(options, cells, free, flavor, at).rows(draft)
    if snapshot.queues:
        _quotas(draft, snapshot, options)
    return draft.rows()


class _Capacity:
    """The capacity rows of one flavor."""

    def __init__(self, options: Options, cells: Cells, free: Ints, flavor: Flavor, at: int) -> None:
        self._cells, self._free, self._flavor = cells, free, flavor
        columns = options.columns
        self._mine = np.flatnonzero((columns.flavor == at) & (columns.taken > 0))
        self._group = columns.group[self._mine]
        self._taken = columns.taken[self._mine].astype(np.float64)
        self._groups = np.unique(self._group)
        self._masks = {int(group): options.masks[group].get(at, 0) for group in self._groups}
        self._jobs = {int(group): options.groups[group].like for group in self._groups}
        self._requests: dict[int, Shape] = {
            group: tuple(sorted(request(job).items())) for group, job in self._jobs.items()
        }
        most = np.zeros(len(options.groups))
        np.maximum.at(most, self._group, self._taken)
        sizes = np.array([group.size for group in options.groups], dtype=np.float64)
        self._most = most * sizes

    def rows(self, draft: Draft) -> None:
        for number, mask in enumerate(_sets(set(self._masks.values()))):
            inside = [group for group in self._masks if self._masks[group] & ~mask == 0]
            where = self._flavor.name if number == 0 else f"{self._flavor.name}.{number}"
            self._rows_of(draft, where, mask, inside)

    def _rows_of(self, draft: Draft, where: str, mask: int, inside: list[int]) -> None:
        """One row per shape, without those that can never bind and those that another implies."""
        kept: list[tuple[Shape, float, dict[Shape, int]]] = []
        pods = sorted({self._requests[group] for group in inside})
        most = dict.fromkeys(pods, 0.0)
        for group in inside:
            most[self._requests[group]] += self._most[group]
        for shape in self._shapes(pods):
            right = self._right(mask, shape)
            each = {pod: _blocks(dict(pod), shape) for pod in pods}
            if sum(count * most[pod] for pod, count in each.items()) <= right:
                continue
            if any(_implies(other, right, each) for other in kept):
                continue
            kept.append((shape, right, each))
            per_group = np.zeros(int(self._groups[-1]) + 1)
            for group in inside:
                per_group[group] = each[self._requests[group]]
            entries = self._taken * per_group[self._group]
            used = entries > 0
            scale = max(1.0, right) if len(shape) == 1 and shape[0][0] != self._flavor.resource else 1.0
            draft.add(
                f"capacity/{where}/{self._name(shape)}",
                self._mine[used],
                entries[used] / scale,
                right / scale,
                self._priced(shape),
            )

    def _right(self, mask: int, shape: Shape) -> float:
        return float(self._cells.fitting(mask, shape, self._free).sum())

    def _shapes(self, pods: list[Shape]) -> list[Shape]:
        """Accelerators alone by rising size, then totals of the other resources, then whole pods."""
        resource = self._flavor.resource
        sizes = sorted({dict(pod)[resource] for pod in pods})
        others = sorted({name for pod in pods for name, _ in pod} - {resource})
        shapes: list[Shape] = [((resource, size),) for size in sizes[:MOST_SHAPES]]
        shapes += [((name, 1),) for name in others]
        return shapes + [shape for shape in pods[:MOST_SHAPES] if len(shape) > 1]

    def _name(self, shape: Shape) -> str:
        amounts = dict(shape)
        size = amounts.pop(self._flavor.resource, 0) // self._flavor.unit
        return "+".join([str(size)] * bool(size) + [f"{name}={amount}" for name, amount in amounts.items()])

    def _priced(self, shape: Shape) -> tuple[Priced, ...]:
        size = dict(shape).get(self._flavor.resource, 0) / self._flavor.unit
        return (Priced(self._flavor.name, "", size),) if size > 0 else ()


def _blocks(amounts: dict[str, int], shape: Shape) -> int:
    return min(amounts.get(name, 0) // amount for name, amount in shape)


def _implies(other: tuple[Shape, float, dict[Shape, int]], right: float, blocks: dict[Shape, int]) -> bool:
    """The other row says at least as much: scaled to this right side, it counts every pod at least as high."""
    _, bound, counted = other
    if bound <= 0:
        return all(counted[pod] > 0 for pod, count in blocks.items() if count)
    return all(counted[pod] * right >= count * bound for pod, count in blocks.items())


def _sets(masks: set[int]) -> list[int]:
    """The union of all, each set that occurs, and the unions of pairs, as far as `MOST_SETS` goes."""
    masks.discard(0)
    if not masks:
        return []
    union = 0
    for mask in masks:
        union |= mask
    found = dict.fromkeys([union, *sorted(masks)])
    pairs = (left | right for left in sorted(masks) for right in sorted(masks) if left < right)
    for pair in pairs:
        if len(found) >= MOST_SETS:
            break
        found.setdefault(pair)
    return list(found)[: max(MOST_SETS, 1)]


@dataclass(frozen=True)
class Share:
    """A queue's right to one flavor in this round, in accelerators.

    nominal, most (with what it may borrow) and least (what it does not lend) are raised to what must keep running;
    fixed is what pinned jobs hold of it.
    """

    queue: Queue
    flavor: str
    nominal: float
    least: float
    most: float
    must: float
    fixed: float


class _Must:
    """By (queue, flavor): accelerators that must keep running, and those that pinned jobs hold."""

    def __init__(self, snapshot: Snapshot, strict_only: bool = False) -> None:
        self._must: dict[tuple[str, str], float] = {}
        self._fixed: dict[tuple[str, str], float] = {}
        for job in snapshot.jobs:
            grant, terms = current_grant(job), terms_of(snapshot, job)
            if job.queue_name is None or not terms.candidate or (strict_only and terms.borrows):
                continue
            key = (job.queue_name, grant.flavor)
            kept = grant.replicas if terms.pinned else promised(job, terms) if grant.replicas else 0
            self._must[key] = self._must.get(key, 0.0) + kept * job.per_replica
            if terms.pinned:
                self._fixed[key] = self._fixed.get(key, 0.0) + kept * job.per_replica

    def of(self, queue: str, flavor: str) -> tuple[float, float]:
        return self._must.get((queue, flavor), 0.0), self._fixed.get((queue, flavor), 0.0)


def _quotas(draft: Draft, snapshot: Snapshot, options: Options) -> None:
    columns = options.columns
    used = np.array([group.like.per_replica for group in options.groups], dtype=np.float64)
    amount = columns.replicas * used[columns.group] if len(columns) else np.zeros(0)
    queue_of = np.array([group.like.queue_name or "" for group in options.groups], dtype=object)
    column_queue = queue_of[columns.group] if len(columns) else np.zeros(0, dtype=object)
    strict = np.array([not group.borrows for group in options.groups], dtype=np.bool_)
    column_strict = strict[columns.group] if len(columns) else np.zeros(0, dtype=np.bool_)
    strict_names = {group.like.queue_name for group in options.groups if not group.borrows}
    ceilings = {(ceiling.queue, ceiling.flavor): ceiling.accelerators for ceiling in snapshot.ceilings}
    kept, strict_must = _Must(snapshot), _Must(snapshot, strict_only=True)
    for at, flavor in enumerate(snapshot.flavors):
        on = columns.flavor == at
        shares = list(_shares(snapshot, flavor, kept))
        for cohort in _cohorts(shares):
            mine = {share.queue.name: np.flatnonzero(on & (column_queue == share.queue.name)) for share in cohort}
            _cohort_rows(draft, cohort, mine, amount)
        for share in shares:
            name, here = share.queue.name, on & (column_queue == share.queue.name)
            ceiling = ceilings.get((name, flavor.name))
            if ceiling is not None and here.any():
                right = max(float(ceiling), share.must) - share.fixed
                whose = [Priced(flavor.name, name, 1.0)]
                chosen = np.flatnonzero(here)
                draft.add(f"ceiling/{name}/{flavor.name}", chosen, amount[chosen], right, whose)
            if name in strict_names:
                chosen = np.flatnonzero(here & column_strict)
                must, fixed = strict_must.of(name, flavor.name)
                if len(chosen):
                    right = max(_nominal(share.queue, flavor.name), must) - fixed
                    draft.add(f"nominal/{name}/{flavor.name}", chosen, amount[chosen], right)


def _nominal(queue: Queue, flavor: str) -> float:
    quota = queue.quota(flavor)
    return float(max(0, quota.nominal)) if quota is not None else 0.0


def _shares(snapshot: Snapshot, flavor: Flavor, kept: _Must) -> Iterator[Share]:
    """Queues in order; one that does not list the flavor has a share of 0, raised to what it must keep."""
    cohorts: dict[str, float] = {}
    for queue in snapshot.queues:
        if queue.cohort:
            cohorts[queue.cohort] = cohorts.get(queue.cohort, 0.0) + _nominal(queue, flavor.name)
    for queue in snapshot.queues:
        quota = queue.quota(flavor.name) or Quota(flavor.name, 0, 0, 0)
        nominal = float(max(0, quota.nominal))
        total = cohorts.get(queue.cohort, nominal) if queue.cohort else nominal
        borrow = total - nominal if quota.borrowing_limit is None else float(max(0, quota.borrowing_limit))
        lend = nominal if quota.lending_limit is None else float(max(0, quota.lending_limit))
        must, fixed = kept.of(queue.name, flavor.name)
        most = max(min(nominal + borrow, total), must)
        yield Share(queue, flavor.name, nominal, max(0.0, nominal - lend), most, must, fixed)


def _cohorts(shares: Sequence[Share]) -> list[list[Share]]:
    """Queues of one cohort together; a queue without a cohort is alone."""
    found: dict[tuple[str, str], list[Share]] = {}
    for share in shares:
        key = ("cohort", share.queue.cohort) if share.queue.cohort else ("queue", share.queue.name)
        found.setdefault(key, []).append(share)
    return list(found.values())


def _cohort_rows(draft: Draft, cohort: list[Share], mine: dict[str, Ints], amount: Floats) -> None:
    """usage_t <= y_t within its box, sum y_t <= sum nominal_t; y_t is left out where no lending limit holds it up."""
    total = max(sum(share.nominal for share in cohort), sum(max(share.least, share.must) for share in cohort))
    held_back = any(share.least > 0 for share in cohort) and len(cohort) > 1
    active = [share for share in cohort if len(mine[share.queue.name])]
    idle = sum(max(share.least, share.must) if held_back else share.must for share in cohort if share not in active)
    flavor = cohort[0].flavor
    if not active:
        return
    whose = [Priced(flavor, share.queue.name, 1.0) for share in active]
    if not held_back:
        for share, priced in zip(active, whose, strict=True):
            chosen = mine[share.queue.name]
            right = min(share.most, total) - share.fixed
            draft.add(f"quota/{share.queue.name}/{flavor}", chosen, amount[chosen], right, [priced])
        if len(cohort) > 1:
            chosen = np.concatenate([mine[share.queue.name] for share in active])
            right = total - idle - sum(share.fixed for share in active)
            draft.add(f"cohort/{cohort[0].queue.cohort}/{flavor}", chosen, amount[chosen], right, whose)
        return
    none = np.zeros(0, dtype=np.int64)
    shared = draft.add(f"cohort/{cohort[0].queue.cohort}/{flavor}", none, np.zeros(0), total - idle)
    for share, priced in zip(active, whose, strict=True):
        chosen = mine[share.queue.name]
        at = draft.add(f"quota/{share.queue.name}/{flavor}", chosen, amount[chosen], -share.fixed, [priced])
        lower = max(share.least, share.fixed)
        draft.room(lower, max(share.most, lower), [(at, -1.0), (shared, 1.0)])
