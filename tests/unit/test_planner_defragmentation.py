"""Running jobs that move so that a gang gets in: when, who, and at which cost."""

from dataclasses import replace
from random import Random

import pytest

from apportion.kube.memory import read_memory, status_of
from apportion.kube.policies import policy_of
from apportion.model.curves import Points
from apportion.model.jobs import Displaced, Memory
from apportion.model.plan import NOTHING, Grant, Status
from apportion.model.policy import (
    Aim,
    ChurnBudget,
    Defragmentation,
    Mode,
    Objective,
    Policy,
    QueueChurn,
    Stability,
)
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from apportion.planner.clearing import LEAST_OF_THEM, MOST_ALL, MOST_SETS, Leave, Search
from apportion.simulator import Arrival, Course, Rules, Scheduler, least_allocated, play
from builders import A100, GPU, H100, NOW, job, node, nodes, queue, quota, running, snapshot
from unit.defragmentation_world import OFF, ON, after, half, halves, movers, said

# --- the way ----------------------------------------------------------------------------------------------------------


def test_nobody_moves_unless_the_policy_says_so() -> None:
    decision = decide(halves(), OFF)
    assert decision.resizes == ()
    assert decision.plan.clearing is None
    assert "8 are free, but not whole" in said(decision, "gang").message


def test_shrink_place_regrow() -> None:
    """The cheaper of the two leaves, the gang gets the node, and who left gets the room beside the other."""
    world = halves()
    first = decide(world, ON)
    assert [(one.key.name, one.kind, one.wave) for one in first.resizes] == [
        ("cheap", "Evict", 0),
        ("gang", "Admit", 1),
    ]
    assert first.plan.clearing is not None
    assert first.plan.clearing.cost == 30 * 4

    second = decide(world := after(world, first), ON)
    assert (said(second, "gang").granted, said(second, "cheap").granted) == (Grant("h100", 1), NOTHING)

    third = decide(world := after(world, second), ON)
    assert said(third, "cheap").granted == Grant("h100", 1)

    last = decide(after(world, third), ON)
    assert last.resizes == ()
    assert all(outcome.memory.displaced is None for outcome in last.outcomes)
    assert said(last, "cheap").memory.restarts == 1


def test_everybody_is_told_in_plain_words() -> None:
    decision = decide(halves(), ON)
    cheap, gang = said(decision, "cheap"), said(decision, "gang")
    assert (cheap.reason, cheap.message) == (
        "MovedToMakeRoom",
        "moved to make room for team/gang: has nothing now, and gets 1 on h100 once that one has its place",
    )
    assert cheap.memory.displaced == Displaced("team/gang", "h100", 1, NOW)
    admitted = next(condition for condition in cheap.memory.conditions if condition.type == "Admitted")
    assert (admitted.status, admitted.reason) == (False, "MovedToMakeRoom")
    assert (gang.reason, gang.message) == (
        "WaitingForRoom",
        "gets 1 on h100 once team/cheap made room; the restarts cost 120 accelerator-seconds",
    )


def test_the_gang_and_the_restarts_are_in_the_value_of_the_plan() -> None:
    """U falls from 0 to (0.87^-0.5 - 1) / -0.5 where 1 - 30/1800 and the margin of a tenth are left of the rate."""
    without, plan = decide(halves(), OFF).plan, decide(halves(), ON).plan
    rate = (1 - 30 / 1800) * 0.9
    waited = 2 * 0.2 / 3
    assert plan.objective - without.objective == pytest.approx(waited + (rate**-0.5 - 1) / -0.5 / 3)
    assert plan.objective <= plan.bound
    assert (plan.status, plan.gap_staying) == (Status.OPTIMAL, 0.0)
    assert ("gang", "h100", 1) in {(one.key.name, one.flavor, one.replicas) for one in plan.allocations}


def test_a_plan_with_moves_is_called_optimal_only_if_it_is() -> None:
    """Under MinCost the gang is money that no plan of the program spends."""
    priced = replace(H100, price_per_hour=1.0)
    policy = replace(ON, objective=Objective(name=Aim.MIN_COST))
    plan = decide(halves(flavors=(priced,)), policy).plan
    assert movers(decide(halves(flavors=(priced,)), policy))
    assert plan.gap_staying > policy.solver.gap
    assert plan.status is Status.FEASIBLE


