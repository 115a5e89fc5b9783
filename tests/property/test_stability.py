"""The stability figures in short: how seldom jobs are resized, each beside the value that is reached.

`make bench BENCH=stability` plays the long forms, and docs/benchmarks.md has their figures, with those that are missed.
"""

import pytest

from bench.stability import Day, Size, day, square_wave, steady

SMALL = Size(2, 10)


@pytest.mark.parametrize(("one_by_one", "least"), [(False, 0.98), (True, 0.88)], ids=["at once", "one by one"])
@pytest.mark.parametrize("seed", [1, 2])
def test_noise_alone_resizes_nobody(seed: int, one_by_one: bool, least: float) -> None:
    """Every rate is measured with 10 % noise, averaged over ten rounds. The bound lets pods move."""
    found = steady(SMALL, seed, 60, one_by_one)
    assert (found.resizes, found.waiting) == (0, 0)
    assert found.reached >= least


@pytest.mark.parametrize("seed", [1, 2])
def test_a_wave_of_jobs_is_settled_within_five_rounds(seed: int) -> None:
    edges = square_wave(SMALL, seed, waves=1, half=30)
    assert [edge.up for edge in edges] == [True, False]
    for edge in edges:
        assert edge.settled <= 5
        assert edge.resizes > 0
        assert edge.reached >= 0.95


def test_some_hours_at_load_1_restart_seldom_and_keep_the_rate() -> None:
    real, ideal = day(Day(Size(1, 16), seconds=21_600.0), seed=2)
    assert len(real.finished) == len(ideal.finished) == 16
    assert 0 < real.restarts_a_job <= 2.0
    assert real.lost_share < 0.02
    assert real.normalised_rate >= 0.93 * ideal.normalised_rate
