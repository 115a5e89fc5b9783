"""A trace as a CSV file: one job a line, with documented columns. What is wrong with it is one `TraceError`."""

import csv
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from io import StringIO
from typing import Any

from apportion.api.parse import shown
from apportion.model.curves import GLOBAL_BATCH, PER_REPLICA_BATCH, Curve, Usl
from apportion.model.jobs import FlavorChoice, Job, JobKey, Target, steps_between
from apportion.model.resources import CPU
from apportion.model.snapshot import Snapshot
from apportion.simulator.arrivals import Arrival

MOST_SECONDS = 3.2e9  # a century
MOST_REPLICAS = 100_000
MODES: Mapping[str, Usl] = {"PerReplicaBatch": PER_REPLICA_BATCH, "GlobalBatch": GLOBAL_BATCH}
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class TraceError(Exception):
    """str() is one line that names the file, the line, the column and what was expected."""


@dataclass(frozen=True)
class Row:
    """One line. Times in seconds, `arrival` since the start of the trace.

    duration: how long the work takes with min_replicas on a flavor of speed 1; steps: the admissible counts, all
    between the two where it is empty; flavors: what it accepts, and how fast each truly is for it (None: as the
    catalog says), any flavor where it is empty. sigma, kappa: the true curve, as is usual for `mode` where they are
    None; declared_sigma, declared_kappa: what the owner declares, nothing where they are None. declared_work: the owner
    declares the work as well, and its progress is told; deadline: and that it is to be done so long after it comes.
    """

    job: str
    arrival: float
    min_replicas: int
    max_replicas: int
    accelerators: int
    duration: float
    namespace: str = "default"
    queue: str = ""
    steps: tuple[int, ...] = ()
    flavors: tuple[tuple[str, float | None], ...] = ()
    mode: str = "PerReplicaBatch"
    sigma: float | None = None
    kappa: float | None = None
    declared_sigma: float | None = None
    declared_kappa: float | None = None
    declared_work: bool = False
    deadline: float | None = None
    restart_seconds: float = 60.0
    min_runtime_seconds: float = 300.0
    priority: int = 0
    preemptible: bool = True
    line: int = field(default=0, compare=False)


class NotThat(ValueError):
    """What was expected in a cell instead."""


@dataclass(frozen=True)
class Range:
    """A number from `least` to `most`."""

    least: float
    most: float
    whole: bool = False

    def __call__(self, text: str) -> float | int:
        kind = "a whole number" if self.whole else "a number"
        expected = f"{kind} from {self.least:.6g} to {self.most:.6g}"
        try:
            number = int(text) if self.whole else float(text)
        except ValueError:
            raise NotThat(expected) from None
        if not self.least <= number <= self.most:
            raise NotThat(expected)
        return number


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise NotThat("a name of lower-case letters, digits, - and .")
    return text


def _mode(text: str) -> str:
    if text not in MODES:
        raise NotThat(" or ".join(MODES))
    return text


def _yes(text: str) -> bool:
    if text not in ("true", "false"):
        raise NotThat("true or false")
    return text == "true"


REPLICAS = Range(1, MOST_REPLICAS, whole=True)
SPEED = Range(0.001, 1000.0)


def _steps(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(REPLICAS(part)) for part in text.split(";"))
    except NotThat:
        found = ()
    if not found or list(found) != sorted(set(found)):
        raise NotThat("rising whole numbers like 1;2;4")
    return found


def _flavors(text: str) -> tuple[tuple[str, float | None], ...]:
    found: dict[str, float | None] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        try:
            speed = float(SPEED(value)) if equals else None
        except NotThat:
            name = ""
        if not name or name in found:
            raise NotThat("flavors, each once, with speeds from 0.001 to 1000, like a100;h100=2.5")
        found[name] = speed
    return tuple(found.items())


CELLS: Mapping[str, Callable[[str], Any]] = {
    "job": _name,
    "arrival": Range(0.0, MOST_SECONDS),
    "min_replicas": REPLICAS,
    "max_replicas": REPLICAS,
    "accelerators": Range(1, MOST_REPLICAS, whole=True),
    "duration": Range(0.001, MOST_SECONDS),
    "namespace": _name,
    "queue": _name,
    "steps": _steps,
    "flavors": _flavors,
    "mode": _mode,
    "sigma": Range(0.0, 1.0),
    "kappa": Range(0.0, 1.0),
    "declared_sigma": Range(0.0, 1.0),
    "declared_kappa": Range(0.0, 1.0),
    "declared_work": _yes,
    "deadline": Range(0.001, MOST_SECONDS),
    "restart_seconds": Range(0.0, 86_400.0),
    "min_runtime_seconds": Range(0.0, 86_400.0 * 30),
    "priority": Range(-(2**31), 10**9, whole=True),
    "preemptible": _yes,
}
REQUIRED = tuple(column.name for column in fields(Row) if column.default is MISSING)


