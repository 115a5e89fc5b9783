"""Who holds the accelerators at this moment, by the pods that are on nodes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.queues import Queue
from apportion.model.snapshot import Snapshot
from apportion.planner.queueing import stand_in

JOBS, OTHERS, IDLE = "jobs", "others", "idle"


@dataclass(frozen=True)
class Holding:
    """Accelerators of one flavor, whole (cpu: cores), on all of its nodes, also those that take no new pods.

    use: "jobs" are pods of TrainingJobs, of `key` in `queue` ("": none); "others" are all other pods; "idle" is what
    nobody holds.
    """

    flavor: str
    use: str
    accelerators: float
    queue: str = ""
    key: JobKey | None = None


def holdings(snapshot: Snapshot) -> tuple[Holding, ...]:
    """By flavor: jobs in name order, then others and idle. The sum is what the flavor's nodes offer, or what is held
    where that is more."""
    held = _held(snapshot)
    queues = {queue.name: queue for queue in snapshot.queues}
    return tuple(row for flavor in snapshot.flavors for row in _rows(snapshot, flavor, held, queues))


def queue_name(job: Job, queues: Mapping[str, Queue]) -> str:
    """The queue whose quota the job's use counts in; "" where there is none."""
    queue = stand_in(job, queues)
    return queue.name if isinstance(queue, Queue) else job.queue_name or ""


def _held(snapshot: Snapshot) -> dict[str, Counter[JobKey]]:
    """By flavor and job, in the smallest unit of the flavor's resource. Terminating pods hold theirs until they go."""
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    on = {node.name: flavors[node.flavor] for node in snapshot.nodes if node.flavor in flavors}
    held: dict[str, Counter[JobKey]] = {name: Counter() for name in flavors}
    for job in snapshot.jobs:
        for pod in job.pods:
            flavor = on.get(pod.node or "")
            if flavor is not None and pod.requests.get(flavor.resource, 0) > 0:
                held[flavor.name][job.key] += pod.requests[flavor.resource]
    return held


def _rows(
    snapshot: Snapshot, flavor: Flavor, held: Mapping[str, Counter[JobKey]], queues: Mapping[str, Queue]
) -> Iterator[Holding]:
    nodes = [node for node in snapshot.nodes if node.flavor == flavor.name]
    mine = held[flavor.name]
    for job in snapshot.jobs:
        if amount := mine.get(job.key):
            yield Holding(flavor.name, JOBS, amount / flavor.unit, queue_name(job, queues), job.key)
    others = sum(node.foreign.get(flavor.resource, 0) for node in nodes)
    offered = sum(node.allocatable.get(flavor.resource, 0) for node in nodes)
    if others:
        yield Holding(flavor.name, OTHERS, others / flavor.unit)
    if idle := max(0, offered - others - sum(mine.values())):
        yield Holding(flavor.name, IDLE, idle / flavor.unit)
