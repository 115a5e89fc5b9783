"""Accelerator flavors and the nodes that carry them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from apportion.model.resources import CPU, Amounts
from apportion.model.selection import Taint, Toleration


@dataclass(frozen=True)
class Provisionable:
    """Nodes of a flavor that an autoscaler adds when pods are Pending: at most `max_nodes`, those that exist included.

    timeout_seconds: how long granted pods wait for them. least_yield: what part of the work of an accelerator of the
    job's minimum a new one must do, for its money and after the wait (planner/provisioning.py).
    """

    max_nodes: int
    accelerators_per_node: int
    timeout_seconds: float = 900.0
    least_yield: float = 0.2


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
    provisionable: Provisionable | None = None

    @property
    def unit(self) -> int:
        """How much of the resource is one accelerator: cpu is counted in whole cores."""
        return 1000 if self.resource == CPU else 1


@dataclass(frozen=True)
class Node:
    """A node as the scheduler would use it.

    flavor is None where the node carries nothing that a job could use (then `why_not` says why). `placeable` is
    False for a cordoned, not ready or vanishing node: its pods keep their room, nobody gets more of it.
    `foreign` are the requests of pods that no TrainingJob owns. `exists` is False for a node that an autoscaler would
    add: only the planner makes such ones. `created` in seconds of the epoch. `broken` counts devices of the flavor's
    resource that the node has and does not offer.
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
    created: float = 0.0
    exists: bool = True
    broken: int = 0
