"""The columns of the program: for each group of identical jobs its admissible (flavor, replicas) and their worth."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from apportion.model.eligibility import current_grant
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant
from apportion.model.policy import Aim, Policy
from apportion.model.queues import Queue
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer.staying import Ground, Held, Standing
from apportion.optimizer.value import (
    Rates,
    admission_worth,
    after_change,
    change_factor,
    costs,
    job_weights,
    outlay,
    terms_of,
    value,
    worth,
)

MOST_OPTIONS = 64
MOST = 10**12  # accelerators of an option: HiGHS refuses a program for one entry of 1e15
UTILITIES = (Aim.PROPORTIONAL_FAIR, Aim.MAX_MIN_FAIR)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """Jobs that the program cannot tell apart, oldest first; most groups hold one job.

    keeps: replicas below which a member loses what it was promised (0: nothing is promised). weight is of growth, worth
    is B; `counted` is what of w B is in the value of every option. bound: how many of a member's pods are on nodes that
    exist. whole: the pods that stay if it keeps what it has (those of the first member; alike for all); `staying`: how
    many members rows take to stay so.
    """

    members: tuple[Job, ...]
    current: Grant
    keeps: int
    weight: float
    worth: float
    borrows: bool
    counted: float
    bound: int
    whole: Held | None = None
    staying: int = 0

    @property
    def like(self) -> Job:
        return self.members[0]

    @property
    def size(self) -> int:
        return len(self.members)


@dataclass(frozen=True)
class Columns:
    """All options as arrays of one length; the options of a group lie together, see `start` (length groups + 1).

    new: replicas that need a place; `stay` is the number of the others in Options.stays (-1: all are new). value: u.
    rate: x, after what a change costs of it.
    reduced: which part of its promise a member loses with this option (0: none, and of jobs without a promise).
    """

    group: Ints
    flavor: Ints
    replicas: Ints
    new: Ints
    stay: Ints
    value: Floats
    rate: Floats
    current: Bools
    reduced: Floats
    start: Ints

    def __len__(self) -> int:
        return len(self.group)


@dataclass(frozen=True)
class Options:
    """What the program chooses from. `masks[group][flavor]`: the node classes that its pods may use.

    stays: the pods that stay with an option, and of which group. By node of the cells and resource: `room` for all
    these jobs, and what of it is `free` if they keep what they have. allowed: the columns that may be used at all.
    planned: by group the columns of its members in the plan that these are counted from, if there is one.
    """

    groups: tuple[Group, ...]
    columns: Columns
    masks: tuple[dict[int, int], ...]
    stays: tuple[tuple[int, Held], ...]
    room: Ints
    free: Ints
    allowed: Bools
    warnings: tuple[str, ...] = ()
    planned: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def options(snapshot: Snapshot, policy: Policy, ground: Ground, room: Ints, jobs: Sequence[Job]) -> Options:
    """The groups and columns of the jobs that are choices (candidates that are not pinned).

    room: by node of the ground's cells and resource, what pinned jobs leave.
    """
    weights, warnings = job_weights(snapshot)
    if policy.objective.name is Aim.MIN_COST:
        warnings += costs(snapshot.flavors)[1]
    standing = Standing(ground, room, jobs)
    populated = frozenset(node.flavor for node in snapshot.nodes if node.flavor is not None)
    draft = _Draft(snapshot, policy, ground)
    for members in _alike(snapshot, policy, standing, jobs):
        job = members[0]
        terms = terms_of(snapshot, job)
        usual, base = weights[job.queue_name], admission_worth(job, snapshot.now, policy.objective)
        counted = usual * base if policy.objective.name in UTILITIES else 0.0
        whole = standing.whole(job)
        group = Group(
            members, current_grant(job), promised(job, terms), usual * job.favour, base, terms.borrows,
            counted, whole.count if whole else 0, whole, len(members),
        )  # fmt: skip
        rates = Rates(job, snapshot.flavors, populated)
        if rates.warning:
            warnings.append(rates.warning)
        draft.add(group, terms, rates)
    columns = draft.columns()
    return Options(
        tuple(draft.groups), columns, tuple(draft.masks), tuple(draft.stays), room, standing.free,
        np.ones(len(columns), dtype=np.bool_), tuple(warnings),
    )  # fmt: skip


def loosened(found: Options) -> Options:
    """The same as if all pods on placeable nodes could move inside their flavor."""
    columns = found.columns
    bound = np.array([*(held.placeable for _, held in found.stays), 0], dtype=np.int64)
    whole = replace(columns, new=columns.new + bound[columns.stay], stay=np.full_like(columns.stay, -1))
    groups = tuple(replace(group, whole=None) for group in found.groups)
    return replace(found, groups=groups, columns=whole, stays=(), free=found.room)


def stood(found: Options, ground: Ground, columns: Mapping[JobKey, int]) -> Options:
    """The options counted from where these columns leave everybody's pods (by job; below 0: nothing).

    allowed: those with which exactly these pods stay; for them rows of capacity are exact.
    """
    stay, free = found.columns.stay, found.room.copy()
    groups, allowed, planned = [], np.zeros(len(stay), dtype=np.bool_), {}
    for at, group in enumerate(found.groups):
        mine = np.arange(found.columns.start[at], found.columns.start[at + 1])
        whole, staying = None, 0
        for job in group.members:
            column = columns[job.key]
            kept = int(stay[column]) if column >= 0 else -1
            allowed[mine[stay[mine] == kept]] = True
            held = ground.held(job, group.current.flavor, int(found.columns.replicas[column])) if kept >= 0 else None
            if held is not None:
                whole, staying = whole or held, staying + 1
                free[held.rows] -= held.amounts
        if group.whole is not None:
            group = replace(group, whole=whole or ground.nothing, staying=staying)
        groups.append(group)
        planned[at] = tuple(columns[job.key] for job in group.members if columns[job.key] >= 0)
    return replace(found, groups=tuple(groups), free=free, allowed=allowed, planned=planned)


@dataclass
class _Draft:
    """Groups and their offers while they are collected: an offer is a flavor with the group's counts."""

    snapshot: Snapshot
    policy: Policy
    ground: Ground
    groups: list[Group] = field(default_factory=list)
    masks: list[dict[int, int]] = field(default_factory=list)
    stays: list[tuple[int, Held]] = field(default_factory=list)
    _of_group: list[int] = field(default_factory=list)
    _flavor: list[int] = field(default_factory=list)
    _speed: list[float] = field(default_factory=list)
    _enough: list[tuple[float, float]] = field(default_factory=list)
    _factor: list[float] = field(default_factory=list)
    _most: list[int] = field(default_factory=list)
    _reachable: list[bool] = field(default_factory=list)
    _current: list[int] = field(default_factory=list)
    _counts: list[tuple[int, ...]] = field(default_factory=list)
    _bases: list[list[float]] = field(default_factory=list)
    _held: list[tuple[int, list[Held]]] = field(default_factory=list)
    _missing: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._queues: Mapping[str, Queue] = {queue.name: queue for queue in self.snapshot.queues}
        self._number = {flavor.name: at for at, flavor in enumerate(self.snapshot.flavors)}
        self._prices, _ = costs(self.snapshot.flavors)

    def add(self, group: Group, terms: Terms, rates: Rates) -> None:
        """The group with all offers that its terms and its queue allow."""
        job, current = group.like, group.current
        counts = thinned(job.steps, current.replicas, MOST_OPTIONS // max(1, len(rates.flavors)))
        bases = rates.bases(counts)
        factor = change_factor(job, self.snapshot.now, self.policy.stability, terms)
        queue = self._queues.get(job.queue_name) if job.queue_name is not None else None
        masks: dict[int, int] = {}
        for flavor in rates.flavors:
            at = self._number[flavor.name]
            masks[at] = self.ground.cells.mask(job, flavor)
            here = current.replicas > 0 and current.flavor == flavor.name
            usable = queue is None or queue.quota(flavor.name) is not None
            if flavor.name in terms.barred or not (here or _may_move(group, terms)):
                continue
            if not usable and not (here and group.keeps > 0):
                continue
            if here and group.whole is not None:
                held = [self.ground.held(job, flavor.name, count) for count in counts]
                self._held.append((len(self._flavor), held))
            self._of_group.append(len(self.groups))
            self._flavor.append(at)
            self._speed.append(rates.speed(flavor.name))
            self._enough.append(rates.enough(flavor.name))
            self._factor.append(factor)
            most = current.replicas if not usable or not terms.grows else job.maximum
            self._most.append(min(most, MOST // max(1, job.per_replica)))
            self._reachable.append(masks[at] > 0)
            self._current.append(current.replicas if here else 0)
            self._counts.append(counts)
            self._bases.append(bases)
        self.groups.append(group)
        self.masks.append(masks)
        self._missing.append(rates.missing(self._prices))

    def columns(self) -> Columns:
        """The offers' counts as columns, without those that a smaller one of the same offer beats."""
        lengths = np.array([len(counts) for counts in self._counts], dtype=np.int64)
        offer = np.repeat(np.arange(len(lengths)), lengths)
        group = np.array(self._of_group, dtype=np.int64)[offer]
        replicas = np.array([count for counts in self._counts for count in counts], dtype=np.int64)
        base = np.array([base for bases in self._bases for base in bases], dtype=np.float64)
        new, stay = self._staying(lengths, replicas)
        current = replicas == np.array(self._current, dtype=np.int64)[offer]
        factor = np.where(current, 1.0, np.array(self._factor, dtype=np.float64)[offer])
        speed = np.array(self._speed, dtype=np.float64)[offer]
        wanted, counts_as = np.array(self._enough, dtype=np.float64).reshape(-1, 2)[offer].T
        rate = after_change(base * speed, wanted, counts_as, factor)
        objective = self.policy.objective
        missing = np.array(self._missing, dtype=np.float64)[group]
        gain = worth(objective, rate, outlay(self._cost(group, offer, replicas), factor, base * speed, wanted, missing))
        keeps = np.array([each.keeps for each in self.groups], dtype=np.int64)[group]
        admission = np.array([each.counted for each in self.groups], dtype=np.float64)[group]
        weight = np.array([each.weight for each in self.groups], dtype=np.float64)[group]
        worths = value(objective, gain, weight, admission)
        allowed = (replicas <= np.array(self._most, dtype=np.int64)[offer]) & (
            (new == 0) | np.array(self._reachable, dtype=np.bool_)[offer]
        )
        # More replicas that yield no more are worth nothing to anybody: falling curves end here.
        better = _rises(np.where(allowed, gain, -np.inf), offer)
        positive = (worths > 0) | (objective.name is Aim.MIN_COST)
        chosen = allowed & (better | current | (replicas <= keeps)) & (positive | current | (keeps > 0))
        at = np.flatnonzero(chosen)
        start = np.searchsorted(group[at], np.arange(len(self.groups) + 1))
        reduced = np.maximum(0.0, 1.0 - replicas[at] / np.maximum(keeps[at], 1)) * (keeps[at] > 0)
        flavor = np.array(self._flavor, dtype=np.int64)[offer]
        return Columns(
            group[at], flavor[at], replicas[at], new[at], stay[at], worths[at], rate[at], current[at], reduced, start
        )  # fmt: skip

    def _cost(self, group: Ints, offer: Ints, replicas: Ints) -> Floats:
        """By option, the money for an hour of it."""
        price = np.array([self._prices[flavor.name] for flavor in self.snapshot.flavors], dtype=np.float64)
        size = np.array([each.like.per_replica for each in self.groups], dtype=np.float64)
        return np.asarray(replicas * size[group] * price[np.array(self._flavor, dtype=np.int64)[offer]])

    def _staying(self, lengths: Ints, replicas: Ints) -> tuple[Ints, Ints]:
        """By column: how many replicas are new, and the number of the pods that stay."""
        new, stay = replicas.copy(), np.full(len(replicas), -1, dtype=np.int64)
        start = np.cumsum(lengths) - lengths
        for offer, holds in self._held:
            numbers: dict[int, int] = {}
            for at, held in enumerate(holds, start=int(start[offer])):
                if id(held) not in numbers:
                    numbers[id(held)] = len(self.stays)
                    self.stays.append((self._of_group[offer], held))
                stay[at] = numbers[id(held)]
                new[at] -= held.count
        return np.maximum(new, 0), stay


def _rises(worth: Floats, offer: Ints) -> Bools:
    """By column: more than all before it in the same offer."""
    _, rank = np.unique(worth, return_inverse=True)
    # Ranks of later offers lie above those of earlier ones, so one running maximum serves all.
    key = offer * (len(worth) + 1) + rank + 1
    before = np.maximum.accumulate(np.concatenate([[0], key]))[:-1]
    return np.asarray(key > np.maximum(before, offer * (len(worth) + 1)))


def _may_move(group: Group, terms: Terms) -> bool:
    if group.current.replicas == 0:
        return True
    return terms.moves and group.keeps <= group.like.minimum


@lru_cache(maxsize=4096)
def thinned(steps: tuple[int, ...], current: int, most: int) -> tuple[int, ...]:
    """At most about `most` of the positive steps, geometrically, with the least, the greatest and the current one."""
    steps = tuple(step for step in steps if step > 0)
    if len(steps) <= max(3, most):
        return steps
    wanted = np.geomspace(steps[0], steps[-1], max(3, most) - 1)
    chosen = {steps[max(0, bisect_right(steps, count + 1e-9) - 1)] for count in wanted} | {steps[0], steps[-1]}
    below = bisect_right(steps, current)
    if below:
        chosen.add(steps[below - 1])
    return tuple(sorted(chosen))


def promised(job: Job, terms: Terms) -> int:
    """The promise as a step: the largest within it (a count that is no step any more shrinks), at least the minimum."""
    if terms.keeps <= 0 or not job.steps:
        return 0
    return max((step for step in job.steps if step <= terms.keeps), default=job.minimum)


def seniority(job: Job) -> tuple[float, float, JobKey]:
    granted = job.admission.since if job.admission is not None and job.admission.replicas > 0 else np.inf
    return (granted, job.waiting_since, job.key)


def _alike(snapshot: Snapshot, policy: Policy, standing: Standing, jobs: Sequence[Job]) -> list[tuple[Job, ...]]:
    """The jobs in groups that the program cannot tell apart, each oldest first.

    What is cheap to compare comes first: most jobs differ in that, and are never asked for the rest.
    """
    rough: dict[object, list[Job]] = {}
    for job in jobs:
        terms = terms_of(snapshot, job)
        worth = admission_worth(job, snapshot.now, policy.objective)
        factor = change_factor(job, snapshot.now, policy.stability, terms)
        asked = (job.per_replica, len(job.steps), job.maximum)
        key = (job.queue_name, job.favour, *asked, job.priority, worth, factor)
        rough.setdefault((key, current_grant(job)), []).append(job)
    found: list[tuple[Job, ...]] = []
    for some in rough.values():
        if len(some) == 1:
            found.append((some[0],))
            continue
        exact: dict[object, list[Job]] = {}
        for job in some:
            exact.setdefault(_signature(snapshot, standing, job), []).append(job)
        found.extend(tuple(sorted(members, key=seniority)) for members in exact.values())
    return found


def _signature(snapshot: Snapshot, standing: Standing, job: Job) -> object:
    """With queue, worth and the factor of a change, what the columns of a job follow from."""
    requests = tuple(sorted(job.requests.items()))
    return (
        *(job.steps, job.resource, job.per_replica, requests, job.flavors, job.nodes, job.curve, job.enough),
        *(terms_of(snapshot, job), standing.likeness(job)),
    )
