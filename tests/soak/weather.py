"""Faults, each for a few seconds. When one has passed, everything that it broke works again."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from aiohttp import web

from controlplane.history import PRODUCT
from controlplane.scene import Replica, Scene, with_clock_off
from fault_proxy import Fault
from integration.cluster import set_ready
from integration.test_operator_faults import is_step
from integration.waiting import until
from soak.kubelets import leave_to_kwok

HOUR = 3600
# The other components come back later after each outage of the API server within two minutes.
BETWEEN_OUTAGES_SECONDS = 120.0
LONGEST_STEPS_SECONDS = 6.0
ANY_WRITE = "PATCH|POST|PUT"


@dataclass
class Weather:
    """`rng` alone decides which fault comes, and how."""

    scene: Scene
    rng: Random
    nodes: list[str]
    last_outage: float = float("-inf")
    reachable: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while nobody can reach the API server: people wait, as their hands do not try again."""
    _bag: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    async def strike(self) -> str:
        """One fault from its beginning to its end, and what it was. Each comes once before any comes twice."""
        fault = self._next()
        await fault()
        return fault.__name__.replace("_", " ")

    def _next(self) -> Callable[[], Awaitable[None]]:
        if not self._bag:
            self._bag = [
                self.leader_killed_at_a_write, self.leader_killed_after_a_write, self.follower_killed,
                self.leader_stopped_past_its_lease, self.api_server_restarted, self.history_lost, self.watches_cut,
                self.api_slow_and_busy, self.replies_lost, self.node_not_ready, self.most_nodes_not_ready,
                self.node_deleted, self.clock_off,
            ]  # fmt: skip
            self.rng.shuffle(self._bag)
        now = asyncio.get_running_loop().time()
        if self._bag[-1] == self.api_server_restarted and now - self.last_outage < BETWEEN_OUTAGES_SECONDS:
            self._bag.insert(0, self._bag.pop())
        return self._bag.pop()

    async def pause(self, least: float = 1.0, most: float = 3.0) -> None:
        await asyncio.sleep(self.rng.uniform(least, most))

    # --- operators ---------------------------------------------------------------------------------------------------

    async def leader_killed_at_a_write(self) -> None:
        await self._kill_at(after=False)

    async def leader_killed_after_a_write(self) -> None:
        """Before it hears what became of it."""
        await self._kill_at(after=True)

    async def _kill_at(self, after: bool) -> None:
        leader, wire = await self.scene.leader(), self.scene.cluster.plane.wire
        left, done = self.rng.randint(1, 6), threading.Event()

        async def hook(request: web.BaseRequest) -> None:
            nonlocal left
            if done.is_set() or not is_step(request):
                return
            left -= 1
            if left > 0:
                return
            leader.operator.kill()
            done.set()
            if not after:
                raise ConnectionResetError

        if after:
            wire.after = hook
        else:
            wire.before = hook
        # Where there is so little to write, it is killed while it does nothing.
        await asyncio.to_thread(done.wait, LONGEST_STEPS_SECONDS)
        wire.before = wire.after = None
        leader.operator.kill()
        await self.pause()
        leader.operator.restart()

    async def follower_killed(self) -> None:
        leader = await self.scene.leader()
        for replica in self.scene.replicas:
            if replica is not leader:
                replica.operator.kill()
                await self.pause()
                replica.operator.restart()

    async def leader_stopped_past_its_lease(self) -> None:
        leader = await self.scene.leader()
        leader.operator.freeze()
        (other,) = (each for each in self.scene.replicas if each is not leader)
        try:
            await until(lambda: self._leads(other), "the other leads", 30, other.operator.log)
            await self.pause()
        finally:
            leader.operator.thaw()

    async def clock_off(self) -> None:
        """From here on, until it is started again with a clock that is right or wrong."""
        replica = self.rng.choice(self.scene.replicas)
        replica.operator.kill()
        replica.operator.environment.update(with_clock_off(self.rng.choice((-HOUR, 0, HOUR))))
        replica.operator.restart()
        await self.pause()

    async def _leads(self, replica: Replica) -> bool:
        return (await replica.operator.metrics()).get("apportion_leader") == 1.0

    # --- the API server ----------------------------------------------------------------------------------------------

    async def api_server_restarted(self) -> None:
        async with self.reachable:
            await asyncio.to_thread(self.scene.rough.stop_apiserver)
            await self.pause(0.0, 2.0)
            await asyncio.to_thread(self.scene.rough.start_apiserver)
        self.last_outage = asyncio.get_running_loop().time()

    async def history_lost(self) -> None:
        self.scene.cluster.plane.forget_history()
        await self.watches_cut()

    async def watches_cut(self) -> None:
        self.scene.cluster.plane.do(self.scene.cluster.plane.wire.cut_watches)
        await self.pause()

    async def api_slow_and_busy(self) -> None:
        busy = Fault(method=ANY_WRITE, status=429, retry_after=1, delay=0.2, times=self.rng.randint(1, 6))
        await self._through(busy, Fault(delay=0.2))

    async def replies_lost(self) -> None:
        """Carried out, or not, and never answered; or answered with an error although carried out."""
        lost = Fault(method=ANY_WRITE, drop=True, after=True, times=self.rng.randint(1, 3))
        unheard = Fault(method=ANY_WRITE, drop=True, times=self.rng.randint(1, 3))
        await self._through(lost, Fault(method=ANY_WRITE, status=500, after=True, times=2), unheard)

    async def _through(self, *faults: Fault) -> None:
        plane = self.scene.cluster.plane
        plane.do(lambda: plane.wire.rules.extend(faults))
        await self.pause(2.0, 5.0)
        plane.do(plane.wire.rules.clear)

    # --- nodes -------------------------------------------------------------------------------------------------------

    async def node_not_ready(self) -> None:
        await self._not_ready([self.rng.choice(self.nodes)])

    async def most_nodes_not_ready(self) -> None:
        await self._not_ready(self.rng.sample(self.nodes, round(0.6 * len(self.nodes))))

    async def _not_ready(self, nodes: list[str]) -> None:
        cluster = self.scene.cluster
        await asyncio.gather(*(set_ready(cluster, node, False) for node in nodes))
        await self.pause(2.0, 6.0)
        await asyncio.gather(*(set_ready(cluster, node, True) for node in nodes))
        await asyncio.gather(*(leave_to_kwok(self.scene, node) for node in nodes))

    async def node_deleted(self) -> None:
        """And another one comes in its place."""
        cluster = self.scene.cluster
        name = self.nodes.pop(self.rng.randrange(len(self.nodes)))
        product = (await cluster.get("Node", name))["metadata"]["labels"][PRODUCT]
        await cluster.delete("Node", name)
        await self.pause()
        self.nodes += await cluster.nodes(1, gpus=8, product=product)
