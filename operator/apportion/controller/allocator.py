"""The allocator: one task that decides, for all jobs together, whenever something that matters has changed."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from apportion import __version__
from apportion.config import Settings
from apportion.controller.debounce import Debounce
from apportion.controller.events import EventPoster
from apportion.controller.precedence import Precedence
from apportion.controller.shadows import Shadows
from apportion.controller.sight import Sight
from apportion.kube import kinds
from apportion.kube.actuator import Actuator, Done
from apportion.kube.client import Api, Refused, Unreachable
from apportion.kube.cluster import Cluster
from apportion.kube.inventory import Losses
from apportion.kube.kinds import Kind
from apportion.kube.raw import text
from apportion.kube.reports import Reports, transitions
from apportion.metrics import Metrics, RoundTimes
from apportion.model.jobs import Job
from apportion.model.plan import Decision, Plan
from apportion.model.policy import Policy
from apportion.model.rounds import Round
from apportion.model.snapshot import Snapshot
from apportion.planner import decide

log = logging.getLogger("apportion")

LOST_RETRY_SECONDS = 1.0
FAILED_RETRY_SECONDS = 5.0
# A LIST reads all jobs: it pays where at least one of so many is not known.
WORTH_A_LIST = 10


@dataclass
class Allocator:
    """State of the task: what is known, what was decided last, when to look again. What must last is in status."""

    api: Api
    settings: Settings
    metrics: Metrics
    leads: Callable[[], bool]
    monotonic: Callable[[], float] = time.monotonic
    cluster: Cluster = field(default_factory=Cluster)
    losses: Losses = field(default_factory=Losses)
    precedence: Precedence = field(default_factory=Precedence)
    identity: str = ""
    told: Callable[[Round], None] = lambda _: None
    """Gets every round when it is over, with what its shadows would have decided."""
    progressed_at: float = field(default=0.0, init=False)
    _last: tuple[Snapshot, Policy] | None = field(default=None, init=False)
    # Of the last round, by row: where the next solve starts.
    _prices: dict[str, float] = field(default_factory=dict, init=False)
    _again_at: float | None = field(default=None, init=False)
    _told: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self.dirty = Debounce(self.settings.quiet_seconds, self.settings.longest_seconds, self.monotonic)
        self.writer = self.api.writing_while(self.leads)
        self.actuator = Actuator(self.writer, self.cluster, self.leads, self.wrote)
        self.reports = Reports(self.writer, self.cluster)
        self.events = EventPoster(self.writer, self.leads)
        self.sight = Sight(self.settings.watch_namespaces, self.monotonic)
        self.shadows = Shadows(self.metrics, self.told)
        self.progressed_at = self.monotonic()

    def take(self, kind: Kind, raw: Any, deleted: bool = False) -> None:
        """An event of a watch."""
        jobs = self.cluster.entries[kinds.JOB.name]
        before = len(jobs)
        if self.cluster.apply(kind, raw, deleted):
            self.dirty.mark(arrival=len(jobs) > before)

    def wrote(self, kind: Kind, reply: Any) -> None:
        """The reply to a write of ours: known at once, and no reason for another round.

        A watch may tell that an object is gone before its status patch is answered: no reply brings it back.
        """
        place = text(reply, "metadata", "namespace") if kind.namespaced else "", text(reply, "metadata", "name")
        if kind in kinds.CUSTOM and place not in self.cluster.entries[kind.name]:
            return
        self.cluster.apply(kind, reply)

    def current(self) -> Collection[Job]:
        """The jobs of the last round, with their pods: they are as they were, or there would have been another."""
        return self._last[0].jobs if self._last is not None else ()

    def measured(self) -> None:
        """Rates or progress differ from what was known."""
        self.dirty.mark()

    async def audit(self, wanted: Collection[Kind] = kinds.WATCHED) -> None:
        """A full LIST of these kinds: what vanished unseen is found. Raises as the client."""
        for kind in (kind for kind in kinds.WATCHED if kind in wanted):
            started = self.monotonic()
            if await self.cluster.replace_all(kind, self._pages(kind)):
                self.dirty.mark()
            self.sight.listed(kind, started)

    async def rounds(self) -> None:
        """For ever: wait for a change or for time, then one round."""
        while True:
            await self.dirty.settled(self.patience())
            self.progressed_at = self.monotonic()
            if not self.leads() or self.sight.age() > self.settings.stale_seconds:
                await asyncio.sleep(self.settings.quiet_seconds)
                continue
            if self.dirty.ended_burst() and await self._behind():
                self.dirty.mark()
                continue
            await self.round()

    def patience(self) -> float:
        """How long to wait for a change: until time alone matters, and never so long that liveness looks dead."""
        longest = 5.0
        if self._again_at is None:
            return longest
        return min(longest, max(0.0, self._again_at - self.monotonic()))

    async def round(self) -> None:
        """1. Take a snapshot. 2. Decide. 3. Shrink and grow. 4. Report, measure, tell."""
        if self.precedence.delayed:
            await self._catch_up()
        started = self.monotonic()
        self.dirty.taken()
        snapshot = self.cluster.snapshot(self.api.clock.now(), self.losses.grace)
        snapshot = replace(snapshot, grace=self.losses.observe(snapshot))
        policy = self.cluster.policy()
        if not self._is_news(snapshot, policy):
            return
        with self.precedence.held():
            await self._carried_out(snapshot, policy, started)
        whole = self._last is not None and self._last[0] is snapshot
        # A round that failed, or lost some of its writes, has set its own pause.
        if self.precedence.delayed and whole:
            self._look_again(0.0)

    async def _carried_out(self, snapshot: Snapshot, policy: Policy, started: float) -> None:
        """Parts 2 to 4 of a round."""
        frozen = self.monotonic()
        try:
            asked = replace(snapshot, prices=self._prices)
            decision = await asyncio.to_thread(decide, asked, policy)
        except Exception:
            log.exception("the decision failed: everything is kept as it is")
            self.metrics.failures.labels("DecisionFailed").inc()
            self._look_again(FAILED_RETRY_SECONDS)
            return
        decided = self.monotonic()
        before = {entry.value.key: entry.value for entry in self.cluster.entries[kinds.JOB.name].values()}
        done = await self.actuator.carry_out(snapshot, decision)
        await self._report(snapshot, policy, decision)
        times = RoundTimes(frozen - started, decided - frozen, self.monotonic() - decided)
        self.metrics.observe(snapshot, decision, times)
        self.metrics.meter(self.monotonic(), snapshot)
        if decision.plan.method not in policy.solver.methods[:1]:
            self.metrics.fallback(decision.plan.method)
            self._tell_why(decision.plan)
        self._last = (snapshot, policy)
        self._prices = {row.row: row.price for row in decision.plan.row_prices}
        self._look_again(decision.recheck_after)
        self._mend(done)
        self.dirty.took(times.snapshot + times.decide)
        self.events.post(transitions(decision, before), before, snapshot.now)
        self._log(decision, done, times)
        self.shadows.offer(Round(asked, policy, decision, leader=self.identity, written_by=__version__))

    async def _behind(self) -> bool:
        """Whether more TrainingJobs exist than watches have told: then a burst is not over, they only stand in line
        behind other news, or their reader waits for its turn. Where many are missing, one LIST brings them."""
        known = len(self.cluster.entries[kinds.JOB.name])
        try:
            exist = await self.api.count(kinds.JOB, kinds.places(kinds.JOB, self.settings.watch_namespaces))
        except (Refused, Unreachable):
            return False
        if (exist - known) * WORTH_A_LIST > exist:
            await self._catch_up()
        return exist > known

    async def _catch_up(self) -> None:
        """What was applied during a long round stands in line behind the news of the pods that the round started: one
        LIST brings all of it, so that the next round decides for all of them together."""
        try:
            await self.cluster.replace_all(kinds.JOB, self._pages(kinds.JOB))
        except (Refused, Unreachable) as error:
            log.warning("TrainingJobs could not be listed: %s", error)

    def _pages(self, kind: Kind) -> AsyncIterator[list[Any]]:
        return self.api.pages(kind, kinds.places(kind, self.settings.watch_namespaces))

    def _tell_why(self, plan: Plan) -> None:
        """What the solvers before the one that made the plan failed of; the same is not said again each round."""
        if plan.warnings and plan.warnings != self._told:
            log.warning("the plan is that of %s, not of the first solver: %s", plan.method, "; ".join(plan.warnings))
        self._told = plan.warnings

    def _is_news(self, snapshot: Snapshot, policy: Policy) -> bool:
        """Unchanged input is not decided again before time alone could matter."""
        if self._again_at is not None and self.monotonic() >= self._again_at:
            return True
        if self._last is None:
            return True
        old, old_policy = self._last
        return policy != old_policy or replace(old, now=snapshot.now) != snapshot

    def _look_again(self, seconds: float | None) -> None:
        self._again_at = None if seconds is None else self.monotonic() + seconds

    def _mend(self, done: list[Done]) -> None:
        """What a precondition refused is looked at again soon; the objects say by then what really is.

        What is refused for good becomes a reason, and its grant is given back.
        """
        lost = [one for one in done if one.lost]
        for one in lost:
            log.warning("%s: not written: %s", one.outcome.key, one.lost)
            self.metrics.api_errors.labels("patch", one.lost.split(":")[0][:40]).inc()
        if lost:
            self._last = None
            self._look_again(LOST_RETRY_SECONDS)
        refusals = {one.outcome.key: one.refused for one in done if one.refused}
        for key in refusals.keys() - self.cluster.refusals.keys():
            log.warning("%s: the API server refuses its Deployment: %s", key, refusals[key])
        if refusals != self.cluster.refusals:
            self.cluster.refusals = refusals
            self.dirty.mark()

    async def _report(self, snapshot: Snapshot, policy: Policy, decision: Decision) -> None:
        if not self.leads():
            return
        try:
            for kind, reply in await self.reports.write(snapshot, policy, decision):
                self.wrote(kind, reply)
        except (Refused, Unreachable) as error:
            log.warning("status of queues or policy: not written: %s", error)
            self.metrics.api_errors.labels("patch", type(error).__name__).inc()

    def _log(self, decision: Decision, done: list[Done], times: RoundTimes) -> None:
        changed = sum(1 for one in done if one.wrote_workload)
        if changed:
            plan = decision.plan
            log.info(
                "round %d: %d changed, objective %.4g, gap %.2g, %s; snapshot %.3f s, decide %.3f s, write %.3f s",
                decision.round, changed, plan.objective, plan.gap, plan.method,
                times.snapshot, times.decide, times.actuate,
            )  # fmt: skip
