"""Coalescing: a round starts when nothing changed for a moment, or a little later at the latest."""

import asyncio
from collections.abc import Callable

# A burst of at least so many changes is over when it has been silent for so many times its longest gap, ...
MANY = 10
SILENCE = 2.0
# ... and for so long at least; how seldom the reader of news gets its turn shows in gaps, too.
LEAST_QUIET_SECONDS = 0.03
# While jobs arrive in a burst, a round waits for the last of them up to so long: what the first of them were granted
# would be taken from them a moment later, and the news of their pods would stand before that of the others.
LONGEST_ARRIVAL_SECONDS = 5.0


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
        self._arrivals = 0
        self._last_arrival = 0.0
        self._marked = asyncio.Event()

    def mark(self, arrival: bool = False) -> None:
        """Something changed; `arrival`: a job came that was not there."""
        now = self.clock()
        if self.first is None:
            self.first, self._count, self._longest_gap, self._arrivals = now, 0, 0.0, 0
        else:
            self._longest_gap = max(self._longest_gap, now - self.last)
        self.last = now
        self._count += 1
        if arrival:
            self._arrivals += 1
            self._last_arrival = now
        self._marked.set()

    def due_in(self) -> float | None:
        """Seconds until the round may start; None while nothing is marked."""
        if self.first is None:
            return None
        quiet = self.quiet
        if self._count >= MANY:
            quiet = min(quiet, max(LEAST_QUIET_SECONDS, SILENCE * self._longest_gap))
        quiet = max(quiet, self.cost)
        return max(0.0, min(self.last + quiet, self._latest(self.first)) - self.clock())

    def ended_burst(self) -> bool:
        """Whether what is marked came by machine, and silence ended it rather than the longest time."""
        return self.first is not None and self._count >= MANY and self.clock() < self._latest(self.first)

    def _latest(self, first: float) -> float:
        """When the round starts in any case."""
        usual = first + max(self.longest, 2 * self.cost)
        if self._arrivals < MANY:
            return usual
        return max(usual, min(self._last_arrival + max(self.quiet, self.cost), first + LONGEST_ARRIVAL_SECONDS))

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
