"""Room for those who wait: whose surplus, and then whose minimum, goes for whom (behaviour.md, who may take)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from apportion.model.eligibility import accepts, speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import NOTHING, Grant
from apportion.model.queues import Queue
from apportion.planner.ledger import Ledger
from apportion.planner.queueing import nominal


@dataclass(frozen=True)
class Made:
    """`takers`: waiting jobs for which others must give something. `costless`: those whose promise costs nobody
    anything."""

    takers: frozenset[JobKey]
    costless: frozenset[JobKey]


def make_room(ledger: Ledger, costless: bool = True) -> Made:
    """Go through the waiting jobs in their order; promise a minimum to each that may have one, at the least cost.

    costless: False takes the promises that cost nobody anything off again. Such a promise ties a job's use to a flavor,
    and others may not borrow that there, before it is known what all together come to.
    """
    taking = _Taking(ledger)
    taking.all()
    if not costless:
        taking.withdraw()
    return Made(frozenset(taking.takers), frozenset(claim.job.key for claim in taking.costless))


@dataclass(frozen=True)
class _Claim:
    """A waiting job that asks for its minimum on a flavor; `borrowers` use quota that is its queue's."""

    job: Job
    flavor: Flavor
    borrowers: Sequence[Queue]

    @property
    def accelerators(self) -> int:
        return self.job.minimum_accelerators

    @property
    def mine(self) -> dict[JobKey, Grant]:
        return {self.job.key: Grant(self.flavor.name, self.job.minimum)}