def spread(**fields: object) -> Snapshot:
    """The gang can only be where two pods of four are; an ordinary shrink takes those that are alone on their nodes."""
    where = {"h100-0": 1, "h100-1": 2, "h100-2": 1}
    wide = running(job("wide", 1, 4, 2, **{"restart_seconds": 60.0, **fields}), where)
    held = {"h100-0": 2, "h100-2": 6}
    on = tuple(replace(one, foreign={GPU: held.get(one.name, 0), "pods": 1}) for one in nodes(3))
    return snapshot(wide, job("gang", 1, 1, 8, **fields), on=on)


def test_who_can_go_on_with_fewer_does_and_exactly_the_pods_in_the_way_leave() -> None:
    world = spread()
    decision = decide(world, ON)
    shrink = next(one for one in decision.resizes if one.key.name == "wide")
    assert (shrink.target.replicas, shrink.leaving) == (2, ("wide-h100-1-0", "wide-h100-1-1"))
    assert said(decision, "wide").message == (
        "moved to make room for team/gang: has 2 on h100, and gets 4 on h100 once that one has its place"
    )

    for _ in range(3):
        world = after(world, decision)
        decision = decide(world, ON)
    assert {one.key.name: len(one.pods) for one in world.jobs} == {"gang": 1, "wide": 4}
    assert decision.resizes == ()


def test_what_a_job_gets_again_need_not_earn_its_restart_once_more() -> None:
    """By its curve nobody would restart it for the other two replicas if it did not have them already."""
    world = spread(curve=Points(((1, 1.0), (2, 2.0), (4, 2.1))))
    assert movers(decide(world, ON)) == ["wide"]
    for _ in range(3):
        world = after(world, decide(world, ON))
    assert {one.key.name: len(one.pods) for one in world.jobs} == {"gang": 1, "wide": 4}


def test_moves_after_which_somebody_would_have_less_are_not_made() -> None:
    """Once `wide` has fewer, it costs nothing to leave the rest to `other`, which waits for the quota of both: it would
    not come back to all that it had."""
    jobs = {one.key.name: one for one in spread(queue_name="team", restart_seconds=400.0).jobs}
    gang, wide = replace(jobs["gang"], queue_name="gangs"), jobs["wide"]
    wide = replace(wide, steps=(1, 2, 3), pods=wide.pods[:3])
    wide = replace(wide, memory=replace(wide.memory, admission=replace(wide.memory.admission, replicas=3)))
    other = running(job("other", 1, 2, 2, queue_name="team"), {"h100-0": 1})
    queues = (queue("gangs", quota(8)), queue("team", quota(8)))
    alone = decide(snapshot(gang, wide, on=nodes(2), queues=queues), ON)
    assert len(alone.plan.allocations) == 2
    decision = decide(snapshot(gang, wide, other, on=nodes(2), queues=queues), ON)
    assert decision.resizes == ()
    assert said(decision, "gang").reason == "NoCapacity"


def test_a_job_moves_to_make_room_for_the_one_that_makes_room() -> None:
    """The gang can only be on the large node; who is there fits nowhere before another one has moved."""
    big = running(job("big", 1, 1, 4, restart_seconds=60.0), {"a": 1})
    small = running(job("small", 1, 1, 2, restart_seconds=60.0), {"b": 1})
    firm = running(job("firm", 1, 1, 2, preemptible=False), {"c": 1})
    world = snapshot(big, small, firm, job("gang", 1, 1, 8), on=(node("a", 8), node("b", 4), node("c", 4)))
    decision = decide(world, replace(ON, objective=Objective(admission_worth=10.0)))
    assert sorted(movers(decision)) == ["big", "small"]


# --- who may be moved -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"held": True},
        {"preemptible": False},
        {"min_runtime_seconds": 1e9, "steps": (1, 2)},
    ],
)
def test_who_must_not_be_taken_from_is_not_moved(fields: dict[str, object]) -> None:
    """Else the dearer one is, and where that is out of the question as well, nobody."""
    if "steps" in fields:
        wide = running(
            job("wide", 1, 2, 2, restart_seconds=30.0, min_runtime_seconds=1e9), {"h100-0": 2}, since=NOW - 60
        )
        world = snapshot(wide, half("dear", "h100-1"), job("gang", 1, 1, 8), on=nodes(2))
    else:
        world = halves(half("cheap", "h100-0", restart_seconds=30.0, **fields))
    assert movers(decide(world, ON)) == ["dear"]
    dear = half("dear", "h100-1", preemptible=False)
    jobs = tuple(dear if one.key == dear.key else one for one in world.jobs)
    assert decide(replace(world, jobs=jobs), ON).resizes == ()


