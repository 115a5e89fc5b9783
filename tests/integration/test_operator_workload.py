"""How replicas reach a Deployment, and what counts as room: seen on the wire and in the objects."""

import asyncio
import re
from typing import Any

import pytest

from apportion.kube.client import JSON_PATCH, Refused
from integration.cluster import (
    DECISION,
    GPU,
    SYSTEM,
    Cluster,
    cordon,
    foreign_pod,
    priority_class,
    set_ready,
)

PRODUCT = "nvidia.com/gpu.product"


def steps(cluster: Cluster, since: int) -> list[str]:
    """The operators' successful writes of this test's namespace since then, as "status NAME" and "deployment NAME"."""
    found = []
    for seen in cluster.plane.log()[since:]:
        match = re.search(
            rf"/namespaces/{cluster.namespace}/(trainingjobs|deployments)(?:/([^/?]+))?(/status)?", seen.path
        )
        if seen.is_write and match and seen.status < 300:
            kind = "status" if match.group(3) else {"POST": "create", "PATCH": "deployment"}[seen.method]
            found.append(f"{kind} {match.group(2) or ''}".strip())
    return found


async def template_of(cluster: Cluster, name: str) -> Any:
    return (await cluster.get("Deployment", name))["spec"]["template"]


async def generation_of(cluster: Cluster, name: str) -> int:
    return int((await cluster.get("Deployment", name))["metadata"]["generation"])


async def uids(cluster: Cluster, name: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in await cluster.pods(name)}


# --- order of writes -------------------------------------------------------------------------------------------------


