"""Traces that look like those of real clusters, from a seed. Parameters with their sources: docs/simulation.md."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from apportion.model.curves import Usl
from apportion.model.eligibility import request_on
from apportion.model.resources import CPU
from apportion.model.snapshot import Snapshot
from apportion.simulator.trace import NotThat, Range, Row

HOUR, DAY = 3600.0, 86_400.0
PEAK = 14 * HOUR
REQUESTS = {1: 0.55, 2: 0.15, 4: 0.13, 8: 0.13, 16: 0.04}
SPREAD_OF_SPEEDS = 0.25
SIGMAS = {"PerReplicaBatch": (0.004, 0.08), "GlobalBatch": (0.05, 0.4)}
KAPPAS = {"PerReplicaBatch": (0.0, 0.001), "GlobalBatch": (0.0, 0.012)}
SHORTEST, LONGEST = 30.0, 30 * DAY
SLACK = (1.0, 3.0)  # a deadline, in times that the job takes at its request on speed 1
MIX: Mapping[str, Range] = {
    "jobs": Range(1, 1_000_000, whole=True),
    "hours": Range(0.01, 100_000.0),
    "load": Range(0.001, 100.0),
    "elastic": Range(0.0, 1.0),
    "shared": Range(0.0, 1.0),
    "declared": Range(0.0, 1.0),
    "sized": Range(0.0, 1.0),
    "deadlines": Range(0.0, 1.0),
    "tail": Range(0.0, 4.0),
    "swing": Range(0.0, 1.0),
}
"""What each parameter of a Mix may be."""


@dataclass(frozen=True)
class Ground:
    """For what cluster: its flavors with their usual speeds, and how many accelerators of speed 1 all are worth.
    most: accelerators of one flavor, which no request goes beyond. largest: of those, on one node. queues: jobs are
    spread over them; () for none."""

    flavors: tuple[tuple[str, float], ...] = ()
    worth: float = 64.0
    most: int = 64
    largest: int = 8
    queues: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mix:
    """What comes. load: accelerator-hours that the jobs ask for, at the size that they request, over those there are
    in `hours`. elastic, shared, declared, sized, deadlines: the part of the jobs that can grow and shrink, that share a
    global batch, that declare their curve, that declare their work, and that have a deadline. tail: standard deviation
    of the duration's logarithm. swing: of the rate of arrivals over a day, around its mean."""

    jobs: int = 160
    hours: float = 24.0
    load: float = 1.0
    elastic: float = 0.7
    shared: float = 0.3
    declared: float = 0.0
    sized: float = 0.0
    deadlines: float = 0.0
    tail: float = 1.8
    swing: float = 0.5


def mix_of(text: str) -> Mix:
    """jobs=160,load=1.2: the others are as usual. Raises NotThat."""
    found: dict[str, float | int] = {}
    for part in filter(None, text.split(",")):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in MIX or name in found:
            raise NotThat(f"parameters of {', '.join(MIX)}, each once, like jobs=160,load=1.2")
        try:
            found[name] = MIX[name](value)
        except NotThat as wrong:
            raise NotThat(f"{name}={wrong}") from None
    return Mix(**found)  # type: ignore[arg-type]


def ground_of(cluster: Snapshot) -> Ground:
    """The cluster's accelerators, less what pods of others hold; cores of CPU only where there is nothing else."""
    flavors = {flavor.name: flavor for flavor in cluster.flavors}
    sizes: dict[str, list[int]] = {}
    for node in cluster.nodes:
        if node.placeable and node.flavor is not None:
            flavor = flavors[node.flavor]
            free = request_on(node.allocatable, flavor) - request_on(node.foreign, flavor)
            sizes.setdefault(flavor.name, []).append(max(0, free))
    if len({flavors[name].resource for name in sizes}) > 1:
        sizes = {name: counts for name, counts in sizes.items() if flavors[name].resource != CPU}
    return Ground(
        flavors=tuple((name, flavors[name].speed) for name in sorted(sizes)),
        worth=sum(flavors[name].speed * sum(counts) for name, counts in sizes.items()),
        most=max(map(sum, sizes.values()), default=1),
        largest=max((max(counts) for counts in sizes.values()), default=1),
        queues=tuple(queue.name for queue in cluster.queues),
    )