def test_who_is_not_ready_is_not_moved() -> None:
    """Another pod than the chosen one might leave."""
    cheap = half("cheap", "h100-0", restart_seconds=30.0)
    cheap = replace(cheap, pods=tuple(replace(pod, ready=False) for pod in cheap.pods))
    assert movers(decide(halves(cheap), ON)) == ["dear"]


def test_nobody_moves_for_a_lower_class_of_the_same_queue() -> None:
    team = queue("team", quota(16))
    cheap = half("cheap", "h100-0", restart_seconds=30.0, priority=5, queue_name="team")
    dear = half("dear", "h100-1", queue_name="team")
    world = halves(cheap, dear, gang=job("gang", 1, 1, 8, queue_name="team"), queues=(team,))
    assert movers(decide(world, ON)) == ["dear"]


def test_a_gang_beyond_its_quota_moves_nobody() -> None:
    team, other = queue("team", quota(15)), queue("other", quota(16))
    jobs = [half(name, on, queue_name="team") for name, on in (("cheap", "h100-0"), ("dear", "h100-1"))]
    world = halves(*jobs, gang=job("gang", 1, 1, 8, queue_name="team"), queues=(other, team))
    assert decide(world, ON).resizes == ()
    assert movers(decide(replace(world, queues=(other, queue("team", quota(16)))), ON)) == ["cheap"]


def test_a_gang_that_does_not_fit_by_count_moves_nobody() -> None:
    full = half("full", "h100-0", per_replica=1, requests={GPU: 1, "pods": 1})
    assert decide(halves(full), ON).resizes == ()


# --- what it must be worth --------------------------------------------------------------------------------------------


def test_restarts_that_cost_more_than_the_gang_gains_are_not_made() -> None:
    """A restart of twenty minutes in a hold of thirty; under every aim it is weighed in the same way."""
    slow = [half("cheap", "h100-0", restart_seconds=1200.0), half("dear", "h100-1", restart_seconds=1200.0)]
    for aim in Aim:
        policy = replace(ON, objective=Objective(name=aim))
        assert decide(halves(*slow), policy).resizes == (), aim
        assert movers(decide(halves(), policy)) == ["cheap"], aim


def test_the_churn_budget_has_room_for_all_restarts_of_a_move() -> None:
    def under(seconds: float) -> Policy:
        return replace(ON, stability=Stability(churn=ChurnBudget(seconds)))

    assert movers(decide(halves(), under(30.0))) == ["cheap"]
    assert decide(halves(), under(29.0)).resizes == ()
    assert movers(decide(spread(), under(120.0))) == ["wide"], (
        "one restart when it shrinks, another when it grows again"
    )
    assert decide(spread(), under(119.0)).plan.clearing is None


def test_the_regrowth_is_not_held_back_by_a_budget_that_paid_for_it() -> None:
    team = queue("team", quota(16))
    policy = replace(ON, stability=Stability(churn=ChurnBudget(queues=(QueueChurn("*", 120.0),))))
    world = replace(spread(queue_name="team"), queues=(team,))
    for _ in range(3):
        world = after(world, decide(world, policy))
    assert {one.key.name: len(one.pods) for one in world.jobs} == {"gang": 1, "wide": 4}


def test_modes_that_change_nothing_move_nobody() -> None:
    observed = decide(halves(), replace(ON, mode=Mode.OBSERVE))
    assert movers(observed) == ["cheap"], "it is planned"
    assert said(observed, "cheap").memory.displaced is None
    assert all(outcome.granted == outcome.current for outcome in observed.outcomes)
    assert decide(halves(), replace(ON, mode=Mode.FREEZE)).plan.clearing is None


def test_while_anything_else_changes_on_the_flavor_nobody_moves() -> None:
    """A job that could grow does so first; the gang is looked at when it has."""
    grows = running(job("grows", 1, 2, 1), {"h100-2": 1})
    firm = half("firm", "h100-2", preemptible=False)
    world = halves(grows, firm, on=nodes(3))
    first = decide(world, ON)
    assert [(one.key.name, one.kind) for one in first.resizes] == [("grows", "Grow")]
    assert "cheap" in movers(decide(after(world, first), ON))


# --- large clusters ---------------------------------------------------------------------------------------------------


