"""Whether a set of grants fits: quotas by sums, nodes on paper. The oracle behind every taking."""

from collections import Counter
from collections.abc import Mapping

from apportion.model.caps import Cap
from apportion.model.jobs import JobKey
from apportion.model.plan import NOTHING, Grant
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import Sketch, Use, promised_use, quota_breaches

ROUNDING = 1e-6  # of an amount of money or power
MOST_QUESTIONS = 1000  # about a second of them on a large cluster


_Counted = Counter[tuple[str, str | None, bool]]


class Floors:
    """What jobs hold while room is looked for. The snapshot's terms may change together with `take`, not in between."""

    def __init__(self, snapshot: Snapshot, grants: Mapping[JobKey, Grant]) -> None:
        self.snapshot = snapshot
        self.asked = 0
        self._grants = dict(grants)
        self._jobs = {job.key: job for job in snapshot.jobs}
        self._flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self._sketch = Sketch(snapshot, grants)
        self._used = self._use(self._grants)
        self._promised: dict[str, Use] = {}

    def fits(self, changes: Mapping[JobKey, Grant]) -> bool:
        """Would these changes keep all quotas, and all pods find a node? False once too much was asked of nodes."""
        if not self.allows(changes) or self.asked >= MOST_QUESTIONS:
            return False
        self.asked += 1
        return self._sketch.fits(changes)

    def allows(self, changes: Mapping[JobKey, Grant]) -> bool:
        """Would these changes keep quotas, budgets and power caps? A quick question, always answered."""
        before = {key: self._grants.get(key, NOTHING) for key in changes}
        given, taken = self._use(changes), self._use(before)
        for name in {name for name, _, _ in (*given, *taken)} & self._flavors.keys():
            used, own = Counter[str | None](), Counter[str | None]()
            for (flavor, queue, borrows), count in (self._used + given).items():
                if flavor == name:
                    left = count - taken.get((flavor, queue, borrows), 0)
                    used[queue] += left
                    own[queue] += 0 if borrows else left
            if name not in self._promised:
                self._promised[name] = promised_use(self.snapshot, self._flavors[name])
            if quota_breaches(self.snapshot, self._flavors[name], Use(used, own), self._promised[name]):
                return False
        return all(self._pays(cap, given, taken) for cap in self.snapshot.caps)

    def _pays(self, cap: Cap, given: _Counted, taken: _Counted) -> bool:
        """Where what must run is more than the limit already, nothing that counts can be given to anybody."""
        need = cap.used(_by_queue(given))
        spent = cap.used(_by_queue(self._used)) - cap.used(_by_queue(taken))
        return need <= 0 or spent + need <= cap.limit * (1 + ROUNDING)

    def take(self, changes: Mapping[JobKey, Grant]) -> None:
        self._used.subtract(self._use({key: self._grants.get(key, NOTHING) for key in changes}))
        self._used.update(self._use(changes))
        self._grants.update(changes)
        self._sketch.take(changes)
        self._promised = {}

    def _use(self, grants: Mapping[JobKey, Grant]) -> _Counted:
        """Accelerators by flavor, queue, and whether the jobs may borrow."""
        used = Counter[tuple[str, str | None, bool]]()
        for key, grant in grants.items():
            if grant.replicas:
                job = self._jobs[key]
                borrows = self.snapshot.terms.get(key, Terms()).borrows
                used[grant.flavor, job.queue_name, borrows] += job.per_replica * grant.replicas
        return used


def _by_queue(counted: _Counted) -> Counter[tuple[str | None, str]]:
    found = Counter[tuple[str | None, str]]()
    for (flavor, queue, _), count in counted.items():
        found[queue, flavor] += count
    return found
