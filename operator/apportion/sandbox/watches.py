"""WATCH: replay from a revision, then what happens, then bookmarks while nothing does."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from apportion.sandbox.kinds import Resource
from apportion.sandbox.selectors import Matcher
from apportion.sandbox.storage import Change, Record, Storage
from apportion.sandbox.trees import Obj, compact

_BACKLOG = 50_000
"""Changes that a reader may be behind before its watch is ended, as the real server ends one that is too slow."""


@dataclass(frozen=True)
class Scope:
    """What a LIST or WATCH looks at."""

    resource: Resource
    namespace: str = ""
    matches: Matcher | None = None

    def admits(self, record: Record) -> bool:
        if self.namespace and record.obj["metadata"].get("namespace") != self.namespace:
            return False
        return self.matches is None or self.matches(record.obj)


def _event(kind: str, body: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"


class Watch:
    """One watch: a queue of lines, fed by the storage. `encode` turns a record into the JSON that the client wants."""

    def __init__(self, storage: Storage, scope: Scope, encode: Callable[[Record], bytes]) -> None:
        self._storage = storage
        self._scope = scope
        self._encode = encode
        self._lines: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self._ended = False
        self._stop_listening = storage.listen(scope.resource.key, self._on_change)

    def replay(self, revision: int | None) -> None:
        """Queue all present objects (None), or what changed since `revision`. Raises 410 Expired."""
        if revision is not None:
            for change in self._storage.since(self._scope.resource.key, revision):
                self._on_change(change)
            return
        records = self._storage.records(self._scope.resource.key, self._scope.namespace)
        for record in sorted(filter(self._scope.admits, records), key=lambda r: r.revision):
            self._push("ADDED", record)

    def _on_change(self, change: Change) -> None:
        now = change.type != "DELETED" and self._scope.admits(change.record)
        before = change.before is not None and self._scope.admits(change.before)
        if now:
            self._push("MODIFIED" if before else "ADDED", change.record)
        elif before:
            # An object that leaves the selection is shown as it was, under the revision at which it left.
            self._push("DELETED", change.record if change.type == "DELETED" else _last_seen(change))

    def _push(self, kind: str, record: Record) -> None:
        if self._ended:
            return
        if len(self._lines) >= _BACKLOG:
            self.end()
            return
        self._lines.append(_event(kind, self._encode(record)))
        self._ready.set()

    def mark(self, bookmark: Obj) -> None:
        """Queue a bookmark behind what is queued."""
        self._lines.append(_event("BOOKMARK", compact(bookmark)))

    def end(self) -> None:
        """Let the stream end after what is queued."""
        self._ended = True
        self._ready.set()

    def close(self) -> None:
        self._stop_listening()

    async def lines(self, bookmark: Callable[[int], Obj] | None, every: float) -> AsyncIterator[bytes]:
        """The event lines, several at once when they have piled up. `bookmark` makes the object of a bookmark."""
        while True:
            if not self._lines and not self._ended:
                try:
                    async with asyncio.timeout(every):
                        await self._ready.wait()
                except TimeoutError:
                    if bookmark:
                        yield _event("BOOKMARK", compact(bookmark(self._storage.revision)))
                    continue
            self._ready.clear()
            if self._lines:
                batch = b"".join(self._lines)
                self._lines.clear()
                yield batch
            if self._ended:
                return


def _last_seen(change: Change) -> Record:
    before = change.before
    assert before is not None
    meta = {**before.obj["metadata"], "resourceVersion": str(change.record.revision)}
    return Record({**before.obj, "metadata": meta}, change.record.revision)


def error_line(status: Obj) -> bytes:
    """An ERROR event, which is how a watch learns that its revision has expired."""
    return _event("ERROR", compact(status))
