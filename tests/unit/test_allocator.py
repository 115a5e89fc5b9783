"""What the allocator knows of the cluster, with no server: in which order news may come."""

import threading
from typing import Any

import pytest

from apportion.config import Settings
from apportion.controller.allocator import LOST_RETRY_SECONDS, Allocator
from apportion.controller.precedence import LONG_SECONDS, Precedence
from apportion.kube.client import Api, Unreachable
from apportion.kube.kinds import JOB
from apportion.metrics import Metrics


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
