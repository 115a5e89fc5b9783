"""Who may take from whom, in the order of behaviour.md, as terms and ceilings for the optimizer."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from apportion.model.eligibility import accepts, current_grant, eligible, request_on, room, speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import NOTHING, Grant
from apportion.model.queues import Queue
from apportion.model.snapshot import Ceiling, Snapshot, Terms
from apportion.planner.floors import Floors
from apportion.planner.queueing import Usage, cohort_members, nominal, proportional, usage


@dataclass(frozen=True)
class Rights:
    """The round's terms.

    `standing` are the ceilings that always hold, `claims` those that make room for `growing`: running jobs for which
    others are held back, with the replicas that they have. `taken` says for each job that may lose its minimum who
    takes it, in words.
    """

    terms: Mapping[JobKey, Terms]
    standing: tuple[Ceiling, ...] = ()
    claims: tuple[Ceiling, ...] = ()
    taken: Mapping[JobKey, str] = field(default_factory=dict)
    growing: Mapping[JobKey, int] = field(default_factory=dict)


def protected(job: Job, terms: Terms, now: float) -> Terms:
    """Nobody loses a minimum to an equal; nothing at all within minRuntime of the last change."""
    current = current_grant(job)
    if not terms.candidate or terms.pinned or current is NOTHING or current.replicas == 0:
        return terms
    keeps = job.minimum
    assert job.admission is not None
    if now < job.admission.since + job.min_runtime_seconds:
        keeps = max(keeps, min(current.replicas, job.maximum))
    return replace(terms, keeps=keeps)


def settle(snapshot: Snapshot, terms: Mapping[JobKey, Terms]) -> Rights:
    """Start from each job's own terms; add what queues and classes may take."""
    protected_terms = {job.key: protected(job, terms[job.key], snapshot.now) for job in snapshot.jobs}
    return _Settlement(snapshot, protected_terms).rights()


