"""Liveness, readiness and metrics over HTTP; and when a replica calls itself dead, or not ready."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from apportion.config import Settings
from apportion.controller.allocator import Allocator
from apportion.controller.app import STUCK_SECONDS, Operator
from apportion.controller.probes import Probes
from apportion.controller.sight import Sight
from apportion.kube.client import Api
from apportion.kube.kinds import NODE, POD, WATCHED
from apportion.metrics import Metrics


class Health:
    stuck = ""
    unready = ""


@pytest.fixture
async def served() -> AsyncIterator[tuple[Health, str]]:
    health = Health()
    probes = Probes(Metrics(), lambda: health.stuck, lambda: health.unready)
    port = await probes.start("127.0.0.1", 0)
    yield health, f"http://127.0.0.1:{port}"
    await probes.stop()


async def answers(url: str, *paths: str) -> list[tuple[int, str]]:
    async with aiohttp.ClientSession() as session:
        replies = [await session.get(url + path) for path in paths]
        return [(reply.status, await reply.text()) for reply in replies]


async def test_a_probe_says_ok_or_what_is_wrong(served: tuple[Health, str]) -> None:
    health, url = served
    assert await answers(url, "/healthz", "/livez", "/readyz") == [(200, "ok\n")] * 3
    health.unready = "pods are not watched"
    assert await answers(url, "/healthz", "/livez", "/readyz") == [
        (200, "ok\n"), (200, "ok\n"), (503, "pods are not watched\n"),
    ]  # fmt: skip
    health.stuck, health.unready = "no progress", ""
    assert await answers(url, "/healthz", "/livez", "/readyz") == [
        (503, "no progress\n"), (503, "no progress\n"), (200, "ok\n"),
    ]  # fmt: skip


async def test_metrics_are_served_as_prometheus_reads_them(served: tuple[Health, str]) -> None:
    async with aiohttp.ClientSession() as session:
        reply = await session.get(served[1] + "/metrics")
        assert (reply.status, reply.content_type) == (200, "text/plain")
        assert "\napportion_leader 0.0\n" in await reply.text()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def operator(clock: Clock) -> Operator:
    """Connected, and its watches run."""
    settings = Settings()
    found = Operator(settings, asyncio.Event())
    found.problem = ""
    found.allocator = Allocator(Api(None), settings, found.metrics, lambda: True, clock)
    for kind in WATCHED:
        found.allocator.sight.listed(kind, clock.now)
        watch(found.allocator.sight, kind.path())
    return found


def watch(sight: Sight, path: str, code: int = 200) -> None:
    sight.asked(path, watching=True)
    sight.answered(path, watching=True, code=code)


def test_a_replica_that_makes_no_progress_for_long_is_to_be_restarted(operator: Operator, clock: Clock) -> None:
    clock.now += STUCK_SECONDS
    assert operator.stuck() == ""
    clock.now += 1
    assert operator.stuck() == f"the allocator made no progress for {STUCK_SECONDS + 1:.0f} s"
    operator.allocator = None
    assert operator.stuck() == "", "what cannot be reached, a restart does not mend"


def test_a_replica_is_ready_while_it_sees_the_cluster(operator: Operator, clock: Clock) -> None:
    clock.now += 10_000
    assert operator.unready() == ""


def test_a_replica_that_has_not_begun_says_what_keeps_it() -> None:
    operator = Operator(Settings(), asyncio.Event())
    assert operator.unready() == "starting"
    operator.problem = "the API server cannot be reached"
    assert operator.unready() == "the API server cannot be reached"


def test_a_watch_that_is_lost_for_longer_than_between_two_lists_makes_a_replica_unready(
    operator: Operator, clock: Clock
) -> None:
    assert operator.allocator is not None
    watch(operator.allocator.sight, POD.path(), 403)
    clock.now += operator.settings.audit_seconds
    assert operator.unready() == ""
    clock.now += 1
    for kind in WATCHED:
        operator.allocator.sight.listed(kind, clock.now)
    seconds = operator.settings.audit_seconds + 1
    assert operator.unready() == f"pods are not watched for {seconds:.0f} s: status 403"


def test_a_replica_that_knows_nothing_of_the_last_while_says_that_it_decides_nothing(
    operator: Operator, clock: Clock
) -> None:
    assert operator.allocator is not None
    operator.allocator.sight.asked(NODE.path(), watching=True)
    clock.now += operator.settings.stale_seconds + 1
    seconds = f"{operator.settings.stale_seconds + 1:.0f} s"
    assert operator.unready() == (
        f"nodes are not watched for {seconds}: no answer; "
        f"nothing is known of the last {seconds}, and nothing is decided"
    )


def test_a_replica_is_not_ready_before_everything_was_watched_once(clock: Clock) -> None:
    operator = Operator(Settings(), asyncio.Event())
    operator.problem = ""
    operator.allocator = Allocator(Api(None), Settings(), operator.metrics, lambda: True, clock)
    for kind in WATCHED:
        operator.allocator.sight.listed(kind, clock.now)
    for kind in WATCHED[1:]:
        watch(operator.allocator.sight, kind.path())
    assert operator.unready() == f"{WATCHED[0]} are not watched for 0 s: no answer"
