"""The sandbox put together: store, server and simulated parts, started and stopped as one."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Self

import yaml
from aiohttp import web

from apportion.sandbox.accounts import ServiceAccounts, give_account
from apportion.sandbox.admission import complete_pod
from apportion.sandbox.clock import Clock, LoopClock
from apportion.sandbox.crds import CustomResources
from apportion.sandbox.kinds import Catalog
from apportion.sandbox.reviews import Access, Right
from apportion.sandbox.server import Server
from apportion.sandbox.simulation import Timing, simulate
from apportion.sandbox.storage import Storage
from apportion.sandbox.store import Store


def new_store(clock: Clock, seed: int = 0, eviction_seconds: float = 300) -> tuple[Store, CustomResources]:
    """A store with what every cluster has from its first second: namespaces and the two system priority classes."""
    store = Store(Storage(), Catalog(), clock, Random(seed))
    custom = CustomResources(store)
    ServiceAccounts(store)
    store.admission.append(lambda resource, obj: give_account(store, resource, obj))
    store.admission.append(lambda resource, obj: complete_pod(store, resource, obj, eviction_seconds))
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        store.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for name, value in (("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)):
        meta = {"name": name}
        priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": meta, "value": value}
        store.apply(priority)
    return store, custom


class Sandbox:
    """A Kubernetes API with simulated controllers, in this process.

    Use it as `async with Sandbox() as sandbox`, or call `start` and `stop`; with a ManualClock the store and the
    simulated parts work without either. Times are in seconds: `bind_seconds` from a pod's creation to its node,
    `start_seconds` from there to Ready, `eviction_seconds` how long pods bear a node that is not ready,
    `orphan_seconds` how long they outlive a deleted one, `back_off_seconds` the first wait of a container that ended
    twice. `scoring` is LeastAllocated or MostAllocated. Server-side apply and protobuf are refused
    with 415. In what else it differs from a real server tests/controlplane/conformance/known.py says.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        seed: int = 0,
        bind_seconds: float = 0.02,
        start_seconds: float = 0.2,
        eviction_seconds: float = 300,
        orphan_seconds: float = 1.0,
        back_off_seconds: float = 10.0,
        scoring: str = "LeastAllocated",
        bookmark_seconds: float = 15,
    ) -> None:
        self._host, self._port = host, port
        self._loop_clock = LoopClock() if clock is None else None
        self.clock: Clock = clock or self._loop_clock or LoopClock()
        self.store, self._custom = new_store(self.clock, seed, eviction_seconds)
        self._access = Access()
        self._server = Server(self.store, self._custom, self._access, bookmark_seconds)
        timing = Timing(bind_seconds, start_seconds, orphan_seconds, back_off_seconds)
        simulate(self.store, timing, scoring, Random(seed + 1))
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the port and start the simulated parts."""
        if self._loop_clock:
            self._loop_clock.open()
        self._runner = web.ServerRunner(web.Server(self._server.handle, access_log=None), shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port, end the watches and stop the simulated parts."""
        if self._loop_clock:
            self._loop_clock.close()
        self._server.reader.end_watches()
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def deny(self) -> set[Right]:
        """Rights that are taken away, as (verb, group, resource): both reviews and requests are then refused."""
        return self._access.deny

    def kubeconfig(self) -> str:
        """A kubeconfig for this server, as YAML."""
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "sandbox", "cluster": {"server": self.url}}],
                "users": [{"name": "sandbox", "user": {"token": "sandbox"}}],
                "contexts": [
                    {"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox", "namespace": "default"}}
                ],
                "current-context": "sandbox",
            },
            sort_keys=False,
        )

    def end_watches(self) -> None:
        """Let every running watch end now, as when the API server is restarted."""
        self._server.reader.end_watches()

    def compact(self) -> None:
        """Forget all past changes: a watch from before now gets 410 Expired."""
        self.store.storage.compact()

    async def wait_for(self, holds: Callable[[], object], seconds: float = 5) -> None:
        """Wait until `holds()` is true, looking again after every change in the store. Raises TimeoutError."""
        changed = asyncio.Event()
        stop = self.store.storage.listen(None, lambda _: changed.set())
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    await changed.wait()
                    changed.clear()
        finally:
            stop()
