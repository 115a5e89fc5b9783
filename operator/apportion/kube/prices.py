"""Which prices are worth a write of their own.

Prices are those of a relaxation. Rates measured anew move them a little in every round, and where a flavor and a quota
are used up at once, a price may stand at the one or at the other: 10 % of noise moves it there and back.
"""

from collections import Counter
from dataclasses import dataclass, field

from apportion.kube.raw import Raw, mapping, mappings, number, text
from apportion.model.caps import Kind
from apportion.model.plan import Decision, Status
from apportion.model.snapshot import Snapshot

PRICE_CHANGE = 1 / 3
"""Of the larger of two prices: less is no change."""
PRICE_LEVEL = 0.1
"""Of the highest price of any flavor or queue: less is no change."""
STEADY_ROUNDS = 10
"""So many rounds in a row that granted nothing new a price must be unlike what was told."""


def rounded(price: float) -> float:
    """Four digits, wherever they begin: prices in a large cluster are small."""
    return float(f"{price:.4g}")


def priced(status: Raw) -> dict[str, float]:
    """The prices of a queue's or policy's accelerators, by flavor; a flavor that is not named has none."""
    rows = [*mappings(status, "flavors"), *mappings(status, "prices")]
    return {text(row, "name") or text(row, "flavor"): number(row, "price") for row in rows}


def unlike(old: Raw, new: Raw, highest: float) -> bool:
    """Whether a price of the new status differs from the old one's by so much that it counts."""
    before, after = priced(old), priced(new)
    level = PRICE_LEVEL * max([highest, *before.values()])
    for name in {*before, *after}:
        was, now = before.get(name, 0.0), after.get(name, 0.0)
        if abs(now - was) > max(PRICE_CHANGE * max(was, now), level):
            return True
    return any(_repriced(mapping(old, kind), mapping(new, kind)) for kind in Kind)


def _repriced(old: Raw, new: Raw) -> bool:
    """Whether the price of a cap differs so much. Money and watts have no price of accelerators beside theirs."""
    was, now = number(old, "price"), number(new, "price")
    return abs(now - was) > PRICE_CHANGE * max(was, now)


@dataclass
class PriceNews:
    """By object, for how many rounds in a row its prices have been unlike those in its status."""

    _rounds: Counter[str] = field(default_factory=Counter)

    def is_told(self, name: str, statuses: tuple[Raw, Raw], snapshot: Snapshot, decision: Decision) -> bool:
        """Whether the prices of the new one of (old, new) are to be written although nothing else is new.

        At once in a round that granted something; else when they have lasted. Never where no plan was made.
        """
        plan = decision.plan
        if plan.status is Status.KEPT:
            return False
        highest = max((price.price for price in plan.prices if price.flavor), default=0.0)
        self._rounds[name] = self._rounds[name] + 1 if unlike(*statuses, highest) else 0
        granted = decision.round > snapshot.round
        return self._rounds[name] >= (1 if granted else STEADY_ROUNDS)

    def forget(self, name: str) -> None:
        """Its status was written: what it says now is new."""
        self._rounds[name] = 0
