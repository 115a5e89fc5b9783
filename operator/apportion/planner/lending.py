"""Lending is of what is unused: nobody gives up what is its queue's own so that another queue may borrow.

The standing ceilings count what is free, and 3 free on each of two nodes are no place for a replica of 4. The program
would make one out of an owner's surplus, which the owner takes back in the next round: the two change places for ever.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from apportion.model.jobs import JobKey
from apportion.model.plan import Grant
from apportion.model.snapshot import Ceiling, Snapshot, Terms
from apportion.planner.queueing import Usage, cohort_members, nominal, usage

Share = tuple[str, str]


@dataclass(frozen=True)
class Lending:
    """`before` is what everybody has; `alone`, once it is known, what they would have if nobody borrowed more than now.

    Who has less in that as well gives nothing to a borrower: its own queue takes it, it has enough, or a node is gone.
    """

    snapshot: Snapshot
    before: Mapping[JobKey, Grant]
    alone: Mapping[JobKey, Grant] | None = None

    def lenders(self, targets: Mapping[JobKey, Grant]) -> frozenset[Share]:
        """Queues, with the flavor, that would use less of their own while others of the cohort borrow more than now."""
        now, after = self._used(self.before), self._used(targets)
        kept, alone = self._kept(targets), self._kept(self.before if self.alone is None else self.alone)
        found: set[Share] = set()
        for members in cohort_members(self.snapshot.queues).values():
            for flavor in self.snapshot.flavors if len(members) > 1 else ():
                own = {(queue.name, flavor.name): nominal(queue, flavor.name) for queue in members}
                if any(after[share] > max(now[share], own[share]) for share in own):
                    found.update(share for share in own if kept[share] < min(now[share], own[share], alone[share]))
        return frozenset(found)

    def closed(self, ceilings: Iterable[Ceiling]) -> tuple[Ceiling, ...]:
        """These ceilings, and nobody borrows more than now."""
        now, queues = self._used(self.before), {queue.name: queue for queue in self.snapshot.queues}
        return tuple(
            replace(one, accelerators=min(one.accelerators, max(
                now[one.queue, one.flavor], nominal(queues[one.queue], one.flavor)
            )))
            for one in ceilings
        )  # fmt: skip

    def keeping(self, lenders: frozenset[Share]) -> dict[JobKey, Terms]:
        """The terms by which running jobs of these queues keep what they have, and would have if nobody borrowed."""
        terms = dict(self.snapshot.terms)
        for job in self.snapshot.jobs:
            have, alone = self.before[job.key], (self.alone or self.before)[job.key]
            if (job.queue_name, have.flavor) in lenders and alone.flavor == have.flavor:
                keeps = min(have.replicas, alone.replicas)
                terms[job.key] = replace(terms[job.key], keeps=max(terms[job.key].keeps, keeps))
        return terms

    def _used(self, grants: Mapping[JobKey, Grant]) -> Usage:
        return usage((job for job in self.snapshot.jobs if self.snapshot.terms[job.key].candidate), grants)

    def _kept(self, targets: Mapping[JobKey, Grant]) -> Usage:
        """What is used, and what is left behind by who has as many replicas on another flavor."""
        kept, moved = self._used(targets), {}
        for key, have in self.before.items():
            target = targets[key]
            if have.replicas and target.flavor != have.flavor and target.replicas >= have.replicas:
                moved[key] = have
        for share, count in self._used(moved).items():
            kept[share] += count
        return kept
