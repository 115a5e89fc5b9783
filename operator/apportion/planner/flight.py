"""Pods on their way, and what they may take from each other, wherever the scheduler puts them.

slots(n, h) is how many pods of kind h fit into what is free on node n. On a node that both may use, and where o fits at
all, a pod o takes at most loss(o, h) = max over resources of ceil(o / h) of the slots of h, and at most slots(n, o) of
them go there. So many pods o take most on the nodes where each takes most. h finds room in every order if its own pods
and all that the others may take come to no more than its slots. The test is sufficient, not necessary.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from apportion.model.resources import Amounts, times_fitting

Shape = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Kind:
    """Pods that the scheduler cannot tell apart: one shape, one set of nodes."""

    shape: Shape
    nodes: frozenset[str]


def loss(other: Shape, shape: Shape) -> int:
    """Most slots of `shape` that one pod of `other` can take from a node."""
    taken = dict(other)
    return max((-(-taken.get(name, 0) // amount) for name, amount in shape if amount > 0), default=0)


@dataclass
class Flight:
    """Pods on their way by kind, over what is `free` by node name."""

    free: Mapping[str, Amounts]
    counts: dict[Kind, int] = field(default_factory=dict)
    _slots: dict[Kind, dict[str, int]] = field(default_factory=dict)
    _takes: dict[tuple[Kind, Kind], list[tuple[int, int]]] = field(default_factory=dict)

    def room_for(self, kind: Kind) -> int:
        return sum(self._room(kind).values())

    def join(self, kind: Kind, count: int) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + count

    def safe_with(self, kind: Kind, count: int) -> bool:
        """Would every pod of every kind find room in any order, if `count` more of `kind` were on their way?"""
        counts = {**self.counts, kind: self.counts.get(kind, 0) + count}
        touched = [other for other in counts if other == kind or not other.nodes.isdisjoint(kind.nodes)]
        return all(self.holds(other, counts) for other in touched)

    def holds(self, kind: Kind, counts: Mapping[Kind, int]) -> bool:
        """Would the pods of this kind find room, whatever the others do first?"""
        left = self.room_for(kind) - counts.get(kind, 0)
        for other, count in counts.items():
            if left < 0:
                return False
            if count and other != kind:
                left -= self.taken(kind, other, count)
        return left >= 0

    def taken(self, kind: Kind, other: Kind, count: int) -> int:
        """Most slots of `kind` that so many pods of `other` can take."""
        pair = kind, other
        if pair not in self._takes:
            self._takes[pair] = self._taking(kind, other)
        total = 0
        for each, pods in self._takes[pair]:
            total += each * min(count, pods)
            count -= pods
            if count <= 0:
                break
        return total

    def _taking(self, kind: Kind, other: Kind) -> list[tuple[int, int]]:
        """(slots of `kind`, how many pods of `other` can take so many), most slots first."""
        most = loss(other.shape, kind.shape)
        if not most or kind.nodes.isdisjoint(other.nodes):
            return []
        slots, fitting = self._room(kind), self._room(other)
        alike = Counter((slots[name], fitting[name]) for name in slots.keys() & fitting.keys())
        takes = Counter[int]()
        for (here, pods), nodes in alike.items():
            whole = min(pods, here // most)
            takes[most] += whole * nodes
            if pods > whole and here % most:
                takes[here % most] += nodes
        return sorted(takes.items(), reverse=True)

    def _room(self, kind: Kind) -> dict[str, int]:
        """By node how many pods of the kind fit, where any does."""
        if kind not in self._slots:
            request = dict(kind.shape)
            each = ((name, times_fitting(self.free[name], request)) for name in kind.nodes if name in self.free)
            self._slots[kind] = {name: count for name, count in each if count}
        return self._slots[kind]


class Turns:
    """Kinds that wait for their turn in this order, and whom it would cost the room that it can still count on."""

    def __init__(self, flight: Flight, waiting: Iterable[tuple[Kind, int]]) -> None:
        self._flight = flight
        self._waiting: dict[Kind, int] = {}
        for kind, count in waiting:
            self._waiting[kind] = self._waiting.get(kind, 0) + count

    def leave(self, kind: Kind, count: int) -> None:
        """So many pods of the kind wait no more."""
        self._waiting[kind] -= count

    def harmed(self, kind: Kind, count: int) -> list[Kind]:
        """Those that lose by it if `count` of `kind`, which wait, go now: alone, or after all that come before them."""
        now = self._flight.counts
        then = {**now, kind: now.get(kind, 0) + count}
        rest = {**self._waiting, kind: self._waiting[kind] - count}
        found: list[Kind] = []
        ahead: list[Kind] = []
        for other, wanted in self._waiting.items():
            if wanted and other != kind and self._flight.taken(other, kind, count):
                alone = self._loses(other, (now, then), (self._waiting, rest), ())
                if alone or self._loses(other, (now, then), (self._waiting, rest), ahead):
                    found.append(other)
            ahead.append(other)
        return found

    def _loses(
        self,
        kind: Kind,
        flying: tuple[Mapping[Kind, int], Mapping[Kind, int]],
        waiting: tuple[Mapping[Kind, int], Mapping[Kind, int]],
        ahead: Iterable[Kind],
    ) -> bool:
        before, after = (_with(fly, wait, (kind, *ahead)) for fly, wait in zip(flying, waiting, strict=True))
        return self._flight.holds(kind, before) and not self._flight.holds(kind, after)


def _with(flying: Mapping[Kind, int], waiting: Mapping[Kind, int], who: Iterable[Kind]) -> dict[Kind, int]:
    counts = dict(flying)
    for kind in who:
        counts[kind] = counts.get(kind, 0) + waiting[kind]
    return counts