async def test_the_status_is_written_before_the_deployment_and_both_only_once(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    start = len(cluster.plane.log())
    await cluster.submit("job", (1, 8))
    await cluster.expect("job", granted=4, deployment=4)
    assert steps(cluster, start)[:2] == ["status job", "create"]
    await cluster.expect("job", phase="Running", ready=4)
    await cluster.calm()

    start = len(cluster.plane.log())
    await cluster.nodes(1, gpus=4)
    await cluster.expect("job", granted=8, deployment=8)

    assert steps(cluster, start)[:2] == ["status job", "deployment job"]
    await cluster.expect("job", phase="Running")
    await cluster.calm()
    assert steps(cluster, start).count("deployment job") == 1


async def test_shrinks_come_before_grows(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("zz-giver", (1, 8))
    await cluster.expect("zz-giver", phase="Running", granted=8)
    start = len(cluster.plane.log())

    await cluster.submit("aa-taker", (1, 8))

    await cluster.expect("aa-taker", phase="Running", granted=4)
    written = [step for step in steps(cluster, start) if not step.startswith("status")]
    assert written == ["deployment zz-giver", "create"]


async def test_a_grow_waits_until_terminating_pods_have_left_their_room(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit(
        "slow",
        (4, 8),
        pods={"sandbox.apportion.dev/terminates-after": "1.5"},
        pod={"terminationGracePeriodSeconds": 30},
    )
    await cluster.expect("slow", phase="Running", granted=8)
    await cluster.submit("next", (4, 4))
    await cluster.expect("slow", granted=4, deployment=4)

    over = False

    async def runs() -> bool:
        nonlocal over
        pods = [*await cluster.pods("slow", leaving=True), *await cluster.pods("next")]
        over = over or len(pods) > 8
        return len(await cluster.pods("next")) == 4

    await cluster.until(runs, "next has its pods")
    assert not over, "never more pods than devices"
    await cluster.expect("next", phase="Running", granted=4)


# --- what a resize touches -------------------------------------------------------------------------------------------


async def test_a_resize_of_the_count_never_touches_the_template(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("job", (1, 8))
    await cluster.expect("job", phase="Running", granted=4)
    before, pods = await template_of(cluster, "job"), await uids(cluster, "job")
    generation = await generation_of(cluster, "job")

    await cluster.nodes(1, gpus=4)
    await cluster.expect("job", phase="Running", granted=8, deployment=8)
    assert await template_of(cluster, "job") == before
    assert await generation_of(cluster, "job") == generation + 1, "nothing but the count changed in the spec"
    assert pods <= await uids(cluster, "job"), "nobody was restarted"

    await cluster.spec("job", maxReplicas=2)
    await cluster.expect("job", phase="Running", granted=2, deployment=2)
    assert await template_of(cluster, "job") == before
    assert await generation_of(cluster, "job") == generation + 2
    revisions = {rs["metadata"]["name"] for rs in await cluster.all("ReplicaSet")}
    assert len(revisions) == 1


async def test_other_peoples_labels_annotations_and_fields_are_kept(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    meta = {
        "labels": {"app": "guest", "apportion.dev/managed": "true", "team": "vision"},
        "annotations": {"owner": "alice", "example.com/odd.Key_1": "~1/"},
    }
    await cluster.deploy("guest", replicas=1, meta=meta, revisionHistoryLimit=3, minReadySeconds=0)
    before = await cluster.get("Deployment", "guest")
    await cluster.reference("guest", (2, 4))
    await cluster.expect("guest", phase="Running", granted=4, deployment=4)

    after = await cluster.get("Deployment", "guest")

    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    for key, value in meta["annotations"].items():
        assert after["metadata"]["annotations"][key] == value
    kept = {key: value for key, value in after["spec"].items() if key not in ("replicas", "template")}
    assert kept == {key: value for key, value in before["spec"].items() if key not in ("replicas", "template")}
    assert after["spec"]["template"]["spec"]["containers"] == before["spec"]["template"]["spec"]["containers"]


async def test_a_deployment_without_any_annotation_can_be_sized(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.deploy("bare", replicas=0)
    await cluster.reference("bare", (2, 2))

    await cluster.expect("bare", phase="Running", granted=2, deployment=2)
    annotations = (await cluster.get("Deployment", "bare"))["metadata"]["annotations"]
    assert annotations["apportion.dev/replicas"] == "2"
    assert annotations["apportion.dev/flavor"] == cluster.flavor
    assert annotations[DECISION].isdecimal()
    template = await template_of(cluster, "bare")
    assert template["metadata"]["annotations"]["apportion.dev/flavor"] == cluster.flavor, "where its pods can read it"


async def test_a_deployment_that_ran_before_its_job_came_restarts_once_at_most_to_be_pinned(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.deploy("early", replicas=2, pod={"nodeSelector": {PRODUCT: cluster.product}})
    await cluster.until(lambda: _ready(cluster, "early", 2), "two pods run")

    await cluster.reference("early", (2, 2))
    await cluster.submit("rival", (7, 7))

    await cluster.expect("early", phase="Running", granted=2, flavor=cluster.flavor, deployment=2)
    await cluster.expect("rival", refused="NoCapacity")
    pods = await uids(cluster, "early")
    await cluster.calm()
    assert await uids(cluster, "early") == pods


async def _ready(cluster: Cluster, name: str, count: int) -> bool:
    deployment = await cluster.get("Deployment", name)
    return bool(deployment.get("status", {}).get("readyReplicas", 0) == count)


# --- change of flavor ------------------------------------------------------------------------------------------------


async def two_flavors(cluster: Cluster) -> tuple[str, str]:
    """A slow flavor with a node, and a fast one that has none yet; the names."""
    slow, fast = f"slow-{cluster.token}", f"fast-{cluster.token}"
    await cluster.policy(
        flavors=[
            {
                "name": name,
                "resource": GPU,
                "nodeSelector": {PRODUCT: f"{name}-product"},
                "speed": speed,
                "tolerations": [{"key": name, "operator": "Exists", "effect": "NoSchedule"}],
            }
            for name, speed in ((slow, 0.2), (fast, 1.0))
        ]
    )
    return slow, fast


def taint(name: str) -> list[dict[str, str]]:
    return [{"key": name, "value": "true", "effect": "NoSchedule"}]


async def test_an_owned_deployment_moves_to_another_flavor_all_at_once(cluster: Cluster) -> None:
    slow, fast = await two_flavors(cluster)
    await cluster.nodes(1, gpus=4, product=f"{slow}-product", taints=taint(slow))
    await cluster.submit("mover", (2, 2), pods={"sandbox.apportion.dev/terminates-after": "0.5"})
    await cluster.expect("mover", phase="Running", granted=2, flavor=slow)
    old = await uids(cluster, "mover")

    mixed = False
    await cluster.nodes(1, gpus=4, product=f"{fast}-product", taints=taint(fast))

    async def moved() -> bool:
        nonlocal mixed
        products = {pod["spec"]["nodeSelector"][PRODUCT] for pod in await cluster.pods("mover", leaving=True)}
        mixed = mixed or len(products) > 1
        return products == {f"{fast}-product"}

    await cluster.until(moved, "all pods are on the fast flavor")
    job = await cluster.expect("mover", phase="Running", granted=2, flavor=fast)

    assert not mixed, "all old pods go before new ones start"
    assert not old & await uids(cluster, "mover")
    spec = (await template_of(cluster, "mover"))["spec"]
    assert spec["nodeSelector"] == {PRODUCT: f"{fast}-product"}
    tolerated = {entry["key"] for entry in spec["tolerations"]}
    assert fast in tolerated
    assert slow not in tolerated
    assert job["status"]["restarts"] == 1
    await cluster.event("mover", "Moved", slow, fast)


async def test_a_referenced_deployment_is_taken_to_zero_pinned_anew_and_raised(cluster: Cluster) -> None:
    slow, fast = await two_flavors(cluster)
    await cluster.nodes(1, gpus=4, product=f"{slow}-product", taints=taint(slow))
    theirs = {"key": "theirs", "operator": "Exists"}
    await cluster.deploy(
        "guest", replicas=0, pod={"nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [theirs]}
    )
    for node in await cluster.all("Node"):
        await cluster.patch("Node", node["metadata"]["name"], {"metadata": {"labels": {"kubernetes.io/os": "linux"}}})
    await cluster.reference("guest", (2, 2))
    await cluster.expect("guest", phase="Running", granted=2, flavor=slow)
    seen: list[tuple[int, str]] = []

    await cluster.nodes(1, gpus=4, product=f"{fast}-product", taints=taint(fast), labels={"kubernetes.io/os": "linux"})

    async def moved() -> bool:
        found = await cluster.get("Deployment", "guest")
        spec = found["spec"]["template"]["spec"]
        seen.append((found["spec"]["replicas"], spec["nodeSelector"][PRODUCT]))
        return seen[-1] == (2, f"{fast}-product")

    await cluster.until(moved, "raised on the fast flavor")
    await cluster.expect("guest", phase="Running", granted=2, flavor=fast)

    distinct = [pair for index, pair in enumerate(seen) if index == 0 or seen[index - 1] != pair]
    assert (0, f"{slow}-product") in distinct, "first to zero"
    spec = (await template_of(cluster, "guest"))["spec"]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", PRODUCT: f"{fast}-product"}
    tolerated = {entry["key"] for entry in spec["tolerations"]}
    assert {"theirs", fast} <= tolerated
    assert slow not in tolerated


async def test_a_new_template_replaces_the_pods_of_an_owned_deployment(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("job", (2, 2))
    await cluster.expect("job", phase="Running", granted=2)
    old = await uids(cluster, "job")

    await cluster.spec("job", template={"metadata": {"annotations": {"version": "2"}}})

    async def renewed() -> bool:
        pods = await cluster.pods("job", leaving=True)
        return len(pods) == 2 and all(pod["metadata"]["annotations"].get("version") == "2" for pod in pods)

    await cluster.until(renewed, "two pods of the new template")
    assert not old & await uids(cluster, "job")
    await cluster.expect("job", phase="Running", granted=2)


async def test_owned_pods_never_preempt_unless_their_template_names_a_class(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    bold = f"bold-{cluster.token}"
    await cluster.apply(priority_class(bold, 77, "PreemptLowerPriority"))
    await cluster.submit("meek")
    await cluster.submit("bold", pod={"priorityClassName": bold})
    await cluster.expect("meek", phase="Running")
    await cluster.expect("bold", phase="Running")

    assert (await template_of(cluster, "meek"))["spec"]["priorityClassName"] == "apportion-training"
    assert (await template_of(cluster, "bold"))["spec"]["priorityClassName"] == bold


async def test_a_referenced_deployment_that_can_preempt_is_warned_about(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    bold = f"bold-{cluster.token}"
    await cluster.apply(priority_class(bold, 77, "PreemptLowerPriority"))
    await cluster.deploy("bold", replicas=0, pod={"priorityClassName": bold})
    await cluster.reference("bold", (1, 1))

    await cluster.event("bold", "CanPreempt", bold)
    await cluster.expect("bold", phase="Running", granted=1)


async def test_a_shrink_lets_whole_nodes_come_free(cluster: Cluster) -> None:
    await cluster.nodes(2, gpus=4)
    await cluster.submit("wide", (1, 8))
    await cluster.expect("wide", phase="Running", granted=8)

    await cluster.submit("block", (1, 1), gpus=4)

    await cluster.expect("block", phase="Running", granted=1)
    await cluster.expect("wide", phase="Running", granted=4)
    hosts = {pod["spec"]["nodeName"] for pod in await cluster.pods("wide")}
    assert len(hosts) == 1


# --- the fence -------------------------------------------------------------------------------------------------------


async def test_a_patch_made_for_an_earlier_state_is_refused_by_its_own_tests(cluster: Cluster) -> None:
    """What a stale leader would send: the state moved on, so uid, replicas or decision do not match any more."""
    await cluster.nodes(1, gpus=8)
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=4)
    old = await cluster.get("Deployment", "job")
    decision = "/metadata/annotations/apportion.dev~1decision"
    stale = [
        {"op": "test", "path": "/metadata/uid", "value": old["metadata"]["uid"]},
        {"op": "test", "path": "/spec/replicas", "value": 4},
        {"op": "test", "path": decision, "value": old["metadata"]["annotations"][DECISION]},
        {"op": "replace", "path": "/spec/replicas", "value": 1},
    ]
    await cluster.spec("job", maxReplicas=2)
    await cluster.expect("job", phase="Running", granted=2, deployment=2)
    await cluster.spec("job", maxReplicas=4)
    await cluster.expect("job", phase="Running", granted=4, deployment=4)

    with pytest.raises(Refused) as refused:
        await cluster.api.request("PATCH", cluster.path("Deployment", "job"), {}, stale, JSON_PATCH)

    assert refused.value.code in (409, 422)
    await cluster.expect("job", granted=4, deployment=4)


async def test_decisions_keep_rising_when_nothing_is_granted_in_between(cluster: Cluster) -> None:
    """Were a round's number given twice, a stale leader's patch could pass its own test."""
    await cluster.nodes(1, gpus=8)
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=4)
    first = (await cluster.get("Deployment", "job"))["metadata"]["annotations"][DECISION]

    await cluster.spec("job", suspend=True)
    await cluster.expect("job", phase="Suspended", granted=0, deployment=0)
    await cluster.spec("job", suspend=False)
    await cluster.expect("job", phase="Running", granted=4, deployment=4)

    second = (await cluster.get("Deployment", "job"))["metadata"]["annotations"][DECISION]
    assert int(second) > int(first)


async def test_a_hand_that_comes_in_between_a_decision_and_its_patch_is_not_overwritten_blindly(
    cluster: Cluster,
) -> None:
    """Two writers: a person resizes just before the operator's patch arrives; its tests fail, the next round mends."""
    await cluster.nodes(1, gpus=4)
    await cluster.submit("job", (1, 8))
    await cluster.expect("job", phase="Running", granted=4)
    loop, raced = asyncio.get_running_loop(), []

    async def race(request: Any) -> None:
        if request.method == "PATCH" and f"{cluster.namespace}/deployments/job" in request.path and not raced:
            raced.append(request.path)
            hand = asyncio.run_coroutine_threadsafe(cluster.scale("job", 2, manager="alice"), loop)
            await asyncio.wrap_future(hand)

    start = len(cluster.plane.log())
    cluster.plane.wire.before = race
    try:
        await cluster.nodes(1, gpus=4)
        await cluster.expect("job", phase="Running", granted=8, deployment=8)
    finally:
        cluster.plane.wire.before = None

    tries = [s.status for s in cluster.plane.log()[start:] if "/deployments/job" in s.path and s.method == "PATCH"]
    assert tries[0] in (409, 422)
    assert tries[-1] == 200


# --- capacity --------------------------------------------------------------------------------------------------------


async def test_cordoned_nodes_keep_their_pods_and_get_no_more(cluster: Cluster) -> None:
    nodes = await cluster.nodes(1, gpus=8)
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=4)

    await cordon(cluster, nodes[0])
    await cluster.submit("other", (1, 1))

    await cluster.expect("other", phase="Pending", refused="NoCompatibleFlavor", says=("placeable", "is cordoned"))
    await cluster.expect("job", phase="Running", granted=4, deployment=4)
    await cordon(cluster, nodes[0], False)
    await cluster.expect("other", phase="Running", granted=1)


async def test_a_taint_keeps_a_job_away_unless_it_tolerates_it(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8, taints=[{"key": "dedicated", "value": "vision", "effect": "NoSchedule"}])
    await cluster.submit("stranger")
    await cluster.submit("member", pod={"tolerations": [{"key": "dedicated", "operator": "Exists"}]})

    await cluster.expect("member", phase="Running", granted=1)
    await cluster.expect("stranger", refused="NoCompatibleFlavor", says=("taint", "dedicated"))


async def test_requirements_on_labels_are_obeyed(cluster: Cluster) -> None:
    (small,) = await cluster.nodes(1, gpus=8, labels={"nvidia.com/gpu.memory": "40000"})
    rule = {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["60000"]}
    await cluster.submit("large", accelerators={"requirements": [rule]})
    await cluster.expect("large", refused="NoCompatibleFlavor", says="nvidia.com/gpu.memory")

    (big,) = await cluster.nodes(1, gpus=8, labels={"nvidia.com/gpu.memory": "80000"})

    await cluster.expect("large", phase="Running", granted=1)
    assert {pod["spec"]["nodeName"] for pod in await cluster.pods("large")} == {big} != {small}


async def test_pods_of_others_hold_their_room_until_they_are_gone(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    slow = {"sandbox.apportion.dev/terminates-after": "1"}
    await cluster.apply(foreign_pod(cluster.namespace, "notebook", 3, pods=slow))
    await cluster.until(lambda: _bound(cluster, "notebook"), "the notebook is bound")
    await cluster.submit("job", (1, 8))
    await cluster.expect("job", phase="Running", granted=5, says="needs 1 more")

    await cluster.delete("Pod", "notebook")
    while (left := await cluster.get("Pod", "notebook")) is not None:
        assert left["metadata"]["deletionTimestamp"]
        granted = (await cluster.get("TrainingJob", "job"))["status"]["admission"]["replicas"]
        if await cluster.get("Pod", "notebook") is not None:
            assert granted == 5, "a terminating pod holds its devices"

    await cluster.expect("job", phase="Running", granted=8)


async def _bound(cluster: Cluster, name: str) -> bool:
    pod = await cluster.get("Pod", name)
    return bool(pod and pod["spec"].get("nodeName"))


async def test_pods_that_have_ended_hold_nothing(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    ends = {"sandbox.apportion.dev/exit-after": "0"}
    await cluster.apply(foreign_pod(cluster.namespace, "once", 8, pods=ends, restartPolicy="Never"))

    async def over() -> bool:
        return (await cluster.get("Pod", "once"))["status"].get("phase") == "Succeeded"

    await cluster.until(over, "the pod ended")
    await cluster.submit("job", (8, 8))

    await cluster.expect("job", phase="Running", granted=8)


async def test_broken_devices_are_gone_from_allocatable(cluster: Cluster) -> None:
    (node,) = await cluster.nodes(1, gpus=8)
    await cluster.patch("Node", node, {"status": {"allocatable": {GPU: "6"}}}, "status", manager="kubelet")
    await cluster.submit("job", (1, 8))

    await cluster.expect("job", phase="Running", granted=6)


async def test_an_empty_node_list_shrinks_nobody(cluster: Cluster) -> None:
    nodes = await cluster.nodes(3, gpus=4)
    await cluster.submit("job", (1, 12))
    await cluster.expect("job", phase="Running", granted=12)

    for name in nodes:
        await cluster.delete("Node", name)
    await cluster.calm(2)

    await cluster.expect("job", granted=12, deployment=12)


async def test_most_nodes_not_ready_shrinks_nobody(cluster: Cluster) -> None:
    nodes = await cluster.nodes(5, gpus=2)
    await cluster.submit("job", (1, 10))
    await cluster.submit("referenced", (1, 1))
    await cluster.expect("referenced", phase="Running")
    await cluster.expect("job", phase="Running", granted=9)

    for name in nodes[:3]:
        await set_ready(cluster, name, False)
    await cluster.calm(2)

    await cluster.expect("job", granted=9, deployment=9)
    for name in nodes[:3]:
        await set_ready(cluster, name, True)
    await cluster.expect("job", phase="Running", granted=9, deployment=9)


# --- when not to change ----------------------------------------------------------------------------------------------


async def test_a_quiet_cluster_sees_no_write_but_the_lease(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.policy(mode="Enforce")
    await cluster.queue("default", {"*": 8})
    await cluster.submit("runs", (1, 6))
    await cluster.submit("waits", (8, 8))
    await cluster.submit("odd", accelerators={"perReplica": 3})
    await cluster.expect("runs", phase="Running", granted=6)
    await cluster.expect("waits", phase="Pending")
    await cluster.calm(1.5)
    start, renewals = len(cluster.plane.writes()), await renewed(cluster)

    async def three_more_renewals() -> bool:
        return await renewed(cluster) > renewals + 5

    await cluster.until(three_more_renewals, "the Lease is renewed")

    assert cluster.plane.writes()[start:] == []


async def renewed(cluster: Cluster) -> int:
    return sum(1 for seen in cluster.plane.log() if seen.method == "PUT" and f"{SYSTEM}/leases" in seen.path)


async def test_a_heartbeat_of_nodes_and_others_pods_changes_nothing(cluster: Cluster) -> None:
    (node,) = await cluster.nodes(1, gpus=8)
    await cluster.submit("runs", (1, 8))
    await cluster.expect("runs", phase="Running", granted=8)
    await cluster.calm()
    start = len(cluster.plane.writes())

    for beat in range(5):
        said = {"type": "Ready", "status": "True", "reason": "Test", "message": f"beat {beat}"}
        await cluster.patch("Node", node, {"status": {"conditions": [said]}}, "status", manager="kubelet")
    await cluster.apply(
        foreign_pod(cluster.namespace, "cpu-only", 0) | {"spec": {"containers": [{"name": "a", "image": "b"}]}}
    )
    await cluster.calm()

    assert cluster.plane.writes()[start:] == []
