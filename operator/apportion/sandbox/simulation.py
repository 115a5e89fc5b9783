"""The parts of a cluster that act by themselves, wired to one store."""

from dataclasses import dataclass
from random import Random

from apportion.sandbox.store import Store


@dataclass(frozen=True)
class Timing:
    """How long things take, in seconds."""

    bind_seconds: float = 0.02
    start_seconds: float = 0.2
    eviction_seconds: float = 300
    orphan_seconds: float = 1.0
    back_off_seconds: float = 10.0


def simulate(store: Store, timing: Timing, scoring: str, random: Random) -> None:
    """Start every simulated part on the store."""
