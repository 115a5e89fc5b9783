"""What counts against budgets and power caps, and in words what they refuse."""

from collections.abc import Mapping

from apportion.model.caps import Cap, Kind
from apportion.model.flavors import Flavor
from apportion.model.jobs import Block, Job, JobKey
from apportion.model.plan import CapUse, Grant, Plan
from apportion.model.snapshot import Snapshot
from apportion.planner.queueing import whole_usage

REASONS = {Kind.BUDGET: "BudgetExceeded", Kind.POWER: "PowerCapped"}
ROUNDING = 1e-6  # of an amount of money or power


class Spending:
    """The caps of a round, and what the grants leave of them."""

    def __init__(self, snapshot: Snapshot, grants: Mapping[JobKey, Grant]) -> None:
        used = whole_usage(snapshot.jobs, grants)
        self._used = [(cap, cap.used(used)) for cap in snapshot.caps]

    def never(self, job: Job, flavor: Flavor) -> Block | None:
        """Why the job's minimum would be too much even if nothing else ran; None: it would not."""
        for cap, _ in self._used:
            need = _counted(cap, job, flavor, job.minimum_accelerators)
            if exceeds(need, cap.limit):
                return Block(REASONS[cap.kind], f"{_asked(cap, job, flavor, need)}; {_limit(cap)}")
        return None

    def short(self, job: Job, flavor: Flavor, more: int) -> Block | None:
        """Why `more` accelerators would be too much now; None: they would not."""
        for cap, used in self._used:
            need = _counted(cap, job, flavor, more)
            if need > 0 and exceeds(used + need, cap.limit):
                return Block(
                    REASONS[cap.kind], f"that is {_amount(cap, need)} more; {_limit(cap)}, {_spent(cap, used)}"
                )
        return None


def exceeds(amount: float, limit: float) -> bool:
    """By more than rounding."""
    return amount > limit + ROUNDING * max(1.0, limit)


def cap_use(snapshot: Snapshot, grants: Mapping[JobKey, Grant], plan: Plan) -> tuple[CapUse, ...]:
    """Every cap with what is granted of it; the cluster's first."""
    used = whole_usage(snapshot.jobs, grants)
    prices = {(price.cap, price.queue): price.price for price in plan.prices}
    return tuple(
        CapUse(cap.kind, cap.queue, cap.limit, cap.used(used), prices.get((cap.kind, cap.queue), 0.0))
        for cap in snapshot.caps
    )


def _counted(cap: Cap, job: Job, flavor: Flavor, accelerators: int) -> float:
    return accelerators * cap.each.get(flavor.name, 0.0) if cap.covers(job.queue_name) else 0.0


def _asked(cap: Cap, job: Job, flavor: Flavor, need: float) -> str:
    return f"needs {job.minimum_accelerators} {flavor.name}, which is {_amount(cap, need)}"


def _limit(cap: Cap) -> str:
    return f"the {cap.kind.words} of {cap.whose} is {_amount(cap, cap.limit)}"


def _spent(cap: Cap, used: float) -> str:
    return f"{used:.6g} are spent" if cap.kind is Kind.BUDGET else f"{used:.6g} W are drawn"


def _amount(cap: Cap, amount: float) -> str:
    return f"{amount:.6g} {cap.kind.unit}"
