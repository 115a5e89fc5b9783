"""What measurements make of a job's curve, of its speeds, and of those of the others."""

from dataclasses import replace

import pytest

from apportion.learning import informed
from apportion.learning.fitting import PER_REPLICA, Measured, fitted
from apportion.learning.knowing import Asked, known_of
from apportion.learning.speeds import MOST_APART, levels
from apportion.model.curves import GLOBAL_BATCH, PER_REPLICA_BATCH, Learned, Points, Usl
from apportion.model.eligibility import speed
from apportion.model.jobs import FlavorChoice, Job, Memory
from apportion.model.measured import Observation, Record
from builders import A100, H100, NOW, job, nodes

ON = (*nodes(2), *nodes(2, flavor="a100"))
FLAVORS = (A100, H100)


def measured(base: Job, *points: tuple[int, float], flavor: str = "h100", restart: float | None = None) -> Job:
    """The job with these (replicas, rate) added to its record."""
    seen = tuple(Observation(replicas, flavor, rate, NOW) for replicas, rate in points)
    record = Record((*base.memory.record.points, *seen), restart)
    return replace(base, memory=Memory(record=record))


def told(*jobs: Job) -> tuple[Job, ...]:
    return informed(jobs, FLAVORS, ON)


def rate(found: Job, replicas: int, flavor: str = "h100") -> float:
    return found.curve.at(replicas) * speed(found, {"h100": H100, "a100": A100}[flavor])


def test_jobs_of_which_nothing_was_measured_stay_as_they_are() -> None:
    before = (job("a"), job("b", curve=GLOBAL_BATCH))
    assert all(after is old for after, old in zip(told(*before), before, strict=True))


def test_measurements_override_what_is_usual_quickly() -> None:
    [one] = told(measured(job("a", 1, 8), (1, 100)))
    [two] = told(measured(job("a", 1, 8), (1, 100), (2, 120)))
    assert rate(one, 2) == pytest.approx(200 * 1 / 1.017, rel=0.05), "the prior alone"
    assert rate(two, 2) == pytest.approx(120, rel=0.1), "a second size, far from the prior, wins"


def test_a_curve_goes_through_what_was_measured() -> None:
    truth = Usl(250.0, 0.08, 0.001)
    [found] = told(measured(job("a", 1, 64), *((n, truth.at(n)) for n in (1, 2, 4, 8, 16))))
    for count in (1, 3, 8, 12, 16):
        assert rate(found, count) == pytest.approx(truth.at(count), rel=0.08)


def test_nothing_is_promised_beyond_twice_the_largest_measured_size() -> None:
    [found] = told(measured(job("a", 1, 64), (1, 100), (2, 200), (4, 400)))
    assert rate(found, 8) > 1.5 * rate(found, 4)
    assert rate(found, 9) == rate(found, 64) == rate(found, 8)


def test_the_minimum_is_always_within_reach() -> None:
    [found] = told(measured(job("a", 12, 64), (2, 200)))
    assert rate(found, 12) > 1.5 * rate(found, 4)


def test_no_report_makes_a_job_scale_better_than_proportionally() -> None:
    """A job that says whatever it likes of its rates is at most as eager as one that declares to scale perfectly."""
    [found] = told(measured(job("a", 1, 64), (1, 1), (2, 1e6), (4, 1e12)))
    for count in (2, 4, 8, 64):
        assert rate(found, count) / rate(found, 1) <= count * (1 + 1e-9)


def test_reports_in_another_unit_say_the_same() -> None:
    small, large = told(measured(job("a"), (1, 1), (2, 1.8)), measured(job("b"), (1, 1e9), (2, 1.8e9)))
    for count in (1, 2, 3, 4):
        assert rate(large, count) / rate(large, 1) == pytest.approx(rate(small, count) / rate(small, 1))


