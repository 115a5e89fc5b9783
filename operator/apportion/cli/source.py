"""Where a command's snapshot comes from: files, standard input, a live cluster. Errors end the program with code 2."""

import asyncio
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import click
import yaml

from apportion.api.dump import InputError, load_objects
from apportion.api.names import TRAINING_JOB
from apportion.api.redact import snapshot_document
from apportion.kube.client import NoConfiguration, Refused, Unreachable, connect
from apportion.kube.cluster import Cluster
from apportion.kube.kinds import BY_NAME, CUSTOM, WATCHED
from apportion.kube.raw import timestamp
from apportion.model.jobs import Job, JobKey
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot


@dataclass(frozen=True)
class Source:
    """As given on the command line."""

    files: tuple[str, ...]
    kubeconfig: str | None
    context: str | None
    at_time: str | None


@dataclass(frozen=True)
class Read:
    """What was read: the snapshot, the policy, what was ignored. `cluster` translates what is added later."""

    cluster: Cluster
    snapshot: Snapshot
    policy: Policy
    ignored: dict[str, int]
    warnings: tuple[str, ...]


def fail(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(2)


class CannotRead(Exception):
    """In one line why files or cluster cannot be read."""


def read(source: Source) -> Read:
    try:
        return attempt(source)
    except CannotRead as error:
        fail(str(error))


def attempt(source: Source) -> Read:
    """As `read`, for who goes on when it fails. Raises CannotRead."""
    now = time.time() if source.at_time is None else moment("--at", source.at_time)
    if source.files:
        if source.kubeconfig or source.context:
            fail("expected either -f or --kubeconfig/--context, not both")
        try:
            loaded = load_objects(source.files, sys.stdin)
        except InputError as error:
            raise CannotRead(error.message) from None
        return _read(loaded.objects, now, dict(loaded.ignored), loaded.warnings)
    return _read(_live(source), now, {}, ())


def submitted(got: Read, path: str) -> list[Job]:
    """The TrainingJobs of a file, as the operator would see them a moment after `kubectl apply`."""
    try:
        loaded = load_objects([path], sys.stdin)
    except InputError as error:
        fail(error.message)
    others = sorted({raw["kind"] for raw in loaded.objects} - {TRAINING_JOB} | set(loaded.ignored))
    if others:
        fail(f"{path}: expected TrainingJobs alone, found {', '.join(others)}; other objects go with -f")
    keys = set()
    for raw in loaded.objects:
        metadata = {"creationTimestamp": timestamp(got.snapshot.now), **raw["metadata"]}
        got.cluster.apply(BY_NAME[TRAINING_JOB], {**raw, "metadata": metadata})
        keys.add(JobKey(metadata["namespace"], metadata["name"]))
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return [job for job in got.cluster.snapshot(got.snapshot.now).jobs if job.key in keys]


def snapshot_text(source: Source) -> str:
    try:
        return yaml.safe_dump(snapshot_document(_live(source)), sort_keys=False)
    except CannotRead as error:
        fail(str(error))


def _read(objects: Iterable[Any], now: float, ignored: dict[str, int], warnings: tuple[str, ...]) -> Read:
    cluster = Cluster()
    for raw in objects:
        cluster.apply(BY_NAME[raw["kind"]], raw)
    return Read(cluster, cluster.snapshot(now), cluster.policy(), ignored, warnings)


def moment(option: str, text: str) -> float:
    """The time that an option names."""
    try:
        named = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        fail(f"{option} {text!r}: expected a time like 2026-12-01T08:00:00Z")
    if named.tzinfo is None:
        fail(f"{option} {text!r}: expected a time zone, like the Z in 2026-12-01T08:00:00Z")
    return named.timestamp()


def _live(source: Source) -> list[Any]:
    try:
        return asyncio.run(_list(source))
    except (NoConfiguration, Unreachable, Refused) as error:
        raise CannotRead(str(error)) from None


async def _list(source: Source) -> list[Any]:
    async with await connect(source.kubeconfig, source.context) as api:
        objects: list[Any] = []
        for kind in WATCHED:
            try:
                objects += await api.list_all(kind)
            except Refused as refused:
                if refused.code != 404 or kind not in CUSTOM:
                    raise
        return objects
