"""A thin asynchronous client: raw JSON in and out, errors as two exceptions.

The typed API of the kubernetes package parses replies strictly: a PATCH can succeed on the server and fail while its
reply is read. So only its transport and its authentication are used.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from copy import copy
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import getproxies

import aiohttp
from kubernetes.aio import client as k8s
from kubernetes.aio import config as k8s_config
from kubernetes.aio.config.config_exception import ConfigException
from yaml import YAMLError

from apportion.kube.clock import ServerClock
from apportion.kube.kinds import Kind
from apportion.kube.raw import Raw, integer, mapping, mappings, text

JSON_PATCH = "application/json-patch+json"
FIELD_MANAGER = "apportion"
PAGE = 500
MOST_TRIES = 4
LONGEST_RETRY_SECONDS = 5.0


class Refused(Exception):
    """The API server answered with an error Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class Unreachable(Exception):
    """No answer came: the connection failed, or timed out."""


class NoConfiguration(Exception):
    """There is neither a usable kubeconfig nor a ServiceAccount."""


class Api:
    """Requests to one API server. Open with `async with await connect(...)`."""

    def __init__(self, client: Any, timeout_seconds: float = 30.0) -> None:
        self._client = client
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._long = aiohttp.ClientTimeout(total=120.0)
        self._may_write: Callable[[], bool] = lambda: True
        self.clock = ServerClock()

    def writing_while(self, may_write: Callable[[], bool]) -> "Api":
        """The same connections and clock, for one whose right to write may end: it is asked before each try."""
        view = copy(self)
        view._may_write = may_write
        return view

    @property
    def host(self) -> str:
        return str(self._client.configuration.host)

    async def credentials(self) -> dict[str, Any]:
        """What another client needs for the same server, as kopf's ConnectionInfo names it."""
        configuration = self._client.configuration
        bearer = (await configuration.auth_settings()).get("BearerToken", {}).get("value") or ""
        return {
            "server": configuration.host,
            "ca_path": configuration.ssl_ca_cert,
            "ca_data": configuration.ca_cert_data,
            "insecure": not configuration.verify_ssl,
            "certificate_path": configuration.cert_file,
            "private_key_path": configuration.key_file,
            "token": bearer.removeprefix("Bearer ").removeprefix("bearer ") or None,
        }

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, patch: str = JSON_PATCH
    ) -> Any:
        """The parsed reply. 429 is obeyed and tried again a few times. Raises Refused, Unreachable."""
        for attempt in range(MOST_TRIES):
            if method != "GET" and not self._may_write():
                raise Unreachable(f"{method} {path}: not sent, since another leads by now")
            code, headers, content = await self._once(method, path, query, body, patch)
            if code == 429 and attempt + 1 < MOST_TRIES:
                await asyncio.sleep(_retry_after(headers.get("Retry-After", "1")))
                continue
            parsed = _parsed(content)
            if code >= 400:
                message = text(parsed, "message") or content[:300].decode(errors="replace")
                raise Refused(code, text(parsed, "reason") or "Error", message)
            return parsed
        raise AssertionError("the last try returns or raises")

    async def _once(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, patch: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": "application/json", "Content-Type": patch if method == "PATCH" else "application/json"}
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        timeout = self._long if method == "GET" else self._timeout
        started = time.monotonic()
        try:
            serialized = await self._client.param_serialize(
                method, target, header_params=headers, auth_settings=["BearerToken"]
            )
            response = await self._client.call_api(
                method, serialized[1], serialized[2], body=body, _request_timeout=timeout
            )
            self.clock.hear(response.headers.get("Date", ""), time.monotonic() - started)
            return response.status, response.headers, await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{method} {path}: {error or type(error).__name__}") from error

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return await self.request("GET", path, query)

    async def list_all(self, kind: Kind) -> list[Raw]:
        """All objects of a kind."""
        return [raw async for page in self.pages(kind) for raw in page]

    async def pages(self, kind: Kind, namespaces: Iterable[str] = ("",)) -> AsyncIterator[list[Raw]]:
        """All objects of a kind, page by page; apiVersion and kind are filled in, as in single objects."""
        for namespace in namespaces:
            async for page in self._pages(kind, kind.path(namespace)):
                yield page

    async def _pages(self, kind: Kind, path: str) -> AsyncIterator[list[Raw]]:
        query = {"limit": str(PAGE)}
        while True:
            page = await self.get(path, query)
            version = f"{kind.group}/{kind.version}" if kind.group else kind.version
            yield [{"apiVersion": version, "kind": kind.name, **item} for item in mappings(page, "items")]
            more = text(mapping(page, "metadata"), "continue")
            if not more:
                return
            query = {"limit": str(PAGE), "continue": more}

    async def count(self, kind: Kind, namespaces: Iterable[str] = ("",)) -> int:
        """How many objects of a kind there are, at the price of one object each namespace."""
        found = 0
        for namespace in namespaces:
            page = await self.get(kind.path(namespace), {"limit": "1"})
            found += sum(1 for _ in mappings(page, "items")) + integer(mapping(page, "metadata"), "remainingItemCount")
        return found

    async def create(self, path: str, body: Any) -> Any:
        return await self.request("POST", path, {"fieldManager": FIELD_MANAGER}, body)

    async def patch(self, path: str, body: list[dict[str, Any]]) -> Any:
        return await self.request("PATCH", path, {"fieldManager": FIELD_MANAGER}, body)

    async def put(self, path: str, body: Any) -> Any:
        return await self.request("PUT", path, {"fieldManager": FIELD_MANAGER}, body)


def _retry_after(value: str) -> float:
    try:
        return min(LONGEST_RETRY_SECONDS, max(0.1, float(value)))
    except ValueError:
        return 1.0


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content) if content else {}
    except ValueError:
        return {}


async def connect(kubeconfig: str | None = None, context: str | None = None, timeout_seconds: float = 30.0) -> Api:
    """A client from a kubeconfig file (or KUBECONFIG, or the default place), or from the pod's ServiceAccount.

    Raises NoConfiguration with one line that says what was looked for.
    """
    configuration = k8s.Configuration()
    try:
        if kubeconfig is None and context is None and _in_cluster():
            k8s_config.load_incluster_config(client_configuration=configuration)
        else:
            if kubeconfig is not None and not _is_file(kubeconfig):
                raise NoConfiguration(f"kubeconfig {kubeconfig}: there is no such file")
            await k8s_config.load_kube_config(
                config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
            )
        configuration.retries = None
        # With trust_env aiohttp reads ~/.netrc in a thread for each request: only where a proxy makes it needed.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
        client = k8s.ApiClient(configuration)
    # The loader fails of what a file lacks with whatever Python makes of it; OSError: also a certificate that is none.
    except (ConfigException, OSError, ValueError, TypeError, AttributeError, YAMLError) as error:
        raise NoConfiguration(f"no usable Kubernetes configuration: {' '.join(str(error).split())}") from error
    client.user_agent = FIELD_MANAGER
    return Api(client, timeout_seconds)


def _in_cluster() -> bool:
    return _is_file("/var/run/secrets/kubernetes.io/serviceaccount/token")


def _is_file(path: str) -> bool:
    return Path(path).expanduser().is_file()
