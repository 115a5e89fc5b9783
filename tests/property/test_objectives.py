"""Every objective against brute force, on generated clusters."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.model.policy import Aim, Objective, Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import solve
from property.brute_force import best, levels
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
