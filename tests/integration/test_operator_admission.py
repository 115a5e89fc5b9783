"""Who is admitted, who waits and what the waiting are told: room, gangs, steps, queues."""

from typing import Any

from integration.cluster import Cluster
from integration.manifests import GPU
from integration.reading import condition

# --- room -------------------------------------------------------------------------------------------------------------


async def test_a_job_that_fits_is_admitted_with_all_it_can_use_and_runs(cluster: Cluster) -> None:
    await cluster.nodes(2, gpus=8)
    await cluster.submit("llama", (2, 8), gpus=2)

    job = await cluster.expect("llama", phase="Running", granted=8, flavor=cluster.flavor, ready=8, deployment=8)

    assert "8 of at most 8" in job["status"]["message"]
    assert condition(job, "Admitted")["status"] == condition(job, "Running")["status"] == "True"
    await cluster.event("llama", "Admitted", "admitted with 8", cluster.flavor)


async def test_two_jobs_share_what_there_is(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("left", (1, 8))
    await cluster.expect("left", phase="Running", granted=8)

    await cluster.submit("right", (1, 8))

    await cluster.expect("right", phase="Running", granted=4, deployment=4)
    await cluster.expect("left", phase="Running", granted=4, deployment=4)


async def test_a_job_that_does_not_fit_now_waits_and_says_what_is_free_and_who_has_the_rest(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("first", (6, 6))
    await cluster.expect("first", phase="Running", granted=6)

    await cluster.submit("second", (4, 4))

    await cluster.expect("second", phase="Pending", granted=0, refused="NoCapacity", deployment=None)
    waiting = await cluster.expect(
        "second", says=(f"needs 4 {cluster.flavor}", "2 are free", f"{cluster.namespace} holds 6")
    )
    assert condition(waiting, "Admitted")["message"] == waiting["status"]["message"]
    await cluster.event("second", "NoCapacity", "2 are free")

    await cluster.delete("TrainingJob", "first")
    await cluster.expect("second", phase="Running", granted=4)


async def test_a_job_beyond_its_queues_quota_says_what_the_queue_holds(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("research", {cluster.flavor: 4})
    await cluster.submit("first", (3, 3), queueName="research")
    await cluster.expect("first", phase="Running", granted=3)

    await cluster.submit("second", (2, 2), queueName="research")
    await cluster.submit("third", (6, 6), queueName="research")

    await cluster.expect(
        "second", refused="QuotaExceeded", says=(f"needs 2 {cluster.flavor}", "research holds 3 of its 4")
    )
    await cluster.expect(
        "third", refused="QuotaExceeded", says=(f"needs 6 {cluster.flavor}", "research may use at most 4")
    )
    await cluster.patch("Queue", "research", {"spec": {"flavors": [{"name": cluster.flavor, "nominalQuota": 5}]}})
    await cluster.expect("second", phase="Running", granted=2)


async def test_a_job_that_wants_a_flavor_that_is_not_there_is_told_which_there_are(cluster: Cluster) -> None:
    await cluster.nodes(1)
    await cluster.submit("picky", accelerators={"flavors": [{"name": "unobtainium"}]})

    await cluster.expect("picky", phase="Pending", refused="NoCompatibleFlavor", says=("unobtainium", cluster.flavor))


async def test_a_gang_that_fits_on_no_node_says_so_and_is_looked_at_again_when_a_node_comes(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("giant", (1, 1), gpus=16)
    await cluster.expect("giant", refused="GangTooLarge", says=(f"needs 16 {GPU} on one node", "has 8"))

    await cluster.nodes(1, gpus=16)

    await cluster.expect("giant", phase="Running", granted=1)


async def test_a_gang_larger_than_the_whole_cluster_says_how_much_it_has(cluster: Cluster) -> None:
    await cluster.nodes(2, gpus=8)
    await cluster.submit("wide", (3, 4), gpus=8)
    await cluster.expect("wide", refused="GangTooLarge", says=("needs 3 replicas of 8", "room for 2"))

    await cluster.nodes(1, gpus=8)

    await cluster.expect("wide", phase="Running", granted=3)


async def test_only_steps_are_granted(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=7)
    await cluster.submit("stepwise", (2, 8), replicaSteps=[2, 4, 8])

    await cluster.expect("stepwise", phase="Running", granted=4, says="the next step (8) needs 4 more")


# --- queues -----------------------------------------------------------------------------------------------------------


async def test_without_any_queue_there_are_no_quotas_even_for_a_job_that_names_one(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("named", (1, 4), queueName="some")
    await cluster.submit("unnamed", (1, 4))

    await cluster.expect("named", phase="Running", granted=4)
    await cluster.expect("unnamed", phase="Running", granted=4)


async def test_a_job_without_a_queue_name_stands_in_the_queue_default(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("default", {cluster.flavor: 3})
    await cluster.submit("plain", (1, 8))

    await cluster.expect("plain", phase="Running", granted=3, says="queue default holds 3 of its 3")

    async def reported() -> bool:
        status = (await cluster.get("Queue", "default")).get("status", {})
        use = {entry["name"]: entry["used"] for entry in status.get("flavors", [])}
        return status.get("admitted") == 1 and status.get("pending") == 0 and use.get(cluster.flavor) == 3

    await cluster.until(reported, "the queue's status tells what it holds")


async def test_where_only_other_queues_exist_a_queue_name_is_required(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("research", {"*": 8})
    await cluster.submit("plain", (1, 2))

    await cluster.expect("plain", phase="Pending", refused="QueueRequired", says="queueName")

    await cluster.spec("plain", queueName="research")
    await cluster.expect("plain", phase="Running", granted=2)


async def test_a_queue_that_is_missing_or_forbids_the_job_is_named_and_it_mends_itself(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("open", {"*": 8})
    await cluster.queue("closed", {"*": 8}, namespaceSelector={"matchLabels": {"team": "somebody-else"}})
    await cluster.queue("strict", {"*": 8}, allowedPriorityClasses=["noble"])
    await cluster.submit("lost", queueName="nowhere")
    await cluster.submit("stranger", queueName="closed")
    await cluster.submit("commoner", queueName="strict")

    await cluster.expect("lost", refused="QueueNotFound", says="nowhere")
    await cluster.expect("stranger", refused="QueueForbidden", says=("closed", cluster.namespace))
    await cluster.expect("commoner", refused="PriorityForbidden", says=("strict", "noble"))

    await cluster.queue("nowhere", {"*": 8})
    await cluster.patch("Queue", "closed", {"spec": {"namespaceSelector": None}})
    await cluster.patch("Queue", "strict", {"spec": {"allowedPriorityClasses": None}})
    for name in ("lost", "stranger", "commoner"):
        await cluster.expect(name, phase="Running", granted=1)


async def test_a_namespace_that_gets_the_queues_label_may_use_it(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("research", {"*": 8}, namespaceSelector={"matchLabels": {"team": "research"}})
    await cluster.submit("job", queueName="research")
    await cluster.expect("job", refused="QueueForbidden")

    await cluster.patch("Namespace", cluster.namespace, {"metadata": {"labels": {"team": "research"}}})

    await cluster.expect("job", phase="Running", granted=1)


async def test_a_running_job_whose_queue_vanishes_keeps_what_it_has_is_not_grown_and_degraded(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.queue("research", {"*": 64})
    await cluster.queue("other", {"*": 64})
    await cluster.submit("job", (1, 8), queueName="research")
    await cluster.expect("job", phase="Running", granted=4, degraded=None)

    await cluster.delete("Queue", "research")

    await cluster.expect("job", phase="Running", granted=4, degraded="QueueNotFound", deployment=4)
    await cluster.nodes(1, gpus=4)
    await cluster.calm()
    await cluster.expect("job", granted=4, deployment=4)

    await cluster.queue("research", {"*": 64})
    await cluster.expect("job", phase="Running", granted=8, degraded=None)


async def test_prices_say_what_is_scarce_and_go_when_it_is_not(cluster: Cluster) -> None:
    async def prices() -> tuple[bool, bool]:
        """Whether the queue's quota has a price, and whether the flavor has."""
        queue = (await cluster.get("Queue", "default")).get("status", {})
        policy = (await cluster.get("AllocationPolicy", "default")).get("status", {})
        rows = [row["price"] for row in queue.get("flavors", []) if row["name"] == cluster.flavor]
        listed = [row["price"] for row in policy.get("prices", []) if row["flavor"] == cluster.flavor]
        return any(price > 0 for price in rows), any(price > 0 for price in listed)

    async def become(quota: bool, flavor: bool) -> None:
        async def are() -> bool:
            return await prices() == (quota, flavor)

        await cluster.until(are, f"prices of quota: {quota}, of flavor: {flavor}")

    await cluster.nodes(1, gpus=8)
    await cluster.policy(mode="Enforce")
    await cluster.queue("default", {cluster.flavor: 4})
    await cluster.submit("first", (1, 6))
    await cluster.expect("first", phase="Running", granted=4)
    await become(quota=True, flavor=False)

    await cluster.patch("Queue", "default", {"spec": {"flavors": [{"name": cluster.flavor, "nominalQuota": 16}]}})
    await cluster.expect("first", phase="Running", granted=6)
    await become(quota=False, flavor=False)

    await cluster.submit("second", (1, 8))
    await cluster.expect("second", phase="Running")
    await become(quota=False, flavor=True)


async def test_a_power_cap_bounds_a_queue_and_its_status_says_what_is_used(cluster: Cluster) -> None:
    async def told() -> tuple[Any, Any]:
        queue = (await cluster.get("Queue", "default")).get("status", {})
        policy = (await cluster.get("AllocationPolicy", "default")).get("status", {})
        return queue.get("power", {}).get("used"), policy.get("jainIndex")

    await cluster.nodes(1, gpus=8)
    await cluster.policy(mode="Enforce", flavors=[{"name": cluster.flavor, "watts": 700}])
    await cluster.queue("default", {cluster.flavor: 8})
    await cluster.patch("Queue", "default", {"spec": {"powerCapWatts": 2200}})
    await cluster.submit("first", (1, 8))
    await cluster.expect("first", phase="Running", granted=3)

    async def are() -> bool:
        return await told() == (2100, 1)

    await cluster.until(are, "2100 W used, and everybody has as much")
    job = await cluster.get("TrainingJob", "first")
    assert "the power cap of queue default is 2200 W, 2100 W are drawn" in job["status"]["message"]

    await cluster.patch("Queue", "default", {"spec": {"powerCapWatts": None}})
    await cluster.expect("first", phase="Running", granted=8)
