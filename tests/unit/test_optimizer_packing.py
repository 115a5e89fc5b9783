"""Placement on paper, the ReplicaSet's ranking, and the independent check."""

from dataclasses import replace

import numpy as np
import pytest

from apportion.model.curves import Usl
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.plan import Allocation, Status
from apportion.model.policy import Policy, SolverLimits
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Ceiling, Snapshot, Terms
from apportion.optimizer import place, solve, survivors, violations
from apportion.optimizer.attempts import Attempt, admission_constant
from apportion.optimizer.greedy import rounded
from apportion.optimizer.limits import limits
from apportion.optimizer.options import Floats, Ints, stood
from apportion.optimizer.problem import Problem
from apportion.optimizer.repair import Repair, repaired
from apportion.optimizer.sharing import Shared, Target, mended, priced
from apportion.optimizer.solve import Effort, Round
from apportion.optimizer.solving import Found, Solvers
from apportion.optimizer.stages import staged
from bench.instances import SIZES, instance, next_round
from optimizer_builders import EXACT, GPU, granted, job, node, running, snapshot, under

LINEAR = Usl(1.0, 0.0)


def asked(flavor: str = "h100", **replicas: int) -> list[Allocation]:
    return [Allocation(JobKey("ns", name), flavor, count) for name, count in replicas.items()]


def pod(name: str, where: str | None = "n", **more: object) -> Pod:
    fields: dict[str, object] = {"created": 100.0, "ready": True, "ready_since": 100.0, **more}
    return Pod(name, name, where, {GPU: 1}, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "leaves",
    [
        pod("x", "m", ready=False),
        pod("x", "m", phase="Pending"),
        pod("x", "m", deletion_cost=-1),
        pod("x", "m", ready_since=200.0),
        pod("x", "m", restarts=3),
        pod("x", "m", created=300.0),
    ],
)
def test_the_replicaset_keeps_the_better_pods(leaves: Pod) -> None:
    others = (pod("a", "n"), pod("b", "o"))
    stay = survivors(replace(job("j"), pods=(leaves, *others)), 2, {"n", "m", "o"})
    assert {kept.name for kept in stay} == {"a", "b"}


def test_the_node_with_fewest_of_the_pods_comes_free_first_and_unbound_ones_never_survive() -> None:
    pods = (
        pod("a", "n"),
        pod("b", "m"),
        pod("c", "m"),
        pod("d", None),
        pod("e", "m", terminating=True),
        pod("f", "gone"),
    )
    whole = replace(job("j"), pods=pods)
    assert {kept.name for kept in survivors(whole, 3, {"n", "m"})} == {"a", "b", "c"}
    assert {kept.name for kept in survivors(whole, 1, {"n", "m"})} == {"c"}
    assert survivors(whole, 0, {"n", "m"}) == ()


def test_survivors_stay_and_new_pods_go_largest_first() -> None:
    base = snapshot(
        [node("n1", 8), node("n2", 8)], [running(job("a", 1, 8), {"n1": 3}), job("b", 1, 1, 8), job("c", 1, 5)]
    )
    placement = place(base, asked(a=3, b=1, c=5))
    assert placement.placed[JobKey("ns", "a")] == {"n1": 3}
    assert placement.placed[JobKey("ns", "b")] == {"n2": 1}
    assert placement.placed[JobKey("ns", "c")] == {"n1": 5}
    assert placement.unplaced == {}


def test_what_finds_no_node_is_counted() -> None:
    base = snapshot([node("n1", 3), node("n2", 3)], [job("a", 1, 9, 2)])
    placement = place(base, asked(a=3))
    assert placement.unplaced == {JobKey("ns", "a"): 1}
    assert place(base, asked("nowhere", a=2)).unplaced == {JobKey("ns", "a"): 2}
    assert place(base, [Allocation(JobKey("ns", "a")), *asked(stranger=3)]).unplaced == {}


def test_new_pods_make_room_for_each_other() -> None:
    # Largest first by accelerators puts "wide" where "hungry", which needs the memory, would have to go.
    nodes = [node("n1", 4, allocatable={"memory": 100}), node("n2", 4, allocatable={"memory": 10})]
    jobs = [job("wide", 1, 1, 3, requests={"memory": 1}), job("hungry", 1, 1, 2, requests={"memory": 90})]
    tight = snapshot([nodes[0], replace(nodes[1], foreign={GPU: 0})], jobs)
    assert place(tight, asked(wide=1, hungry=1)).unplaced == {}


