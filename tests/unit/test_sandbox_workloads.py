"""The simulated Deployment controller and kubelet: which pods leave, rollouts, containers that end, quotas."""

from random import Random

import pytest

from apportion.sandbox import deployment, gpu_node, node
from apportion.sandbox.objects import owner_of
from apportion.sandbox.pods import condition, is_ready
from apportion.sandbox.replicasets import departure_order
from apportion.sandbox.store import Deletion
from unit.sandbox_world import gpus

# --- which pods leave -------------------------------------------------------------------------------------------------


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


# --- Deployments ------------------------------------------------------------------------------------------------------


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


def sets(world):
    return {each["metadata"]["name"]: each for each in world.store.list("replicasets")}


def test_a_deployment_takes_over_what_one_of_its_name_was_told_to_leave(world):
    world.add(node("a"), deployment("d", 2))
    world.after(3)
    pods = world.pods()
    world.store.delete("deployments", "default", "d", Deletion(propagation="Orphan"))
    world.after(1)
    assert [owner_of(each) for each in sets(world).values()] == [None]
    world.add(deployment("d", 2))
    world.after(3)
    assert [each["metadata"]["uid"] for each in world.pods()] == [each["metadata"]["uid"] for each in pods]
    (taken,) = sets(world).values()
    assert owner_of(taken)["uid"] == world.store.get("deployments", "default", "d")["metadata"]["uid"]
    assert world.status("d")["readyReplicas"] == 2


def test_a_deployment_whose_replica_sets_name_is_taken_counts_that_and_takes_another(world):
    world.add(node("a"), deployment("d", 2))
    world.after(3)
    (old,) = sets(world)
    world.store.update("replicasets", "default", old, lambda each: with_meta(each, finalizers=["example.org/stays"]))
    world.store.delete("deployments", "default", "d", Deletion(propagation="Background"))
    world.add(deployment("d", 2))
    world.after(3)
    (new,) = sets(world).keys() - {old}
    assert sorted(owner_of(each)["name"] for each in world.pods()) == sorted([old, old, new, new])
    assert (world.status("d")["collisionCount"], world.status("d")["readyReplicas"]) == (1, 2)


def with_meta(obj, **metadata):
    return {**obj, "metadata": {**obj["metadata"], **metadata}}


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


# --- containers that end ----------------------------------------------------------------------------------------------


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


# --- quota ------------------------------------------------------------------------------------------------------------


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
