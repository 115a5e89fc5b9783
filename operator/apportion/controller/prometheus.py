"""One number from a Prometheus, or one sentence that says why there is none."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import aiohttp

from apportion.model.policy import Prometheus

TIMEOUT_SECONDS = 5.0
LONGEST_REPLY = 1024 * 1024
LONGEST_REASON = 200


class NoNumber(Exception):
    """A CamelCase reason and a sentence. The sentence is the same as long as the trouble is."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


async def ask(session: aiohttp.ClientSession, source: Prometheus, query: str) -> float:
    """The value of an instant query; it may be anything that a float can be. Raises NoNumber."""
    headers = {}
    if source.token_file:
        headers["Authorization"] = f"Bearer {await asyncio.to_thread(_token, source.token_file)}"
    try:
        async with session.post(
            f"{source.url}/api/v1/query",
            data={"query": query, "timeout": f"{TIMEOUT_SECONDS:g}s"},
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            # A server that sends us elsewhere would be told the token there.
            allow_redirects=False,
        ) as reply:
            return _value(reply.status, await _body(reply))
    except TimeoutError:
        raise NoNumber("QueryFailed", f"{source.url} did not answer within {TIMEOUT_SECONDS:g} s") from None
    except (aiohttp.ClientError, ValueError) as error:
        said = type(error).__name__ if isinstance(error, aiohttp.ClientConnectionError) else str(error)
        raise NoNumber("QueryFailed", f"{source.url}: {_short(said)}") from None


def _token(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not plain text"
        raise NoNumber("QueryFailed", f"metricsSource.prometheus.bearerTokenFile {path}: {reason}") from None


async def _body(reply: aiohttp.ClientResponse) -> Any:
    data = await reply.content.read(LONGEST_REPLY + 1)
    while len(data) <= LONGEST_REPLY and (more := await reply.content.read(LONGEST_REPLY + 1 - len(data))):
        data += more
    if len(data) > LONGEST_REPLY:
        raise NoNumber("QueryFailed", f"the reply has more than {LONGEST_REPLY} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _value(status: int, body: Any) -> float:
    if not isinstance(body, dict) or body.get("status") != "success":
        said = body.get("error") if isinstance(body, dict) else None
        raise NoNumber("QueryFailed", f"status {status}: {_short(said)}" if said else f"status {status}, and no result")
    data = body.get("data")
    data = data if isinstance(data, dict) else {}
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar" and isinstance(result, list):
        return _number(result)
    if kind != "vector" or not isinstance(result, list):
        raise NoNumber("NotOneSeries", f"expected one series with one value, not a {_short(kind)}")
    if not result:
        raise NoNumber("NoSeries", "it returns nothing")
    if len(result) > 1:
        raise NoNumber("NotOneSeries", f"it returns {len(result)} series; expected one: wrap it in sum(...)")
    return _number(result[0].get("value") if isinstance(result[0], dict) else None)


def _number(pair: Any) -> float:
    """The value of [time, "value"]; Prometheus writes NaN and +Inf as words that float() reads."""
    try:
        return float(pair[1])
    except (TypeError, ValueError, LookupError):
        return math.nan


def _short(text: object) -> str:
    said = " ".join(str(text).split())
    return said if len(said) <= LONGEST_REASON else said[: LONGEST_REASON - 3] + "..."
