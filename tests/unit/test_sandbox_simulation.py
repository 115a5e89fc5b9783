"""The simulated scheduler, controllers and kubelets, on a clock that the tests move."""

from random import Random

import pytest

from apportion.sandbox import ManualClock, Sandbox, container, deployment, gpu_node, node, pod, tpu_node
from apportion.sandbox.placement import matches_affinity, static_refusal, tolerates
from apportion.sandbox.pods import condition, is_ready, pod_amounts, quantity
from apportion.sandbox.replicasets import departure_order
from apportion.sandbox.store import Deletion

GPU = "nvidia.com/gpu"


class World:
    """A sandbox without its server, and its clock."""

    def __init__(self, **options):
        self.clock = ManualClock()
        self.store = Sandbox(clock=self.clock, bind_seconds=0.1, start_seconds=1, **options).store

    def add(self, *objects):
        for obj in objects:
            self.store.apply(obj)

    def after(self, seconds):
        self.clock.advance(seconds)
        return self

    def pods(self):
        return self.store.list("pods")

    def running(self):
        return [each for each in self.pods() if is_ready(each)]

    def status(self, name, kind="deployments"):
        return self.store.get(kind, "default", name)["status"]

    def edit(self, kind, namespace, name, **spec):
        self.store.update(kind, namespace, name, lambda old: {**old, "spec": {**old["spec"], **spec}})

    def set_ready(self, name, value):
        obj = self.store.get("nodes", "", name)
        for each in obj["status"]["conditions"]:
            if each["type"] == "Ready":
                each["status"] = value
        self.store.apply(obj)


@pytest.fixture
def world():
    return World()


def gpus(number):
    return {"containers": [container(GPU, number)]}


# Resources


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("cpu", "100m", 100),
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


# Filters


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


# Scheduling


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


# Which pods leave

RUNNING = {"phase": "Running"}


def candidate(name, at="n", ready=100, cost=None, restarts=0, created=0, phase="Running"):
    """A pod as the ranking sees it; `ready` and `created` in seconds, ready None for not ready."""
    stamp = "2030-01-01T00:{:02d}:{:02d}Z".format
    status = {"phase": phase, "containerStatuses": [{"restartCount": restarts}]}
    if ready is not None:
        status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": stamp(*divmod(ready, 60))}]
    notes = {} if cost is None else {"controller.kubernetes.io/pod-deletion-cost": str(cost)}
    meta = {"name": name, "annotations": notes, "creationTimestamp": stamp(*divmod(created, 60))}
    return {"metadata": meta, "spec": {"nodeName": at} if at else {}, "status": status}


@pytest.mark.parametrize(
    ("leaves", "stays"),
    [
        pytest.param({"at": ""}, {"ready": None, "phase": "Pending"}, id="unassigned before assigned"),
        pytest.param({"phase": "Pending"}, {"ready": None}, id="pending before running"),
        pytest.param({"ready": None, "cost": 9}, {"cost": 1}, id="not ready before ready, whatever the cost"),
        pytest.param({"cost": -1, "ready": 1}, {"ready": 100}, id="a lower cost before a shorter time"),
        pytest.param({"at": "crowded", "ready": 1}, {"at": "m", "ready": 100}, id="doubled up before a shorter time"),
        pytest.param({"ready": 200}, {"ready": 100, "restarts": 5}, id="a shorter time ready before more restarts"),
        pytest.param({"restarts": 2}, {"created": 100}, id="more restarts before a younger one"),
        pytest.param({"created": 100}, {"created": 50}, id="the younger one last of all"),
    ],
)
def test_departure_order_follows_upstream(leaves, stays):
    pods = [candidate("stays", **stays), candidate("leaves", **leaves)]
    related = [*pods, candidate("x", at="crowded"), candidate("y", at="crowded")]
    for seed in range(5):
        assert [p["metadata"]["name"] for p in departure_order(pods, related, Random(seed))] == ["leaves", "stays"]


def test_a_shrink_takes_the_pods_with_the_lowest_cost(world):
    world.add(gpu_node("a"), deployment("d", 3, spec=gpus(1)))
    world.after(3)
    names = [each["metadata"]["name"] for each in world.pods()]
    cost = {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "5"}}
    world.store.update("pods", "default", names[1], lambda old: {**old, "metadata": {**old["metadata"], **cost}})
    world.edit("deployments", "default", "d", replicas=1)
    world.after(3)
    assert [each["metadata"]["name"] for each in world.pods()] == [names[1]]


# Deployments


