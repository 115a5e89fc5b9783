"""What the pods of a Deployment are made from: its flavor, its template, its priority class."""

from collections import Counter

from integration.cluster import Cluster
from integration.manifests import GPU, PRODUCT, priority_class


async def two_flavors(cluster: Cluster) -> tuple[str, str]:
    """A slow flavor with a node, and a fast one that has none yet; the names."""
    slow, fast = f"slow-{cluster.token}", f"fast-{cluster.token}"
    await cluster.policy(
        flavors=[
            {
                "name": name,
                "resource": GPU,
                "nodeSelector": {PRODUCT: f"{name}-product"},
                "speed": speed,
                "tolerations": [{"key": name, "operator": "Exists", "effect": "NoSchedule"}],
            }
            for name, speed in ((slow, 0.2), (fast, 1.0))
        ]
    )
    return slow, fast


def taint(name: str) -> list[dict[str, str]]:
    return [{"key": name, "value": "true", "effect": "NoSchedule"}]


async def test_an_owned_deployment_moves_to_another_flavor_all_at_once(cluster: Cluster) -> None:
    slow, fast = await two_flavors(cluster)
    await cluster.nodes(1, gpus=4, product=f"{slow}-product", taints=taint(slow))
    await cluster.submit("mover", (2, 2), pods=cluster.plane.pods_that(terminates_after=0.5))
    await cluster.expect("mover", phase="Running", granted=2, flavor=slow)
    old = await cluster.uids("mover")

    mixed = False
    await cluster.nodes(1, gpus=4, product=f"{fast}-product", taints=taint(fast))

    async def moved() -> bool:
        nonlocal mixed
        products = {pod["spec"]["nodeSelector"][PRODUCT] for pod in await cluster.pods("mover", leaving=True)}
        mixed = mixed or len(products) > 1
        return products == {f"{fast}-product"}

    await cluster.until(moved, "all pods are on the fast flavor")
    job = await cluster.expect("mover", phase="Running", granted=2, flavor=fast)

    assert not mixed, "all old pods go before new ones start"
    assert not old & await cluster.uids("mover")
    spec = (await cluster.template("mover"))["spec"]
    assert spec["nodeSelector"] == {PRODUCT: f"{fast}-product"}
    tolerated = {entry["key"] for entry in spec["tolerations"]}
    assert fast in tolerated
    assert slow not in tolerated
    assert job["status"]["restarts"] == 1
    await cluster.event("mover", "Moved", slow, fast)


async def test_a_job_that_moves_and_becomes_larger_starts_no_pod_on_the_old_flavor(cluster: Cluster) -> None:
    slow, fast = await two_flavors(cluster)
    await cluster.nodes(1, gpus=4, product=f"{slow}-product", taints=taint(slow))
    await cluster.submit("mover", (1, 8), gpus=2)
    await cluster.expect("mover", phase="Running", granted=2, flavor=slow)

    await cluster.nodes(1, gpus=8, product=f"{fast}-product", taints=taint(fast))
    await cluster.expect("mover", phase="Running", granted=4, flavor=fast, deployment=4)

    # Each ReplicaSet tells in its events which pods it made.
    made: list[int] = []

    async def told() -> bool:
        events = [event for event in await cluster.all("Event") if event["reason"] == "SuccessfulCreate"]
        sets = [event["involvedObject"]["name"] for event in events]
        made[:] = sorted(Counter(name for name in sets if name.startswith("mover-")).values())
        return sum(made) >= 6

    await cluster.until(told, "all pods are told of")
    assert made == [2, 4], "no more than two on the slow flavor"


