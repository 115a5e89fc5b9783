"""What may be granted now: only pods that find room in every order."""

from dataclasses import replace
from itertools import permutations

import pytest

from apportion.model import caps
from apportion.model.jobs import Admission, FlavorChoice, Job, JobKey
from apportion.model.plan import Grant, Resize
from apportion.model.policy import Policy
from apportion.model.selection import NodeChoice, Taint, Toleration
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from apportion.planner.entitled import entitled
from apportion.planner.flight import Flight, Kind
from apportion.planner.waves import blocked_moves, in_waves
from builders import GPU, NOW, job, node, nodes, queue, quota, running, snapshot


def waves(world: Snapshot, **targets: int) -> dict[str, Resize]:
    before = {
        one.key: Grant(one.admission.flavor, one.admission.replicas) if one.admission else Grant() for one in world.jobs
    }
    wanted = {one.key: Grant("h100", targets[one.key.name]) if targets[one.key.name] else Grant() for one in world.jobs}
    return {resize.key.name: resize for resize in in_waves(world, before, wanted).resizes}


def wave(world: Snapshot, name: str, **targets: int) -> int:
    return waves(world, **targets)[name].wave


def test_what_fits_is_granted_now() -> None:
    world = snapshot(job("a", 4, 4, 2), on=nodes(1))
    assert wave(world, "a", a=4) == 0


def test_shrinks_come_first_and_a_grow_waits_for_their_room() -> None:
    world = snapshot(running(job("a", 1, 8), {"h100-0": 8}), job("b", 4, 4), on=nodes(1))
    assert wave(world, "a", a=4, b=4) == 0
    assert wave(world, "b", a=4, b=4) == 1


def test_pods_that_may_go_nowhere_are_never_safe() -> None:
    kind = Kind(((GPU, 1),), frozenset())
    assert not Flight({"n": {GPU: 8}}).safe_with(kind, 1)
    assert Flight({"n": {GPU: 8}}).safe_with(Kind(kind.shape, frozenset({"n"})), 8)


def test_terminating_pods_still_hold_their_room() -> None:
    leaving = running(job("a", 1, 8), {"h100-0": 8})
    leaving = replace(leaving, pods=tuple(replace(pod, terminating=True) for pod in leaving.pods))
    leaving = replace(leaving, memory=replace(leaving.memory, admission=None))
    world = snapshot(leaving, job("b", 1, 1), on=nodes(1))
    assert wave(world, "b", a=0, b=1) == 1


def test_granted_pods_that_are_not_bound_keep_their_room_reserved() -> None:
    granted = running(job("a", 4, 4), {"h100-0": 4})
    granted = replace(granted, pods=())
    world = snapshot(granted, job("b", 8, 8), job("c", 4, 4), on=nodes(1))
    assert wave(world, "b", a=4, b=8, c=0) == 1
    assert wave(world, "c", a=4, b=0, c=4) == 0


def on_the_way_to_h100() -> Job:
    """A job that was moved from a100 to h100: its old pods are leaving, the new ones do not exist yet."""
    moved = running(job("moved", 4, 4), {"a100-0": 4}, "a100")
    leaving = tuple(replace(pod, terminating=True) for pod in moved.pods)
    return replace(moved, pods=leaving, memory=replace(moved.memory, admission=Admission("h100", 4, 1, NOW - 20)))


def test_the_room_that_a_waiting_move_was_granted_and_has_not_bound_yet_is_given_to_nobody_else() -> None:
    moved, comes = on_the_way_to_h100(), job("comes", 1, 1)
    before = {moved.key: Grant("h100", 4), comes.key: Grant()}
    targets = {moved.key: Grant("a100", 4), comes.key: Grant("h100", 1)}
    for h100, expected in ((4, 1), (5, 0)):
        world = snapshot(moved, comes, on=(*nodes(1, h100), *nodes(1, 4, "a100")))
        found = {resize.key.name: resize.wave for resize in in_waves(world, before, targets).resizes}
        assert found == {"comes": expected, "moved": 1}
        # Who is evicted before its pods came leaves nothing behind.
        evicted = {**targets, moved.key: Grant()}
        assert {resize.wave for resize in in_waves(world, before, evicted).resizes} == {0}


def test_the_larger_pods_of_a_saturated_pool_go_first() -> None:
    """One 8 and two 4s on two nodes of 8: the 4s could split over both nodes, so they wait for the 8."""
    world = snapshot(job("big", 1, 1, 8), job("small", 2, 2, 4), on=nodes(2))
    assert wave(world, "big", big=1, small=2) == 0
    assert wave(world, "small", big=1, small=2) == 1


