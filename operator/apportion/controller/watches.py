"""kopf's part: watch everything, hand each raw object to the cluster. Handlers translate, they do not think."""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import aiohttp
import kopf

from apportion.controller.precedence import Precedence
from apportion.controller.sight import Sight
from apportion.kube.client import Api
from apportion.kube.kinds import TENANTS, WATCHED, Kind

# It says in each run that it leaves the signals alone, as it should.
logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)

Take = Callable[[Kind, Any, bool], None]

LONGEST_END_SECONDS = 1.0
PEER = "apportion"


class _NoDiff(kopf.DiffBaseStorage):  # type: ignore[misc]
    """Nothing to compare: kopf copies each object twice for a difference that only its other handlers would read."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        raise AssertionError("nothing is written to objects")


@dataclass(frozen=True)
class Scope:
    """What one run of kopf watches: kinds, in some namespaces or (none named) in all."""

    kinds: tuple[Kind, ...]
    namespaces: tuple[str, ...] = ()


def scopes(watched: Collection[str]) -> list[Scope]:
    """kopf has one set of namespaces for all kinds of a run: two runs where only some kinds are bound to namespaces."""
    if not watched:
        return [Scope(WATCHED)]
    return [Scope(tuple(kind for kind in WATCHED if kind not in TENANTS)), Scope(TENANTS, tuple(watched))]


def session_of(info: kopf.ConnectionInfo, tell: Callable[..., None], sight: Sight) -> aiohttp.ClientSession:
    """As kopf would make it, but `sight` is told of each request and its answer; `tell` brings that into its loop."""
    trace = aiohttp.TraceConfig()

    async def asked(_: Any, __: Any, request: aiohttp.TraceRequestStartParams) -> None:
        tell(sight.asked, request.url.path, "watch" in request.url.query)

    async def answered(_: Any, __: Any, request: aiohttp.TraceRequestEndParams) -> None:
        tell(sight.answered, request.url.path, "watch" in request.url.query, request.response.status)

    async def failed(_: Any, __: Any, request: aiohttp.TraceRequestExceptionParams) -> None:
        tell(sight.failed, request.url.path, str(request.exception) or type(request.exception).__name__)

    trace.on_request_start.append(asked)
    trace.on_request_end.append(answered)
    trace.on_request_exception.append(failed)
    connector = aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context())
    return aiohttp.ClientSession(connector=connector, headers=info.as_http_headers(), trace_configs=[trace])


def registry_of(connection: kopf.AiohttpSession, take: Take, watched: tuple[Kind, ...]) -> kopf.OperatorRegistry:
    """Every trigger of the operator: an event of any of these kinds. No finalizers, no annotations, no timers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator]
    def login(**_: Any) -> kopf.AiohttpSession:
        return connection

    @kopf.on.startup(registry=registry)  # type: ignore[untyped-decorator]
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.peering.standalone = True
        settings.watching.server_timeout = 240
        settings.watching.inactivity_timeout = 150
        settings.watching.connect_timeout = 10
        settings.networking.error_backoffs = (0.5, 1, 2)
        # A worker per object, which holds its last event while it waits for the next: at a start that is the cluster.
        settings.queueing.idle_timeout = 0.2
        settings.persistence.diffbase_storage = _NoDiff()

    for kind in watched:
        _watch(registry, kind, take)
    return registry


def _watch(registry: kopf.OperatorRegistry, kind: Kind, take: Take) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)  # type: ignore[untyped-decorator]
    async def handle(event: Any, **_: Any) -> None:
        # Not awaiting anything, but kopf would run a plain function in a thread, event by event.
        take(kind, event["object"], event["type"] == "DELETED")


class _Kopf:
    """One run of kopf, in a thread and a loop of its own.

    In the main thread kopf takes SIGTERM and SIGINT for itself. And when it ends, it cancels every task of its loop
    that is younger than itself, whosever it is.
    """

    def __init__(self, info: kopf.ConnectionInfo, scope: Scope, take: Take, rounds: Precedence, sight: Sight) -> None:
        self._home = asyncio.get_running_loop()
        self._info = info
        self._scope = scope
        self._take = take
        self._rounds = rounds
        self._sight = sight
        self._news: deque[tuple[Kind, Any, bool]] = deque()
        self._announced = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._stopping = False
        self.ended: asyncio.Future[None] = self._home.create_future()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; `ended` tells when it has."""
        self._stopping = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)

    def _hand_over(self, kind: Kind, raw: Any, gone: bool) -> None:
        """In batches: to wake the other loop is a system call, after which this thread waits for its turn again."""
        self._rounds.give_way()
        self._news.append((kind, raw, gone))
        if not self._announced:
            self._announced = True
            self._tell(self._take_all)

    def _take_all(self) -> None:
        """What is handed over after the end is older than what the next run has listed."""
        self._announced = False
        while self._news and not self.ended.done():
            self._take(*self._news.popleft())

    def _tell(self, call: Callable[..., object], *args: Any) -> None:
        """In the loop that the rest of the process lives in; where that is over, nobody listens."""
        with contextlib.suppress(RuntimeError):
            self._home.call_soon_threadsafe(call, *args)

    def _run(self) -> None:
        try:
            asyncio.run(self._operate())
        except BaseException as error:
            self._tell(self._settle, error)
        else:
            self._tell(self._settle, None)

    async def _operate(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._stopping:
            return
        # kopf closes it, after its tasks.
        session = session_of(self._info, self._tell, self._sight)
        await self._watch(kopf.AiohttpSession(server=self._info.server, aiohttp_session=session), self._loop)

    async def _watch(self, connection: kopf.AiohttpSession, loop: asyncio.AbstractEventLoop) -> None:
        namespaces = self._scope.namespaces
        tasks = await kopf.spawn_tasks(
            registry=registry_of(connection, self._hand_over, self._scope.kinds),
            clusterwide=not namespaces,
            namespaces=namespaces,
            standalone=True,
            # Without one kopf makes it of the user's name, and the user of a container has none: it would never start.
            identity=PEER,
            stop_flag=self._stop,
        )
        # Not `run_tasks`: where one watch fails it lets the others go on for 5 s without their session and their login,
        # and sometimes waits for them for ever. What remains is cancelled when the loop ends, and if it does not heed
        # that, the loop is stopped under it.
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        loop.call_later(LONGEST_END_SECONDS, loop.stop)
        for task in done:
            error = task.exception()
            if error is not None:
                self._tell(self._settle, error)

    def _settle(self, error: BaseException | None) -> None:
        if self.ended.done():
            return
        if isinstance(error, Exception):
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)


async def watch(api: Api, take: Take, rounds: Precedence, sight: Sight) -> None:
    """Run kopf until this is cancelled. Any watch error but a 410 ends it, and is raised: the caller runs it again."""
    info = kopf.ConnectionInfo(**await api.credentials())
    runs = [_Kopf(info, scope, take, rounds, sight) for scope in scopes(sight.namespaces)]
    for run in runs:
        run.start()
    ends = [run.ended for run in runs]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for ended in ends:
            if ended.done():
                ended.result()
    finally:
        for run in runs:
            run.stop()
        await asyncio.wait(ends, timeout=LONGEST_END_SECONDS)
        for ended in ends:
            if ended.done() and not ended.cancelled():
                ended.exception()
        sight.ended()
