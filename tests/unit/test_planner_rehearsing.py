"""Nobody is moved for another job that could not come in after it."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf

import pytest

from apportion.model.jobs import FlavorChoice, JobKey
from apportion.model.plan import Allocation, Grant, Plan, Status
from apportion.model.policy import Aim, Objective, Policy
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from apportion.planner.decide import wanted
from apportion.planner.rehearsing import carried_out, moves_in_vain
from apportion.planner.searching import Solve
from apportion.planner.whatif import Interval, difference
from builders import A100, H100, job, node, nodes, running, snapshot

TWOS, FOURS, EIGHT = (JobKey("team", name) for name in ("twos", "fours", "eight"))
PRICED = (replace(A100, speed=1.0, price_per_hour=2.0), replace(H100, price_per_hour=4.0))


def halves(*more: int, least: int = 4) -> Snapshot:
    """Half of each h100 node is free, and no whole one: an 8 waits. The twos could go there, and make room on the a100s
    for the fours; but then they would sit on both nodes themselves. more: further h100 nodes; least: of the twos."""
    fours = running(job("fours", 2, 2, 4), {"h100-0": 1, "h100-1": 1})
    twos = running(job("twos", least, 4, 2), {"a100-0": 3, "a100-1": 1}, "a100")
    on = (*nodes(2), *(node(f"h100-{2 + at}", size) for at, size in enumerate(more)))
    a100 = (node("a100-0", flavor="a100"), node("a100-1", 4, flavor="a100"))
    only_h100 = (FlavorChoice("h100"),)
    return snapshot(fours, twos, job("eight", 1, 1, 8, flavors=only_h100), on=(*on, *a100), flavors=PRICED)


def planned(world: Snapshot, **targets: Grant) -> tuple[Mapping[JobKey, Grant], Mapping[JobKey, Grant]]:
    """What everybody has, and what it should have: as it is, unless it is named."""
    has = {
        one.key: Grant(one.admission.flavor, one.admission.replicas) if one.admission else Grant() for one in world.jobs
    }
    return has, {key: targets.get(key.name, grant) for key, grant in has.items()}


def unreached(world: Snapshot, before: Mapping[JobKey, Grant], targets: Mapping[JobKey, Grant]) -> set[JobKey]:
    granted = carried_out(world, before, targets)[1]
    return {key for key, target in targets.items() if granted[key] != target}


ALL = {"twos": Grant("h100", 4), "fours": Grant("a100", 2), "eight": Grant("h100", 1)}


def test_moves_that_take_the_places_they_were_to_free_are_in_vain() -> None:
    world = halves()
    before, targets = planned(world, **ALL)
    assert unreached(world, before, targets) == {EIGHT}
    assert moves_in_vain(world, before, targets) == {TWOS, FOURS}


def test_who_becomes_faster_by_its_move_has_that_in_any_case() -> None:
    world = replace(halves(), flavors=(A100, H100))
    assert moves_in_vain(world, *planned(world, **ALL)) == {FOURS}


def test_moves_after_which_somebody_can_make_the_room_are_not() -> None:
    """Two of the twos may leave again, and one node is whole then."""
    world = halves(least=2)
    before, targets = planned(world, **ALL)
    assert unreached(world, before, targets) == {EIGHT}
    assert moves_in_vain(world, before, targets) == frozenset()


def test_a_growth_that_does_not_come_keeps_nobody_from_moving() -> None:
    world = halves()
    grows = running(job("grows", 1, 2, 8), {"h100-2": 1})
    others = (one for one in world.jobs if one.key != EIGHT)
    world = replace(world, jobs=(*others, grows), nodes=(*world.nodes, node("h100-2")))
    before, targets = planned(world, twos=ALL["twos"], fours=ALL["fours"], grows=Grant("h100", 2))
    assert unreached(world, before, targets) == {grows.key}
    assert moves_in_vain(world, before, targets) == frozenset()


def test_a_move_that_waits_itself_is_no_admission_that_fails() -> None:
    moves, stays = running(job("moves", 8, 8), {"h100-0": 8}), running(job("stays", 8, 8), {"a100-0": 8}, "a100")
    world = snapshot(moves, stays, on=(node("h100-0"), node("a100-0", flavor="a100")), flavors=PRICED)
    before, targets = planned(world, moves=Grant("a100", 8))
    assert unreached(world, before, targets) == {moves.key}
    assert moves_in_vain(world, before, targets) == frozenset()


def test_moves_that_go_elsewhere_are_not() -> None:
    """With a third node the twos leave the fours' places alone."""
    world = halves(8)
    before, targets = planned(world, **ALL)
    assert unreached(world, before, targets) == set()
    assert moves_in_vain(world, before, targets) == frozenset()


