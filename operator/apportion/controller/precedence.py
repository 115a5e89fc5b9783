"""Who goes first: while a round decides and writes, the thread that reads news stands still, for a bounded time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONGEST_SECONDS = 10.0
LONG_SECONDS = 0.5


class Precedence:
    """Held by a round; `give_way` is called in the other thread, before each piece of news is handed over.

    Both threads share one interpreter, and a round's writes start pods, whose news would delay the writes that remain.
    What a round decided was decided from the snapshot; what comes meanwhile belongs to the next one. It waits in the
    connection: an API server that loses patience ends the watch, which goes on from the last version seen.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free = threading.Event()
        self._free.set()
        self._until = 0.0
        self._waited = False
        self.delayed = False
        """Whether news was kept waiting for long when it was held last."""

    @contextmanager
    def held(self) -> Iterator[None]:
        began = self._clock()
        self._until, self._waited = began + LONGEST_SECONDS, False
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()
            self.delayed = self._waited and self._clock() - began >= LONG_SECONDS

    def give_way(self) -> None:
        """Block while it is held, but not past its longest time."""
        if not self._free.is_set():
            self._waited = True
            self._free.wait(max(0.0, self._until - self._clock()))
