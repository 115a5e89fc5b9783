"""What a job's next step is worth, what it costs, and the one change that would give it more."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice

from apportion.model.eligibility import accepts, eligible, request_on
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant, Status
from apportion.model.policy import Policy
from apportion.model.resources import times_fitting
from apportion.model.snapshot import Snapshot
from apportion.optimizer import Pricing, Step
from apportion.planner.changes import AddedNodes, CannotChange, Change, JobChange, QuotaChange, applied
from apportion.planner.decide import wanted
from apportion.planner.searching import Wanted
from apportion.planner.whatif import ROUNDING, Interval, difference, rate

MOST_TRIES = 16
MOST_GIVERS = 3

GoOn = Callable[[int, int], bool]
"""Asked before each try: how many were made, and how many there are. Each decides the round again, which takes long in
a large cluster."""


@dataclass(frozen=True)
class Remedy:
    """Changes, mostly one, after which the job gets `grant`. certain: solved again, and the two values differ."""

    changes: tuple[Change, ...]
    grant: Grant
    certain: bool


@dataclass(frozen=True)
class Search:
    """What became of looking for one change: the best that was found, and all that were tried.

    left: how many were not, since there was no time for them.
    """

    remedy: Remedy | None
    tried: tuple[tuple[Change, ...], ...]
    left: int = 0


def next_step(found: Wanted, policy: Policy, key: JobKey) -> Step | None:
    """The next larger size; of a job that waits, its smallest on the flavor where gain less price is largest.

    None where a larger size would gain nothing, and for a job that is not a choice.
    """
    if found.plan.status is Status.KEPT:
        return None
    steps = Pricing(found.solved, policy, found.plan).steps(key)
    return max(steps, key=lambda step: (step.gain - step.price, step.grant.flavor), default=None)


def one_change(
    snapshot: Snapshot, policy: Policy, found: Wanted, key: JobKey, go_on: GoOn = lambda made, all_: True
) -> Search:
    """The first change that certainly gives the job more; else the first that seems to; the likeliest are tried first.

    Last comes a node together with the quota for it: where the quotas are what the nodes have, neither does anything.
    Every change is decided again from `snapshot`. Where the values of the two plans cannot be told apart within the
    policy's gap, both are solved again for a gap of 0; where they cannot be compared, that must be reached.
    """
    question = _Question(snapshot, policy, found, key)
    uncertain: Remedy | None = None
    tries = tuple(_tries(snapshot, found, policy, key))
    for made, changes in enumerate(tries):
        if not go_on(made, len(tries)):
            return Search(uncertain, tries[:made], len(tries) - made)
        remedy = question.answer(changes)
        if remedy is not None and remedy.certain:
            return Search(remedy, tries[: made + 1])
        uncertain = uncertain or remedy
    return Search(uncertain, tries)


class _Question:
    """Would this job have more?"""

    def __init__(self, snapshot: Snapshot, policy: Policy, found: Wanted, key: JobKey) -> None:
        self._snapshot, self._policy, self._found, self._key = snapshot, policy, found, key
        self._exact = replace(policy, solver=replace(policy.solver, gap=0.0))
        self._found_exactly: Wanted | None = None

    def answer(self, changes: tuple[Change, ...]) -> Remedy | None:
        """None where the changes cannot be made or do not give the job more."""
        try:
            changed = reduce(applied, changes, self._snapshot)
        except CannotChange:
            return None
        after = wanted(changed, self._policy)
        if not self._more(changed, self._found, after):
            return None
        roughly = difference(self._policy, self._found, after)
        if roughly.determined or self._cut_short(after, roughly):
            return Remedy(changes, after.targets[self._key], roughly.determined)
        before, exactly = self._exactly(), after
        if self._policy.solver.gap > 0:
            exactly = wanted(changed, self._exact)
            if not (self._more(changed, before, exactly) and self._more(changed, self._found, exactly)):
                return Remedy(changes, after.targets[self._key], certain=False)
        apart = difference(self._exact, before, exactly)
        proved = apart.determined or (not apart.comparable and exactly.plan.status is Status.OPTIMAL)
        return Remedy(changes, exactly.targets[self._key], proved)

    def _cut_short(self, after: Wanted, roughly: Interval) -> bool:
        """Was a plan not found within the policy's gap? Then none is for a gap of 0, which is twice as long in vain."""
        needed = (self._found, after) if roughly.comparable else (after,)
        return any(found.plan.status is not Status.OPTIMAL for found in needed)

    def _exactly(self) -> Wanted:
        """The plan as things are, for a gap of 0; solved once."""
        if self._policy.solver.gap <= 0:
            return self._found
        if self._found_exactly is None:
            self._found_exactly = wanted(self._snapshot, self._exact)
        return self._found_exactly

    def _more(self, changed: Snapshot, before: Wanted, after: Wanted) -> bool:
        job = next(job for job in changed.jobs if job.key == self._key)
        faster = rate(changed, job, after.targets[self._key]) - rate(changed, job, before.targets[self._key])
        return faster > ROUNDING


def _tries(asked: Snapshot, found: Wanted, policy: Policy, key: JobKey) -> Iterator[tuple[Change, ...]]:
    """The likeliest first. What ended, what cannot be decided on, and what is kept as it is gets no more by any."""
    job = next(job for job in found.snapshot.jobs if job.key == key)
    state, terms = found.states[key], found.snapshot.terms[key]
    if state.blocked is not None and state.blocked.reason == "Suspended":
        yield (JobChange(key, (("suspend", False),)),)
    if not terms.candidate or terms.pinned or found.plan.status is Status.KEPT or not job.steps:
        return
    step = next_step(found, policy, key) if found.targets[key].replicas < job.maximum else None
    for change in islice(_candidates(asked, found, job, step), MOST_TRIES):
        yield (change,)
    yield from _together(found, job, step)