def test_the_smallest_do_not_overtake_those_that_wait_for_the_largest() -> None:
    """Two 8s, three 4s and two 2s on four nodes of 8. 4s beside the 8s could keep them out; so could 2s, later, 4s."""
    world = snapshot(job("big", 2, 2, 8), job("middle", 3, 3, 4), job("small", 2, 2, 2), on=nodes(4))
    found = waves(world, big=2, middle=3, small=2)
    assert {name: resize.wave for name, resize in found.items()} == {"big": 0, "middle": 1, "small": 1}


def test_what_all_those_ahead_will_take_counts() -> None:
    """An 8, two 4s, two 2s and a 1 on nodes of 8, 8 and 5: the 1 on the second 8 would leave the 2s only one place."""
    on = (node("h100-0"), node("h100-1"), node("h100-2", 5))
    world = snapshot(job("eight", 1, 1, 8), job("four", 2, 2, 4), job("two", 2, 2, 2), job("one", 1, 1), on=on)
    found = waves(world, eight=1, four=2, two=2, one=1)
    assert {name: resize.wave for name, resize in found.items()} == {"eight": 0, "four": 1, "two": 1, "one": 1}


def test_nodes_where_the_others_do_not_fit_are_safe_from_them() -> None:
    """Two 6s and a 4 on nodes of 8, 6 and 4: wherever the 6s go, the 4 has its node, so they need not wait for it."""
    on = (node("h100-0"), node("h100-1", 6), node("h100-2", 4))
    found = waves(snapshot(job("six", 2, 2, 6), job("four", 1, 1, 4), on=on), six=2, four=1)
    assert {name: resize.wave for name, resize in found.items()} == {"six": 0, "four": 1}


def test_those_with_fewer_nodes_to_go_to_go_first_if_the_others_can_follow() -> None:
    """The wide job could take the plain node, the only one for the narrow ones; they leave it the reserved one."""
    reserved = Taint("reserved")
    tolerant = NodeChoice(tolerations=(Toleration("reserved", "Exists"),))
    on = (node("h100-0", 2), node("h100-1", 3, taints=(reserved,)))
    world = snapshot(job("wide", 1, 1, 2, nodes=tolerant), job("narrow", 2, 2), on=on)
    found = waves(world, wide=1, narrow=2)
    assert {name: resize.wave for name, resize in found.items()} == {"narrow": 0, "wide": 1}


def test_where_each_could_keep_the_other_out_an_admission_goes_before_a_growth() -> None:
    grows = running(job("grows", 1, 2, 3), {"h100-0": 1})
    on = (node("h100-0", 3), node("h100-1", 3), node("h100-2", 3))
    found = waves(snapshot(grows, job("new", 4, 4), on=on), grows=2, new=4)
    assert {name: resize.wave for name, resize in found.items()} == {"new": 0, "grows": 1}


def test_nobody_waits_for_the_room_of_a_job_that_cannot_move_yet() -> None:
    moves = running(job("moves", 1, 8, each=1), {"h100-0": 8})
    shrinks = running(job("shrinks", 1, 8), {"a100-0": 8}, "a100")
    big, small = job("big", 1, 1, 8), job("small", 1, 1)
    on = (node("h100-0"), node("h100-1", 4), node("a100-0", flavor="a100"))
    world = snapshot(moves, shrinks, big, small, on=on)
    before = {moves.key: Grant("h100", 8), shrinks.key: Grant("a100", 8)}
    wanted = {moves.key: Grant("a100", 7), shrinks.key: Grant("a100", 1)}
    wanted |= {big.key: Grant("h100", 1), small.key: Grant("h100", 1)}
    found = {resize.key.name: resize.wave for resize in in_waves(world, before, wanted).resizes}
    assert found == {"shrinks": 0, "moves": 1, "big": 1, "small": 0}


@pytest.mark.parametrize(("held", "small"), [(8, 0), (7, 1)])
def test_who_fits_where_nobody_is_leaving_does_not_wait_for_those_who_do(held: int, small: int) -> None:
    """The 8 waits for the first node. A 1 that finds room there now could keep it out; else it goes to the second."""
    ends = running(job("ends", 1, 8), {"h100-0": held})
    world = snapshot(ends, job("big", 1, 1, 8), job("small", 1, 1), on=(node("h100-0"), node("h100-1", 2)))
    found = waves(world, ends=0, big=1, small=1)
    assert {name: resize.wave for name, resize in found.items()} == {"ends": 0, "big": 1, "small": small}


