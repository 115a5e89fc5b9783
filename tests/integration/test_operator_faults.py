"""kill -9 at each step, stopped leaders, a wire that fails: the same end state, no orphan, nothing written twice."""

import asyncio
import random
import re
import threading
from typing import Any

import pytest
from aiohttp import web

from fault_proxy import Fault
from integration.cluster import Cluster, operating
from integration.operator_process import Operator, is_ready, leads, unready
from integration.waiting import until

WRITE = re.compile(r"/(trainingjobs|deployments|queues|allocationpolicies|pods)(/|\?|$)")
MOST_WRITES = 16


def is_step(request: web.BaseRequest) -> bool:
    """A write of a round; the Lease, access reviews and Events are none."""
    return request.method in ("POST", "PATCH", "PUT", "DELETE") and WRITE.search(request.path) is not None


class Killer:
    """Kills the operator at its n-th write from now on: before the server sees it, or before its reply arrives."""

    def __init__(self, operator: Operator, nth: int, after: bool) -> None:
        self.operator, self.nth, self.after = operator, nth, after
        self.count = 0
        self.done = False
        self._armed = True
        # The wire has a thread of its own, and a kill takes a while.
        self._lock = threading.Lock()

    async def before(self, request: web.BaseRequest) -> None:
        with self._lock:
            if is_step(request) and self._armed:
                self.count += 1
                if self.count == self.nth and not self.after:
                    self._kill()
                    raise ConnectionResetError

    async def passed(self, request: web.BaseRequest) -> None:
        with self._lock:
            if is_step(request) and self._armed and self.count >= self.nth and self.after:
                self._kill()

    def disarm(self) -> None:
        """From here on `done` stays as it is: a kill that has begun is waited for, and none begins."""
        with self._lock:
            self._armed = False

    def _kill(self) -> None:
        self.operator.kill()
        self._armed = False
        # Not before it is dead: whoever sees this starts the next.
        self.done = True


SIZES = {"old": 2, "new": 1, "shared": 1}


async def script(cluster: Cluster) -> None:
    """One change that shrinks, admits and grows: `old` gives room, `new` takes it, `shared` follows a Deployment."""
    await cluster.spec("old", maxReplicas=2)
    await cluster.submit("new", (1, 1))
    await cluster.reference("shared", (1, 1))


async def sized(cluster: Cluster) -> bool:
    """Every Deployment has its size: the last step was taken."""
    return {one["metadata"]["name"]: one["spec"]["replicas"] for one in await cluster.all("Deployment")} == SIZES


@pytest.mark.long(reason="40 s of starting operators; what each write does to a server is tested by the others")
async def test_kill_9_at_each_write_of_a_round_in_turn(own_cluster: Cluster) -> None:
    """n is raised until the round is over before it is reached. A generation counts the changes of a spec.

    What is killed forgets all: before the reply to one write or before the next one arrives is the same to the server.
    There is no Lease that the next process would wait for: it decides at once, while it begins to watch.
    """
    cluster = own_cluster
    await cluster.nodes(1, gpus=4)
    await cluster.queue("default", {"*": 4})
    async with operating(cluster, "--no-leader-election") as operator:
        for nth in range(1, MOST_WRITES + 1):
            await cluster.deploy("shared", replicas=0)
            await cluster.submit("old", (1, 4))
            await cluster.expect("old", phase="Running", granted=4, deployment=4)
            await cluster.calm(0.4)
            # Where the last round's pods were still leaving for the operator, it was begun with fewer and grown.
            begun = {d["metadata"]["name"]: d["metadata"]["generation"] for d in await cluster.all("Deployment")}
            killer = Killer(operator, nth, after=nth % 2 == 0)
            cluster.plane.wire.before, cluster.plane.wire.after = killer.before, killer.passed

            await script(cluster)

            async def over(killer: Killer = killer) -> bool:
                return killer.done or await sized(cluster)

            await until(over, f"write {nth}, or the last step", told=operator.log)
            killer.disarm()
            cluster.plane.wire.before = cluster.plane.wire.after = None
            if killer.done:
                operator.restart()
            for name, replicas in SIZES.items():
                await cluster.expect(name, phase="Running", granted=replicas, ready=replicas, deployment=replicas)

            generations = {d["metadata"]["name"]: d["metadata"]["generation"] for d in await cluster.all("Deployment")}
            once = {"old": begun["old"] + 1, "new": 1, "shared": begun["shared"] + 1}
            assert generations == once, f"patched twice after a kill at write {nth}"
            sets = [rs for rs in await cluster.all("ReplicaSet") if rs["spec"]["replicas"]]
            assert sorted(rs["spec"]["replicas"] for rs in sets) == [1, 1, 2]
            if not killer.done:
                break
            for name in SIZES:
                await cluster.delete("TrainingJob", name)
            await cluster.delete("Deployment", "shared")
            await cluster.until(lambda: _empty(cluster), "the next round starts from nothing")
        else:
            pytest.fail(f"a round of more than {MOST_WRITES} writes")
        assert nth > 8, "the round has a write of each kind: status, deletion cost, Deployment, queue"


