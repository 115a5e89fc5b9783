"""Small worlds that ask for more than there is: nodes, pods of others, jobs, who leaves and comes later. Seeded data.

All names of a world begin with its own, and so do its GPU products: many of them stand side by side in one cluster.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from apportion.sandbox.manifests import container
from controlplane.components import GPU
from controlplane.nodes import ZONE, NodeClass

Obj = dict[str, Any]

CHAIN, OTHERS = (1, 2, 4, 8), (1, 2, 3, 4, 6)
DEMAND = 1.5  # of the GPUs that are free
ZONES = ("east", "west")
TAINT = {"key": "reserved", "value": "yes", "effect": "NoSchedule"}
TOLERATION = {"key": "reserved", "operator": "Exists"}
GIB_OF_GPU, CORES_OF_GPU = 32, 8


@dataclass(frozen=True)
class Family:
    """What a sort of worlds has: replica sizes, GPUs of its nodes, and what makes its pools uneven."""

    name: str
    sizes: tuple[int, ...]
    nodes: tuple[int, ...]
    products: int = 1
    tight: bool = False
    zones: bool = False


CHAINS = Family("divisor chain", CHAIN, (2, 4, 8, 8))
FAMILIES = (
    CHAINS,
    Family("other sizes", OTHERS, (4, 6, 8)),
    Family("tight CPU and memory", CHAIN, (4, 8), tight=True),
    Family("zones and taints", CHAIN, (4, 8), zones=True),
    Family("all of it", (1, 2, 3, 4, 6, 8), (4, 6, 8), products=2, tight=True, zones=True),
)


@dataclass(frozen=True)
class World:
    """`leaving` are names of jobs; they leave, and `arriving` come, when the first jobs have settled."""

    name: str
    family: Family
    scheduler: str
    nodes: tuple[Obj, ...]
    foreign: tuple[Obj, ...]
    jobs: tuple[Obj, ...]
    leaving: tuple[str, ...]
    arriving: tuple[Obj, ...]


def worlds(count: int, namespace: str, scheduler: str, first_seed: int = 0) -> list[World]:
    """So many worlds, the families in turn; the number in a world's name is its seed."""
    seeds = range(first_seed, first_seed + count)
    return [world(seed, FAMILIES[seed % len(FAMILIES)], namespace, scheduler) for seed in seeds]


def world(seed: int, family: Family, namespace: str, scheduler: str) -> World:
    return _Drawing(seed, family, namespace, scheduler).world()


class _Drawing:
    """One world in the making."""

    def __init__(self, seed: int, family: Family, namespace: str, scheduler: str) -> None:
        self._random = Random(f"{family.name} {seed}")
        self._family, self._namespace, self._scheduler = family, namespace, scheduler
        self._name = f"w{seed}"
        self._products = [f"{self._name}-{chr(ord('a') + at)}" for at in range(family.products)]
        # Few shapes, so that the exact search stays small.
        self._shapes = list(self._drawn_shapes())

    def world(self) -> World:
        classes = [self._node_class(at) for at in range(self._random.randint(3, 5))]
        nodes = [sort.manifest(f"{self._name}-n{at}") for at, sort in enumerate(classes)]
        foreign, used = self._foreign(classes)
        free = sum(sort.gpus for sort in classes) - used
        jobs = self._jobs(DEMAND * free)
        leaving = [job for job in jobs if self._random.random() < 0.4] or jobs[:1]
        coming = self._jobs(sum(_demand(job) for job in leaving), len(jobs))
        return World(
            self._name,
            self._family,
            self._scheduler,
            tuple(nodes),
            tuple(foreign),
            tuple(jobs),
            tuple(job["metadata"]["name"] for job in leaving),
            tuple(coming),
        )

    def _node_class(self, at: int) -> NodeClass:
        draw, family = self._random, self._family
        gpus = draw.choice(family.nodes)
        lean = family.tight and draw.random() < 0.6
        cores = gpus * CORES_OF_GPU
        memory = gpus * GIB_OF_GPU
        return NodeClass(
            product=self._products[at % len(self._products)],
            gpus=gpus,
            cpu=str(draw.choice((cores // 2, cores * 3 // 4)) if lean else 4 * cores),
            memory=f"{draw.choice((memory // 2, memory)) if lean else 4 * memory}Gi",
            zone=draw.choice(ZONES) if family.zones else "",
            taints=(TAINT,) if family.zones and draw.random() < 0.3 else (),
        )

    def _foreign(self, classes: Sequence[NodeClass]) -> tuple[list[Obj], int]:
        """Pods that were bound by somebody else, on about half of the nodes, and their GPUs."""
        pods, used = [], 0
        for at, sort in enumerate(classes):
            if self._random.random() < 0.5:
                continue
            gpus = self._random.randint(1, max(1, sort.gpus // 2))
            used += gpus
            spec = {"nodeName": f"{self._name}-n{at}", "containers": [container(GPU, gpus)]}
            meta = {"name": f"{self._name}-other{at}", "namespace": self._namespace}
            pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        return pods, used

    def _drawn_shapes(self) -> Iterator[tuple[int, int, int]]:
        """(GPUs, cores, GiB) of a replica."""
        for size in self._family.sizes:
            cores = size * self._random.choice((2, 4, 6, 8) if self._family.tight else (1,))
            memory = size * self._random.choice((8, 16, 32) if self._family.tight else (1,))
            yield size, cores, memory

    def _jobs(self, demand: float, first: int = 0) -> list[Obj]:
        jobs: list[Obj] = []
        while sum(map(_demand, jobs)) < demand:
            jobs.append(self._job(f"{self._name}-j{first + len(jobs)}"))
        return jobs

    def _job(self, name: str) -> Obj:
        draw = self._random
        gpus, cores, memory = draw.choice(self._shapes)
        low = draw.choice((1, 1, 2))
        high = max(low, draw.randint(1, max(2, 6 // gpus)))
        main = container(GPU, gpus)
        main["resources"]["requests"] = {"cpu": str(cores), "memory": f"{memory}Gi"}
        pod: Obj = {"schedulerName": self._scheduler, "containers": [main]}
        accelerators: Obj = {}
        if len(self._products) > 1:
            accelerators["flavors"] = [
                {"name": product, "speed": str(1 + 0.8 * at)} for at, product in enumerate(self._products)
            ]
        if self._family.zones and draw.random() < 0.4:
            needed = {"key": ZONE, "operator": "In", "values": [draw.choice(ZONES)]}
            accelerators["requirements"] = [needed]
        if self._family.zones and draw.random() < 0.5:
            pod["tolerations"] = [TOLERATION]
        return {
            "apiVersion": "apportion.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": {
                "minReplicas": low,
                "maxReplicas": high,
                "accelerators": accelerators,
                "scaling": {"mode": draw.choice(("PerReplicaBatch", "GlobalBatch"))},
                # What runs may be resized by the next round already.
                "restartSeconds": 0,
                "minRuntimeSeconds": 0,
                "placementTimeoutSeconds": 600,
                "template": {"spec": pod},
            },
        }


def _demand(job: Obj) -> int:
    """GPUs of all replicas that it could use."""
    spec = job["spec"]
    limits = spec["template"]["spec"]["containers"][0]["resources"]["limits"]
    return int(spec["maxReplicas"]) * int(limits[GPU])
