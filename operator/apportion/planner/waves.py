"""Which changes may be made now: a set of pods of which every placement order works (optimizer.md, "waves").

What is granted together is safe by the test of flight.py. Who goes first is chosen so that the others can still follow,
wherever the scheduler puts the pods: an order of which this is proved, where there is one, else the largest first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from apportion.model.eligibility import accepts, current_grant, eligible, free_now, waiting_for_nodes
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant, Resize
from apportion.model.resources import Amounts, plus
from apportion.model.snapshot import Snapshot
from apportion.optimizer import departing, survivors
from apportion.planner.entitled import Entitlement
from apportion.planner.flight import Flight, Kind, Turns
from apportion.planner.provisioning import slots_of_new


class Eligibility:
    """The nodes of a (job, flavor), worked out once for all jobs that ask the same."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self.by_flavor: dict[str, list[Node]] = {}
        for node in snapshot.nodes:
            if node.flavor is not None:
                self.by_flavor.setdefault(node.flavor, []).append(node)
        self.known: dict[object, frozenset[str]] = {}
        self.new = frozenset(node.name for node in snapshot.nodes if not node.exists)

    def nodes(self, job: Job, flavor: Flavor) -> frozenset[str]:
        question = (flavor.name, job.nodes, accepts(job, flavor))
        if question not in self.known:
            members = eligible(job, flavor, self.by_flavor.get(flavor.name, ()))
            self.known[question] = frozenset(node.name for node in members)
        return self.known[question]

    def kind(self, job: Job, flavor_name: str, with_new: bool = False) -> Kind | None:
        """with_new: its pods may wait for nodes that do not exist yet."""
        flavor = self.flavors.get(flavor_name)
        if flavor is None:
            return None
        nodes = self.nodes(job, flavor)
        return Kind(tuple(sorted(job.requests.items())), nodes if with_new or not self.new else nodes - self.new)


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


@dataclass(frozen=True)
class _Grow:
    """A change that takes room: `new` pods of a kind that its job has not got yet. `wider`: the kind, nodes that do not
    exist included, of which one holds `each` of its pods. `extra`: only these nodes are why it is in the plan."""

    resize: Resize
    kind: Kind
    new: int
    wider: Kind
    each: int
    extra: bool


def in_waves(
    snapshot: Snapshot,
    before: Mapping[JobKey, Grant],
    targets: Mapping[JobKey, Grant],
    first: Mapping[JobKey, Grant] | None = None,
) -> Waves:
    """Order the changes from `before` to `targets`: everything that gives room at once, what takes room as it fits.

    first: what everybody would have without nodes that do not exist yet. Who has more by `targets` goes after the
    others: in their room it would be in the way of somebody with a better right, and have to leave it again.
    """
    jobs = {job.key: job for job in snapshot.jobs}
    flavor_of = {node.name: node.flavor for node in snapshot.nodes}
    eligibility = Eligibility(snapshot)
    shrinks: list[Resize] = []
    grows: list[_Grow] = []
    for key in sorted(targets):
        current, target = before.get(key, Grant()), targets[key]
        if current == target or (current.replicas == 0 and target.replicas == 0):
            continue
        resize, job = Resize(key, current, target), jobs[key]
        if resize.kind not in ("Admit", "Grow", "Move"):
            shrinks.append(leaving(job, resize))
        elif (kind := eligibility.kind(job, target.flavor)) is not None:
            new = max(0, target.replicas - bound_on(job, target.flavor, flavor_of))
            each = slots_of_new(snapshot, job, target.flavor) if eligibility.new else 0
            wider = eligibility.kind(job, target.flavor, with_new=each > 0 and resize.kind != "Move")
            extra = first is not None and target.replicas > first[key].replicas
            grows.append(_Grow(resize, kind, new, wider or kind, each, extra))
    free = free_now(snapshot)
    now = Flight(free)
    # Whether those who move can go is not known yet: their room is not about to come free.
    moving = {grow.resize.key: grow.resize.current for grow in grows if grow.resize.kind == "Move"}
    later = Flight(after_shrinks(snapshot, free, {**targets, **moving}), now)
    for job in snapshot.jobs:
        kind, missing = on_its_way(job, targets, before, flavor_of, eligibility)
        if kind is not None and missing > 0:
            now.join(kind, missing)
            later.join(kind, missing)

    def size(grow: _Grow) -> tuple[object, ...]:
        """Larger pods first; of equals those with fewer nodes to go to."""
        job = jobs[grow.resize.key]
        cpu, memory = job.requests.get("cpu", 0), job.requests.get("memory", 0)
        return (-job.per_replica, len(grow.kind.nodes), -cpu, -memory, -job.priority, job.created, job.key)

    return Waves((*shrinks, *_grow(sorted(grows, key=size), now, later)))


