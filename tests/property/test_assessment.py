"""Fragmentation against an exhaustive search that puts pods on nodes one by one and knows no formula."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.assessment import assess
from apportion.model.flavors import Node
from apportion.model.jobs import Job
from apportion.model.selection import Taint
from apportion.model.snapshot import Snapshot
from builders import GPU, H100, job, node, running, snapshot

PROFILE = settings(max_examples=150, derandomize=True, deadline=None)
Amounts = dict[str, int]


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    """At most three small nodes, some cordoned, tainted or used by others, and jobs that run and wait."""
    members = []
    for index in range(draw(st.integers(1, 3))):
        amounts = {
            "cpu": draw(st.integers(0, 8)) * 1000,
            "memory": draw(st.integers(1, 8)),
            "pods": draw(st.integers(1, 9)),
        }
        gpus = draw(st.integers(1, 6))
        members.append(
            node(
                f"n{index}",
                gpus,
                allocatable=amounts,
                foreign={GPU: draw(st.integers(0, gpus)), "cpu": draw(st.sampled_from((0, 500, 3000)))},
                placeable=draw(st.sampled_from((True, True, True, False))),
                taints=draw(st.sampled_from(((), (), (Taint("spot"),)))),
            )
        )
    jobs = []
    for index in range(draw(st.integers(0, 3))):
        size = draw(st.integers(1, 3))
        requests = {
            GPU: size,
            "cpu": draw(st.sampled_from((0, 250, 1000, 2500))),
            "memory": draw(st.integers(0, 4)),
            "pods": 1,
        }
        one = job(f"j{index}", each=size, requests=requests)
        where = draw(st.sampled_from((None, *(one.name for one in members))))
        jobs.append(running(one, {where: 1}) if where else one)
    return snapshot(*jobs, on=tuple(members), flavors=(H100,))


def leftovers(world: Snapshot) -> list[Amounts]:
    """What is free on each node that a plain pod may use, counted pod by pod."""
    found = []
    for one in world.nodes:
        if not one.placeable or one.taints:
            continue
        free = dict(one.allocatable)
        for name, amount in one.foreign.items():
            free[name] = free.get(name, 0) - amount
        for pod in (pod for each in world.jobs for pod in each.pods if pod.node == one.name):
            for name, amount in pod.requests.items():
                free[name] = free.get(name, 0) - amount
        if free[GPU] > 0:
            found.append(free)
    return found


def most_pods(nodes: list[Amounts], pod: Amounts) -> int:
    """By trying every node for every next pod."""
    best = 0
    for index, free in enumerate(nodes):
        if all(free.get(name, 0) >= amount for name, amount in pod.items() if amount):
            taken = {name: amount - pod.get(name, 0) for name, amount in free.items()}
            # Pods are alike, so a pod never goes to a node before the last one's.
            best = max(best, 1 + most_pods([taken, *nodes[index + 1 :]], pod))
    return best


@PROFILE
@given(world=worlds())
def test_the_largest_gang_is_what_an_exhaustive_search_places(world: Snapshot) -> None:
    (room,) = assess(world).rooms
    free = leftovers(world)
    assert room.accelerators == sum(one[GPU] for one in free)
    for gang in room.gangs:
        alike = [one.requests for one in world.jobs if one.per_replica == gang.size]
        asked = {name: max((r[name] for r in alike), default=0) for name in ("cpu", "memory")}
        pod = {GPU: gang.size, "pods": 1, **asked}
        assert (gang.cpu, gang.memory) == (asked["cpu"], asked["memory"])
        assert gang.replicas == most_pods(free, pod)
        assert gang.alone == most_pods(free, {GPU: gang.size})
        assert gang.stranded == sum(one[GPU] for one in free) - gang.replicas * gang.size


@PROFILE
@given(world=worlds())
def test_what_binds_is_short_by_itself_unless_several_are_together(world: Snapshot) -> None:
    (room,) = assess(world).rooms
    free = leftovers(world)
    for gang in room.gangs:
        asked = {"cpu": gang.cpu, "memory": gang.memory, "pods": 1}
        with_one = {name: most_pods(free, {GPU: gang.size, name: amount}) for name, amount in asked.items()}
        assert bool(gang.binds) == (gang.replicas < gang.alone)
        if gang.binds:
            assert with_one[gang.binds] == min(with_one.values())


def fits(world: Snapshot, one: Job, on: list[Node]) -> tuple[int, int]:
    """(replicas that find room now, in the empty cluster) on the nodes, by search."""
    free = leftovers(replace(world, nodes=tuple(replace(node, taints=()) for node in on)))
    return most_pods(free, dict(one.requests)), most_pods([dict(node.allocatable) for node in on], dict(one.requests))


@PROFILE
@given(world=worlds())
def test_how_many_replicas_of_a_job_fit_is_what_the_search_places(world: Snapshot) -> None:
    for one, found in zip(world.jobs, assess(world).jobs, strict=True):
        open_ = [node for node in world.nodes if node.placeable and not node.taints]
        (fit,) = found.fits
        assert (fit.now, fit.most) == fits(world, one, open_)
        assert fit.usable == (fit.most >= one.minimum)