def test_those_who_go_together_can_only_be_in_the_way_where_there_is_room_already() -> None:
    """One of two nodes for the 8 is full now: four 1s cannot keep it out of that one, whoever asks first for two."""
    ends = running(job("ends", 1, 12), {"h100-0": 8, "h100-1": 4})
    on = (node("h100-0"), node("h100-1"), node("h100-2", 2))
    world = snapshot(ends, job("big", 1, 1, 8), job("first", 2, 2), job("second", 2, 2), on=on)
    found = waves(world, ends=0, big=1, first=2, second=2)
    assert {name: resize.wave for name, resize in found.items()} == {"ends": 0, "big": 1, "first": 0, "second": 0}


def test_those_who_go_already_leave_the_rest_to_be_kept_for_who_waits() -> None:
    """Two of three nodes for the 8s. The first 1s can only take the second node, so the third must be kept."""
    tolerant = NodeChoice(tolerations=(Toleration("reserved", "Exists"),))
    ends = running(job("ends", 1, 16, nodes=tolerant), {"h100-0": 8, "h100-1": 4, "h100-2": 4})
    on = (*nodes(2), node("h100-2", taints=(Taint("reserved"),)))
    big, second = job("big", 2, 2, 8, nodes=tolerant), job("second", 1, 1, nodes=tolerant)
    found = waves(snapshot(ends, big, job("first", 2, 2), second, on=on), ends=0, big=2, first=2, second=1)
    assert {name: resize.wave for name, resize in found.items()} == {"ends": 0, "big": 1, "first": 0, "second": 1}


@pytest.mark.parametrize(
    ("count", "early", "taken"), [(1, 0, 1), (3, 0, 2), (3, 3, 1), (3, 2, 2), (2, 1, 2), (9, 4, 2)]
)
def test_pods_that_go_early_take_what_has_room_already(count: int, early: int, taken: int) -> None:
    """Places for an 8 on two nodes, into one of which a 1 can go now."""
    eight, one = (Kind(((GPU, each),), frozenset({"left", "right"})) for each in (8, 1))
    flight = Flight({"left": {GPU: 8}, "right": {GPU: 8}}, Flight({"left": {GPU: 4}, "right": {GPU: 0}}))
    assert flight.taken(eight, one, count, early) == taken


def swapping() -> Snapshot:
    """Two jobs that fill their nodes, and each would be three times as fast on the other's."""
    fast = {"left": "a100", "right": "h100"}
    choices = {
        name: tuple(FlavorChoice(flavor, 3.0 if flavor == best else 1.0) for flavor in ("a100", "h100"))
        for name, best in fast.items()
    }
    left = running(job("left", 8, 8, flavors=choices["left"]), {"h100-0": 8})
    right = running(job("right", 8, 8, flavors=choices["right"]), {"a100-0": 8}, "a100")
    return snapshot(left, right, on=(node("h100-0"), node("a100-0", flavor="a100")))


def test_moves_that_wait_for_each_other_are_blocked() -> None:
    world = swapping()
    left, right = (one.key for one in world.jobs)
    before = {left: Grant("h100", 8), right: Grant("a100", 8)}
    both = {left: Grant("a100", 8), right: Grant("h100", 8)}
    assert blocked_moves(world, before, both) == {left, right}
    # Once one of them leaves, or there is room for one, both can go.
    assert blocked_moves(world, before, {**both, right: Grant()}) == frozenset()
    wider = replace(world, nodes=(*world.nodes, node("h100-1")))
    assert blocked_moves(wider, before, both) == frozenset()


def test_a_plan_that_could_never_be_carried_out_is_not_waited_for() -> None:
    decision = decide(swapping(), Policy())
    assert decision.resizes == ()
    assert {outcome.granted.flavor for outcome in decision.outcomes} == {"h100", "a100"}
    assert all(outcome.target == outcome.granted for outcome in decision.outcomes)


def test_other_pools_do_not_wait() -> None:
    blocked = running(job("a", 1, 8), {"h100-0": 8})
    on_a100 = replace(job("c", 1, 1), flavors=None)
    world = snapshot(blocked, job("b", 8, 8), on_a100, on=(node("h100-0"), node("a100-0", flavor="a100")))
    before = {blocked.key: Grant("h100", 8)}
    wanted = {blocked.key: Grant("h100", 1), JobKey("team", "b"): Grant("h100", 7), on_a100.key: Grant("a100", 1)}
    found = {resize.key.name: resize.wave for resize in in_waves(world, before, wanted).resizes}
    assert found == {"a": 0, "b": 1, "c": 0}


