"""Running jobs that grow into their queue's nominal quota, and the ceilings of all others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from apportion.model.eligibility import accepts
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant
from apportion.model.queues import Queue
from apportion.model.snapshot import Ceiling
from apportion.planner.ledger import Ledger
from apportion.planner.queueing import nominal


class Growth:
    """`growing`: the jobs for which others are held back, with the replicas that they have."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.growing: dict[JobKey, int] = {}
        self._bounded: set[tuple[str, str]] = set()

    def reclaim(self) -> None:
        """A running job may grow into its queue's nominal quota although others have borrowed that, or want to."""
        for queue in self.ledger.snapshot.queues:
            for flavor in self.ledger.snapshot.flavors:
                left = nominal(queue, flavor.name) - self.ledger.used[queue.name, flavor.name]
                others = [o for o in self.ledger.members[self.ledger.cohort[queue.name]] if o.name != queue.name]
                if left > 0 and any(self._wants_to_borrow(other, flavor) for other in others):
                    self._grow_into(queue, flavor, left, others)

    def _wants_to_borrow(self, queue: Queue, flavor: Flavor) -> bool:
        """Does the queue use more than its own, or would the next step of one of its jobs?"""
        spare = -self.ledger.borrowed(queue, flavor.name)
        if spare < 0:
            return True
        for key, grant in self.ledger.current.items():
            job = self.ledger.jobs[key]
            if job.queue_name != queue.name or not accepts(job, flavor) or grant.flavor not in ("", flavor.name):
                continue
            step = next((step for step in job.steps if step > grant.replicas), None)
            if step is not None and (step - grant.replicas) * job.per_replica > spare:
                return True
        return False

    def _grow_into(self, queue: Queue, flavor: Flavor, left: int, others: Sequence[Queue]) -> None:
        demand = 0
        borrowers = [other for other in others if self.ledger.borrowed(other, flavor.name) > 0]
        surplus = self.ledger.surplus(borrowers, flavor)
        for job in self.ledger.running_in(queue.name, flavor.name):
            have = self.ledger.current[job.key].replicas
            if not self.ledger.terms[job.key].grows:
                continue
            step = max((s for s in job.steps if s > have and (s - have) * job.per_replica <= left), default=have)
            if step > have and self._could_grow(job, flavor, surplus):
                demand += (step - have) * job.per_replica
                left -= (step - have) * job.per_replica
                self.growing[job.key] = have
                self.ledger.terms[job.key] = replace(self.ledger.terms[job.key], free_to_change=True)
        if not demand:
            return
        self.ledger.release(surplus)
        self.ledger.divide(demand, flavor, borrowers)
        for other in others:
            self._bounded.add((other.name, flavor.name))

    def _could_grow(self, job: Job, flavor: Flavor, surplus: Mapping[JobKey, Grant]) -> bool:
        """Is there room for the next step once all others have but what they must, and borrowers their minimums?"""
        following = next(step for step in job.steps if step > self.ledger.current[job.key].replicas)
        return self.ledger.floors.fits({**surplus, job.key: Grant(flavor.name, following)})

    def ceilings(self) -> Iterable[Ceiling]:
        """What each borrower may still use, and that nobody else borrows what is being taken back."""
        for name, flavor in sorted({*self._bounded, *(key for key, cut in self.ledger.reclaimed.items() if cut)}):
            used, own = self.ledger.used[name, flavor], nominal(self.ledger.queues[name], flavor)
            yield Ceiling(name, flavor, max(own, used - self.ledger.reclaimed[name, flavor]))

    def standing(self, more: Mapping[str, int]) -> Iterable[Ceiling]:
        """Nobody borrows what another queue uses of its own nominal quota: it would take it back in the next round.

        more: by flavor, accelerators that are added to what there is."""
        for members in self.ledger.members.values():
            for flavor in self.ledger.snapshot.flavors if len(members) > 1 else ():
                own = {queue.name: nominal(queue, flavor.name) for queue in members}
                used = {queue.name: self.ledger.used[queue.name, flavor.name] for queue in members}
                unoccupied = self.ledger.unoccupied(flavor) + more.get(flavor.name, 0)
                free = max(0, min(sum(own.values()) - sum(used.values()), unoccupied))
                for name in own:
                    others = sum(max(0, used[other] - own[other]) for other in own if other != name)
                    yield Ceiling(name, flavor.name, max(own[name], used[name] + free + others))
