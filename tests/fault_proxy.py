"""An HTTP proxy in front of an API server that fails on command, and remembers every request.

It passes everything through, watches line by line and bearer tokens included:

    async with FaultProxy(sandbox.url) as proxy:
        proxy.rules.append(Fault(method="PATCH", path=r"/deployments/", status=409, times=2))
        kubeconfig = sandbox.kubeconfig().replace(sandbox.url, proxy.url)
"""

import asyncio
import re
import ssl
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Self

import aiohttp
from aiohttp import web

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
_HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass
class Fault:
    """What happens to the next `times` requests whose method and path, query included, match these expressions.

    `delay` in seconds comes first. Then the request is answered with `status` and a Status object, or its connection
    is dropped; with neither it passes. `after` lets the server carry the request out first, and loses only its reply.
    """

    method: str = ".*"
    path: str = ""
    status: int = 0
    reason: str = ""
    times: float = float("inf")
    retry_after: int | None = None
    delay: float = 0.0
    drop: bool = False
    after: bool = False

    def matches(self, request: web.BaseRequest) -> bool:
        return (
            self.times > 0
            and re.fullmatch(self.method, request.method) is not None
            and re.search(self.path, request.path_qs) is not None
        )


@dataclass(frozen=True)
class Seen:
    """One request as the client made it; status 0 if it got no answer."""

    method: str
    path: str
    user_agent: str
    status: int

    @property
    def is_write(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH", "DELETE")


class FaultProxy:
    """`rules` are looked at in order, and the first that matches counts. `log` has all finished requests."""

    def __init__(self, target_url: str, ssl_context: ssl.SSLContext | None = None) -> None:
        self._target = target_url.rstrip("/")
        self._ssl = ssl_context
        self.rules: list[Fault] = []
        self.log: list[Seen] = []
        self.cut_after: int | None = None
        """Cut every watch after so many events; None for never. Counts for watches that begin later."""
        self._running = asyncio.Event()
        self._running.set()
        self._watches: dict[int, web.BaseRequest] = {}
        self._url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on a free port."""
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._ssl if self._ssl else True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close the port and all connections."""
        self.resume()
        self.cut_watches()
        await self._session.close()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return self._url

    @property
    def open_watches(self) -> int:
        return len(self._watches)

    def writes(self, path: str = "", user_agent: str = "") -> list[Seen]:
        """The writes so far whose path and user agent contain a match of these regular expressions."""
        return [
            seen
            for seen in self.log
            if seen.is_write and re.search(path, seen.path) and re.search(user_agent, seen.user_agent)
        ]

    def cut_watches(self) -> None:
        """Break the connection of every running watch."""
        for request in list(self._watches.values()):
            _drop(request)

    def pause(self) -> None:
        """Let everything hang, as a stopped process does: connections stay open, and nothing is answered."""
        self._running.clear()

    def resume(self) -> None:
        """Go on after a pause with what has hung."""
        self._running.set()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        status = 0
        try:
            response = await self._answer(request)
            status = 0 if isinstance(response, _Dropped) else response.status
            return response
        finally:
            agent = request.headers.get("User-Agent", "")
            self.log.append(Seen(request.method, request.path_qs, agent, status))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        await self._running.wait()
        fault = next((rule for rule in self.rules if rule.matches(request)), None)
        if fault is None:
            return await self._forward(request)
        fault.times -= 1
        await asyncio.sleep(fault.delay)
        if fault.after:
            await self._carry_out(request)
        if fault.drop:
            return _drop(request)
        if fault.status:
            return _refusal(fault)
        return await self._forward(request)

    def _upstream(self, request: web.BaseRequest, body: bytes) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = f"{self._target}{request.path_qs}"
        return self._session.request(request.method, url, headers=headers, data=body or None, allow_redirects=False)

    async def _carry_out(self, request: web.BaseRequest) -> None:
        async with self._upstream(request, await request.read()) as reply:
            await reply.read()

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        try:
            async with self._upstream(request, body) as reply:
                headers = {name: value for name, value in reply.headers.items() if name.lower() not in _HOP_BY_HOP}
                if request.query.get("watch", "").lower() not in ("1", "true"):
                    content = await reply.read()
                    await self._running.wait()
                    return web.Response(status=reply.status, headers=headers, body=content)
                response = web.StreamResponse(status=reply.status, headers=headers)
                await response.prepare(request)
                self._watches[id(request)] = request
                await self._stream(request, reply, response)
                return response
        except aiohttp.ClientConnectionError:
            # The target is gone: so is this connection, as it would be without the proxy.
            return _drop(request)
        finally:
            self._watches.pop(id(request), None)

    async def _stream(
        self, request: web.BaseRequest, reply: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> None:
        left = self.cut_after
        with suppress(ConnectionError, aiohttp.ClientPayloadError):
            async for chunk in reply.content.iter_any():
                await self._running.wait()
                if left is None:
                    await response.write(chunk)
                    continue
                lines = chunk.splitlines(keepends=True)
                whole = [i for i, line in enumerate(lines) if line.endswith(b"\n")]
                if len(whole) >= left:
                    await response.write(b"".join(lines[: whole[left - 1] + 1] if left else []))
                    _drop(request)
                    return
                left -= len(whole)
                await response.write(chunk)


class _Dropped(web.Response):
    """Stands for the answer that a broken connection does not give."""


def _drop(request: web.BaseRequest) -> _Dropped:
    if request.transport is not None:
        request.transport.close()
    return _Dropped()


def _refusal(fault: Fault) -> web.Response:
    reason = fault.reason or _REASONS.get(fault.status, "Unknown")
    body: dict[str, object] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"injected by the fault proxy: {reason}",
        "reason": reason,
        "code": fault.status,
    }
    headers = {}
    if fault.retry_after is not None:
        body["details"] = {"retryAfterSeconds": fault.retry_after}
        headers["Retry-After"] = str(fault.retry_after)
    return web.json_response(body, status=fault.status, headers=headers)
