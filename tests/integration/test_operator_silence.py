"""When nothing is written: a quiet cluster, and changes that change nothing."""

from integration.cluster import Cluster, operating
from integration.manifests import SYSTEM, foreign_pod
from integration.waiting import until


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


async def test_a_quiet_cluster_is_asked_for_nothing_but_the_lease(own_cluster: Cluster) -> None:
    """What is watched need not be listed, and who holds the Lease need not read it."""
    async with operating(own_cluster, "--audit-seconds", "1") as operator:
        await own_cluster.nodes(1, gpus=8)
        await own_cluster.submit("runs", (1, 6))
        await own_cluster.expect("runs", phase="Running", granted=6)

        async def asked_nothing_else() -> bool:
            """Through three renewals, in three seconds in which LISTs could be due."""
            start, renewals = len(own_cluster.plane.log()), await renewed(own_cluster)

            async def three_more_renewals() -> bool:
                return await renewed(own_cluster) > renewals + 3

            await own_cluster.until(three_more_renewals, "the Lease is renewed")
            asked[:] = [f"{seen.method} {seen.path}" for seen in own_cluster.plane.log()[start:]]
            return all(each.startswith("PUT") and "/leases/" in each for each in asked)

        asked: list[str] = []
        await until(asked_nothing_else, "nothing else is asked for", 30, lambda: "\n".join(asked) + operator.log())


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


async def test_a_job_that_starts_is_written_before_one_that_is_only_told_why_it_waits(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.policy(mode="Freeze")
    await cluster.submit("a-waits", (8, 8))
    await cluster.submit("b-runs", (1, 1))
    await cluster.expect("a-waits", refused="Frozen")
    await cluster.expect("b-runs", refused="Frozen")
    await cluster.calm()
    start = len(cluster.plane.writes())

    await cluster.policy(mode="Enforce")

    await cluster.expect("a-waits", refused="GangTooLarge")
    await cluster.expect("b-runs", phase="Running")
    writes = [f"{seen.method} {seen.path}" for seen in cluster.plane.writes()[start:]]
    created = next(at for at, write in enumerate(writes) if write.startswith("POST") and "/deployments" in write)
    told = next(at for at, write in enumerate(writes) if "a-waits/status" in write)
    assert created < told