def _grow(grows: Sequence[_Grow], now: Flight, later: Flight) -> Iterator[Resize]:
    """Those that may go now, then the others. `later` has the room that is about to come free, and who goes now
    does not wait for it: it can be in the way only on nodes that have room already.

    Who would harm others waits for them. Where all would, one goes: an admission before a growth, since the plan puts
    minimums first too. What will never fit by itself is waited for by nobody.
    """
    able: list[_Grow] = []
    waiting: list[_Grow] = []
    for grow in grows:
        (able if grow.new <= later.room_for(grow.kind) and not grow.extra else waiting).append(grow)
    turns = Turns(later, ((grow.kind, grow.new) for grow in able))

    def goes(grow: _Grow, may_harm: Callable[[Kind], bool]) -> bool:
        if not now.safe_with(grow.kind, grow.new) or not all(map(may_harm, turns.harmed(grow.kind, grow.new))):
            return False
        now.join(grow.kind, grow.new)
        later.join(grow.kind, grow.new, early=grow.new)
        turns.leave(grow.kind, grow.new)
        return True

    rest = []
    for grow in able:
        if goes(grow, lambda _: False):
            yield grow.resize
        else:
            rest.append(grow)
    # Whoever waits for room that is about to come free is waited for.
    ready = {grow.kind for grow in rest if now.safe_with(grow.kind, grow.new)}
    for grow in sorted(rest, key=lambda grow: grow.resize.kind != "Admit"):
        first = all(other.nodes.isdisjoint(grow.kind.nodes) for other in now.flying.counts)
        if first and goes(grow, ready.__contains__):
            yield grow.resize
        else:
            waiting.append(grow)
    late = [grow for grow in waiting if grow.extra or not later.safe_with(grow.kind, grow.new)]
    for grow in waiting:
        key, current, target = grow.resize.key, grow.resize.current, grow.resize.target
        if grow in late and grow.wider != grow.kind and now.safe_with(grow.wider, grow.new):
            others = [other for other in waiting if other not in late]
            if not any(_loses_room(later, grow, other) for other in others):
                nodes = -(-_beyond(now, grow) // grow.each)
                # Who needs no new node must not wait for one: nobody who does may take its room.
                kind = grow.wider if nodes else grow.kind
                now.join(kind, grow.new)
                later.join(kind, grow.new)
                yield Resize(key, current, target, new_nodes=nodes)
                continue
        yield Resize(key, current, target, wave=1)


def _beyond(now: Flight, grow: _Grow) -> int:
    """How many of its pods may find no room on what exists, if the others on their way come first."""
    taken = sum(now.taken(grow.kind, other, count) for other, count in now.flying.counts.items() if other != grow.kind)
    left = now.room_for(grow.kind) - now.flying.counts.get(grow.kind, 0) - taken
    return grow.new - max(0, min(left, grow.new))


def _loses_room(later: Flight, grow: _Grow, other: _Grow) -> bool:
    """Could the first, while it waits for nodes, take the room that is about to come free for the second?"""
    before = later.flying.plus(other.kind, other.new)
    after = before.plus(grow.wider, grow.new)
    return later.holds(other.kind, before) and not later.holds(other.kind, after)


def moving(before: Mapping[JobKey, Grant], targets: Mapping[JobKey, Grant]) -> dict[JobKey, Grant]:
    """Those of the targets that change the flavor of a running job."""
    return {key: target for key, target in targets.items() if Resize(key, before[key], target).kind == "Move"}


def blocked_moves(
    snapshot: Snapshot, before: Mapping[JobKey, Grant], targets: Mapping[JobKey, Grant]
) -> frozenset[JobKey]:
    """Running jobs that would change their flavor and never can: each waits for what another such one holds.

    A move goes only into room that is free, and uses only quota, money and watts that are. If no move of a circle may
    go before another one has gone, none ever goes, and all who wait for their room wait for ever.
    """
    jobs = {job.key: job for job in snapshot.jobs}
    left = moving(before, targets)
    if not left:
        return frozenset()
    eligibility = Eligibility(snapshot)
    flavor_of = {node.name: node.flavor for node in snapshot.nodes}
    free = free_now(snapshot)
    entitlement = Entitlement(snapshot, before) if snapshot.queues or snapshot.caps else None
    while left:
        later = Flight(after_shrinks(snapshot, free, {**targets, **{key: before[key] for key in left}}))
        able = set()
        for key, target in left.items():
            kind = eligibility.kind(jobs[key], target.flavor)
            if kind is None or target.replicas - bound_on(jobs[key], target.flavor, flavor_of) <= later.room_for(kind):
                able.add(key)
        grants = {**targets, **{key: before[key] for key in left}}
        if entitlement is not None and not entitlement.keeps({**grants, **{key: left[key] for key in able}}):
            able = {key for key in able if entitlement.keeps({**grants, key: left[key]})}
        if not able:
            break
        left = {key: target for key, target in left.items() if key not in able}
    return frozenset(left)


def on_its_way(
    job: Job,
    targets: Mapping[JobKey, Grant],
    before: Mapping[JobKey, Grant],
    flavor_of: Mapping[str, str | None],
    eligibility: Eligibility,
) -> tuple[Kind | None, int]:
    """Pods that were granted and are not bound yet: their room is reserved, unless the grant shrinks below them.

    Whether a job that is to move can go is not known yet: all that it was granted stays its own until then.
    """
    granted, target = before.get(job.key, current_grant(job)), targets.get(job.key, Grant())
    if granted.replicas == 0 or target.replicas == 0:
        return None, 0
    kept = min(granted.replicas, target.replicas) if granted.flavor == target.flavor else granted.replicas
    kind = eligibility.kind(job, granted.flavor, with_new=waiting_for_nodes(job) > 0)
    return kind, kept - bound_on(job, granted.flavor, flavor_of)


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


def leaving(job: Job, resize: Resize) -> Resize:
    """Name the pods that a shrink should take. The actuator writes their deletion costs."""
    if resize.kind != "Shrink":
        return resize
    pods = [pod for pod in job.pods if not pod.terminating and pod.node is not None]
    surplus = len(pods) - resize.target.replicas
    if surplus <= 0:
        return resize
    going = departing(pods, surplus)
    return Resize(resize.key, resize.current, resize.target, 0, tuple(pod.name for pod in going))
