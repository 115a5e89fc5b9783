"""Who may take from whom, each numbered rule of behaviour.md as users see it."""

import asyncio

from integration.cluster import Cluster, set_ready
from integration.manifests import priority_class


async def classes(cluster: Cluster) -> tuple[str, str]:
    """Two priority classes of this test: (low, high)."""
    low, high = f"low-{cluster.token}", f"high-{cluster.token}"
    await cluster.apply(priority_class(low, 10))
    await cluster.apply(priority_class(high, 1000))
    return low, high


async def least(cluster: Cluster, name: str, seen: list[int], stop: asyncio.Event) -> None:
    """Follow the replicas of a Deployment."""
    while not stop.is_set():
        found = await cluster.get("Deployment", name)
        if found is not None:
            seen.append(found["spec"]["replicas"])
        await asyncio.sleep(0.02)


# 1. Lost capacity and suspend, completion, deletion: at once.


async def test_lost_capacity_is_given_up_at_once_even_within_min_runtime(cluster: Cluster) -> None:
    nodes = await cluster.nodes(4, gpus=2)
    await cluster.submit("job", (1, 8), minRuntimeSeconds=3600)
    await cluster.expect("job", phase="Running", granted=8)

    await set_ready(cluster, nodes[0], False)

    await cluster.expect("job", phase="Running", granted=6, ready=6, deployment=6)