def test_what_the_second_node_costs_is_not_taken_for_contention() -> None:
    """8 on a node; from 9 on each replica has 0.6 of its rate, and would keep it."""
    seen = tuple(Measured(n, 100.0 * n * (0.6 if n > 8 else 1.0)) for n in (2, 4, 8, 16))
    knowing, ignorant = fitted(seen, PER_REPLICA, 8, 1), fitted(seen, PER_REPLICA, 0, 1)
    assert knowing.at(32) == pytest.approx(0.6 * 3200, rel=0.2)
    assert knowing.at(8) == pytest.approx(800, rel=0.05)
    assert abs(ignorant.at(32) - 1920) > 2 * abs(knowing.at(32) - 1920)


def test_the_largest_node_of_the_flavor_is_where_the_second_one_begins() -> None:
    [found] = told(measured(job("a", 1, 64, each=2), (1, 100)))
    assert isinstance(found.curve, Learned)
    assert found.curve.block == 4


def test_old_measurements_count_less() -> None:
    day = 86_400.0

    def curve(age: float) -> Learned:
        return fitted((Measured(1, 100.0), Measured(2, 200.0), Measured(4, 150.0, age)), PER_REPLICA, 0, 1)

    assert curve(5 * day).at(4) > 1.2 * curve(0.0).at(4)


def test_the_fit_is_less_sure_the_less_it_has_seen() -> None:
    few = fitted((Measured(1, 100.0),), PER_REPLICA, 0, 16)
    many = fitted(tuple(Measured(n, 100.0 * n) for n in (1, 2, 4, 8)), PER_REPLICA, 0, 16)
    assert 0 < many.spread < few.spread


def test_a_declared_curve_keeps_its_shape_and_takes_its_height_from_measurements() -> None:
    declared = Points(((1, 10.0), (2, 15.0), (4, 18.0)))
    [found] = told(measured(job("a", curve=declared, declared=True), (1, 100), (2, 210)))
    assert rate(found, 4) / rate(found, 1) == pytest.approx(1.8)
    assert rate(found, 1) == pytest.approx(100 * 1.4**0.5, rel=0.01), "between 100 / 10 and 210 / 15"


def test_a_declared_curve_that_says_nothing_of_what_was_measured_keeps_its_height() -> None:
    declared = Points(((1, 0.0), (4, 18.0)))
    [found] = told(measured(job("a", curve=declared, declared=True), (1, 100)))
    assert rate(found, 4) == 18.0


def test_a_declared_speed_stays() -> None:
    asked = job("a", flavors=(FlavorChoice("h100"), FlavorChoice("a100", 0.45)))
    seen = measured(measured(asked, (1, 100)), (1, 90), flavor="a100")
    [found] = told(seen)
    assert speed(found, A100) == 0.45


def test_the_job_s_own_speed_of_a_flavor_is_measured() -> None:
    """The catalog says 0.5; this job is at 0.8 of its rate there."""
    [found] = told(measured(measured(job("a", 1, 8), (1, 100), (2, 196)), (2, 157), flavor="a100"))
    assert rate(found, 2, "a100") / rate(found, 2) == pytest.approx(0.8, rel=0.03)


def test_the_job_s_own_speed_counts_before_that_of_the_others() -> None:
    others = [measured(measured(job(f"o{n}"), (1, 100)), (1, 20), flavor="a100") for n in range(3)]
    *_, found = told(*others, measured(measured(job("own"), (1, 100)), (1, 80), flavor="a100"))
    assert rate(found, 1, "a100") / rate(found, 1) == pytest.approx(0.8, rel=0.03)


def test_a_size_that_was_measured_elsewhere_counts_for_the_shape() -> None:
    """The h100 knows one and two; the a100, at half the speed, that nothing is gained from two to eight."""
    fast = measured(job("a", 1, 8), (1, 100), (2, 196))
    [found] = told(measured(fast, (2, 98), (8, 98), flavor="a100"))
    assert rate(found, 8) / rate(found, 2) < 1.4


