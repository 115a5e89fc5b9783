"""What comes: jobs with their work and their true curves, and what a policy is told of those."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from types import MappingProxyType

from apportion.model.curves import Curve, Points
from apportion.model.eligibility import accepts, speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job

NO_SPEEDS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job that comes at `at`, in seconds of the virtual clock.

    job: the spec as its owner applies it; its curve and the speeds of its flavors are what a policy is told.
    work: what is to be done, in units of throughput times seconds; infinite for a job that stays.
    truth: the throughput by replicas on a flavor of speed 1. No policy sees it.
    leaves: when its owner deletes it, done or not.
    speeds: how fast flavors truly are for it, where that is not what the job or the flavor says.
    """

    at: float
    job: Job
    work: float
    truth: Curve
    leaves: float = inf
    speeds: Mapping[str, float] = field(default_factory=lambda: NO_SPEEDS)

    def speed(self, flavor: Flavor) -> float:
        """How fast the flavor truly is for the job."""
        return self.speeds.get(flavor.name, speed(self.job, flavor))

    def rate(self, replicas: int, flavor: Flavor) -> float:
        """True units of work in a second."""
        return self.truth.at(replicas) * self.speed(flavor) if replicas > 0 else 0.0

    def best_rate(self, flavors: tuple[Flavor, ...]) -> float:
        """The rate that it would have alone: its best step on the fastest flavor that it accepts."""
        fastest = max((self.speed(flavor) for flavor in flavors if accepts(self.job, flavor)), default=0.0)
        return max((self.truth.at(step) for step in self.job.steps), default=0.0) * fastest


@dataclass(frozen=True, slots=True)
class Noise:
    """Every rate is measured anew in each round, with a log-normal error, and the last `window` of them are averaged.

    A job that comes brings as many measurements along.

    sigma: standard deviation of the error's logarithm.
    """

    sigma: float
    window: int = 10


Errors = tuple[float, ...]


def errors(arrival: Arrival, noise: Noise, random: Random) -> Errors:
    """One round's factors: of each step's rate, then of each listed flavor's speed."""
    count = len(arrival.job.steps) + len(arrival.job.flavors or ())
    return tuple(random.lognormvariate(0.0, noise.sigma) for _ in range(count))


def told(arrival: Arrival, seen: Job, recent: tuple[Errors, ...]) -> Job:
    """`seen` with the curve and the speeds that these rounds' errors make of the truth.

    A job that lists no flavors keeps the flavors' own speeds: nothing of it is measured there.
    """
    if not recent:
        return seen
    factors = [sum(column) / len(recent) for column in zip(*recent, strict=True)]
    steps = arrival.job.steps
    rates = tuple((step, arrival.truth.at(step) * factor) for step, factor in zip(steps, factors, strict=False))
    speeds = tuple(
        replace(choice, speed=(1.0 if choice.speed is None else choice.speed) * factor)
        for choice, factor in zip(arrival.job.flavors or (), factors[len(steps) :], strict=True)
    )
    return replace(seen, curve=Points(rates), flavors=speeds if arrival.job.flavors is not None else None)
