"""All rows of the program."""

from apportion.model.snapshot import Snapshot
from apportion.optimizer.budgets import budgets
from apportion.optimizer.capacity import Capacity
from apportion.optimizer.cells import Cells
from apportion.optimizer.options import Options
from apportion.optimizer.quotas import quotas
from apportion.optimizer.rows import Draft, Rows


def limits(snapshot: Snapshot, options: Options, cells: Cells) -> Rows:
    """All rows of capacity, quota, budget and power."""
    draft = Draft()
    for at, flavor in enumerate(snapshot.flavors):
        Capacity(options, cells, flavor, at).rows(draft)
    if snapshot.queues:
        quotas(draft, snapshot, options)
    budgets(draft, snapshot, options)
    return draft.rows()
