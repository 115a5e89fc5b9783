"""The API server's time. Kubernetes writes times of pods and containers, and other replicas those in status: they are
compared with its clock, not with this machine's, which may be wrong."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

# The header has whole seconds, and a reply is read a little after it was written.
TOLERATED_SECONDS = 2.0


@dataclass
class ServerClock:
    """Goes with `wall`, as far off it as the API server's replies say."""

    wall: Callable[[], float] = time.time
    _off: float = field(default=0.0, init=False)

    def now(self) -> float:
        """Seconds of the epoch."""
        return self.wall() + self._off

    def hear(self, date: str, took: float) -> None:
        """The Date header of a reply that took so many seconds. A reply that was long under way tells an old time."""
        if took >= TOLERATED_SECONDS:
            return
        try:
            told = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        drift = told - self.now()
        if abs(drift) > TOLERATED_SECONDS:
            self._off += drift