class _Taking:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._seniors = self._waiting()
        self._refused: set[tuple[object, ...]] = set()
        self._wishes: dict[tuple[str, str], list[tuple[int, JobKey]]] = {}
        self.costless: list[_Claim] = []
        self.takers: list[JobKey] = []
        running = (ledger.jobs[key] for key, grant in ledger.current.items() if grant.replicas)
        self._lowest_running = _lowest_by_queue(running)
        self._lowest_to_return = _lowest_by_queue(job for job in self._seniors if job.memory.restarts)

    def all(self) -> None:
        for job in self._seniors:
            self._make_room(job)

    def _make_room(self, job: Job) -> None:
        for flavor in self.ledger.choices(job):
            kind = self._kind(job, flavor)
            if kind in self._refused:
                continue
            borrowers = self._borrowers(job, flavor)
            lower = self._lower_classes(job, flavor)
            if not borrowers and not lower and not self._rivals(job, flavor) and not self._juniors(job, flavor):
                continue
            if self._met(_Claim(job, flavor, borrowers), lower):
                return
            self._refused.add(kind)

    def _met(self, claim: _Claim, lower: Sequence[Job]) -> bool:
        """Promise the minimum if there is, or can be made, room; False: not on this flavor."""
        mine = claim.mine
        surplus = self.ledger.surplus(claim.borrowers, claim.flavor)
        if self.ledger.present.fits(mine):
            if not self._displaces_senior(claim.job, mine):
                self._admit(claim)
                self.costless.append(claim)
            return True
        if not claim.borrowers and self.ledger.floors.fits(mine):
            return True
        fits = self.ledger.makes_room(mine)
        elsewhere = self._elsewhere(claim)
        if any(speed(claim.job, flavor) >= speed(claim.job, claim.flavor) for flavor in elsewhere):
            return False
        if fits:
            self._grant(claim, surplus, {})
            return True
        if surplus and self.ledger.makes_room({**mine, **surplus}):
            self._grant(claim, surplus, {})
            return True
        if elsewhere:
            return False
        victims = [*self._borrowed_admissions(claim.borrowers, claim.flavor), *lower]
        chosen = self._fewest(claim, surplus, victims)
        if chosen is None:
            return False
        self._grant(claim, surplus, chosen)
        return True

    def _elsewhere(self, claim: _Claim) -> list[Flavor]:
        """Where else the job has room within its queue's own quota. Nobody shrinks for it to be on a flavor that is no
        faster, and nobody loses a minimum for it to be on a faster one."""
        job = claim.job
        return [
            flavor
            for flavor in self.ledger.choices(job)
            if flavor != claim.flavor
            and (job.queue_name is None or self.ledger.within_nominal(job, job.queue_name, flavor))
            and self.ledger.present.fits({job.key: Grant(flavor.name, job.minimum)})
        ]

    def _kind(self, job: Job, flavor: Flavor) -> tuple[object, ...]:
        """Jobs that ask for the same get the same answer, until something was taken or promised."""
        requests = tuple(sorted(job.requests.items()))
        terms = self.ledger.terms[job.key]
        asks = (job.minimum, job.per_replica, job.nodes, job.flavors, requests)
        return (flavor.name, job.queue_name, job.priority, asks, terms)

    def _displaces_senior(self, job: Job, mine: dict[JobKey, Grant]) -> bool:
        """Would a promise to the job shut out a waiting one of a higher class of its queue, which has room now?

        That one would take the room back at once, and the two would change places for ever. Not so of one that may not,
        where a job of another queue waits that ran before: it may have been evicted for this one, and would come back.
        """
        own, evicted = job.minimum_accelerators, self._returners(job)
        for senior in self._seniors:
            if senior.priority <= job.priority:
                break
            if senior.queue_name != job.queue_name or senior.key in self.ledger.promised:
                continue
            for flavor in self.ledger.choices(senior):
                used = self._used(job, flavor) + own
                theirs = {senior.key: Grant(flavor.name, senior.minimum)}
                kind = ("senior", *self._kind(senior, flavor))
                if kind in self._refused or (evicted and not self._may_replace(senior, flavor, used, own)):
                    continue
                if not self.ledger.present.fits(theirs):
                    self._refused.add(kind)
                elif not self.ledger.present.fits({**theirs, **mine}):
                    return True
        return False

    def _in_their_place(self, claim: _Claim, gone: Iterable[JobKey]) -> bool:
        jobs, current = self.ledger.jobs, self.ledger.current
        own = (jobs[key] for key in gone if jobs[key].queue_name == claim.job.queue_name)
        theirs = sum(current[one.key].replicas * one.per_replica for one in own)
        return self._may_replace(claim.job, claim.flavor, self._used(claim.job, claim.flavor), theirs)

    def _may_replace(self, job: Job, flavor: Flavor, used: int, gone: int) -> bool:
        """Does the queue, which uses so much, borrow no more once the job has the place of `gone` accelerators of it?

        For more nobody loses a minimum to its own queue. Who borrows is promised nothing once they are gone: others
        might come instead, and the owner take it back from these, again and again.
        """
        queue = self.ledger.queues.get(job.queue_name or "")
        return queue is None or used - gone + job.minimum_accelerators <= max(nominal(queue, flavor.name), used)

    def _used(self, job: Job, flavor: Flavor) -> int:
        return self.ledger.used[job.queue_name, flavor.name] if job.queue_name is not None else 0

    def _borrowers(self, job: Job, flavor: Flavor) -> list[Queue]:
        """Queues of the cohort that use more than their own while this job's queue has nominal quota left."""
        queue = self.ledger.queues.get(job.queue_name or "")
        if queue is None:
            return []
        if not self.ledger.within_nominal(job, queue.name, flavor):
            return []
        return [
            other
            for other in self.ledger.members[self.ledger.cohort[queue.name]]
            if self.ledger.borrowed(other, flavor.name) > 0
        ]

    def _rivals(self, job: Job, flavor: Flavor) -> bool:
        """Does a waiting job of another queue want to borrow what this one may have of its own queue's nominal quota?

        Without this an eviction would be for nothing: the evicted borrower and the owner would wait as equals.
        """
        mine = job.queue_name or ""
        if not self.ledger.within_nominal(job, mine, flavor):
            return False
        return any(
            self._largest_wish(other.name, flavor)
            > nominal(other, flavor.name) - self.ledger.used[other.name, flavor.name]
            for other in self.ledger.members.get(self.ledger.cohort.get(mine, ""), ())
            if other.name != mine
        )

    def _juniors(self, job: Job, flavor: Flavor) -> bool:
        """Does a job of a lower class of the queue wait that ran before? It may have been evicted for this one.

        Without this others of this one's class might be given the place, and the evicted one come back beside them.
        Who would borrow is promised nothing for it: the owner would take that back at once.
        """
        if job.queue_name is not None and not self.ledger.within_nominal(job, job.queue_name, flavor):
            return False
        return job.priority > self._lowest_to_return.get(job.queue_name, job.priority)

    def _returners(self, job: Job) -> bool:
        """Does a job of another queue of the cohort wait that ran before?"""
        cohort = self.ledger.members.get(self.ledger.cohort.get(job.queue_name or "", ""), ())
        return any(other.name in self._lowest_to_return for other in cohort if other.name != job.queue_name)

    def _largest_wish(self, queue: str, flavor: Flavor) -> int:
        """Accelerators that the largest minimum asks for, of all in the queue who wait and were promised nothing."""
        if (queue, flavor.name) not in self._wishes:
            waiting = (job for job in self._seniors if job.queue_name == queue and accepts(job, flavor))
            self._wishes[queue, flavor.name] = sorted((job.minimum_accelerators, job.key) for job in waiting)
        wishes = self._wishes[queue, flavor.name]
        while wishes and self._is_settled(wishes[-1][1]):
            wishes.pop()
        return wishes[-1][0] if wishes else 0

    def _is_settled(self, key: JobKey) -> bool:
        """Promised its minimum, and on the only flavor that there is for it: a promise alone names none."""
        return key in self.ledger.promised and len(self.ledger.choices(self.ledger.jobs[key])) == 1

    def _lower_classes(self, job: Job, flavor: Flavor) -> list[Job]:
        """Preemptible jobs of a lower class of the same queue, past their minRuntime. Without Queues all are in one."""
        if job.priority <= self._lowest_running.get(job.queue_name, job.priority):
            return []
        return [
            other
            for other in self.ledger.running_in(job.queue_name, flavor.name)
            if other.preemptible and other.priority < job.priority and self.ledger.past_min_runtime(other)
        ]

    def _borrowed_admissions(self, borrowers: Sequence[Queue], flavor: Flavor) -> list[Job]:
        """Admissions that stand on borrowed quota, lowest class and youngest first over all borrowers."""
        standing: list[Job] = []
        for queue in borrowers:
            left = self.ledger.borrowed(queue, flavor.name)
            for job in self.ledger.running_in(queue.name, flavor.name):
                left -= max(0, self.ledger.current[job.key].replicas - job.minimum) * job.per_replica
            for job in self.ledger.running_in(queue.name, flavor.name):
                if left <= 0:
                    break
                if job.preemptible:
                    standing.append(job)
                    left -= job.minimum_accelerators
        return sorted(standing, key=lambda job: (job.priority, -job.waiting_since, job.key))

    def _fewest(
        self, claim: _Claim, surplus: dict[JobKey, Grant], victims: Sequence[Job]
    ) -> dict[JobKey, Grant] | None:
        """The shortest run of victims that makes room, less those that turn out not to be needed."""

        def enough(gone: Iterable[JobKey]) -> bool:
            return self._in_their_place(claim, gone) and self.ledger.makes_room(
                {**surplus, **dict.fromkeys(gone, NOTHING), **claim.mine}
            )

        keys = [victim.key for victim in victims]
        if not keys or not enough(keys):
            return None
        least, most = 1, len(keys)
        while least < most:
            middle = (least + most) // 2
            least, most = (least, middle) if enough(keys[:middle]) else (middle + 1, most)
        gone = keys[:most]
        for key in gone[:-1]:
            fewer = [other for other in gone if other != key]
            if enough(fewer):
                gone = fewer
        return dict.fromkeys(gone, NOTHING)

    def _grant(self, claim: _Claim, surplus: dict[JobKey, Grant], gone: dict[JobKey, Grant]) -> None:
        job = claim.job
        self.takers.append(job.key)
        self._take({**surplus, **gone})
        self.ledger.release(surplus)
        for key in gone:
            self.ledger.terms[key] = replace(self.ledger.terms[key], keeps=0, free_to_change=True)
            whose = f" of queue {job.queue_name}" if job.queue_name is not None else ""
            self.ledger.taken[key] = f"{job.key}{whose} (class {job.priority}) takes its place"
        self.ledger.divide(claim.accelerators, claim.flavor, claim.borrowers)
        self._admit(claim)

    def _admit(self, claim: _Claim) -> None:
        """From now on the job's minimum is promised like that of a running one."""
        job, ledger = claim.job, self.ledger
        self._take(claim.mine)
        ledger.terms[job.key] = replace(ledger.terms[job.key], keeps=job.minimum)
        ledger.promised.add(job.key)
        if job.queue_name is not None:
            ledger.used[job.queue_name, claim.flavor.name] += claim.accelerators

    def withdraw(self) -> None:
        """Take the promises off that cost nobody anything."""
        ledger = self.ledger
        for claim in self.costless:
            job = claim.job
            self._take({job.key: NOTHING})
            ledger.terms[job.key] = replace(ledger.terms[job.key], keeps=0)
            if job.queue_name is not None:
                ledger.used[job.queue_name, claim.flavor.name] -= claim.accelerators

    def _waiting(self) -> list[Job]:
        """Pending candidates: highest class first, then who has waited longest."""
        ledger = self.ledger
        waiting = [
            ledger.jobs[key]
            for key, grant in ledger.current.items()
            if grant.replicas == 0 and not ledger.terms[key].pinned
        ]
        return sorted(waiting, key=lambda job: (-job.priority, job.waiting_since, job.key))

    def _take(self, changes: dict[JobKey, Grant]) -> None:
        self.ledger.take(changes)
        self._refused.clear()


def _lowest_by_queue(jobs: Iterable[Job]) -> dict[str | None, int]:
    """The lowest class of these jobs, by queue."""
    lowest: dict[str | None, int] = {}
    for job in jobs:
        lowest[job.queue_name] = min(job.priority, lowest.get(job.queue_name, job.priority))
    return lowest
