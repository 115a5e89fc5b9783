"""Sudden losses: a flavor of which much is gone at once is more often a broken watch than a broken machine room."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from apportion.model.eligibility import request_on, waiting_for_nodes
from apportion.model.snapshot import Snapshot

WINDOW_SECONDS = 60.0
MOST_LOST = 0.3
GRACE_SECONDS = 300.0


@dataclass
class Losses:
    """Watches the accelerators of each flavor; after a loss of more than 30 % within a minute there is a grace.

    It ends when all are back and hold again what was granted on them, or after five minutes: nodes return one by one,
    pods that were evicted meanwhile need a moment to find them, and who shrank for either would grow again at once.
    """

    seen: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)
    grace: dict[str, float] = field(default_factory=dict)
    back: dict[str, int] = field(default_factory=dict)
    """With so many accelerators a grace is over."""

    def observe(self, snapshot: Snapshot) -> Mapping[str, float]:
        """The graces that hold now: flavor -> until, in seconds of the epoch."""
        now = snapshot.now
        totals, granted = self._totals(snapshot), self._granted(snapshot)
        for flavor in sorted({*totals, *self.seen, *granted}):
            total = totals.get(flavor, 0)
            history = self.seen.setdefault(flavor, deque())
            if not history:
                history.append((now, max(total, granted.get(flavor, 0))))
            while len(history) > 1 and history[0][0] < now - WINDOW_SECONDS:
                history.popleft()
            most = max(count for _, count in history)
            if total < (1 - MOST_LOST) * most and flavor not in self.grace:
                self.grace[flavor], self.back[flavor] = now + GRACE_SECONDS, most
            history.append((now, total))
            if flavor in self.grace:
                whole = total >= self.back[flavor] and flavor not in self._waiting(snapshot)
                if whole or now >= self.grace[flavor]:
                    del self.grace[flavor]
        return dict(self.grace)

    @staticmethod
    def _waiting(snapshot: Snapshot) -> set[str]:
        """Flavors on which pods of running jobs wait for a node that exists."""
        return {
            job.admission.flavor
            for job in snapshot.jobs
            if job.admission is not None and not waiting_for_nodes(job)
            if any(pod.node is None and not pod.terminating for pod in job.pods)
        }

    @staticmethod
    def _totals(snapshot: Snapshot) -> dict[str, int]:
        flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        totals: dict[str, int] = {}
        for node in snapshot.nodes:
            if node.flavor in flavors and node.placeable:
                totals[node.flavor] = totals.get(node.flavor, 0) + request_on(node.allocatable, flavors[node.flavor])
        return totals

    @staticmethod
    def _granted(snapshot: Snapshot) -> dict[str, int]:
        """What jobs hold by their grants: the yardstick of the first look after a start. What waits for nodes that
        are still to come is not lost."""
        granted: dict[str, int] = {}
        for job in snapshot.jobs:
            if job.admission is not None:
                count = (job.admission.replicas - waiting_for_nodes(job)) * job.per_replica
                granted[job.admission.flavor] = granted.get(job.admission.flavor, 0) + count
        return granted
