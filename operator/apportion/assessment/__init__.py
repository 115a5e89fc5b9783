"""What a snapshot says without any decision: what there is, who holds it, what would fit, what it costs."""

from dataclasses import dataclass

from apportion.assessment.compatibility import Compatibility, Fit, compatibilities
from apportion.assessment.gangs import Gang, Room, rooms
from apportion.assessment.health import Health, Out, health, unusable
from apportion.assessment.holding import Holding, holdings
from apportion.model.snapshot import Snapshot

__all__ = ["Assessment", "Compatibility", "Fit", "Gang", "Health", "Holding", "Out", "Room", "assess"]


@dataclass(frozen=True)
class Assessment:
    """Flavors in name order in each part; `unusable` are nodes that carry nothing that a job could use."""

    health: tuple[Health, ...]
    unusable: tuple[Out, ...]
    rooms: tuple[Room, ...]
    holdings: tuple[Holding, ...]
    jobs: tuple[Compatibility, ...]
    warnings: tuple[str, ...] = ()


def assess(snapshot: Snapshot) -> Assessment:
    return Assessment(
        health(snapshot),
        unusable(snapshot),
        rooms(snapshot),
        holdings(snapshot),
        compatibilities(snapshot),
        snapshot.warnings,
    )
