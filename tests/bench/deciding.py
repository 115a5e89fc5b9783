"""decide() on synthetic clusters: all jobs waiting, and a running cluster where some arrive."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from apportion.model.jobs import Admission, Job, Pod
from apportion.model.plan import Allocation, Decision
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import place, warm
from apportion.planner import decide
from builders import NOW, job, nodes, queue, quota, snapshot

TEAMS = ("red", "green", "blue", "gold")
NEW = 0.05


@dataclass(frozen=True)
class Case:
    name: str
    jobs: int
    gpus: int
    goal: float


CASES = (Case("40 jobs, 64 GPUs", 40, 64, 0.1), Case("500 jobs, 2,000 GPUs", 500, 2000, 1.0))


def world(case: Case, seed: int) -> Snapshot:
    """Half H100, half A100, eight a node; four teams in a cohort; replicas of 1, 2, 4 or 8 GPUs; two classes."""
    random = Random(seed)
    half = case.gpus // 16
    share = case.gpus // 8
    teams = [queue(name, quota(share), quota(share, "a100"), cohort="lab", weight=random.choice((1.0, 2.0)))
             for name in TEAMS]  # fmt: skip
    jobs = []
    for index in range(case.jobs):
        low = random.choice((1, 1, 2, 4))
        jobs.append(
            job(
                f"j{index:04}",
                low,
                low * random.choice((1, 2, 4, 8)),
                random.choice((1, 1, 1, 2, 4, 8)),
                queue_name=random.choice(TEAMS),
                priority=random.choice((0, 0, 0, 100)),
                created=NOW - random.randrange(100_000),
                restart_seconds=random.choice((30.0, 60.0, 120.0)),
            )
        )
    return snapshot(*jobs, on=(*nodes(half), *nodes(half, flavor="a100")), queues=tuple(teams))


def settled(before: Snapshot, random: Random) -> Snapshot:
    """The plan's pods bound as on paper for an hour, but for the jobs that have only just come."""
    plan = decide(before, Policy()).plan
    fresh = {one.key for one in before.jobs if random.random() < NEW}
    wanted = [one for one in plan.allocations if one.replicas and one.key not in fresh]
    placed = place(before, wanted).placed
    granted = {one.key: one for one in wanted if sum(placed.get(one.key, {}).values()) == one.replicas}
    jobs = [_running(one, granted[one.key], placed[one.key]) if one.key in granted else one for one in before.jobs]
    return replace(before, jobs=tuple(jobs), round=8)


def _running(one: Job, allocation: Allocation, where: dict[str, int]) -> Job:
    since = NOW - 3600
    pods = tuple(
        Pod(f"{one.key.name}-{name}-{at}", f"pod-{one.key.name}-{name}-{at}", name, one.requests, since, ready=True)
        for name, count in where.items()
        for at in range(count)
    )
    admission = Admission(allocation.flavor or "", allocation.replicas, 7, since)
    return replace(one, pods=pods, memory=replace(one.memory, phase="Running", admission=admission))


def rows(runs: int) -> Iterator[tuple[str, ...]]:
    warm()
    decide(world(CASES[0], 0), Policy())
    for case in CASES:
        cold = [world(case, seed) for seed in range(1, runs + 1)]
        yield _row(f"{case.name}, all waiting", case, cold)
        yield _row(f"{case.name}, 95 % settled", case, [settled(one, Random(at)) for at, one in enumerate(cold)])


def _row(name: str, case: Case, worlds: list[Snapshot]) -> tuple[str, ...]:
    seconds: list[float] = []
    decisions: list[Decision] = []
    for one in worlds:
        started = time.perf_counter()
        decisions.append(decide(one, Policy()))
        seconds.append(time.perf_counter() - started)
    plans = [decision.plan for decision in decisions]
    short = sum(plan.status != "Optimal" for plan in plans)
    return (
        name,
        f"{statistics.median(seconds):.3f} s",
        f"{max(seconds):.3f} s",
        f"{case.goal:g} s",
        f"{statistics.median(plan.seconds for plan in plans):.3f} s",
        f"{max(plan.gap for plan in plans):.3%}",
        f"{short} of {len(plans)}",
        ", ".join(sorted({plan.method for plan in plans})),
    )
