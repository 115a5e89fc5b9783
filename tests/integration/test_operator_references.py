"""Deployments that others own: whose consent is asked, who conflicts, what is put back and when that ends."""

from integration.cluster import Cluster
from integration.reading import seen_of


async def test_a_missing_workload_is_named_and_found_when_it_comes(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.reference("later", (1, 2))
    await cluster.expect("later", phase="Pending", refused="WorkloadNotFound", says="later")

    await cluster.deploy("later", replicas=0)

    await cluster.expect("later", phase="Running", granted=2, deployment=2)


async def test_a_workload_whose_editor_did_not_agree_is_left_alone(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("private", replicas=1, managed=False)
    await cluster.reference("private", (2, 2))

    await cluster.expect("private", refused="WorkloadNotManaged", says="apportion.dev/managed", deployment=1)

    await cluster.patch("Deployment", "private", {"metadata": {"labels": {"apportion.dev/managed": "true"}}})
    await cluster.expect("private", phase="Running", granted=2, deployment=2)


async def test_of_two_jobs_on_one_deployment_the_younger_one_has_the_conflict(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("shared", replicas=0)
    await cluster.reference("alpha", (2, 2), workload="shared")
    await cluster.expect("alpha", phase="Running", granted=2, workload="shared", deployment=2)
    older = (await cluster.get("TrainingJob", "alpha"))["metadata"]["creationTimestamp"]

    async def a_second_later() -> bool:
        """Creation times have whole seconds: the next job must be younger by them."""
        await cluster.delete("TrainingJob", "aardvark")
        made = await cluster.reference("aardvark", (1, 1), workload="shared")
        return bool(made["metadata"]["creationTimestamp"] > older)

    await cluster.until(a_second_later, "a job that is younger")

    await cluster.expect("aardvark", phase="Pending", refused="WorkloadConflict", says=("shared", "alpha"))
    await cluster.expect("alpha", phase="Running", granted=2, degraded=None, workload="shared", deployment=2)
    await cluster.delete("TrainingJob", "alpha")
    await cluster.expect("aardvark", phase="Running", granted=1, workload="shared", deployment=1)


async def test_hands_off_a_deployment_that_an_autoscaler_drives(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("scaled", replicas=1)
    await cluster.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "driver", "namespace": cluster.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"},
                "minReplicas": 1,
                "maxReplicas": 5,
            },
        }
    )
    await cluster.reference("scaled", (2, 4))

    await cluster.expect("scaled", refused="WorkloadConflict", says=("driver", "scaled"), deployment=1)

    await cluster.delete("HorizontalPodAutoscaler", "driver")
    await cluster.expect("scaled", phase="Running", granted=4, deployment=4)


async def test_a_deployment_that_somebody_else_made_under_the_jobs_name_is_not_taken_over(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("mine", replicas=1)
    await cluster.submit("mine", (2, 2))

    await cluster.expect("mine", refused="WorkloadConflict", says="was not created for this job", deployment=1)


async def test_replicas_changed_by_hand_are_put_back_with_an_event_of_both_numbers(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=4)

    for replicas in (1, 6):
        await cluster.scale("job", replicas)

        await cluster.event("job", "ReplicasReverted", f"from 4 to {replicas}")
        await cluster.expect("job", phase="Running", granted=4, deployment=4, degraded=None)


async def test_somebody_who_reverts_again_and_again_wins_and_is_named(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.deploy("fought-over", replicas=1)
    await cluster.reference("fought-over", (4, 4))
    await cluster.expect("fought-over", phase="Running", granted=4, deployment=4)
    reverted = 0

    async def insist() -> bool:
        """What a GitOps controller does: whenever it differs from its repository, back to 1."""
        nonlocal reverted
        if (await cluster.get("Deployment", "fought-over"))["spec"]["replicas"] != 1:
            await cluster.scale("fought-over", 1, manager="argocd-controller")
            reverted += 1
        return seen_of(await cluster.get("TrainingJob", "fought-over"))["degraded"] == "FieldConflict"

    await cluster.until(insist, "the fight ends")

    assert reverted == 3
    await cluster.expect("fought-over", degraded="FieldConflict", says=("argocd-controller", "from 4 to 1"))
    await cluster.calm()
    await cluster.expect("fought-over", degraded="FieldConflict", deployment=1)
