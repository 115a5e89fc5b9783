"""The proxy that injects faults, before the sandbox."""

import asyncio

import aiohttp
import pytest

from fault_proxy import Fault, FaultProxy
from integration.bare_client import CONFIGS, Api, config, next_event

# The fault proxy


@pytest.fixture
async def proxy(sandbox):
    async with FaultProxy(sandbox.url) as proxy:
        yield proxy


@pytest.fixture
def through(session, proxy):
    return Api(session, proxy.url)


async def test_the_proxy_answers_as_told_and_then_passes(through, proxy, sandbox):
    proxy.rules.append(Fault("POST", r"/configmaps$", status=429, retry_after=1, times=2))
    for _ in range(2):
        code, refused = await through("POST", CONFIGS, config("a"))
        assert (code, refused["reason"], refused["details"]) == (429, "TooManyRequests", {"retryAfterSeconds": 1})
    assert sandbox.store.find("configmaps", "default", "a") is None
    assert (await through("POST", CONFIGS, config("a")))[0] == 201
    assert [seen.status for seen in proxy.writes("configmaps")] == [429, 429, 201]
    assert proxy.writes(user_agent="aiohttp") == proxy.log


async def test_the_proxy_drops_connections_before_or_after_the_server_acted(through, proxy, sandbox):
    proxy.rules += [Fault(path="/a$", drop=True), Fault("POST", drop=True, after=True, times=1)]
    with pytest.raises(aiohttp.ClientConnectionError):
        await through("POST", CONFIGS, config("b"))
    assert sandbox.store.find("configmaps", "default", "b")
    with pytest.raises(aiohttp.ClientConnectionError):
        await through("GET", f"{CONFIGS}/a")
    assert {seen.status for seen in proxy.log} == {0}


async def test_the_proxy_cuts_watches_now_or_after_some_events(through, proxy, api):
    async with through.watch(CONFIGS) as events:
        await api("POST", CONFIGS, config("a"))
        assert (await next_event(events))["type"] == "ADDED"
        proxy.cut_watches()
        with pytest.raises(aiohttp.ClientPayloadError):
            await next_event(events)
    proxy.cut_after = 2
    await api("POST", CONFIGS, config("b"))
    await api("POST", CONFIGS, config("c"))
    async with through.watch(CONFIGS) as events:
        assert [(await next_event(events))["type"] for _ in range(2)] == ["ADDED", "ADDED"]
        with pytest.raises(aiohttp.ClientPayloadError):
            await next_event(events)


async def test_a_paused_proxy_lets_everything_hang(through, proxy, api):
    async with through.watch(CONFIGS) as events:
        proxy.pause()
        await api("POST", CONFIGS, config("a"))
        waiting = asyncio.ensure_future(next_event(events))
        request = asyncio.ensure_future(through("GET", f"{CONFIGS}/a"))
        done, _ = await asyncio.wait({waiting, request}, timeout=0.2)
        assert not done
        proxy.resume()
        assert (await waiting)["type"] == "ADDED"
        assert (await request)[0] == 200
