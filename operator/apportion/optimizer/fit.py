"""The new pods of columns as kinds, and the patterns that nodes are filled after: what fits, exactly."""

from dataclasses import dataclass

import numpy as np

from apportion.optimizer.cells import Cells
from apportion.optimizer.options import Floats, Ints, Options
from apportion.optimizer.patterns import Kind, Patterns, patterns_of


@dataclass(frozen=True)
class Fit:
    """By flavor the patterns of its nodes, and by column which kind its new pods are (-1: they are elsewhere)."""

    pools: tuple[Patterns, ...]
    kinds: tuple[Ints, ...]
    new: Ints

    def holds(self, x: Floats) -> bool:
        """Whether all new pods of x have a place together; False as well where that was not found out."""
        for pool, kind in zip(self.pools, self.kinds, strict=True):
            mine = kind >= 0
            wanted = np.bincount(kind[mine], x[mine] * self.new[mine], minlength=len(pool.kinds))
            if pool.arranged(tuple(int(count) for count in np.round(wanted).tolist())) is None:
                return False
        return True


def fit_of(found: Options, cells: Cells) -> Fit | None:
    """What fits beside the pods that stay with every allowed option; None where options differ in that, or nodes hold
    too many patterns."""
    if not _settled(found):
        return None
    pools, kinds = [], []
    for flavor in np.unique(found.columns.flavor).tolist():
        kind, wanted = _kinds(found, cells, flavor)
        patterns = patterns_of(cells, found.free, wanted) if wanted else None
        if wanted and patterns is None:
            return None
        if patterns is not None:
            number = {each: at for at, each in enumerate(patterns.kinds)}
            pools.append(patterns)
            kinds.append(np.array([number[each] if each else -1 for each in kind], dtype=np.int64))
    return Fit(tuple(pools), tuple(kinds), found.columns.new) if pools else None


def _settled(found: Options) -> bool:
    """Whether `free` is what the staying pods of every allowed option leave."""
    columns = found.columns
    for at, group in enumerate(found.groups):
        mine = slice(int(columns.start[at]), int(columns.start[at + 1]))
        kept = np.unique(columns.stay[mine][found.allowed[mine]]).tolist()
        here = 0 if group.whole is None else group.whole.count
        if len(kept) > 1 or (kept and here != (found.stays[kept[0]][1].count if kept[0] >= 0 else 0)):
            return False
    return True


def _kinds(found: Options, cells: Cells, flavor: int) -> tuple[list[Kind | None], dict[Kind, int]]:
    """By column the kind of its new pods on this flavor; and how many of each can be wanted at most."""
    columns = found.columns
    of_group = {
        at: Kind(found.masks[at][flavor], cells.shape(group.like))
        for at, group in enumerate(found.groups) if flavor in found.masks[at]
    }  # fmt: skip
    usable = (columns.flavor == flavor) & found.allowed & (columns.new > 0)
    kinds: list[Kind | None] = [None] * len(columns)
    most: dict[int, int] = {}
    for column in np.flatnonzero(usable).tolist():
        group = int(columns.group[column])
        kinds[column] = of_group[group]
        most[group] = max(most.get(group, 0), int(columns.new[column]))
    wanted: dict[Kind, int] = {}
    for group, count in most.items():
        wanted[of_group[group]] = wanted.get(of_group[group], 0) + count * found.groups[group].size
    return kinds, wanted
