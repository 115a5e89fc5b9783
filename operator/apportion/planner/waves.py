"""Which changes may be made now: a set of pods of which every placement order works (optimizer.md, "waves").

The test is sufficient, not necessary. For every pod shape h that is on its way, with the nodes E where it may go: the
sum over all pods o on their way to nodes of E of loss(o, h) is at most the sum over E of slots(n, h).
slots(n, h) is how many pods h fit into what is free on n. loss(o, h) = max over resources of ceil(o / h), and never
more than the slots of the roomiest node: a pod o on a node takes no more slots of shape h from it, whichever it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from apportion.model.eligibility import current_grant, eligible, free_now
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant, Resize
from apportion.model.resources import Amounts, plus, times_fitting
from apportion.model.snapshot import Snapshot
from apportion.optimizer import departing, survivors

Shape = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Kind:
    """Pods that the scheduler cannot tell apart: one shape, one set of nodes."""

    shape: Shape
    nodes: frozenset[str]


def loss(other: Shape, shape: Shape) -> int:
    """Most slots of `shape` that one pod of `other` can take from a node."""
    taken = dict(other)
    return max((-(-taken.get(name, 0) // amount) for name, amount in shape if amount > 0), default=0)


@dataclass
class Flight:
    """Pods on their way, and whether more may join. `free` is by node name."""

    free: Mapping[str, Amounts]
    counts: dict[Kind, int] = field(default_factory=dict)
    slots: dict[Kind, tuple[int, int]] = field(default_factory=dict)

    def room_for(self, kind: Kind) -> int:
        return self._slots(kind)[0]

    def _slots(self, kind: Kind) -> tuple[int, int]:
        """How many pods of the kind fit in all, and on the roomiest node."""
        if kind not in self.slots:
            request = dict(kind.shape)
            each = [times_fitting(self.free[name], request) for name in kind.nodes if name in self.free]
            self.slots[kind] = sum(each), max(each, default=0)
        return self.slots[kind]

    def join(self, kind: Kind, count: int) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + count

    def safe_with(self, kind: Kind, count: int) -> bool:
        """Would every pod of every kind find room in any order, if `count` more of `kind` were on their way?"""
        counts = {**self.counts, kind: self.counts.get(kind, 0) + count}
        touched = [other for other in counts if other.nodes & kind.nodes]
        return all(self._holds(other, counts) for other in touched)

    def _holds(self, kind: Kind, counts: Mapping[Kind, int]) -> bool:
        slots, roomiest = self._slots(kind)
        contending = sum(
            count * min(loss(other.shape, kind.shape), roomiest)
            for other, count in counts.items()
            if other != kind and other.nodes & kind.nodes
        )
        return counts[kind] + contending <= slots


class Eligibility:
    """The nodes of a (job, flavor), worked out once for all jobs that ask the same."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self.by_flavor: dict[str, list[Node]] = {}
        for node in snapshot.nodes:
            if node.flavor is not None:
                self.by_flavor.setdefault(node.flavor, []).append(node)
        self.known: dict[object, frozenset[str]] = {}

    def nodes(self, job: Job, flavor: Flavor) -> frozenset[str]:
        question = (flavor.name, job.nodes, job.resource, job.flavors)
        if question not in self.known:
            members = eligible(job, flavor, self.by_flavor.get(flavor.name, ()))
            self.known[question] = frozenset(node.name for node in members)
        return self.known[question]

    def kind(self, job: Job, flavor_name: str) -> Kind | None:
        flavor = self.flavors.get(flavor_name)
        if flavor is None:
            return None
        return Kind(tuple(sorted(job.requests.items())), self.nodes(job, flavor))


def bound_on(job: Job, flavor: str, nodes: Mapping[str, str | None]) -> int:
    """Pods of the job that sit on nodes of the flavor and stay there; `nodes` maps node to flavor."""
    return sum(1 for pod in job.pods if pod.node is not None and not pod.terminating and nodes.get(pod.node) == flavor)


@dataclass(frozen=True)
class Waves:
    """Wave 0 is safe now; later waves wait for room."""

    resizes: tuple[Resize, ...]

    @property
    def now(self) -> tuple[Resize, ...]:
        return tuple(resize for resize in self.resizes if resize.wave == 0)