def test_only_moves_to_or_from_the_flavor_where_somebody_falls_short_are_in_vain() -> None:
    world = halves()
    other = running(job("other", 1, 1), {"l4-0": 1}, "l4")
    flavors = (*PRICED, replace(A100, name="l4"), replace(A100, name="l40"))
    on = (*world.nodes, node("l4-0", flavor="l4"), node("l40-0", flavor="l40"))
    world = replace(world, jobs=(*world.jobs, other), flavors=flavors, nodes=on)
    before, targets = planned(world, **ALL, other=Grant("l40", 1))
    assert moves_in_vain(world, before, targets) == {TWOS, FOURS}


def test_who_falls_short_where_nobody_moves_keeps_nobody_from_moving() -> None:
    """The 8 has no room at all; the one that moves is not on its flavor."""
    waits = job("eight", 1, 1, 8)
    moves = running(job("moves", 1, 1), {"a100-0": 1}, "a100")
    flavors = (*PRICED, replace(A100, name="l4"))
    on = (node("h100-0", 4), node("a100-0", flavor="a100"), node("l4-0", flavor="l4"))
    world = snapshot(waits, moves, on=on, flavors=flavors)
    before, targets = planned(world, eight=Grant("h100", 1), moves=Grant("l4", 1))
    assert unreached(world, before, targets) == {EIGHT}
    assert moves_in_vain(world, before, targets) == frozenset()


def test_a_wave_follows_when_the_one_before_it_is_bound_and_what_leaves_is_gone() -> None:
    """One ends, the second moves into its room, the third grows into that of the second."""
    ends = running(job("ends", 1, 8), {"a100-0": 8}, "a100")
    moves = running(job("moves", 8, 8), {"h100-0": 8})
    grows = running(job("grows", 8, 16), {"h100-1": 8})
    world = snapshot(ends, moves, grows, on=(*nodes(2), node("a100-0", flavor="a100")))
    before, targets = planned(world, ends=Grant(), moves=Grant("a100", 8), grows=Grant("h100", 16))
    assert unreached(world, before, targets) == set()
    before, targets = planned(world, ends=Grant("a100", 1), moves=Grant("a100", 8), grows=Grant("h100", 16))
    assert {key.name for key in unreached(world, before, targets)} == {"moves", "grows"}


def test_pods_that_leave_are_gone_and_those_on_their_way_are_bound_before_anything_else() -> None:
    """The first node is about to be free, and the pod that was granted goes to the second."""
    left = running(job("left", 1, 8), {"h100-0": 8})
    left = replace(left, pods=tuple(replace(pod, terminating=True) for pod in left.pods))
    left = replace(left, memory=replace(left.memory, admission=None))
    granted = running(job("granted", 1, 1), {"h100-1": 1})
    granted = replace(granted, pods=(replace(granted.pods[0], node=None),))
    world = snapshot(left, granted, job("eight", 1, 1, 8), on=(node("h100-0"), node("h100-1", 1)))
    assert unreached(world, *planned(world, eight=Grant("h100", 1))) == set()


def test_the_pods_that_a_shrink_names_leave() -> None:
    shrinks = running(job("shrinks", 1, 8), {"h100-0": 3, "h100-1": 5})
    world = snapshot(shrinks, job("eight", 1, 1, 8), on=nodes(2))
    assert unreached(world, *planned(world, shrinks=Grant("h100", 5), eight=Grant("h100", 1))) == set()


def test_a_pod_goes_to_the_node_with_the_most_room() -> None:
    """Two nodes for the 8s, of which the fours leave one; the twos would fit beside them, and go to the other."""
    fours = running(job("fours", 1, 1, 4), {"h100-0": 1})
    twos = running(job("twos", 2, 2, 2), {"a100-0": 2}, "a100")
    on = (node("h100-0"), node("h100-1"), node("h100-2", 2), node("h100-3", 2), node("a100-0", 4, flavor="a100"))
    world = snapshot(fours, twos, job("eight", 2, 2, 8, flavors=(FlavorChoice("h100"),)), on=on)
    asked = planned(world, twos=Grant("h100", 2), fours=Grant("a100", 1), eight=Grant("h100", 2))
    assert unreached(world, *asked) == {EIGHT}


def test_who_waits_for_nodes_that_do_not_exist_yet_keeps_nobody_from_moving() -> None:
    world = halves()
    world = replace(world, nodes=(*world.nodes, node("h100-9", exists=False)))
    assert moves_in_vain(world, *planned(world, **ALL)) == frozenset()