@dataclass(frozen=True)
class Draft:
    """A job before the load is known. weight: what it asks for at its request, in units of its duration."""

    row: Row
    asked: int
    log: float
    truth: Usl

    @property
    def weight(self) -> float:
        return self.asked * self.row.accelerators * math.exp(self.log)


def generated(mix: Mix, ground: Ground, seed: int) -> list[Row]:
    """The same seed gives the same jobs. Durations are scaled so that together they make the load."""
    random = Random(f"trace {seed}")
    times = sorted(_time(random, mix) for _ in range(mix.jobs))
    drafts = [_draft(random, mix, ground, number) for number in range(mix.jobs)]
    # Draws of their own: who declares work or has a deadline changes nothing else in a trace.
    declares, hurries = Random(f"work {seed}"), Random(f"deadlines {seed}")
    scale = mix.load * mix.hours * HOUR * ground.worth / max(1e-9, sum(draft.weight for draft in drafts))
    rows = []
    for draft, at in zip(drafts, times, strict=True):
        row = replace(_timed(draft, at, scale), declared_work=declares.random() < mix.sized)
        rows.append(_due(draft, row, hurries) if hurries.random() < mix.deadlines else row)
    return rows


def _time(random: Random, mix: Mix) -> float:
    """By rejection: the rate is a cosine of the hour, highest at PEAK."""
    while True:
        at = random.uniform(0.0, mix.hours * HOUR)
        rate = 1.0 + mix.swing * math.cos(2 * math.pi * (at - PEAK) / DAY)
        if random.uniform(0.0, 1.0 + mix.swing) <= rate:
            return at


def _draft(random: Random, mix: Mix, ground: Ground, number: int) -> Draft:
    most = 1 << (max(1, ground.most).bit_length() - 1)  # the power of two below
    request = min(random.choices(list(REQUESTS), list(REQUESTS.values()))[0], most)
    each = random.choice([size for size in REQUESTS if size <= min(request, ground.largest)])
    asked = request // each
    low, high = asked, asked
    if random.random() < mix.elastic:
        low, high = max(1, asked // 2), asked * 4
    mode = "GlobalBatch" if random.random() < mix.shared else "PerReplicaBatch"
    truth = Usl(1.0, round(random.uniform(*SIGMAS[mode]), 4), round(random.uniform(*KAPPAS[mode]), 5))
    declared = random.random() < mix.declared
    queue = random.choice(ground.queues) if ground.queues else ""
    flavors = tuple(
        (name, round(usual * random.lognormvariate(0.0, SPREAD_OF_SPEEDS), 3)) for name, usual in ground.flavors
    )
    # Beyond 2.5 standard deviations a single job would be the trace.
    log = min(max(random.gauss(0.0, mix.tail), -2.5 * mix.tail), 2.5 * mix.tail)
    row = Row(
        job=f"job-{number:05}", arrival=0.0, min_replicas=low, max_replicas=high, accelerators=each, duration=1.0,
        queue=queue, steps=_doubling(low, high), flavors=flavors, mode=mode, sigma=truth.sigma, kappa=truth.kappa,
        declared_sigma=truth.sigma if declared else None, declared_kappa=truth.kappa if declared else None,
    )  # fmt: skip
    return Draft(row, asked, log, truth)


def _doubling(low: int, high: int) -> tuple[int, ...]:
    steps = [low]
    while steps[-1] * 2 <= high:
        steps.append(steps[-1] * 2)
    return tuple(steps)


def _timed(draft: Draft, at: float, scale: float) -> Row:
    """With the time that its work takes at its minimum."""
    seconds = math.exp(draft.log) * scale
    at_least = seconds * draft.truth.at(draft.asked) / draft.truth.at(draft.row.min_replicas)
    duration = round(min(max(at_least, SHORTEST), LONGEST), 1)
    return replace(draft.row, arrival=round(at, 1), duration=duration)


def _due(draft: Draft, row: Row, random: Random) -> Row:
    seconds = row.duration * draft.truth.at(row.min_replicas) / draft.truth.at(draft.asked)
    return replace(row, deadline=round(seconds * random.uniform(*SLACK), 1))
