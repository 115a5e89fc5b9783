"""Nodes of the sandbox that fail, come back or are cordoned, and what becomes of their pods."""

from apportion.sandbox import deployment, gpu_node, node, pod
from apportion.sandbox.pods import condition, is_ready
from unit.sandbox_world import World, gpus


def test_pods_leave_a_node_that_is_not_ready_after_their_time():
    world = World(eviction_seconds=30)
    world.add(gpu_node("a"), deployment("d", 1, spec=gpus(1)))
    world.after(3)
    world.set_ready("a", "False")
    world.after(1)
    taints = world.store.get("nodes", "", "a")["spec"]["taints"]
    assert {(each["key"], each["effect"]) for each in taints} == {
        ("node.kubernetes.io/not-ready", "NoSchedule"),
        ("node.kubernetes.io/not-ready", "NoExecute"),
    }
    (before,) = world.pods()
    assert not is_ready(before)
    world.add(gpu_node("b"))
    world.after(28)
    assert [each["metadata"]["uid"] for each in world.pods()] == [before["metadata"]["uid"]]
    world.after(5)
    assert [each["spec"]["nodeName"] for each in world.running()] == ["b"]


def test_pods_on_an_unreachable_node_terminate_only_when_it_is_back_or_deleted():
    world = World(eviction_seconds=30)
    world.add(gpu_node("a"), pod("one"), gpu_node("b", gpus=0))
    world.after(3)
    at = world.store.get("pods", "default", "one")["spec"]["nodeName"]
    world.set_ready(at, "Unknown")
    world.after(100)
    assert "deletionTimestamp" in world.store.get("pods", "default", "one")["metadata"]
    world.store.delete("nodes", "", at)
    world.after(2)
    assert world.pods() == []


def test_a_node_that_recovers_keeps_its_pods(world):
    world.add(gpu_node("a"), deployment("d", 1))
    world.after(3)
    world.set_ready("a", "Unknown")
    world.after(60)
    world.set_ready("a", "True")
    world.after(600)
    assert len(world.running()) == 1
    assert "taints" not in world.store.get("nodes", "", "a")["spec"]


def test_a_cordoned_node_keeps_its_pods_and_takes_no_new_ones(world):
    world.add(node("a"), pod("one"))
    world.after(3)
    world.edit("nodes", "", "a", unschedulable=True)
    world.add(pod("two"))
    world.after(3)
    assert [each["metadata"]["name"] for each in world.running()] == ["one"]
    message = condition(world.store.get("pods", "default", "two")["status"], "PodScheduled")["message"]
    assert "1 node(s) were unschedulable" in message