def read_rows(name: str, text: str) -> list[Row]:
    """The lines in their order, which must be that of time. Raises TraceError."""
    lines = csv.reader(StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    seen: dict[tuple[str, str], int] = {}
    try:
        header = _header(name, next(lines, []))
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            place = f"{name}, line {lines.line_num}"
            if len(cells) != len(header):
                raise TraceError(f"{place}: expected {len(header)} cells as in the header, found {len(cells)}")
            row = replace(_row(place, dict(zip(header, cells, strict=True))), line=lines.line_num)
            if rows and row.arrival < rows[-1].arrival:
                least = f"expected at least {rows[-1].arrival:.15g}, that of the line before"
                raise TraceError(f"{place}, column arrival: {least}, not {row.arrival:.15g}: time does not go back")
            key = (row.namespace, row.job)
            if key in seen:
                raise TraceError(f"{place}, column job: expected each job once, {row.job} is also in line {seen[key]}")
            seen[key] = lines.line_num
            rows.append(row)
    except csv.Error as error:
        raise TraceError(f"{name}, line {lines.line_num}: expected comma-separated values: {error}") from None
    if not rows:
        raise TraceError(f"{name}: expected at least one job below the header")
    return rows


def _header(name: str, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    known = ", ".join(CELLS)
    for column in header:
        if column not in CELLS:
            raise TraceError(f"{name}, line 1: column {shown(column)} is not known; expected some of {known}")
        if header.count(column) > 1:
            raise TraceError(f"{name}, line 1: expected column {column} once")
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        raise TraceError(f"{name}, line 1: expected the columns {', '.join(missing)} as well")
    return header


def _row(place: str, cells: Mapping[str, str]) -> Row:
    found: dict[str, Any] = {}
    for column, cell in cells.items():
        text = cell.strip()
        if not text:
            if column in REQUIRED:
                raise TraceError(f"{place}, column {column}: expected a value, found nothing")
            continue
        try:
            found[column] = CELLS[column](text)
        except NotThat as wrong:
            raise TraceError(f"{place}, column {column}: expected {wrong}, not {shown(text)}") from None
    row = Row(**found)
    if row.max_replicas < row.min_replicas:
        least = f"expected at least min_replicas, {row.min_replicas}"
        raise TraceError(f"{place}, column max_replicas: {least}, not {row.max_replicas}")
    if row.steps and (row.steps[0], row.steps[-1]) != (row.min_replicas, row.max_replicas):
        ends = f"{row.min_replicas} to {row.max_replicas}, as min_replicas and max_replicas say"
        raise TraceError(f"{place}, column steps: expected counts from {ends}")
    return row


def write_rows(rows: Iterable[Row]) -> str:
    """All columns, so that reading it again gives equal rows."""
    sink = StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(CELLS)
    for row in rows:
        writer.writerow([_cell(getattr(row, column)) for column in CELLS])
    return sink.getvalue()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return repr(int(value)) if value == math.floor(value) and abs(value) < 1e15 else repr(value)
        case tuple():
            return ";".join(
                str(part) if isinstance(part, int) else part[0] if part[1] is None else f"{part[0]}={part[1]!r}"
                for part in value
            )
        case _:
            return str(value)


def arrivals(name: str, rows: Iterable[Row], cluster: Snapshot) -> list[Arrival]:
    """The jobs as they come to this cluster. A job that is larger than it comes all the same, and waits. Raises
    TraceError for a flavor or a queue that the cluster does not have; `name` is the trace's."""
    flavors = {flavor.name: flavor.resource for flavor in cluster.flavors}
    speeds = {flavor.name: flavor.speed for flavor in cluster.flavors}
    queues = [queue.name for queue in cluster.queues]
    found = []
    for row in rows:
        place = f"{name}, line {row.line}"
        unknown = [flavor for flavor, _ in row.flavors if flavor not in flavors]
        if unknown:
            known = ", ".join(flavors) or "none"
            raise TraceError(f"{place}, column flavors: expected flavors of the cluster ({known}), not {unknown[0]}")
        if row.queue and row.queue not in queues:
            known = ", ".join(queues) or "it has none"
            raise TraceError(f"{place}, column queue: expected a queue of the cluster ({known}), not {row.queue}")
        found.append(_arrival(row, _resource(place, row, cluster), speeds))
    return found


def _resource(place: str, row: Row, cluster: Snapshot) -> str:
    """Of the flavors that it lists, else of all accelerators that nodes have."""
    listed = [name for name, _ in row.flavors] or [node.flavor for node in cluster.nodes if node.flavor]
    resources = sorted({flavor.resource for flavor in cluster.flavors if flavor.name in listed})
    if not row.flavors and len(resources) > 1:
        resources = [resource for resource in resources if resource != CPU]
    if len(resources) != 1:
        said = ", ".join(resources) or "nothing"
        raise TraceError(f"{place}, column flavors: expected flavors of one resource, found {said}")
    return resources[0]


def _arrival(row: Row, resource: str, usually: Mapping[str, float]) -> Arrival:
    usual = MODES[row.mode]
    truth = Usl(1.0, usual.sigma if row.sigma is None else row.sigma, usual.kappa if row.kappa is None else row.kappa)
    declared = row.declared_sigma is not None or row.declared_kappa is not None
    curve: Curve = Usl(1.0, row.declared_sigma or 0.0, row.declared_kappa or 0.0) if declared else usual
    work = row.duration * truth.at(row.min_replicas)
    amount = row.accelerators * (1000 if resource == CPU else 1)
    job = Job(
        key=JobKey(row.namespace, row.job),
        uid=f"{row.namespace}/{row.job}",
        created=row.arrival,
        steps=row.steps or steps_between(row.min_replicas, row.max_replicas),
        resource=resource,
        per_replica=row.accelerators,
        listed=bool(row.steps),
        requests={resource: amount, "pods": 1},
        queue_name=row.queue or None,
        priority=row.priority,
        preemptible=row.preemptible,
        flavors=tuple(FlavorChoice(name) for name, _ in row.flavors) or None,
        curve=curve,
        declared=declared,
        target=_target(row, work),
        restart_seconds=row.restart_seconds,
        min_runtime_seconds=row.min_runtime_seconds,
        namespace_labels={"kubernetes.io/metadata.name": row.namespace},
    )
    speeds = {**usually, **{name: speed for name, speed in row.flavors if speed is not None}}
    return Arrival(row.arrival, job, work, truth, speeds=speeds)


def _target(row: Row, work: float) -> Target | None:
    if row.deadline is not None:
        return Target(deadline=row.arrival + row.deadline, work=work)
    return Target(work=work) if row.declared_work else None
