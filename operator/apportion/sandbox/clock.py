"""Time as an argument: the controllers know no other clock and set every timer through it."""

import asyncio
import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import Protocol

Callback = Callable[[], None]


class Clock(Protocol):
    """Seconds since the epoch, and callbacks. `call_later(0, f)` runs f after the present callback has returned."""

    def now(self) -> float: ...

    def call_later(self, seconds: float, callback: Callback) -> None: ...


class LoopClock:
    """Wall time on an asyncio loop. Timers wait for `open`, and after `close` none fires."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[tuple[float, Callback]] = []
        self._handles: set[asyncio.TimerHandle] = set()

    def now(self) -> float:
        return time.time()

    def call_later(self, seconds: float, callback: Callback) -> None:
        if self._loop is None:
            self._early.append((seconds, callback))
            return

        def fire() -> None:
            self._handles.discard(handle)
            callback()

        handle = self._loop.call_later(seconds, fire)
        self._handles.add(handle)

    def open(self) -> None:
        """Let timers run on the running loop."""
        self._loop = asyncio.get_running_loop()
        early, self._early = self._early, []
        for seconds, callback in early:
            self.call_later(seconds, callback)

    def close(self) -> None:
        """Forget the timers that are set; later ones wait for another `open`."""
        self._loop = None
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()


class ManualClock:
    """Time that moves only when it is told to, so that a test of an hour takes milliseconds and needs no event loop."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._order = count()
        self._timers: list[tuple[float, int, Callback]] = []

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, callback: Callback) -> None:
        heapq.heappush(self._timers, (self._now + max(0.0, seconds), next(self._order), callback))

    def advance(self, seconds: float = 0.0) -> None:
        """Run every timer that falls due on the way, in order."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, callback = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            callback()
        self._now = end


def timestamp(seconds: float) -> str:
    """RFC 3339 in whole seconds, as metav1.Time is written."""
    return _whole_timestamp(int(seconds))


@lru_cache(maxsize=64)
def _whole_timestamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str | None) -> float:
    """Seconds since the epoch of an RFC 3339 text; 0 for none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
