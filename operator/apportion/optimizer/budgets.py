"""Rows (4) of optimizer.md: money per hour and watts, of all jobs or of one queue's."""

import numpy as np

from apportion.model.caps import Cap
from apportion.model.snapshot import Snapshot
from apportion.optimizer.options import Floats, Options
from apportion.optimizer.quotas import Kept
from apportion.optimizer.rows import Draft, Priced

LARGEST_ENTRY = 1e6  # of a row whose right side is nothing


def budgets(draft: Draft, snapshot: Snapshot, options: Options) -> None:
    """sum each_a g k x <= limit, for every cap that can bind, raised to what must keep running."""
    columns, groups = options.columns, options.groups
    size = np.array([group.like.per_replica for group in groups], dtype=np.float64)
    accelerators = columns.replicas * size[columns.group]
    kept = Kept(snapshot)
    for cap in snapshot.caps:
        each = np.array([cap.each.get(flavor.name, 0.0) for flavor in snapshot.flavors], dtype=np.float64)
        covered = np.array([cap.covers(group.like.queue_name) for group in groups], dtype=np.bool_)
        amount = accelerators * each[columns.flavor] * covered[columns.group]
        here = np.flatnonzero(amount > 0)
        right = max(cap.limit, cap.used(kept.must)) - cap.used(kept.fixed)
        if not len(here) or _most(options, amount) <= right:
            continue
        entries, unit = _scaled(amount[here], right)
        priced = [Priced("", cap.queue, unit, cap.kind)]
        draft.add(row_name(cap), here, entries, max(right, 0.0) / unit, priced)


def row_name(cap: Cap) -> str:
    return f"{cap.kind}/{cap.queue}"


def _most(options: Options, amount: Floats) -> float:
    """What all jobs could use at most."""
    most = np.zeros(len(options.groups))
    np.maximum.at(most, options.columns.group, amount)
    return float(most @ np.array([group.size for group in options.groups], dtype=np.float64))


def _scaled(amount: Floats, right: float) -> tuple[Floats, float]:
    """Entries that a solver does not take for nothing, and the unit that they are in.

    What does not fit at all need not be told apart by how much, so a watt and 1e9 watts can stand in one row.
    """
    if right <= 0:
        unit = float(amount.min())
        return np.minimum(amount / unit, LARGEST_ENTRY), unit
    entries = np.minimum(amount, 2.0 * right)
    unit = float(entries.max())
    return entries / unit, unit