def test_a_deployment_reports_its_pods(world):
    world.add(gpu_node("a"), deployment("d", 2, spec=gpus(1)))
    world.after(3)
    status = world.status("d")
    counts = {name: status[name] for name in ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")}
    assert set(counts.values()) == {2}
    assert status["observedGeneration"] == 1
    assert condition(status, "Available")["status"] == "True"
    assert condition(status, "Progressing")["reason"] == "NewReplicaSetAvailable"
    note = world.store.get("deployments", "default", "d")["metadata"]["annotations"]
    assert note["deployment.kubernetes.io/revision"] == "1"


def retemplate(world, name="d"):
    obj = world.store.get("deployments", "default", name)
    obj["spec"]["template"]["metadata"].setdefault("annotations", {})["changed"] = "yes"
    world.store.apply(obj)


def test_a_rolling_update_keeps_enough_pods_available(world):
    world.add(node("a"), deployment("d", 4))
    world.after(3)
    retemplate(world)
    for _ in range(200):
        world.after(0.05)
        available = sum(is_ready(each) and "deletionTimestamp" not in each["metadata"] for each in world.pods())
        assert available >= 3
        active = [each for each in world.pods() if "deletionTimestamp" not in each["metadata"]]
        assert len(active) <= 5
    assert {each["metadata"]["annotations"]["changed"] for each in world.running()} == {"yes"}
    assert [
        each["spec"]["replicas"] for each in sorted(world.store.list("rs"), key=lambda o: o["spec"]["replicas"])
    ] == [0, 4]


def test_recreate_waits_until_the_last_old_pod_is_gone(world):
    obj = deployment("d", 2, annotations={"sandbox.apportion.dev/terminates-after": "10"})
    obj["spec"]["strategy"] = {"type": "Recreate"}
    world.add(node("a"), obj)
    world.after(3)
    retemplate(world)
    world.after(9)
    assert all("deletionTimestamp" in each["metadata"] for each in world.pods())
    world.after(4)
    assert len(world.running()) == 2


def test_progress_has_a_deadline(world):
    obj = deployment("d", 1, spec=gpus(1))
    obj["spec"]["progressDeadlineSeconds"] = 30
    world.add(obj)
    world.after(29)
    assert condition(world.status("d"), "Progressing")["status"] == "True"
    world.after(2)
    assert condition(world.status("d"), "Progressing")["reason"] == "ProgressDeadlineExceeded"


def test_a_deleted_deployment_leaves_nothing(world):
    world.add(node("a"), deployment("d", 2))
    world.after(3)
    world.store.delete("deployments", "default", "d")
    world.after(3)
    assert (world.store.list("rs"), world.pods()) == ([], [])


# Containers that end


def main_of(world):
    (only,) = world.pods()
    return only["status"]["containerStatuses"][0]


def test_a_container_that_fails_is_restarted_with_growing_back_off(world):
    notes = {"sandbox.apportion.dev/exit-after": "5", "sandbox.apportion.dev/exit-code": "3"}
    world.add(node("a"), deployment("d", 1, annotations=notes))
    world.after(8)
    main = main_of(world)
    assert (main["restartCount"], main["ready"]) == (1, True)
    assert main["lastState"]["terminated"]["exitCode"] == 3
    world.after(5)
    main = main_of(world)
    assert main["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert (main["restartCount"], main["ready"]) == (1, False)
    world.after(10)
    assert main_of(world)["restartCount"] == 2
    world.after(15)
    assert main_of(world)["restartCount"] == 2
    world.after(12)
    assert main_of(world)["restartCount"] == 3


def test_a_container_that_completes_says_so(world):
    world.add(node("a"), deployment("d", 1, annotations={"sandbox.apportion.dev/exit-after": "5"}))
    world.after(8)
    last = main_of(world)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (0, "Completed")
    assert last["finishedAt"]


def test_a_pod_can_run_without_ever_being_ready(world):
    world.add(node("a"), deployment("d", 1, annotations={"sandbox.apportion.dev/never-ready": "true"}))
    world.after(5)
    (only,) = world.pods()
    assert (only["status"]["phase"], is_ready(only)) == ("Running", False)
    assert condition(world.status("d"), "Available")["status"] == "False"


# Nodes that fail


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


# Quota


def quota(**hard):
    meta = {"name": "q", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": hard}}


def test_a_quota_stops_a_replica_set_which_says_so_and_goes_on_when_there_is_room(world):
    world.add(gpu_node("a"), quota(**{"requests.nvidia.com/gpu": "4"}), deployment("d", 3, spec=gpus(2)))
    world.after(3)
    assert len(world.running()) == 2
    failure = condition(world.status("d"), "ReplicaFailure")
    expected = "exceeded quota: q, requested: requests.nvidia.com/gpu=2, used: requests.nvidia.com/gpu=4"
    assert expected in failure["message"]
    assert world.status("q", "resourcequotas")["used"] == {"requests.nvidia.com/gpu": "4"}
    world.edit("resourcequotas", "default", "q", hard={"requests.nvidia.com/gpu": "8"})
    world.after(5)
    assert len(world.running()) == 3
    assert condition(world.status("d"), "ReplicaFailure") is None


def test_the_same_seed_gives_the_same_cluster():
    def played(seed):
        world = World(seed=seed)
        world.add(*(gpu_node(f"n{i}") for i in range(4)), deployment("d", 9, spec=gpus(1)))
        world.after(5)
        return [(each["metadata"]["name"], each["spec"]["nodeName"]) for each in world.pods()]

    assert played(3) == played(3)
    assert played(3) != played(4)
