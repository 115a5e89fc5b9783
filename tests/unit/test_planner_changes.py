"""What a change does to a snapshot where files edited by hand would not show it: pods, failures, names."""

from dataclasses import replace

import pytest

from apportion.model.flavors import Node
from apportion.model.jobs import Block, JobKey
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.planner.changes import (
    AddedNodes,
    CannotChange,
    DrainedNode,
    JobChange,
    QuotaChange,
    SubmittedJob,
    applied,
)
from apportion.planner.whatif import what_if
from builders import GPU, job, node, nodes, queue, quota, running, snapshot

ONE = JobKey("team", "one")


def named(world: Snapshot, name: str) -> Node:
    return next(node for node in world.nodes if node.name == name)


def test_the_pods_of_a_drained_node_are_gone_and_its_job_goes_on_with_the_others() -> None:
    one = running(job("one", 2, 8), {"h100-0": 4, "h100-1": 4})
    world = snapshot(one, on=nodes(2))
    after = applied(world, DrainedNode("h100-0"))
    assert [pod.node for pod in after.jobs[0].pods] == ["h100-1"] * 4
    assert not named(after, "h100-0").placeable
    alone = snapshot(running(job("one", 2, 4), {"h100-0": 4}), on=nodes(2))
    assert applied(alone, DrainedNode("h100-0")).jobs[0].pods == ()
    assert applied(alone, DrainedNode("h100-1")).jobs == alone.jobs
    found = what_if(replace(world, jobs=(replace(one, steps=(2, 4, 8)),), nodes=nodes(2, 4)), Policy(), [])
    assert found.jobs == ()
    drained = what_if(replace(world, nodes=nodes(2, 4)), Policy(), [DrainedNode("h100-0")])
    assert [(row.before.replicas, row.after.replicas, row.faster) for row in drained.jobs] == [(8, 4, -1)]


def test_an_added_node_is_empty_and_takes_pods_whatever_became_of_the_one_it_is_like() -> None:
    old = node("old", foreign={GPU: 6}, placeable=False, why_not="is cordoned", uid="u")
    after = applied(snapshot(on=(old, node("old-added-1"))), AddedNodes(2, "old"))
    assert [one.name for one in after.nodes] == ["old", "old-added-1", "old-added-2", "old-added-3"]
    for name in ("old-added-2", "old-added-3"):
        new = named(after, name)
        assert (new.placeable, new.why_not, new.foreign, new.uid) == (True, "", {}, "")
        assert (new.flavor, new.allocatable) == (old.flavor, old.allocatable)


def test_a_node_that_jobs_cannot_use_is_no_example() -> None:
    bare = node("bare", flavor=None, why_not="its accelerators are claimed through DRA")
    with pytest.raises(CannotChange, match=r"expected a node that jobs can use: bare has nothing for them \(its accel"):
        applied(snapshot(on=(bare,)), AddedNodes(1, "bare"))


def test_a_changed_spec_starts_a_failed_job_again() -> None:
    base = job("one", 2, 4, generation=3, observed_generation=3)
    failed = replace(base, memory=replace(base.memory, phase="Failed"))
    found = what_if(snapshot(failed, on=nodes(1)), Policy(), [JobChange(ONE, (("maxReplicas", 3),))])
    assert [(row.before.replicas, row.after.replicas) for row in found.jobs] == [(0, 3)]


def test_a_job_that_is_invalid_has_no_spec_to_change() -> None:
    broken = replace(job("one"), steps=(), block=Block("Invalid", "spec.maxReplicas: expected a number"))
    with pytest.raises(CannotChange, match=r"team/one is Invalid \(spec.maxReplicas: expected a number\)"):
        applied(snapshot(broken, on=nodes(1)), JobChange(ONE, (("maxReplicas", 3),)))


def test_a_flavor_that_the_star_meant_gets_an_entry_with_its_limits() -> None:
    world = snapshot(on=nodes(1), queues=(queue("q", quota(4, "*", borrow=1, lend=2)),))
    (after,) = applied(world, QuotaChange("q", "nominalQuota", "h100", 9)).queues
    assert after.quotas == (quota(4, "*", borrow=1, lend=2), quota(9, "h100", borrow=1, lend=2))
    (none,) = applied(world, QuotaChange("q", "borrowingLimit", "h100", None)).queues
    assert none.quota("h100") == quota(4, "h100", borrow=None, lend=2)


def test_a_snapshot_that_was_changed_is_as_it_was() -> None:
    world = snapshot(running(job("one"), {"h100-0": 2}), on=nodes(1), queues=(queue("q", quota(4)),))
    before = replace(world)
    for change in (
        DrainedNode("h100-0"),
        AddedNodes(1, "h100-0"),
        QuotaChange("q", "nominalQuota", "h100", 1),
        JobChange(ONE, (("suspend", True),)),
        SubmittedJob(job("two"), "two.yaml"),
    ):
        assert applied(world, change) != world
        assert world == before
