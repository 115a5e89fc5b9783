"""How seldom jobs are resized, and what that costs: the simulator's figures, each beside the value that was reached."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from random import Random

from apportion.model.curves import Usl
from apportion.model.eligibility import current_grant
from apportion.model.jobs import FlavorChoice, Job
from apportion.model.policy import Policy, Stability
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import solve
from apportion.optimizer.value import Rates, job_weights, utility
from apportion.simulator import (
    Arrival,
    Course,
    Noise,
    Report,
    Rules,
    Scheduler,
    Step,
    World,
    least_allocated,
    play,
    tally,
)
from builders import job, nodes, snapshot

ROUND = 60.0
DAY = 86_400.0
FREE = Policy(stability=Stability(change_margin=0.0, fewest_moves_within=0.0))
TRUE_SPEEDS = (1.0, 1.5, 2.0, 3.0)  # of an H100 in A100s


@dataclass(frozen=True)
class Size:
    """Nodes of 8 accelerators of each of two flavors, and jobs."""

    nodes: int
    jobs: int

    @property
    def accelerators(self) -> int:
        return 16 * self.nodes


LARGE, STEADY = Size(4, 40), Size(4, 20)


def cluster(size: Size) -> Snapshot:
    return snapshot(on=(*nodes(size.nodes), *nodes(size.nodes, flavor="a100")), now=0.0, round=0)


def drawn(name: str, random: Random, most: int = 4) -> tuple[Job, Usl]:
    """A job of 1 to 8 accelerators a replica, mostly small, with its own speeds, and its true curve."""
    each = random.choice((1, 1, 1, 2, 2, 4))
    low = random.choice((1, 1, 2)) if each < 4 else 1
    steps = tuple(low * count for count in (1, 2, 3, 4, 6, 8) if count <= most)
    truth = Usl(1.0, random.uniform(0.01, 0.15), random.uniform(0.0, 0.004))
    speeds = (FlavorChoice("a100", 1.0), FlavorChoice("h100", random.choice(TRUE_SPEEDS)))
    spec = job(
        name, low, low * most, each, steps=steps, curve=truth, flavors=speeds, restart_seconds=60.0,
        min_runtime_seconds=300.0,
    )  # fmt: skip
    return spec, truth


def staying(size: Size, random: Random, first: int = 0, at: float = 0.0, leaves: float = inf) -> list[Arrival]:
    found = []
    for number in range(first, first + size.jobs):
        spec, truth = drawn(f"j{number:03}", random)
        found.append(Arrival(at, spec, inf, truth, leaves))
    return found


def growth_reached(world: World, policy: Policy) -> tuple[float, float]:
    """What those who run have grown by is worth by their true curves, and the bound of it if nothing had run yet."""
    before = world.snapshot
    true = {entry.arrival.job.key: entry.arrival for entry in world.entries.values()}
    running = [one for one in before.jobs if current_grant(one).replicas]
    weights, _ = job_weights(before)
    populated = frozenset(node.flavor for node in before.nodes if node.flavor is not None)
    flavors = before.flavors
    reached = 0.0
    for one in running:
        rates, grant = Rates(true[one.key].job, flavors, populated), current_grant(one)
        x = rates.base(grant.replicas) * rates.speed(grant.flavor)
        reached += weights[one.queue_name] * utility(x, policy.objective.exponent)
    fresh = tuple(replace(true[one.key].job, created=before.now) for one in before.jobs)
    terms = {one.key: Terms(keeps=one.minimum) for one in running}
    plan = solve(replace(before, jobs=fresh, terms=terms), policy)
    return reached, plan.bound


def moved(step: Step) -> int:
    """Running jobs that this decision resized or moved."""
    return sum(resize.wave == 0 and resize.current.replicas > 0 for resize in step.decision.resizes)


@dataclass(frozen=True)
class Steady:
    """resizes: after convergence. last: the round of the last one. reached: worst share of the noise-free bound."""

    rounds: int
    resizes: int
    last: int
    reached: float
    waiting: int


def steady(size: Size, seed: int, rounds: int, one_by_one: bool = False) -> Steady:
    """Jobs that stay for ever, and rates that are never measured right. They come at once, or within 30 rounds."""
    converged = 90
    came = staying(size, Random(seed))
    spread = 30 * ROUND / len(came) if one_by_one else 0.0
    arrivals = [replace(one, at=spread * number) for number, one in enumerate(came)]
    course = Course(noise=Noise(0.1), seed=seed, until=(converged + rounds) * ROUND)
    resizes = last = 0
    reached = inf
    game = play(cluster(size), arrivals, Rules(Policy()), Scheduler(least_allocated, Random(seed)), course)
    for step in game:
        at = round(step.world.now / ROUND)
        if moved(step) and at > 0:
            last = at
            resizes += moved(step) if at > converged else 0
        if at >= converged and at % 100 == converged % 100:
            value, bound = growth_reached(step.world, Policy())
            reached = min(reached, value / bound)
    waiting = sum(not current_grant(one).replicas for one in step.world.snapshot.jobs)
    return Steady(rounds, resizes, last, reached, waiting)


@dataclass(frozen=True)
class Edge:
    """settled: rounds from an edge to the last change before the next one. reached: share of the bound by then."""

    up: bool
    settled: float
    resizes: int
    reached: float


def square_wave(size: Size, seed: int, waves: int, half: int = 60) -> list[Edge]:
    """Half of the jobs stay; the other half comes all at once and leaves all at once, `half` rounds later."""
    random = Random(seed)
    share = replace(size, jobs=size.jobs // 2)
    arrivals = staying(share, random)
    edges = [at * half * ROUND for at in range(1, 2 * waves + 1)]
    for number, at in enumerate(edges[::2], 1):
        arrivals += staying(share, random, number * share.jobs, at, at + half * ROUND)
    course = Course(until=edges[-1] + half * ROUND)
    steps = list(play(cluster(size), arrivals, Rules(Policy()), Scheduler(least_allocated, Random(seed)), course))
    return [_edge(steps, at, at + half * ROUND, number % 2 == 0) for number, at in enumerate(edges)]


def _edge(steps: Sequence[Step], start: float, end: float, up: bool) -> Edge:
    mine = [step for step in steps if start <= step.world.now < end]
    changed = [step for step in mine if any(resize.wave == 0 for resize in step.decision.resizes)]
    value, bound = growth_reached(mine[-1].world, Policy())
    settled = max((step.world.now - start for step in changed), default=0.0) / ROUND
    return Edge(up, settled, sum(map(moved, mine)), value / bound)


def arriving(size: Size, random: Random, load: float, seconds: float) -> list[Arrival]:
    """Poisson arrivals with log-normal work: together what the cluster does in that time at `load`.

    Load counts each job at its minimum, where it is most efficient, and an accelerator by the mean speed of its flavor.
    """
    times = sorted(random.uniform(0.0, seconds) for _ in range(size.jobs))
    drafts = [(*drawn(f"j{number:03}", random), random.lognormvariate(0.0, 1.2)) for number in range(size.jobs)]
    asked = sum(spec.per_replica * spec.minimum * long for spec, _, long in drafts)
    speed = sum(TRUE_SPEEDS) / len(TRUE_SPEEDS)
    offered = load * seconds * (size.accelerators / 2) * (1.0 + speed)
    return [
        Arrival(at, spec, truth.at(spec.minimum) * long * offered / asked, truth)
        for at, (spec, truth, long) in zip(times, drafts, strict=True)
    ]


def free(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """The same, if a restart cost nothing."""
    return [replace(one, job=replace(one.job, restart_seconds=0.0, min_runtime_seconds=0.0)) for one in arrivals]


@dataclass(frozen=True)
class Day:
    """load: of the cluster, by `arriving`. stability: what costs a change as it is."""

    size: Size
    load: float = 1.0
    seconds: float = DAY
    stability: Stability = field(default_factory=Stability)


def day(case: Day, seed: int) -> tuple[Report, Report]:
    """As it is, and with free restarts."""
    arrivals = arriving(case.size, Random(seed), case.load, case.seconds)
    start = cluster(case.size)
    rules = Rules(Policy(stability=case.stability))
    real = tally(play(start, arrivals, rules, Scheduler(least_allocated, Random(seed))))
    ideal = tally(play(start, free(arrivals), Rules(FREE), Scheduler(least_allocated, Random(seed))))
    return real, ideal


def steady_rows(seeds: int, rounds: int) -> Iterator[tuple[str, ...]]:
    for one_by_one in (False, True):
        for seed in range(1, seeds + 1):
            started = time.perf_counter()
            found = steady(STEADY, seed, rounds, one_by_one)
            yield (
                "one by one" if one_by_one else "at once", str(seed), str(found.rounds), str(found.resizes),
                str(found.last), f"{found.reached:.2%}", str(found.waiting),
                f"{found.rounds / (time.perf_counter() - started):.0f}",
            )  # fmt: skip


def wave_rows(seeds: int, waves: int) -> Iterator[tuple[str, ...]]:
    for seed in range(1, seeds + 1):
        edges = square_wave(LARGE, seed, waves)
        for up in (True, False):
            mine = [edge for edge in edges if edge.up is up]
            yield (
                "jobs come" if up else "jobs leave", str(seed), str(len(mine)),
                f"{max(edge.settled for edge in mine):.1f}", str(max(edge.resizes for edge in mine)),
                f"{min(edge.reached for edge in mine):.2%}",
            )  # fmt: skip


def day_rows(case: Day, seeds: int) -> Iterator[tuple[str, ...]]:
    for seed in range(1, seeds + 1):
        started = time.perf_counter()
        real, ideal = day(case, seed)
        took = time.perf_counter() - started
        yield (
            str(seed), f"{real.restarts_a_job:.2f}", f"{real.lost_share:.2%}",
            f"{real.normalised_rate:.3f}", f"{ideal.normalised_rate:.3f}",
            f"{real.normalised_rate / ideal.normalised_rate:.1%}",
            f"{real.mean_seconds / 60:.0f} min", f"{ideal.mean_seconds / 60:.0f} min",
            f"{ideal.restarts_a_job:.1f}", f"{(real.account.decisions + ideal.account.decisions) / took:.0f}",
        )  # fmt: skip
