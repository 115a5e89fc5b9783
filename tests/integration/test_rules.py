"""The rules that users rely on, against a real operator process: admission, refusals, hands off, crashes, silence."""

from typing import Any

from integration.cluster import Cluster, condition

PATCHES = ("apportion.dev/hold", "true")


async def deployment(cluster: Cluster, name: str) -> Any:
    return await cluster.get("Deployment", name)


async def test_what_cannot_fit_says_so_and_is_looked_at_again_when_a_node_comes(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("big", (1, 1), gpus=8, accelerators={"flavors": [{"name": cluster.flavor}]})
    await cluster.expect("big", refused="GangTooLarge", says=["needs 8 nvidia.com/gpu on one node", "has 4"])
    await cluster.nodes(1, gpus=8)
    await cluster.expect("big", phase="Running", granted=1)


async def test_a_contradiction_is_invalid_and_others_are_not_disturbed(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("good", (1, 2), gpus=1)
    await cluster.expect("good", phase="Running", granted=2)
    await cluster.submit("bad", (1, 2), gpus=2, accelerators={"perReplica": 1})
    await cluster.expect("bad", phase="Invalid", granted=0, invalid="spec.accelerators.perReplica")
    await cluster.expect("good", phase="Running", granted=2)


async def test_suspend_gives_the_room_to_others(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("first", (8, 8))
    await cluster.expect("first", phase="Running", granted=8)
    await cluster.submit("second", (8, 8))
    await cluster.expect("second", refused="NoCapacity", says="needs 8")
    await cluster.spec("first", suspend=True)
    await cluster.expect("first", phase="Suspended", granted=0, deployment=0)
    await cluster.expect("second", phase="Running", granted=8)
    await cluster.spec("first", suspend=False)
    await cluster.expect("first", refused="NoCapacity")


async def test_hold_keeps_what_is(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=2)
    await cluster.submit("held", (1, 8))
    await cluster.expect("held", phase="Running", granted=2)
    await cluster.annotate("held", *PATCHES)
    await cluster.expect("held", says="apportion.dev/hold")
    await cluster.nodes(1)
    await cluster.calm()
    await cluster.expect("held", granted=2)
    await cluster.annotate("held", PATCHES[0], None)
    await cluster.expect("held", phase="Running", granted=8)


async def test_a_referenced_deployment_is_sized_keeps_what_others_wrote_and_stays(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("theirs", 0, gpus=1)
    await cluster.patch("Deployment", "theirs", {"metadata": {"annotations": {"example.com/owner": "them"}}})
    await cluster.reference("theirs", (2, 4))
    await cluster.expect("theirs", phase="Running", granted=4, deployment=4)
    found = await deployment(cluster, "theirs")
    assert found["metadata"]["annotations"]["example.com/owner"] == "them"
    assert found["spec"]["template"]["metadata"]["annotations"]["apportion.dev/flavor"] == cluster.flavor
    await cluster.delete("TrainingJob", "theirs")
    await cluster.calm()
    assert (await deployment(cluster, "theirs"))["spec"]["replicas"] == 4


async def test_a_resize_of_the_count_leaves_the_template_alone(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("elastic", (1, 8))
    await cluster.expect("elastic", phase="Running", granted=8)
    before = await deployment(cluster, "elastic")
    await cluster.spec("elastic", maxReplicas=4)
    await cluster.expect("elastic", phase="Running", granted=4, deployment=4)
    after = await deployment(cluster, "elastic")
    assert after["spec"]["template"] == before["spec"]["template"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1


async def test_a_deployment_that_did_not_opt_in_and_a_missing_one_are_left_alone(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.reference("later", (1, 1))
    await cluster.expect("later", refused="WorkloadNotFound")
    await cluster.deploy("later", 3, managed=False)
    await cluster.expect("later", refused="WorkloadNotManaged", deployment=3)
    await cluster.patch("Deployment", "later", {"metadata": {"labels": {"apportion.dev/managed": "true"}}})
    await cluster.expect("later", phase="Running", granted=1, deployment=1)


async def test_the_younger_of_two_jobs_on_one_deployment_is_refused(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("shared", 0)
    await cluster.reference("a-first", (1, 1), workload="shared")
    await cluster.expect("a-first", phase="Running", workload="shared", deployment=1)
    await cluster.reference("b-second", (2, 2), workload="shared")
    await cluster.expect("b-second", refused="WorkloadConflict", says="a-first")
    await cluster.expect("a-first", phase="Running", granted=1)


async def test_replicas_changed_by_hand_are_put_back_with_an_event(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("mine", (1, 2))
    await cluster.expect("mine", phase="Running", granted=2)
    await cluster.scale("mine", 5)
    await cluster.event("mine", "ReplicasReverted", "from 2 to 5")
    await cluster.expect("mine", granted=2, deployment=2)


async def test_a_fight_over_replicas_ends_after_three_times(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("fought", (1, 2))
    await cluster.expect("fought", phase="Running", granted=2)
    for round_ in range(3):
        await cluster.scale("fought", 5 + round_, manager="argocd")
        if round_ < 2:
            await cluster.expect("fought", deployment=2)
    await cluster.expect("fought", degraded="FieldConflict", says="argocd", deployment=7)


async def test_a_queue_without_room_says_whose_it_is_and_a_missing_queue_mends_itself(cluster: Cluster) -> None:
    await cluster.nodes(1)
    name = f"q-{cluster.token}"
    await cluster.queue(name, {cluster.flavor: 2})
    await cluster.submit("fits", (2, 2), queueName=name)
    await cluster.expect("fits", phase="Running", granted=2)
    await cluster.submit("waits", (1, 1), queueName=name)
    await cluster.expect("waits", refused="QuotaExceeded", says=[f"queue {name} holds 2 of its 2"])
    await cluster.submit("lost", (1, 1), queueName=f"{name}-x")
    await cluster.expect("lost", refused="QueueNotFound")
    await cluster.queue(f"{name}-x", {"*": 1})
    await cluster.expect("lost", phase="Running", granted=1)


async def test_success_of_every_pod_ends_the_job(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("short", (2, 2), pods={"sandbox.apportion.dev/exit-after": "1"})
    job = await cluster.expect("short", phase="Succeeded", granted=0, deployment=0)
    assert condition(job, "Complete")["reason"] == "ExitedZero"


async def test_deleting_a_job_takes_its_own_deployment_with_it(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("gone", (1, 1))
    await cluster.expect("gone", phase="Running")
    await cluster.delete("TrainingJob", "gone")

    async def no_deployment() -> bool:
        return await deployment(cluster, "gone") is None

    await cluster.until(no_deployment, "the Deployment is gone")


async def test_a_settled_cluster_is_written_to_by_nobody(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("quiet", (1, 8))
    await cluster.expect("quiet", phase="Running", granted=8)
    await cluster.calm(seconds=3.0)
