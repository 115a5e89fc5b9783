"""Whether a set of minimums fits: quotas by sums, nodes on paper. The oracle behind every taking."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Allocation, Grant
from apportion.model.snapshot import Snapshot
from apportion.optimizer import place, violations

MOST_QUESTIONS = 200


@dataclass
class Floors:
    """What every job holds at least while room is looked for. Asks at most `MOST_QUESTIONS` times in a round."""

    snapshot: Snapshot
    grants: dict[JobKey, Grant] = field(default_factory=dict)
    asked: int = 0

    def fits(self, changes: Mapping[JobKey, Grant]) -> bool:
        """Would everybody's floor, with these changes, keep all quotas and be placed? False once too much was asked."""
        if self.asked >= MOST_QUESTIONS:
            return False
        self.asked += 1
        grants = {**self.grants, **changes}
        allocations = [Allocation(key, g.flavor or None, g.replicas) for key, g in grants.items() if g.replicas]
        if violations(self.snapshot, allocations):
            return False
        return not place(self.snapshot, allocations).unplaced

    def take(self, changes: Mapping[JobKey, Grant]) -> None:
        self.grants.update(changes)


def at_floor(job: Job, current: Grant, keeps: int) -> Grant:
    return replace(current, replicas=min(keeps, current.replicas)) if current.replicas else current
