"""Events about TrainingJobs: after the round, one per transition, rate-limited, never in the way of a decision."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from apportion.kube import kinds
from apportion.kube.client import Api, Refused, Unreachable
from apportion.kube.jobs import JobFacts
from apportion.kube.reports import event
from apportion.model.plan import Outcome

log = logging.getLogger("apportion.events")

PER_SECOND = 20.0
LONGEST_QUEUE = 2000

Said = tuple[Outcome, str, str, str]


class EventPoster:
    """A bounded queue that one task empties at a steady rate; the oldest are dropped first."""

    def __init__(self, api: Api, leads: Callable[[], bool]) -> None:
        self.api = api
        self.leads = leads
        self.waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=LONGEST_QUEUE)
        self.more = asyncio.Event()

    def post(self, said: Iterable[Said], facts: Mapping[Any, JobFacts], now: float) -> None:
        for outcome, type_, reason, message in said:
            known = facts[outcome.key]
            self.waiting.append((known.key.namespace, event(outcome, known, (type_, reason, message), now)))
        if self.waiting:
            self.more.set()

    async def run(self) -> None:
        while True:
            await self.more.wait()
            while self.waiting:
                namespace, body = self.waiting.popleft()
                if self.leads():
                    await self._send(namespace, body)
                await asyncio.sleep(1 / PER_SECOND)
            self.more.clear()

    async def _send(self, namespace: str, body: dict[str, Any]) -> None:
        try:
            await self.api.create(kinds.EVENT.path(namespace), body)
        except (Refused, Unreachable) as error:
            log.warning("an event was not written: %s", error)
