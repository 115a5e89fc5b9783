"""Two decisions side by side: as things are, and after a change."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from apportion.model.jobs import Job, JobKey
from apportion.model.plan import NOTHING, Decision, Grant, Status
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import Pricing, solve
from apportion.planner.changes import Change, applied
from apportion.planner.decide import concluded, wanted
from apportion.planner.rates import rate_on
from apportion.planner.searching import Solve, Wanted

ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """Where the difference of two best values must lie: [LB' - UB, UB' - LB].

    comparable: False where the change also changes what jobs are measured by (how many share a queue's weight, that
    weight, a job's minimum), so that even the plan as it was would have another value afterwards.
    """

    low: float
    high: float
    comparable: bool = True

    @property
    def determined(self) -> bool:
        """Whether the sign of the difference is proved; a difference of exactly 0 has none."""
        if not self.comparable:
            return False
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
    """Both values with the admission worth of jobs that must run: who must run may differ between the two.

    Nothing is proved where one of the bounds is of fewer plans: by some of those that the search left out, for which
    nobody could be moved in turn, the other decision may be as much better.
    """
    if Status.KEPT in (old.plan.status, new.plan.status) or old.narrowed != new.narrowed:
        return Interval(-math.inf, math.inf)
    before, after = (Pricing(found.solved, policy, found.plan) for found in (old, new))
    (low, high), (new_low, new_high) = _value(before, old), _value(after, new)
    return Interval(new_low - high, new_high - low, _comparable(before, after, old))


def _value(pricing: Pricing, found: Wanted) -> tuple[float, float]:
    """(what is reached, what could be reached at most)."""
    plan = found.plan
    constant = pricing.value - (plan.objective - plan.moves_cost)
    return plan.objective + constant, plan.bound + constant


def _comparable(before: Pricing, after: Pricing, old: Wanted) -> bool:
    """Is the old plan, as far as it can still be chosen, worth the same afterwards?"""
    for key, grant in old.targets.items():
        was, would_be = before.worth(key, grant), after.worth(key, grant)
        if was is not None and would_be is not None and abs(was - would_be) > ROUNDING * max(1.0, abs(was)):
            return False
    return True


def rate(snapshot: Snapshot, job: Job, grant: Grant) -> float:
    """How fast the job works with the grant: its curve times the flavor's speed; replicas where it has no curve."""
    flavor = next((flavor for flavor in snapshot.flavors if flavor.name == grant.flavor), None)
    return rate_on(job, flavor, grant.replicas) if flavor is not None and grant.replicas else 0.0


def sign(number: float) -> int:
    return (number > ROUNDING) - (number < -ROUNDING)
