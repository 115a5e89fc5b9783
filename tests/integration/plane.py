"""A control plane for tests, and all that tests ask of it besides its API.

A test speaks to the API server, or asks `ControlPlane`: how a kubelet plays pods, which rights are taken away, what the
server forgets. So the suite runs unchanged on the sandbox (sandbox_plane.py) and on a real one (real_plane.py).
"""

import asyncio
import json
import re
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from aiohttp import web

from apportion.kube.client import Api
from fault_proxy import FaultProxy, Seen
from integration.manifests import Obj

START_SECONDS = 60.0


class Wire(FaultProxy):
    """The fault proxy with a hook: `before` and `after` see each request of an operator as it comes and as it ends."""

    def __init__(self, target_url: str, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__(target_url, ssl_context)
        self.before: Callable[[web.BaseRequest], Awaitable[None]] | None = None
        self.after: Callable[[web.BaseRequest], Awaitable[None]] | None = None
        self.forgotten = 0
        """A watch from a lower resourceVersion than this is told that it has expired."""

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.before is not None:
            await self.before(request)
        answer = _expired() if self._is_forgotten(request) else await super()._answer(request)
        if self.after is not None:
            await self.after(request)
        return answer

    def _is_forgotten(self, request: web.BaseRequest) -> bool:
        since = request.query.get("resourceVersion", "")
        return request.query.get("watch") in ("1", "true") and 0 < int(since or 0) < self.forgotten


def _expired() -> web.Response:
    """As the real server says it: an event of a stream that ends with it."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410}
    told = {**status, "reason": "Expired", "message": "The resourceVersion for the provided watch is too old."}
    body = json.dumps({"type": "ERROR", "object": told}) + "\n"
    return web.Response(text=body, content_type="application/json")


class ControlPlane(ABC):
    """An API server and a proxy before it, in a thread of their own. Operators go through the proxy, tests do not."""

    watched: tuple[str, ...] = ()
    """The namespaces that operators look after, and the only ones in which they may write; (): all."""

    traced = False
    """Whether operators measure their coverage here: on one kind of plane is enough, as the same tests run on both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.operators_kubeconfig = folder / "kubeconfig-operator"
        self.wire: Wire
        self._thread = threading.Thread(target=self._run, name="control-plane", daemon=True)
        self._opened: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    # --- what each kind of plane does in its own way -----------------------------------------------------------------

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the API server listens, with no proxy between."""

    @property
    @abstractmethod
    def kubeconfig(self) -> Path:
        """An administrator's, with no proxy between."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Wire]:
        """An API server with what the chart installs, the proxy before it, and `operators_kubeconfig` through it."""

    @abstractmethod
    def take_rights_away(self, *rights: tuple[str, str, str]) -> None:
        """From the operators; a right is (verb, API group, resource)."""

    @abstractmethod
    def give_rights_back(self) -> None:
        """All that were taken away."""

    @abstractmethod
    def forget_history(self) -> None:
        """Watches of the operators from any revision before now are answered with 410, as after a compaction."""

    @abstractmethod
    def with_kubelet(self, node: Obj) -> Obj:
        """The manifest of a node that has a kubelet: it becomes ready, and pods run on it."""

    @abstractmethod
    async def report(self, api: Api, node: str, ready: bool) -> None:
        """A node's kubelet reports that it is well, or that it is not, until it reports again."""

    def pods_that(
        self,
        exit_after: float | None = None,
        exit_code: int = 0,
        never_ready: bool = False,
        terminates_after: float | None = None,
    ) -> dict[str, str]:
        """Annotations that direct the kubelet of the pods that carry them, whichever plays it.

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

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()
        self._opened.result(START_SECONDS)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.open() as self.wire:
            self._opened.set_result(None)
            await self._stop.wait()

    # --- operators ---------------------------------------------------------------------------------------------------

    @property
    def operator_options(self) -> list[str]:
        """What each operator's command line needs."""
        return [f"--watch-namespace={name}" for name in self.watched]

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