@pytest.mark.parametrize("aim", [Aim.PROPORTIONAL_FAIR, Aim.MIN_COST, Aim.MAX_THROUGHPUT])
def test_nobody_is_moved_for_an_admission_that_does_not_come_of_it(aim: Aim) -> None:
    decision = decide(halves(), Policy(objective=Objective(name=aim)))
    eight = next(outcome for outcome in decision.outcomes if outcome.key == EIGHT)
    assert {resize.key.name for resize in decision.resizes if resize.kind == "Move"} == set()
    assert eight.target == Grant()


def swapping(asked: list[int]) -> Solve:
    """A rule that would have two jobs change places, neither of which can go first, as long as it finds two; and a job
    `goes` leave for the flavor l40, if it may."""

    def rule(snapshot: Snapshot, policy: Policy) -> Plan:
        has = {one.key: Grant(one.memory.admission.flavor, 1) for one in snapshot.jobs if one.memory.admission}
        free = [key for key in has if snapshot.terms[key].moves]
        pairs = [[key for key in free if has[key].flavor == flavor] for flavor in ("a100", "h100")]
        asked.append(len(free))
        if all(pairs):
            one, other = (keys[0] for keys in pairs)
            has[one], has[other] = has[other], has[one]
        has.update({key: Grant("l40", 1) for key in free if key.name == "goes"})
        allocations = tuple(Allocation(key, grant.flavor, grant.replicas) for key, grant in has.items())
        return Plan(allocations, 0.0, 0.0, Status.FEASIBLE, "swaps")

    return rule


def test_where_moves_wait_for_each_other_only_those_are_made_that_do_not() -> None:
    """There are ten pairs to swap, and each would cost a plan."""
    flavors = ["h100"] * 10 + ["a100"] * 10
    jobs = [running(job(f"j{at}", 1, 1, 8), {f"{name}-{at % 10}": 1}, name) for at, name in enumerate(flavors)]
    goes = running(job("goes", 1, 1, 8), {"l4-0": 1}, "l4")
    on = [node(f"{name}-0", flavor=name) for name in ("l4", "l40")]
    more = tuple(replace(A100, name=name) for name in ("l4", "l40"))
    world = snapshot(*jobs, goes, on=(*nodes(10), *nodes(10, flavor="a100"), *on), flavors=(A100, H100, *more))
    asked: list[int] = []
    decision = decide(world, Policy(), swapping(asked))
    assert [resize.key.name for resize in decision.resizes] == ["goes"]
    assert asked == [21, 1]


def test_a_round_does_not_go_through_all_moves_that_are_in_vain() -> None:
    """Ten jobs could leave for the flavor where the 8 has no node, one in each plan."""
    asked: list[int] = []

    def rule(snapshot: Snapshot, policy: Policy) -> Plan:
        has = {one.key: Grant(one.memory.admission.flavor, 1) for one in snapshot.jobs if one.memory.admission}
        free = [key for key in has if snapshot.terms[key].moves]
        asked.append(len(free))
        has.update({key: Grant("a100", 1) for key in (*free[:1], EIGHT)})
        allocations = tuple(Allocation(key, grant.flavor, grant.replicas) for key, grant in has.items())
        return Plan(allocations, 0.0, 0.0, Status.FEASIBLE, "leaves")

    jobs = [running(job(f"j{at}", 1, 1), {"h100-0": 1}) for at in range(10)]
    on = (node("h100-0", 10), node("a100-0", 7, flavor="a100"))
    world = snapshot(*jobs, job("eight", 1, 1, 8), on=on, flavors=PRICED)
    assert not [one for one in decide(world, Policy(), rule).resizes if one.kind == "Move"]
    assert asked == [10, 9, 8, 0]


def test_plans_that_were_not_free_to_make_the_same_moves_are_not_compared() -> None:
    jobs = [running(job(f"j{at}", 1, 1, 8), {f"{name}-0": 1}, name) for at, name in enumerate(("h100", "a100"))]
    world = snapshot(*jobs, on=(*nodes(1), *nodes(1, flavor="a100")))
    free = wanted(world, Policy())
    narrow = replace(free, narrowed=wanted(world, Policy(), swapping([])).narrowed)
    assert narrow.narrowed == {one.key for one in jobs}
    assert not free.narrowed
    assert difference(Policy(), free, narrow) == Interval(-inf, inf)
    assert difference(Policy(), narrow, narrow) == difference(Policy(), free, free) != Interval(-inf, inf)