async def test_a_referenced_deployment_is_taken_to_zero_pinned_anew_and_raised(cluster: Cluster) -> None:
    slow, fast = await two_flavors(cluster)
    await cluster.nodes(1, gpus=4, product=f"{slow}-product", taints=taint(slow))
    theirs = {"key": "theirs", "operator": "Exists"}
    await cluster.deploy(
        "guest", replicas=0, pod={"nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [theirs]}
    )
    for node in await cluster.all("Node"):
        await cluster.patch("Node", node["metadata"]["name"], {"metadata": {"labels": {"kubernetes.io/os": "linux"}}})
    await cluster.reference("guest", (2, 2))
    await cluster.expect("guest", phase="Running", granted=2, flavor=slow)
    seen: list[tuple[int, str]] = []

    await cluster.nodes(1, gpus=4, product=f"{fast}-product", taints=taint(fast), labels={"kubernetes.io/os": "linux"})

    async def moved() -> bool:
        found = await cluster.get("Deployment", "guest")
        spec = found["spec"]["template"]["spec"]
        seen.append((found["spec"]["replicas"], spec["nodeSelector"][PRODUCT]))
        return seen[-1] == (2, f"{fast}-product")

    await cluster.until(moved, "raised on the fast flavor")
    await cluster.expect("guest", phase="Running", granted=2, flavor=fast)

    distinct = [pair for index, pair in enumerate(seen) if index == 0 or seen[index - 1] != pair]
    assert (0, f"{slow}-product") in distinct, "first to zero"
    spec = (await cluster.template("guest"))["spec"]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", PRODUCT: f"{fast}-product"}
    tolerated = {entry["key"] for entry in spec["tolerations"]}
    assert {"theirs", fast} <= tolerated
    assert slow not in tolerated


async def test_a_new_template_replaces_the_pods_of_an_owned_deployment(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("job", (2, 2))
    await cluster.expect("job", phase="Running", granted=2)
    old = await cluster.uids("job")

    await cluster.spec("job", template={"metadata": {"annotations": {"version": "2"}}})

    async def renewed() -> bool:
        pods = await cluster.pods("job", leaving=True)
        return len(pods) == 2 and all(pod["metadata"]["annotations"].get("version") == "2" for pod in pods)

    await cluster.until(renewed, "two pods of the new template")
    assert not old & await cluster.uids("job")
    await cluster.expect("job", phase="Running", granted=2)


async def test_owned_pods_never_preempt_unless_their_template_names_a_class(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    bold = f"bold-{cluster.token}"
    await cluster.apply(priority_class(bold, 77, "PreemptLowerPriority"))
    await cluster.submit("meek")
    await cluster.submit("bold", pod={"priorityClassName": bold})
    await cluster.expect("meek", phase="Running")
    await cluster.expect("bold", phase="Running")

    assert (await cluster.template("meek"))["spec"]["priorityClassName"] == "apportion-training"
    assert (await cluster.template("bold"))["spec"]["priorityClassName"] == bold


async def test_a_referenced_deployment_that_can_preempt_is_warned_about(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    bold = f"bold-{cluster.token}"
    await cluster.apply(priority_class(bold, 77, "PreemptLowerPriority"))
    await cluster.deploy("bold", replicas=0, pod={"priorityClassName": bold})
    await cluster.reference("bold", (1, 1))

    await cluster.event("bold", "CanPreempt", bold)
    await cluster.expect("bold", phase="Running", granted=1)


async def test_a_deployment_that_the_api_server_refuses_is_told_and_not_sent_again_until_it_may_differ(
    cluster: Cluster,
) -> None:
    await cluster.nodes()
    odd = cluster.job("odd")
    good = odd["spec"]["template"]["spec"]["containers"]
    odd["spec"]["template"]["spec"]["containers"] = [{**good[0], "name": "Not A Name"}]
    await cluster.apply(odd)
    await cluster.expect("odd", degraded="WorkloadRefused", granted=0, says="spec.template.spec.containers[0].name")
    await cluster.submit("other")
    await cluster.expect("other", phase="Running")
    await cluster.calm()
    tried = [seen for seen in cluster.plane.writes(f"{cluster.namespace}/deployments") if seen.status == 422]
    assert len(tried) == 1
    await cluster.spec("odd", template={"spec": {"containers": good}})
    await cluster.expect("odd", phase="Running", degraded=None)


async def test_a_running_job_whose_new_template_is_refused_goes_on(cluster: Cluster) -> None:
    await cluster.nodes()
    await cluster.submit("works", (2, 2))
    await cluster.expect("works", phase="Running")
    uids, good = await cluster.uids("works"), cluster.job("works")["spec"]["template"]["spec"]["containers"]
    await cluster.spec("works", template={"spec": {"containers": [{**good[0], "name": "Not A Name"}]}})
    await cluster.expect("works", degraded="WorkloadRefused", granted=2)
    await cluster.calm()
    tried = [seen for seen in cluster.plane.writes(f"{cluster.namespace}/deployments") if seen.status == 422]
    assert len(tried) == 1
    assert await cluster.uids("works") == uids
