"""Rows and stages, seen through solve: capacity and packing, quotas and cohorts, promises, classes, few moves."""

import math
from dataclasses import replace

import pytest

from apportion.model.curves import Usl
from apportion.model.flavors import Flavor
from apportion.model.jobs import JobKey
from apportion.model.plan import Status
from apportion.model.policy import Aim, Policy, SolverLimits
from apportion.model.queues import Queue, Quota
from apportion.model.selection import NodeChoice, Taint, Toleration
from apportion.model.snapshot import Ceiling, Snapshot, Terms
from apportion.optimizer import place, solve, violations
from apportion.optimizer.cells import cells_of
from apportion.optimizer.limits import limits
from apportion.optimizer.options import options
from apportion.optimizer.packing import Placer
from apportion.optimizer.staying import Ground
from optimizer_builders import EXACT, GPU, flavors, granted, job, node, running, snapshot, under

LINEAR = Usl(1.0, 0.0)


def row_names(base: Snapshot) -> dict[str, float]:
    cells = cells_of(base)
    ground = Ground(base, cells)
    found = limits(base, options(base, EXACT, ground, Placer(ground).free, base.jobs), cells)
    return dict(zip(found.names, found.right.tolist(), strict=True))


def test_blocks_are_counted_by_node_and_rows_that_say_nothing_new_are_dropped() -> None:
    jobs = [job("a", 1, 9, 1), job("b", 1, 9, 2), job("c", 1, 9, 4)]
    assert row_names(snapshot([node("n1", 8), node("n2", 8)], jobs)) == {"capacity/h100/1": 16.0}
    ragged = row_names(snapshot([node("n1", 7), node("n2", 7)], jobs))
    assert ragged == {"capacity/h100/1": 14.0, "capacity/h100/2": 6.0, "capacity/h100/4": 2.0}
    assert row_names(snapshot([node("n1", 8), node("n2", 8)], [job("a", 1, 4)])) == {}


def test_sizes_that_are_no_multiples_of_each_other_keep_to_what_there_is_in_all() -> None:
    """Three of 3 and two of 4 are 17, but four and a half blocks of 3 and two of 4: a row of each allows them on 16."""
    has = running(job("has", 3, 3, 3), {"n": 3})
    has = replace(has, pods=has.pods[:1])
    base = under(snapshot([node("n", 16)], [has, job("gang", 2, 2, 4)]), has=Terms(keeps=3))
    plan = solve(base, EXACT)
    assert (granted(plan), plan.status, plan.warnings) == ({"has": 3, "gang": 0}, Status.OPTIMAL, ())
    assert row_names(base)["capacity/h100/1"] == 16.0


def test_cpu_that_binds_gets_a_row_and_is_respected() -> None:
    hungry = job("a", 1, 8, requests={"cpu": 3_000}, curve=LINEAR)
    base = snapshot([node("n", 8, allocatable={"cpu": 10_000})], [hungry])
    assert any("cpu" in name for name in row_names(base))
    assert granted(solve(base, EXACT)) == {"a": 3}
    pods = snapshot([node("n", 8, allocatable={"pods": 2})], [job("a", 1, 8)])
    assert granted(solve(pods, EXACT)) == {"a": 2}


def test_gangs_are_whole_and_do_not_spread_over_nodes_that_are_too_small() -> None:
    base = snapshot([node("n1", 4), node("n2", 4)], [job("wide", 1, 1, 8)])
    assert granted(solve(base, EXACT)) == {"wide": 0}
    assert granted(solve(snapshot([node("n1", 4)], [job("gang", 3, 6, 2)]), EXACT)) == {"gang": 0}


def test_what_others_use_and_what_is_cordoned_is_no_room() -> None:
    nodes = [node("n1", 8, foreign={GPU: 5}), node("n2", 8, placeable=False)]
    assert granted(solve(snapshot(nodes, [job("a", 1, 8)]), EXACT)) == {"a": 3}


