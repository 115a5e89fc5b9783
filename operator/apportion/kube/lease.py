"""Leader election by one Lease, with fencing by a monotonic clock.

A leader renews every third of the duration. Whoever was not renewed in time by its own monotonic clock no longer leads,
whether or not it knows of a successor: a process that was stopped finds out before its next patch. Others wait until
they have seen the same lease unchanged for its duration by their own clock; wall clocks are never compared.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apportion.kube.client import Api, Refused
from apportion.kube.kinds import LEASE
from apportion.kube.raw import Raw, at, integer, mapping, text, timestamp


@dataclass
class Election:
    """One candidate. `identity` must be unique among the replicas."""

    api: Api
    namespace: str
    name: str
    identity: str
    duration_seconds: float
    monotonic: Callable[[], float] = time.monotonic
    holder: str = ""
    _renewed_at: float = field(default=float("-inf"), init=False)
    _written: Raw | None = field(default=None, init=False)
    _seen: tuple[object, ...] = field(default=(), init=False)
    _seen_at: float = field(default=float("-inf"), init=False)

    def leads(self) -> bool:
        """May this process patch now? Checked before each batch of patches."""
        return self.monotonic() < self._renewed_at + self.duration_seconds * 0.8

    async def tick(self) -> bool:
        """Try to take or renew the lease; True if this process leads. Raises Refused, Unreachable."""
        started = self.monotonic()
        if self._written is not None and self.leads():
            # While its version is that of our last write nobody else wrote it: it need not be read first.
            written, self._written = self._written, None
            with contextlib.suppress(Refused):
                if await self._write(started, written):
                    return True
        try:
            lease = await self.api.get(LEASE.path(self.namespace, self.name))
        except Refused as refused:
            if refused.code != 404:
                raise
            return await self._write(started, None)
        self.holder = text(lease, "spec", "holderIdentity")
        if self.holder not in ("", self.identity) and not self._expired(lease):
            self._renewed_at = float("-inf")
            return False
        return await self._write(started, lease)

    async def release(self) -> None:
        """Give the lease up at a clean end, so that the next leader need not wait."""
        if not self.leads():
            return
        self._renewed_at = float("-inf")
        lease = await self.api.get(LEASE.path(self.namespace, self.name))
        if text(lease, "spec", "holderIdentity") == self.identity:
            spec = {**mapping(lease, "spec"), "holderIdentity": "", "leaseDurationSeconds": 1}
            await self.api.put(LEASE.path(self.namespace, self.name), {**lease, "spec": spec})

    def _expired(self, lease: Raw) -> bool:
        """Was the lease unchanged for its own duration, as seen by this clock?"""
        seen = (self.holder, at(lease, "metadata", "resourceVersion"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self.monotonic()
        duration = integer(lease, "spec", "leaseDurationSeconds", default=int(self.duration_seconds))
        return self.monotonic() >= self._seen_at + duration

    async def _write(self, started: float, lease: Raw | None) -> bool:
        """Create or update; the resourceVersion makes the loser of a race fail."""
        now = timestamp(self.api.clock.now())
        ours = lease is not None and text(lease, "spec", "holderIdentity") == self.identity
        spec: dict[str, Any] = {
            **mapping(lease, "spec"),
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self.duration_seconds)),
            "renewTime": now,
            "leaseTransitions": integer(lease, "spec", "leaseTransitions") + (0 if ours or lease is None else 1),
        }
        if not ours:
            spec["acquireTime"] = now
        try:
            if lease is None:
                body = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": LEASE.name,
                    "metadata": {"name": self.name, "namespace": self.namespace},
                    "spec": spec,
                }
                self._written = await self.api.create(LEASE.path(self.namespace), body)
            else:
                path = LEASE.path(self.namespace, self.name)
                self._written = await self.api.put(path, {**lease, "spec": spec})
        except Refused as refused:
            if refused.code == 409:
                self._renewed_at = float("-inf")
                return False
            raise
        self.holder = self.identity
        self._renewed_at = started
        return True
