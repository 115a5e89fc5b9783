"""Budgets and power caps: what they count, whom they leave alone, what is said; and how evenly things are shared."""

from dataclasses import replace

import pytest

from apportion.model.caps import Kind
from apportion.model.curves import Usl
from apportion.model.jobs import FlavorChoice, Job
from apportion.model.plan import CapUse, Decision, Outcome
from apportion.model.policy import Policy, SolverLimits
from apportion.model.queues import Queue
from apportion.model.snapshot import Snapshot, Terms, capped
from apportion.optimizer import Pricing, solve, violations
from apportion.planner import decide
from apportion.planner.decide import wanted
from apportion.planner.fairness import jain
from apportion.planner.spending import exceeds
from apportion.planner.worth import next_step
from builders import A100, H100, job, node, nodes, queue, quota, running, snapshot

PRICED = (replace(A100, price_per_hour=1.0, watts=300.0), replace(H100, price_per_hour=2.5, watts=700.0))
EXACT = Policy(solver=SolverLimits(gap=0.0))
SMOOTH = Usl(1.0, 0.001)


def cluster(*jobs: Job, queues: tuple[Queue, ...] = ()) -> Snapshot:
    return snapshot(*jobs, on=(*nodes(2), node("old", 8, "a100")), queues=queues, flavors=PRICED)


def said(decision: Decision, name: str) -> Outcome:
    return next(one for one in decision.outcomes if one.key.name == name)


def counts(decision: Decision) -> dict[str, tuple[int, str]]:
    return {one.key.name: (one.target.replicas, one.target.flavor) for one in decision.outcomes}


def test_a_budget_is_money_per_hour_of_all_that_is_granted() -> None:
    decision = decide(cluster(job("x", 1, 16)), replace(EXACT, budget_per_hour=11.0))
    assert counts(decision) == {"x": (4, "h100")}
    assert decision.cap_use == (CapUse(Kind.BUDGET, "", 11.0, 10.0, decision.cap_use[0].price),)
    assert (said(decision, "x").reason, said(decision, "x").message) == (
        "BudgetExceeded",
        "4 of at most 16: the next step (5) needs 1 more h100; that is 2.5 per hour more; "
        "the budget of the cluster is 11 per hour, 10 are spent",
    )


def test_a_power_cap_is_watts_of_the_queues_own_jobs() -> None:
    queues = (queue("red", quota(16, "*"), power_cap_watts=2000.0), queue("blue", quota(16, "*")))
    jobs = (job("r", 1, 8, queue_name="red"), job("b", 1, 8, queue_name="blue"))
    decision = decide(cluster(*jobs, queues=queues), EXACT)
    assert counts(decision) == {"r": (6, "a100"), "b": (8, "h100")}
    found = said(decision, "r")
    assert found.reason == "PowerCapped"
    assert found.message.endswith("that is 300 W more; the power cap of queue red is 2000 W, 1800 W are drawn")
    assert [(use.kind, use.queue, use.used) for use in decision.cap_use] == [(Kind.POWER, "red", 1800.0)]


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (
            {"budget_per_hour": 0.0},
            ("BudgetExceeded", "needs 8 h100, which is 20 per hour; the budget of {} is 0 per hour"),
        ),
        ({"power_cap_watts": 5000.0}, ("PowerCapped", "needs 8 h100, which is 5600 W; the power cap of {} is 5000 W")),
    ],
)
@pytest.mark.parametrize("whose", ["the cluster", "queue red"])
def test_a_gang_that_no_limit_will_ever_allow(limit: dict[str, float], says: tuple[str, str], whose: str) -> None:
    queues = (queue("red", quota(16, "h100"), **(limit if whose == "queue red" else {})),)
    policy = replace(EXACT, **(limit if whose == "the cluster" else {}))
    found = said(decide(cluster(job("gang", 8, 8, queue_name="red"), queues=queues), policy), "gang")
    assert found.target.replicas == 0
    assert (found.reason, found.message) == (says[0], says[1].format(whose))