class _Settlement:
    """One round's taking. Mutable while it is worked out; `rights()` is its only result."""

    def __init__(self, snapshot: Snapshot, terms: dict[JobKey, Terms]) -> None:
        self.snapshot = snapshot
        self.terms = terms
        self.jobs = {job.key: job for job in snapshot.jobs}
        self.current = {job.key: current_grant(job) for job in snapshot.jobs if terms[job.key].candidate}
        self.queues = {queue.name: queue for queue in snapshot.queues}
        self.members = cohort_members(snapshot.queues)
        self.cohort = {queue.name: name for name, group in self.members.items() for queue in group}
        self.flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self.used = usage(self.jobs.values(), self.current)
        self.taken: dict[JobKey, str] = {}
        self.forced: set[JobKey] = set()
        self.reclaimed: Usage = defaultdict(int)
        self.growing: dict[JobKey, int] = {}
        self.bounded: set[tuple[str, str]] = set()
        here = replace(snapshot, terms=terms)
        self.seniors = self._waiting()
        self.floors = Floors(here, self._floor_grants())
        self.present = Floors(here, {key: grant for key, grant in self.current.items() if grant.replicas})
        self.refused: set[tuple[object, ...]] = set()
        self.wishes: dict[tuple[str, str], list[tuple[int, JobKey]]] = {}
        self.room: dict[str, int] = {}
        self.startable: dict[tuple[object, str], bool] = {}

    def rights(self) -> Rights:
        for job in self.seniors:
            self._make_room(job)
        self._reclaim_for_growth()
        return Rights(self.terms, tuple(self._standing()), tuple(self._ceilings()), self.taken, self.growing)

    def _floor_grants(self) -> dict[JobKey, Grant]:
        floors = {}
        for key, grant in self.current.items():
            terms = self.terms[key]
            if grant.replicas:
                kept = grant.replicas if terms.pinned else min(grant.replicas, terms.keeps)
                floors[key] = Grant(grant.flavor, kept)
        return floors

    def _waiting(self) -> list[Job]:
        """Pending candidates: highest class first, then who has waited longest."""
        waiting = [
            self.jobs[key]
            for key, grant in self.current.items()
            if grant.replicas == 0 and not self.terms[key].pinned and self.jobs[key].queue_name is not None
        ]
        return sorted(waiting, key=lambda job: (-job.priority, job.memory.queued_since or job.created, job.key))

    def _make_room(self, job: Job) -> None:
        for flavor in self._choices(job):
            kind = self._kind(job, flavor)
            if kind in self.refused:
                continue
            borrowers = self._borrowers(job, flavor)
            lower = self._lower_classes(job, flavor)
            if not borrowers and not lower and not self._rivals(job, flavor):
                continue
            mine = {job.key: Grant(flavor.name, job.minimum)}
            surplus = self._surplus(borrowers, flavor)
            if self.present.fits(mine):
                if not self._displaces_senior(job, mine):
                    self._admit(job, flavor, mine)
                return
            if self.floors.fits(mine):
                if borrowers:
                    self._grant(job, flavor, mine, surplus, {}, borrowers)
                return
            if surplus and self.floors.fits({**mine, **surplus}):
                self._grant(job, flavor, mine, surplus, {}, borrowers)
                return
            victims = [*self._borrowed_admissions(borrowers, flavor), *lower]
            chosen = self._fewest(mine, surplus, victims)
            if chosen is not None:
                self._grant(job, flavor, mine, surplus, chosen, borrowers)
                return
            self.refused.add(kind)

    def _kind(self, job: Job, flavor: Flavor) -> tuple[object, ...]:
        """Jobs that ask for the same get the same answer, until something was taken or promised."""
        requests = tuple(sorted(job.requests.items()))
        terms = self.terms[job.key]
        return (flavor.name, job.queue_name, job.priority, job.minimum, job.per_replica, job.nodes, requests, terms)

    def _displaces_senior(self, job: Job, mine: dict[JobKey, Grant]) -> bool:
        """Would a promise to the job shut out a waiting one of a higher class of its queue, which has room now?

        That one would take the room back at once, and the two would change places for ever.
        """
        for senior in self.seniors:
            if senior.priority <= job.priority:
                break
            if senior.queue_name != job.queue_name or senior.key in self.forced:
                continue
            for flavor in self._choices(senior):
                theirs = {senior.key: Grant(flavor.name, senior.minimum)}
                kind = ("senior", *self._kind(senior, flavor))
                if kind in self.refused:
                    continue
                if not self.present.fits(theirs):
                    self.refused.add(kind)
                elif not self.present.fits({**theirs, **mine}):
                    return True
        return False

    def _choices(self, job: Job) -> list[Flavor]:
        """Flavors that the job could start on, fastest first."""
        barred = self.terms[job.key].barred
        able = [
            flavor
            for flavor in self.snapshot.flavors
            if flavor.name not in barred and accepts(job, flavor) and self._has_nodes(job, flavor)
        ]
        return sorted(able, key=lambda flavor: (-speed(job, flavor), flavor.name))

    def _has_nodes(self, job: Job, flavor: Flavor) -> bool:
        if (job.nodes, flavor.name) not in self.startable:
            self.startable[job.nodes, flavor.name] = bool(eligible(job, flavor, self.snapshot.nodes))
        return self.startable[job.nodes, flavor.name]

    def _borrowers(self, job: Job, flavor: Flavor) -> list[Queue]:
        """Queues of the cohort that use more than their own while this job's queue has nominal quota left."""
        assert job.queue_name is not None
        queue = self.queues.get(job.queue_name)
        if queue is None:
            return []
        if not self._within_nominal(job, queue.name, flavor):
            return []
        return [other for other in self.members[self.cohort[queue.name]] if self._borrowed(other, flavor.name) > 0]

    def _rivals(self, job: Job, flavor: Flavor) -> bool:
        """Does a waiting job of another queue want to borrow what this one may have of its own queue's nominal quota?

        Without this an eviction would be for nothing: the evicted borrower and the owner would wait as equals.
        """
        mine = job.queue_name or ""
        if not self._within_nominal(job, mine, flavor):
            return False
        return any(
            self._largest_wish(other.name, flavor) > nominal(other, flavor.name) - self.used[other.name, flavor.name]
            for other in self.members.get(self.cohort.get(mine, ""), ())
            if other.name != mine
        )

    def _largest_wish(self, queue: str, flavor: Flavor) -> int:
        """Accelerators that the largest minimum asks for, of all in the queue who wait and were promised nothing."""
        if (queue, flavor.name) not in self.wishes:
            self.wishes[queue, flavor.name] = sorted(
                (self.jobs[key].minimum * self.jobs[key].per_replica, key)
                for key, grant in self.current.items()
                if grant.replicas == 0 and self.jobs[key].queue_name == queue and accepts(self.jobs[key], flavor)
            )
        wishes = self.wishes[queue, flavor.name]
        while wishes and wishes[-1][1] in self.forced:
            wishes.pop()
        return wishes[-1][0] if wishes else 0

    def _within_nominal(self, job: Job, queue: str, flavor: Flavor) -> bool:
        known = self.queues.get(queue)
        need = job.minimum * job.per_replica
        return known is not None and self.used[queue, flavor.name] + need <= nominal(known, flavor.name)

    def _borrowed(self, queue: Queue, flavor: str) -> int:
        return self.used[queue.name, flavor] - nominal(queue, flavor) - self.reclaimed[queue.name, flavor]

    def _running_in(self, queue: str, flavor: str) -> list[Job]:
        """Jobs that could give something: lowest class first, then the youngest grant."""
        running = [
            self.jobs[key]
            for key, grant in self.current.items()
            if grant.replicas and grant.flavor == flavor and self.jobs[key].queue_name == queue
            if not self.terms[key].pinned and key not in self.taken
        ]
        return sorted(running, key=lambda job: (job.priority, -self._since(job), job.key))

    @staticmethod
    def _since(job: Job) -> float:
        return job.memory.queued_since or job.created

    def _surplus(self, borrowers: Sequence[Queue], flavor: Flavor) -> dict[JobKey, Grant]:
        """Borrowers' jobs at their minimums: a reclaim is stronger than minRuntime."""
        return {
            job.key: Grant(flavor.name, job.minimum)
            for queue in borrowers
            for job in self._running_in(queue.name, flavor.name)
            if self.current[job.key].replicas > job.minimum
        }

    def _lower_classes(self, job: Job, flavor: Flavor) -> list[Job]:
        """Preemptible jobs of a lower class of the same queue, past their minRuntime."""
        assert job.queue_name is not None
        return [
            other
            for other in self._running_in(job.queue_name, flavor.name)
            if other.preemptible and other.priority < job.priority and self._past_min_runtime(other)
        ]

    def _past_min_runtime(self, job: Job) -> bool:
        return job.admission is not None and self.snapshot.now >= job.admission.since + job.min_runtime_seconds

    def _borrowed_admissions(self, borrowers: Sequence[Queue], flavor: Flavor) -> list[Job]:
        """Admissions that stand on borrowed quota, lowest class and youngest first over all borrowers."""
        standing: list[Job] = []
        for queue in borrowers:
            left = self._borrowed(queue, flavor.name)
            for job in self._running_in(queue.name, flavor.name):
                left -= max(0, self.current[job.key].replicas - job.minimum) * job.per_replica
            for job in self._running_in(queue.name, flavor.name):
                if left <= 0:
                    break
                if job.preemptible:
                    standing.append(job)
                    left -= job.minimum * job.per_replica
        return sorted(standing, key=lambda job: (job.priority, -self._since(job), job.key))

    def _fewest(
        self, mine: dict[JobKey, Grant], surplus: dict[JobKey, Grant], victims: Sequence[Job]
    ) -> dict[JobKey, Grant] | None:
        """The shortest run of victims that makes room, less those that turn out not to be needed."""

        def enough(gone: Iterable[JobKey]) -> bool:
            return self.floors.fits({**surplus, **dict.fromkeys(gone, NOTHING), **mine})

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

    def _grant(
        self,
        job: Job,
        flavor: Flavor,
        mine: dict[JobKey, Grant],
        surplus: dict[JobKey, Grant],
        gone: dict[JobKey, Grant],
        borrowers: Sequence[Queue],
    ) -> None:
        self._take({**surplus, **gone})
        for key in surplus:
            self.terms[key] = replace(self.terms[key], keeps=self.jobs[key].minimum, free_to_change=True)
        for key in gone:
            self.terms[key] = replace(self.terms[key], keeps=0, free_to_change=True)
            self.taken[key] = f"{job.key} of queue {job.queue_name} (class {job.priority}) takes its place"
        self._divide(job.minimum * job.per_replica, flavor, borrowers)
        self._admit(job, flavor, mine)

    def _admit(self, job: Job, flavor: Flavor, mine: dict[JobKey, Grant]) -> None:
        """From now on the job's minimum is promised like that of a running one."""
        assert job.queue_name is not None
        self._take(mine)
        self.terms[job.key] = replace(self.terms[job.key], keeps=job.minimum)
        self.forced.add(job.key)
        self.used[job.queue_name, flavor.name] += job.minimum * job.per_replica

    def _take(self, changes: dict[JobKey, Grant]) -> None:
        self.floors.take(changes)
        self.present.take(changes)
        self.refused.clear()

    def _divide(self, amount: int, flavor: Flavor, borrowers: Sequence[Queue]) -> None:
        """What the borrowers must give back of one flavor, in proportion to what each has borrowed.

        What is free, or unused quota of the cohort, is taken first.
        """
        if not borrowers:
            return
        members = self.members[self.cohort[borrowers[0].name]]
        unused = sum(nominal(queue, flavor.name) - self.used[queue.name, flavor.name] for queue in members)
        need = max(0, amount - max(0, min(unused, self._unoccupied(flavor))))
        borrowed = {queue.name: max(0, self._borrowed(queue, flavor.name)) for queue in borrowers}
        for name, cut in proportional(need, borrowed).items():
            self.reclaimed[name, flavor.name] += cut

    def _unoccupied(self, flavor: Flavor) -> int:
        """Accelerators of the flavor that no job has or was promised."""
        if flavor.name not in self.room:
            free = room(self.snapshot)
            here = [free[node.name] for node in self.snapshot.nodes if node.flavor == flavor.name and node.placeable]
            self.room[flavor.name] = sum(request_on(amounts, flavor) for amounts in here)
        return self.room[flavor.name] - sum(count for (_, name), count in self.used.items() if name == flavor.name)

    def _reclaim_for_growth(self) -> None:
        """A running job may grow into its queue's nominal quota although others have borrowed that, or want to."""
        for queue in self.snapshot.queues:
            for flavor in self.snapshot.flavors:
                left = nominal(queue, flavor.name) - self.used[queue.name, flavor.name]
                others = [o for o in self.members[self.cohort[queue.name]] if o.name != queue.name]
                if left > 0 and any(self._wants_to_borrow(other, flavor) for other in others):
                    self._grow_into(queue, flavor, left, others)

    def _wants_to_borrow(self, queue: Queue, flavor: Flavor) -> bool:
        """Does the queue use more than its own, or would the next step of one of its jobs?"""
        spare = -self._borrowed(queue, flavor.name)
        if spare < 0:
            return True
        for key, grant in self.current.items():
            job = self.jobs[key]
            if job.queue_name != queue.name or not accepts(job, flavor) or grant.flavor not in ("", flavor.name):
                continue
            step = next((step for step in job.steps if step > grant.replicas), None)
            if step is not None and (step - grant.replicas) * job.per_replica > spare:
                return True
        return False

    def _grow_into(self, queue: Queue, flavor: Flavor, left: int, others: Sequence[Queue]) -> None:
        demand = 0
        for job in self._running_in(queue.name, flavor.name):
            have = self.current[job.key].replicas
            if not self.terms[job.key].grows:
                continue
            step = max((s for s in job.steps if s > have and (s - have) * job.per_replica <= left), default=have)
            if step > have and self._could_grow(job, flavor):
                demand += (step - have) * job.per_replica
                left -= (step - have) * job.per_replica
                self.growing[job.key] = have
                self.terms[job.key] = replace(self.terms[job.key], free_to_change=True)
        if not demand:
            return
        borrowers = [other for other in others if self._borrowed(other, flavor.name) > 0]
        for key in self._surplus(borrowers, flavor):
            self.terms[key] = replace(self.terms[key], keeps=self.jobs[key].minimum, free_to_change=True)
        self._divide(demand, flavor, borrowers)
        for other in others:
            self.bounded.add((other.name, flavor.name))

    def _could_grow(self, job: Job, flavor: Flavor) -> bool:
        """Is there room for the next step once all others have but what they must?"""
        following = next(step for step in job.steps if step > self.current[job.key].replicas)
        return self.floors.fits({job.key: Grant(flavor.name, following)})

    def _ceilings(self) -> Iterable[Ceiling]:
        """What each borrower may still use, and that nobody else borrows what is being taken back."""
        for name, flavor in sorted({*self.bounded, *(key for key, cut in self.reclaimed.items() if cut)}):
            used, own = self.used[name, flavor], nominal(self.queues[name], flavor)
            yield Ceiling(name, flavor, max(own, used - self.reclaimed[name, flavor]))

    def _standing(self) -> Iterable[Ceiling]:
        """Nobody borrows what another queue uses of its own nominal quota: it would take it back in the next round."""
        for members in self.members.values():
            for flavor in self.snapshot.flavors if len(members) > 1 else ():
                own = {queue.name: nominal(queue, flavor.name) for queue in members}
                used = {queue.name: self.used[queue.name, flavor.name] for queue in members}
                free = max(0, min(sum(own.values()) - sum(used.values()), self._unoccupied(flavor)))
                for name in own:
                    others = sum(max(0, used[other] - own[other]) for other in own if other != name)
                    yield Ceiling(name, flavor.name, max(own[name], used[name] + free + others))
