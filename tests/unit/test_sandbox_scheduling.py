"""The simulated scheduler: what a pod counts for, which nodes refuse it, who goes first."""

import pytest

from apportion.sandbox import deployment, gpu_node, node, pod, tpu_node
from apportion.sandbox.placement import matches_affinity, static_refusal, tolerates
from apportion.sandbox.pods import condition, is_ready, pod_amounts, quantity
from apportion.sandbox.store import Deletion
from unit.sandbox_world import GPU, World, gpus

# --- resources --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("cpu", "100m", 100),
        ("memory", "1e9999999999", 2**63 - 1),
        ("memory", "9Ei", 2**63 - 1),
        ("nvidia.com/gpu", "-1e9999999999", -(2**63 - 1)),
        ("cpu", "2", 2000),
        ("cpu", "0.0001", 1),
        ("memory", "1Gi", 2**30),
        ("memory", "1.5k", 1500),
        (GPU, "8", 8),
        ("memory", "1e3", 1000),
        ("memory", "2E", 2 * 10**18),
    ],
)
def test_quantities(name, text, expected):
    assert quantity(name, text) == expected


@pytest.mark.parametrize("text", ["", "x", "1Qi", "1 Gi"])
def test_what_is_no_quantity(text):
    with pytest.raises(ValueError, match="quantities"):
        quantity("memory", text)


def asks(cpu, **extra):
    return {"name": "c", "resources": {"requests": {"cpu": str(cpu)}}, **extra}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        pytest.param({"containers": [asks(1), asks(2)]}, 3, id="containers add up"),
        pytest.param({"containers": [asks(1)], "initContainers": [asks(4), asks(3)]}, 4, id="the largest start counts"),
        pytest.param(
            {"containers": [asks(1)], "initContainers": [asks(2, restartPolicy="Always")]}, 3, id="sidecars run along"
        ),
        pytest.param(
            {"containers": [asks(1)], "initContainers": [asks(2, restartPolicy="Always"), asks(3)]},
            5,
            id="a start beside an earlier sidecar",
        ),
        pytest.param({"containers": [asks(1)], "overhead": {"cpu": "500m"}}, 1.5, id="overhead"),
    ],
)
def test_what_a_pod_counts_for(spec, cpu):
    assert pod_amounts(spec)["cpu"] == cpu * 1000


# --- filters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toleration", "holds"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "v", "effect": "NoExecute"}, False),
        ({"key": "k", "value": "w"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration, holds):
    assert tolerates([toleration], {"key": "k", "value": "v", "effect": "NoSchedule"}) is holds


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "b", "operator": "NotIn", "values": ["1"]}, True),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "b", "operator": "DoesNotExist"}, True),
        ({"key": "a", "operator": "Gt", "values": ["0"]}, True),
        ({"key": "a", "operator": "Lt", "values": ["1"]}, False),
        ({"key": "b", "operator": "Lt", "values": ["1"]}, False),
        ({"key": "a", "operator": "Like", "values": ["1"]}, False),
    ],
)
def test_node_affinity(expression, holds):
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}
    assert matches_affinity(spec, node("n", {"a": "1"})) is holds


def test_affinity_terms_are_alternatives_and_can_name_a_node():
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "x", "operator": "Exists"}]}, by_name]}
    spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}
    assert matches_affinity(spec, node("n"))
    assert not matches_affinity(spec, node("m"))


def test_the_first_refusing_filter_gives_the_reason():
    cordoned = tpu_node("n")
    cordoned["spec"]["unschedulable"] = True
    assert static_refusal({}, cordoned) == "node(s) were unschedulable"
    assert static_refusal({"nodeSelector": {"a": "b"}}, tpu_node("n")) == "node(s) had untolerated taint(s)"
    assert (
        static_refusal({"nodeSelector": {"a": "b"}}, node("n")) == "node(s) didn't match Pod's node affinity/selector"
    )
    assert static_refusal({}, node("n")) == ""


