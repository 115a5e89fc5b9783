"""Coalescing: a round starts when nothing changed for a moment, or a little later at the latest."""

import asyncio
from collections.abc import Callable


class Debounce:
    """A dirty flag with the times of its first and last marking, on the loop's monotonic clock."""

    def __init__(self, quiet_seconds: float, longest_seconds: float, clock: Callable[[], float]) -> None:
        self.quiet = quiet_seconds
        self.longest = longest_seconds
        self.clock = clock
        self.first: float | None = None
        self.last = 0.0
        self._marked = asyncio.Event()

    def mark(self) -> None:
        self.last = self.clock()
        if self.first is None:
            self.first = self.last
        self._marked.set()

    def due_in(self) -> float | None:
        """Seconds until the round may start; None while nothing is marked."""
        if self.first is None:
            return None
        return max(0.0, min(self.last + self.quiet, self.first + self.longest) - self.clock())

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

    def taken(self) -> None:
        """The round takes its snapshot now: later marks belong to the next one."""
        self.first = None
        self._marked.clear()