def test_pods_on_a_cordoned_node_keep_their_room_and_need_none_elsewhere() -> None:
    nodes = [node("n1", 4, placeable=False), node("n2", 4)]
    kept = running(job("a", 4, 8, curve=LINEAR), {"n1": 4})
    plan = solve(snapshot(nodes, [kept, job("b", 1, 8, curve=LINEAR)]), EXACT)
    assert granted(plan)["a"] >= 4
    assert sum(granted(plan).values()) == 8
    gone = replace(kept, pods=tuple(replace(pod, terminating=True) for pod in kept.pods))
    assert sum(granted(solve(snapshot(nodes, [gone, job("b", 1, 8)]), EXACT)).values()) == 4


def test_jobs_that_may_use_different_nodes_each_have_their_rows() -> None:
    tolerant = NodeChoice(tolerations=(Toleration(operator="Exists"),))
    tainted = node("n2", 4, taints=(Taint("team", "x", "NoSchedule"),))
    jobs = [job("all", 1, 8, nodes=tolerant, curve=LINEAR), job("some", 1, 8, curve=LINEAR)]
    names = row_names(snapshot([node("n1", 4), tainted], jobs))
    assert {name.split("/")[1] for name in names} == {"h100", "h100.1"}
    plan = solve(snapshot([node("n1", 4), tainted], jobs), EXACT)
    assert granted(plan) == {"all": 4, "some": 4}
    zone = NodeChoice(selector=(("zone", "b"),))
    base = snapshot(
        [node("n1", 4, labels={"zone": "a"}), node("n2", 2, labels={"zone": "b"})], [job("b", 1, 8, nodes=zone)]
    )
    assert granted(solve(base, EXACT)) == {"b": 2}


def test_pinned_jobs_are_constants_and_what_they_miss_is_reserved() -> None:
    pinned = running(job("p", 1, 8), {"n": 2})
    short = replace(pinned, memory=replace(pinned.memory, admission=replace(pinned.memory.admission, replicas=5)))  # type: ignore[type-var]
    plan = solve(under(snapshot([node("n", 8)], [short, job("w", 1, 8)]), p=Terms(pinned=True)), EXACT)
    assert granted(plan) == {"p": 5, "w": 3}


def quota(nominal: int, borrow: int | None = None, lend: int | None = None) -> tuple[Quota, ...]:
    return (Quota("*", nominal, borrow, lend),)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (quota(4), quota(4), 8),  # the cohort's unused quota may be borrowed
        (quota(4, borrow=1), quota(4), 5),  # no further than the borrowing limit
        (quota(4), quota(4, lend=3), 7),  # nor than what the other lends
        (quota(4, borrow=0), quota(4, lend=0), 4),
        (quota(0), quota(0), 0),
        (quota(-3), quota(2), 2),
        ((Quota("a100", 9),), quota(8), 0),  # a flavor that the queue does not list
    ],
)
def test_a_queue_borrows_what_its_cohort_lends(one: tuple[Quota, ...], two: tuple[Quota, ...], expected: int) -> None:
    queues = (Queue("one", "c", quotas=one), Queue("two", "c", quotas=two))
    base = snapshot([node("n1"), node("n2")], [job("a", 1, 16, queue_name="one")], queues=queues)
    plan = solve(base, EXACT)
    assert granted(plan) == {"a": expected}
    assert violations(base, plan.allocations) == []


def test_lending_limits_bind_with_both_queues_active() -> None:
    queues = (Queue("one", "c", quotas=quota(4)), Queue("two", "c", quotas=quota(4, lend=2)))
    jobs = [job("a", 1, 16, queue_name="one", curve=LINEAR), job("b", queue_name="two")]
    for policy in (EXACT, replace(EXACT, solver=SolverLimits(gap=0.0, methods=("greedy",)))):
        assert granted(solve(snapshot([node("n1"), node("n2")], jobs, queues=queues), policy)) == {"a": 6, "b": 1}


