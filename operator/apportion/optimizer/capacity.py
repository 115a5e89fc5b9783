"""Rows of capacity, by cell and block shape.

For a set E of nodes and any shape h, each pod p that can only go to E counts min_r floor(p_r / h_r) blocks and a node
with free room f holds min_r floor(f_r / h_r) of them (r: the resources h names). Floors of sums are never below sums of
floors, so  sum k blocks(p) <= sum_n blocks(f_n)  holds for every packing. With h = {accelerators: s} for each replica
size s it is row (2) of optimizer.md, exact where the sizes form a divisor chain. Where they do not, as with 3 and 4, no
such row keeps to what there is in all: one of their greatest common divisor does. Pods that stay where they are count
by what they keep others from: see footprints.py.
"""

from functools import lru_cache
from math import gcd

import numpy as np

from apportion.model.flavors import Flavor
from apportion.optimizer.cells import Cells, Shape
from apportion.optimizer.footprints import Staying
from apportion.optimizer.options import Bools, Floats, Options
from apportion.optimizer.rows import Counted, Draft, Priced

MOST_SETS = 24  # sets of nodes with rows of their own, per flavor
MOST_SHAPES = 48  # block shapes per set


class Capacity:
    """The capacity rows of one flavor."""

    def __init__(self, options: Options, cells: Cells, flavor: Flavor, at: int) -> None:
        self._cells, self._flavor, self._room = cells, flavor, options.room
        self._reaches: dict[tuple[int, Shape], Bools] = {}
        columns = options.columns
        self._mine = np.flatnonzero(columns.flavor == at)
        self._group = columns.group[self._mine]
        self._new = columns.new[self._mine].astype(np.float64)
        self._first = np.flatnonzero(np.diff(self._group, prepend=-1))
        self._size = np.array([options.groups[group].size for group in self._group[self._first]], dtype=np.float64)
        groups = self._group[self._first].tolist()
        self._masks = {group: options.masks[group].get(at, 0) for group in groups}
        self._requests: dict[int, Shape] = {group: cells.shape(options.groups[group].like) for group in groups}
        self._staying = Staying(options, cells, flavor.name, self._mine)

    def rows(self, draft: Draft) -> None:
        for number, mask in enumerate(_sets(set(self._masks.values()))):
            inside = self._inside(mask)
            where = self._flavor.name if number == 0 else f"{self._flavor.name}.{number}"
            self._rows_of(draft, where, mask, inside)

    def _inside(self, mask: int) -> list[int]:
        """The groups whose pods can be on no other nodes: by labels, or because all others are too small for them."""
        others = np.ones(len(self._room), dtype=np.bool_)
        others[self._cells.indices(mask)] = False
        return [
            group
            for group, own in self._masks.items()
            if own & ~mask == 0 or not (self._reach(own, self._requests[group]) & others).any()
        ]

    def _reach(self, mask: int, pod: Shape) -> Bools:
        """By node: whether it is among these and would hold a pod if no other job ran."""
        if (mask, pod) not in self._reaches:
            reach = np.zeros(len(self._room), dtype=np.bool_)
            at = self._cells.indices(mask)
            reach[at] = self._cells.blocks(self._room[at], pod) > 0
            self._reaches[mask, pod] = reach
        return self._reaches[mask, pod]

    def _rows_of(self, draft: Draft, where: str, mask: int, inside: list[int]) -> None:
        """One row per shape, without those that can never bind and those that another implies."""
        kept: list[tuple[float, Floats]] = []
        pods = sorted({self._requests[group] for group in inside})
        kind = np.full(int(self._group.max(initial=0)) + 1, len(pods), dtype=np.int64)
        kind[inside] = [pods.index(self._requests[group]) for group in inside]
        for shape in self._shapes(pods):
            each = np.array([*(_blocks(pod, shape) for pod in pods), 0], dtype=np.float64)
            entries = self._new * each[kind[self._group]]
            held, all_held = self._staying.blocks(mask, shape)
            entries += held
            right = float(self._cells.blocks(self._staying.free[self._cells.indices(mask)], shape).sum()) + all_held
            if self._most(entries) <= right or any(_implies(*other, right, entries) for other in kept):
                continue
            kept.append((right, entries))
            used = entries > 0
            scale = max(1.0, right) if len(shape) == 1 and shape[0][0] != self._flavor.resource else 1.0
            counted = Counted(self._mine[used], entries[used], held[used], right)
            draft.capacity(f"capacity/{where}/{self._name(shape)}", counted, (mask, shape, scale), self._priced(shape))

    def _most(self, entries: Floats) -> float:
        """What all jobs could use at most."""
        return float(np.maximum.reduceat(entries, self._first) @ self._size) if len(entries) else 0.0

    def _shapes(self, pods: list[Shape]) -> list[Shape]:
        """Accelerators alone by rising size, then totals of the other resources, then whole pods."""
        resource = self._flavor.resource
        asked = {dict(pod)[resource] for pod in pods}
        sizes = sorted({gcd(*asked), *asked} if asked else ())
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


@lru_cache(maxsize=4096)
def _blocks(pod: Shape, shape: Shape) -> int:
    amounts = dict(pod)
    return min(amounts.get(name, 0) // amount for name, amount in shape)


def _implies(right: float, entries: Floats, other_right: float, other: Floats) -> bool:
    """The first row says at least as much: scaled to the other's right side, it counts no column lower."""
    if right <= 0:
        return bool((entries[other > 0] > 0).all())
    return bool((entries * other_right >= other * right).all())


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