async def _empty(cluster: Cluster) -> bool:
    return not await cluster.all("Deployment") and not await cluster.all("Pod")


# --- two operators ---------------------------------------------------------------------------------------------------


async def test_when_the_leader_is_killed_the_second_operator_goes_on(own_cluster: Cluster) -> None:
    cluster = own_cluster
    await cluster.nodes(1, gpus=8)
    async with operating(cluster) as first:
        await until(lambda: leads(first), "the first leads", told=first.log)
        async with operating(cluster) as second:
            assert (await second.get("/readyz"))[0] == 200, "a follower is ready all the same"
            await cluster.submit("job", (1, 4))
            await cluster.expect("job", phase="Running", granted=4)
            assert await leads(second, 0.0)

            first.kill()
            await cluster.spec("job", maxReplicas=2)

            await cluster.expect("job", phase="Running", granted=2, deployment=2)
            assert await leads(second)


async def test_a_leader_that_was_stopped_past_its_lease_writes_nothing_stale_when_it_goes_on(
    own_cluster: Cluster,
) -> None:
    """SIGSTOP just as its patch is on the way: the other leads and decides otherwise; then SIGCONT."""
    cluster = own_cluster
    await cluster.nodes(1, gpus=8)
    async with operating(cluster) as first:
        await until(lambda: leads(first), "the first leads", told=first.log)
        await cluster.submit("job", (1, 8))
        await cluster.expect("job", phase="Running", granted=8)
        async with operating(cluster) as second:
            frozen = asyncio.Event()
            loop = asyncio.get_running_loop()
            gate = threading.Event()
            held: list[str] = []

            async def hold(request: web.BaseRequest) -> None:
                """The first's status patch stands on the wire while its process stands still."""
                if is_step(request) and not held:
                    held.append(request.path)
                    first.freeze()
                    loop.call_soon_threadsafe(frozen.set)
                    await asyncio.to_thread(gate.wait)

            cluster.plane.wire.before = hold
            await cluster.spec("job", maxReplicas=2)
            await asyncio.wait_for(frozen.wait(), 20)
            await until(lambda: leads(second), "the second leads", told=second.log)
            await cluster.spec("job", maxReplicas=6)
            await cluster.expect("job", phase="Running", granted=6, deployment=6)
            before = await cluster.get("Deployment", "job")

            gate.set()
            first.thaw()

            await until(lambda: leads(first, 0.0), "the first finds out", told=first.log)
            cluster.plane.wire.before = None
            await cluster.calm(1)
            after = await cluster.get("Deployment", "job")
            assert after["metadata"]["generation"] == before["metadata"]["generation"], "a stale patch took effect"
            await cluster.expect("job", phase="Running", granted=6, deployment=6)
            refused = [s.status for s in cluster.plane.log() if s.is_write and "/status" in s.path and s.status >= 400]
            assert refused, "the stale patch arrived, and its own tests failed"


