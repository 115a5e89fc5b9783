"""What may be granted now: only pods that find room in every order."""

from dataclasses import replace
from itertools import permutations

import pytest

from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant, Resize
from apportion.model.snapshot import Snapshot
from apportion.planner.waves import in_waves
from builders import GPU, job, node, nodes, running, snapshot


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


def test_the_larger_pods_of_a_saturated_pool_go_first() -> None:
    """One 8 and two 4s on two nodes of 8: the 4s could split over both nodes, so they wait for the 8."""
    world = snapshot(job("big", 1, 1, 8), job("small", 2, 2, 4), on=nodes(2))
    assert wave(world, "big", big=1, small=2) == 0
    assert wave(world, "small", big=1, small=2) == 1


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
