"""Four objectives on one small cluster, where each means something else; and where MaxMinFair is not proved."""

import math
from dataclasses import replace

import pytest

from apportion.model.curves import Usl
from apportion.model.flavors import Flavor
from apportion.model.plan import Plan, Status
from apportion.model.policy import Aim, Objective, Policy, SolverLimits
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Snapshot
from apportion.optimizer import leximin, solve, would_grow
from apportion.optimizer.leximin import levels
from apportion.optimizer.sharing import Target
from apportion.optimizer.solve import Effort, Round
from optimizer_builders import EXACT, GPU, flavors, granted, job, node, running, snapshot

LINEAR, POOR = Usl(1.0, 0.0), Usl(1.0, 0.5)
PRICED = (Flavor("a100", GPU, speed=1.0, price_per_hour=1.0), Flavor("h100", GPU, speed=2.0, price_per_hour=3.0))


def aiming(aim: Aim, base: Policy = EXACT) -> Policy:
    return replace(base, objective=Objective(name=aim))


def shared(aim: Aim, base: Snapshot, policy: Policy = EXACT) -> Plan:
    plan = solve(base, aiming(aim, policy))
    assert plan.warnings == ()
    return plan


UNLIKE = snapshot([node("n", 9)], [job("scales", 1, 8, curve=LINEAR), job("poor", 1, 8, curve=POOR)])


@pytest.mark.parametrize(
    ("aim", "wanted"),
    [
        (Aim.PROPORTIONAL_FAIR, {"scales": 6, "poor": 3}),
        (Aim.MAX_THROUGHPUT, {"scales": 8, "poor": 1}),
        (Aim.MAX_MIN_FAIR, {"scales": 2, "poor": 7}),
        (Aim.MIN_COST, {"scales": 1, "poor": 1}),
    ],
)
def test_who_gets_what(aim: Aim, wanted: dict[str, int]) -> None:
    plan = shared(aim, replace(UNLIKE, flavors=PRICED))
    assert granted(plan) == wanted
    assert plan.status is Status.OPTIMAL


def test_the_most_throughput_is_the_sum_of_weighted_normalised_rates() -> None:
    queues = (Queue("a", weight=3.0, quotas=(Quota("*", 99),)), Queue("b", quotas=(Quota("*", 99),)))
    jobs = [job("x", 1, 8, curve=LINEAR, queue_name="a"), job("y", 1, 8, curve=LINEAR, queue_name="b")]
    plan = shared(Aim.MAX_THROUGHPUT, snapshot([node("n", 9)], jobs, queues=queues))
    assert granted(plan) == {"x": 8, "y": 1}
    assert plan.objective == pytest.approx(3 * 8 + 1)


def test_the_worst_off_is_first_and_then_the_next() -> None:
    """The gang of 4 cannot grow and is the worst off for ever; a bisection would stop there."""
    jobs = [job("gang", 4, 4, curve=LINEAR), job("a", 1, 9, curve=LINEAR), job("b", 1, 9, curve=POOR)]
    plan = shared(Aim.MAX_MIN_FAIR, snapshot([node("n", 12)], jobs))
    # 4 of b work as fast as 1.6 of a: a second one for a leaves 6.
    assert granted(plan) == {"gang": 4, "a": 2, "b": 6}


def test_a_job_that_waits_does_not_keep_the_others_small() -> None:
    jobs = [job("large", 16, 16), job("a", 1, 9, curve=LINEAR), job("b", 1, 9, curve=LINEAR)]
    plan = shared(Aim.MAX_MIN_FAIR, snapshot([node("n", 8)], jobs))
    assert granted(plan) == {"large": 0, "a": 4, "b": 4}


def test_a_queue_of_twice_the_weight_is_twice_as_far_before_it_is_the_worst_off() -> None:
    queues = (Queue("a", weight=2.0, quotas=(Quota("*", 99),)), Queue("b", quotas=(Quota("*", 99),)))
    jobs = [job("x", 1, 9, curve=LINEAR, queue_name="a"), job("y", 1, 9, curve=LINEAR, queue_name="b")]
    assert granted(shared(Aim.MAX_MIN_FAIR, snapshot([node("n", 9)], jobs, queues=queues))) == {"x": 6, "y": 3}


def test_a_class_and_a_promise_come_before_the_worst_off() -> None:
    jobs = [job("high", 8, 8, priority=10), job("low", 1, 8)]
    assert granted(shared(Aim.MAX_MIN_FAIR, snapshot([node("n")], jobs))) == {"high": 8, "low": 0}


@pytest.mark.parametrize("others", [0, 40])
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("aim", Aim)
def test_nodes_that_do_not_hold_all_that_was_counted_hold_the_higher_class(aim: Aim, size: int, others: int) -> None:
    """Sums say that all fits; but the memory of n is for two of the lower class, or for those of the higher one."""
    low = job("low", 3, 3, size, requests={"memory": 8}, created=0.0)
    high = job("high", 3, 3, requests={"memory": 1}, priority=10)
    nodes = [node("n", 8, allocatable={"memory": 16}), node("m", size)]
    nodes += [node(f"bare-{at}", 4, allocatable={"memory": 0}) for at in range(others)]
    assert granted(shared(aim, snapshot(nodes, [low, high], flavors=PRICED[1:]))) == {"high": 3, "low": 0}


