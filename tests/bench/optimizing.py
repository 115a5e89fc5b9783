"""solve() alone on generated clusters of up to 100,000 accelerators, beside the full program given to a solver."""

import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.optimize  # noqa: F401  (half a second that the first solve would pay)

from apportion.model.plan import Plan, Status
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import solve, warm
from apportion.optimizer.process import WORKER
from apportion.optimizer.program import Limits, restrict
from apportion.optimizer.solve import Round
from apportion.optimizer.stages import staged
from bench.instances import SIZES, Size, instance, next_round

FULL_SECONDS = 60.0
FULL_UP_TO = 2_048
GAP = Policy().solver.gap


@dataclass(frozen=True)
class Run:
    """One cluster, solved knowing nothing, and a minute after that was carried out; seconds, and the plans of both."""

    cold: float
    warm: float
    plans: tuple[Plan, Plan]
    full: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    size: Size
    running: bool
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        kind = "30-95 % run, ragged" if self.running else "nothing runs"
        return f"{self.size.accelerators:,} / {self.size.jobs:,}, {kind}"


def cases(seeds: int, largest: int) -> Iterator[Case]:
    warm()
    solve(instance(SIZES[0], 10_000, running=True), Policy())
    for size in SIZES:
        if size.accelerators <= largest:
            for running in (False, True):
                yield Case(size, running, tuple(_run(size, seed, running) for seed in range(seeds)))


def _run(size: Size, seed: int, running: bool) -> Run:
    snapshot = instance(size, seed, running)
    gc.collect()
    cold, plan = _timed(snapshot)
    again, following = _timed(next_round(snapshot, plan, seed))
    full = tuple(_full(snapshot, method) for method in ("highs", "cbc")) if size.accelerators <= FULL_UP_TO else ()
    return Run(cold, again, (plan, following), full)


def _timed(snapshot: Snapshot) -> tuple[float, Plan]:
    started = time.perf_counter()
    plan = solve(snapshot, Policy())
    return time.perf_counter() - started, plan


def _full(snapshot: Snapshot, method: str) -> str:
    """Seconds that the solver takes for all columns at once, to the same gap; "-": nothing within the limit."""
    round_ = Round(snapshot, Policy())
    problem, _ = staged(round_.found, round_.limits, round_.solvers, GAP)
    every = np.flatnonzero(problem.offered)
    size = problem.size[problem.options.columns.group].astype(np.float64)
    program = restrict(problem, None, every, problem.value, size).program
    started = time.perf_counter()
    answer = WORKER.solve(program, Limits(method, True, GAP, FULL_SECONDS), FULL_SECONDS * 1.1)
    seconds = time.perf_counter() - started
    return f"{seconds:.2f}" if answer.values is not None and seconds < FULL_SECONDS else "-"


def rows(found: Sequence[Case]) -> Iterator[tuple[str, ...]]:
    for case in found:
        runs, plans = case.runs, [plan for run in case.runs for plan in run.plans]
        yield (
            case.name,
            *_spread([run.cold for run in runs], case.size.cold),
            *_spread([run.warm for run in runs], case.size.warm),
            f"{max(plan.gap_staying for plan in plans):.3%}",
            f"{max(plan.gap for plan in plans):.2%}",
            str(sum(plan.status is not Status.OPTIMAL for plan in plans)),
            str(sum(len(plan.short) + len(plan.unplaced) for plan in plans)),
            " / ".join(_median([run.full[at] for run in runs]) for at in range(2)) if runs[0].full else "",
        )


def _spread(seconds: Sequence[float], goal: float) -> tuple[str, str]:
    return f"{statistics.median(seconds):.3f} ({max(seconds):.3f})", f"{goal:g}"


def _median(seconds: Sequence[str]) -> str:
    """Of those that ended; with how many did not."""
    ended = [float(one) for one in seconds if one != "-"]
    late = len(seconds) - len(ended)
    shown = f"{statistics.median(ended):.2f} ({max(ended):.2f})" if ended else "none"
    return f"{shown}, {late} not in {FULL_SECONDS:g} s" if late else shown


def peak_mb() -> tuple[str, str]:
    """Most resident memory of this process and of the solver's, MB."""
    process = WORKER._process
    return _peak("self"), _peak(str(process.pid)) if process else "-"


def _peak(process: str) -> str:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(f"{int(line.split()[1]) / 1024:.0f}" for line in lines if line.startswith("VmHWM"))


def plot(found: Sequence[Case], path: str) -> None:
    """How the medians grow, as a picture."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for running, what in ((False, "nothing runs"), (True, "30-95 % run, ragged nodes")):
        mine = [case for case in found if case.running is running]
        at = [case.size.accelerators for case in mine]
        for mark, name in (("o-", "cold"), ("s--", "warm")):
            medians = [statistics.median(getattr(run, name) for run in case.runs) for case in mine]
            axes.plot(at, medians, mark, label=f"{what}, {name}")
    axes.set(xscale="log", yscale="log", xlabel="accelerators", ylabel="seconds, median", title="solve()")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
