"""Which pods go first, and to which node, where other resources than accelerators bind.

Of pods that ask for several resources those go first that take most of what is scarce, each to the node where what is
free is most like what it asks for, so that no node is left with much of one resource and nothing of another: the dot
product of both (Grandl et al., Multi-resource packing for cluster schedulers, SIGCOMM 2014), here of unit vectors.
"""

from collections.abc import Sequence

import numpy as np

from apportion.optimizer.cells import Cells, Shape
from apportion.optimizer.options import Floats, Ints


class Demand:
    """What pods ask for beside what is free: (node classes, shape, how many) of each kind of them.

    The weight of a resource, by set of node classes, is what pods that may go there ask of it over what is free there,
    in units of the most that one node has free.
    """

    def __init__(self, cells: Cells, free: Ints, pods: Sequence[tuple[int, Shape, int]]) -> None:
        self._cells = cells
        self._weights: dict[int, Floats] = {}
        rows = [(mask, self._row(shape) * count) for mask, shape, count in pods]
        for mask in {mask for mask, _, _ in pods}:
            here = np.maximum(free[cells.indices(mask)], 0).astype(np.float64)
            asked = sum((row for other, row in rows if other & mask), np.zeros(len(cells.resources)))
            self._weights[mask] = (
                asked / np.maximum(here.sum(axis=0), 1.0) / np.maximum(here.max(axis=0, initial=1), 1.0)
            )

    def share(self, mask: int, shape: Shape) -> float:
        """How much of what is scarce one pod takes: weighted parts of a node."""
        return float(self._weights[mask] @ self._row(shape))

    def most_like(self, mask: int, shape: Shape, free: Ints) -> int | None:
        """The node of the set that has room for the pod and is most like it; None where none has room."""
        at = self._cells.indices(mask)
        row = self._row(shape)
        at = at[(free[at] >= row)[:, row > 0].all(axis=1)]
        if not len(at):
            return None
        weighted = free[at] * self._weights[mask]
        likeness = weighted @ (row * self._weights[mask]) / np.sqrt((weighted**2).sum(axis=1))
        return int(at[np.argmax(likeness)])

    def _row(self, shape: Shape) -> Floats:
        row = np.zeros(len(self._cells.resources))
        for name, amount in shape:
            row[self._cells.column(name)] = amount
        return row
