"""Coalescing: a round starts when nothing changed for a moment, or a little later at the latest."""

import asyncio
from collections.abc import Callable

# A burst of at least so many changes is over when it has been silent for so many times its longest gap, ...
MANY = 10
SILENCE = 3.0
# ... and for so long at least; how seldom the reader of news gets its turn shows in gaps, too.
LEAST_QUIET_SECONDS = 0.03


class Debounce:
    """A dirty flag with the times of its first and last marking, on the loop's monotonic clock.

    `quiet` is for what people do one by one. Of what a program sends as fast as it can the end is seen sooner.
    """

    def __init__(self, quiet_seconds: float, longest_seconds: float, clock: Callable[[], float]) -> None:
        self.quiet = quiet_seconds
        self.longest = longest_seconds
        self.clock = clock
        self.first: float | None = None
        self.last = 0.0
        self.cost = 0.0
        """Seconds that rounds take to decide: where they are long, they wait for as long a silence."""
        self._last_cost = 0.0
        self._count = 0
        self._longest_gap = 0.0
        self._marked = asyncio.Event()

    def mark(self) -> None:
        now = self.clock()
        if self.first is None:
            self.first, self._count, self._longest_gap = now, 0, 0.0
        else:
            self._longest_gap = max(self._longest_gap, now - self.last)
        self.last = now
        self._count += 1
        self._marked.set()

    def due_in(self) -> float | None:
        """Seconds until the round may start; None while nothing is marked."""
        if self.first is None:
            return None
        quiet = self.quiet
        if self._count >= MANY:
            quiet = min(quiet, max(LEAST_QUIET_SECONDS, SILENCE * self._longest_gap))
        quiet = max(quiet, self.cost)
        return max(0.0, min(self.last + quiet, self.first + self._longest()) - self.clock())

    def ended_burst(self) -> bool:
        """Whether what is marked came by machine, and silence ended it rather than the longest time."""
        return self.first is not None and self._count >= MANY and self.clock() < self.first + self._longest()

    def _longest(self) -> float:
        return max(self.longest, 2 * self.cost)

    async def settled(self, patience: float) -> bool:
        """Wait for a mark (False after `patience` seconds without one), then until things are quiet."""
        try:
            await asyncio.wait_for(self._marked.wait(), patience)
        except TimeoutError:
            return False
        wait = self.due_in()
        while wait:
            await asyncio.sleep(wait)
            wait = self.due_in()
        return True

    def took(self, seconds: float) -> None:
        """A round took so long to decide. One that was long alone says nothing: the first of a process always is."""
        self.cost, self._last_cost = min(seconds, self._last_cost), seconds

    def taken(self) -> None:
        """The round takes its snapshot now: later marks belong to the next one."""
        self.first = None
        self._marked.clear()
