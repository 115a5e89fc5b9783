"""When the operator looks itself at what watches should have told, and what it then knows is set aside."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from apportion.config import Settings
from apportion.controller import app
from apportion.controller.allocator import Allocator
from apportion.controller.app import WHOLE_AUDIT_SECONDS, Operator
from apportion.kube.client import Api
from apportion.kube.kinds import NODE, POD, WATCHED
from apportion.metrics import Metrics
from unit.test_garbage import Knot, watched


class Listing(Api):
    """Has nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(None)
        self.listed: list[str] = []

    async def request(self, method: str, path: str, *_: Any, **__: Any) -> Any:
        self.listed.append(path)
        return {"items": []}


class Audits:
    """Those of an operator whose watches run, on a clock that the test moves."""

    def __init__(self) -> None:
        self.now, self.api, self.settings = 100.0, Listing(), Settings()
        operator = Operator(self.settings, asyncio.Event())
        self.allocator = Allocator(self.api, self.settings, Metrics(), lambda: True, lambda: self.now)
        operator.allocator = self.allocator
        for kind in WATCHED:
            self.watched_anew(kind.path(), listed=False)
        self.task = asyncio.create_task(operator._audits())

    def watched_anew(self, path: str, listed: bool = True) -> None:
        if listed:
            self.allocator.sight.asked(path, watching=False)
        self.allocator.sight.asked(path, watching=True)
        self.allocator.sight.answered(path, watching=True, code=200)

    async def after(self, seconds: float) -> list[str]:
        """What is listed in the seconds that follow."""
        self.now += seconds
        self.api.listed.clear()
        for _ in range(50):
            await asyncio.sleep(0)
        return list(self.api.listed)


@pytest.fixture
async def audits(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(app, "MISSED_SECONDS", 0.0)
    running = Audits()
    assert await running.after(0) == []
    yield running
    running.task.cancel()


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()


async def test_everything_is_listed_once_in_ten_minutes_and_then_set_aside(audits: Audits) -> None:
    kept = Knot()
    assert await audits.after(WHOLE_AUDIT_SECONDS - 1) == []
    assert id(kept) in watched()
    assert await audits.after(1) == [kind.path() for kind in WATCHED]
    assert id(kept) not in watched()
    assert await audits.after(WHOLE_AUDIT_SECONDS - 1) == []
    assert len(await audits.after(1)) == len(WATCHED)


async def test_what_is_not_watched_is_listed_again_and_again(audits: Audits) -> None:
    audits.allocator.sight.asked(POD.path(), watching=True)
    pause = audits.settings.audit_seconds
    assert await audits.after(pause - 1) == []
    assert await audits.after(1) == [POD.path()]
    assert await audits.after(pause - 1) == []
    assert await audits.after(1) == [POD.path()]


async def test_what_is_watched_anew_is_listed_once_and_soon(audits: Audits) -> None:
    audits.watched_anew(NODE.path())
    assert await audits.after(1) == [NODE.path()]
    assert await audits.after(1) == []
