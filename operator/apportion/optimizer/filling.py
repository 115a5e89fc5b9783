"""A plan made step by step, for rules that are no program: what a job has, what it may have next, whether that fits.

Rows (quotas, ceilings, capacity) and nodes are the optimizer's own, so that rules differ in their choices alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Plan
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer.attempts import Attempt
from apportion.optimizer.greedy import Ledger, Steps
from apportion.optimizer.options import promised as promise_of
from apportion.optimizer.repair import Assignment, Repair
from apportion.optimizer.sharing import Shared
from apportion.optimizer.solve import Round
from apportion.optimizer.stages import promised
from apportion.optimizer.value import Rates, terms_of


@dataclass(frozen=True)
class Offer:
    """What a job may have: `accelerators` in all, `value` as the objective has it, `rate` over the job's reference."""

    column: int
    flavor: str
    replicas: int
    accelerators: float
    value: float
    rate: float


class Filling:
    """Starts from what running jobs were promised, and only ever gives more."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        self.snapshot = snapshot
        self._round = Round(snapshot, policy)
        found = self._round.found
        self._problem, x = promised(found, self._round.limits, self._round.solvers, policy.solver.gap)
        self._repair = Repair(snapshot, self._round.ground, self._problem)
        kept = self._repair.assign(x)
        self._assigned, self._placer = self._repair.cut(kept, self._repair.place(kept))
        self._ledger = Ledger(self._problem, self._repair.counts(self._assigned))
        self._taken: list[tuple[JobKey, int]] = []
        self._groups = {job.key: at for at, group in enumerate(found.groups) for job in group.members}
        self._accelerators = Steps(self._problem).accelerators
        self._populated = frozenset(node.flavor for node in snapshot.nodes if node.flavor is not None)
        self._known: dict[int, tuple[Offer, ...]] = {}
        self._offer_of: dict[int, Offer] = {}
        self.jobs: tuple[Job, ...] = tuple(job for group in found.groups for job in group.members)

    def now(self, job: Job) -> Offer | None:
        """What the job has so far; None: nothing."""
        self._all(job)
        return self._offer_of.get(self._assigned[job.key])

    def next(self, job: Job) -> Iterator[Offer]:
        """More of the flavor that it has, or of any if it has nothing: the fewest replicas first, then the best."""
        have = self.now(job)
        for offer in self._all(job):
            if have is None or (offer.flavor == have.flavor and offer.replicas > have.replicas):
                yield offer

    def take(self, job: Job, offer: Offer) -> bool:
        """Give it to the job; False, and nothing changed, where a row or the nodes forbid it."""
        column, have = self._assigned[job.key], self.now(job)
        if not self._ledger.take(offer.column, column):
            return False
        if not self._placer.add(job.key, offer.flavor, offer.replicas - (have.replicas if have else 0)):
            self._ledger.give_back(offer.column, column)
            return False
        self._assigned[job.key] = offer.column
        self._taken.append((job.key, column))
        return True

    def fill(self) -> None:
        """Every step that is left, the most valuable per accelerator first."""
        self._settle()
        self._placer = self._repair.fill(self._assigned, self._placer)

    def plan(self, name: str, certified: bool = True) -> Plan:
        """With the bound that prices prove of the objective: how far a rule is from the best is part of its plan.

        Not certified: without one (infinite), which takes most of the time of a small plan.
        """
        self._settle()
        x = self._repair.counts(self._assigned)
        value = float(self._problem.value @ x)
        best = Shared(x, value, value, np.zeros(len(self._problem.rows)), np.zeros(0, dtype=np.int64))
        assignment = Assignment(self._assigned, x, tuple(sorted(self._placer.unplaced)), resolved=True)
        attempt = Attempt(
            self._problem, best, assignment, len(self._round.limits), moved=0.0, bound=value, whole=self._problem
        )
        bound = self._round.bound(attempt) if certified else math.inf
        self._round.solvers.used = name
        return self._round.plan_of(attempt, bound)

    def _settle(self) -> None:
        """Only at the end: the ledger keeps what a step that is given back had taken."""
        if self._taken:
            self._placer = self._repair.settled(self._assigned, self._taken)
            self._taken.clear()

    def _all(self, job: Job) -> tuple[Offer, ...]:
        group = self._groups[job.key]
        if group not in self._known:
            self._known[group] = tuple(sorted(self._offers(group), key=lambda offer: (offer.replicas, -offer.value)))
            self._offer_of.update((offer.column, offer) for offer in self._known[group])
        return self._known[group]

    def _offers(self, group: int) -> Iterator[Offer]:
        columns, job = self._problem.options.columns, self._problem.options.groups[group].like
        rates = Rates(job, self.snapshot.flavors, self._populated)
        least = promise_of(job, terms_of(self.snapshot, job))
        mine = slice(int(columns.start[group]), int(columns.start[group + 1]))
        each = zip(
            range(mine.start, mine.stop), self._problem.offered[mine].tolist(), columns.flavor[mine].tolist(),
            columns.replicas[mine].tolist(), self._accelerators[mine].tolist(), self._problem.value[mine].tolist(),
            strict=True,
        )  # fmt: skip
        for at, offered, number, replicas, accelerators, value in each:
            if not offered and replicas >= least:
                continue
            flavor = self.snapshot.flavors[number].name
            yield Offer(at, flavor, replicas, accelerators, value, rates.base(replicas) * rates.speed(flavor))
