"""The simulator against queueing theory, where a closed form exists: rigid jobs, first come, first served."""

import math
from collections.abc import Sequence
from random import Random
from statistics import fmean, stdev

import pytest

from apportion.baselines import BASELINES
from apportion.model.curves import Usl
from apportion.model.policy import Policy
from apportion.simulator import Arrival, Course, Finished, Rules, Scheduler, least_allocated, play, tally
from builders import job, node, snapshot

LINEAR = Usl(1.0, 0.0)
SERVICE = 60.0
TICK = 0.05
JOBS = 320
BATCHES = 16


def arriving(seed: int, rate: float) -> list[Arrival]:
    """Poisson arrivals of jobs of one accelerator with exponential work."""
    random, at, found = Random(seed), 0.0, []
    for number in range(JOBS):
        at += random.expovariate(rate)
        spec = job(f"j{number:05}", 1, 1, curve=LINEAR)
        found.append(Arrival(at, spec, random.expovariate(1 / SERVICE), LINEAR))
    return found


def served(arrivals: Sequence[Arrival], servers: int) -> list[Finished]:
    """Decisions every twentieth of a second, a thousandth of a mean service."""
    start = snapshot(on=(node("n", servers),), now=0.0, round=0)
    rules = Rules(Policy(), BASELINES["fifo"])
    steps = play(start, arrivals, rules, Scheduler(least_allocated, Random(1)), Course(TICK, TICK))
    return sorted(tally(steps).finished, key=lambda one: one.came)


def by_hand(arrivals: Sequence[Arrival], servers: int) -> list[float]:
    """Times in system by the recursion of Kiefer and Wolfowitz: whoever comes takes the server that is free first."""
    free, times = [0.0] * servers, []
    for one in arrivals:
        free.sort()
        free[0] = max(free[0], one.at) + one.work
        times.append(free[0] - one.at)
    return times


def within(times: Sequence[float], expected: float) -> bool:
    """By batch means, four standard errors: neighbours in a queue wait alike."""
    size = len(times) // BATCHES
    means = [fmean(times[at * size : (at + 1) * size]) for at in range(BATCHES)]
    return abs(fmean(times) - expected) < 4 * stdev(means) / math.sqrt(BATCHES)


def erlang_c(servers: int, offered: float) -> float:
    """The probability to wait."""
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (3, 0.7)], ids=["M/M/1", "M/M/3"])
def test_time_in_system_is_what_theory_says(servers: int, load: float) -> None:
    """1 / (mu - lambda) for one server; 1 / mu + C / (c mu - lambda) for c, with Erlang's C."""
    mu = 1 / SERVICE
    rate = load * servers * mu
    arrivals = arriving(3, rate)
    found = served(arrivals, servers)
    times = [one.seconds for one in found]
    expected = 1 / mu + erlang_c(servers, rate / mu) / (servers * mu - rate)
    if servers == 1:
        assert expected == pytest.approx(1 / (mu - rate))
    assert within(times, expected)
    exact = by_hand(arrivals, servers)
    # Each start waits for the next tick, so each busy period is late by at most one a job.
    assert fmean(times) == pytest.approx(fmean(exact), rel=0.01)
    assert max(abs(a - b) for a, b in zip(times, exact, strict=True)) < 10.0
