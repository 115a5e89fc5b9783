"""Faults on a real control plane. After each everything converges, and an observer saw no rule broken on the way."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from aiohttp import web

from controlplane.history import grant_of
from controlplane.scene import CHART_LEASE_SECONDS, Replica, Scene, with_clock_off
from controlplane.takeover import takeover
from controlplane.trail import Request
from fault_proxy import Fault
from integration.cluster import set_ready
from integration.operator_process import leads
from integration.waiting import until

HOUR = 3600.0
MINUTE = 60.0
TAKEN_OVER_SECONDS = 10.0
# Of these, to decide once the Lease is taken.
DECIDED_SECONDS = 1.0


def soon_gone(seconds: int) -> dict[str, Any]:
    """For a pod's spec: it bears a node that is not ready for so long."""
    keys = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    bears = [{"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds} for key in keys]
    return {"tolerations": bears}


def on(*flavors: str) -> dict[str, Any]:
    return {"flavors": [{"name": flavor} for flavor in flavors]}


def at_nth(nth: int, verbs: str, path: str, act: Callable[[], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """A hook of the wire that does something at the n-th request of this sort, once."""
    count = 0

    async def hook(request: web.BaseRequest) -> None:
        nonlocal count
        if request.method in verbs.split("|") and path in request.path:
            count += 1
            if count == nth:
                await act()

    return hook


# --- nodes -----------------------------------------------------------------------------------------------------------


async def test_a_minute_in_which_most_nodes_are_not_ready_and_the_leader_is_killed_costs_nobody_a_replica(
    scene: Scene,
) -> None:
    """Three nodes of five are silent for a minute. Kubernetes takes the pods that bear that for 5 s; Apportion takes
    nothing, not even as an operator that never saw the nodes well. Of another flavor one node of four is deleted."""
    cluster = scene.cluster
    nodes = await cluster.nodes(5, gpus=8)
    others = await cluster.nodes(4, gpus=8, product=scene.other)
    here, there = on(cluster.flavor), on(scene.other_flavor)
    await cluster.submit("patient", (2, 12), accelerators=here)
    await cluster.submit("hasty", (2, 12), accelerators=here, pod=soon_gone(5))
    await cluster.submit("gang", (16, 16), accelerators=here)
    await cluster.submit("elsewhere", (4, 32), accelerators=there)
    for _ in range(2):
        await scene.start(lease_seconds=CHART_LEASE_SECONDS)
    leader = await scene.leader()
    await scene.rest()
    stable = ("patient", "hasty", "gang")
    for name in stable:
        await cluster.expect(name, phase="Running")
    before = {name: await grant_and_generation(scene, name) for name in stable}
    pods = {name: await cluster.uids(name) for name in stable}

    await asyncio.gather(*(set_ready(cluster, node, False) for node in nodes[:3]))
    began = time.monotonic()
    await cluster.delete("Node", others[0])
    (follower,) = (each for each in scene.replicas if each is not leader)
    solvers = follower.operator.solvers()
    leader.operator.kill()
    await cluster.spec("elsewhere", maxReplicas=20)
    seen = await until(lambda: takeover(leader, follower), "the follower decides", 40, follower.operator.log)
    assert seen.waited_seconds < TAKEN_OVER_SECONDS - DECIDED_SECONDS, str(seen)
    assert seen.reads == [], "a follower knows the cluster before it leads"
    assert seen.renewals <= 1, str(seen)
    assert solvers, "and its solver runs already"
    assert follower.operator.solvers() == solvers
    await cluster.expect("elsewhere", granted=20, deployment=20)

    async def a_minute() -> bool:
        assert {name: await grant_and_generation(scene, name) for name in stable} == before
        return time.monotonic() - began > MINUTE

    await until(a_minute, "a minute passes", 2 * MINUTE)
    for name in ("patient", "gang"):
        assert await cluster.uids(name) == pods[name], "no pod was lost that Kubernetes left alone"
    taken = pods["hasty"] - await cluster.uids("hasty")
    await asyncio.gather(*(set_ready(cluster, node, True) for node in nodes[:3]))

    for name in stable:
        await cluster.expect(name, phase="Running")
    await cluster.expect("elsewhere", phase="Running", granted=20, seconds=60)
    await scene.rest()
    assert {name: await grant_and_generation(scene, name) for name in stable} == before
    assert taken, "Kubernetes took what did not bear it"


async def grant_and_generation(scene: Scene, name: str) -> tuple[Any, int]:
    """The grant with its round, and how often the spec of the Deployment was changed."""
    job, deployment = await scene.cluster.get("TrainingJob", name), await scene.cluster.get("Deployment", name)
    return job["status"]["admission"], deployment["metadata"]["generation"]


async def test_a_node_that_is_lost_for_a_while_gives_and_takes_replicas(scene: Scene) -> None:
    """One of four is no mass loss: what Kubernetes evicts is gone until the node is back."""
    cluster = scene.cluster
    nodes = await cluster.nodes(4, gpus=4)
    await scene.start()
    await cluster.submit("job", (2, 16), pod=soon_gone(1))
    await cluster.expect("job", phase="Running", granted=16)

    await set_ready(cluster, nodes[0], False)
    await cluster.expect("job", phase="Running", granted=12, deployment=12, ready=12, seconds=40)
    await scene.rest()
    await set_ready(cluster, nodes[0], True)
    await cluster.expect("job", phase="Running", granted=16, deployment=16, ready=16, seconds=40)
    await scene.rest()


# --- two operators ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned_away", [True, False], ids=["before-its-next-try", "on-the-wire"])
async def test_no_stale_patch_of_a_leader_that_was_stopped_takes_effect(scene: Scene, turned_away: bool) -> None:
    """It is stopped with a patch of the Deployment under way: after a 429 it waits for the next try, or the patch
    already stands on the wire. Meanwhile the other decides that the Deployment stays as it is: only a fence that it
    leaves there can refuse a patch that arrives afterwards."""
    cluster, wire = scene.cluster, scene.cluster.plane.wire
    await cluster.nodes(1, gpus=8)
    first = await scene.start()
    assert await scene.leader() is first
    await cluster.submit("job", (1, 8))
    await cluster.expect("job", phase="Running", granted=8)
    second = await scene.start()
    frozen = asyncio.Event()
    loop = asyncio.get_running_loop()
    gate = threading.Event()

    async def freeze() -> None:
        first.operator.freeze()
        loop.call_soon_threadsafe(frozen.set)
        if not turned_away:
            await asyncio.to_thread(gate.wait)

    hook = at_nth(1, "PATCH", "/deployments/", freeze)
    if turned_away:
        wire.rules.append(Fault(method="PATCH", path="/deployments/", status=429, retry_after=4, times=1))
        wire.after = hook
    else:
        wire.before = hook
    await cluster.spec("job", maxReplicas=2)
    await asyncio.wait_for(frozen.wait(), 20)
    assert grant_of(await cluster.get("TrainingJob", "job")).replicas == 2
    await cluster.spec("job", maxReplicas=8)
    await until(lambda: leads(second.operator), "the second leads", told=second.operator.log)
    await cluster.expect("job", granted=8, deployment=8)
    await cluster.calm()
    generation = (await cluster.get("Deployment", "job"))["metadata"]["generation"]

    thawed = time.time()
    gate.set()
    first.operator.thaw()
    await until(lambda: leads(first.operator, 0.0), "the first finds out", told=first.operator.log)
    if not turned_away:
        await until(lambda: refusals(first, thawed), "the patch arrives, and is refused", told=first.operator.log)
    # Any change makes both look again; and a try that was put off for 4 s has come by then.
    await cluster.spec("job", maxReplicas=7)
    await cluster.expect("job", phase="Running", granted=7, deployment=7)
    await cluster.calm(4)
    assert [each for each in first.requests(thawed) if each.took_effect] == []
    assert (await cluster.get("Deployment", "job"))["metadata"]["generation"] == generation + 1
    await scene.rest()


def refusals(replica: Replica, since: float) -> list[Request]:
    return [each for each in replica.requests(since) if each.resource == "deployments" and each.code == 422]


# --- the API server --------------------------------------------------------------------------------------------------


async def test_api_server_is_restarted_in_the_middle_of_a_round_and_history_is_lost(scene: Scene) -> None:
    """It goes at the third write of a round. Before the operator's watches go on a job is deleted and history is
    compacted: from where they were, no watch can tell of it."""
    cluster, rough, wire = scene.cluster, scene.rough, scene.cluster.plane.wire
    await cluster.nodes(2, gpus=8)
    replica = await scene.start()
    await cluster.submit("old", (1, 16))
    await cluster.submit("doomed", (2, 2))
    await cluster.expect("old", phase="Running", granted=14)
    await cluster.expect("doomed", phase="Running", granted=2)
    gone, back = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    async def stop() -> None:
        await asyncio.to_thread(rough.stop_apiserver)
        loop.call_soon_threadsafe(gone.set)

    third = at_nth(3, "PATCH|POST", "/", stop)

    async def hook(request: web.BaseRequest) -> None:
        await third(request)
        if "watch" in request.query and gone.is_set():
            await asyncio.to_thread(back.wait)

    wire.before = hook
    await cluster.submit("new", (4, 4))
    await cluster.spec("old", maxReplicas=6)
    await asyncio.wait_for(gone.wait(), 30)
    await asyncio.to_thread(rough.start_apiserver)
    began = time.time()
    await cluster.delete("TrainingJob", "doomed")
    compacted = rough.compact()
    back.set()

    await cluster.expect("new", phase="Running", granted=4, seconds=60)
    await cluster.expect("old", phase="Running", granted=6, seconds=60)
    await scene.rest()
    old = [each for each in replica.requests(began) if each.verb == "watch" and each.since < compacted]
    assert old, "watches went on from where they were"
    assert all(each.answered - each.received < 1 for each in old), "and were told at once that it is gone"
    assert replica.operator.alive
    assert await cluster.get("Deployment", "doomed") is None


async def test_slow_api_server_that_turns_requests_away(scene: Scene) -> None:
    """200 ms on each request, and 429 for one write of three, through a whole life of jobs."""
    cluster = scene.cluster
    wire = cluster.plane.wire
    await cluster.nodes(2, gpus=8)
    await cluster.queue("default", {"*": 16})
    replica = await scene.start(lease_seconds=CHART_LEASE_SECONDS)
    busy = Fault(
        method="PATCH|POST|PUT", path="/(trainingjobs|deployments|pods|queues)", status=429, delay=0.2, times=0
    )
    slow = Fault(delay=0.2)
    writes = 0

    async def every_third(request: web.BaseRequest) -> None:
        nonlocal writes
        if busy_path(request):
            writes += 1
            busy.times = 1 if writes % 3 == 0 else 0

    def busy_path(request: web.BaseRequest) -> bool:
        return request.method in ("PATCH", "POST") and "/leases" not in request.path

    busy.retry_after = 1
    cluster.plane.do(lambda: wire.rules.extend((busy, slow)))
    wire.before = every_third
    for index in range(4):
        await cluster.submit(f"job-{index}", (2, 8))
    await cluster.expect("job-0", phase="Running", seconds=40)
    await cluster.spec("job-1", suspend=True)
    await cluster.delete("TrainingJob", "job-2")
    await cluster.expect("job-1", phase="Suspended", granted=0, deployment=0, seconds=40)
    for name in ("job-0", "job-3"):
        await cluster.expect(name, phase="Running", granted=8, ready=8, seconds=40)
    await scene.rest()
    refused = [seen for seen in cluster.plane.log() if seen.status == 429]
    assert len(refused) > 5
    assert await leads(replica.operator)


# --- the operator's own clock ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first_off", "second_off"), [(HOUR, -HOUR), (-HOUR, HOUR)], ids=["ahead", "behind"])
async def test_clock_of_the_operator_is_off_by_an_hour(scene: Scene, first_off: float, second_off: float) -> None:
    """What it writes has the API server's time, to a few seconds, and no rule about time waits an hour for it. Then
    another operator takes over, whose clock is wrong the other way round."""
    cluster = scene.cluster
    await cluster.nodes(1, gpus=8)
    first = await scene.start(environment=with_clock_off(first_off))
    began = time.time()
    await cluster.submit("job", (1, 4))
    await cluster.submit("short", (1, 1), pods=cluster.plane.pods_that(exit_after=2))
    await cluster.expect("job", phase="Running", granted=4)
    await cluster.expect("short", phase="Succeeded")
    second = await scene.start(environment=with_clock_off(second_off))
    first.operator.kill()
    await cluster.spec("job", maxReplicas=2)

    await cluster.expect("job", phase="Running", granted=2, deployment=2)
    await until(lambda: leads(second.operator), "the second leads", told=second.operator.log)
    lease = await cluster.get("Lease", "apportion", "apportion-system")
    times = [lease["spec"]["renewTime"], lease["spec"]["acquireTime"]]
    for name in ("job", "short"):
        job = await cluster.get("TrainingJob", name)
        times += [each["lastTransitionTime"] for each in job["status"]["conditions"]]
        times += [job["status"]["admission"]["since"]] if grant_of(job).replicas else []
    for text in times:
        off = datetime.fromisoformat(text).timestamp() - began
        assert -5 < off < time.time() - began + 5, f"{text} is off by {off:.0f} s"
    await scene.rest()


# --- other people's hands --------------------------------------------------------------------------------------------


async def test_deployment_that_is_deleted_or_edited_by_hand_is_put_right(scene: Scene) -> None:
    cluster = scene.cluster
    await cluster.nodes(1, gpus=8)
    await scene.start()
    await cluster.submit("job", (2, 4))
    await cluster.submit("other", (2, 4))
    for name in ("job", "other"):
        await cluster.expect(name, phase="Running", granted=4)
    old = await cluster.get("Deployment", "job")

    await cluster.delete("Deployment", "job")
    await cluster.until(lambda: replaced(scene, old), "another Deployment is made")
    await cluster.expect("job", phase="Running", granted=4, deployment=4, ready=4)
    await scene.rest()

    await cluster.scale("job", 0)
    await cluster.event("job", "ReplicasReverted", "from 4 to 0")
    await cluster.expect("job", phase="Running", granted=4, deployment=4, ready=4)
    template = {"spec": {"nodeSelector": {"nvidia.com/gpu.product": "another"}}, "metadata": {"annotations": None}}
    await cluster.patch("Deployment", "job", {"spec": {"template": template}})
    await cluster.until(lambda: pinned(scene), "the template is put back")
    await cluster.expect("job", phase="Running", granted=4, deployment=4, ready=4)
    await scene.rest()


async def replaced(scene: Scene, old: Any) -> bool:
    found = await scene.cluster.get("Deployment", "job")
    return found is not None and found["metadata"]["uid"] != old["metadata"]["uid"]


async def pinned(scene: Scene) -> bool:
    spec = (await scene.cluster.template("job"))["spec"]
    return bool(spec["nodeSelector"]["nvidia.com/gpu.product"] == scene.cluster.product)
