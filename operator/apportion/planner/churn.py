"""The churn budget: how many restart-seconds an hour may be spent on better plans, and who must keep what they have.

What was spent follows from the times of restarts in the jobs' statuses, so it survives the operator. Only changes that
plan for value are held back; what is stronger is counted, and goes on (behaviour.md, "Who may take from whom").
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from apportion.model.eligibility import accepts, current_grant, free_now, request_on
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import NOTHING, Grant
from apportion.model.policy import ChurnBudget
from apportion.model.snapshot import Snapshot, Terms

WINDOW_SECONDS = 3600.0
MOST_REMEMBERED = 60


def remembered(times: Iterable[float], now: float) -> tuple[float, ...]:
    """The restarts that still count once one more came at `now`."""
    return (*(at for at in times if now - WINDOW_SECONDS < at <= now), now)[-MOST_REMEMBERED:]


def cost(job: Job) -> float:
    """Seconds that a restart of the job costs; one that nobody can count costs nothing."""
    return job.restart_seconds if math.isfinite(job.restart_seconds) and job.restart_seconds > 0 else 0.0


@dataclass(frozen=True)
class _Limit:
    """`queue` None: of all jobs. spent: (when it was, what it cost) of the last hour, oldest first."""

    queue: str | None
    seconds: float
    spent: tuple[tuple[float, float], ...]

    @property
    def left(self) -> float:
        return max(0.0, self.seconds - sum(seconds for _, seconds in self.spent))

    def __str__(self) -> str:
        whose = "" if self.queue is None else f" of queue {self.queue}"
        return f"{self.seconds:g} restart-seconds an hour{whose}"


class Churn:
    """The budget at one moment. `snapshot` has the jobs with the queues that they stand in."""

    def __init__(self, snapshot: Snapshot, budget: ChurnBudget) -> None:
        self._now = snapshot.now
        self.limits: list[_Limit] = []
        if budget.seconds is not None:
            self.limits.append(_Limit(None, budget.seconds, self._spent(snapshot.jobs)))
        for queue in snapshot.queues if budget.queues else ():
            seconds = budget.of_queue(queue.name)
            if seconds is not None:
                mine = [job for job in snapshot.jobs if job.queue_name == queue.name]
                self.limits.append(_Limit(queue.name, seconds, self._spent(mine)))

    def _spent(self, jobs: Iterable[Job]) -> tuple[tuple[float, float], ...]:
        return tuple(
            sorted(
                (at, cost(job))
                for job in jobs
                for at in job.memory.restarted_at
                if self._now - WINDOW_SECONDS < at <= self._now
            )
        )

    def of(self, job: Job) -> list[_Limit]:
        return [limit for limit in self.limits if limit.queue in (None, job.queue_name)]

    def spent_for(self, job: Job) -> _Limit | None:
        """The first limit that has no room for a restart of the job."""
        return next((limit for limit in self.of(job) if cost(job) > limit.left), None)

    def affords(self, restarts: Iterable[Job]) -> bool:
        """Is there room for all these restarts together?"""
        restarts = list(restarts)
        return all(
            sum(cost(job) for job in restarts if limit.queue in (None, job.queue_name)) <= limit.left
            for limit in self.limits
        )

    def why(self, job: Job) -> str:
        """Why the job keeps what it has, in words; without figures that change by time alone."""
        limit = self.spent_for(job)
        if limit is None:
            return "the restarts of this round would cost more than the churn budget has left"
        return f"the churn budget ({limit}) has no room left for its restart of {cost(job):g} s"

    def free_at(self, job: Job) -> float | None:
        """When every limit will have room for a restart of the job; None: it has now, or never will."""
        at: float | None = None
        for limit in self.of(job):
            left = limit.seconds - sum(seconds for _, seconds in limit.spent)
            expired = iter(limit.spent)
            while cost(job) > max(0.0, left):
                gone = next(expired, None)
                if gone is None:
                    return None
                left += gone[1]
                at = max(at or 0.0, gone[0] + WINDOW_SECONDS)
        return at


def held_steady(terms: Terms, job: Job, yields: bool) -> Terms:
    """The job keeps what it has, as far as there is room for it; one that yields may lose its surplus."""
    keeps = terms.keeps if yields else max(terms.keeps, current_grant(job).replicas)
    return replace(terms, keeps=keeps, steady=True)


def is_steady(terms: Terms) -> bool:
    return terms.steady and not terms.free_to_change


def fixed(terms: Terms) -> Terms:
    """What the optimizer is told of a steady job once nobody stronger has asked for what it has."""
    return replace(terms, grows=False, moves=False) if is_steady(terms) else replace(terms, steady=False)


def yielding(snapshot: Snapshot, terms: Mapping[JobKey, Terms]) -> frozenset[JobKey]:
    """Running jobs with a surplus that a waiting job of a higher class of their queue needs."""
    waiting = [
        job for job in snapshot.jobs if terms[job.key].candidate and not current_grant(job).replicas and job.steps
    ]
    found: set[JobKey] = set()
    free: dict[str, int] | None = None
    for job in sorted(waiting, key=lambda job: (-job.priority, job.key)):
        for flavor in snapshot.flavors:
            if not accepts(job, flavor) or flavor.name in terms[job.key].barred:
                continue
            lower = [one for one in _surplus(snapshot, terms, job, flavor.name) if one.key not in found]
            if not lower:
                continue
            free = _free(snapshot) if free is None else free
            need = job.minimum_accelerators
            surplus = sum((current_grant(one).replicas - one.minimum) * one.per_replica for one in lower)
            if free.get(flavor.name, 0) < need <= free.get(flavor.name, 0) + surplus:
                found.update(one.key for one in lower)
                break
    return frozenset(found)


def _surplus(snapshot: Snapshot, terms: Mapping[JobKey, Terms], job: Job, flavor: str) -> list[Job]:
    return [
        one
        for one in snapshot.jobs
        if one.queue_name == job.queue_name and one.priority < job.priority and terms[one.key].candidate
        if current_grant(one).flavor == flavor and current_grant(one).replicas > one.minimum
    ]


def _free(snapshot: Snapshot) -> dict[str, int]:
    """Accelerators by flavor that nobody holds now."""
    free = free_now(snapshot)
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    total: dict[str, int] = {}
    for node in snapshot.nodes:
        if node.name in free and node.flavor in flavors:
            total[node.flavor] = total.get(node.flavor, 0) + request_on(free[node.name], flavors[node.flavor])
    return total


@dataclass(frozen=True)
class Changes:
    """What a plan wants: from `before` to `targets`."""

    before: Mapping[JobKey, Grant]
    targets: Mapping[JobKey, Grant]

    def given(self, job: Job, flavor: str) -> int:
        """Accelerators of the flavor that the job would give up; below 0: that it would take."""
        old, new = self.before.get(job.key, NOTHING), self.targets.get(job.key, NOTHING)
        had = old.replicas if old.flavor == flavor else 0
        has = new.replicas if new.flavor == flavor else 0
        return (had - has) * job.per_replica


def beyond(churn: Churn, snapshot: Snapshot, changes: Changes) -> frozenset[JobKey]:
    """Running jobs that must keep what they have, since what the plan changes by value costs more than is left.

    Empty: the plan is within the budget.
    """
    if not churn.limits:
        return frozenset()
    running = [
        job
        for job in snapshot.jobs
        if changes.before[job.key].replicas
        if snapshot.terms[job.key].candidate and not snapshot.terms[job.key].pinned
        if not snapshot.terms[job.key].free_to_change and not snapshot.terms[job.key].steady
    ]
    changed = [job for job in running if changes.before[job.key] != changes.targets[job.key] and cost(job)]
    if churn.affords(changed):
        return frozenset()
    may = _within(churn, snapshot, changes, changed)
    return frozenset(job.key for job in running if job.key not in may and cost(job))


def _within(churn: Churn, snapshot: Snapshot, changes: Changes, changed: list[Job]) -> frozenset[JobKey]:
    """Changes that fit into the budget: who takes room together with those who give it, admissions first."""
    free = _free(snapshot)
    chosen: dict[JobKey, Job] = {}
    takers = [
        (flavor, job)
        for job in snapshot.jobs
        if (flavor := changes.targets[job.key].flavor) and changes.given(job, flavor) < 0
        if not changes.before[job.key].replicas or job in changed
    ]

    def order(taker: tuple[str, Job]) -> tuple[object, ...]:
        flavor, job = taker
        admission = not changes.before[job.key].replicas
        return (not admission, -job.priority, cost(job) / -changes.given(job, flavor), job.key)

    for flavor, job in sorted(takers, key=order):
        need = -changes.given(job, flavor) - free.get(flavor, 0)
        wanted = {} if job not in changed else {job.key: job}
        givers = sorted(
            (one for one in changed if one.key not in chosen and changes.given(one, flavor) > 0),
            key=lambda one: (cost(one) / changes.given(one, flavor), one.key),
        )
        for giver in givers:
            if need <= 0:
                break
            wanted[giver.key] = giver
            need -= changes.given(giver, flavor)
        both = {**chosen, **wanted}
        if need <= 0 and churn.affords(both.values()):
            chosen = both
            free[flavor] = -need
    return frozenset(chosen)
