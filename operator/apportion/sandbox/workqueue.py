"""The queue of a controller: keys that became dirty, each once, worked off a few at a time."""

import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from apportion.sandbox.clock import Clock
from apportion.sandbox.errors import StatusError

_log = logging.getLogger(__name__)
_SLICE = 2
"""Keys per turn: requests are served between turns."""
_RETRY_SECONDS = 1.0

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Calls `reconcile(key)` once for every key added since its last call; again later when it raises StatusError."""

    def __init__(self, clock: Clock, reconcile: Callable[[K], None]) -> None:
        self._clock = clock
        self._reconcile = reconcile
        self._dirty: dict[K, None] = {}
        self._due: dict[K, float] = {}
        self._awake = False

    def add(self, key: K) -> None:
        """Have `key` looked at soon."""
        self._dirty[key] = None
        self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Have `key` looked at in `seconds`. Of several such wishes for a key only the earliest is kept."""
        due = self._clock.now() + seconds
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due

        def fire() -> None:
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

        self._clock.call_later(seconds, fire)

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._clock.call_later(0, self._work)

    def _work(self) -> None:
        self._awake = False
        try:
            for _ in range(min(_SLICE, len(self._dirty))):
                key = next(iter(self._dirty))
                del self._dirty[key]
                self._look_at(key)
        finally:
            # Also after a fault in one key's reconciliation: the others must not wait for it.
            if self._dirty:
                self._wake()

    def _look_at(self, key: K) -> None:
        try:
            self._reconcile(key)
        except StatusError as error:
            _log.debug("%s: %s", key, error)
            self.add_after(key, _RETRY_SECONDS)
