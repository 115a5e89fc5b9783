"""What all measurements together say of each job: its curve, its speed on every flavor, what a restart costs it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from apportion.learning.fitting import GLOBAL, PER_REPLICA, Measured, fitted
from apportion.learning.speeds import Speeds, bounded, levels, usual
from apportion.model.curves import GLOBAL_BATCH, Curve, Learned, Points, Usl
from apportion.model.eligibility import request_on
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import FlavorChoice, Job
from apportion.model.measured import Observation

PASSES = 2
RESTART_MOST_APART = 4.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a job's own curve follows from. blocks: by flavor, the replicas that its largest node holds."""

    points: tuple[Observation, ...]
    curve: Curve
    declared: bool
    minimum: int
    blocks: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Known:
    """One job's own measurements: `curve` on the flavor `base`, and how fast each measured flavor is beside it."""

    base: str
    curve: Curve
    levels: Speeds


def informed(jobs: Sequence[Job], flavors: Sequence[Flavor], nodes: Sequence[Node]) -> tuple[Job, ...]:
    """The jobs, each with the curve and the speeds that were learned of it and of the others.

    A declared curve stays as it is: measurements say how high it lies, and how fast flavors are. Speeds that a job
    declares stay as well. The order of the jobs is kept.
    """
    if not any(job.memory.record.points or job.memory.record.restart_seconds for job in jobs):
        return tuple(jobs)
    largest = largest_nodes(flavors, nodes)
    known = {job.key: known_of(_asked(job, largest)) for job in jobs if job.memory.record.points and job.steps}
    speeds = usual(flavors, [found.levels for found in known.values()])
    said = speeds != {flavor.name: flavor.speed for flavor in flavors if flavor.name in speeds}
    return tuple(_with(job, known.get(job.key), flavors, speeds, said) for job in jobs)


def largest_nodes(flavors: Sequence[Flavor], nodes: Sequence[Node]) -> dict[str, int]:
    """By flavor: the accelerators of its largest node."""
    by_name = {flavor.name: flavor for flavor in flavors}
    largest: Counter[str] = Counter()
    for node in nodes:
        flavor = by_name.get(node.flavor or "")
        if flavor is not None:
            largest[flavor.name] = max(largest[flavor.name], request_on(node.allocatable, flavor))
    return largest


def _asked(job: Job, largest: Mapping[str, int]) -> Asked:
    points = job.memory.record.points
    blocks = {point.flavor: largest.get(point.flavor, 0) // max(1, job.per_replica) for point in points}
    return Asked(points, job.curve, job.declared, job.minimum, tuple(sorted(blocks.items())))


@lru_cache(maxsize=16_384)
def known_of(asked: Asked) -> Known:
    """What the job's record says. The base is the flavor with most sizes; the others are scaled to it, so that a size
    that was measured elsewhere counts for the shape as well."""
    points = asked.points
    sizes = Counter(point.flavor for point in points)
    newest = {point.flavor: point.at for point in points}
    base = max(sizes, key=lambda name: (sizes[name], newest[name], name))
    if asked.declared:
        found = levels(points, asked.curve)
        level = found.get(base, 1.0)
        return Known(base, _raised(asked.curve, level), {name: value / level for name, value in found.items()})
    block = dict(asked.blocks)[base]
    curve = learned([point for point in points if point.flavor == base], asked, block)
    speeds: Speeds = {base: 1.0}
    comparable = _comparable(points, base)
    for _ in range(PASSES if len(sizes) > 1 else 0):
        speeds = levels(comparable, _unbounded(curve))
        alike = [replace(point, rate=point.rate / speeds[point.flavor] * speeds[base]) for point in points]
        curve = learned(alike, asked, block)
    return Known(base, curve, {name: speed / speeds[base] for name, speed in speeds.items()})


def learned(points: Sequence[Observation], asked: Asked, block: int) -> Learned:
    """The curve that these observations, all as on one flavor, make of what is usual for the job's mode."""
    newest = max(point.at for point in points)
    measured = tuple(Measured(point.replicas, point.rate, newest - point.at) for point in points)
    return fitted(measured, GLOBAL if asked.curve == GLOBAL_BATCH else PER_REPLICA, block, asked.minimum)


def _comparable(points: Sequence[Observation], base: str) -> list[Observation]:
    """What tells a flavor's speed: the sizes that were measured on the base as well, and only where there is none, all
    of them, by a curve that may not be known so far."""
    sizes = {point.replicas for point in points if point.flavor == base}
    shared = {point.flavor for point in points if point.replicas in sizes}
    return [point for point in points if point.replicas in sizes or point.flavor not in shared]


def _unbounded(curve: Learned) -> Learned:
    """As the fit says it: what was measured beyond the reach on another flavor is compared with that."""
    return replace(curve, reach=2**31)


def _raised(curve: Curve, factor: float) -> Curve:
    """The same shape, so many times as high."""
    match curve:
        case Usl():
            return replace(curve, rate=curve.rate * factor)
        case Points():
            return Points(tuple((count, rate * factor) for count, rate in curve.pairs))
        case Learned():
            return curve.scaled(factor)


def _with(job: Job, known: Known | None, flavors: Sequence[Flavor], speeds: Speeds, said: bool) -> Job:
    if job.memory.record.restart_seconds is not None:
        most, least = job.restart_seconds * RESTART_MOST_APART, job.restart_seconds / RESTART_MOST_APART
        job = replace(job, restart_seconds=min(max(job.memory.record.restart_seconds, least), most))
    if known is None and not said:
        return job
    curve = job.curve
    declared = {choice.name: choice.speed for choice in job.flavors or ()}
    names = list(declared) if job.flavors is not None else [f.name for f in flavors if f.resource == job.resource]
    anchor = 1.0
    if known is not None:
        anchor = declared.get(known.base) or speeds.get(known.base, 1.0)
        curve = _raised(known.curve, 1.0 / anchor)
    if not names:
        return replace(job, curve=curve)
    choices = []
    for name in names:
        expected = speeds.get(name, 1.0)
        own = known.levels.get(name) if known is not None else None
        found = expected if own is None else bounded(own * anchor, expected)
        choices.append(FlavorChoice(name, declared.get(name) or found))
    return replace(job, curve=curve, flavors=tuple(choices))
