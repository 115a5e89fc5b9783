"""The parts of a cluster that act by themselves, wired to one store."""

from dataclasses import dataclass
from random import Random

from apportion.sandbox.collection import NamespaceCollector, OwnerCollector
from apportion.sandbox.deployments import Deployments
from apportion.sandbox.events import Recorder
from apportion.sandbox.kubelet import Kubelets
from apportion.sandbox.nodes import Nodes
from apportion.sandbox.quota import Quotas
from apportion.sandbox.replicasets import ReplicaSets
from apportion.sandbox.scheduler import Scheduler
from apportion.sandbox.store import Store


@dataclass(frozen=True)
class Timing:
    """How long things take, in seconds."""

    bind_seconds: float = 0.02
    start_seconds: float = 0.2
    orphan_seconds: float = 1.0
    back_off_seconds: float = 10.0


def simulate(store: Store, timing: Timing, scoring: str, random: Random) -> None:
    """Start every simulated part on the store. Raises ValueError for an unknown scoring."""
    recorder = Recorder(store, store.clock, random)
    Quotas(store)
    Scheduler(store, recorder, timing.bind_seconds, scoring, random)
    Kubelets(store, recorder, timing.start_seconds, timing.back_off_seconds)
    Nodes(store, recorder, timing.orphan_seconds)
    Deployments(store, recorder)
    ReplicaSets(store, recorder, random)
    OwnerCollector(store)
    NamespaceCollector(store)
