"""What is seen of the cluster, and since when not: by the watches, and by the LISTs that stand in for them.

A watch is as good as its connection: a collection is watched from the moment at which the API server begins to answer a
watch of it until the next request for it is made, or until kopf ends. A connection that died without a word is
found after the `inactivity_timeout` of watches.py, since the API server sends a bookmark every minute.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from apportion.kube.kinds import WATCHED, Kind, places

FOREVER = float("inf")


@dataclass
class Sight:
    """By collection, which is a path of the API. Used in one loop only."""

    namespaces: Collection[str] = ()
    monotonic: Callable[[], float] = time.monotonic
    whole: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Set when everything was watched at the same time, for the first time."""
    _kinds: dict[str, Kind] = field(init=False)
    _lost: dict[str, float] = field(init=False)
    _why: dict[str, str] = field(default_factory=dict, init=False)
    _listing: set[str] = field(default_factory=set, init=False)
    _anew: dict[Kind, float] = field(default_factory=dict, init=False)
    _listed: dict[Kind, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._kinds = {kind.path(place): kind for kind in WATCHED for place in places(kind, self.namespaces)}
        self._lost = dict.fromkeys(self._kinds, self.monotonic())

    # --- what is heard of kopf's connections -------------------------------------------------------------------------

    def asked(self, path: str, watching: bool) -> None:
        """A LIST or a watch was asked for: whatever came before it has ended."""
        if path not in self._kinds:
            return
        self._lost.setdefault(path, self.monotonic())
        if not watching:
            self._listing.add(path)

    def answered(self, path: str, watching: bool, code: int) -> None:
        """With this status, before the first object."""
        if path not in self._kinds:
            return
        if code >= 400:
            self._why[path] = f"status {code}"
        elif watching:
            self._lost.pop(path, None)
            self._why.pop(path, None)
            if not self._lost:
                self.whole.set()
            # What vanished before a LIST of kopf's it does not tell, after a 410 for example: we look ourselves.
            if path in self._listing:
                self._listing.discard(path)
                self._anew[self._kinds[path]] = self.monotonic()

    def failed(self, path: str, error: str) -> None:
        """No answer came."""
        if path in self._kinds:
            self._why[path] = error

    def ended(self) -> None:
        """No watch is left."""
        for path in self._kinds:
            self._lost.setdefault(path, self.monotonic())

    # --- what follows from it ----------------------------------------------------------------------------------------

    def listed(self, kind: Kind, at: float) -> None:
        """All objects of the kind are known as they were then."""
        self._listed[kind] = at
        if at >= self._anew.get(kind, FOREVER):
            del self._anew[kind]

    def anew(self) -> set[Kind]:
        """Kinds that are watched anew since their last LIST: what vanished before is not told by anybody."""
        return set(self._anew)

    def unsure(self) -> set[Kind]:
        """Kinds to be listed: what is not watched, and what is watched anew since its last LIST."""
        return self._anew.keys() | self.unwatched().keys()

    def unwatched(self) -> dict[Kind, float]:
        """Kinds that are not watched, everywhere or somewhere, with the seconds for which that has been so."""
        now = self.monotonic()
        found: dict[Kind, float] = {}
        for path, since in self._lost.items():
            kind = self._kinds[path]
            found[kind] = max(found.get(kind, 0.0), now - since)
        return found

    def why(self, kind: Kind) -> str:
        """What became of the last request for it; "" if nothing is known."""
        return next((why for path, why in self._why.items() if self._kinds[path] == kind), "")

    def age(self) -> float:
        """Seconds for which it is not known what has become of the cluster: neither a watch nor a LIST has told."""
        unwatched, now = self.unwatched(), self.monotonic()
        return max(
            min(unwatched.get(kind, 0.0), now - at) if (at := self._listed.get(kind)) is not None else FOREVER
            for kind in WATCHED
        )
