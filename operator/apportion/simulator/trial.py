"""A policy on a trace on a cluster with a seed, and what is compared of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from apportion.model.policy import Mode, Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import solve
from apportion.planner.searching import Solve
from apportion.simulator.arrivals import Arrival
from apportion.simulator.generator import Mix, generated, ground_of
from apportion.simulator.history import Bins
from apportion.simulator.play import Course, Rules, Watch, play
from apportion.simulator.report import Report, tally
from apportion.simulator.scheduling import Scheduler, least_allocated
from apportion.simulator.trace import Row, arrivals


@dataclass(frozen=True)
class Trace:
    """Rows of a file `name`, or what to generate from each seed."""

    name: str
    rows: tuple[Row, ...] = ()
    mix: Mix | None = None

    def jobs(self, cluster: Snapshot, seed: int) -> list[Arrival]:
        """Raises TraceError."""
        rows = self.rows if self.mix is None else generated(self.mix, ground_of(cluster), seed)
        return arrivals(self.name, rows, cluster)


@dataclass(frozen=True)
class Setting:
    """What all policies share. cluster: without jobs, its speeds, prices and watts are true."""

    cluster: Snapshot
    trace: Trace
    course: Course
    watch: Callable[[], Watch] | None = None


@dataclass(frozen=True)
class Contender:
    """A policy with the rule that shares. cluster: as its own catalog describes the flavors."""

    name: str
    cluster: Snapshot
    policy: Policy
    rule: Solve = solve


class Metric(NamedTuple):
    """unit: of the number as it is; scale: what it is divided by to be shown in `shown`."""

    words: str
    unit: str
    of: Callable[[Report], float | None]
    scale: float = 1.0
    shown: str = ""


def _mean_wait(report: Report) -> float:
    return sum(one.queued for one in report.finished) / max(1, len(report.finished))


METRICS: Mapping[str, Metric] = MappingProxyType({
    "jctMean": Metric("mean JCT", "seconds", lambda report: report.mean_seconds, 3600.0, "h"),
    "jctP50": Metric("p50 JCT", "seconds", lambda report: report.percentile(50), 3600.0, "h"),
    "jctP99": Metric("p99 JCT", "seconds", lambda report: report.percentile(99), 3600.0, "h"),
    "queueingMean": Metric("mean time with nothing", "seconds", _mean_wait, 3600.0, "h"),
    "longestWait": Metric(
        "longest wait for a start", "seconds",
        lambda report: max((one.waited for one in report.finished), default=0.0), 3600.0, "h",
    ),
    "deadlinesMet": Metric("deadlines met", "share", lambda report: report.deadlines_met, 0.01, "%"),
    "makespan": Metric("makespan", "seconds", lambda report: report.makespan, 3600.0, "h"),
    "utilisation": Metric("utilisation", "share", lambda report: report.utilisation, 0.01, "%"),
    "lost": Metric("lost of what jobs held", "share", lambda report: report.lost_share, 0.01, "%"),
    "restarts": Metric("restarts a job", "restarts", lambda report: report.restarts_a_job),
    "fairness": Metric("fairness (Jain)", "index", lambda report: report.fairness),
    "cost": Metric("cost, idle included", "money", lambda report: report.cost),
    "costOfJobs": Metric("cost of what jobs held", "money", lambda report: report.cost_of_jobs),
    "energy": Metric("energy", "kWh", lambda report: report.energy, 1.0, "kWh"),
    "finished": Metric("jobs done", "jobs", lambda report: float(len(report.finished))),
    "unfinished": Metric("jobs never done", "jobs", lambda report: float(report.unfinished)),
    "outages": Metric("nodes that failed", "nodes", lambda report: float(report.account.outages)),
})  # fmt: skip


@dataclass(frozen=True)
class Use:
    """Accelerator-hours. idle: with queue "" alone."""

    queue: str
    flavor: str
    used: float = 0.0
    lost: float = 0.0
    idle: float = 0.0


@dataclass(frozen=True)
class Trial:
    """One run. values by the names of METRICS, None where prices, watts or deadlines are missing; seconds: the JCT of
    every job that was done, rising; uses by queue and flavor."""

    policy: str
    seed: int
    values: Mapping[str, float | None]
    seconds: tuple[float, ...]
    uses: tuple[Use, ...]
    history: Bins
    decisions: int


def trial(setting: Setting, contender: Contender, seed: int, told: Callable[[int], None] | None = None) -> Trial:
    """Same arguments, same result, unless a clock cut the solver short; told: how many jobs are done. Raises
    TraceError."""
    watch = setting.watch() if setting.watch is not None else None
    policy = replace(contender.policy, mode=Mode.ENFORCE, shadows=())
    course = replace(setting.course, seed=seed)
    steps = play(
        contender.cluster, setting.trace.jobs(setting.cluster, seed), Rules(policy, contender.rule, watch),
        Scheduler(least_allocated, Random(seed)), course,
    )  # fmt: skip
    report = replace(tally(steps, told), flavors={flavor.name: flavor for flavor in setting.cluster.flavors})
    return Trial(
        policy=contender.name,
        seed=seed,
        values={name: metric.of(report) for name, metric in METRICS.items()},
        seconds=tuple(sorted(one.seconds for one in report.finished)),
        uses=_uses(report),
        history=report.history,
        decisions=report.account.decisions,
    )


def _uses(report: Report) -> tuple[Use, ...]:
    account = report.account
    held = [
        Use(queue, flavor, use.used / 3600, use.lost / 3600) for (queue, flavor), use in sorted(account.uses.items())
    ]
    idle = [Use("", flavor, idle=room.idle / 3600) for flavor, room in sorted(account.rooms.items()) if room.capacity]
    return (*held, *idle)
