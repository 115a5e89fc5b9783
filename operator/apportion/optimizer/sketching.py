"""Whether grants would find their nodes, asked again and again with small changes."""

from collections.abc import Mapping

from apportion.model.jobs import JobKey
from apportion.model.plan import Allocation, Grant
from apportion.model.snapshot import Snapshot
from apportion.optimizer.cells import cells_of
from apportion.optimizer.packing import Placer
from apportion.optimizer.staying import Ground, Stay


class Sketch:
    """Grants of which the placement is asked again and again with small changes."""

    def __init__(self, snapshot: Snapshot, grants: Mapping[JobKey, Grant]) -> None:
        self._ground = Ground(snapshot, cells_of(snapshot))
        self._staying = Placer(self._ground)
        self._stays: dict[JobKey, Stay] = {}
        self._whole: Placer | None = None
        self.take(grants)

    def take(self, changes: Mapping[JobKey, Grant]) -> None:
        """From now on these are among the grants, instead of what the same jobs had."""
        added = self._added(changes)
        self._stays = self._changed(self._staying, self._stays, changes)
        self._whole = added if added is not None and not added.unplaced else None

    def fits(self, changes: Mapping[JobKey, Grant]) -> bool:
        """Would all pods of the grants, with these changes, find a node? Those that find none anyway do not count."""
        added = self._added(changes)
        if added is not None and not added.unplaced:
            return True
        placer = self._staying.branch()
        placer.complete(self._changed(placer, self._stays, changes).values())
        lacking = self._placed().unplaced if placer.unplaced else {}
        return all(count <= lacking.get(key, 0) for key, count in placer.unplaced.items())

    def _placed(self) -> Placer:
        """All grants as they are."""
        if self._whole is None:
            self._whole = self._staying.branch()
            self._whole.complete(self._stays.values())
        return self._whole

    def _added(self, changes: Mapping[JobKey, Grant]) -> Placer | None:
        """The changes on top of all others, which stay where they were put. None where one of them was put before."""
        if any(key in self._stays and self._stays[key].missing for key in changes):
            return None
        placer = self._placed().branch()
        stays = self._changed(placer, self._stays, changes)
        placer.complete(stays[key] for key in changes if key in stays)
        return placer

    def _changed(
        self, placer: Placer, stays: Mapping[JobKey, Stay], changes: Mapping[JobKey, Grant]
    ) -> dict[JobKey, Stay]:
        after = dict(stays)
        for key, grant in changes.items():
            if key in self._ground.pinned:
                continue
            if (known := after.pop(key, None)) is not None:
                placer.free[known.held.rows] += known.held.amounts
            if grant.replicas:
                after[key] = self._ground.stays(Allocation(key, grant.flavor, grant.replicas))
                held = after[key].held
                placer.free[held.rows] -= held.amounts
        return after
