"""Which flavors a job can use at all, and why not the others: by what is asked and what there is, whoever holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apportion.model.eligibility import accepts, free_now, selects, speed
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Block, Job, JobKey
from apportion.model.queues import Queue
from apportion.model.resources import Amounts, times_fitting
from apportion.model.snapshot import Snapshot
from apportion.planner.explain import shown
from apportion.planner.queueing import stand_in


@dataclass(frozen=True)
class Fit:
    """A job on a flavor. why: a sentence why it can not be used, "" where it can. now: how many replicas find room
    among what is free at this moment; most: in the empty cluster; both without quotas."""

    flavor: str
    why: str
    speed: float
    now: int
    most: int

    @property
    def usable(self) -> bool:
        return not self.why


@dataclass(frozen=True)
class Compatibility:
    """blocked: why the job can have nothing anywhere until it or its queue is mended, "" where it is sound."""

    key: JobKey
    minimum: int
    per_replica: int
    blocked: str
    fits: tuple[Fit, ...]


def compatibilities(snapshot: Snapshot) -> tuple[Compatibility, ...]:
    """Of every job on every flavor, in their order."""
    table = _Table(snapshot)
    return tuple(table.of(job) for job in snapshot.jobs)


class _Table:
    """Answers are shared by jobs that ask the same."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.flavors = snapshot.flavors
        self.queues = {queue.name: queue for queue in snapshot.queues}
        self.free = free_now(snapshot)
        self.nodes = {
            flavor.name: [node for node in snapshot.nodes if node.flavor == flavor.name] for flavor in snapshot.flavors
        }
        self._fits: dict[object, Fit] = {}

    def of(self, job: Job) -> Compatibility:
        queue = stand_in(job, self.queues)
        block = job.block or (queue if isinstance(queue, Block) else None)
        blocked = f"{block.reason}: {block.message}" if block is not None else ""
        quotas = queue if isinstance(queue, Queue) else None
        fits = tuple(self._fit(job, flavor, quotas) for flavor in self.flavors)
        return Compatibility(job.key, job.minimum, job.per_replica, blocked, fits)

    def _fit(self, job: Job, flavor: Flavor, queue: Queue | None) -> Fit:
        requests = tuple(sorted(job.requests.items()))
        name = queue.name if queue else None
        question = (flavor.name, job.resource, requests, job.minimum, job.nodes, job.flavors, name)
        if question not in self._fits:
            self._fits[question] = self._fitting(job, flavor, queue)
        return self._fits[question]

    def _fitting(self, job: Job, flavor: Flavor, queue: Queue | None) -> Fit:
        why = _refused(job, flavor, queue)
        nodes = self.nodes[flavor.name] if accepts(job, flavor) else []
        open_ = [node for node in nodes if node.placeable and selects(job, flavor, node)]
        now = sum(times_fitting(self.free[node.name], job.requests) for node in open_)
        most = sum(times_fitting(node.allocatable, job.requests) for node in open_)
        if not why and not open_:
            why = _no_node(job, flavor, nodes)
        elif not why and most < max(1, job.minimum):
            why = _too_large(job, flavor, open_, most)
        return Fit(flavor.name, why, speed(job, flavor), now, most)


def _refused(job: Job, flavor: Flavor, queue: Queue | None) -> str:
    """What job and queue rule out, whatever nodes there are."""
    if flavor.resource != job.resource:
        return f"asks for {job.resource}; {flavor.name} is {flavor.resource}"
    if not accepts(job, flavor):
        return f"the job allows {', '.join(choice.name for choice in job.flavors or ()) or 'no flavor'} only"
    if queue is not None and queue.quota(flavor.name) is None:
        return f"queue {queue.name} lists no quota for it"
    return ""


def _no_node(job: Job, flavor: Flavor, nodes: Sequence[Node]) -> str:
    """The first of labels, taints and state that leaves none of the flavor's nodes."""
    if not nodes:
        return "no node carries it now"
    matching = [node for node in nodes if job.nodes.labels_match(node.labels)]
    if not matching:
        return f"none of its {len(nodes)} nodes has {_unmatched(job, nodes)}"
    selected = [node for node in matching if selects(job, flavor, node)]
    if not selected:
        taint = job.nodes.untolerated(matching[0].taints, flavor.tolerations)
        return f"the job does not tolerate the taint {taint} of node {matching[0].name}"
    return f"none of its {len(selected)} nodes takes new pods (node {selected[0].name} {selected[0].why_not})"


def _unmatched(job: Job, nodes: Sequence[Node]) -> str:
    """The requirements that no node meets; all of them where each is met somewhere."""
    labels = [node.labels for node in nodes]
    rules = [(f"{key}={value}", any(on.get(key) == value for on in labels)) for key, value in job.nodes.selector]
    rules += [(str(rule), any(map(rule.matches, labels))) for rule in job.nodes.requirements]
    if job.nodes.alternatives:
        said = " or ".join(" and ".join(map(str, terms)) for terms in job.nodes.alternatives)
        met = any(all(rule.matches(on) for rule in terms) for terms in job.nodes.alternatives for on in labels)
        rules.append((said, met))
    missing = [said for said, met in rules if not met] or [said for said, _ in rules]
    return " and ".join(missing)


def _too_large(job: Job, flavor: Flavor, nodes: Sequence[Node], most: int) -> str:
    if most:
        return f"the minimum is {job.minimum} replicas; all its nodes together, empty, have room for {most}"
    largest = _largest(nodes)
    for name in sorted(job.requests, key=lambda name: (name != flavor.resource, name)):
        if job.requests[name] > largest.get(name, 0):
            need, have = shown(name, job.requests[name]), shown(name, largest.get(name, 0))
            return f"a replica needs {need} {name} on one node; the largest has {have}"
    return "no node has all that a replica needs together"


def _largest(nodes: Sequence[Node]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for amounts in (node.allocatable for node in nodes):
        _raise(found, amounts)
    return found


def _raise(found: dict[str, int], amounts: Amounts) -> None:
    for name, amount in amounts.items():
        found[name] = max(found.get(name, 0), amount)
