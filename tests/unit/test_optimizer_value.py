"""What an option is worth, and which options there are."""

import math
from dataclasses import replace

import numpy as np
import pytest

from apportion.model.curves import Curve, Points, Usl
from apportion.model.flavors import Flavor
from apportion.model.jobs import Enough, FlavorChoice
from apportion.model.plan import Grant
from apportion.model.policy import Aim, Objective, Stability
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Terms
from apportion.optimizer import Appraisal, solve
from apportion.optimizer.options import thinned
from apportion.optimizer.solve import Round
from apportion.optimizer.staying import Held
from apportion.optimizer.value import admission_worth, change_factor, job_weights, utility
from optimizer_builders import EXACT, GPU, NOW, flavors, granted, job, node, running, snapshot, under

LINEAR = Usl(1.0, 0.0)


def test_utility_is_zero_at_the_reference_concave_and_finite_at_zero() -> None:
    for exponent in (-1.0, -0.5, 0.0, 0.5):
        assert utility(1.0, exponent) == 0.0
        assert utility(2.0, exponent) > utility(3.0, exponent) - utility(2.0, exponent) > 0
        assert math.isfinite(utility(0.0, exponent))
    assert utility(4.0, -0.5) == pytest.approx(1.0)
    assert utility(math.e, 0.0) == pytest.approx(1.0)


def test_admission_worth_doubles_over_an_hour_of_waiting_and_no_further() -> None:
    objective = Objective(admission_worth=0.2)
    waited = {
        seconds: admission_worth(job("a", created=NOW - seconds), NOW, objective) for seconds in (0, 59, 1800, 9999)
    }
    assert waited == {0: 0.2, 59: 0.2, 1800: pytest.approx(0.3), 9999: pytest.approx(0.4)}
    assert admission_worth(running(job("a", created=0.0), {"n": 1}), NOW, objective) == 0.2
    assert admission_worth(job("a", 2, 4, 8), NOW, Objective(0.0, 0.5, 1.0)) == 8.0
    assert admission_worth(job("a", created=math.nan), NOW, objective) == 0.2


def test_a_change_costs_the_young_and_the_often_restarted_most() -> None:
    stability, terms = Stability(change_margin=0.1, expected_hold_seconds=1800), Terms()

    def factor(age: float, restarts: int = 0, **more: float) -> float:
        restarted = running(job("a", restart_seconds=more.get("restart", 60.0)), {"n": 1}, age=age, restarts=restarts)
        return change_factor(restarted, NOW, stability, terms)

    assert factor(600) == pytest.approx(600 / 660 * 0.9)
    assert factor(600, restarts=5) == pytest.approx(300 / 660 * 0.9)
    assert factor(600, restarts=50) == 0.05
    assert factor(10**9) == pytest.approx((1 - 60 / 1800) * 0.9)
    assert factor(600, restart=0.0) == pytest.approx(0.9)
    assert change_factor(job("a"), NOW, stability, terms) == 1.0
    assert change_factor(running(job("a"), {"n": 1}, age=1), NOW, stability, Terms(free_to_change=True)) == 1.0


def test_the_last_change_alone_locks_no_old_job_in() -> None:
    """Ten hours old and changed a minute ago, the job may be changed like one that was left alone for hours."""
    old = running(job("a", restart_seconds=60.0), {"n": 1}, age=60.0, restarts=3)
    old = replace(old, created=NOW - 36_000)
    assert change_factor(old, NOW, Stability(change_margin=0.1), Terms()) == pytest.approx((1 - 60 / 1800) * 0.9)


