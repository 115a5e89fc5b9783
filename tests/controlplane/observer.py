"""Watches a cluster from outside, beside the operators, and checks what it sees against `invariants`.

Watches of different kinds are told apart from each other in time: what they told is sorted by etcd's revision before it
is judged, so that each object meets the others as they were at that very revision.
"""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import aiohttp

from controlplane.access import Access
from controlplane.history import PRODUCT, Change, Obj, World, grant_of
from controlplane.invariants import LAG_SECONDS, Checker

AGAIN_SECONDS = 0.2
CAUGHT_UP_SECONDS = 60.0
LOOK_SECONDS = 0.05
# One line of a watch is one object.
LONGEST_LINE = 1 << 20
GROUP = "/apis/apportion.dev/v1alpha1"
BROKEN = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


@dataclass(frozen=True)
class Scope:
    """What is watched: the jobs of a namespace, and the nodes with these GPU products."""

    namespace: str
    products: Collection[str]

    def paths(self) -> dict[str, str]:
        space = f"namespaces/{self.namespace}"
        return {
            "TrainingJob": f"{GROUP}/{space}/trainingjobs",
            "Queue": f"{GROUP}/queues",
            "Deployment": f"/apis/apps/v1/{space}/deployments",
            "ReplicaSet": f"/apis/apps/v1/{space}/replicasets",
            "Pod": f"/api/v1/{space}/pods",
            "Node": "/api/v1/nodes",
        }

    def holds(self, kind: str, obj: Obj) -> bool:
        return kind != "Node" or obj["metadata"].get("labels", {}).get(PRODUCT) in self.products


class Expired(Exception):
    """The server has forgotten the revision from which a watch should go on."""


class Observer:
    """Open with `async with`. `judge` and `at_rest` see all that happened before they were called."""

    def __init__(self, access: Access, scope: Scope, lag_seconds: float = LAG_SECONDS) -> None:
        self._access = access
        self._scope = scope
        self.checker = Checker(lag_seconds)
        self.changes = 0
        self._pending: list[Change] = []
        self._seen: dict[str, dict[str, int]] = {kind: {} for kind in scope.paths()}
        self._since = dict.fromkeys(scope.paths(), "")
        self._began = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> "Observer":
        trust = ssl.create_default_context(cafile=str(self._access.authority))
        self._session = aiohttp.ClientSession(
            self._access.url,
            connector=aiohttp.TCPConnector(ssl=trust),
            headers={"Authorization": f"Bearer {self._access.token}"},
            timeout=aiohttp.ClientTimeout(total=None, connect=5),
            read_bufsize=LONGEST_LINE,
        )
        self._tasks = [asyncio.create_task(self._follow(kind, path)) for kind, path in self._scope.paths().items()]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    # --- what a test asks --------------------------------------------------------------------------------------------

    @property
    def world(self) -> World:
        """As last judged."""
        return self.checker.world

    async def judge(self) -> list[str]:
        """All violations so far."""
        await self._catch_up()
        for change in sorted(self._pending, key=lambda change: change.revision):
            self.checker.see(change)
        self.changes += len(self._pending)
        self._pending.clear()
        return [str(violation) for violation in self.checker.violations]

    async def at_rest(self) -> list[str]:
        """What is not as it should be at rest, or was broken before."""
        return [*await self.judge(), *self.checker.at_rest()]

    def sizes(self) -> dict[str, tuple[int, int]]:
        """As last judged, by job: the replicas granted, and those of its Deployment."""
        found = {}
        for name, job in self.world.of("TrainingJob").items():
            deployed = self.world.deployment_of(job)
            found[name] = grant_of(job).replicas, deployed["spec"]["replicas"] if deployed is not None else 0
        return found

    # --- watches -----------------------------------------------------------------------------------------------------

    async def _follow(self, kind: str, path: str) -> None:
        """For ever. After a broken connection the watch goes on where it was; where it cannot, there is a LIST."""
        while True:
            try:
                if not self._since[kind]:
                    self._since[kind] = await self._list(kind, path)
                await self._watch(kind, path)
            except Expired:
                self._since[kind] = ""
            except BROKEN:
                await asyncio.sleep(AGAIN_SECONDS)

    async def _list(self, kind: str, path: str) -> str:
        found, since = await self._get(kind, path)
        for name in self._seen[kind].keys() - found.keys():
            self._note(kind, name, int(since), None, listed=True)
        for name, obj in found.items():
            if self._seen[kind].get(name) != revision_of(obj):
                self._note(kind, name, revision_of(obj), obj, listed=True)
        return since

    async def _get(self, kind: str, path: str) -> tuple[dict[str, Obj], str]:
        async with self._session.get(path, timeout=aiohttp.ClientTimeout(total=20)) as reply:
            reply.raise_for_status()
            body: Any = await reply.json()
        found = {obj["metadata"]["name"]: obj for obj in body["items"] if self._scope.holds(kind, obj)}
        return found, body["metadata"]["resourceVersion"]

    async def _watch(self, kind: str, path: str) -> None:
        """Until it ends. Raises Expired, and what a broken connection raises."""
        query = {"watch": "true", "resourceVersion": self._since[kind], "allowWatchBookmarks": "true"}
        async with self._session.get(path, params=query) as reply:
            if reply.status == 410:
                raise Expired
            reply.raise_for_status()
            while line := await reply.content.readline():
                event = json.loads(line)
                obj = event["object"]
                if event["type"] == "ERROR":
                    raise Expired
                if event["type"] != "BOOKMARK" and self._scope.holds(kind, obj):
                    gone = event["type"] == "DELETED"
                    self._note(kind, obj["metadata"]["name"], revision_of(obj), None if gone else obj)
                self._since[kind] = obj["metadata"]["resourceVersion"]

    def _note(self, kind: str, name: str, revision: int, obj: Obj, listed: bool = False) -> None:
        if obj is None:
            self._seen[kind].pop(name, None)
        else:
            self._seen[kind][name] = revision
        self._pending.append(Change(revision, kind, name, obj, time.monotonic() - self._began, listed))

    async def _catch_up(self) -> None:
        """Wait until the watches have told what a LIST of now says."""
        deadline = time.monotonic() + CAUGHT_UP_SECONDS
        for kind, path in self._scope.paths().items():
            while True:
                with contextlib.suppress(*BROKEN):
                    now = {name: revision_of(obj) for name, obj in (await self._get(kind, path))[0].items()}
                    if self._has_seen(kind, now):
                        break
                assert time.monotonic() < deadline, f"the observer does not catch up with the {kind}s"
                await asyncio.sleep(LOOK_SECONDS)

    def _has_seen(self, kind: str, now: dict[str, int]) -> bool:
        seen = self._seen[kind]
        return seen.keys() <= now.keys() and all(seen.get(name, 0) >= revision for name, revision in now.items())


def revision_of(obj: Obj) -> int:
    return int(obj["metadata"]["resourceVersion"])