def test_a_size_far_beyond_the_reach_does_not_make_its_flavor_seem_fast() -> None:
    """Sixteen on the a100 are not compared with four on the h100."""
    fast = measured(job("a", 1, 16), (1, 100), (2, 198))
    [found] = told(measured(fast, (16, 600), flavor="a100"))
    assert speed(found, A100) / speed(found, H100) < 0.7


def test_a_flavor_on_which_nobody_was_is_as_the_catalog_says() -> None:
    [found] = told(measured(job("a"), (1, 100)))
    assert rate(found, 1, "a100") == pytest.approx(0.5 * rate(found, 1))


def test_a_job_never_seen_takes_the_mean_of_the_speeds_of_the_others() -> None:
    def on_both(name: str, relative: float) -> Job:
        return measured(measured(job(name), (1, 100)), (1, 100 * relative), flavor="a100")

    *_, fresh = told(on_both("a", 0.8), on_both("b", 0.2), job("never"))
    assert speed(fresh, A100) / speed(fresh, H100) == pytest.approx(0.4, rel=0.01), "the geometric mean"
    assert fresh.curve == PER_REPLICA_BATCH


def test_a_job_seen_on_one_flavor_takes_the_others_word_for_the_second() -> None:
    both = measured(measured(job("a"), (1, 100)), (1, 80), flavor="a100")
    _, one = told(both, measured(job("b"), (1, 7)))
    assert rate(one, 1, "a100") / rate(one, 1) == pytest.approx(0.8, rel=0.01)


def test_one_liar_moves_the_mean_by_his_bounded_share() -> None:
    honest = [measured(measured(job(f"h{n}"), (1, 100)), (1, 50), flavor="a100") for n in range(9)]
    liar = measured(measured(job("liar"), (1, 100)), (1, 1e14), flavor="a100")
    *_, fresh = told(*honest, liar, job("never"))
    assert 0.5 <= speed(fresh, A100) / speed(fresh, H100) <= 0.5 * MOST_APART ** (2 / 10)


def test_a_liar_s_own_speed_is_bounded() -> None:
    honest = [measured(measured(job(f"h{n}"), (1, 100)), (1, 50), flavor="a100") for n in range(9)]
    liar = told(*honest, measured(measured(job("liar"), (1, 100)), (1, 1e14), flavor="a100"))[-1]
    assert speed(liar, A100) / speed(liar, H100) <= 0.5 * MOST_APART * MOST_APART ** (2 / 10) * 1.01


def test_a_measured_restart_counts_within_four_times_what_was_declared() -> None:
    asked = job("a", restart_seconds=60.0)
    costs = (90.0, 1.0, 9000.0)
    found = [told(measured(asked, (1, 100), restart=cost))[0].restart_seconds for cost in costs]
    assert found == [90.0, 15.0, 240.0]


def test_a_measured_restart_counts_where_no_rate_was_measured() -> None:
    [found] = told(measured(job("a", restart_seconds=60.0), restart=90.0))
    assert found.restart_seconds == 90.0


def test_of_a_job_with_a_fixed_batch_less_is_expected_of_more_replicas() -> None:
    [fixed, grows] = told(measured(job("a", 1, 8, curve=GLOBAL_BATCH), (1, 100)), measured(job("b", 1, 8), (1, 100)))
    assert rate(fixed, 8) < rate(grows, 8)


def test_of_two_flavors_the_one_that_was_seen_last_is_what_the_curve_is_of() -> None:
    def seen(last: str) -> str:
        points = tuple(Observation(1, name, 100.0, NOW + (name == last)) for name in ("a100", "h100"))
        return known_of(Asked(points, PER_REPLICA_BATCH, False, 1, (("a100", 8), ("h100", 8)))).base

    assert (seen("a100"), seen("h100")) == ("a100", "h100")


def test_a_declared_curve_that_gives_no_rate_says_nothing_of_flavors() -> None:
    seen = (Observation(2, "h100", 100.0, NOW),)
    for curve in (Points(()), Points(((1, float("inf")),)), Usl(1.0, -1.0)):
        assert levels(seen, curve) == {}
