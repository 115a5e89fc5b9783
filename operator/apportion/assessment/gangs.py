"""Fragmentation: how large a gang of equal replicas would find room at this moment, and what is in its way."""

from collections.abc import Iterable
from dataclasses import dataclass

from apportion.model.eligibility import accepts, free_now, request_on
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job
from apportion.model.resources import CPU, MEMORY, PODS, Amounts, times_fitting
from apportion.model.selection import ANY_NODE
from apportion.model.snapshot import Snapshot


@dataclass(frozen=True)
class Gang:
    """Replicas of one size on one flavor.

    size: accelerators of a replica; cpu (millicores) and memory (bytes): the most that a job of this size asks for
    each replica, 0 where no job has it. replicas: the largest gang that fits now; alone: if accelerators were all that
    counts; binds: the resource that is short where these differ, else "". stranded: free accelerators that replicas of
    this size cannot use, since they do not lie together or since `binds` is used up.
    """

    flavor: str
    size: int
    cpu: int
    memory: int
    replicas: int
    alone: int
    binds: str
    stranded: int


@dataclass(frozen=True)
class Room:
    """What is free on the nodes of a flavor that take a plain pod; cpu and memory on nodes with a free accelerator."""

    flavor: str
    accelerators: int
    cpu: int
    memory: int
    gangs: tuple[Gang, ...]


def rooms(snapshot: Snapshot) -> tuple[Room, ...]:
    """In the order of the snapshot's flavors, gangs by size."""
    free = free_now(snapshot)
    return tuple(_room(snapshot, flavor, free) for flavor in snapshot.flavors)


def _room(snapshot: Snapshot, flavor: Flavor, free: dict[str, dict[str, int]]) -> Room:
    nodes = [node for node in snapshot.nodes if node.placeable and takes_plain_pods(node, flavor)]
    rest = [free[node.name] for node in nodes]
    open_ = [amounts for amounts in rest if request_on(amounts, flavor)]
    jobs = [job for job in snapshot.jobs if accepts(job, flavor)]
    count = sum(request_on(amounts, flavor) for amounts in open_)
    return Room(
        flavor=flavor.name,
        accelerators=count,
        cpu=sum(max(0, amounts.get(CPU, 0)) for amounts in open_),
        memory=sum(max(0, amounts.get(MEMORY, 0)) for amounts in open_),
        gangs=tuple(_gang(flavor, size, open_, jobs, count) for size in sizes(flavor, nodes, jobs)),
    )


def takes_plain_pods(node: Node, flavor: Flavor) -> bool:
    """The node is of the flavor, and a pod that says nothing of nodes may use it once it is pinned to the flavor."""
    return node.flavor == flavor.name and ANY_NODE.untolerated(node.taints, flavor.tolerations) is None


def sizes(flavor: Flavor, nodes: Iterable[Node], jobs: Iterable[Job]) -> tuple[int, ...]:
    """Powers of two up to the largest node, that node whole, and what jobs ask for."""
    largest = max((request_on(node.allocatable, flavor) for node in nodes), default=0)
    found = {1 << bit for bit in range(largest.bit_length()) if 1 << bit <= largest}
    found |= {job.per_replica for job in jobs if 0 < job.per_replica <= largest}
    return tuple(sorted(found | ({largest} if largest else set())))


def _gang(flavor: Flavor, size: int, free: list[dict[str, int]], jobs: Iterable[Job], count: int) -> Gang:
    alike = [job.requests for job in jobs if job.per_replica == size]
    asked = {name: max((requests.get(name, 0) for requests in alike), default=0) for name in (CPU, MEMORY)}
    bare = {flavor.resource: size * flavor.unit}
    alone = _fitting(free, bare)
    with_one = {
        name: _fitting(free, {**bare, name: amount})
        for name, amount in {**asked, PODS: 1}.items()
        if name != flavor.resource
    }
    replicas = _fitting(free, {PODS: 1, **asked, **bare})
    binds = min(with_one, key=lambda name: with_one[name])
    return Gang(
        flavor.name, size, asked[CPU], asked[MEMORY], replicas, alone,
        binds if replicas < alone else "", count - replicas * size,
    )  # fmt: skip


def _fitting(free: Iterable[Amounts], request: Amounts) -> int:
    return sum(times_fitting(amounts, request) for amounts in free)