def _candidates(asked: Snapshot, found: Wanted, job: Job, step: Step | None) -> Iterator[Change]:
    """What somebody could do about it, the likeliest first: the job's own limits, its queue's quota, nodes, smaller
    jobs beside it; then quota and nodes of the other flavors that it accepts. Limits are changed from those that the
    objects have in `asked`: a round may have others for them."""
    snapshot, target = found.snapshot, found.targets[job.key]
    owners = {job.key: job for job in asked.jobs}
    flavor = _flavor(found, job, step)
    if target.replicas >= job.maximum:
        yield _with_ends(owners[job.key], most=_wider(owners[job.key]))
    elif flavor is not None:
        following = next(step for step in job.steps if step > target.replicas)
        more = (following - (target.replicas if target.flavor == flavor.name else 0)) * job.per_replica
        quotas = list(_quotas(snapshot, job, flavor, [more, 2 * more, 3 * more, 4 * more]))
        nodes = list(_nodes(snapshot, job, flavor, [1, 2]))
        refused = step is not None and any(row.missing and _is_quota(row.row) for row in step.rows)
        yield from (*quotas, *nodes) if refused else (*nodes, *quotas)
        if not target.replicas and job.minimum > 1:
            for fewer in dict.fromkeys((job.minimum // 2, 1)):
                yield _with_ends(owners[job.key], least=fewer)
        yield from _givers(owners, found, job, flavor, more)
    whole = max(target.replicas, job.minimum) * job.per_replica
    for other in snapshot.flavors:
        if other != flavor and accepts(job, other):
            yield from _quotas(snapshot, job, other, [whole, 2 * whole])
            yield from _nodes(snapshot, job, other, [1, 2])


def _together(found: Wanted, job: Job, step: Step | None) -> Iterator[tuple[Change, ...]]:
    """One more node, and as much more quota for the job's queue."""
    flavor = _flavor(found, job, step)
    if flavor is None or found.targets[job.key].replicas >= job.maximum:
        return
    for node in _nodes(found.snapshot, job, flavor, [1]):
        size = next(request_on(n.allocatable, flavor) for n in found.snapshot.nodes if n.name == node.like)
        for quota in _quotas(found.snapshot, job, flavor, [size]):
            yield node, quota


def _is_quota(row: str) -> bool:
    return row.split("/")[0] in ("quota", "cohort", "ceiling", "nominal")


def _wider(job: Job) -> int:
    """Of a job at its maximum: one more, or the next step of a list as it rises."""
    steps = job.steps
    if not job.listed or steps[-1] - steps[0] < len(steps):
        return steps[-1] + 1
    return max(steps[-1] + 1, steps[-1] * steps[-1] // steps[-2])


def _with_ends(job: Job, least: int | None = None, most: int | None = None) -> JobChange:
    """Another minimum or maximum, with the list that goes with it where the object has one."""
    settings: list[tuple[str, int | tuple[int, ...]]] = []
    steps = set(job.steps)
    if least is not None:
        settings.append(("minReplicas", least))
        steps = {least, *(step for step in steps if step > least)}
    if most is not None:
        settings.append(("maxReplicas", most))
        steps = {most, *(step for step in steps if step < most)}
    if job.listed:
        settings.append(("replicaSteps", tuple(sorted(steps))))
    return JobChange(job.key, tuple(settings))


def _flavor(found: Wanted, job: Job, step: Step | None) -> Flavor | None:
    """Where it would grow: on its own flavor, else where the step is, else the first that it accepts."""
    flavors = {flavor.name: flavor for flavor in found.snapshot.flavors}
    name = found.targets[job.key].flavor or (step.grant.flavor if step else "")
    if name:
        return flavors.get(name)
    able = [flavor for flavor in found.snapshot.flavors if accepts(job, flavor)]
    return next((flavor for flavor in able if eligible(job, flavor, found.snapshot.nodes)), next(iter(able), None))


def _quotas(snapshot: Snapshot, job: Job, flavor: Flavor, more: Iterable[int]) -> Iterator[Change]:
    """More of the queue's own: what the job needs, and several times that, as others of the queue want some of it."""
    queue = next((queue for queue in snapshot.queues if queue.name == job.queue_name), None)
    if queue is None:
        return
    quota = queue.quota(flavor.name)
    for amount in more:
        yield QuotaChange(queue.name, "nominalQuota", flavor.name, (quota.nominal if quota else 0) + amount)


def _nodes(snapshot: Snapshot, job: Job, flavor: Flavor, counts: Iterable[int]) -> Iterator[AddedNodes]:
    """More of the node that holds most of its replicas."""
    able = eligible(job, flavor, snapshot.nodes)
    best = min(able, key=lambda node: (-times_fitting(node.allocatable, job.requests), node.name), default=None)
    if best is not None:
        for count in counts:
            yield AddedNodes(count, best.name)


def _givers(owners: Mapping[JobKey, Job], found: Wanted, job: Job, flavor: Flavor, more: int) -> Iterator[Change]:
    """The largest others on the flavor, each smaller by what the step needs, or as small as it may be."""
    others = [
        (grant.replicas * other.per_replica, other)
        for other, grant in ((owners[key], grant) for key, grant in found.targets.items())
        if other.key != job.key
        and grant.flavor == flavor.name
        and grant.replicas > other.minimum > 0
        and not found.snapshot.terms[other.key].pinned
    ]
    for _, other in sorted(others, key=lambda pair: (-pair[0], pair[1].key))[:MOST_GIVERS]:
        left = found.targets[other.key].replicas - -(-more // other.per_replica)
        yield _with_ends(other, most=max((step for step in other.steps if step <= left), default=other.minimum))