def test_pinned_jobs_hold_their_room_unasked() -> None:
    held = running(job("p"), {"n": 5})
    base = under(snapshot([node("n", 8)], [held, job("a", 1, 8)]), p=Terms(pinned=True))
    placement = place(base, asked(a=4))
    assert placement.placed[JobKey("ns", "p")] == {"n": 5}
    assert placement.unplaced == {JobKey("ns", "a"): 1}


def test_sizes_that_are_no_chain_are_cut_back_to_what_places_and_the_rest_is_filled() -> None:
    base = snapshot(
        [node("n1", 8), node("n2", 8)], [job("three", 1, 9, 3, curve=LINEAR), job("one", 1, 9, 1, curve=Usl(1, 0.5))]
    )
    plan = solve(base, EXACT)
    assert place(base, plan.allocations).unplaced == {}
    assert granted(plan)["three"] == 4
    assert granted(plan)["one"] == 4
    assert plan.bound >= plan.objective


def test_ragged_nodes_cut_new_jobs_never_running_ones() -> None:
    # Two accelerators are free on each node: four by count, none for a block of four.
    old = running(job("old", 4, 4), {"n1": 2, "n2": 2})
    base = under(snapshot([node("n1", 4), node("n2", 4)], [old, job("new", 1, 1, 4)]), old=Terms(keeps=4))
    plan = solve(base, EXACT)
    assert granted(plan) == {"new": 0, "old": 4}
    # The rows know it, so nothing is planned that has to be cut back.
    assert plan.unplaced == ()
    elastic = under(snapshot([node("n1", 4), node("n2", 4)], [old, job("new", 1, 4, 1)]), old=Terms(keeps=4))
    assert granted(solve(elastic, EXACT)) == {"new": 4, "old": 4}


def test_a_pod_alone_on_its_node_keeps_a_block_of_eight_from_others() -> None:
    lone = running(job("lone", 1, 2), {"n1": 1, "n2": 1})
    base = under(snapshot([node("n1"), node("n2")], [lone, job("big", 1, 1, 8, priority=1)]), lone=Terms(keeps=1))
    plan = solve(base, EXACT)
    assert granted(plan) == {"lone": 1, "big": 1}
    assert (plan.status, plan.short, plan.unplaced) == (Status.OPTIMAL, (), ())
    # Where others hold most of each node nothing comes free for it.
    others = [running(job(name, 7, 7), {where: 7}) for name, where in (("o1", "n1"), ("o2", "n2"))]
    held = under(replace(base, jobs=tuple(sorted((*base.jobs, *others), key=lambda job: job.key))),
                 lone=Terms(keeps=1), o1=Terms(keeps=7), o2=Terms(keeps=7))  # fmt: skip
    assert granted(solve(held, EXACT)) == {"lone": 2, "big": 0, "o1": 7, "o2": 7}


def test_of_alike_jobs_only_those_that_stay_have_their_room_counted_beside_what_is_free() -> None:
    two = [running(job(name, 1, 2, size=4), {f"n-{name}": 1}) for name in ("a", "b")]
    base = snapshot([node("n-a"), node("n-b")], [*two, job("c", 1, 8)])
    found = Round(base, EXACT)
    assert [group.size for group in found.found.groups] == [2, 1]
    columns = found.found.columns
    here = int(np.flatnonzero(columns.current & (columns.group == 0))[0])
    # b leaves its node, which is free then.
    left = {JobKey("ns", "a"): here, JobKey("ns", "b"): -1, JobKey("ns", "c"): -1}
    rows = limits(base, stood(found.found, found.ground, left), found.ground.cells)
    one_stays = np.zeros(len(columns))
    one_stays[here] = 1
    used = np.bincount(rows.row, rows.entry * one_stays[rows.column], minlength=len(rows))
    assert dict(zip(rows.names, rows.right - used, strict=True)) == {"capacity/h100/1": 12.0}


def test_room_that_comes_free_only_by_two_together_is_found() -> None:
    jobs = [running(job("a", 4, 4), {"n": 4}), running(job("b", 4, 4), {"n": 4}), job("urgent", 1, 1, 8, priority=1)]
    assert granted(solve(snapshot([node("n")], jobs), EXACT)) == {"a": 0, "b": 0, "urgent": 1}