def test_ceilings_and_jobs_that_may_not_borrow() -> None:
    queues = (Queue("one", "c", quotas=quota(2)), Queue("two", "c", quotas=quota(6)))
    base = snapshot([node("n1")], [job("a", 1, 8, queue_name="one"), job("b", 1, 8, queue_name="one")], queues=queues)
    capped = replace(base, ceilings=(Ceiling("one", "h100", 5),))
    assert sum(granted(solve(capped, EXACT)).values()) == 5
    strict = under(base, a=Terms(borrows=False), b=Terms(borrows=False))
    assert sum(granted(solve(strict, EXACT)).values()) == 2
    mixed = granted(solve(under(base, a=Terms(borrows=False)), EXACT))
    assert mixed["a"] <= 2
    assert sum(mixed.values()) == 8


def test_a_lowered_quota_takes_no_promise_back() -> None:
    queue = Queue("q", quotas=quota(1))
    base = snapshot(
        [node("n")], [running(job("a", 2, 8, queue_name="q"), {"n": 4}), job("b", queue_name="q")], queues=(queue,)
    )
    plan = solve(under(base, a=Terms(keeps=2)), EXACT)
    assert granted(plan) == {"a": 2, "b": 0}
    assert plan.short == ()
    unlisted = replace(base, queues=(Queue("q", quotas=(Quota("a100", 3),)),))
    kept = solve(under(unlisted, a=Terms(keeps=4)), EXACT)
    assert granted(kept) == {"a": 4, "b": 0}
    assert granted(solve(under(unlisted, a=Terms(pinned=True)), EXACT)) == {"a": 4, "b": 0}
    assert granted(solve(unlisted, EXACT)) == {"a": 0, "b": 0}


def test_a_lost_node_costs_surplus_before_promises_and_the_lowest_class_first() -> None:
    jobs = [
        running(job("high", 2, 8, priority=100), {"n1": 4}),
        running(job("low", 2, 8), {"n2": 4}),
        running(job("lowest", 2, 8, priority=-5), {"n3": 4}),
    ]
    terms = {"high": Terms(keeps=4), "low": Terms(keeps=2), "lowest": Terms(keeps=2)}
    plan = solve(under(snapshot([node("n1", 4), node("n2", 4)], jobs), **terms), EXACT)
    assert granted(plan) == {"high": 4, "low": 2, "lowest": 2}
    plan = solve(under(snapshot([node("n1", 4)], jobs), **terms), EXACT)
    assert granted(plan) == {"high": 2, "low": 2, "lowest": 0}
    assert plan.short == (JobKey("ns", "high"), JobKey("ns", "lowest"))
    assert plan.status is Status.OPTIMAL
    shrunk = solve(under(snapshot([node("n1", 3)], jobs), **terms), EXACT)
    assert granted(shrunk) == {"high": 3, "low": 0, "lowest": 0}


@pytest.mark.parametrize("priority", [0, 100])
@pytest.mark.parametrize("whose", ["a", "b"])
def test_what_lost_pods_were_above_a_minimum_costs_nobody_a_minimum(priority: int, whose: str) -> None:
    """Within minRuntime all three are promised; one of them is still there."""
    big = running(job("big", 1, 3, priority=priority, queue_name="a"), {"n1": 1, "gone": 2})
    small = running(job("small", 1, 1, queue_name=whose), {"n1": 1})
    base = snapshot([node("n1", 2)], [big, small], queues=(Queue("a", quotas=quota(8)), Queue("b", quotas=quota(8))))
    plan = solve(under(base, big=Terms(keeps=3), small=Terms(keeps=1)), EXACT)
    assert granted(plan) == {"big": 1, "small": 1}


@pytest.mark.parametrize(
    ("whose", "preemptible", "stays"), [("a", True, "high"), ("b", True, "low"), ("a", False, "low")]
)
def test_a_lost_minimum_takes_one_from_a_lower_class_of_its_own_queue_alone(
    whose: str, preemptible: bool, stays: str
) -> None:
    high = running(job("high", 2, 2, priority=100, queue_name="a"), {"gone": 2})
    low = running(job("low", 2, 2, queue_name=whose, preemptible=preemptible), {"n1": 2})
    base = snapshot([node("n1", 2)], [high, low], queues=(Queue("a", quotas=quota(8)), Queue("b", quotas=quota(8))))
    plan = solve(under(base, high=Terms(keeps=2), low=Terms(keeps=2)), EXACT)
    assert {name for name, count in granted(plan).items() if count} == {stays}


