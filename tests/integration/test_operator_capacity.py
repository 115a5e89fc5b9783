"""What counts as room: cordons, taints, labels, the pods of others, broken devices, nodes that vanish."""

from integration.cluster import Cluster, cordon, set_ready
from integration.manifests import GPU, foreign_pod


async def test_a_job_without_accelerators_waits_for_nodes_without_accelerators(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("plain", (1, 2), gpus=0)
    await cluster.expect("plain", refused="NoCompatibleFlavor", says="cpu")

    await cluster.plain_node()

    await cluster.expect("plain", phase="Running", granted=2, flavor="cpu")


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
    slow = cluster.plane.pods_that(terminates_after=1)
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
    ends = cluster.plane.pods_that(exit_after=0)
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
