"""Nodes that fail and are repaired: exponential times, of each node by itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from heapq import heapify, heapreplace
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from apportion.simulator.account import Tally
from apportion.simulator.scheduling import Scheduler
from apportion.simulator.world import World, settled


@dataclass(frozen=True, slots=True)
class Failures:
    """Means in seconds, of each node. checkpoint: of a job that loses a pod, what it worked since the last whole
    multiple of so many seconds is done again; 0: nothing is.
    """

    between: float
    repair: float = 3600.0
    checkpoint: float = 1800.0


class Outage(NamedTuple):
    """`at` the node fails, or (back) is there again."""

    at: float
    node: str
    back: bool


def outages(nodes: Iterable[str], failures: Failures, seed: int) -> Iterator[Outage]:
    """In the order of time, without end. Each node has its own stream: what others do changes nothing for it."""
    streams = {name: Random(f"{seed} {name}") for name in sorted(nodes)}
    coming = [Outage(random.expovariate(1.0 / failures.between), name, False) for name, random in streams.items()]
    heapify(coming)
    while coming:
        now = coming[0]
        yield now
        mean = failures.between if now.back else failures.repair
        heapreplace(coming, Outage(now.at + streams[now.node].expovariate(1.0 / mean), now.node, not now.back))


def struck(world: World, outage: Outage, scheduler: Scheduler, checkpoint: float) -> World:
    """The world, which is at outage.at, after it."""
    if outage.back:
        nodes = tuple(replace(n, placeable=True) if n.name == outage.node else n for n in world.snapshot.nodes)
        return replace(world, snapshot=replace(world.snapshot, nodes=nodes))
    world = _worked_in_vain(world, outage, checkpoint)
    account = replace(world.account, outages=world.account.outages + 1)
    return settled(replace(world, snapshot=scheduler.lost(world.snapshot, outage.node), account=account))


def _worked_in_vain(world: World, outage: Outage, checkpoint: float) -> World:
    """Who loses a pod goes back to its last checkpoint: what it has worked since is lost."""
    tally, entries = Tally(world.account), dict(world.entries)
    for job in world.snapshot.jobs:
        if not any(pod.node == outage.node and not pod.terminating for pod in job.pods):
            continue
        entry = entries[job.key]
        worked = max(0.0, outage.at - entry.since) if entry.rate > 0 else 0.0
        vain = worked % checkpoint if checkpoint > 0 else 0.0
        entries[job.key] = replace(entry, done=max(0.0, entry.done - vain * entry.rate))
        tally.use(entry.group, -vain * entry.held, vain * entry.held)
    uses, _ = tally.sums
    return replace(world, entries=MappingProxyType(entries), account=replace(world.account, uses=uses))