def test_a_gang_that_waits_until_others_spend_less() -> None:
    stays = running(job("stays", 6, 6, flavors=(FlavorChoice("h100"),)), {"h100-0": 6})
    gang = job("gang", 4, 4, flavors=(FlavorChoice("h100"),))
    found = said(decide(cluster(stays, gang), replace(EXACT, budget_per_hour=18.0)), "gang")
    assert (found.target.replicas, found.reason) == (0, "BudgetExceeded")
    assert found.message == (
        "needs 4 h100; that is 10 per hour more; the budget of the cluster is 18 per hour, 15 are spent"
    )
    assert decide(cluster(stays, gang), replace(EXACT, budget_per_hour=18.0)).recheck_after == 60.0, (
        "waiting gains worth"
    )


@pytest.mark.parametrize("budget", [0.0, 1e-9, 7.0])
def test_a_lowered_budget_takes_surplus_and_no_minimum(budget: float) -> None:
    """Nor is anybody new let in for what a move to a cheaper flavor would save below what must run."""
    jobs = (running(job("a", 2, 8), {"h100-0": 8}), running(job("b", 1, 4), {"h100-1": 4}))
    decision = decide(cluster(*jobs, job("new")), replace(EXACT, budget_per_hour=budget))
    assert decision.plan.short == ()
    granted = counts(decision)
    assert granted["a"] in [(2, "h100"), (5, "a100")], "as much for the same money"
    assert granted["b"] in [(1, "h100"), (2, "a100")]
    assert granted["new"] == (0, "")
    assert said(decision, "new").reason == "BudgetExceeded"
    on_h100 = decide(replace(cluster(*jobs, job("new")), flavors=PRICED[1:]), replace(EXACT, budget_per_hour=budget))
    assert counts(on_h100) == {"a": (2, "h100"), "b": (1, "h100"), "new": (0, "")}


def test_a_promise_is_worth_its_money_where_it_is_and_what_is_pinned_counts() -> None:
    base = cluster(running(job("a", 2, 8), {"h100-0": 8}), running(job("b", 1, 8), {"h100-1": 2}))
    keys = [one.key for one in base.jobs]
    for pinned in (False, True):
        terms = {keys[0]: Terms(keeps=8, pinned=pinned), keys[1]: Terms(keeps=1)}
        plan = solve(replace(base, terms=terms, flavors=PRICED[1:]), replace(EXACT, budget_per_hour=24.0))
        assert [one.replicas for one in plan.allocations] == [8, 1], "8 h100 are 20, the next one would be 25"


def test_a_flavor_without_a_price_counts_nothing_and_is_named() -> None:
    base = replace(cluster(job("x", 1, 8)), flavors=(replace(A100, price_per_hour=None), PRICED[1]))
    decision = decide(base, replace(EXACT, budget_per_hour=1.0))
    assert counts(decision) == {"x": (8, "a100")}
    assert decision.warnings == (
        "flavor a100: no usable pricePerHour; what runs on it counts nothing against any budget",
    )
    assert decide(base, EXACT).warnings == (), "nothing is limited"


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -1.0])
def test_a_limit_that_is_none_is_said_and_limits_nothing(limit: float) -> None:
    base = cluster(job("x", 1, 16), queues=(queue("default", quota(16, "*"), power_cap_watts=limit),))
    decision = decide(base, EXACT)
    assert counts(decision) == {"x": (16, "h100")}
    assert decision.warnings == (
        f"queue default: a power cap of {limit} is not a number of at least 0; there is no such limit now",
    )


def test_1e9_watts_and_1_watt_stand_in_one_row() -> None:
    base = cluster(job("x", 1, 8), job("y", 1, 8))
    base = replace(base, flavors=(replace(A100, watts=1.0), replace(H100, watts=1e9)))
    decision = decide(base, replace(EXACT, power_cap_watts=5.0))
    assert sorted(counts(decision).values()) == [(2, "a100"), (3, "a100")]
    decision = decide(base, replace(EXACT, power_cap_watts=9e9))
    assert sum(count for count, flavor in counts(decision).values() if flavor == "h100") <= 9
    assert decision.cap_use[0].used > 5e9


def test_an_eviction_that_the_budget_makes_useless_does_not_happen() -> None:
    """The higher class would take the room, and could not pay for it."""
    low = running(job("low", 2, 2, queue_name="default"), {"old": 2}, flavor="a100")
    high = job("high", 8, 8, priority=10, queue_name="default")
    base = cluster(low, high, queues=(queue("default", quota(8, "a100")),))
    assert counts(decide(base, EXACT))["high"] == (8, "a100")
    kept = decide(base, replace(EXACT, budget_per_hour=7.5))
    assert counts(kept) == {"low": (2, "a100"), "high": (0, "")}
    assert kept.plan.short == (), "nothing was promised that could not be paid"


