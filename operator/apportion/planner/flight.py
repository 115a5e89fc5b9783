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


@dataclass(frozen=True)
class Flying:
    """Pods on their way by kind. `early`: those of them that go at once, and so only where there is room by now."""

    counts: Mapping[Kind, int] = field(default_factory=dict)
    early: Mapping[Kind, int] = field(default_factory=dict)

    def plus(self, kind: Kind, count: int, early: int = 0) -> "Flying":
        return Flying(_more(self.counts, kind, count), _more(self.early, kind, early) if early else self.early)


def _more(counts: Mapping[Kind, int], kind: Kind, count: int) -> dict[Kind, int]:
    return {**counts, kind: counts.get(kind, 0) + count}


@dataclass
class Flight:
    """Pods on their way over what is `free` by node name. already: what is free now, for those that go early."""

    free: Mapping[str, Amounts]
    already: "Flight | None" = None
    flying: Flying = field(default_factory=Flying)
    _slots: dict[Kind, dict[str, int]] = field(default_factory=dict)
    _takes: dict[tuple[Kind, Kind, bool], list[tuple[int, int]]] = field(default_factory=dict)

    def room_for(self, kind: Kind) -> int:
        return sum(self._room(kind).values())

    def join(self, kind: Kind, count: int, early: int = 0) -> None:
        self.flying = self.flying.plus(kind, count, early)

    def safe_with(self, kind: Kind, count: int) -> bool:
        """Would every pod of every kind find room in any order, if `count` more of `kind` were on their way?"""
        flying = self.flying.plus(kind, count)
        touched = [other for other in flying.counts if other == kind or not other.nodes.isdisjoint(kind.nodes)]
        return all(self.holds(other, flying) for other in touched)

    def holds(self, kind: Kind, flying: Flying) -> bool:
        """Would the pods of this kind find room, whatever the others do first?"""
        left = self.room_for(kind) - flying.counts.get(kind, 0)
        for other, count in flying.counts.items():
            if left < 0:
                return False
            if count and other != kind:
                left -= self.taken(kind, other, count, flying.early.get(other, 0))
        return left >= 0

    def taken(self, kind: Kind, other: Kind, count: int, early: int = 0) -> int:
        """Most slots of `kind` that so many pods of `other` can take, so many of them early."""
        most = self._most(kind, other, count)
        if not early:
            return most
        return min(most, self._most(kind, other, early, True) + self._most(kind, other, count - early))

    def _most(self, kind: Kind, other: Kind, count: int, early: bool = False) -> int:
        pair = kind, other, early
        if pair not in self._takes:
            self._takes[pair] = self._taking(kind, other, early)
        total = 0
        for each, pods in self._takes[pair]:
            total += each * min(count, pods)
            count -= pods
            if count <= 0:
                break
        return total

    def _taking(self, kind: Kind, other: Kind, early: bool) -> list[tuple[int, int]]:
        """(slots of `kind`, how many pods of `other` can take so many), most slots first."""
        most = loss(other.shape, kind.shape)
        if not most or kind.nodes.isdisjoint(other.nodes):
            return []
        slots = self._room(kind)
        fitting = (self.already if early and self.already is not None else self)._room(other)
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
        now = self._flight.flying
        then = now.plus(kind, count, early=count)
        rest = {**self._waiting, kind: self._waiting[kind] - count}
        found: list[Kind] = []
        ahead: list[Kind] = []
        for other, wanted in self._waiting.items():
            if wanted and other != kind and self._flight.taken(other, kind, count, count):
                alone = self._loses(other, (now, then), (self._waiting, rest), ())
                if alone or self._loses(other, (now, then), (self._waiting, rest), ahead):
                    found.append(other)
            ahead.append(other)
        return found

    def _loses(
        self,
        kind: Kind,
        flying: tuple[Flying, Flying],
        waiting: tuple[Mapping[Kind, int], Mapping[Kind, int]],
        ahead: Iterable[Kind],
    ) -> bool:
        before, after = (_with(fly, wait, (kind, *ahead)) for fly, wait in zip(flying, waiting, strict=True))
        return self._flight.holds(kind, before) and not self._flight.holds(kind, after)


def _with(flying: Flying, waiting: Mapping[Kind, int], who: Iterable[Kind]) -> Flying:
    counts = dict(flying.counts)
    for kind in who:
        counts[kind] = counts.get(kind, 0) + waiting[kind]
    return Flying(counts, flying.early)
