"""Queues: whose accelerators they are, and who may borrow them."""

from collections.abc import Mapping
from dataclasses import dataclass

from apportion.model.selection import Requirement

ANY_FLAVOR = "*"


@dataclass(frozen=True)
class Quota:
    """Accelerators of one flavor; a limit of None is no limit."""

    flavor: str
    nominal: int
    borrowing_limit: int | None = None
    lending_limit: int | None = None


@dataclass(frozen=True)
class Queue:
    """`cohort` "" is a cohort of its own. `namespaces` None: all; budget and power cap None: no limit."""

    name: str
    cohort: str = ""
    weight: float = 1.0
    quotas: tuple[Quota, ...] = ()
    namespaces: tuple[Requirement, ...] | None = None
    allowed_priority_classes: tuple[str, ...] | None = None
    budget_per_hour: float | None = None
    power_cap_watts: float | None = None
    uid: str = ""
    generation: int = 1

    def quota(self, flavor: str) -> Quota | None:
        """The entry for this flavor, else the one of "*" (per flavor, not shared); None: not usable from here."""
        named = {quota.flavor: quota for quota in self.quotas}
        return named.get(flavor) or named.get(ANY_FLAVOR)

    def admits_namespace(self, labels: Mapping[str, str]) -> bool:
        return self.namespaces is None or all(requirement.matches(labels) for requirement in self.namespaces)

    def admits_priority_class(self, name: str) -> bool:
        return self.allowed_priority_classes is None or name in self.allowed_priority_classes