def test_a_large_program_finds_it_for_a_higher_class() -> None:
    nodes = [node(f"n{at:03}") for at in range(70)]
    small = [
        running(job(f"j{at:03}", 1, 16, queue_name=f"q{at}"), {f"n{at // 8:03}": 1}, age=50_000.0 + at)
        for at in range(560)
    ]
    plan = solve(snapshot(nodes, [*small, job("urgent", 1, 1, 8, priority=1)]), replace(EXACT, solver=SolverLimits()))
    assert granted(plan)["urgent"] == 1


def test_who_would_move_and_finds_no_room_there_keeps_the_place_it_had() -> None:
    old = running(job("old", 1, 1, 4), {"h": 1})
    nodes = [node("h", 4), node("a1", 2, "a100"), node("a2", 2, "a100")]
    round_ = Round(under(snapshot(nodes, [old, job("new", 1, 1, 4)]), old=Terms(keeps=1)), EXACT)
    found = round_.found
    names = [flavor.name for flavor in round_.snapshot.flavors]
    option = {
        (found.groups[group].like.key.name, names[flavor]): at
        for at, (group, flavor) in enumerate(zip(found.columns.group, found.columns.flavor, strict=True))
    }
    problem, _ = staged(found, round_.limits, round_.solvers, 0.0)
    x = np.zeros(len(found.columns))
    x[[option["old", "a100"], option["new", "h100"]]] = 1
    best = Shared(x, 0.0, 0.0, np.zeros(len(problem.rows)), np.flatnonzero(x))
    without = Solvers(SolverLimits(methods=()))
    assignment = repaired(Repair(round_.snapshot, round_.ground, problem), x, without, best, 0.0)
    assert assignment.columns == {JobKey("ns", "old"): option["old", "h100"], JobKey("ns", "new"): -1}
    assert assignment.unplaced == (JobKey("ns", "new"),)