def test_a_gang_of_many_nodes_among_many_small_jobs_is_cleared_greedily() -> None:
    """More sets are cheaper than can be looked at: of 24 half-held nodes six are cleared, those that cost least."""
    many = [half(f"j{at:02}", f"h100-{at}", restart_seconds=60.0 - (at % 4) / 10) for at in range(24)]
    assert len(many) > MOST_ALL
    assert 2 ** len(many) > MOST_SETS
    world = snapshot(*many, job("gang", 6, 6, 8), on=nodes(24))
    decision = decide(world, replace(ON, objective=Objective(admission_worth=100.0)))
    assert decision.plan.clearing is not None
    assert decision.plan.clearing.cost == pytest.approx(6 * 4 * 59.7)


def test_the_greedy_choice_gives_back_what_it_turns_out_not_to_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheapest place of the gang is on one node, the two others are on one where three come free."""
    monkeypatch.setattr("apportion.planner.clearing.MOST_SETS", 0)
    one = running(job("one", 1, 1, 2, restart_seconds=30.0), {"a": 1})
    three = running(job("three", 5, 5, 2, restart_seconds=20.0), {"b": 5})
    small = tuple(node(f"small-{at}", 2) for at in range(6))
    world = snapshot(one, three, job("gang", 3, 3, 4), on=(node("a", 4), node("b", 12), *small), flavors=(H100,))
    assert movers(decide(world, replace(ON, objective=Objective(admission_worth=100.0)))) == ["three"]


def test_flavors_do_not_mix() -> None:
    """Room on another flavor is none for the moved job's count there."""
    world = halves(on=(*nodes(2), *nodes(1, 8, "a100")), flavors=(A100, H100), gang=job("gang", 1, 1, 16))
    assert decide(world, ON).plan.clearing is None


# --- the simulator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "runs"), [(OFF, 0), (ON, 1)])
def test_a_gang_gets_in_with_it_and_does_not_without(policy: Policy, runs: int) -> None:
    """Two halves that were spread, an hour before the gang comes; what runs is not lost."""
    stays = [Arrival(0.0, job(name, 1, 1, 4, restart_seconds=60.0), 1e9, job(name).curve) for name in ("one", "two")]
    gang = Arrival(3600.0, job("gang", 1, 1, 8, restart_seconds=60.0), 1e9, job("gang").curve)
    start = snapshot(on=nodes(2), now=0.0, round=0)
    last = list(
        play(start, [*stays, gang], Rules(policy), Scheduler(least_allocated, Random(1)), Course(until=4200.0))
    )[-1]
    assert {one.key.name: len(one.pods) for one in last.world.snapshot.jobs} == {"gang": runs, "one": 1, "two": 1}
    assert last.world.account.restarts == runs


# --- the wire ---------------------------------------------------------------------------------------------------------


def test_the_policy_says_so_and_is_silent_by_default() -> None:
    def said_by(spec: dict[str, object]) -> Defragmentation:
        return policy_of({"metadata": {"name": "default"}, "spec": spec}).defragmentation

    assert said_by({}) is Defragmentation.DISABLED
    assert said_by({"defragmentation": "Enabled"}) is Defragmentation.ENABLED


def test_the_status_remembers_who_made_room_for_whom() -> None:
    memory = Memory(displaced=Displaced("team/gang", "h100", 3, NOW))
    status = status_of(memory, 1)
    assert read_memory({"status": status}).displaced == memory.displaced
    assert "displaced" not in status_of(Memory(), 1)
    for forged in ("x", {"by": "team/gang"}, {**status["displaced"], "replicas": -1}, {**status["displaced"], "by": 7}):
        assert read_memory({"status": {"displaced": forged}}).displaced is None


def test_gangs_of_one_shape_are_searched_for_once_and_all_shapes_share_the_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No move helps: five eighths of a node are held, three are free everywhere."""
    seen: list[Search] = []
    cheapest = Search.cheapest

    def counted(search: Search) -> tuple[Leave, ...] | None:
        seen.append(search)
        return cheapest(search)

    monkeypatch.setattr(Search, "cheapest", counted)
    there = [running(job(f"r{at}", 1, 1, 5), {f"h100-{at}": 1}) for at in range(8)]
    gangs = [job(f"g{at}", 1 + at % 2, 1 + at % 2, 8) for at in range(20)]
    decision = decide(snapshot(*there, *gangs, on=nodes(8)), ON)
    assert decision.plan.clearing is None
    assert sorted((search.count, search.among) for search in seen) == [(1, 2), (2, 2)]
    alone, crowded = (replace(seen[0], among=among, tried=0) for among in (1, 10_000))
    assert cheapest(alone) is cheapest(crowded) is None
    assert alone.tried > LEAST_OF_THEM >= crowded.tried