def test_a_heavier_queue_gets_more_and_its_jobs_share_its_weight() -> None:
    queues = tuple(Queue(name, "c", weight, (Quota("*", 4),)) for name, weight in (("heavy", 4.0), ("light", 1.0)))
    jobs = [job("h", 1, 8, queue_name="heavy", curve=LINEAR), job("l", 1, 8, queue_name="light", curve=LINEAR)]
    plan = solve(snapshot([node("n")], jobs, queues=queues), EXACT)
    assert granted(plan)["h"] > granted(plan)["l"] > 0
    crowd = [job(f"h{at}", 1, 8, queue_name="heavy", curve=LINEAR) for at in range(4)]
    plan = solve(snapshot([node("n", 10)], [*crowd, jobs[1]], queues=(queues[0], queues[1])), EXACT)
    assert granted(plan) == {"h0": 2, "h1": 1, "h2": 1, "h3": 1, "l": 1} or sum(granted(plan).values()) == 8
    assert plan.objective == pytest.approx(plan.bound)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_weight_is_said_and_read_as_one(weight: float) -> None:
    queue = Queue("q", weight=weight, quotas=(Quota("*", 8),))
    plan = solve(snapshot([node("n")], [job("a", 1, 4, queue_name="q")], queues=(queue,)), EXACT)
    assert granted(plan) == {"a": 4}
    assert any("weight" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("curve", "replicas", "warns"),
    [
        (Points(((1, 1.0), (2, 2.0), (3, 1.5), (4, 1.0))), 2, False),  # falling: never beyond the peak
        (Points(((1, 1.0), (2, 1.0), (4, 1.0))), 1, False),  # flat: no more than the minimum
        (Points(((1, 1.0), (2, math.nan), (4, 3.0))), 4, False),  # a hole is not offered
        (Points(((1, 0.0), (4, 3.0))), 4, True),  # nothing at the minimum: replicas are counted
        (Usl(math.nan), 4, True),
        (Usl(-1.0), 4, True),
        (Usl(1.0, -1.0), 4, True),  # divides by zero at two
        (Points(()), 4, True),
    ],
)
def test_curves_that_cannot_be_right_do_no_harm(curve: Curve, replicas: int, warns: bool) -> None:
    plan = solve(snapshot([node("n")], [job("a", 1, 4, curve=curve)]), EXACT)
    if not (isinstance(curve, Usl) and curve.sigma == -1.0):
        assert granted(plan) == {"a": replicas}
        assert bool(plan.warnings) == warns
    assert granted(plan)["a"] >= 1


def test_the_reference_is_the_slowest_flavor_that_has_nodes() -> None:
    both = [node("n1", flavor="h100"), node("n2", flavor="a100")]
    there = solve(snapshot(both, [job("a")]), EXACT)
    assert flavors(there) == {"a": "h100"}
    assert there.objective == pytest.approx(0.2 + utility(2.0, -0.5))
    catalog = (Flavor("a100", GPU, speed=1.0), Flavor("h100", GPU, speed=2.0))
    gone = solve(snapshot(both[:1], [job("a")], flavors=catalog), EXACT)
    assert gone.objective == pytest.approx(0.2)


def test_a_jobs_own_speeds_and_allow_list_count() -> None:
    both = [node("n1", flavor="h100"), node("n2", flavor="a100")]
    reversed_ = (FlavorChoice("a100", 5.0), FlavorChoice("h100", 1.0))
    assert flavors(solve(snapshot(both, [job("a", flavors=reversed_)]), EXACT)) == {"a": "a100"}
    assert flavors(solve(snapshot(both, [job("a", flavors=(FlavorChoice("a100"),))]), EXACT)) == {"a": "a100"}
    assert flavors(solve(snapshot(both, [job("a", flavors=())]), EXACT)) == {"a": None}
    odd = solve(snapshot(both, [job("a", flavors=(FlavorChoice("a100", -3.0),))]), EXACT)
    assert granted(odd) == {"a": 1}
    assert "speed" in odd.warnings[0]


def test_steps_are_thinned_geometrically_but_keep_the_ends_and_the_current_one() -> None:
    steps = thinned(tuple(range(1, 1001)), 777, 20)
    assert len(steps) <= 21
    assert {1, 777, 1000} <= set(steps)
    assert thinned((2, 4, 8), 4, 20) == (2, 4, 8)
    assert 500 in thinned(tuple(range(100, 1001, 100)), 555, 4)
    assert thinned((-1, 0, 2), 0, 20) == (2,)


def test_a_running_job_does_not_move_for_less_than_the_move_costs() -> None:
    slow = running(job("a", curve=LINEAR), {"n1": 1}, "a100", age=60)
    nodes = [node("n1", flavor="a100"), node("n2", flavor="h100")]
    assert flavors(solve(snapshot(nodes, [slow]), EXACT)) == {"a": "a100"}
    old = running(job("a", curve=LINEAR), {"n1": 1}, "a100")
    assert flavors(solve(snapshot(nodes, [old]), EXACT)) == {"a": "h100"}
    assert flavors(solve(under(snapshot(nodes, [slow]), a=Terms(free_to_change=True)), EXACT)) == {"a": "h100"}


