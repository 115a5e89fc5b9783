"""What a job's pods do is seen: pending, crashing, ended, refused by a quota."""

import asyncio
from collections.abc import Collection

from integration.cluster import Cluster
from integration.manifests import GPU, RETRY
from integration.reading import condition


async def test_pods_that_stay_pending_fail_with_the_schedulers_words_and_the_grant_goes_back(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("stuck", (4, 4), pod={"schedulerName": "our-own"}, placementTimeoutSeconds=2)
    await cluster.expect("stuck", granted=4, deployment=4)
    await cluster.submit("next", (4, 4))
    await cluster.until(lambda: counted(cluster, "stuck", 4), "four pods")

    for pod in await cluster.pods("stuck"):
        said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no PCIe"}
        await cluster.patch("Pod", pod["metadata"]["name"], {"status": {"conditions": [said]}}, "status")

    job = await cluster.expect(
        "stuck", phase="Pending", granted=0, degraded="PlacementFailed", says="no PCIe", deployment=0
    )
    (resting,) = job["status"]["backoff"]
    assert (resting["flavor"], resting["failures"]) == (cluster.flavor, 1)
    await cluster.event("stuck", "PlacementFailed", "no PCIe")
    await cluster.expect("next", phase="Running", granted=4)


async def counted(cluster: Cluster, name: str, count: int) -> bool:
    return len(await cluster.pods(name)) == count


async def test_a_crash_loop_is_degraded_then_failed_and_a_retry_starts_it_again(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit(
        "crashing", (2, 4), pods=cluster.plane.pods_that(exit_after=0, exit_code=7, never_ready=True), failureLimit=4
    )

    # On a fast machine it is Degraded for a moment only.
    await cluster.event("crashing", "WorkloadFailing", "without becoming ready (limit 4)")
    job = await cluster.expect("crashing", phase="Failed", granted=0, complete="FailureLimit", deployment=0)
    assert condition(job, "Admitted")["status"] == "False"
    await cluster.event("crashing", "FailureLimit")
    await cluster.submit("heir", (8, 8))
    await cluster.expect("heir", phase="Running", granted=8)
    await cluster.delete("TrainingJob", "heir")

    await cluster.annotate("crashing", RETRY, "1")
    await cluster.expect("crashing", phase="Starting", granted=4, complete=None, deployment=4)
    await cluster.expect("crashing", phase="Failed", granted=0, complete="FailureLimit", deployment=0)


async def test_a_failed_job_starts_again_when_its_spec_changes(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    crash = cluster.plane.pods_that(exit_after=0, exit_code=1, never_ready=True)
    await cluster.submit("mended", (2, 2), pods=crash, failureLimit=2)
    await cluster.expect("mended", phase="Failed", deployment=0)

    mended = {"metadata": {"annotations": dict.fromkeys(crash)}}
    await cluster.spec("mended", template=mended)

    await cluster.expect("mended", phase="Running", granted=2, complete=None, degraded=None)


async def test_a_job_whose_pods_all_end_with_zero_has_succeeded(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("short", (2, 2), pods=cluster.plane.pods_that(exit_after=1))

    await cluster.expect("short", phase="Succeeded", granted=0, complete="ExitedZero", deployment=0)
    await cluster.event("short", "ExitedZero")
    await cluster.submit("next", (8, 8))
    await cluster.expect("next", phase="Running", granted=8)


async def test_a_service_never_completes_by_itself(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("service", (1, 1), pods=cluster.plane.pods_that(exit_after=0.2), completionPolicy="Never")
    await cluster.expect("service", granted=1)

    async def restarted() -> bool:
        pods = await cluster.pods("service")
        return any(c["restartCount"] > 2 for pod in pods for c in pod["status"].get("containerStatuses", []))

    await cluster.until(restarted, "it ended several times")

    await cluster.expect("service", granted=1, complete=None, deployment=1)


async def test_pods_that_a_resource_quota_refuses_do_not_count_and_the_refusal_is_told(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "gpus", "namespace": cluster.namespace},
            "spec": {"hard": {f"requests.{GPU}": "2"}},
        }
    )
    await cluster.submit("capped", (1, 6))

    job = await cluster.expect("capped", granted=2, degraded="PodsRefused", deployment=2, ready=2)
    assert "exceeded quota: gpus" in condition(job, "Degraded")["message"]


async def test_a_job_below_a_resource_quota_gives_its_gang_back(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "gpus", "namespace": cluster.namespace},
            "spec": {"hard": {f"requests.{GPU}": "2"}},
        }
    )
    await cluster.submit("gang", (4, 4))

    await cluster.expect("gang", phase="Pending", granted=0, degraded="PodsRefused", deployment=0)


async def has_run_for_a_second(cluster: Cluster, name: str) -> set[str]:
    """Its pods, older than whatever is made from now on: an API server's times are whole seconds."""
    await asyncio.sleep(1.1)
    return await cluster.uids(name)


async def keep_replica_sets(cluster: Cluster, finalizers: Collection[str]) -> None:
    for found in await cluster.all("ReplicaSet"):
        await cluster.patch("ReplicaSet", found["metadata"]["name"], {"metadata": {"finalizers": finalizers}})


async def test_pods_that_a_deleted_deployment_has_left_behind_hold_their_places_but_are_not_the_jobs(
    cluster: Cluster,
) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("made-again", (2, 5))
    await cluster.expect("made-again", phase="Running", granted=5, ready=5)
    old = await has_run_for_a_second(cluster, "made-again")
    await keep_replica_sets(cluster, ["example.org/no-collector-comes"])

    await cluster.delete("Deployment", "made-again")

    await cluster.expect("made-again", phase="Running", granted=3, deployment=3, ready=3)
    assert old < await cluster.uids("made-again")
    settled = (await cluster.get("Deployment", "made-again"))["metadata"]["generation"]
    await cluster.submit("large", (4, 4))
    await cluster.expect("large", phase="Pending", granted=0)
    assert (await cluster.get("Deployment", "made-again"))["metadata"]["generation"] == settled
    await cluster.delete("TrainingJob", "large")

    await keep_replica_sets(cluster, [])

    await cluster.expect("made-again", phase="Running", granted=5, deployment=5, ready=5)


async def test_pods_that_a_deployment_takes_over_from_a_deleted_one_stay_the_jobs(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("taken-over", (2, 5))
    await cluster.expect("taken-over", phase="Running", granted=5, ready=5)
    pods = await has_run_for_a_second(cluster, "taken-over")
    old = await cluster.get("Deployment", "taken-over")

    await cluster.api.request("DELETE", cluster.path("Deployment", "taken-over"), {"propagationPolicy": "Orphan"})

    async def made_again() -> bool:
        found = await cluster.get("Deployment", "taken-over")
        return bool(found and found["metadata"]["uid"] != old["metadata"]["uid"])

    await cluster.until(made_again, "the Deployment is made again")
    await cluster.submit("neighbour", (3, 3))
    await cluster.expect("neighbour", phase="Running", granted=3)
    await cluster.expect("taken-over", phase="Running", granted=5, deployment=5, ready=5)
    assert await cluster.uids("taken-over") == pods