def test_cpu_that_binds_counts() -> None:
    greedy = job("a", 2, 2, requests={GPU: 1, "cpu": 40_000, "pods": 1})
    assert wave(snapshot(greedy, on=nodes(1)), "a", a=2) == 1
    assert wave(snapshot(greedy, on=nodes(2)), "a", a=2) == 0


def test_a_shrink_names_pods_that_empty_whole_nodes() -> None:
    world = snapshot(running(job("a", 1, 8), {"h100-0": 6, "h100-1": 2}), on=nodes(2))
    assert set(waves(world, a=6)["a"].leaving) == {"a-h100-1-0", "a-h100-1-1"}


def placements_fail(free: list[int], sizes: tuple[int, ...]) -> bool:
    """Is there an order and a choice of nodes in which a pod finds no room? By trying all."""

    def stuck(room: tuple[int, ...], rest: tuple[int, ...]) -> bool:
        if not rest:
            return False
        able = [i for i, left in enumerate(room) if left >= rest[0]]
        if not able:
            return True
        return any(stuck((*room[:i], room[i] - rest[0], *room[i + 1 :]), rest[1:]) for i in able)

    return any(stuck(tuple(free), order) for order in set(permutations(sizes)))


@pytest.mark.parametrize("free", [[8], [8, 4], [4, 4], [8, 8], [6, 3], [5, 2], [7, 7]])
@pytest.mark.parametrize("sizes", [(4, 2), (2, 1), (4, 4), (3, 2), (8, 4), (4, 1), (3, 3)])
def test_what_is_granted_together_never_fails_in_any_order(free: list[int], sizes: tuple[int, int]) -> None:
    members = tuple(node(f"h100-{i}", count) for i, count in enumerate(free))
    jobs: list[Job] = [job("a", 1, 2, sizes[0]), job("b", 1, 3, sizes[1])]
    for count_a in (1, 2):
        for count_b in (1, 2, 3):
            found = waves(snapshot(*jobs, on=members), a=count_a, b=count_b)
            granted = [sizes[0]] * count_a if found["a"].wave == 0 else []
            granted += [sizes[1]] * count_b if found["b"].wave == 0 else []
            assert not placements_fail(free, tuple(granted))


def three_in_a_row(h100: int) -> tuple[Snapshot, dict[JobKey, Grant], dict[JobKey, Grant]]:
    """One shrinks on a100, one moves there from h100 once that room is free, one grows into its share of h100."""
    jobs = (
        running(job("shrinks", 1, 8, queue_name="q"), {"a100-0": 4}, "a100"),
        running(job("moves", 1, 8, queue_name="q"), {"h100-0": 4}),
        running(job("grows", 1, 8, queue_name="q"), {"h100-1": 4}),
    )
    share = queue("q", quota(h100), quota(8, "a100"))
    world = snapshot(*jobs, on=(*nodes(2), *nodes(1, 4, "a100")), queues=(share,))
    before = {one.key: Grant(one.admission.flavor, one.admission.replicas) for one in jobs if one.admission}
    targets = dict(zip((one.key for one in jobs), (Grant("a100", 1), Grant("a100", 3), Grant("h100", 8)), strict=True))
    return world, before, targets


@pytest.mark.parametrize(("h100", "wave"), [(8, 1), (12, 0)])
def test_a_share_that_a_waiting_move_still_holds_is_given_to_nobody_else(h100: int, wave: int) -> None:
    world, before, targets = three_in_a_row(h100)
    resizes = entitled(world, before, in_waves(world, before, targets).resizes)
    waves_of = {resize.key.name: resize.wave for resize in resizes}
    assert waves_of == {"shrinks": 0, "moves": 1, "grows": wave}


@pytest.mark.parametrize(("watts", "wave"), [(800.0, 1), (1200.0, 0)])
def test_power_that_a_waiting_move_still_draws_is_given_to_nobody_else(watts: float, wave: int) -> None:
    """8 h100 before and after, 12 while the move waits."""
    world, before, targets = three_in_a_row(12)
    world = replace(world, queues=(), caps=(caps.Cap(caps.Kind.POWER, "q", watts, {"h100": 100.0}),))
    resizes = entitled(world, before, in_waves(world, before, targets).resizes)
    assert {one.key.name: one.wave for one in resizes} == {"shrinks": 0, "moves": 1, "grows": wave}