def test_terms_narrow_what_is_offered() -> None:
    nodes = [node("n1", flavor="a100"), node("n2", flavor="h100")]
    small = running(job("a", 1, 8, curve=LINEAR), {"n1": 2}, "a100")
    base = snapshot(nodes, [small])
    assert (granted(solve(base, EXACT)), flavors(solve(base, EXACT))) == ({"a": 8}, {"a": "h100"})
    assert flavors(solve(under(base, a=Terms(moves=False)), EXACT)) == {"a": "a100"}
    assert flavors(solve(under(base, a=Terms(keeps=2)), EXACT)) == {"a": "a100"}
    assert flavors(solve(under(base, a=Terms(keeps=1)), EXACT)) == {"a": "h100"}
    assert granted(solve(under(base, a=Terms(grows=False, moves=False)), EXACT)) == {"a": 2}
    assert flavors(solve(under(base, a=Terms(barred=frozenset({"h100"}))), EXACT)) == {"a": "a100"}
    assert solve(under(base, a=Terms(candidate=False)), EXACT).allocations == ()
    pinned = solve(under(base, a=Terms(pinned=True)), EXACT)
    assert (granted(pinned), flavors(pinned)) == ({"a": 2}, {"a": "a100"})


def test_a_count_that_is_no_step_any_more_is_no_option_unless_pinned() -> None:
    changed = replace(running(job("a"), {"n": 5}), steps=(2, 4))
    full = snapshot([node("n", 5)], [changed])
    assert granted(solve(under(full, a=Terms(keeps=5)), EXACT)) == {"a": 4}
    assert solve(under(full, a=Terms(keeps=5)), EXACT).short == ()
    assert granted(solve(under(full, a=Terms(pinned=True)), EXACT)) == {"a": 5}


def test_the_exponent_of_the_policy_counts() -> None:
    jobs = [job("a", 1, 6, curve=LINEAR), job("b", 1, 6, curve=Usl(1.0, 0.5))]
    fair = solve(snapshot([node("n")], jobs), EXACT)
    for_rate = solve(snapshot([node("n")], jobs), replace(EXACT, objective=Objective(exponent=1.0)))
    assert granted(fair)["b"] >= 2
    assert granted(for_rate) == {"a": 6, "b": 2}


def test_favours_divide_a_queues_weight_and_do_not_add_to_it() -> None:
    queues = (Queue("q", "c", 3.0, (Quota("*", 4),)),)
    jobs = [job("a", queue_name="q", favour=4.0), job("b", queue_name="q", favour=0.5), job("c", queue_name="q")]
    weights, _ = job_weights(snapshot([node("n")], jobs, queues=queues))
    assert sum(weights["q"] * one.favour for one in jobs) == pytest.approx(3.0)


def test_jobs_of_another_favour_are_not_taken_for_alike() -> None:
    """At admission the second has made up for it by waiting."""
    jobs = [job("a", 1, 4, favour=2.0), job("b", 1, 4, created=NOW - 3600)]
    assert admission_worth(jobs[0], NOW, EXACT.objective) == admission_worth(jobs[1], NOW, EXACT.objective)
    assert len(Round(snapshot([node("n")], jobs), EXACT).found.groups) == 2


def test_what_staying_pods_hold_is_told_for_any_rows() -> None:
    held = Held({}, np.array([2, 5]), np.array([[1, 10], [2, 20]]), 2)
    assert held.amounts_at(np.array([0, 2, 4, 5, 9])).tolist() == [[0, 0], [1, 10], [0, 0], [2, 20], [0, 0]]
    assert held.amounts_at(held.rows).tolist() == held.amounts.tolist()
    nothing = Held({}, np.array([], dtype=np.int64), np.zeros((0, 2), dtype=np.int64), 0)
    assert nothing.amounts_at(np.array([3])).tolist() == [[0, 0]]


@pytest.mark.parametrize("aim", Aim)
def test_an_option_alone_is_worth_what_its_column_is(aim: Aim) -> None:
    priced = (Flavor("h100", GPU, speed=2.0, price_per_hour=3.0), Flavor("a100", GPU, speed=1.0, price_per_hour=1.0))
    nodes = [node("n1"), node("n2", flavor="a100")]
    jobs = [
        running(job("old", 1, 4, curve=Usl(1.0, 0.05)), {"n1": 2}),
        job("new", 2, 4, 2, created=NOW - 900, favour=2.0),
        job("aims", 1, 3, enough=(Enough("h100", 3.0, 6.0),)),
    ]
    base = snapshot(nodes, jobs, flavors=priced)
    policy = replace(EXACT, objective=replace(EXACT.objective, name=aim))
    found, appraisal = Round(base, policy).found, Appraisal(base, policy)
    columns = found.columns
    assert {bool(one) for one in columns.current} == {True, False}
    for at in range(len(columns)):
        one = found.groups[columns.group[at]].like
        grant = Grant(priced[columns.flavor[at]].name, int(columns.replicas[at]))
        assert appraisal.value(one, grant, restarted=not columns.current[at]) == pytest.approx(columns.value[at]), grant