async def test_room_of_a_deleted_job_goes_to_others_at_once(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("going", (4, 4), minRuntimeSeconds=3600)
    await cluster.submit("staying", (1, 8))
    await cluster.expect("staying", phase="Running", granted=4)

    await cluster.delete("TrainingJob", "going")

    await cluster.expect("staying", phase="Running", granted=8)


# 2. A queue takes back its nominal quota from borrowers of its cohort.


async def test_a_queue_takes_its_quota_back_surplus_first_whatever_min_runtime_says(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("owner", {cluster.flavor: 4}, cohort="lab")
    await cluster.queue("borrower", {cluster.flavor: 4}, cohort="lab")
    await cluster.submit("guest", (2, 8), queueName="borrower", minRuntimeSeconds=3600)
    await cluster.expect("guest", phase="Running", granted=8)
    seen: list[int] = []
    stop = asyncio.Event()
    watcher = asyncio.create_task(least(cluster, "guest", seen, stop))

    await cluster.submit("master", (4, 4), queueName="owner")

    await cluster.expect("master", phase="Running", granted=4)
    await cluster.expect("guest", phase="Running", granted=4)
    stop.set()
    await watcher
    assert min(seen) == 4, "shrunk, never stopped"


async def test_the_owner_grows_into_its_own_quota_although_it_is_lent(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("owner", {cluster.flavor: 4}, cohort="lab")
    await cluster.queue("borrower", {cluster.flavor: 4}, cohort="lab")
    await cluster.submit("master", (1, 1), queueName="owner")
    await cluster.expect("master", granted=1)
    await cluster.submit("guest", (1, 8), queueName="borrower")
    await cluster.expect("guest", phase="Running", granted=7)

    await cluster.spec("master", maxReplicas=4)

    await cluster.expect("master", phase="Running", granted=4)
    await cluster.expect("guest", phase="Running", granted=4)


async def test_where_no_surplus_is_left_the_lowest_and_youngest_borrowed_admission_goes(cluster: Cluster) -> None:
    low, high = await classes(cluster)
    await cluster.nodes(1, gpus=8)
    await cluster.queue("owner", {cluster.flavor: 4}, cohort="lab")
    await cluster.queue("borrower", {cluster.flavor: 4}, cohort="lab")
    await cluster.submit("noble", (4, 4), queueName="borrower", priorityClassName=high)
    await cluster.expect("noble", granted=4)
    await cluster.submit("common", (4, 4), queueName="borrower", priorityClassName=low)
    await cluster.expect("common", phase="Running", granted=4)
    queued = (await cluster.get("TrainingJob", "common"))["status"]["queuedSince"]

    await cluster.submit("master", (4, 4), queueName="owner", priorityClassName=low)

    await cluster.expect("master", phase="Running", granted=4)
    evicted = await cluster.expect("common", phase="Pending", granted=0, deployment=0)
    assert evicted["status"]["queuedSince"] == queued, "an evicted job keeps its age"
    await cluster.event("common", "Evicted", "4 on")
    await cluster.expect("noble", phase="Running", granted=4)


async def test_a_job_that_is_not_preemptible_never_borrows_and_keeps_its_minimum(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.queue("owner", {cluster.flavor: 4}, cohort="lab")
    await cluster.queue("other", {cluster.flavor: 4}, cohort="lab")
    await cluster.submit("rock", (2, 8), queueName="other", preemptible=False)
    await cluster.expect("rock", phase="Running", granted=4, says="those of queue other hold 4 of its 4")
    await cluster.submit("pebble", (6, 6), queueName="owner", preemptible=False)

    await cluster.expect("pebble", refused="QuotaExceeded", says="owner may use at most 4")


async def test_limits_bound_what_is_lent_and_borrowed(cluster: Cluster) -> None:
    await cluster.nodes(2, gpus=8)
    await cluster.queue("lender", {cluster.flavor: {"nominalQuota": 8, "lendingLimit": 3}}, cohort="lab")
    await cluster.queue("bounded", {cluster.flavor: {"nominalQuota": 4, "borrowingLimit": 2}}, cohort="lab")
    await cluster.submit("guest", (1, 16), queueName="bounded")
    await cluster.expect("guest", phase="Running", granted=6)

    flavors = [{"name": cluster.flavor, "nominalQuota": 4}]
    await cluster.patch("Queue", "bounded", {"spec": {"flavors": flavors}})

    await cluster.expect("guest", phase="Running", granted=7)


# 3. A higher priority class takes from lower ones of the same queue.


async def test_a_higher_class_takes_surplus_and_stops_nobody_where_that_is_enough(cluster: Cluster) -> None:
    low, high = await classes(cluster)
    await cluster.nodes(1, gpus=8)
    await cluster.queue("team", {"*": 8})
    await cluster.submit("common", (2, 8), queueName="team", priorityClassName=low)
    await cluster.expect("common", phase="Running", granted=8)
    seen: list[int] = []
    stop = asyncio.Event()
    watcher = asyncio.create_task(least(cluster, "common", seen, stop))

    await cluster.submit("urgent", (6, 6), queueName="team", priorityClassName=high)

    await cluster.expect("urgent", phase="Running", granted=6)
    await cluster.expect("common", phase="Running", granted=2)
    stop.set()
    await watcher
    assert min(seen) == 2


async def test_a_higher_class_stops_a_lower_one_that_has_no_surplus(cluster: Cluster) -> None:
    low, high = await classes(cluster)
    await cluster.nodes(1, gpus=8)
    await cluster.queue("team", {"*": 8})
    await cluster.submit("common", (8, 8), queueName="team", priorityClassName=low)
    await cluster.expect("common", phase="Running", granted=8)

    await cluster.submit("urgent", (6, 6), queueName="team", priorityClassName=high)

    await cluster.expect("urgent", phase="Running", granted=6)
    await cluster.expect("common", phase="Pending", granted=0, deployment=0)
    await cluster.delete("TrainingJob", "urgent")
    await cluster.expect("common", phase="Running", granted=8)


async def test_a_higher_class_waits_for_min_runtime_and_for_what_is_not_preemptible(cluster: Cluster) -> None:
    low, high = await classes(cluster)
    await cluster.nodes(2, gpus=4)
    await cluster.queue("team", {"*": 8})
    await cluster.submit("young", (4, 4), queueName="team", priorityClassName=low, minRuntimeSeconds=3600)
    await cluster.submit("rock", (4, 4), queueName="team", priorityClassName=low, preemptible=False)
    await cluster.expect("young", phase="Running", granted=4)
    await cluster.expect("rock", phase="Running", granted=4)

    await cluster.submit("urgent", (4, 4), queueName="team", priorityClassName=high)

    await cluster.expect("urgent", phase="Pending", refused="QuotaExceeded")
    await cluster.spec("young", minRuntimeSeconds=0)
    await cluster.expect("urgent", phase="Running", granted=4)
    await cluster.expect("rock", phase="Running", granted=4)
    await cluster.expect("young", phase="Pending", granted=0)


async def test_min_runtime_ends_by_itself(cluster: Cluster) -> None:
    low, high = await classes(cluster)
    await cluster.nodes(1, gpus=4)
    await cluster.queue("team", {"*": 8})
    await cluster.submit("young", (4, 4), queueName="team", priorityClassName=low, minRuntimeSeconds=3)
    await cluster.expect("young", phase="Running", granted=4)

    await cluster.submit("urgent", (4, 4), queueName="team", priorityClassName=high)

    await cluster.expect("urgent", refused="NoCapacity")
    await cluster.expect("urgent", phase="Running", granted=4)


async def test_a_class_is_worth_nothing_in_another_queue(cluster: Cluster) -> None:
    low, high = await classes(cluster)
    await cluster.nodes(1, gpus=8)
    await cluster.queue("mine", {cluster.flavor: 4})
    await cluster.queue("yours", {cluster.flavor: 4})
    await cluster.submit("modest", (4, 4), queueName="yours", priorityClassName=low)
    await cluster.expect("modest", phase="Running", granted=4)

    await cluster.submit("loud", (5, 5), queueName="mine", priorityClassName=high)

    await cluster.expect("loud", refused="QuotaExceeded")
    await cluster.calm()
    await cluster.expect("modest", phase="Running", granted=4)


# 4. Equal class: surplus only. Shrink before evict, always.


async def test_nobody_loses_a_minimum_to_an_equal(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("first", (5, 8))
    await cluster.expect("first", phase="Running", granted=8)

    await cluster.submit("second", (4, 8))

    await cluster.expect("second", refused="NoCapacity")
    await cluster.calm()
    await cluster.expect("first", phase="Running", deployment=8)
    await cluster.submit("third", (3, 3))
    await cluster.expect("third", phase="Running", granted=3)
    await cluster.expect("first", phase="Running", granted=5)


async def test_surplus_moves_to_an_equal_only_after_min_runtime(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("first", (1, 8), minRuntimeSeconds=3600)
    await cluster.expect("first", phase="Running", granted=8)
    await cluster.submit("second", (1, 8))
    await cluster.expect("second", refused="NoCapacity")

    await cluster.spec("first", minRuntimeSeconds=0)

    await cluster.expect("second", phase="Running", granted=4)


async def test_a_resize_that_costs_more_than_it_earns_is_not_made(cluster: Cluster) -> None:
    """expectedHoldSeconds is how long a size is expected to last: here less than one restart."""
    await cluster.policy(stability={"expectedHoldSeconds": 60})
    await cluster.nodes(1, gpus=4)
    await cluster.submit("settled", (1, 8), restartSeconds=3600)
    await cluster.expect("settled", phase="Running", granted=4)

    await cluster.nodes(1, gpus=4)
    await cluster.calm()

    await cluster.expect("settled", phase="Running", granted=4, deployment=4)
    await cluster.spec("settled", restartSeconds=0)
    await cluster.expect("settled", phase="Running", granted=8)
