"""A control plane for tests, and all that tests ask of it besides its API.

A test speaks to the API server, or asks `ControlPlane`: how a kubelet plays pods, which rights are taken away, what the
server forgets. So the suite runs against another control plane that offers the same.
"""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from aiohttp import web

from apportion.api.crds import crd_documents
from apportion.sandbox import Sandbox
from fault_proxy import FaultProxy, Seen
from integration.manifests import SYSTEM, Obj, namespace, priority_class


class Wire(FaultProxy):
    """The fault proxy with a hook: `before` and `after` see each request of an operator as it comes and as it ends."""

    def __init__(self, target_url: str) -> None:
        super().__init__(target_url)
        self.before: Callable[[web.BaseRequest], Awaitable[None]] | None = None
        self.after: Callable[[web.BaseRequest], Awaitable[None]] | None = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.before is not None:
            await self.before(request)
        answer = await super()._answer(request)
        if self.after is not None:
            await self.after(request)
        return answer


class ControlPlane:
    """A sandbox and a proxy before it, in a thread of their own. Operators go through the proxy, tests do not."""

    def __init__(self, folder: Path, definitions: bool = True) -> None:
        self.folder = folder
        self.definitions = definitions
        self.kubeconfig = folder / "kubeconfig"
        self.operators_kubeconfig = folder / "kubeconfig-operator"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="control-plane", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._sandbox: Sandbox
        self.wire: Wire

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._sandbox = Sandbox(
            bind_seconds=0.01, start_seconds=0.03, eviction_seconds=0.5, orphan_seconds=0.2, back_off_seconds=0.1
        )
        async with self._sandbox, Wire(self.url) as self.wire:
            for obj in furniture(self.definitions):
                self._sandbox.store.apply(obj)
            config = self._sandbox.kubeconfig()
            self.kubeconfig.write_text(config)
            self.operators_kubeconfig.write_text(config.replace(self.url, self.wire.url))
            self._ready.set()
            await self._stop.wait()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(20), "the control plane did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    @property
    def url(self) -> str:
        """Where the API server listens, with no proxy between."""
        return self._sandbox.url

    # --- the wire between it and the operators -----------------------------------------------------------------------

    def do(self, action: Callable[[], object]) -> None:
        """Run something in the control plane's thread, as every change of `wire` must, and wait for it."""

        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    def log(self) -> list[Seen]:
        """The operators' finished requests, oldest first."""
        return list(self.wire.log)

    def writes(self, path: str = "") -> list[Seen]:
        """The operators' successful and refused writes, less the Lease's and the access reviews."""
        return [
            seen
            for seen in self.log()
            if seen.is_write and re.search(path, seen.path) and not re.search(r"/leases|accessreviews", seen.path)
        ]

    # --- what no request to an API server brings about ---------------------------------------------------------------

    def take_rights_away(self, *rights: tuple[str, str, str]) -> None:
        """From everybody; a right is (verb, API group, resource)."""
        self.do(lambda: self._sandbox.deny.update(rights))

    def give_rights_back(self) -> None:
        self.do(self._sandbox.deny.clear)

    def forget_history(self) -> None:
        """Watches from any revision before now are answered with 410, as after a compaction of etcd."""
        self.do(self._sandbox.compact)

    def pods_that(
        self,
        exit_after: float | None = None,
        exit_code: int = 0,
        never_ready: bool = False,
        terminates_after: float | None = None,
    ) -> dict[str, str]:
        """Annotations that direct the kubelet of the pods that carry them.

        exit_after: the main container ends so many seconds after its start, each time, with exit_code.
        never_ready: it runs, but is never ready. terminates_after: a pod that is deleted needs so many seconds to end,
        as far as its grace period allows.
        """
        notes = {
            "exit-after": exit_after,
            "exit-code": exit_code or None,
            "never-ready": "true" if never_ready else None,
            "terminates-after": terminates_after,
        }
        return {f"sandbox.apportion.dev/{name}": str(value) for name, value in notes.items() if value is not None}


def furniture(definitions: bool = True) -> Iterable[Obj]:
    """What the chart would have installed."""
    if definitions:
        yield from crd_documents()
    yield namespace(SYSTEM)
    yield priority_class("apportion-training", 0)
