"""Accelerator flavors and the nodes that carry them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from apportion.model.resources import CPU, Amounts
from apportion.model.selection import Taint, Toleration


@dataclass(frozen=True)
class Flavor:
    """One kind of accelerator, as the catalog or the discovery names it.

    speed is relative (1.0 for a job that says nothing), price per accelerator-hour, watts per accelerator.
    """

    name: str
    resource: str
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    speed: float = 1.0
    price_per_hour: float | None = None
    watts: float | None = None
    idle_watts: float | None = None

    @property
    def unit(self) -> int:
        """How much of the resource is one accelerator: cpu is counted in whole cores."""
        return 1000 if self.resource == CPU else 1


@dataclass(frozen=True)
class Node:
    """A node as the scheduler would use it.

    flavor is None where the node carries nothing that a job could use (then `why_not` says why). `placeable` is
    False for a cordoned, not ready or vanishing node: its pods keep their room, nobody gets more of it.
    `foreign` are the requests of pods that no TrainingJob owns. `broken` counts devices of the flavor's resource that
    the node has and does not offer.
    """

    name: str
    flavor: str | None
    allocatable: Amounts
    foreign: Amounts = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    placeable: bool = True
    why_not: str = ""
    uid: str = ""
    broken: int = 0
