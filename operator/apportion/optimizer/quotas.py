"""Rows of quota: nominal shares, borrowing and lending in cohorts, ceilings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from apportion.model.eligibility import current_grant
from apportion.model.flavors import Flavor
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Snapshot
from apportion.optimizer.options import Floats, Ints, Options, promised
from apportion.optimizer.rows import Draft, Priced
from apportion.optimizer.value import terms_of


@dataclass(frozen=True)
class Share:
    """A queue's right to one flavor in this round, in accelerators.

    nominal, most (with what it may borrow) and least (what it does not lend) are raised to what must keep running;
    fixed is what pinned jobs hold of it.
    """

    queue: Queue
    flavor: str
    nominal: float
    least: float
    most: float
    must: float
    fixed: float


class Kept:
    """By (queue, flavor): accelerators that must keep running, and `fixed`, those of them that pinned jobs hold."""

    def __init__(self, snapshot: Snapshot, strict_only: bool = False) -> None:
        self.must: dict[tuple[str | None, str], float] = {}
        self.fixed: dict[tuple[str | None, str], float] = {}
        for job in snapshot.jobs:
            grant, terms = current_grant(job), terms_of(snapshot, job)
            if not terms.candidate or (strict_only and terms.borrows):
                continue
            key = (job.queue_name, grant.flavor)
            kept = grant.replicas if terms.pinned else promised(job, terms) if grant.replicas else 0
            self.must[key] = self.must.get(key, 0.0) + kept * job.per_replica
            if terms.pinned:
                self.fixed[key] = self.fixed.get(key, 0.0) + kept * job.per_replica

    def of(self, queue: str, flavor: str) -> tuple[float, float]:
        return self.must.get((queue, flavor), 0.0), self.fixed.get((queue, flavor), 0.0)


def quotas(draft: Draft, snapshot: Snapshot, options: Options) -> None:
    """Rows (3) of optimizer.md: what queues may use, borrow and lend, ceilings, and jobs that may not borrow."""
    use = _Use(snapshot, options)
    strict_names = {group.like.queue_name for group in options.groups if not group.borrows}
    ceilings = {(ceiling.queue, ceiling.flavor): ceiling.accelerators for ceiling in snapshot.ceilings}
    kept, strict_must = Kept(snapshot), Kept(snapshot, strict_only=True)
    for at, flavor in enumerate(snapshot.flavors):
        shares = list(_shares(snapshot, flavor, kept))
        for cohort in _cohorts(shares):
            mine = {share.queue.name: use.columns(share.queue.name, at) for share in cohort}
            _cohort_rows(draft, cohort, mine, use.amount)
        for share in shares:
            name, here = share.queue.name, use.columns(share.queue.name, at)
            ceiling = ceilings.get((name, flavor.name))
            if ceiling is not None and len(here):
                right = max(float(ceiling), share.must) - share.fixed
                whose = [Priced(flavor.name, name, 1.0)]
                draft.add(f"ceiling/{name}/{flavor.name}", here, use.amount[here], right, whose)
            if name in strict_names:
                chosen = here[use.strict[here]]
                must, fixed = strict_must.of(name, flavor.name)
                if len(chosen):
                    right = max(_nominal(share.queue, flavor.name), must) - fixed
                    draft.add(f"nominal/{name}/{flavor.name}", chosen, use.amount[chosen], right)


class _Use:
    """By column: accelerators (`amount`), and whether it is of a job that may not borrow (`strict`)."""

    def __init__(self, snapshot: Snapshot, options: Options) -> None:
        columns, groups = options.columns, options.groups
        each = np.array([group.like.per_replica for group in groups], dtype=np.float64)
        self.amount: Floats = columns.replicas * each[columns.group]
        self.strict = np.array([not group.borrows for group in groups], dtype=np.bool_)[columns.group]
        self._flavors = len(snapshot.flavors)
        self._queue = {queue.name: at for at, queue in enumerate(snapshot.queues)}
        none = len(self._queue)
        queue = np.array([self._queue.get(group.like.queue_name or "", none) for group in groups], dtype=np.int64)
        place = queue[columns.group] * self._flavors + columns.flavor
        self._order = np.argsort(place, kind="stable")
        self._start = np.searchsorted(place[self._order], np.arange(none * self._flavors + 1))

    def columns(self, queue: str, flavor: int) -> Ints:
        """Those of the queue's jobs on the flavor with this number."""
        place = self._queue[queue] * self._flavors + flavor
        return self._order[self._start[place] : self._start[place + 1]]


