"""What was measured of a job while it ran: how fast it was at each size, what a restart cost, how far it is."""

from dataclasses import dataclass

LOWEST_RATE = 1e-9
HIGHEST_RATE = 1e15


@dataclass(frozen=True, slots=True)
class Observation:
    """A rate (work per second, in the job's own unit) at a size, and when it was seen last (seconds of the epoch)."""

    replicas: int
    flavor: str
    rate: float
    at: float


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a job's measurements: one observation for a size and flavor, oldest first.

    restart_seconds: from a resize to the first good rate (None: never measured). progress: the part of the work that
    is done, 0 to 1 (None: never told), as told at `progress_at`.
    """

    points: tuple[Observation, ...] = ()
    restart_seconds: float | None = None
    progress: float | None = None
    progress_at: float = 0.0


NO_RECORD = Record()
