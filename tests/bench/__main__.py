"""make bench: figures of this machine as tables. BENCH=decide runs a part, BENCH="idle --seconds 20" another."""

import asyncio
import importlib.metadata
import os
import platform
import sys
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from apportion.model.policy import Stability
from bench import clustered, crowding, deciding, living, optimizing, scheduling, simulation, stability, tuning

PACKAGES = ("apportion", "highspy", "PuLP", "numpy", "scipy", "kopf", "kubernetes", "aiohttp", "pydantic")
CONSOLE = Console(width=120, highlight=False)


def show(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    CONSOLE.print(f"\n{title}", markup=False)
    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    CONSOLE.print(table)
    sys.stdout.flush()


@click.group(invoke_without_command=True)
@click.pass_context
def bench(context: click.Context) -> None:
    """All parts, or one of them."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    CONSOLE.print(
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {versions}",
        soft_wrap=True,
    )
    if context.invoked_subcommand is None:
        for part in (decide, latency, memory, idle):
            context.invoke(part)


@bench.command()
@click.option("--runs", default=10, show_default=True, help="Clusters of each size, each from its own seed.")
def decide(runs: int) -> None:
    """Seconds and gap of decide(), without any cluster."""
    header = ("CASE", "MEDIAN", "WORST", "GOAL", "OPTIMIZER", "WORST GAP", "NOT OPTIMAL", "METHODS")
    show(f"decide(), {runs} clusters of each size", header, list(deciding.rows(runs)))


@bench.command()
@click.option("--jobs", default=100, show_default=True)
@click.option("--nodes", default=1000, show_default=True)
@click.option("--repeat", default=3, show_default=True)
def latency(jobs: int, nodes: int, repeat: int) -> None:
    """From the creation of a TrainingJob to its Deployment."""
    header = ("RUN", "P50", "P99", "WORST", "ALL APPLIED", "ALL PATCHED", "ROUNDS", "SNAPSHOT", "DECIDE", "ACTUATE")
    title = f"{jobs} TrainingJobs of one shape at once on {nodes} sandbox nodes (goal: p99 < 1 s), seconds"
    show(title, header, asyncio.run(living.latency(jobs, nodes, repeat)))


@bench.command()
@click.option("--jobs", default=5000, show_default=True)
@click.option("--nodes", default=1000, show_default=True)
def memory(jobs: int, nodes: int) -> None:
    """Resident memory of the operator."""
    header = ("PROCESS", "RSS NOW", "PEAK")
    title = f"Memory with {jobs} TrainingJobs on {nodes} sandbox nodes (goal: operator < 300 MB), MB"
    show(title, header, asyncio.run(living.memory(jobs, nodes)))


@bench.command()
@click.option("--seconds", default=60, show_default=True)
def idle(seconds: int) -> None:
    """Writes of the operator while nothing happens."""
    header = ("WRITE", "COUNT")
    title = f"Writes in {seconds} idle seconds (goal: the Lease only, every 2 s)"
    show(title, header, asyncio.run(living.idle(seconds)))


@bench.command()
@click.option("--jobs", default=(100, 1000), multiple=True, show_default=True)
@click.option("--nodes", default=1000, show_default=True)
@click.option("--idle-seconds", default=60, show_default=True)
def cluster(jobs: tuple[int, ...], nodes: int, idle_seconds: int) -> None:
    """The operator against a bare client on the real control plane. Not one of the parts that run without a name."""
    tables = asyncio.run(clustered.measure(jobs, nodes, idle_seconds))
    header = (
        "JOBS", "CLIENT", "APPLIED IN", "FIRST CREATE TO LAST DEPLOYMENT", "LAST CREATE TO LAST DEPLOYMENT",
        "OF BARE WRITING", "P50", "P99", "JOBS/S", "ROUNDS",
    )  # fmt: skip
    show(f"TrainingJobs of one shape on {nodes} nodes of 8 GPUs, seconds (goals: 1.3, p99 1.5)", header, tables.runs)
    show("Requests of the operator", ("WHEN", "WHAT", "COUNT", "PER JOB"), tables.requests)
    show("The operator's process (goal: 300 MB)", ("WHEN", "RSS MB", "PEAK MB", "CPU SECONDS"), tables.process)


@bench.command()
@click.option("--seeds", default=20, show_default=True, help="Clusters of each size and kind.")
@click.option("--largest", default=100_000, show_default=True, help="Accelerators of the largest.")
@click.option("--plot", type=click.Path(dir_okay=False, writable=True), help="Where to draw how time grows.")
def optimizer(seeds: int, largest: int, plot: str | None) -> None:
    """Seconds and gap of solve() alone. Not one of the parts that run without a name."""
    found = list(optimizing.cases(seeds, largest))
    header = (
        "ACCELERATORS / JOBS", "COLD", "GOAL", "WARM", "GOAL", "GAP", "GAP TO ALL", "NOT OPTIMAL", "SHORT, UNPLACED",
        "ALL COLUMNS: HIGHS / CBC",
    )  # fmt: skip
    title = f"solve() on {seeds} clusters of each kind: median (worst) in seconds, worst gap (goal 0.1 %)"
    show(title, header, list(optimizing.rows(found)))
    show("Peak memory (goal 400), MB", ("PROCESS", "SOLVER"), [optimizing.peak_mb()])
    if plot:
        optimizing.plot(found, plot)


@bench.command(name="crowded")
@click.option("--seeds", default=8, show_default=True, help="Clusters of each size.")
def crowded_(seeds: int) -> None:
    """Jobs of many kinds for accelerators, CPU and memory at once. Not one of the parts that run without a name."""
    title = f"solve() on {seeds} clusters of each size, most jobs of a kind of their own: median (worst)"
    show(title, ("NODES", "JOBS", "ADMITTED", "GAP", "SECONDS"), list(crowding.rows(seeds)))


@bench.command(name="scheduling")
@click.option("--worlds", default=250, show_default=True, help="Under each way of scoring.")
@click.option("--first-seed", default=0, show_default=True)
def scheduling_(worlds: int, first_seed: int) -> None:
    """Saturated worlds on the real scheduler. Not one of the parts that run without a name."""
    plays = asyncio.run(scheduling.measure(worlds, first_seed))
    header = ("SCORING", "WORLDS", "SATURATED HALVES", "ROUNDS", "WORLDS WITH A POD LEFT PENDING OR OTHER TROUBLE")
    show("Granted pods and the stock scheduler (goal: none left Pending)", header, list(scheduling.totals(plays)))
    header = (
        "SCORING", "WORLDS", "HALF", "COUNT", "ROUNDS", "SHARE OF BEST", "MEAN", "WORST", "BELOW 99 %", "FEWER JOBS",
    )  # fmt: skip
    show("Value that runs in the end (goal: 99 % for divisor chains)", header, list(scheduling.rows(plays)))
    header = ("WORLD", "SCORING", "HALF", "VALUE", "JOBS")
    show("Divisor chains below 99 %", header, list(scheduling.below(plays)))
    for trouble in scheduling.refused(plays):
        CONSOLE.print(trouble, markup=False)


@bench.command(name="stability")
@click.option("--seeds", default=3, show_default=True)
@click.option("--rounds", default=1000, show_default=True, help="Of the steady load, after convergence.")
@click.option("--jobs", default=160, show_default=True, help="Of the day.")
@click.option("--nodes", default=4, show_default=True, help="Of the day, of each of two flavors.")
@click.option("--change-margin", default=Stability.change_margin, show_default=True, help="Of the day.")
@click.option("--fewest-moves-within", default=Stability.fewest_moves_within, show_default=True, help="Of the day.")
@click.option("--part", type=click.Choice(("steady", "wave", "day", "all")), default="all", show_default=True)
def stability_(seeds: int, rounds: int, part: str, jobs: int, nodes: int, **changes: float) -> None:
    """How seldom jobs are resized, in the simulator. Not one of the parts that run without a name."""
    if part in ("steady", "all"):
        header = (
            "JOBS COME",
            "SEED",
            "ROUNDS",
            "RESIZES",
            "LAST ONE IN ROUND",
            "OF NOISE-FREE BOUND",
            "WAITING",
            "ROUNDS/S",
        )
        title = "20 jobs on 64 GPUs, 10 % noise averaged over 10 rounds (goal: 0 resizes, 98 %)"
        show(title, header, list(stability.steady_rows(seeds, rounds)))
    if part in ("wave", "all"):
        header = ("EDGE", "SEED", "EDGES", "ROUNDS TO SETTLE, WORST", "RESIZES, WORST", "OF BOUND, WORST")
        show("20 of 40 jobs come and leave at once (goal: 5 rounds)", header, list(stability.wave_rows(seeds, 3)))
    if part in ("day", "all"):
        header = (
            "SEED", "RESTARTS A JOB", "LOST TO RESTARTS", "NORMALISED RATE", "WITH FREE RESTARTS", "SHARE",
            "MEAN JCT", "WITH FREE RESTARTS", "FREE RESTARTS A JOB", "DECISIONS/S",
        )  # fmt: skip
        case = stability.Day(stability.Size(nodes, jobs), stability=Stability(**changes))
        where = f"{jobs} jobs at load 1 on {case.size.accelerators} GPUs"
        title = f"A day of {where} (goals: 2.0 restarts, 2 % lost, 97 % of the rate)"
        show(title, header, list(stability.day_rows(case, seeds)))


@bench.command(name="simulation")
@click.option("--case", "names", multiple=True, type=click.Choice(list(simulation.CASES)), default=("small", "large"))
@click.option("--policy", "rules", multiple=True, default=("program", "fifo"), show_default=True)
@click.option("--seed", default=1, show_default=True)
def simulation_(names: tuple[str, ...], rules: tuple[str, ...], seed: int) -> None:
    """How long a day takes in the simulator. Not one of the parts that run without a name."""
    header = ("CASE", "POLICY", "DECISIONS", "SECONDS", "CPU", "GOAL", "MS A DECISION", "PEAK MB", "JOBS DONE")
    for name in names:
        rows = list(simulation.rows(simulation.CASES[name], rules, seed))
        show("A day of arrivals at load 1, rates learned", header, rows)


@bench.command(name="tuning")
@click.option("--part", type=click.Choice(("training", "held-out", "all")), default="all", show_default=True)
@click.option("--nodes", default=4, show_default=True, help="Of 8 accelerators, of each of two flavors.")
@click.option("--jobs", default=160, show_default=True)
@click.option("--hours", default=24.0, show_default=True)
@click.option("--round-seconds", default=60.0, show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--scene", "scenes", multiple=True, type=click.Choice(list(tuning.SCENES)), help="Held out; all if none.")
@click.option("--against", multiple=True, type=click.Choice(tuning.BASELINES), help="Held out; all if none.")
def tuning_(part: str, seeds: int, scenes: tuple[str, ...], against: tuple[str, ...], **size: Any) -> None:
    """The default policy against candidates and baselines. Not one of the parts that run without a name."""
    scale = tuning.Scale(**size)
    on = f"{scale.jobs} jobs in {scale.hours:g} h on {16 * scale.nodes} accelerators, {seeds} seeds"
    if part in ("training", "all"):
        header = ("CANDIDATE", "MEAN JCT TO DEFAULT", "P99 JCT TO DEFAULT", "RESTARTS A JOB", "LONGEST WAIT, H")
        show(f"Training, load 1 and 1.5: {on}", header, list(tuning.training_rows(scale, seeds)))
    if part in ("held-out", "all"):
        header = (
            "POLICY", "PROGRAM'S MEAN JCT OVER ITS", "P99", "LEAST POSSIBLE", "MEAN JCT, H", "RESTARTS A JOB",
            "LONGEST WAIT, H", "NEVER DONE",
        )  # fmt: skip
        for scene in scenes or tuning.SCENES:
            rows = tuning.held_out_rows(scale, tuning.SCENES[scene], against or tuning.BASELINES, seeds)
            show(f"Held out, {scene}: {on}", header, list(rows))


bench(prog_name="bench")
