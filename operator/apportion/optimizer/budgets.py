"""Rows (4) of optimizer.md: money per hour and watts, of all jobs or of one queue's."""

from collections.abc import Sequence

import numpy as np

from apportion.model.caps import Cap
from apportion.model.snapshot import Snapshot
from apportion.optimizer.options import Floats, Group, Options
from apportion.optimizer.quotas import Kept
from apportion.optimizer.rows import Draft, Priced

ROUNDING = 1e-9  # of an amount
LARGEST_ENTRY = 1e6  # of a row whose right side is nothing


def budgets(draft: Draft, snapshot: Snapshot, options: Options) -> None:
    """sum each_a g k x <= limit, for every cap that can bind.

    Where what must keep running is more than the limit, that runs on, there or where it is cheaper, and nothing else.
    """
    columns, groups = options.columns, options.groups
    size = np.array([group.like.per_replica for group in groups], dtype=np.float64)
    accelerators = columns.replicas * size[columns.group]
    kept = Kept(snapshot)
    for cap in snapshot.caps:
        each = np.array([cap.each.get(flavor.name, 0.0) for flavor in snapshot.flavors], dtype=np.float64)
        covered = np.array([cap.covers(group.like.queue_name) for group in groups], dtype=np.bool_)
        amount = accelerators * each[columns.flavor] * covered[columns.group]
        here = np.flatnonzero(amount > 0)
        if cap.used(kept.must) > cap.limit * (1 + ROUNDING):
            beyond = np.flatnonzero(amount > _promised(cap, groups)[columns.group] * (1 + ROUNDING))
            draft.add(row_name(cap), beyond, np.ones(len(beyond)), 0.0)
            continue
        right = cap.limit - cap.used(kept.fixed)
        if not len(here) or _most(options, amount) <= right:
            continue
        entries, unit = _scaled(amount[here], right)
        priced = [Priced("", cap.queue, unit, cap.kind)]
        draft.add(row_name(cap), here, entries, max(right, 0.0) / unit, priced)


def _promised(cap: Cap, groups: Sequence[Group]) -> Floats:
    """By group, what a member's promise counts where it runs."""
    each = [cap.each.get(group.current.flavor, 0.0) * group.like.per_replica for group in groups]
    kept = [group.keeps if group.current.replicas else 0 for group in groups]
    return np.array(each, dtype=np.float64) * np.array(kept, dtype=np.float64)


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
        return np.minimum(amount, unit * LARGEST_ENTRY) / unit, unit
    entries = np.minimum(amount, 2.0 * right)
    unit = float(entries.max())
    return entries / unit, unit
