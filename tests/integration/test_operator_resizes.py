"""How replicas reach a Deployment: the order of writes, what they touch, and the tests that fence them."""

import asyncio
import re
from typing import Any

import pytest

from apportion.kube.client import JSON_PATCH, Refused
from integration.cluster import Cluster
from integration.manifests import DECISION, PRODUCT


def steps(cluster: Cluster, since: int) -> list[str]:
    """The operators' successful writes of this test's namespace since then, as "status NAME" and "deployment NAME"."""
    found = []
    for seen in cluster.plane.log()[since:]:
        match = re.search(
            rf"/namespaces/{cluster.namespace}/(trainingjobs|deployments)(?:/([^/?]+))?(/status)?", seen.path
        )
        if seen.is_write and match and seen.status < 300:
            kind = "status" if match.group(3) else {"POST": "create", "PATCH": "deployment"}[seen.method]
            found.append(f"{kind} {match.group(2) or ''}".strip())
    return found


async def generation_of(cluster: Cluster, name: str) -> int:
    return int((await cluster.get("Deployment", name))["metadata"]["generation"])


# --- order of writes --------------------------------------------------------------------------------------------------


async def test_the_status_is_written_before_the_deployment_and_both_only_once(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    start = len(cluster.plane.log())
    await cluster.submit("job", (1, 8))
    await cluster.expect("job", granted=4, deployment=4)
    await cluster.until(lambda: len(steps(cluster, start)) >= 2, "the proxy has passed the reply on, and says so")
    assert steps(cluster, start)[:2] == ["status job", "create"]
    await cluster.expect("job", phase="Running", ready=4)
    await cluster.calm()

    start = len(cluster.plane.log())
    await cluster.nodes(1, gpus=4)
    await cluster.expect("job", granted=8, deployment=8)

    await cluster.until(lambda: len(steps(cluster, start)) >= 2, "the proxy has passed the reply on, and says so")
    assert steps(cluster, start)[:2] == ["status job", "deployment job"]
    await cluster.expect("job", phase="Running")
    await cluster.calm()
    assert steps(cluster, start).count("deployment job") == 1


async def test_shrinks_come_before_grows(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit("zz-giver", (1, 8))
    await cluster.expect("zz-giver", phase="Running", granted=8)
    start = len(cluster.plane.log())

    await cluster.submit("aa-taker", (1, 8))

    await cluster.expect("aa-taker", phase="Running", granted=4)
    written = [step for step in steps(cluster, start) if not step.startswith("status")]
    assert written == ["deployment zz-giver", "create"]


async def test_a_grow_waits_until_terminating_pods_have_left_their_room(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.submit(
        "slow",
        (4, 8),
        pods=cluster.plane.pods_that(terminates_after=1.5),
        pod={"terminationGracePeriodSeconds": 30},
    )
    await cluster.expect("slow", phase="Running", granted=8)
    await cluster.submit("next", (4, 4))
    await cluster.expect("slow", granted=4, deployment=4)

    over = False

    async def runs() -> bool:
        nonlocal over
        pods = [*await cluster.pods("slow", leaving=True), *await cluster.pods("next")]
        over = over or len(pods) > 8
        return len(await cluster.pods("next")) == 4

    await cluster.until(runs, "next has its pods")
    assert not over, "never more pods than devices"
    await cluster.expect("next", phase="Running", granted=4)


# --- what a resize touches --------------------------------------------------------------------------------------------


async def test_a_resize_of_the_count_never_touches_the_template(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=4)
    await cluster.submit("job", (1, 8))
    await cluster.expect("job", phase="Running", granted=4)
    before, pods = await cluster.template("job"), await cluster.uids("job")
    generation = await generation_of(cluster, "job")

    await cluster.nodes(1, gpus=4)
    await cluster.expect("job", phase="Running", granted=8, deployment=8)
    assert await cluster.template("job") == before
    assert await generation_of(cluster, "job") == generation + 1, "nothing but the count changed in the spec"
    assert pods <= await cluster.uids("job"), "nobody was restarted"

    await cluster.spec("job", maxReplicas=2)
    await cluster.expect("job", phase="Running", granted=2, deployment=2)
    assert await cluster.template("job") == before
    assert await generation_of(cluster, "job") == generation + 2
    revisions = {rs["metadata"]["name"] for rs in await cluster.all("ReplicaSet")}
    assert len(revisions) == 1


async def test_other_peoples_labels_annotations_and_fields_are_kept(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    meta = {
        "labels": {"app": "guest", "apportion.dev/managed": "true", "team": "vision"},
        "annotations": {"owner": "alice", "example.com/odd.Key_1": "~1/"},
    }
    await cluster.deploy("guest", replicas=1, meta=meta, revisionHistoryLimit=3, minReadySeconds=0)
    before = await cluster.get("Deployment", "guest")
    await cluster.reference("guest", (2, 4))
    await cluster.expect("guest", phase="Running", granted=4, deployment=4)

    after = await cluster.get("Deployment", "guest")

    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    for key, value in meta["annotations"].items():
        assert after["metadata"]["annotations"][key] == value
    kept = {key: value for key, value in after["spec"].items() if key not in ("replicas", "template")}
    assert kept == {key: value for key, value in before["spec"].items() if key not in ("replicas", "template")}
    assert after["spec"]["template"]["spec"]["containers"] == before["spec"]["template"]["spec"]["containers"]


async def test_a_deployment_without_any_annotation_can_be_sized(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.deploy("bare", replicas=0)
    await cluster.reference("bare", (2, 2))

    await cluster.expect("bare", phase="Running", granted=2, deployment=2)
    annotations = (await cluster.get("Deployment", "bare"))["metadata"]["annotations"]
    assert annotations["apportion.dev/replicas"] == "2"
    assert annotations["apportion.dev/flavor"] == cluster.flavor
    assert annotations[DECISION].isdecimal()
    template = await cluster.template("bare")
    assert template["metadata"]["annotations"]["apportion.dev/flavor"] == cluster.flavor, "where its pods can read it"


async def test_a_deployment_that_ran_before_its_job_came_restarts_once_at_most_to_be_pinned(cluster: Cluster) -> None:
    await cluster.nodes(1, gpus=8)
    await cluster.deploy("early", replicas=2, pod={"nodeSelector": {PRODUCT: cluster.product}})
    await cluster.until(lambda: _ready(cluster, "early", 2), "two pods run")

    await cluster.reference("early", (2, 2))
    await cluster.submit("rival", (7, 7))

    await cluster.expect("early", phase="Running", granted=2, flavor=cluster.flavor, deployment=2)
    await cluster.expect("rival", refused="NoCapacity")
    pods = await cluster.uids("early")
    await cluster.calm()
    assert await cluster.uids("early") == pods


async def _ready(cluster: Cluster, name: str, count: int) -> bool:
    deployment = await cluster.get("Deployment", name)
    return bool(deployment.get("status", {}).get("readyReplicas", 0) == count)


async def test_a_shrink_lets_whole_nodes_come_free(cluster: Cluster) -> None:
    await cluster.nodes(2, gpus=4)
    await cluster.submit("wide", (1, 8))
    await cluster.expect("wide", phase="Running", granted=8)

    await cluster.submit("block", (1, 1), gpus=4)

    await cluster.expect("block", phase="Running", granted=1)
    await cluster.expect("wide", phase="Running", granted=4)
    hosts = {pod["spec"]["nodeName"] for pod in await cluster.pods("wide")}
    assert len(hosts) == 1


# --- the fence --------------------------------------------------------------------------------------------------------


async def test_a_patch_made_for_an_earlier_state_is_refused_by_its_own_tests(cluster: Cluster) -> None:
    """What a stale leader would send: the state moved on, so uid, replicas or decision do not match any more."""
    await cluster.nodes(1, gpus=8)
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=4)
    old = await cluster.get("Deployment", "job")
    decision = "/metadata/annotations/apportion.dev~1decision"
    stale = [
        {"op": "test", "path": "/metadata/uid", "value": old["metadata"]["uid"]},
        {"op": "test", "path": "/spec/replicas", "value": 4},
        {"op": "test", "path": decision, "value": old["metadata"]["annotations"][DECISION]},
        {"op": "replace", "path": "/spec/replicas", "value": 1},
    ]
    await cluster.spec("job", maxReplicas=2)
    await cluster.expect("job", phase="Running", granted=2, deployment=2)
    await cluster.spec("job", maxReplicas=4)
    await cluster.expect("job", phase="Running", granted=4, deployment=4)

    with pytest.raises(Refused) as refused:
        await cluster.api.request("PATCH", cluster.path("Deployment", "job"), {}, stale, JSON_PATCH)

    assert refused.value.code in (409, 422)
    await cluster.expect("job", granted=4, deployment=4)


async def test_decisions_keep_rising_when_nothing_is_granted_in_between(cluster: Cluster) -> None:
    """Were a round's number given twice, a stale leader's patch could pass its own test."""
    await cluster.nodes(1, gpus=8)
    await cluster.submit("job", (1, 4))
    await cluster.expect("job", phase="Running", granted=4)
    first = (await cluster.get("Deployment", "job"))["metadata"]["annotations"][DECISION]

    await cluster.spec("job", suspend=True)
    await cluster.expect("job", phase="Suspended", granted=0, deployment=0)
    await cluster.spec("job", suspend=False)
    await cluster.expect("job", phase="Running", granted=4, deployment=4)

    second = (await cluster.get("Deployment", "job"))["metadata"]["annotations"][DECISION]
    assert int(second) > int(first)


async def test_a_hand_that_comes_in_between_a_decision_and_its_patch_is_not_overwritten_blindly(
    cluster: Cluster,
) -> None:
    """Two writers: a person resizes just before the operator's patch arrives; its tests fail, the next round mends."""
    await cluster.nodes(1, gpus=4)
    await cluster.submit("job", (1, 8))
    await cluster.expect("job", phase="Running", granted=4)
    loop, raced = asyncio.get_running_loop(), []

    async def race(request: Any) -> None:
        if request.method == "PATCH" and f"{cluster.namespace}/deployments/job" in request.path and not raced:
            raced.append(request.path)
            hand = asyncio.run_coroutine_threadsafe(cluster.scale("job", 2, manager="alice"), loop)
            await asyncio.wrap_future(hand)

    start = len(cluster.plane.log())
    cluster.plane.wire.before = race
    try:
        await cluster.nodes(1, gpus=4)
        await cluster.expect("job", phase="Running", granted=8, deployment=8)
    finally:
        cluster.plane.wire.before = None

    tries = [s.status for s in cluster.plane.log()[start:] if "/deployments/job" in s.path and s.method == "PATCH"]
    assert tries[0] in (409, 422)
    assert tries[-1] == 200