def test_a_higher_class_takes_the_money_of_a_lower_one() -> None:
    low = running(job("low", 4, 4, queue_name="default"), {"h100-0": 4})
    high = job("high", 4, 4, priority=10, queue_name="default")
    base = cluster(low, high, queues=(queue("default", quota(16, "h100")),))
    assert counts(decide(base, replace(EXACT, budget_per_hour=10.0))) == {"low": (0, ""), "high": (4, "h100")}


def test_the_check_knows_what_a_plan_may_spend() -> None:
    base, _ = capped(cluster(job("x", 1, 16)), replace(EXACT, budget_per_hour=11.0))
    plan = solve(replace(base, caps=()), EXACT)
    assert violations(base, plan.allocations) == ["budget/: 40 used, 11 allowed"]
    assert violations(replace(base, caps=()), plan.allocations) == []


def test_the_price_of_a_budget_predicts_what_more_money_is_worth() -> None:
    jobs = (job(f"j{at}", 1, 32, curve=SMOOTH) for at in range(6))
    base = snapshot(*jobs, on=nodes(20), flavors=PRICED)
    for kind, name, low, high in (
        (Kind.BUDGET, "budget_per_hour", 150.0, 180.0),
        (Kind.POWER, "power_cap_watts", 42_000.0, 50_400.0),
    ):
        before, after = (solve(base, replace(EXACT, **{name: limit})) for limit in (low, high))
        (price,) = before.prices
        assert (price.flavor, price.queue, price.cap) == ("", "", kind)
        gained = after.objective - before.objective
        assert gained == pytest.approx((high - low) * price.price, rel=0.25)
        assert gained <= (high - low) * price.price


def test_a_step_is_priced_by_the_budget_that_it_would_use() -> None:
    base, policy = cluster(*(job(f"j{at}", 1, 16) for at in range(4))), replace(EXACT, budget_per_hour=20.0)
    found = wanted(base, policy)
    step = next_step(found, policy, base.jobs[0].key)
    assert step is not None
    budget = [row for row in step.rows if row.row == "budget/"]
    (price,) = [one.price for one in found.plan.prices if one.cap is Kind.BUDGET]
    each = {"h100": 2.5, "a100": 1.0}[step.grant.flavor]
    more = step.grant.replicas - found.targets[base.jobs[0].key].replicas
    assert [row.price for row in budget] == [pytest.approx(price * each * more)]
    assert Pricing(found.solved, policy, found.plan).value == pytest.approx(found.plan.objective)


def test_shares_and_the_jain_index_are_of_what_is_granted() -> None:
    queues = (queue("red", quota(16, "*")), queue("blue", quota(16, "*")))
    jobs = (
        running(job("r", 4, 4, queue_name="red", flavors=None), {"h100-0": 4}),
        running(job("b", 2, 2, queue_name="blue", flavors=(FlavorChoice("a100"),)), {"old": 2}, flavor="a100"),
        job("never", 99, 99, queue_name="blue"),
    )
    fairness = decide(cluster(*jobs, queues=queues), EXACT).fairness
    assert fairness.dominant_shares == (("blue", 2 / 8), ("red", 4 / 16))
    x = (H100.speed / A100.speed, 1.0, 0.0)  # the first is on the faster of two, the second has but one
    assert fairness.jain == pytest.approx(sum(x) ** 2 / (3 * sum(each**2 for each in x)))


def test_the_jain_index_is_1_for_equals_and_1_in_n_for_one_who_has_all() -> None:
    assert jain([2.0, 2.0, 2.0]) == 1.0
    assert jain([0.0, 7.0, 0.0, 0.0]) == 0.25
    assert jain([]) is jain([0.0, 0.0]) is None
    assert decide(cluster(), EXACT).fairness.jain is None


@pytest.mark.parametrize(
    ("amount", "limit", "passed"), [(0.1 + 0.2, 0.3, False), (3e6 + 1, 3e6, False), (1.1, 1.0, True)]
)
def test_a_limit_is_not_passed_by_rounding(amount: float, limit: float, passed: bool) -> None:
    assert exceeds(amount, limit) is passed