def test_of_equals_who_has_its_pods_goes_before_who_lost_them() -> None:
    """The highest lost its pods, and the two others may give way to it; it needs the place of one of them."""
    jobs = [
        running(job("highest", 2, 2, priority=100), {"gone": 2}),
        running(job("alike", 2, 2), {"gone": 2}),
        running(job("stands", 2, 2), {"n1": 2}),
    ]
    base = snapshot([node("n1", 2), node("n2", 2)], jobs)
    plan = solve(under(base, **{one.key.name: Terms(keeps=2) for one in jobs}), EXACT)
    assert granted(plan) == {"highest": 2, "alike": 0, "stands": 2}


def test_a_higher_class_gets_its_minimum_before_a_lower_one_grows_or_runs() -> None:
    low = running(job("low", 1, 8, curve=LINEAR), {"n": 8})
    base = snapshot([node("n")], [low, job("urgent", 6, 6, priority=100)])
    assert granted(solve(under(base, low=Terms(keeps=1)), EXACT)) == {"low": 2, "urgent": 6}
    stiff = snapshot([node("n")], [running(job("low", 8, 8), {"n": 8}), job("urgent", 6, 6, priority=100)])
    assert granted(solve(stiff, EXACT)) == {"low": 0, "urgent": 6}
    assert granted(solve(under(stiff, low=Terms(keeps=8)), EXACT)) == {"low": 8, "urgent": 0}


def test_incumbents_of_a_class_keep_theirs_and_the_younger_gives_way() -> None:
    waiting = [job(f"w{at}", created=0.0) for at in range(8)]
    kept = running(job("old", 8, 8), {"n": 8})
    assert granted(solve(snapshot([node("n")], [kept, *waiting]), EXACT))["old"] == 8
    younger = running(job("a-young", 5, 5), {"n": 5}, age=1_000)
    older = running(job("b-old", 5, 5), {"n": 5}, age=90_000)
    assert granted(solve(snapshot([node("n")], [younger, older]), EXACT)) == {"a-young": 0, "b-old": 5}


def test_minimums_before_growth_within_a_class() -> None:
    jobs = [job(f"j{at}", 2, 8) for at in range(5)]
    assert sorted(granted(solve(snapshot([node("n")], jobs), EXACT)).values()) == [0, 2, 2, 2, 2]


def test_few_moves_are_preferred_within_the_tolerance_and_their_cost_is_told() -> None:
    jobs = [
        running(job(f"j{at}", 1, 8, curve=Usl(1.0, 0.02 + 0.001 * at)), {f"n{at}": 4}, age=10**7) for at in range(4)
    ]
    jobs.append(job("new", 2, 2))
    base = snapshot([node(f"n{at}", 4) for at in range(4)], jobs)
    exact = solve(base, EXACT)
    lazy = solve(
        base,
        replace(Policy(), solver=SolverLimits(gap=0.0), stability=replace(EXACT.stability, fewest_moves_within=0.2)),
    )

    def moved(plan: object) -> int:
        return sum(count != 4 for name, count in granted(plan).items() if name != "new")  # type: ignore[arg-type]

    assert granted(lazy)["new"] == granted(exact)["new"] == 2
    assert moved(lazy) == 1 < moved(exact)
    assert lazy.moves_cost > 0
    assert lazy.objective == pytest.approx(exact.objective)
    assert exact.moves_cost == 0.0


def test_prices_are_what_one_more_accelerator_is_worth() -> None:
    jobs = [job("a", 1, 16, curve=LINEAR), job("b", 1, 16, curve=LINEAR)]
    plan = solve(snapshot([node("n")], jobs), EXACT)
    (price,) = plan.prices
    assert (price.flavor, price.queue) == ("h100", "")
    u = [2 * (1 - x**-0.5) / 2 for x in (3, 4, 5)]
    assert u[2] - u[1] <= price.price + 1e-9 <= u[1] - u[0] + 2e-9
    queue = Queue("q", quotas=quota(4))
    limited = solve(snapshot([node("n")], [job("a", 1, 16, queue_name="q")], queues=(queue,)), EXACT)
    assert [(price.flavor, price.queue) for price in limited.prices] == [("h100", "q")]
    assert solve(snapshot([node("n")], [job("a")]), EXACT).prices == ()