# --- scheduling -------------------------------------------------------------------------------------------------------


def test_pods_fill_the_devices_and_the_rest_says_why_it_waits(world):
    world.add(gpu_node("a"), gpu_node("b"), node("c"), tpu_node("d"), deployment("d", 5, spec=gpus(4)))
    world.after(5)
    assert len(world.running()) == 4
    (waiting,) = [each for each in world.pods() if not is_ready(each)]
    scheduled = condition(waiting["status"], "PodScheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
    expected = "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient nvidia.com/gpu."
    assert scheduled["message"].startswith(expected)
    events = [each for each in world.store.list("events") if each["reason"] == "FailedScheduling"]
    assert events[0]["involvedObject"]["name"] == waiting["metadata"]["name"]


def test_waiting_pods_take_what_becomes_free_by_priority_then_age(world):
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 9}
    world.add(priority, gpu_node("a"), pod("first", spec=gpus(8)))
    world.after(2)
    world.add(pod("older", spec=gpus(8)), pod("younger", spec=gpus(8)))
    world.add(pod("important", spec={**gpus(8), "priorityClassName": "high"}))
    world.after(2)
    world.store.delete("pods", "default", "first", Deletion(grace=0))
    world.after(2)
    assert [each["metadata"]["name"] for each in world.running()] == ["important"]
    world.store.delete("pods", "default", "important", Deletion(grace=0))
    world.after(2)
    assert [each["metadata"]["name"] for each in world.running()] == ["older"]


@pytest.mark.parametrize(("scoring", "used"), [("LeastAllocated", 2), ("MostAllocated", 1)])
def test_scoring_spreads_or_packs(scoring, used):
    world = World(scoring=scoring)
    world.add(gpu_node("a"), gpu_node("b"), deployment("d", 4, spec=gpus(2)))
    world.after(3)
    assert len({each["spec"]["nodeName"] for each in world.pods()}) == used


def test_a_pod_that_ends_holds_nothing(world):
    notes = {"sandbox.apportion.dev/exit-after": "10"}
    world.add(gpu_node("a"), pod("one", spec={**gpus(8), "restartPolicy": "Never"}, annotations=notes))
    world.after(2)
    world.add(pod("two", spec=gpus(8)))
    world.after(5)
    assert "nodeName" not in world.store.get("pods", "default", "two")["spec"]
    world.after(10)
    assert world.store.get("pods", "default", "one")["status"]["phase"] == "Succeeded"
    assert is_ready(world.store.get("pods", "default", "two"))


def test_terminating_pods_hold_their_devices_until_they_are_gone(world):
    notes = {"sandbox.apportion.dev/terminates-after": "20"}
    world.add(gpu_node("a"), pod("slow", spec=gpus(8), annotations=notes))
    world.after(2)
    world.store.delete("pods", "default", "slow")
    world.add(pod("next", spec=gpus(8)))
    world.after(19)
    assert "nodeName" not in world.store.get("pods", "default", "next")["spec"]
    world.after(5)
    assert world.store.find("pods", "default", "slow") is None
    assert is_ready(world.store.get("pods", "default", "next"))


def test_the_grace_period_bounds_the_stop(world):
    notes = {"sandbox.apportion.dev/terminates-after": "20"}
    world.add(node("a"), pod("slow", spec={"terminationGracePeriodSeconds": 5}, annotations=notes))
    world.after(2)
    world.store.delete("pods", "default", "slow")
    world.after(4)
    assert world.store.find("pods", "default", "slow")
    world.after(2)
    assert world.store.find("pods", "default", "slow") is None


def test_the_same_seed_gives_the_same_cluster():
    def played(seed):
        world = World(seed=seed)
        world.add(*(gpu_node(f"n{i}") for i in range(4)), deployment("d", 9, spec=gpus(1)))
        world.after(5)
        return [(each["metadata"]["name"], each["spec"]["nodeName"]) for each in world.pods()]

    assert played(3) == played(3)
    assert played(3) != played(4)
