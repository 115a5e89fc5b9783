"""Flavors of which nodes may be added: nodes come, too few come, none comes, and what happens in the meantime."""

from typing import Any

from integration.autoscaler import autoscaling
from integration.cluster import Cluster, operating
from integration.manifests import GPU, PRODUCT
from integration.reading import condition

EACH = 4


async def offer(cluster: Cluster, most: int, seconds: int = 600) -> None:
    """Nodes of the test's product may be added."""
    flavor = {
        "name": cluster.flavor,
        "resource": GPU,
        "nodeSelector": {PRODUCT: cluster.product},
        "provisionable": {
            "maxNodes": most,
            "acceleratorsPerNode": EACH,
            "provisioningTimeoutSeconds": seconds,
        },
    }
    await cluster.policy(flavors=[flavor])


async def waits(cluster: Cluster, name: str, nodes: int) -> Any:
    """Wait until the job waits for so many nodes at most, and its pods are there."""
    job = await cluster.expect(name, says="new node")
    pods = job["status"]["admission"]["replicas"]
    assert job["status"]["admission"]["newNodes"] == nodes
    assert condition(job, "Running")["reason"] == "WaitingForNodes"

    async def made() -> bool:
        return len(await cluster.pods(name)) == pods

    await cluster.until(made, f"{name} has {pods} pods")
    return job


async def test_nodes_are_asked_for_come_and_the_gang_runs(cluster: Cluster) -> None:
    await offer(cluster, most=3)
    await cluster.submit("gang", (6, 6))
    await waits(cluster, "gang", 2)

    async with autoscaling(cluster, most=3) as autoscaler:
        job = await cluster.expect("gang", phase="Running", granted=6, flavor=cluster.flavor)

    assert len(autoscaler.made) == 2, "no more than its pods fill"
    assert job["status"]["restarts"] == 0
    pods = await cluster.pods("gang")
    assert all(pod["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true" for pod in pods)

    async def forgotten() -> bool:
        return "newNodes" not in (await cluster.get("TrainingJob", "gang"))["status"]["admission"]

    await cluster.until(forgotten, "nothing is awaited any more")


async def test_no_more_is_asked_for_than_may_come(cluster: Cluster) -> None:
    await offer(cluster, most=2)
    await cluster.submit("first", (4, 4))
    await waits(cluster, "first", 1)
    await cluster.submit("second", (2, 16))
    await waits(cluster, "second", 1)
    await cluster.submit("third", (1, 1))

    await cluster.calm(1)

    await cluster.expect("third", granted=0, refused="NoCapacity")
    pods = [pod for name in ("first", "second", "third") for pod in await cluster.pods(name)]
    assert len(pods) == 2 * EACH


async def test_nodes_that_never_come_are_given_back_and_others_run_on(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=EACH)
    await cluster.submit("here", (2, 2))
    await cluster.expect("here", phase="Running", granted=2)
    uids = await cluster.uids("here")
    await offer(cluster, most=3, seconds=3)

    await cluster.submit("gang", (8, 8), placementTimeoutSeconds=1)

    job = await cluster.expect("gang", granted=0, degraded="NodesNotProvided", deployment=0)
    (rest,) = job["status"]["backoff"]
    assert (rest["flavor"], rest["failures"]) == (cluster.flavor, 1)
    await cluster.submit("small", (2, 2))
    await cluster.expect("small", phase="Running", granted=2)
    assert await cluster.uids("here") == uids


async def test_when_fewer_nodes_come_the_job_keeps_what_they_hold(cluster: Cluster) -> None:
    await offer(cluster, most=3, seconds=4)

    async with autoscaling(cluster, most=1):
        await cluster.submit("gang", (4, 12), replicaSteps=[4, 8, 12], placementTimeoutSeconds=1)
        job = await cluster.expect("gang", granted=EACH, deployment=EACH, degraded="NodesNotProvided", ready=EACH)

    assert job["status"]["admission"]["flavor"] == cluster.flavor


async def test_a_job_that_is_deleted_meanwhile_leaves_no_pods(cluster: Cluster) -> None:
    await offer(cluster, most=2)
    await cluster.submit("gang", (8, 8))
    await waits(cluster, "gang", 2)

    await cluster.delete("TrainingJob", "gang")

    async def gone() -> bool:
        return not await cluster.pods("gang", leaving=True)

    await cluster.until(gone, "its pods are gone: nothing asks for nodes")
    await cluster.submit("next", (8, 8))
    await waits(cluster, "next", 2)


async def test_an_operator_that_restarts_meanwhile_goes_on_waiting(own_cluster: Cluster) -> None:
    cluster = own_cluster
    async with operating(cluster):
        await offer(cluster, most=2, seconds=600)
        await cluster.submit("gang", (8, 8), placementTimeoutSeconds=1)
        before = await waits(cluster, "gang", 2)
    uids = await cluster.uids("gang")
    async with operating(cluster):
        await cluster.calm(2)
        after = await waits(cluster, "gang", 2)
        assert after["status"]["admission"] == before["status"]["admission"]
        assert await cluster.uids("gang") == uids
        async with autoscaling(cluster, most=2):
            await cluster.expect("gang", phase="Running", granted=8)
        assert await cluster.uids("gang") == uids
