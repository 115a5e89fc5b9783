"""How an account grew over time, in a fixed number of bins however long the simulation is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from apportion.simulator.account import Account

MOST_BINS = 512
FIRST_WIDTH = 60.0
USED, LOST, CAPACITY = "used", "lost", "capacity"

Row = dict[str, float]
Key = tuple[str, str]


@dataclass(frozen=True)
class Bins:
    """By (what, queue): the mean number of accelerators in each bin of `width` seconds, from 0 on (of the last, in
    what there is of it).

    what: "used" and "lost" of each queue, and "capacity" of all (queue "").
    """

    width: float = FIRST_WIDTH
    means: Mapping[Key, tuple[float, ...]] = field(default_factory=dict)


class History:
    """Accounts in the order of time; what lies between two is spread evenly. Bins grow by doubling."""

    def __init__(self) -> None:
        self._width = FIRST_WIDTH
        self._sums: dict[Key, list[float]] = {}
        self._now = 0.0
        self._last: dict[Key, float] = {}

    def add(self, now: float, account: Account) -> None:
        found = _grown(account)
        if now <= self._now:
            return
        while now > MOST_BINS * self._width:
            self._width *= 2.0
            self._sums = {key: _halved(sums) for key, sums in self._sums.items()}
        for key, total in found.items():
            self._spread(key, (total - self._last.get(key, 0.0)) / (now - self._now), now)
        self._now, self._last = now, found

    def _spread(self, key: Key, rate: float, now: float) -> None:
        sums = self._sums.setdefault(key, [])
        last = ceil(now / self._width)
        sums += [0.0] * (last - len(sums))
        if rate:
            for at in range(int(self._now / self._width), last):
                start, end = max(self._now, at * self._width), min(now, (at + 1) * self._width)
                sums[at] += rate * max(0.0, end - start)

    def bins(self) -> Bins:
        last = ceil(self._now / self._width) - 1
        widths = [self._width] * last + [self._now - last * self._width]
        means = {
            key: tuple(total / width for total, width in zip(sums, widths, strict=False))
            for key, sums in sorted(self._sums.items())
        }
        return Bins(self._width, means)


def _grown(account: Account) -> dict[Key, float]:
    found: dict[Key, float] = {(CAPACITY, ""): account.capacity}
    for (queue, _), use in account.uses.items():
        found[USED, queue] = found.get((USED, queue), 0.0) + use.used
        found[LOST, queue] = found.get((LOST, queue), 0.0) + use.lost
    return found


def _halved(sums: list[float]) -> list[float]:
    return [sum(sums[at : at + 2]) for at in range(0, len(sums), 2)]
