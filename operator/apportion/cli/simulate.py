"""apportion simulate: policies on a trace on a cluster, over several seeds; apportion trace: a trace from a seed."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from apportion.api.dump import InputError, read_text
from apportion.api.parse import shown
from apportion.cli.playing import played
from apportion.cli.policy import PLAYED, other_policy
from apportion.cli.results import csv_text, document, rows_of
from apportion.cli.source import Read, Source, fail, read
from apportion.cli.tables import console, table
from apportion.kube.inventory import Losses
from apportion.model.rounds import PROGRAM
from apportion.model.snapshot import Snapshot
from apportion.simulator import (
    Contender,
    Course,
    Failures,
    Ground,
    Measuring,
    Mix,
    NotThat,
    Setting,
    Trace,
    TraceError,
    Trial,
    generated,
    ground_of,
    mix_of,
    read_rows,
    write_rows,
)
from apportion.simulator.play import Watch

GENERATE = "generate"


@dataclass(frozen=True)
class Asked:
    """As given on the command line. Hours, minutes and seconds as the options say; None: not given."""

    trace: str
    policies: tuple[str, ...]
    seeds: int
    first_seed: int
    round_seconds: float
    noise: float
    learning: bool
    failure_hours: float | None
    repair_hours: float
    checkpoint_minutes: float
    processes: int | None
    output: str | None


def trace_command(files: tuple[str, ...], seed: int, accelerators: int, **mix: Any) -> str:
    """The CSV text. For the cluster of these files; without any for so many accelerators in nodes of 8."""
    ground = Ground(worth=accelerators, most=accelerators)
    if files:
        ground = ground_of(read(Source(files, None, None, None)).snapshot)
    if ground.worth <= 0:
        fail("expected a cluster with accelerators that jobs may use")
    return write_rows(generated(Mix(**mix), ground, seed))


def simulate_command(source: Source, asked: Asked) -> None:
    """Everything is read, and the folder made, before the first simulation."""
    got = read(source)
    setting = Setting(emptied(got), _trace(asked.trace), _course(asked), watch)
    contenders = _contenders(got, setting, asked.policies or (PROGRAM,))
    try:
        jobs = setting.trace.jobs(setting.cluster, asked.first_seed)
    except TraceError as error:
        fail(str(error))
    folder = None if asked.output is None else _folder(asked.output)
    for warning in got.warnings:
        click.echo(f"warning: {warning}", err=True)
    if got.snapshot.jobs:
        click.echo(f"note: the {len(got.snapshot.jobs)} TrainingJobs of the cluster are left out", err=True)
    runs = [(one, seed) for seed in range(asked.first_seed, asked.first_seed + asked.seeds) for one in contenders]
    trials = list(played(setting, runs, len(jobs), asked.processes or os.cpu_count() or 1))
    names = [one.name for one in contenders]
    heads, rows = rows_of(trials, names)
    console().print(table(heads, rows))
    if folder is not None:
        _write(folder, trials, names, asked)


def watch() -> Watch:
    """As the operator looks at sudden losses."""
    return Losses().observe


def emptied(got: Read) -> Snapshot:
    """The cluster with nothing running but the pods of others, at time 0; no autoscaler adds to it."""
    flavors = tuple(replace(flavor, provisionable=None) for flavor in got.snapshot.flavors)
    cluster = replace(got.snapshot, now=0.0, jobs=(), flavors=flavors, round=0, prices={}, grace={}, warnings=())
    if ground_of(cluster).worth <= 0:
        fail("expected a cluster with accelerators that jobs may use")
    return cluster


def _trace(text: str) -> Trace:
    name, _, parameters = text.partition(":")
    try:
        if name == GENERATE:
            return Trace(text, mix=mix_of(parameters))
        return Trace(text, rows=tuple(read_rows(text, read_text(text, sys.stdin))))
    except NotThat as wrong:
        fail(f"--trace {text}: expected {wrong}, not {shown(parameters)}")
    except (TraceError, InputError) as error:
        fail(str(error))


def _course(asked: Asked) -> Course:
    failures = None
    if asked.failure_hours is not None:
        failures = Failures(asked.failure_hours * 3600, asked.repair_hours * 3600, asked.checkpoint_minutes * 60)
    measuring = Measuring(asked.noise) if asked.learning else None
    return Course(every=asked.round_seconds, measuring=measuring, failures=failures)


def _contenders(got: Read, setting: Setting, texts: Sequence[str]) -> list[Contender]:
    found: list[Contender] = []
    for text in texts:
        other = other_policy(text, PLAYED)
        cluster, policy = other.applied(setting.cluster, got.policy)
        if other.name in {one.name for one in found}:
            fail(f"--policy {text}: expected each policy once, by its name or its file's")
        found.append(Contender(other.name, cluster, policy, other.rule))
    return found


def _folder(name: str) -> Path:
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"-o {name}: expected a folder that can be written to: {error.strerror}")
    return folder


def _write(folder: Path, trials: Sequence[Trial], names: Sequence[str], asked: Asked) -> None:
    from apportion.cli.simulation_page import simulation_page
    from apportion.cli.svg import NoCharts

    found = document(trials, names, asked.trace)
    files = {
        "results.json": json.dumps(found, indent=2, allow_nan=False) + "\n",
        "results.csv": csv_text(trials),
    }
    try:
        files["index.html"] = simulation_page(trials, names, asked.trace)
    except NoCharts as error:
        click.echo(f"warning: no page: {error}", err=True)
    try:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"-o {folder}: expected a folder that can be written to: {error.strerror}")
    click.echo(f"written to {folder}: {', '.join(files)}")
