"""Where faults are played: a real control plane, operators with identities of their own, an observer beside them."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from controlplane.observer import Observer, Scope
from controlplane.plane import Plane
from controlplane.trail import Request, credential_of, requests_by
from integration.cluster import Cluster, cluster_on
from integration.manifests import SYSTEM
from integration.operator_process import Operator, is_ready, leads
from integration.real_plane import OPERATOR, RealPlane
from integration.waiting import until

ROOT = Path(__file__).parents[2]
CLOCK = ROOT / "tests" / "clock"
CHART = yaml.safe_load((ROOT / "helm" / "apportion" / "values.yaml").read_text())
CHART_LEASE_SECONDS = float(CHART["leaderElection"]["leaseDurationSeconds"])
REST_SECONDS = 60.0


@dataclass(frozen=True)
class Replica:
    """One operator process, and what the audit log calls it."""

    operator: Operator
    credential: str
    plane: Plane

    def requests(self, since: float = 0.0) -> list[Request]:
        return requests_by(self.plane, self.credential, since)


@dataclass
class Scene:
    """`rough` is the control plane, for what is done to it; `cluster` a user's hands in a namespace of its own."""

    rough: Plane
    cluster: Cluster
    observer: Observer
    replicas: list[Replica] = field(default_factory=list)

    @property
    def other(self) -> str:
        """A second GPU product."""
        return f"{self.cluster.product}-B"

    @property
    def other_flavor(self) -> str:
        return f"{self.cluster.flavor}-b"

    async def start(
        self, *options: str, lease_seconds: float = 2, environment: Mapping[str, str] | None = None
    ) -> Replica:
        """One more operator, ready."""
        plane = self.cluster.plane
        access = await asyncio.to_thread(self.rough.admin.of_service_account, SYSTEM, OPERATOR)
        config = plane.folder / f"kubeconfig-operator-{len(self.replicas)}"
        config.write_text(access.kubeconfig().replace(access.url, plane.wire.url))
        operator = Operator(config, plane.folder, *options, lease_seconds=lease_seconds, environment=environment)
        replica = Replica(operator, credential_of(access), self.rough)
        self.replicas.append(replica)
        self.cluster.operators.append(operator)
        operator.start()
        await is_ready(operator)
        return replica

    async def leader(self, seconds: float = 20) -> Replica:
        """The one that leads, as soon as one does."""

        async def found() -> Replica | None:
            for replica in self.replicas:
                if replica.operator.alive and await leads(replica.operator):
                    return replica
            return None

        leader: Replica = await until(found, "an operator leads", seconds, self.cluster.told)
        return leader

    async def rest(self, seconds: float = REST_SECONDS) -> None:
        """Wait until all is as it should be at rest."""
        wrong: list[str] = []

        async def rests() -> bool:
            wrong[:] = await self.observer.at_rest()
            return not wrong

        async def told() -> str:
            return "\n".join([*wrong, *self.observer.checker.tail(), str(await self.cluster.told())])

        await until(rests, "everything is at rest", seconds, told)

    def stop(self) -> None:
        for replica in self.replicas:
            replica.operator.stop()


def with_clock_off(seconds: float) -> dict[str, str]:
    """The environment of a Python process whose wall clock is off."""
    paths = os.pathsep.join(filter(None, (str(CLOCK), os.environ.get("PYTHONPATH", ""))))
    return {"PYTHONPATH": paths, "CLOCK_OFF_SECONDS": str(seconds)}


@asynccontextmanager
async def scene_on(rough: Plane, folder: Path) -> AsyncIterator[Scene]:
    """Nothing that was seen until its end may have broken a rule."""
    plane: Any = RealPlane(folder, rough)
    plane.start()
    async with AsyncExitStack() as stack:
        stack.callback(plane.stop)
        cluster = await stack.enter_async_context(cluster_on(plane))
        scope = Scope(cluster.namespace, (cluster.product, f"{cluster.product}-B"))
        observer = await stack.enter_async_context(Observer(rough.admin, scope))
        scene = Scene(rough, cluster, observer)
        stack.callback(scene.stop)
        yield scene
        broken = await observer.judge()
        assert not broken, "\n".join(broken)
