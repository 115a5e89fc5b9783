"""What the allocator knows of the cluster, with no server: in which order news may come."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from apportion.config import Settings
from apportion.controller.allocator import LOST_RETRY_SECONDS, Allocator
from apportion.controller.precedence import LONG_SECONDS, Precedence
from apportion.kube.client import Api, Unreachable
from apportion.kube.kinds import JOB, NODE, WATCHED, Kind
from apportion.metrics import Metrics
from apportion.model.plan import Decision
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.planner import decide


def job(version: str) -> dict[str, object]:
    spec = {"minReplicas": 1, "maxReplicas": 1, "workloadRef": {"name": "web"}}
    return {"metadata": {"name": "job", "namespace": "team", "uid": "1", "resourceVersion": version}, "spec": spec}


def test_a_reply_that_comes_after_the_deletion_of_its_job_does_not_bring_it_back() -> None:
    allocator = Allocator(Api(None), Settings(), Metrics(), lambda: True)
    allocator.take(JOB, job("1"))
    allocator.wrote(JOB, job("2"))
    assert [entry.version for entry in allocator.cluster.entries["TrainingJob"].values()] == [2]

    allocator.take(JOB, job("4"), deleted=True)
    allocator.wrote(JOB, job("3"))

    assert not allocator.cluster.entries["TrainingJob"]


def node(name: str) -> dict[str, object]:
    labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    status = {"conditions": [{"type": "Ready", "status": "True"}],
              "allocatable": {"nvidia.com/gpu": "8", "cpu": "64", "memory": "512Gi", "pods": "110"}}  # fmt: skip
    return {"metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": labels}, "status": status}


def embedded(name: str) -> dict[str, object]:
    container = {"name": "main", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    spec = {"minReplicas": 1, "maxReplicas": 8, "template": {"spec": {"containers": [container]}}}
    return {"metadata": {"name": name, "namespace": "team", "uid": name, "resourceVersion": "1"}, "spec": spec}


class Answering(Api):
    async def request(self, method: str, path: str, *_: Any) -> Any:
        return {"metadata": {"name": "x", "namespace": "team", "uid": "x", "resourceVersion": "9"}}


async def test_a_round_starts_from_the_prices_of_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[dict[str, float], Decision]] = []

    def watched(snapshot: Snapshot, policy: Policy) -> Decision:
        decision = decide(snapshot, policy)
        seen.append((dict(snapshot.prices), decision))
        return decision

    monkeypatch.setattr("apportion.controller.allocator.decide", watched)
    allocator = Allocator(Answering(None), Settings(), Metrics(), lambda: True)
    allocator.take(NODE, node("n1"))
    for name in ("a", "b"):
        allocator.take(JOB, embedded(name))
    await allocator.round()
    allocator.take(JOB, embedded("c"))
    await allocator.round()
    (first, decision), (second, _) = seen
    assert first == {}
    assert second == {row.row: row.price for row in decision.plan.row_prices}
    assert second


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow(Api):
    """Each write takes long, and news comes meanwhile; it succeeds, or the server is gone."""

    def __init__(self, clock: Clock, reachable: bool) -> None:
        super().__init__(None)
        self.clock_of_test, self.reachable = clock, reachable
        self.precedence = Precedence(clock)

    async def request(self, method: str, path: str, *_: Any) -> Any:
        news = threading.Thread(target=self.precedence.give_way, daemon=True)
        news.start()
        news.join(0.05)
        assert news.is_alive(), "news waits for the round"
        self.clock_of_test.now += LONG_SECONDS
        if not self.reachable:
            raise Unreachable(f"{method} {path}: gone")
        return job("2")


@pytest.mark.parametrize(("reachable", "pause"), [(True, 0.0), (False, LOST_RETRY_SECONDS)])
async def test_a_round_that_kept_news_waiting_is_followed_at_once_unless_its_writes_were_lost(
    reachable: bool, pause: float
) -> None:
    clock = Clock()
    api = Slow(clock, reachable)
    allocator = Allocator(api, Settings(), Metrics(), lambda: True, monotonic=clock, precedence=api.precedence)
    allocator.take(JOB, job("1"))

    await allocator.round()

    assert allocator.precedence.delayed
    assert allocator.patience() == pytest.approx(pause)


class Ahead(Api):
    """Of its TrainingJobs some have not been told by watches yet. `count` may fail."""

    def __init__(self, names: list[str], counts: bool = True) -> None:
        super().__init__(None)
        self.jobs, self.counts, self.lists = [embedded(name) for name in names], counts, 0

    async def request(self, method: str, path: str, query: Any = None, *_: Any) -> Any:
        if method != "GET" or path != JOB.path():
            return {"metadata": {"name": "x", "namespace": "team", "uid": "x", "resourceVersion": "9"}}
        if query["limit"] != "1":
            self.lists += 1
            return {"items": self.jobs}
        if not self.counts:
            raise Unreachable("gone")
        return {"items": self.jobs[:1], "metadata": {"remainingItemCount": len(self.jobs) - 1}}


async def first_decided(allocator: Allocator, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """Of the rounds that run by themselves."""
    seen: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def watched(snapshot: Snapshot, policy: Policy) -> Decision:
        if not seen.done():
            loop.call_soon_threadsafe(seen.set_result, snapshot)
        return decide(snapshot, policy)

    monkeypatch.setattr("apportion.controller.allocator.decide", watched)
    for kind in WATCHED:
        allocator.sight.listed(kind, allocator.monotonic())
    rounds = asyncio.create_task(allocator.rounds())
    try:
        await asyncio.wait({seen, rounds}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        return seen.result()
    finally:
        rounds.cancel()


NAMES = [f"job-{number:03}" for number in range(100)]


async def test_jobs_are_counted_without_reading_them() -> None:
    api = Ahead(NAMES)
    assert (await api.count(JOB), api.lists) == (100, 0)
    assert await Ahead(NAMES[:1]).count(JOB) == 1


@pytest.mark.parametrize(("kind", "objects", "wait"), [(JOB, embedded, 0.04), (NODE, node, 0.0)])
def test_a_round_waits_for_the_last_job_of_a_burst_but_not_for_the_last_node(
    kind: Kind, objects: Callable[[str], Any], wait: float
) -> None:
    clock = Clock()
    allocator = Allocator(Api(None), Settings(), Metrics(), lambda: True, clock)
    for at in range(100):
        clock.now += 0.02
        allocator.take(kind, objects(f"x{at}"))
    assert allocator.dirty.due_in() == pytest.approx(wait)


def test_a_job_that_changes_is_none_that_comes() -> None:
    clock = Clock()
    allocator = Allocator(Api(None), Settings(), Metrics(), lambda: True, clock)
    for at in range(100):
        clock.now += 0.02
        changed = embedded("x")
        changed["metadata"] |= {"resourceVersion": str(at + 1), "generation": at + 1}  # type: ignore[operator]
        allocator.take(JOB, changed)
    assert allocator.dirty.due_in() == 0.0


@pytest.mark.parametrize(("told", "counts", "decided", "lists"), [
    (80, True, 100, 1),  # fewer than nine of ten: read at once
    (10, True, 100, 1),
    (9, True, 9, 0),  # people, not a machine: nobody asks
    (80, False, 80, 0),
])  # fmt: skip
async def test_a_burst_is_over_when_no_more_jobs_exist_than_are_known(
    told: int, counts: bool, decided: int, lists: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Ahead(NAMES, counts)
    allocator = Allocator(api, Settings(), Metrics(), lambda: True)
    for name in NAMES[:told]:
        allocator.take(JOB, embedded(name))
    assert len((await first_decided(allocator, monkeypatch)).jobs) == decided
    assert api.lists == lists


async def test_a_few_jobs_of_a_burst_that_are_missing_are_waited_for_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Ahead(NAMES)
    allocator = Allocator(api, Settings(longest_seconds=2.0), Metrics(), lambda: True)
    for name in NAMES[:95]:
        allocator.take(JOB, embedded(name))
    loop = asyncio.get_running_loop()
    loop.call_later(0.3, lambda: [allocator.take(JOB, embedded(name)) for name in NAMES[95:97]])
    assert len((await first_decided(allocator, monkeypatch)).jobs) == 97
    assert not api.lists
