"""What another policy would decide from the same snapshot, beside what the enforcing one does."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from apportion.model.plan import Decision, Status
from apportion.model.policy import Policy
from apportion.model.rounds import Comparison, Difference, ShadowResult
from apportion.model.snapshot import Snapshot
from apportion.optimizer import Pricing
from apportion.planner.decide import decide, wanted
from apportion.planner.searching import Wanted


def shadowed(snapshot: Snapshot, policy: Policy) -> tuple[ShadowResult, ...]:
    """All shadows of the policy. One that fails says so, and harms neither the others nor anybody else."""
    if not policy.shadows:
        return ()
    enforced = wanted(snapshot, policy)
    # Row prices are those of another objective, and no place to start from.
    fresh = replace(snapshot, prices={})
    results = []
    for shadow in policy.shadows:
        other = replace(policy, objective=shadow.objective, shadows=())
        comparison = compared(shadow.name, policy, enforced, partial(decide, fresh, other))
        results.append(ShadowResult(shadow.objective, comparison))
    return tuple(results)


def compared(name: str, policy: Policy, enforced: Wanted, other: Callable[[], Decision]) -> Comparison:
    """What the other way to decide about the same snapshot wants, against what the enforcing policy does."""
    try:
        decision = other()
        if decision.plan.status is Status.KEPT:
            return Comparison(name, failure="; ".join(decision.plan.warnings) or "no plan could be made")
        return _comparison(name, policy, enforced, decision)
    except Exception as problem:
        return Comparison(name, failure=f"{type(problem).__name__}: {problem}")


def _comparison(name: str, policy: Policy, found: Wanted, decision: Decision) -> Comparison:
    """Grants are compared as they are wanted in the end, not by wave."""
    each = {job.key: job.per_replica for job in found.snapshot.jobs}
    given: Counter[str] = Counter()
    for outcome in decision.outcomes:
        if outcome.target.replicas:
            given[outcome.target.flavor] += outcome.target.replicas * each[outcome.key]
    differences = tuple(
        Difference(outcome.key, found.targets[outcome.key], outcome.target)
        for outcome in decision.outcomes
        if found.targets[outcome.key] != outcome.target
    )
    return Comparison(
        name,
        value_of(policy, found, differences),
        decision.plan.gap,
        tuple(sorted(given.items())),
        differences,
        sum(1 for outcome in decision.outcomes if outcome.current.replicas and outcome.target != outcome.current),
    )


def value_of(policy: Policy, found: Wanted, differences: tuple[Difference, ...]) -> float | None:
    """The plan's value by the policy's objective if these jobs had the other grant; None where one is no choice."""
    if found.plan.status is Status.KEPT:
        return None
    pricing, value = Pricing(found.solved, policy, found.plan), found.plan.objective - found.plan.moves_cost
    for difference in differences:
        was, would_be = (pricing.worth(difference.key, grant) for grant in (difference.enforced, difference.other))
        if was is None or would_be is None:
            return None
        value += would_be - was
    return value