def _nominal(queue: Queue, flavor: str) -> float:
    quota = queue.quota(flavor)
    return float(max(0, quota.nominal)) if quota is not None else 0.0


def _shares(snapshot: Snapshot, flavor: Flavor, kept: Kept) -> Iterator[Share]:
    """Queues in order; one that does not list the flavor has a share of 0, raised to what it must keep."""
    cohorts: dict[str, float] = {}
    for queue in snapshot.queues:
        if queue.cohort:
            cohorts[queue.cohort] = cohorts.get(queue.cohort, 0.0) + _nominal(queue, flavor.name)
    for queue in snapshot.queues:
        quota = queue.quota(flavor.name) or Quota(flavor.name, 0, 0, 0)
        nominal = float(max(0, quota.nominal))
        total = cohorts.get(queue.cohort, nominal) if queue.cohort else nominal
        borrow = total - nominal if quota.borrowing_limit is None else float(max(0, quota.borrowing_limit))
        lend = nominal if quota.lending_limit is None else float(max(0, quota.lending_limit))
        must, fixed = kept.of(queue.name, flavor.name)
        most = max(min(nominal + borrow, total), must)
        yield Share(queue, flavor.name, nominal, max(0.0, nominal - lend), most, must, fixed)


def _cohorts(shares: Sequence[Share]) -> list[list[Share]]:
    """Queues of one cohort together; a queue without a cohort is alone."""
    found: dict[tuple[str, str], list[Share]] = {}
    for share in shares:
        key = ("cohort", share.queue.cohort) if share.queue.cohort else ("queue", share.queue.name)
        found.setdefault(key, []).append(share)
    return list(found.values())


def _cohort_rows(draft: Draft, cohort: list[Share], mine: dict[str, Ints], amount: Floats) -> None:
    """usage_t <= y_t within its box, sum y_t <= sum nominal_t; y_t is left out where no lending limit holds it up."""
    total = max(sum(share.nominal for share in cohort), sum(max(share.least, share.must) for share in cohort))
    held_back = any(share.least > 0 for share in cohort) and len(cohort) > 1
    active = [share for share in cohort if len(mine[share.queue.name])]
    idle = sum(max(share.least, share.must) if held_back else share.must for share in cohort if share not in active)
    flavor = cohort[0].flavor
    if not active:
        return
    whose = [Priced(flavor, share.queue.name, 1.0) for share in active]
    if not held_back:
        for share, priced in zip(active, whose, strict=True):
            chosen = mine[share.queue.name]
            right = min(share.most, total) - share.fixed
            draft.add(f"quota/{share.queue.name}/{flavor}", chosen, amount[chosen], right, [priced])
        if len(cohort) > 1:
            chosen = np.concatenate([mine[share.queue.name] for share in active])
            right = total - idle - sum(share.fixed for share in active)
            draft.add(f"cohort/{cohort[0].queue.cohort}/{flavor}", chosen, amount[chosen], right, whose)
        return
    none = np.zeros(0, dtype=np.int64)
    shared = draft.add(f"cohort/{cohort[0].queue.cohort}/{flavor}", none, np.zeros(0), total - idle)
    for share, priced in zip(active, whose, strict=True):
        chosen = mine[share.queue.name]
        at = draft.add(f"quota/{share.queue.name}/{flavor}", chosen, amount[chosen], -share.fixed, [priced])
        lower = max(share.least, share.fixed)
        draft.room(lower, max(share.most, lower), [(at, -1.0), (shared, 1.0)])