async def test_a_leader_that_was_stopped_after_its_status_patch_does_not_size_the_deployment(
    own_cluster: Cluster,
) -> None:
    """Between the two writes: the reply of the status patch reaches a process that has lost its lease."""
    cluster = own_cluster
    await cluster.nodes(1, gpus=8)
    async with operating(cluster) as first:
        await until(lambda: leads(first), "the first leads", told=first.log)
        await cluster.submit("job", (1, 8))
        await cluster.expect("job", phase="Running", granted=8)
        async with operating(cluster) as second:
            frozen = asyncio.Event()
            loop = asyncio.get_running_loop()
            stopped: list[str] = []

            async def stop_it(request: web.BaseRequest) -> None:
                if is_step(request) and not stopped:
                    stopped.append(request.path)
                    first.freeze()
                    loop.call_soon_threadsafe(frozen.set)

            cluster.plane.wire.after = stop_it
            await cluster.spec("job", maxReplicas=2)
            await asyncio.wait_for(frozen.wait(), 20)
            assert (await cluster.expect("job", granted=2))["metadata"]["name"] == "job"
            await until(lambda: leads(second), "the second leads", told=second.log)
            await cluster.expect("job", phase="Running", granted=2, deployment=2)
            generation = (await cluster.get("Deployment", "job"))["metadata"]["generation"]

            first.thaw()

            await until(lambda: leads(first, 0.0), "the first finds out", told=first.log)
            cluster.plane.wire.after = None
            await cluster.calm(1)
            assert (await cluster.get("Deployment", "job"))["metadata"]["generation"] == generation


# --- a wire that fails -----------------------------------------------------------------------------------------------


def weather(rng: random.Random) -> list[Fault]:
    """Faults of every kind, a bounded number of each; a reply that is lost after its request was carried out too."""
    jobs, deployments, every = r"/trainingjobs/", r"/deployments", r"/(api|apis)/"
    kinds = [
        Fault(method="PATCH", path=jobs, status=409),
        Fault(method="PATCH", path=deployments, status=409),
        Fault(method="PATCH", path=jobs, status=500),
        Fault(method="PATCH", path=deployments, status=500, after=True),
        Fault(method="POST", path=deployments, status=500, after=True),
        Fault(method="POST", path=deployments, status=429, retry_after=1),
        Fault(method="PATCH", path=every, drop=True),
        Fault(method="PATCH", path=jobs, drop=True, after=True),
        Fault(method="POST|PATCH", path=every, delay=0.3),
        Fault(method="PUT", path=r"/leases/", status=500),
        Fault(method="GET", path=r"watch=true", status=410),
        Fault(method="GET", path=r"watch=true", status=500),
        Fault(method="GET", path=r"watch=true", drop=True),
        Fault(method="GET", path=r"/pods\?", status=429, retry_after=1),
    ]
    for fault in kinds:
        fault.times = rng.randint(0, 2)
    rng.shuffle(kinds)
    return kinds


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.long(reason="one weather of three")) for seed in (2, 3))]
)
async def test_through_a_wire_that_fails_at_random_everything_converges_and_nothing_is_lost(
    own_cluster: Cluster, seed: int
) -> None:
    cluster, rng = own_cluster, random.Random(seed)
    wire = cluster.plane.wire
    await cluster.nodes(2, gpus=8)
    await cluster.queue("default", {"*": 16})
    await cluster.deploy("referenced", replicas=0)
    async with operating(cluster, "--audit-seconds", "5") as operator:
        await until(lambda: leads(operator), "it leads", told=operator.log)
        cluster.plane.do(lambda: wire.rules.extend(weather(rng)))
        for index in range(4):
            await cluster.submit(f"job-{index}", (2, 8))
            cluster.plane.do(wire.cut_watches)
        await cluster.reference("referenced", (1, 2))
        await cluster.expect("job-0", phase="Running", seconds=60)
        cluster.plane.do(lambda: wire.rules.extend(weather(rng)))
        await cluster.delete("TrainingJob", "job-1")
        await cluster.spec("job-2", suspend=True)
        cluster.plane.forget_history()
        cluster.plane.do(wire.cut_watches)

        await cluster.expect("job-2", phase="Suspended", granted=0, deployment=0, seconds=60)
        await cluster.until(lambda: _settled(cluster), "everything converges", 60)

        assert operator.alive
        names = {d["metadata"]["name"] for d in await cluster.all("Deployment")}
        assert names == {"job-0", "job-2", "job-3", "referenced"}, "no orphan, nothing lost"
        assert (await operator.get("/healthz"))[0] == 200


async def _settled(cluster: Cluster) -> bool:
    """The 16 GPUs are shared out among those that may have them, and what is granted is what runs."""
    total = 0
    for job in await cluster.all("TrainingJob"):
        status: Any = job.get("status", {})
        name = job["metadata"]["name"]
        granted = status.get("admission", {}).get("replicas", 0)
        deployment = await cluster.get("Deployment", name)
        if deployment is None or deployment["spec"]["replicas"] != granted or status.get("replicas") != granted:
            return False
        if granted and status["phase"] != "Running":
            return False
        total += granted
    return total == 16


