"""The other rules keep to the same limits as the optimizer, on generated clusters, and never beat its bound."""

import pytest
from hypothesis import given

from apportion.baselines import BASELINES
from apportion.cli.main import RULES
from apportion.model.plan import Status
from apportion.model.snapshot import Snapshot
from apportion.optimizer import place, solve, violations
from property.test_optimizer import EXACT, QUICK, snapshots


def test_the_command_line_offers_every_rule() -> None:
    assert set(RULES) == set(BASELINES)


@pytest.mark.parametrize("name", RULES)
@QUICK
@given(snapshot=snapshots(sizes=(1, 2, 3, 4), flavors=2, most_jobs=5))
def test_a_rules_plan_keeps_capacity_quotas_and_promises_and_is_within_its_bound(snapshot: Snapshot, name: str) -> None:
    plan = BASELINES[name](snapshot, EXACT)

    assert plan.status is not Status.KEPT, plan.warnings
    assert violations(snapshot, plan.allocations) == []
    unplaced = place(snapshot, plan.allocations).unplaced
    assert set(unplaced) <= set(plan.unplaced)
    assert plan.objective <= plan.bound + 1e-9
    best = solve(snapshot, EXACT)
    if not (set(plan.short) ^ set(best.short)):
        assert best.objective <= plan.bound + 1e-6 * max(1.0, abs(plan.bound)), "the bound is of the whole program"