@pytest.mark.parametrize(
    "policy",
    [replace(EXACT, solver=SolverLimits(gap=0.0, methods=("greedy",))), EXACT],
    ids=["no solver", "too many options"],
)
def test_without_a_proof_the_worst_off_are_raised_step_by_step(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leximin, "MOST_COLUMNS", 3)
    plan = shared(Aim.MAX_MIN_FAIR, UNLIKE, policy)
    assert granted(plan) == {"scales": 2, "poor": 7}
    assert plan.status is Status.FEASIBLE, "nothing was proved"
    best_of_all = solve(UNLIKE, EXACT)
    assert plan.bound >= best_of_all.objective - 1e-9, "the bound is that of all plans"


def test_the_least_cost_is_minus_the_money_and_a_change_must_be_worth_it() -> None:
    waiting = snapshot([node("n"), node("m", 8, "a100")], [job("x", 2, 8, size=2)], flavors=PRICED)
    plan = shared(Aim.MIN_COST, waiting)
    assert (granted(plan), flavors(plan)) == ({"x": 2}, {"x": "a100"})
    assert plan.objective == plan.bound == -4.0
    assert plan.gap == 0.0
    dear = replace(PRICED[1], price_per_hour=1.05)
    there = replace(waiting, jobs=(running(waiting.jobs[0], {"n": 2}),), flavors=(PRICED[0], dear))
    assert flavors(shared(Aim.MIN_COST, there)) == {"x": "h100"}, "5 % are not worth a restart"
    far = replace(there, flavors=PRICED)
    assert flavors(shared(Aim.MIN_COST, far)) == {"x": "a100"}


def test_the_least_cost_takes_back_what_is_above_the_minimum() -> None:
    large = running(job("x", 2, 8), {"n": 8})
    assert granted(shared(Aim.MIN_COST, snapshot([node("n")], [large], flavors=PRICED))) == {"x": 2}


def test_a_flavor_without_a_price_is_not_cheap_and_is_named() -> None:
    unknown = (replace(PRICED[0], price_per_hour=None), PRICED[1])
    base = snapshot([node("n"), node("m", 8, "a100")], [job("x", 1, 8)], flavors=unknown)
    plan = solve(base, aiming(Aim.MIN_COST))
    assert plan.objective == -3.0
    assert plan.warnings == ("flavor a100: no usable pricePerHour; MinCost counts 3, the highest",)


def test_a_relaxation_does_not_say_that_the_worst_off_will_not_grow() -> None:
    """By value the one that scales should have it all; the other one is the worst off, and grows."""
    jobs = [running(job("poor", 1, 8, curve=Usl(1.0, 0.9)), {"n": 1}), job("scales", 1, 16, curve=LINEAR)]
    base = snapshot([node("n")], jobs)
    key = base.jobs[0].key
    assert not would_grow(base, replace(EXACT, objective=Objective(exponent=1.0)), [key])
    assert would_grow(base, replace(EXACT, objective=Objective(exponent=1.0, name=Aim.MAX_MIN_FAIR)), [key])


def test_what_was_not_proved_is_not_called_optimal_however_small_its_gap() -> None:
    wide = replace(EXACT, solver=SolverLimits(gap=0.2, methods=("greedy",)))
    base = snapshot([node("n", 9)], [job("a", 1, 8, curve=LINEAR), job("b", 1, 8, curve=LINEAR)])
    assert shared(Aim.PROPORTIONAL_FAIR, base, wide).status is Status.OPTIMAL
    plan = shared(Aim.MAX_MIN_FAIR, base, wide)
    assert sorted(granted(plan).values()) == [4, 5]
    assert (plan.gap <= 0.2, plan.status) == (True, Status.FEASIBLE)


def test_gaps_of_money_are_relative_to_it() -> None:
    assert Plan((), -10.0, -9.5, Status.FEASIBLE, "highs").gap == pytest.approx(0.05)
    assert Plan((), 0.0, 0.5, Status.FEASIBLE, "highs").gap == math.inf
    target = Target(0.06, 0.0)
    assert target.reached(-10.0, -9.5)
    assert not target.reached(-10.0, -9.0)
    assert target.of_all(-10.0) == 0.06
    assert -10.1 < target.enough(-9.5) < -10.0


def test_a_gang_that_finds_no_nodes_is_named_although_nothing_is_saved_by_it() -> None:
    """3, 3 and 2 are 8, and do not pack on two nodes of 4."""
    jobs = [job("a", 1, 1, size=3), job("b", 1, 1, size=3), job("c", 1, 1, size=2)]
    plan = shared(Aim.MIN_COST, snapshot([node("n", 4), node("m", 4)], jobs, flavors=PRICED[1:]))
    assert sum(granted(plan).values()) == 2
    assert len(plan.unplaced) == 1


def test_of_two_plans_the_one_that_does_more_for_the_worst_off_is_taken_not_the_one_of_more_value() -> None:
    fair, rich = (Round(UNLIKE, aiming(aim)) for aim in (Aim.MAX_MIN_FAIR, Aim.PROPORTIONAL_FAIR))
    first, second = (one.attempted(one.found, one.limits, Effort(0.0, {})) for one in (fair, rich))
    second = replace(second, levels=levels(second.problem, second.assignment.x))
    assert second.value > first.value
    assert first.rank > second.rank
