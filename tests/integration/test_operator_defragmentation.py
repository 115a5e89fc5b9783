"""Pods leave so that a gang fits: those that were chosen and no others, by the ReplicaSet controller's own hand."""

from integration.cluster import Cluster
from integration.reading import seen_of


async def pods_on(cluster: Cluster, name: str, node: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in await cluster.pods(name) if pod["spec"].get("nodeName") == node}


async def halves(cluster: Cluster) -> tuple[str, str]:
    """Two nodes of eight; `dear` holds half of the first, `cheap` half of the second."""
    (first,) = await cluster.nodes(1, gpus=8)
    await cluster.submit("dear", gpus=4, restartSeconds=1)
    await cluster.submit("filler", gpus=4)
    for name in ("dear", "filler"):
        await cluster.expect(name, phase="Running", granted=1)
    (second,) = await cluster.nodes(1, gpus=8)
    await cluster.submit("cheap", gpus=4)
    await cluster.expect("cheap", phase="Running", granted=1)
    await remove_filler(cluster)
    return first, second


async def remove_filler(cluster: Cluster) -> None:
    async def gone() -> bool:
        return not await cluster.pods("filler", leaving=True)

    await cluster.delete("TrainingJob", "filler")
    await cluster.until(gone, "the filler is gone")


async def test_a_gang_that_fits_by_count_waits_until_the_policy_lets_jobs_move(cluster: Cluster) -> None:
    first, second = await halves(cluster)
    dear = await cluster.uids("dear")
    await cluster.submit("gang", gpus=8)
    await cluster.expect("gang", granted=0, refused="NoCapacity", says="8 are free, but not whole")
    await cluster.calm()
    assert len(await pods_on(cluster, "cheap", second)) == 1

    # An admission is worth more here than restarts of jobs that are some seconds old.
    await cluster.policy(defragmentation="Enabled", objective={"admissionWorth": 100})

    await cluster.expect("gang", phase="Running", granted=1)
    await cluster.expect("cheap", phase="Running", granted=1)
    assert len(await pods_on(cluster, "gang", second)) == 1
    assert len(await pods_on(cluster, "cheap", first)) == 1
    assert await cluster.uids("dear") == dear, "whose restart would have cost more"
    job = await cluster.get("TrainingJob", "cheap")
    assert "displaced" not in job["status"]
    assert job["status"]["restarts"] == 1


async def test_who_moves_says_for_whom(cluster: Cluster) -> None:
    """The gang's image cannot be placed: the job that made room comes back where it was."""
    await halves(cluster)
    await cluster.policy(defragmentation="Enabled", objective={"admissionWorth": 100})
    await cluster.submit("gang", gpus=8, pod={"schedulerName": "our-own"}, placementTimeoutSeconds=3)

    job = await cluster.expect("cheap", granted=0, refused="MovedToMakeRoom", says="moved to make room for")
    assert job["status"]["displaced"]["by"] == f"{cluster.namespace}/gang"
    await cluster.expect("gang", granted=0, degraded="PlacementFailed")
    await cluster.expect("cheap", phase="Running", granted=1)
    assert seen_of(await cluster.get("TrainingJob", "dear"))["phase"] == "Running"


async def test_exactly_the_chosen_pods_leave_when_a_job_goes_on_with_fewer(cluster: Cluster) -> None:
    """An ordinary shrink takes the pod that is alone on its node; here the two beside each other are in the way."""
    (first,) = await cluster.nodes(1, gpus=8)
    await cluster.submit("firm", gpus=2, preemptible=False)
    await cluster.submit("filler", gpus=4)
    await cluster.submit("wide", gpus=2)
    for name in ("firm", "filler", "wide"):
        await cluster.expect(name, phase="Running", granted=1)
    (second,) = await cluster.nodes(1, gpus=8)
    await cluster.spec("wide", maxReplicas=3)
    await cluster.expect("wide", phase="Running", granted=3)
    await remove_filler(cluster)
    stays = await pods_on(cluster, "wide", first)
    assert (len(stays), len(await pods_on(cluster, "wide", second))) == (1, 2)

    await cluster.policy(defragmentation="Enabled", objective={"admissionWorth": 100})
    await cluster.submit("gang", gpus=8)

    await cluster.expect("gang", phase="Running", granted=1)
    await cluster.expect("wide", phase="Running", granted=3)
    assert len(await pods_on(cluster, "gang", second)) == 1
    after = await pods_on(cluster, "wide", first)
    assert stays < after, "the pod that was not in the way went on"
    assert len(after) == 3


async def test_the_survivors_of_a_shrink_are_those_that_were_counted_on(cluster: Cluster) -> None:
    """Left to itself the ReplicaSet controller takes pods from where most of them are; the gang needs the other node.

    A pod that its owner has given a low cost of its own does not stay in the place of one that was chosen to stay.
    """
    (first,) = await cluster.nodes(1, gpus=8)
    await cluster.submit("wide", (2, 2), gpus=4, pods={"controller.kubernetes.io/pod-deletion-cost": "-7"})
    await cluster.expect("wide", phase="Running", granted=2)
    (second,) = await cluster.nodes(1, gpus=8)
    await cluster.spec("wide", maxReplicas=3)
    await cluster.expect("wide", phase="Running", granted=3)
    stay = await pods_on(cluster, "wide", first)
    assert (len(stay), len(await pods_on(cluster, "wide", second))) == (2, 1)

    await cluster.submit("gang", gpus=8)

    await cluster.expect("gang", phase="Running", granted=1)
    await cluster.expect("wide", phase="Running", granted=2)
    assert await pods_on(cluster, "gang", second)
    assert await cluster.uids("wide") == stay
