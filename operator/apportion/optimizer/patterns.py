"""Which pods fit on a node together, by class of nodes, and whether many pods fit on all of them: exactly.

Where replica sizes are no divisor chain, or another resource than accelerators binds first, or jobs may use some of the
same nodes, no rows of sums say it (optimizer.md, "Model"): there a node is filled after one of its patterns. A pattern
holds so many pods of each kind, and no more of any would fit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from apportion.optimizer.cells import Cells, Shape
from apportion.optimizer.options import Floats, Ints

MOST_NODES = 32
MOST_PATTERNS = 400  # of a class of nodes
MOST_STEPS = 2_000  # of one search; beyond them the pods count as not fitting

Counts = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """Pods that no node can tell apart: the node classes that they may use, and what one requests."""

    mask: int
    shape: Shape


@dataclass(frozen=True)
class Alike:
    """Nodes, as rows of `Cells.free`, on which the same patterns fit; `patterns` has a row each, a column per kind."""

    nodes: tuple[int, ...]
    patterns: Ints


@dataclass(frozen=True)
class Patterns:
    """All patterns of some kinds of pods, the fullest first; classes of nodes that hold none of them are left out."""

    kinds: tuple[Kind, ...]
    classes: tuple[Alike, ...]

    def arranged(self, wanted: Counts) -> list[tuple[int, Counts]] | None:
        """By node the pods of each kind, so that all wanted ones have a place; None where no such way was found."""
        return _Search(self).run(wanted)


def patterns_of(cells: Cells, free: Ints, most: dict[Kind, int]) -> Patterns | None:
    """The patterns for `most` pods of each kind on what is free by node; None where they are too many to look at."""
    kinds = tuple(sorted(most, key=lambda kind: (kind.shape, kind.mask)))
    inside = [set(cells.indices(kind.mask).tolist()) for kind in kinds]
    nodes = sorted(set().union(*inside))
    if len(nodes) > MOST_NODES:
        return None
    requests = [_row(cells, kind.shape) for kind in kinds]
    whole = np.maximum(free[nodes].sum(axis=0), 1)
    weight = np.array([float((np.array(request) / whole).sum()) for request in requests])
    known: dict[object, list[Counts] | None] = {}
    alike: dict[tuple[Counts, ...], list[int]] = {}
    for node in nodes:
        room = tuple(free[node].tolist())
        caps = tuple(most[kind] if node in here else 0 for kind, here in zip(kinds, inside, strict=True))
        if (room, caps) not in known:
            known[room, caps] = _maximal(room, requests, caps)
        found = known[room, caps]
        if found is None:
            return None
        if any(any(pattern) for pattern in found):
            alike.setdefault(tuple(found), []).append(node)
    return Patterns(kinds, tuple(_alike(tuple(here), rows, weight) for rows, here in alike.items()))


def _alike(nodes: tuple[int, ...], rows: Sequence[Counts], weight: Floats) -> Alike:
    patterns = np.array(rows, dtype=np.int64)
    return Alike(nodes, patterns[np.argsort(-(patterns @ weight), kind="stable")])


def _row(cells: Cells, shape: Shape) -> Counts:
    row = [0] * len(cells.resources)
    for name, amount in shape:
        row[cells.column(name)] = amount
    return tuple(row)


def _maximal(room: Counts, requests: Sequence[Counts], caps: Counts) -> list[Counts] | None:
    """All counts by kind that fit in the room and to which none can be added, in falling order; None: too many."""
    found: list[Counts] = []
    for pattern, left in _fitting(room, requests, caps):
        closed = (
            count == cap or any(amount > max(0, rest) for amount, rest in zip(request, left, strict=True))
            for count, cap, request in zip(pattern, caps, requests, strict=True)
        )
        if all(closed):
            found.append(pattern)
            if len(found) > MOST_PATTERNS:
                return None
    return found


def _fitting(room: Counts, requests: Sequence[Counts], caps: Counts) -> Iterator[tuple[Counts, Counts]]:
    """All counts by kind that fit, with what they leave; of the last kind as many as can be."""
    if not requests:
        yield (), room
        return
    first, others = requests[0], requests[1:]
    most = min([caps[0], *(max(0, rest) // amount for rest, amount in zip(room, first, strict=True) if amount > 0)])
    for count in (most,) if not others else range(most, -1, -1):
        left = tuple(rest - count * amount for rest, amount in zip(room, first, strict=True))
        for pattern, rest in _fitting(left, others, caps[1:]):
            yield (count, *pattern), rest


@dataclass
class _Search:
    """Node by node, class by class."""

    patterns: Patterns
    steps: int = 0

    def run(self, wanted: Counts) -> list[tuple[int, Counts]] | None:
        nodes = [(at, node) for at, alike in enumerate(self.patterns.classes) for node in alike.nodes]
        if not nodes:
            return None if any(wanted) else []
        self._classes = [at for at, _ in nodes]
        # What is asked of pods that are left: how many of each kind, and how much of each resource in all.
        names = sorted({name for kind in self.patterns.kinds for name, _ in kind.shape})
        amounts = [[dict(kind.shape).get(name, 0) for name in names] for kind in self.patterns.kinds]
        self._sums = np.hstack([np.eye(len(wanted), dtype=np.int64), np.array(amounts, dtype=np.int64)])
        # Of both, what at most each node from this one on holds together.
        most = [(alike.patterns @ self._sums).max(axis=0) for alike in self.patterns.classes]
        each = np.array([most[at] for at in self._classes], dtype=np.int64)
        self._later = np.vstack([np.cumsum(each[::-1], axis=0)[::-1], np.zeros_like(each[:1])])
        chosen: list[Counts] = []
        start = np.array(wanted, dtype=np.int64)
        if (start @ self._sums > self._later[0]).any() or not self._place(0, 0, start, chosen):
            return None
        return [(node, pattern) for (_, node), pattern in zip(nodes, chosen, strict=False)]

    def _place(self, at: int, first: int, left: Ints, chosen: list[Counts]) -> bool:
        """Whether what is left fits on the nodes from this one on; of nodes alike patterns are taken in one order."""
        if not left.any():
            return True
        self.steps += 1
        rests = np.maximum(left - self.patterns.classes[self._classes[at]].patterns[first:], 0)
        hopeful = (rests @ self._sums <= self._later[at + 1]).all(axis=1)
        tried = set[bytes]()
        for rank in np.flatnonzero(hopeful).tolist():
            rest = rests[rank]
            if rest.tobytes() in tried:
                continue
            tried.add(rest.tobytes())
            chosen.append(tuple((left - rest).tolist()))
            alike = at + 1 < len(self._classes) and self._classes[at + 1] == self._classes[at]
            if self._place(at + 1, first + rank if alike else 0, rest, chosen):
                return True
            chosen.pop()
            if self.steps > MOST_STEPS:
                break
        return False