async def test_after_watches_were_cut_and_history_lost_what_vanished_unseen_is_found(own_cluster: Cluster) -> None:
    """A Deployment and a node go while no watch runs and the server forgets it: the audit's LIST tells."""
    cluster = own_cluster
    wire = cluster.plane.wire
    await cluster.nodes(1, gpus=8)
    async with operating(cluster, "--audit-seconds", "2") as operator:
        await cluster.submit("job", (2, 2))
        await cluster.submit("other", (1, 8))
        await cluster.expect("other", phase="Running", granted=6)
        cluster.plane.do(lambda: wire.rules.append(Fault(method="GET", path="watch=true", drop=True)))
        cluster.plane.do(wire.cut_watches)

        await cluster.delete("TrainingJob", "job")
        cluster.plane.forget_history()

        await cluster.expect("other", granted=8, deployment=8, seconds=40)
        cluster.plane.do(wire.rules.clear)
        await cluster.expect("other", phase="Running", granted=8, seconds=40)
        assert operator.alive


async def test_what_vanished_while_history_was_lost_is_found_when_all_is_watched_again(own_cluster: Cluster) -> None:
    """The watches begin anew in a moment, and kopf lists what is there, not what is gone."""
    cluster = own_cluster
    wire = cluster.plane.wire
    await cluster.nodes(1, gpus=8)
    async with operating(cluster, "--audit-seconds", "10") as operator:
        await cluster.submit("job", (2, 2))
        await cluster.submit("other", (1, 8))
        await cluster.expect("other", phase="Running", granted=6)
        cluster.plane.do(lambda: wire.rules.append(Fault(method="GET", path="/trainingjobs", drop=True)))
        cluster.plane.do(wire.cut_watches)
        await cluster.delete("TrainingJob", "job")
        cluster.plane.forget_history()
        cluster.plane.do(wire.rules.clear)

        await cluster.expect("other", phase="Running", granted=8, seconds=40)
        assert operator.alive


async def test_watches_that_are_refused_for_good_stop_nobody_and_are_told(own_cluster: Cluster) -> None:
    """Each refusal ends kopf: it is started again, and the allocator goes on meanwhile, by LISTs alone."""
    cluster = own_cluster
    await cluster.nodes(1, gpus=8)
    async with operating(cluster, "--audit-seconds", "2") as operator:
        await cluster.submit("job", (1, 4))
        await cluster.expect("job", phase="Running", granted=4)
        rule = Fault(method="GET", path="/trainingjobs.*watch=true", status=403)
        cluster.plane.do(lambda: cluster.plane.wire.rules.append(rule))
        cluster.plane.do(cluster.plane.wire.cut_watches)
        await until(
            lambda: "watches:" in operator.log() or "watches failed" in operator.log(), "kopf ends", 40, operator.log
        )
        for most in (2, 3):
            await cluster.spec("job", maxReplicas=most)
            await cluster.expect("job", granted=most, deployment=most, seconds=40)
        assert "403" in await unready(operator, "trainingjobs.apportion.dev are not watched")
        assert (await operator.get("/healthz"))[0] == 200, "a restart would mend nothing"
        assert not await unwatched(operator, 0.0)

        cluster.plane.do(cluster.plane.wire.rules.clear)
        await is_ready(operator)
        await cluster.spec("job", maxReplicas=4)
        await cluster.expect("job", granted=4, deployment=4)
        await cluster.until(lambda: unwatched(operator, 0.0), "and it is measured")


async def unwatched(operator: Operator, seconds: float) -> bool:
    """Whether TrainingJobs have not been watched for so long, as its metrics say."""
    series = 'apportion_unwatched_seconds{resource="trainingjobs.apportion.dev"}'
    return (await operator.metrics()).get(series) == seconds


async def test_an_operator_that_starts_late_decides_for_all_that_came_before(own_cluster: Cluster) -> None:
    cluster = own_cluster
    await cluster.nodes(1, gpus=8)
    for name in ("a", "b", "c", "d"):
        await cluster.submit(name, (2, 2))
    async with operating(cluster) as operator:
        for name in ("a", "b", "c", "d"):
            await cluster.expect(name, phase="Running", granted=2)
        await is_ready(operator)
        created = [s for s in cluster.plane.writes(r"/deployments") if s.method == "POST"]
        assert len(created) == 4