def in_waves(snapshot: Snapshot, before: Mapping[JobKey, Grant], targets: Mapping[JobKey, Grant]) -> Waves:
    """Order the changes from `before` to `targets`: everything that gives room at once, what takes room as it fits.

    Largest pods first; a smaller one waits behind a larger one only where the larger one's room is about to come free.
    """
    jobs = {job.key: job for job in snapshot.jobs}
    flavor_of = {node.name: node.flavor for node in snapshot.nodes}
    eligibility = Eligibility(snapshot)
    shrinks: list[Resize] = []
    grows: list[Resize] = []
    for key in sorted(targets):
        current, target = before.get(key, Grant()), targets[key]
        if current == target or (current.replicas == 0 and target.replicas == 0):
            continue
        resize = Resize(key, current, target)
        (grows if resize.kind in ("Admit", "Grow", "Move") else shrinks).append(resize)
    shrinks = [leaving(jobs[resize.key], resize, flavor_of) for resize in shrinks]
    free = free_now(snapshot)
    now = Flight(free)
    later = Flight(after_shrinks(snapshot, free, targets))
    for job in snapshot.jobs:
        kind, missing = on_its_way(job, targets, before, flavor_of, eligibility)
        if kind is not None and missing > 0:
            now.join(kind, missing)
            later.join(kind, missing)
    return Waves((*shrinks, *_grow(grows, jobs, flavor_of, eligibility, now, later)))


def _grow(
    grows: Sequence[Resize],
    jobs: Mapping[JobKey, Job],
    flavor_of: Mapping[str, str | None],
    eligibility: Eligibility,
    now: Flight,
    later: Flight,
) -> Iterable[Resize]:
    def size(resize: Resize) -> tuple[object, ...]:
        job = jobs[resize.key]
        return (-job.per_replica, -job.requests.get("cpu", 0), -job.priority, job.created, job.key)

    for resize in sorted(grows, key=size):
        job = jobs[resize.key]
        kind = eligibility.kind(job, resize.target.flavor)
        if kind is None:
            continue
        new = max(0, resize.target.replicas - bound_on(job, resize.target.flavor, flavor_of))
        if now.safe_with(kind, new) and later.safe_with(kind, new):
            now.join(kind, new)
            later.join(kind, new)
            yield resize
            continue
        if later.safe_with(kind, new) and later.room_for(kind) > now.room_for(kind):
            later.join(kind, new)
        yield Resize(resize.key, resize.current, resize.target, wave=1)


def on_its_way(
    job: Job,
    targets: Mapping[JobKey, Grant],
    before: Mapping[JobKey, Grant],
    flavor_of: Mapping[str, str | None],
    eligibility: Eligibility,
) -> tuple[Kind | None, int]:
    """Pods that were granted and are not bound yet: their room is reserved, unless the grant shrinks below them."""
    granted, target = before.get(job.key, current_grant(job)), targets.get(job.key, Grant())
    if granted.replicas == 0 or granted.flavor != target.flavor:
        return None, 0
    kept = min(granted.replicas, target.replicas)
    return eligibility.kind(job, granted.flavor), kept - bound_on(job, granted.flavor, flavor_of)


def after_shrinks(
    snapshot: Snapshot, free: Mapping[str, Amounts], targets: Mapping[JobKey, Grant]
) -> dict[str, dict[str, int]]:
    """What will be free once terminating pods and those of shrinking, moving or evicted jobs are gone."""
    coming = {name: dict(amounts) for name, amounts in free.items()}
    for job in snapshot.jobs:
        target = targets.get(job.key, Grant())
        staying: set[str] = set()
        if target.replicas and job.admission is not None and job.admission.flavor == target.flavor:
            staying = {pod.name for pod in survivors(job, target.replicas, coming)}
        for pod in job.pods:
            if pod.node in coming and pod.name not in staying:
                coming[pod.node] = plus(coming[pod.node], pod.requests)
    return coming


def leaving(job: Job, resize: Resize, flavor_of: Mapping[str, str | None]) -> Resize:
    """Name the pods that a shrink should take. The actuator writes their deletion costs."""
    if resize.kind != "Shrink":
        return resize
    pods = [pod for pod in job.pods if not pod.terminating and pod.node is not None]
    surplus = len(pods) - resize.target.replicas
    if surplus <= 0:
        return resize
    going = departing(pods, surplus)
    return Resize(resize.key, resize.current, resize.target, 0, tuple(pod.name for pod in going))
