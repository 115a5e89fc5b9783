"""Where accelerator-seconds went: to work, to restarts, to nobody; by queue and by flavor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from apportion.model.eligibility import request_on
from apportion.model.snapshot import Snapshot

Group = tuple[str, str]
"""(queue, flavor); "" for jobs without a queue."""


class Use(NamedTuple):
    """Accelerator-seconds. used: by jobs that work. lost: held by jobs that do not, and by pods that leave; and what
    was worked and then lost with a node."""

    used: float = 0.0
    lost: float = 0.0


class Room(NamedTuple):
    """Accelerator-seconds of a flavor. capacity: of placeable nodes, less what pods of others hold; idle: of it, what
    nobody held."""

    capacity: float = 0.0
    idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """Sums since the start, so that capacity = used + lost + idle. outages: nodes that failed."""

    uses: Mapping[Group, Use] = field(default_factory=lambda: MappingProxyType({}))
    rooms: Mapping[str, Room] = field(default_factory=lambda: MappingProxyType({}))
    restarts: int = 0
    decisions: int = 0
    resizes: int = 0
    outages: int = 0

    @property
    def used(self) -> float:
        return sum(use.used for use in self.uses.values())

    @property
    def lost(self) -> float:
        return sum(use.lost for use in self.uses.values())

    @property
    def capacity(self) -> float:
        return sum(room.capacity for room in self.rooms.values())

    @property
    def idle(self) -> float:
        return sum(room.idle for room in self.rooms.values())


class Tally:
    """An account while an interval is added to it."""

    def __init__(self, account: Account) -> None:
        self._uses, self._rooms = dict(account.uses), dict(account.rooms)

    def use(self, group: Group, used: float, lost: float) -> None:
        before = self._uses.get(group, Use())
        self._uses[group] = Use(before.used + used, before.lost + lost)

    def room(self, flavor: str, capacity: float, idle: float) -> None:
        before = self._rooms.get(flavor, Room())
        self._rooms[flavor] = Room(before.capacity + capacity, before.idle + idle)

    @property
    def sums(self) -> tuple[Mapping[Group, Use], Mapping[str, Room]]:
        return MappingProxyType(self._uses), MappingProxyType(self._rooms)


def rooms(snapshot: Snapshot) -> dict[str, tuple[int, int]]:
    """By flavor: accelerators that jobs may hold, and those that no pod holds, counted node by node."""
    held: dict[str, int] = {}
    for job in snapshot.jobs:
        for pod in job.pods:
            if pod.node is not None:
                held[pod.node] = held.get(pod.node, 0) + job.per_replica
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    found = {flavor.name: (0, 0) for flavor in snapshot.flavors}
    for node in snapshot.nodes:
        if node.placeable and node.flavor is not None:
            flavor = flavors[node.flavor]
            here = request_on(node.allocatable, flavor) - request_on(node.foreign, flavor)
            whole, free = found[node.flavor]
            found[node.flavor] = (whole + here, free + here - held.get(node.name, 0))
    return found
