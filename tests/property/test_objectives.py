"""Every objective, and budgets and power caps, against brute force, on generated clusters."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.model.jobs import Job
from apportion.model.plan import Status
from apportion.model.policy import Aim, Objective, Policy
from apportion.model.snapshot import Snapshot, capped
from apportion.optimizer import place, solve, violations
from apportion.planner import decide
from property.brute_force import best, levels, within_caps
from property.test_optimizer import EXACT, GREEDY, QUICK, chosen, packs_around, snapshots, value, within_quota

OTHERS = (Aim.MAX_THROUGHPUT, Aim.MAX_MIN_FAIR, Aim.MIN_COST)


def aiming(aim: Aim, policy: Policy = EXACT) -> Policy:
    return replace(policy, objective=Objective(name=aim))


@st.composite
def priced(draw: st.DrawFn, most_jobs: int = 4) -> Snapshot:
    """Two flavors, sometimes one, with prices that sometimes are missing or nothing."""
    found = draw(snapshots(flavors=draw(st.sampled_from((1, 2))), most_jobs=most_jobs))
    prices = st.sampled_from((0.0, 0.7, 1.2, 3.0, None))
    return replace(found, flavors=tuple(replace(flavor, price_per_hour=draw(prices)) for flavor in found.flavors))


@QUICK
@given(priced(), st.sampled_from(OTHERS))
def test_every_objective_reaches_the_brute_force_optimum(snapshot: Snapshot, aim: Aim) -> None:
    policy = aiming(aim)
    plan = solve(snapshot, policy)
    found = best(snapshot, policy, lambda picked: within_quota(snapshot, picked))
    assert found is not None
    assert plan.bound >= found.value - 1e-6
    found = best(snapshot, policy, lambda picked: within_quota(snapshot, picked) and packs_around(snapshot, picked))
    if plan.unplaced or found is None:
        return
    reached = levels(snapshot, policy, chosen(snapshot, plan))
    if aim is Aim.MAX_MIN_FAIR:
        assert reached == pytest.approx(found.levels, abs=1e-7), (chosen(snapshot, plan), found)
    assert plan.objective == pytest.approx(found.value, abs=1e-5), (chosen(snapshot, plan), found)
    assert value(snapshot, policy, plan) == pytest.approx(plan.objective, abs=1e-6)


@QUICK
@given(snapshots(sizes=(1, 2, 3), flavors=2, most_jobs=3), st.sampled_from(OTHERS), st.sampled_from((EXACT, GREEDY)))
def test_no_objectives_bound_is_below_its_optimum(snapshot: Snapshot, aim: Aim, base: Policy) -> None:
    """Also where sizes are no divisor chain and for plans that no solver made."""
    policy = aiming(aim, base)
    plan = solve(snapshot, policy)
    found = best(snapshot, policy, lambda picked: within_quota(snapshot, picked))
    if found is not None:
        assert plan.bound >= found.value - 1e-6
    assert plan.bound >= plan.objective
    assert solve(snapshot, policy) == plan


@st.composite
def with_caps(draw: st.DrawFn, limits: tuple[float, ...] = (0.0, 0.5, 2.0, 5.0, 8.0)) -> tuple[Snapshot, Policy]:
    """Limits that often bind, of both kinds, of all jobs and of the queue, under any objective."""
    found = draw(priced(most_jobs=3))
    limit = st.sampled_from((None, *limits))
    watts = st.sampled_from((None, 0.0, 1.0, 1.5))
    flavors = tuple(replace(flavor, watts=draw(watts)) for flavor in found.flavors)
    queues = tuple(replace(one, budget_per_hour=draw(limit), power_cap_watts=draw(limit)) for one in found.queues)
    policy = replace(EXACT, budget_per_hour=draw(limit), power_cap_watts=draw(limit))
    return replace(found, flavors=flavors, queues=queues), aiming(draw(st.sampled_from(tuple(Aim))), policy)


@QUICK
@given(with_caps())
def test_plans_within_budgets_and_power_caps_reach_the_brute_force_optimum(case: tuple[Snapshot, Policy]) -> None:
    snapshot, policy = case
    plan = solve(snapshot, policy)
    picked = chosen(snapshot, plan)
    assert plan.status is not Status.KEPT, plan.warnings
    assert plan.short == (), "a limit takes no promise back"
    assert within_caps(snapshot, policy, picked)
    assert violations(capped(snapshot, policy)[0], plan.allocations) == []

    def allowed(picked: list[tuple[Job, str, int]]) -> bool:
        return within_quota(snapshot, picked) and within_caps(snapshot, policy, picked)

    found = best(snapshot, policy, allowed)
    assert found is not None
    assert plan.bound >= found.value - 1e-6
    found = best(snapshot, policy, lambda picked: allowed(picked) and packs_around(snapshot, picked))
    if not plan.unplaced and found is not None:
        assert plan.objective == pytest.approx(found.value, abs=1e-5), (picked, found)
        if policy.objective.name is Aim.MAX_MIN_FAIR:
            assert levels(snapshot, policy, picked) == pytest.approx(found.levels, abs=1e-7)


@QUICK
@given(with_caps(limits=(math.nan, math.inf, -1.0, 0.0, 1e-9, 3.0, 1e9, 1e300)), st.data())
def test_nonsense_in_prices_watts_and_limits_is_survived(case: tuple[Snapshot, Policy], data: st.DataObject) -> None:
    """A plan and a reason each time."""
    snapshot, policy = case
    odd = st.sampled_from((math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-9, 1.0, 1e9, 1e300, None))
    flavors = tuple(replace(one, price_per_hour=data.draw(odd), watts=data.draw(odd)) for one in snapshot.flavors)
    hostile = replace(snapshot, flavors=flavors)
    plan = solve(hostile, policy)
    assert plan.status is not Status.KEPT, plan.warnings
    assert violations(capped(hostile, policy)[0], plan.allocations) == []
    assert not place(hostile, plan.allocations).unplaced
    assert math.isfinite(plan.objective)
    assert plan.bound >= plan.objective
    decision = decide(replace(hostile, terms={}), policy)
    assert decision.plan.status is not Status.KEPT, decision.warnings
    assert all(outcome.reason and outcome.message for outcome in decision.outcomes)
