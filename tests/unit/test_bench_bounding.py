"""The mean JCT that no policy is below: near what can be worked out by hand, and never above what is possible."""

from functools import cache
from itertools import product
from random import Random
from statistics import fmean

import pytest

from apportion.cli.policy import PLAYED
from apportion.model.policy import Policy
from apportion.simulator import Contender, Course, Measuring, Mix, Setting, Trace, trial
from bench.bounding import Way, Work, least_mean_seconds, room_of, works
from bench.simulation import cluster


def work(seconds: float, most: int = 1, came: float = 0.0, flavor: str = "a") -> Work:
    """On one accelerator; twice as many take half as long."""
    return Work(came, tuple(Way(flavor, count, count / seconds) for count in range(1, most + 1)))


def test_a_job_that_has_the_cluster_to_itself_is_at_its_best() -> None:
    assert least_mean_seconds([work(100.0, most=4), work(100.0, came=500.0)], {"a": 8}) == pytest.approx(62.5)


def test_the_shorter_of_two_goes_first_where_there_is_room_for_one() -> None:
    assert least_mean_seconds([work(200.0), work(100.0)], {"a": 1}) == pytest.approx(200.0, rel=0.03)


def test_a_flavor_has_no_more_than_its_accelerators() -> None:
    jobs = [work(100.0), work(100.0), work(100.0, flavor="b")]
    assert least_mean_seconds(jobs, {"a": 1, "b": 5}) == pytest.approx(400 / 3, rel=0.03)


def test_nothing_is_done_before_it_has_come() -> None:
    jobs = [work(1.0), work(100.0, came=1000.0), work(100.0, came=1000.0)]
    assert least_mean_seconds(jobs, {"a": 1}) == pytest.approx(301 / 3, rel=0.06)


def test_nobody_makes_up_for_what_others_took_by_being_faster_than_alone() -> None:
    """The short ones end after 40/3 s if the long one has one of four accelerators from the beginning."""
    jobs = [*(work(10.0) for _ in range(4)), work(100.0)]
    assert least_mean_seconds(jobs, {"a": 4}) == pytest.approx((4 * (20 / 3 + 5) + 100) / 5, rel=0.03)


Jobs = tuple[tuple[int, int, int], ...]  # (seconds on one accelerator, most accelerators, when it comes)


@cache
def best(left: tuple[int, ...], jobs: Jobs, room: int, now: int) -> int:
    """The least sum of all ends of what is left, by trying everything second by second; counted from now on."""
    if not any(left):
        return 0
    able = [range(min(most, rest) + 1 if came <= now else 1) for rest, (_, most, came) in zip(left, jobs, strict=True)]
    ways = [way for way in product(*able) if sum(way) <= room]
    after = {tuple(rest - given for rest, given in zip(left, way, strict=True)) for way in ways}
    if now >= max(came for _, _, came in jobs):
        after.discard(left)
    return sum(rest > 0 for rest in left) + min(best(one, jobs, room, now + 1) for one in after)


def test_every_schedule_of_a_small_case_is_above() -> None:
    shares = []
    for seed in range(15):
        random = Random(seed)
        room = random.randint(1, 3)
        jobs = tuple((random.randint(1, 6), random.randint(1, room), random.randint(0, 4)) for _ in range(4))
        stay = best(tuple(seconds for seconds, _, _ in jobs), jobs, room, 0) - sum(came for _, _, came in jobs)
        least = least_mean_seconds([work(*one) for one in jobs], {"a": room})
        assert least <= stay / 4 + 1e-6
        shares.append(least / (stay / 4))
    assert fmean(shares) > 0.85


@pytest.mark.parametrize("rule", ["program", "fifo", "max-min"])
def test_no_policy_that_is_played_is_below(rule: str) -> None:
    start = cluster(1)
    trace = Trace("generated", mix=Mix(jobs=8, hours=0.5, load=2.0, elastic=0.9))
    found = trial(
        Setting(start, trace, Course(measuring=Measuring())), Contender(rule, start, Policy(), PLAYED[rule]), 7
    )
    least = least_mean_seconds(works(trace.jobs(start, 7), start), room_of(start))
    assert 0.3 * (found.values["jctMean"] or 0.0) < least < (found.values["jctMean"] or 0.0)