def test_identical_jobs_are_one_group_and_the_oldest_are_served_first() -> None:
    jobs = [job(f"j{at:03}", 2, 4, created=1_000_000.0 - at) for at in range(30)]
    base = snapshot([node("n1", 40)], jobs)
    ground = Ground(base, cells_of(base))
    found = options(base, EXACT, ground, Placer(ground).free, base.jobs)
    assert [group.size for group in found.groups] == [30]
    plan = granted(solve(base, EXACT))
    assert sum(plan.values()) == 40
    assert {name for name, count in plan.items() if count == 0} == {f"j{at:03}" for at in range(10)}


@pytest.mark.parametrize(
    "base",
    [
        Snapshot(0.0),
        snapshot([], [job("a", 1, 4)]),
        snapshot([node("n")], []),
        snapshot([node("n", 0)], [job("a")]),
        snapshot([node("n")], [job("a", 0, -1), replace(job("b"), steps=(-3, 0))]),
        snapshot([node("n")], [job("huge", 10**9, 10**9 + 2, 10**12)]),
        snapshot([node("n", 10**30)], [job("wide", 1, 2, 10**25)]),
        snapshot([node("n")], [job("a", restart_seconds=math.nan), job("b", restart_seconds=-math.inf)]),
        replace(snapshot([node("n")], [running(job("a", 1, 4), {"n": 2})]), now=math.nan),
        snapshot([node("n")], [running(job("a", 1, 4), {"gone": 2}, "gone")]),
        snapshot([node("n")], [job("a", queue_name="missing")], queues=(Queue("q"),)),
        snapshot([node("n")], [job("a")], flavors=(Flavor("h100", GPU, speed=math.nan),)),
        snapshot([node("n", -4, foreign={GPU: 8})], [job("a")]),
    ],
)
def test_no_input_is_an_exception(base: Snapshot) -> None:
    plan = solve(base, EXACT)
    assert len(plan.allocations) == len(base.jobs)
    assert violations(base, plan.allocations) == []
    assert plan.objective <= plan.bound
    assert not place(base, plan.allocations).unplaced or base.jobs[0].pods


@pytest.mark.parametrize("size", [2 * 10**12, 10**16, 10**18])
@pytest.mark.parametrize("queue", [None, "q"])
@pytest.mark.parametrize("aim", Aim)
def test_a_job_of_any_size_leaves_the_others_to_the_first_solver(size: int, queue: str | None, aim: Aim) -> None:
    """HiGHS refuses a whole program for one entry of 1e15 or more."""
    priced = tuple(replace(flavor, price_per_hour=2.0, watts=700.0) for flavor in snapshot([], []).flavors)
    jobs = [job(name, 1, 4, 2, queue_name=queue) for name in "ab"] + [job("huge", 1, 8, size, queue_name=queue)]
    queues = (Queue("q", quotas=(Quota("*", 6),), budget_per_hour=50.0),) if queue else ()
    base = snapshot([node("n", 7), node("m", 7)], jobs, queues=queues, flavors=priced)
    plan = solve(base, replace(EXACT, objective=replace(EXACT.objective, name=aim), power_cap_watts=1e5))
    assert (plan.method, plan.warnings) == ("highs", ())
    assert granted(plan)["huge"] == 0
    assert granted(plan)["a"] >= 1


def test_an_impossible_policy_still_yields_a_plan() -> None:
    odd = replace(EXACT, objective=replace(EXACT.objective, exponent=math.nan), solver=SolverLimits(gap=math.nan))
    plan = solve(snapshot([node("n")], [running(job("a", 1, 4), {"n": 2})]), odd)
    assert len(plan.allocations) == 1
    assert flavors(plan) == {"a": "h100"}