def test_the_bound_keeps_what_stages_reached_also_of_a_program_with_more_rows() -> None:
    ragged = instance(SIZES[0], 35, running=True)
    queues = tuple(
        replace(one, quotas=tuple(replace(share, lending_limit=share.nominal // 2) for share in one.quotas))
        for one in ragged.queues
    )
    round_ = Round(replace(ragged, queues=queues), EXACT)
    attempt = round_.counted_from(round_.attempted(round_.found, round_.limits, Effort(0.001, {}, rough=True)))
    assert attempt.limits > len(round_.limits)
    found, rows = round_.loose
    unstaged = attempt.problem.on(found, rows, attempt.limits).unstaged(len(rows))
    anything = priced(unstaged, attempt.assignment.x, round_.solvers, Target(0.001, 0.0)).bound
    assert attempt.value <= round_.bound(attempt) < anything - 0.1


@pytest.fixture(scope="module")
def carried_out() -> Snapshot:
    """A large cluster a minute after its plan was carried out."""
    before = instance(SIZES[1], 0, running=False)
    return next_round(before, solve(before, Policy()), 0)


def test_in_a_steady_cluster_the_first_try_is_enough_and_moves_nobody(carried_out: Snapshot) -> None:
    round_ = Round(carried_out, Policy())
    first = round_.attempted(round_.found, round_.limits, Effort(0.001, carried_out.prices, rough=True))
    plan = round_.plan()
    # Nothing was counted anew from where it leaves pods.
    assert not round_._counted
    assert plan.objective == pytest.approx(first.best.value - admission_constant(first.problem))
    assert plan.status is Status.OPTIMAL
    assert plan.gap < 0.001
    had = {job.key: job.admission for job in carried_out.jobs if job.admission is not None}
    given = {one.key: one for one in plan.allocations}
    assert all((had[key].flavor, had[key].replicas) == (given[key].flavor, given[key].replicas) for key in had)


def test_prices_of_a_plan_prove_much_of_all_places_also_where_most_keep_theirs(carried_out: Snapshot) -> None:
    round_ = Round(carried_out, Policy())
    first = round_.attempted(round_.found, round_.limits, Effort(0.001, {}, rough=True))
    kept = round_.counted_from(first)
    proved = round_.bound(first)
    assert proved < first.value * 1.001
    # Of those that keep their places the prices alone prove little; next to others that is no loss.
    assert round_.bound(kept) > proved
    assert round_.priced_by(kept, [first, kept]) is first
    # From these the next round starts.
    told = {price.row: price.price for price in round_.plan_of(kept, proved, None, first).row_prices}
    assert told == {name: price for name, price in first.prices.items() if price > 1e-12}


def test_a_bound_is_no_weaker_than_what_the_prices_of_any_attempt_prove() -> None:
    round_ = Round(instance(SIZES[1], 3, running=True), Policy())
    plan = round_.plan()
    first = round_.attempted(round_.found, round_.limits, Effort(0.001, {}, rough=True))
    second = round_.counted_from(first, rough=True)
    tried = (first, second, round_.counted_from(second))
    anywhere = tried[-1].problem.on(*round_.loose, tried[-1].limits)
    proved = min(anywhere.bound(np.array([one.prices.get(name, 0.0) for name in anywhere.rows.names])) for one in tried)
    assert plan.bound + admission_constant(tried[-1].problem) <= proved + 1e-9


class _CutShort(Solvers):
    def relax(self, problem: Problem, chosen: Ints, cost: Floats) -> Found | None:
        found = super().relax(problem, chosen, cost)
        return replace(found, x=np.zeros(len(cost)), optimal=False) if found else None


def test_a_relaxation_that_time_cut_short_is_not_rounded() -> None:
    round_ = Round(instance(SIZES[1], 0, running=False), Policy())
    problem, start = staged(round_.found, round_.limits, round_.solvers, 0.001)
    relaxed = priced(problem, start, _CutShort(SolverLimits()), Target(0.001, 0.0))
    assert relaxed.x is None
    assert relaxed.bound >= problem.value @ start


def test_what_time_cuts_short_does_not_count() -> None:
    ragged = instance(SIZES[1], 0, running=True)
    round_ = Round(ragged, Policy())
    first = round_.attempted(round_.found, round_.limits, Effort(0.001, {}, rough=True))
    late = Round(ragged, Policy())
    late.solvers.started -= Policy().solver.time_limit_seconds
    assert late.solvers.left <= 0
    done = list(late.from_here(first))
    # Only that: what is begun without time has no relaxation to go by.
    assert [one.value >= first.value for one in done] == [True]
    assert done[0].assignment.resolved


def test_what_time_cuts_short_on_its_way_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    ragged = instance(SIZES[1], 0, running=True)
    late = Round(ragged, Policy())
    first = late.attempted(late.found, late.limits, Effort(0.001, {}, rough=True))
    counted_from = late.counted_from

    def slow(done: Attempt, rough: bool) -> Attempt:
        late.solvers.started -= Policy().solver.time_limit_seconds
        return counted_from(done, rough)

    monkeypatch.setattr(late, "counted_from", slow)
    assert [one.value >= first.value for one in late.from_here(first)] == [True]


@pytest.mark.parametrize(
    ("jobs", "content"),
    [
        ([running(job("a", 4, 4), {"n": 4}), job("b", 1, 4)], True),
        ([running(job("a", 8, 8), {"n": 8}), job("b", 1, 4)], False),
        ([running(job("a", 2, 8), {"n": 6, "gone": 2}), running(job("b", 2, 2), {"n": 2})], False),
    ],
    ids=["all run", "one waits", "one loses what it was promised"],
)
def test_a_first_try_is_enough_where_nobody_waits_and_every_promise_is_kept(jobs: list[Job], content: bool) -> None:
    promises = {one.key.name: Terms(keeps=len(one.pods)) for one in jobs}
    round_ = Round(under(snapshot([node("n", 8)], jobs), **promises), EXACT)
    assert round_.attempted(round_.found, round_.limits, Effort(0.0, {})).contents_all is content


def test_a_rounded_relaxation_is_mended_by_a_small_integer_program() -> None:
    round_ = Round(instance(SIZES[1], 0, running=False), Policy())
    problem, start = staged(round_.found, round_.limits, round_.solvers, 0.001)
    rough = Target(1e-4, admission_constant(problem), rough=True)
    relaxed = priced(problem, start, round_.solvers, rough)
    assert relaxed.x is not None
    near = rounded(problem, relaxed.x)
    better = mended(problem, near, relaxed, round_.solvers, rough)
    assert problem.keeps_to(better)
    assert problem.value @ better > problem.value @ near


@pytest.mark.parametrize("seed", range(12))
def test_no_minimum_is_lost_that_staying_would_keep(seed: int) -> None:
    ragged = instance(SIZES[0], seed, running=True)
    for policy in (EXACT, replace(EXACT, solver=SolverLimits(gap=0.0, methods=("greedy",)))):
        plan = solve(ragged, policy)
        assert plan.status is not Status.KEPT
        assert plan.short == ()


QUEUES = (
    Queue("q", "c", quotas=(Quota("*", 4, borrowing_limit=1),)),
    Queue("r", "c", quotas=(Quota("*", 4, lending_limit=0),)),
)


def checked() -> Snapshot:
    jobs = [
        running(job("a", 2, 6, queue_name="q"), {"n": 4}),
        job("b", 1, 8, queue_name="q"),
        job("c", 1, 8, queue_name="r"),
        job("d", 1, 8, 2),
    ]
    return snapshot([node("n", 8), node("m", 8, flavor="a100")], jobs, queues=QUEUES)


@pytest.mark.parametrize(
    ("allocations", "terms", "said"),
    [
        (asked(a=4, c=4), Terms(), ""),
        (asked(a=1), Terms(), "none of its steps"),
        (asked(a=5), Terms(grows=False), "must not grow"),
        (asked("a100", a=4), Terms(moves=False), "must not move"),
        (asked(a=4), Terms(barred=frozenset({"h100"})), "barred"),
        (asked(a=4), Terms(candidate=False), "no candidate"),
        (asked(a=5), Terms(pinned=True), "pinned to 4"),
        (asked(a=4), Terms(pinned=True), ""),
        (asked("tpu", a=4), Terms(), "does not accept"),
        (asked(d=5), Terms(), "10 nvidia.com/gpu granted on nodes that have 8"),
        (asked(a=4, d=3), Terms(pinned=True), "granted on nodes"),
        (asked(b=6), Terms(), "quota/q/h100"),
        (asked(b=5), Terms(), "cohort/c/h100"),
        (asked(a=4, b=2), Terms(), "quota/q/h100"),
        ([*asked(a=2), *asked(a=2)], Terms(), "allocated twice"),
        (asked(stranger=2), Terms(), "no such job"),
    ],
)
def test_every_broken_rule_is_named(allocations: list[Allocation], terms: Terms, said: str) -> None:
    found = violations(under(checked(), a=terms), allocations)
    assert (found == []) if not said else any(said in sentence for sentence in found), found


def test_ceilings_and_nominal_quota_are_checked_up_to_what_was_promised() -> None:
    base = replace(checked(), ceilings=(Ceiling("q", "h100", 3),))
    assert any("ceiling/q/h100" in sentence for sentence in violations(base, asked(a=4)))
    assert violations(under(base, a=Terms(keeps=4)), asked(a=4)) == []
    strict = replace(
        checked(), queues=(Queue("q", "c", quotas=(Quota("*", 1),)), Queue("r", "c", quotas=(Quota("*", 7),)))
    )
    assert violations(strict, asked(a=4)) == []
    assert any(
        "may not borrow" in sentence for sentence in violations(under(strict, a=Terms(borrows=False)), asked(a=4))
    )


def test_a_pod_that_fits_nowhere_else_has_room_made_for_it() -> None:
    # "wide" goes first, to the node that it fills; "hungry" needs that node's memory, so "wide" has to go elsewhere.
    nodes = [node("n1", 3, allocatable={"memory": 100}), node("n2", 4, allocatable={"memory": 10})]
    jobs = [job("wide", 1, 1, 3, requests={"memory": 1}), job("hungry", 1, 1, 2, requests={"memory": 90})]
    assert place(snapshot(nodes, jobs), asked(wide=1, hungry=1)).placed == {
        JobKey("ns", "wide"): {"n2": 1},
        JobKey("ns", "hungry"): {"n1": 1},
    }
    small = [nodes[0], node("n2", 2, allocatable={"memory": 10})]
    stuck = place(snapshot(small, jobs), asked(wide=1, hungry=1))
    assert stuck.unplaced == {JobKey("ns", "hungry"): 1}
    assert stuck.placed[JobKey("ns", "wide")] == {"n1": 1}
    nobody = replace(job("else", flavors=()), steps=(1,))
    assert place(snapshot(nodes, [nobody]), asked(**{"else": 1})).unplaced == {JobKey("ns", "else"): 1}
