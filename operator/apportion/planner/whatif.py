"""Two decisions side by side: as things are, and after a change."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from apportion.model.eligibility import speed
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import NOTHING, Decision, Grant, Status
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import Pricing, solve
from apportion.planner.changes import Change, applied
from apportion.planner.decide import Solve, Wanted, concluded, wanted

ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """Where the difference of two best values must lie: [LB' - UB, UB' - LB]."""

    low: float
    high: float

    @property
    def determined(self) -> bool:
        """Whether the sign of the difference is proved; a difference of exactly 0 is none."""
        return self.low > ROUNDING or self.high < -ROUNDING


@dataclass(frozen=True)
class Comparison:
    """One job in both decisions. faster: 1 if it works faster afterwards, -1 if slower, 0 if as fast."""

    key: JobKey
    before: Grant
    after: Grant
    faster: int


@dataclass(frozen=True)
class WhatIf:
    """`jobs` are those whose grant differs, and all new ones."""

    before: Decision
    after: Decision
    difference: Interval
    jobs: tuple[Comparison, ...]
    snapshot: Snapshot


def what_if(snapshot: Snapshot, policy: Policy, changes: Iterable[Change], rule: Solve = solve) -> WhatIf:
    """Decide both; the changes are made together, in their order. Raises CannotChange."""
    changed = reduce(applied, changes, snapshot)
    old, new = wanted(snapshot, policy, rule), wanted(changed, policy, rule)
    known = {job.key for job in snapshot.jobs}
    rows = []
    for job in changed.jobs:
        before, after = old.targets.get(job.key, NOTHING), new.targets[job.key]
        if before != after or job.key not in known:
            rows.append(
                Comparison(job.key, before, after, sign(rate(changed, job, after) - rate(changed, job, before)))
            )
    return WhatIf(
        concluded(snapshot, policy, old),
        concluded(changed, policy, new),
        difference(policy, old, new),
        tuple(rows),
        changed,
    )


def difference(policy: Policy, old: Wanted, new: Wanted) -> Interval:
    """Both values with the admission worth of jobs that must run: who must run may differ between the two."""
    (low, high), (new_low, new_high) = value(policy, old), value(policy, new)
    return Interval(new_low - high, new_high - low)


def value(policy: Policy, found: Wanted) -> tuple[float, float]:
    """(what is reached, what could be reached at most); nothing is known where no plan could be made."""
    plan = found.plan
    if plan.status is Status.KEPT:
        return float("-inf"), float("inf")
    constant = Pricing(found.solved, policy, plan).value - (plan.objective - plan.moves_cost)
    return plan.objective + constant, plan.bound + constant


def rate(snapshot: Snapshot, job: Job, grant: Grant) -> float:
    """How fast the job works with the grant: its curve times the flavor's speed; replicas where it has no curve."""
    flavor = next((flavor for flavor in snapshot.flavors if flavor.name == grant.flavor), None)
    if flavor is None or not grant.replicas:
        return 0.0
    try:
        found = float(job.curve.at(grant.replicas)) * speed(job, flavor)
    except (ArithmeticError, IndexError, ValueError):
        found = math.nan
    return found if math.isfinite(found) and found > 0 else float(grant.replicas)


def sign(number: float) -> int:
    return (number > ROUNDING) - (number < -ROUNDING)
