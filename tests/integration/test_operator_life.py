"""A TrainingJob's life: each row of behaviour.md's first table, seen from outside."""

from integration.cluster import Cluster


async def test_a_job_that_fits_is_admitted_with_all_it_can_use_and_runs(cluster: Cluster) -> None:
    await cluster.nodes(2, gpus=8)
    await cluster.submit("llama", (2, 8), gpus=2)

    job = await cluster.expect("llama", phase="Running", granted=8, flavor=cluster.flavor, ready=8, deployment=8)

    assert "8 of at most 8" in job["status"]["message"]
    await cluster.event("llama", "Admitted", "admitted with 8")
