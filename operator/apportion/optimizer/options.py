"""The columns of the program: for each group of identical jobs its admissible (flavor, replicas) and their worth."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from apportion.model.eligibility import current_grant
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant
from apportion.model.policy import Policy
from apportion.model.queues import Queue
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer.cells import Cells
from apportion.optimizer.staying import survivors
from apportion.optimizer.value import Rates, admission_worth, change_factor, job_weights, terms_of, utility

MOST_OPTIONS = 64

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """Jobs that the program cannot tell apart, oldest first; most groups hold one job.

    keeps: replicas below which a member loses what it was promised (0: nothing is promised). worth is w B.
    """

    members: tuple[Job, ...]
    current: Grant
    keeps: int
    weight: float
    worth: float
    borrows: bool

    @property
    def like(self) -> Job:
        return self.members[0]

    @property
    def size(self) -> int:
        return len(self.members)


@dataclass(frozen=True)
class Columns:
    """All options as arrays of one length; the options of a group lie together, see `start` (length groups + 1).

    taken: replicas that need room on placeable nodes (the others keep theirs on nodes that are not). value: u.
    reduced: which part of its promise a member loses with this option (0: none, and of jobs without a promise).
    """

    group: Ints
    flavor: Ints
    replicas: Ints
    taken: Ints
    value: Floats
    current: Bools
    reduced: Floats
    start: Ints

    def __len__(self) -> int:
        return len(self.group)


@dataclass(frozen=True)
class Options:
    """What the program chooses from. `masks[group][flavor]`: the node classes that its pods may use."""

    groups: tuple[Group, ...]
    columns: Columns
    masks: tuple[dict[int, int], ...]
    warnings: tuple[str, ...] = ()


@dataclass
class _Draft:
    """The columns while they are collected, as plain lists."""

    group: list[int] = field(default_factory=list)
    flavor: list[int] = field(default_factory=list)
    replicas: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    current: list[bool] = field(default_factory=list)
    reduced: list[float] = field(default_factory=list)
    start: list[int] = field(default_factory=lambda: [0])

    def columns(self) -> Columns:
        return Columns(
            np.array(self.group, dtype=np.int64),
            np.array(self.flavor, dtype=np.int64),
            np.array(self.replicas, dtype=np.int64),
            np.array(self.taken, dtype=np.int64),
            np.array(self.value, dtype=np.float64),
            np.array(self.current, dtype=np.bool_),
            np.array(self.reduced, dtype=np.float64),
            np.array(self.start, dtype=np.int64),
        )


@dataclass(frozen=True)
class _Option:
    flavor: int
    replicas: int
    taken: int
    utility: float
    current: bool


def options(snapshot: Snapshot, policy: Policy, cells: Cells, jobs: Sequence[Job]) -> Options:
    """The groups and columns of the jobs that are choices (candidates that are not pinned)."""
    weights, warnings = job_weights(snapshot)
    placeable = {node.name for node in cells.nodes}
    stuck_on = {node.name: node.flavor or "" for node in snapshot.nodes if node.name not in placeable}
    populated = frozenset(node.flavor for node in snapshot.nodes if node.flavor is not None)
    gathered: dict[object, list[Job]] = {}
    for job in jobs:
        gathered.setdefault(_signature(snapshot, policy, job, stuck_on), []).append(job)
    queues = {queue.name: queue for queue in snapshot.queues}
    draft = _Draft()
    groups: list[Group] = []
    masks: list[dict[int, int]] = []
    for members in gathered.values():
        members.sort(key=seniority)
        job = members[0]
        rates = Rates(job, snapshot.flavors, populated)
        if rates.warning:
            warnings.append(rates.warning)
        terms = terms_of(snapshot, job)
        weight = weights[job.queue_name]
        worth = admission_worth(job, snapshot.now, policy.objective)
        group = Group(tuple(members), current_grant(job), promised(job, terms), weight, weight * worth, terms.borrows)
        masks.append(
            {at: cells.mask(job, flavor) for at, flavor in enumerate(snapshot.flavors) if flavor in rates.flavors}
        )
        offers = _Offers(snapshot, policy, group, terms, stuck_on)
        found = [option for at in masks[-1] for option in offers.on(at, masks[-1][at], rates, queues)]
        for option in found:
            value = weight * (worth + option.utility)
            must = group.keeps > 0
            if value <= 0 and not option.current and not must:
                continue
            draft.group.append(len(groups))
            draft.flavor.append(option.flavor)
            draft.replicas.append(option.replicas)
            draft.taken.append(option.taken)
            draft.value.append(value)
            draft.current.append(option.current)
            draft.reduced.append(max(0.0, 1.0 - option.replicas / group.keeps) if must else 0.0)
        draft.start.append(len(draft.group))
        groups.append(group)
    return Options(tuple(groups), draft.columns(), tuple(masks), tuple(warnings))


@dataclass(frozen=True)
class _Offers:
    """The options of one group under its terms."""

    snapshot: Snapshot
    policy: Policy
    group: Group
    terms: Terms
    stuck_on: dict[str, str]

    def on(self, at: int, mask: int, rates: Rates, queues: dict[str, Queue]) -> list[_Option]:
        """The options on the flavor with this index, smallest first, without those that a smaller one beats."""
        flavor, job, current = self.snapshot.flavors[at], self.group.like, self.group.current
        here = current.replicas > 0 and current.flavor == flavor.name
        if flavor.name in self.terms.barred or not (here or self._may_move(flavor)):
            return []
        queue = queues.get(job.queue_name) if job.queue_name is not None else None
        usable = queue is None or queue.quota(flavor.name) is not None
        if not usable and not (here and self.group.keeps > 0):
            return []
        most = current.replicas if not usable or not self.terms.grows else job.maximum
        found: list[_Option] = []
        factor = change_factor(job, self.snapshot.now, self.policy.stability, self.terms)
        exponent = self.policy.objective.exponent
        speed = rates.speed(flavor.name)
        stuck = _Stuck(self.snapshot, job, self.stuck_on, flavor.name) if here else None
        best = -np.inf
        for replicas in thinned(job.steps, current.replicas, MOST_OPTIONS // max(1, len(rates.flavors))):
            taken = replicas - (stuck.among(replicas) if stuck else 0)
            if replicas > most or (taken and not mask):
                continue
            stays = here and replicas == current.replicas
            worth = utility(rates.base(replicas) * speed * (1.0 if stays else factor), exponent)
            # More replicas that yield no more are worth nothing to anybody: falling curves end here.
            if worth > best or stays or replicas <= self.group.keeps:
                found.append(_Option(at, replicas, taken, worth, stays))
                best = max(best, worth)
        return found

    def _may_move(self, flavor: Flavor) -> bool:
        if self.group.current.replicas == 0:
            return True
        return self.terms.moves and self.group.keeps <= self.group.like.minimum


class _Stuck:
    """A job's pods on nodes that take no new ones: how many of them are among the replicas that stay."""

    def __init__(self, snapshot: Snapshot, job: Job, stuck_on: dict[str, str], flavor: str) -> None:
        self._any = any(stuck_on.get(pod.node or "") == flavor and not pod.terminating for pod in job.pods)
        self._on = {node.name for node in snapshot.nodes if node.flavor == flavor} if self._any else set()
        self._job, self._stuck_on, self._flavor = job, stuck_on, flavor

    def among(self, replicas: int) -> int:
        if not self._any:
            return 0
        return sum(
            self._stuck_on.get(pod.node or "") == self._flavor for pod in survivors(self._job, replicas, self._on)
        )


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
    waiting = job.created if job.memory.queued_since is None else job.memory.queued_since
    return (granted, waiting, job.key)


def _signature(snapshot: Snapshot, policy: Policy, job: Job, stuck_on: dict[str, str]) -> object:
    """What the columns of a job follow from; equal for jobs that the program cannot tell apart."""
    terms = terms_of(snapshot, job)
    if any(pod.node in stuck_on for pod in job.pods):
        return job.key
    return (
        job.steps,
        job.resource,
        job.per_replica,
        tuple(sorted(job.requests.items())),
        job.queue_name,
        job.priority,
        job.flavors,
        job.nodes,
        job.curve,
        terms,
        current_grant(job),
        admission_worth(job, snapshot.now, policy.objective),
        change_factor(job, snapshot.now, policy.stability, terms),
    )
