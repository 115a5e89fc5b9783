"""What people do meanwhile: jobs come, go, change and are suspended; quotas change; hands slip."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from controlplane.scene import Scene

MOST_JOBS = 10
QUEUES = ("red", "blue")
COHORT = "soak"
# Of the 96 accelerators of both flavors.
QUOTAS = (16, 24, 32, 48)
SIZES = (1, 1, 2, 4)


@dataclass
class People:
    """They know what they made; `rng` alone decides what they do."""

    scene: Scene
    rng: Random
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    scaled: Counter[str] = field(default_factory=Counter)
    made: int = 0

    async def settle_in(self) -> None:
        for queue in QUEUES:
            await self.scene.cluster.queue(queue, {"*": 32}, cohort=COHORT)
        for _ in range(4):
            await self.submit()

    async def act(self) -> str:
        """One thing, and what it was."""
        choices: list[Callable[[], Awaitable[None]]] = [self.change_quota]
        if len(self.jobs) < MOST_JOBS:
            choices += [self.submit] * 3
        if self.jobs:
            choices += [self.resize, self.resize, self.suspend, self.delete, self.delete_by_hand]
        if self._scalable():
            choices.append(self.scale_by_hand)
        chosen = self.rng.choice(choices)
        await chosen()
        return chosen.__name__.replace("_", " ")

    async def submit(self) -> None:
        self.made += 1
        name, least = f"job-{self.made}", self.rng.randint(1, 4)
        spec: dict[str, Any] = {"queueName": self.rng.choice(QUEUES), "preemptible": self.rng.random() < 0.8}
        if self.rng.random() < 0.5:
            cluster = self.scene.cluster
            flavor = self.rng.choice((cluster.flavor, self.scene.other_flavor))
            spec["accelerators"] = {"flavors": [{"name": flavor}]}
        most = least + self.rng.randint(0, 8)
        await self.scene.cluster.submit(name, (least, most), self.rng.choice(SIZES), **spec)
        self.jobs[name] = {"minReplicas": least, "maxReplicas": most}

    def some(self) -> str:
        return self.rng.choice(sorted(self.jobs))

    async def resize(self) -> None:
        name = self.some()
        least = self.jobs[name]["minReplicas"]
        spec = {"minReplicas": least, "maxReplicas": least + self.rng.randint(0, 8)}
        await self.scene.cluster.spec(name, **spec)
        self.jobs[name].update(spec)

    async def suspend(self) -> None:
        """Or go on."""
        name = self.some()
        suspended = not self.jobs[name].get("suspend", False)
        await self.scene.cluster.spec(name, suspend=suspended)
        self.jobs[name]["suspend"] = suspended

    async def delete(self) -> None:
        name = self.some()
        await self.scene.cluster.delete("TrainingJob", name)
        del self.jobs[name]

    async def change_quota(self) -> None:
        quota = self.rng.choice(QUOTAS)
        spec = {"flavors": [{"name": "*", "nominalQuota": quota, "lendingLimit": self.rng.randint(0, quota)}]}
        await self.scene.cluster.patch("Queue", self.rng.choice(QUEUES), {"spec": spec})

    def _scalable(self) -> list[str]:
        """After three times within ten minutes the operator stops putting replicas back."""
        return sorted(name for name in self.jobs if self.scaled[name] < 2)

    async def scale_by_hand(self) -> None:
        name = self.rng.choice(self._scalable())
        self.scaled[name] += 1
        if await self.scene.cluster.get("Deployment", name) is not None:
            await self.scene.cluster.scale(name, self.rng.randint(0, 6))

    async def delete_by_hand(self) -> None:
        await self.scene.cluster.delete("Deployment", self.some())