def test_a_cap_that_is_passed_already_stops_who_counts_more_and_a_queues_cap_only_its_own_jobs() -> None:
    jobs = (
        running(job("yields", 1, 8, queue_name="q"), {"h100-0": 4}),
        running(job("takes", 1, 8, queue_name="q"), {"h100-1": 4}),
        running(job("waits", 1, 8, queue_name="q"), {"h100-2": 4}),
        job("visitor", 1, 8, queue_name="other"),
    )
    before = {one.key: Grant("h100", 4) if one.admission else Grant() for one in jobs}
    ends = (Grant("h100", 2), Grant("h100", 6), Grant("a100", 4), Grant("h100", 8))
    targets = dict(zip((one.key for one in jobs), ends, strict=True))
    power = caps.Cap(caps.Kind.POWER, "q", 1000.0, {"h100": 100.0})
    world = snapshot(*jobs, on=nodes(4), caps=(power,))
    resizes = [Resize(key, before[key], targets[key], wave=int(key.name == "waits")) for key in sorted(targets)]
    assert [one.wave for one in entitled(world, before, resizes)] == [0, 0, 1, 0]
    tighter = {**targets, jobs[0].key: Grant("h100", 3)}
    resizes = [Resize(key, before[key], tighter[key], wave=int(key.name == "waits")) for key in sorted(targets)]
    assert {one.key.name: one.wave for one in entitled(world, before, resizes)} == {
        "visitor": 0, "yields": 0, "takes": 1, "waits": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("budget", "wave"), [(40.0, 1), (80.0, 0)])
def test_a_move_put_off_for_money_holds_its_share_of_quota_too(budget: float, wave: int) -> None:
    """`in` grows into the share that `out` leaves; `out` waits for the money of `stuck`, which waits for room."""
    jobs = (
        running(job("in", 1, 8, queue_name="q"), {"a100-1": 1}, "a100"),
        running(job("leaves", 4, 4, queue_name="other"), {"a100-0": 4}, "a100"),
        running(job("out", 4, 4, queue_name="q"), {"a100-1": 4}, "a100"),
        running(job("stuck", 1, 1, 4, queue_name="other"), {"h100-0": 1}),
    )
    before = {one.key: Grant(one.admission.flavor, one.admission.replicas) for one in jobs if one.admission}
    ends = (Grant("a100", 3), Grant(), Grant("h100", 4), Grant("a100", 1))
    targets = dict(zip((one.key for one in jobs), ends, strict=True))
    on = (*nodes(1), node("a100-0", 4, "a100"), node("a100-1", 7, "a100"))
    queues = (queue("q", quota(5, "a100"), quota(8)), queue("other", quota(8, "a100"), quota(8)))
    cap = caps.Cap(caps.Kind.BUDGET, "", budget, {"h100": 10.0})
    world = snapshot(*jobs, on=on, queues=queues, caps=(cap,))
    found = entitled(world, before, in_waves(world, before, targets).resizes)
    assert {one.key.name: one.wave for one in found} == {"leaves": 0, "stuck": 1, "out": wave, "in": wave}


def test_two_who_wait_for_each_other_for_the_same_watts_are_blocked() -> None:
    jobs = (running(job("a", 4, 4), {"h100-0": 4}), running(job("b", 4, 4), {"a100-0": 4}, "a100"))
    before = {one.key: Grant(one.admission.flavor, one.admission.replicas) for one in jobs if one.admission}
    swapped = {jobs[0].key: Grant("a100", 4), jobs[1].key: Grant("h100", 4)}
    world = snapshot(*jobs, on=(*nodes(1, 4), *nodes(1, 8, "a100")))
    watts = {"h100": 1.0, "a100": 10.0}
    tight, ample = (replace(world, caps=(caps.Cap(caps.Kind.POWER, "", most, watts),)) for most in (44.0, 80.0))
    assert blocked_moves(tight, before, swapped) == set(swapped)
    assert blocked_moves(ample, before, swapped) == frozenset()


def test_two_who_wait_for_each_other_one_for_room_and_one_for_quota_are_blocked() -> None:
    jobs = (
        running(job("a", 4, 4, queue_name="q"), {"h100-0": 4}),
        running(job("b", 4, 4, queue_name="q"), {"a100-0": 4}, "a100"),
    )
    before = {one.key: Grant(one.admission.flavor, one.admission.replicas) for one in jobs if one.admission}
    swapped = {jobs[0].key: Grant("a100", 4), jobs[1].key: Grant("h100", 4)}
    full, roomy = nodes(1, 4), nodes(1, 8, "a100")
    tight = snapshot(*jobs, on=(*full, *roomy), queues=(queue("q", quota(4), quota(4, "a100")),))
    assert blocked_moves(tight, before, swapped) == set(swapped)
    lent = snapshot(*jobs, on=(*full, *roomy), queues=(queue("q", quota(4), quota(8, "a100")),))
    assert blocked_moves(lent, before, swapped) == frozenset()
