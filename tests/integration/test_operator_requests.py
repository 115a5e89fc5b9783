"""What users ask of a job that is there: suspend, hold, completion, deletion; and the policy's modes."""

from integration.cluster import Cluster
from integration.manifests import COMPLETED, HOLD


async def test_a_suspended_job_gives_its_room_to_others_in_the_same_round(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("giver", (8, 8))
    await cluster.expect("giver", phase="Running", granted=8)
    await cluster.submit("taker", (8, 8))
    await cluster.expect("taker", refused="NoCapacity", says="needs 8")

    await cluster.spec("giver", suspend=True)

    await cluster.expect("giver", phase="Suspended", granted=0, refused="Suspended", deployment=0)
    await cluster.expect("taker", phase="Running", granted=8)
    await cluster.spec("giver", suspend=False)
    await cluster.expect("giver", phase="Pending", refused="NoCapacity")


async def test_a_held_job_stays_exactly_as_it_is_until_the_annotation_goes(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("held", (1, 8))
    await cluster.expect("held", phase="Running", granted=4)

    await cluster.annotate("held", HOLD, "true")
    await cluster.expect("held", says=HOLD)
    await cluster.nodes(1, gpus=4)
    await cluster.submit("other", (1, 2))
    await cluster.expect("other", phase="Running", granted=2)
    await cluster.expect("held", granted=4, deployment=4)
    await cluster.annotate("held", HOLD, None)

    await cluster.expect("held", phase="Running", granted=6, deployment=6)


async def test_a_held_job_that_never_ran_is_not_admitted(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("held", annotations={HOLD: "true"})

    await cluster.expect("held", phase="Pending", granted=0, refused="Held")


async def test_mode_observe_decides_and_explains_and_patches_nothing(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.policy(mode="Observe")
    await cluster.deploy("trainer", replicas=1)
    await cluster.reference("trainer", (2, 4))
    await cluster.submit("fresh", (1, 2))

    await cluster.expect("fresh", refused="Observed", says=("would get 2", "Enforce"), deployment=None)
    await cluster.expect("trainer", says="would get", deployment=1)

    await cluster.patch("AllocationPolicy", "default", {"spec": {"mode": "Enforce"}})
    await cluster.expect("fresh", phase="Running", granted=2)
    await cluster.expect("trainer", phase="Running", granted=4)


async def test_mode_freeze_keeps_everything_and_admits_nothing(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("old", (1, 8))
    await cluster.expect("old", phase="Running", granted=4)

    await cluster.policy(mode="Freeze")
    await cluster.submit("new", (1, 1))

    await cluster.expect("new", phase="Pending", refused="Frozen")
    await cluster.nodes(1, gpus=4)
    await cluster.calm()
    await cluster.expect("old", granted=4, deployment=4)
    await cluster.expect("new", refused="Frozen")

    await cluster.patch("AllocationPolicy", "default", {"spec": {"mode": "Enforce"}})
    await cluster.expect("new", phase="Running", granted=1)
    await cluster.expect("old", phase="Running", granted=7)


async def test_a_job_marked_complete_has_succeeded(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("marked", (2, 2))
    await cluster.expect("marked", phase="Running", granted=2)

    await cluster.annotate("marked", COMPLETED, "true")

    await cluster.expect("marked", phase="Succeeded", granted=0, complete="MarkedComplete", deployment=0)


# --- deletion ---------------------------------------------------------------------------------------------------------


async def test_a_deleted_jobs_own_deployment_goes_with_it(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("owner", (1, 2))
    await cluster.expect("owner", phase="Running", granted=2)
    owner = (await cluster.get("Deployment", "owner"))["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("TrainingJob", "owner", True)
    assert not (await cluster.get("TrainingJob", "owner"))["metadata"].get("finalizers")

    await cluster.delete("TrainingJob", "owner")

    async def gone() -> bool:
        return await cluster.get("Deployment", "owner") is None and not await cluster.pods("owner", leaving=True)

    await cluster.until(gone, "Deployment and pods are gone")


async def test_a_deleted_jobs_referenced_deployment_stays_as_it_is(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.deploy("guest", replicas=0)
    await cluster.reference("guest", (1, 3))
    await cluster.expect("guest", phase="Running", granted=3, deployment=3)

    await cluster.delete("TrainingJob", "guest")
    await cluster.submit("other", (1, 8))

    await cluster.expect("other", phase="Running", granted=5)
    assert (await cluster.get("Deployment", "guest"))["spec"]["replicas"] == 3
    assert len(await cluster.pods("guest")) == 3
