"""What pods that stay take of the room, in blocks of a shape: counted from where everybody is.

Pods that stay hold room on their own nodes, so what a job leaves behind is worth what comes free there, not what its
pods would take on nodes of their own: a pod alone on its node keeps a block of eight from others, one of eight pods
keeps none. With f_n the room of node n while everybody stays, H_n what the job has there and K_n what it would keep,
an option takes  sum_n blocks(f_n + H_n) - blocks(f_n + H_n - K_n)  of a row whose right side is what f_n holds and
what all jobs take where they are. Everybody staying keeps to every such row, and so does anybody alone who leaves or
shrinks, exactly; of several that leave one node together the rows do not see what comes free only by both.
"""

import numpy as np

from apportion.optimizer.cells import Cells, Shape
from apportion.optimizer.options import Floats, Ints, Options
from apportion.optimizer.staying import Held


class Staying:
    """The pods that stay on one flavor; `free` is by node what is left if everybody stays."""

    def __init__(self, options: Options, cells: Cells, flavor: str, chosen: Ints) -> None:
        self.free, self._cells = options.free, cells
        holds: dict[int, tuple[Held, Held]] = {}
        sizes: dict[int, int] = {}
        for group in options.groups:
            if group.whole is not None and group.current.flavor == flavor:
                holds[id(group.whole)] = (group.whole, group.whole)
                sizes[id(group.whole)] = group.staying
        stay = options.columns.stay[chosen]
        numbers = np.unique(stay[stay >= 0])
        for number in numbers.tolist():
            at, held = options.stays[number]
            holds.setdefault(id(held), (held, options.groups[at].whole or held))
        place = {name: at for at, name in enumerate(holds)}
        # The last entry stands for columns with which nothing stays.
        self._of_column = np.full(len(chosen), len(holds), dtype=np.int64)
        if len(numbers):
            places = np.array([place[id(options.stays[number][1])] for number in numbers.tolist()], dtype=np.int64)
            self._of_column[stay >= 0] = places[np.searchsorted(numbers, stay[stay >= 0])]
        self._size = np.array([sizes.get(name, 0) for name in holds], dtype=np.float64)
        self._flatten(list(holds.values()))

    def _flatten(self, holds: list[tuple[Held, Held]]) -> None:
        """One entry per node and hold: the room there without the job, and what these pods leave of it."""
        nothing = self.free[:0]
        self._nodes = np.concatenate([np.zeros(0, dtype=np.int64), *(held.rows for held, _ in holds)])
        self._hold = np.repeat(np.arange(len(holds)), [len(held.rows) for held, _ in holds])
        had = np.concatenate([nothing, *(whole.amounts_at(held.rows) for held, whole in holds)])
        self._before = self.free[self._nodes] + had
        self._after = self._before - np.concatenate([nothing, *(held.amounts for held, _ in holds)])
        self._known: dict[Shape, Floats] = {}

    def blocks(self, mask: int, shape: Shape) -> tuple[Floats, float]:
        """What the staying pods of each column take of these nodes, and what those of all jobs do where they are."""
        if not len(self._nodes):
            return np.zeros(len(self._of_column)), 0.0
        if shape not in self._known:
            taken = self._cells.blocks(self._before, shape) - self._cells.blocks(self._after, shape)
            self._known[shape] = taken.astype(np.float64)
        inside = np.zeros(len(self.free), dtype=np.bool_)
        inside[self._cells.indices(mask)] = True
        each = np.bincount(self._hold, self._known[shape] * inside[self._nodes], minlength=len(self._size) + 1)
        return np.asarray(each[self._of_column], dtype=np.float64), float(each[:-1] @ self._size)
