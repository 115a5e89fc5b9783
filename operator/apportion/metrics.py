"""Prometheus metrics of finished decisions. The only room that imports prometheus_client.

No per-job labels: a cluster has thousands of jobs, and series are not free.
"""

import math
from collections import Counter as Tally
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from apportion import __version__
from apportion.assessment.metering import Draw, draws
from apportion.model.caps import Kind
from apportion.model.plan import Decision, Status
from apportion.model.rounds import ShadowResult
from apportion.model.snapshot import Snapshot

PHASES = ("snapshot", "decide", "actuate", "total")
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
WAITING = frozenset({"Pending"})


@dataclass(frozen=True)
class RoundTimes:
    """Seconds that each part of a round took."""

    snapshot: float
    decide: float
    actuate: float

    @property
    def total(self) -> float:
        return self.snapshot + self.decide + self.actuate


class Metrics:
    """All series of one operator process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"apportion_{name}", text, labels, registry=self.registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"apportion_{name}", text, labels, registry=self.registry)

        self.round_duration = Histogram(
            "apportion_round_duration_seconds",
            "How long the parts of a round took.",
            ("phase",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.gap = gauge(
            "solver_gap_ratio", "Certified optimality gap of the last plan: (bound - objective) / objective."
        )
        self.bound = gauge("solver_bound", "Upper bound of the value of any plan, in the objective's unit.")
        self.objective = gauge("solver_objective", "Value of the last plan.")
        self.status = gauge("solver_status", "1 for the status of the last plan.", ("status",))
        self.fallbacks = counter("solver_fallbacks_total", "Plans made by another solver than the first.", ("solver",))
        self.allocated = gauge("accelerators_allocated", "Accelerators granted to jobs.", ("flavor",))
        self.free = gauge("accelerators_free", "Accelerators that no pod holds.", ("flavor",))
        self.price = gauge("shadow_price", "Value of one more accelerator of the flavor; 0: not scarce.", ("flavor",))
        self.queue_price = gauge("queue_shadow_price", "Value of one more accelerator of quota.", ("queue", "flavor"))
        self.jobs = gauge("jobs", "TrainingJobs by phase and reason.", ("phase", "reason"))
        self.resizes = counter("resizes_total", "Grants that changed.", ("kind", "reason"))
        self.restart_seconds = counter(
            "restart_seconds_total", "Declared restart seconds of the jobs that were resized."
        )
        self.queue_usage = gauge("queue_usage", "Accelerators in use by a queue's jobs.", ("queue", "flavor"))
        self.queue_nominal = gauge("queue_nominal_quota", "Nominal quota in accelerators.", ("queue", "flavor"))
        self.budget_used = gauge(
            "budget_used_per_hour", 'What is granted costs so much an hour; queue "": all jobs.', ("queue",)
        )
        self.budget_limit = gauge("budget_limit_per_hour", 'Budget in money per hour; queue "": all jobs.', ("queue",))
        self.budget_price = gauge(
            "budget_shadow_price", 'Value of one more unit of money per hour; queue "": all jobs.', ("queue",)
        )
        self.power_used = gauge("power_used_watts", 'What is granted draws so much; queue "": all jobs.', ("queue",))
        self.power_limit = gauge("power_cap_watts", 'Power cap; queue "": all jobs.', ("queue",))
        self.power_price = gauge(
            "power_shadow_price", 'Value of one more watt of the power cap; queue "": all jobs.', ("queue",)
        )
        self.dominant_share = gauge(
            "queue_dominant_share_ratio",
            "The greatest part of all accelerators of one flavor that a queue's jobs were granted.",
            ("queue",),
        )
        self.jain = gauge(
            "fairness_jain_ratio",
            "Jain index of throughput over that at the minimum, of jobs that run or wait; NaN: nobody has anything.",
        )
        self.queue_share = gauge(
            "queue_share_ratio", "A queue's part of all accelerators that are granted.", ("queue",)
        )
        self.snapshot_age = gauge(
            "snapshot_age_seconds", "For how long neither watches nor LISTs have told what became of the cluster."
        )
        self.unwatched = gauge("unwatched_seconds", "For how long a resource has not been watched.", ("resource",))
        self.leader = gauge("leader", "1 while this process leads.")
        self.failures = counter("round_failures_total", "Rounds that decided nothing.", ("reason",))
        self.last_round = gauge("last_round_timestamp_seconds", "When the last round ended.")
        self.api_errors = counter("api_errors_total", "Requests that the API server refused.", ("verb", "reason"))
        held = ("queue", "flavor", "use")
        self.cost_rate = gauge(
            "cost_per_hour", "Money per hour for accelerators; use: jobs of a queue, others, idle.", held
        )
        self.power = gauge("power_watts", "Power of accelerators; use: jobs of a queue, others, idle.", held)
        self.cost = counter(
            "cost_total", "Money that accelerators cost since the start, while this process leads.", held
        )
        self.energy = counter(
            "energy_joules_total", "Energy that accelerators took since the start, while this process leads.", held
        )
        self._draws: tuple[Draw, ...] = ()
        self._metered_at: float | None = None
        self.oldest_pending = gauge("oldest_pending_seconds", "How long the oldest pending job waits.")
        self.recorded = counter("recorded_rounds_total", "Rounds that were written to the history.")
        self.unrecorded = counter(
            "unrecorded_rounds_total", "Rounds that could not be written to the history.", ("reason",)
        )
        shadow = ("shadow",)
        self.shadow_value = gauge(
            "shadow_value", "What a shadow's plan would be worth by the enforcing objective; NaN: unknown.", shadow
        )
        self.shadow_gap = gauge("shadow_gap_ratio", "Certified gap of a shadow's plan by its own objective.", shadow)
        self.shadow_accelerators = gauge(
            "shadow_accelerators", "Accelerators that a shadow would give to jobs.", ("shadow", "flavor")
        )
        self.shadow_jobs = gauge(
            "shadow_jobs_differing", "Jobs to which a shadow would give something else in the end.", shadow
        )
        self.shadow_restarts = gauge("shadow_restarts", "Running jobs that a shadow would change now.", shadow)
        self.shadow_failures = counter("shadow_failures_total", "Rounds for which a shadow made no plan.", shadow)
        self.shadow_skipped = counter("shadow_skipped_total", "Rounds that came too fast for shadows.")
        build = gauge("build_info", "1, with the version of the operator.", ("version",))
        build.labels(__version__).set(1)

    def observe(self, snapshot: Snapshot, decision: Decision, times: RoundTimes) -> None:
        """Take in one finished round."""
        for phase in PHASES:
            self.round_duration.labels(phase).observe(getattr(times, phase))
        plan = decision.plan
        self.gap.set(plan.gap)
        self.bound.set(plan.bound)
        self.objective.set(plan.objective)
        for status in Status:
            self.status.labels(str(status)).set(1 if plan.status is status else 0)
        self.last_round.set(snapshot.now)
        self._observe_jobs(snapshot, decision)
        self._observe_capacity(snapshot, decision)
        self._observe_sharing(decision)

    def fallback(self, solver: str) -> None:
        self.fallbacks.labels(solver).inc()

    def _observe_jobs(self, snapshot: Snapshot, decision: Decision) -> None:
        self.jobs.clear()
        tally = Tally((outcome.memory.phase, outcome.reason) for outcome in decision.outcomes)
        for (phase, reason), count in tally.items():
            self.jobs.labels(phase, reason).set(count)
        waits = [
            snapshot.now - outcome.memory.queued_since
            for outcome in decision.outcomes
            if outcome.memory.phase in WAITING and outcome.memory.queued_since is not None
        ]
        self.oldest_pending.set(max(waits, default=0.0))
        restart = {job.key: job.restart_seconds for job in snapshot.jobs}
        reasons = {outcome.key: outcome.reason for outcome in decision.outcomes}
        for resize in decision.resizes:
            if resize.wave == 0:
                self.resizes.labels(resize.kind, reasons[resize.key]).inc()
                if resize.current.replicas:
                    self.restart_seconds.inc(restart[resize.key])

    def _observe_capacity(self, snapshot: Snapshot, decision: Decision) -> None:
        granted: Tally[str] = Tally()
        by_queue: Tally[str] = Tally()
        per_replica = {job.key: job.per_replica for job in snapshot.jobs}
        for outcome in decision.outcomes:
            if outcome.granted.replicas:
                granted[outcome.granted.flavor] += outcome.granted.replicas * per_replica[outcome.key]
        for series in (self.allocated, self.free, self.price, self.queue_price, self.queue_usage, self.queue_nominal):
            series.clear()
        # What is not scarce has the price 0; where no plan was made no price is known.
        priced = decision.plan.status is not Status.KEPT
        for capacity in decision.capacity:
            self.allocated.labels(capacity.flavor).set(granted[capacity.flavor])
            self.free.labels(capacity.flavor).set(capacity.free)
            if priced:
                self.price.labels(capacity.flavor).set(0.0)
        for price in decision.plan.prices:
            if price.flavor and not price.queue:
                self.price.labels(price.flavor).set(price.price)
        for use in decision.queue_use:
            self.queue_usage.labels(use.queue, use.flavor).set(use.used)
            self.queue_nominal.labels(use.queue, use.flavor).set(use.nominal)
            if priced:
                self.queue_price.labels(use.queue, use.flavor).set(use.price)
            by_queue[use.queue] += use.used
        whole = sum(granted.values())
        self.queue_share.clear()
        for queue, used in by_queue.items():
            self.queue_share.labels(queue).set(used / whole if whole else 0.0)

    def _observe_sharing(self, decision: Decision) -> None:
        series = {
            Kind.BUDGET: (self.budget_used, self.budget_limit, self.budget_price),
            Kind.POWER: (self.power_used, self.power_limit, self.power_price),
        }
        for gauge in (*series[Kind.BUDGET], *series[Kind.POWER], self.dominant_share):
            gauge.clear()
        for use in decision.cap_use:
            used, limit, price = series[use.kind]
            used.labels(use.queue).set(use.used)
            limit.labels(use.queue).set(use.limit)
            if decision.plan.status is not Status.KEPT:
                price.labels(use.queue).set(use.price)
        for queue, share in decision.fairness.dominant_shares:
            self.dominant_share.labels(queue).set(share)
        self.jain.set(math.nan if decision.fairness.jain is None else decision.fairness.jain)

    def observe_shadows(self, results: tuple[ShadowResult, ...]) -> None:
        """Take in what the shadows of one round would do; a shadow that failed has no series but its failures."""
        self.no_shadows()
        for one in (result.comparison for result in results):
            if one.failure:
                self.shadow_failures.labels(one.name).inc()
                continue
            self.shadow_value.labels(one.name).set(math.nan if one.value is None else one.value)
            self.shadow_gap.labels(one.name).set(one.gap)
            self.shadow_jobs.labels(one.name).set(len(one.differences))
            self.shadow_restarts.labels(one.name).set(one.restarts)
            for flavor, count in one.accelerators:
                self.shadow_accelerators.labels(one.name, flavor).set(count)

    def no_shadows(self) -> None:
        """What was said of them holds no more."""
        for gauge in (
            self.shadow_value, self.shadow_gap, self.shadow_accelerators, self.shadow_jobs, self.shadow_restarts
        ):  # fmt: skip
            gauge.clear()

    def meter(self, at: float, snapshot: Snapshot | None = None) -> None:
        """Count what was held until `at` (seconds of a monotonic clock); from now on it is what the snapshot says."""
        seconds = 0.0 if self._metered_at is None else max(0.0, at - self._metered_at)
        self._metered_at = at
        for draw in self._draws:
            labels = (draw.queue, draw.flavor, draw.use)
            if draw.per_hour is not None:
                self.cost.labels(*labels).inc(draw.per_hour * seconds / 3600)
            if draw.watts is not None:
                self.energy.labels(*labels).inc(draw.watts * seconds)
        if snapshot is not None:
            self._hold(draws(snapshot))

    def rest(self) -> None:
        """Another replica leads, and counts."""
        self._metered_at = None
        self._hold(())

    def _hold(self, held: tuple[Draw, ...]) -> None:
        self._draws = held
        self.cost_rate.clear()
        self.power.clear()
        for draw in held:
            labels = (draw.queue, draw.flavor, draw.use)
            if draw.per_hour is not None:
                self.cost_rate.labels(*labels).set(draw.per_hour)
            if draw.watts is not None:
                self.power.labels(*labels).set(draw.watts)

    def text(self) -> bytes:
        """The exposition, as Prometheus scrapes it."""
        return generate_latest(self.registry)
