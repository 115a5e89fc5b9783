"""Which samples become observations, and which never do."""

from dataclasses import replace

from apportion.learning import (
    Stay,
    noted,
    observation,
    refused,
    restart_cost,
    sampled,
    stay_of,
    with_progress,
    with_restart,
)
from apportion.learning.following import MOST_POINTS, MOST_SAMPLES, TOLD_AGAIN_SECONDS, WINDOW, Sample
from apportion.model.jobs import Job
from apportion.model.measured import NO_RECORD, Observation
from builders import LONG_AGO, NOW, job, running

SETTLE = 60.0


def resized(base: Job, replicas: int, ready_after: float | None, at: float = NOW) -> Job:
    """A grant at `at`, whose pods are all ready so many seconds later (None: never)."""
    found = running(base, {"n1": replicas}, since=at)
    ready = None if ready_after is None else at + ready_after
    pods = [replace(pod, ready=ready is not None, ready_since=ready) for pod in found.pods]
    return replace(found, pods=tuple(pods))


def followed(stay: Stay | None, samples: list[tuple[float, float]]) -> Stay:
    """With samples (seconds after NOW, rate)."""
    assert stay is not None
    for seconds, rate in samples:
        stay = sampled(stay, rate, NOW + seconds, SETTLE)
    return stay


def beginning() -> Stay:
    """A stay of 4 replicas that began with a resize at NOW, all of them ready 20 seconds later."""
    before = stay_of(running(job("a"), {"n1": 2}), None)
    waiting = stay_of(resized(job("a"), 4, None), before)
    found = stay_of(resized(job("a"), 4, 20.0), waiting)
    assert found is not None
    return found


def test_what_a_job_does_before_it_has_settled_is_not_learned() -> None:
    early = followed(beginning(), [(30, 10), (45, 20), (60, 30), (75, 40)])
    assert observation(early) is None
    late = followed(early, [(90, 400), (105, 404), (120, 396)])
    assert observation(late) == Observation(4, "h100", 400.0, NOW + 120)


def test_two_samples_are_no_rate_yet() -> None:
    assert observation(followed(beginning(), [(90, 400), (105, 400)])) is None


def test_a_wild_sample_changes_nothing() -> None:
    samples = [(90, 400), (105, 401), (120, 1e12), (135, 399), (150, 0.001)]
    assert observation(followed(beginning(), samples)) == Observation(4, "h100", 400.0, NOW + 150)


def test_a_rate_of_zero_is_a_pause_and_no_rate() -> None:
    samples = [(90, 400), (105, 0), (120, 0), (135, 0), (150, 400)]
    assert observation(followed(beginning(), samples)) is None


def test_a_restart_costs_from_the_resize_to_the_first_good_rate() -> None:
    samples = [(30, 5), (45, 200), (60, 390), (90, 400), (105, 401), (120, 399)]
    assert restart_cost(followed(beginning(), samples), 400.0) == 60.0


def test_a_restart_is_counted_once() -> None:
    assert restart_cost(followed(beginning(), [(60, 390)]).counted(), 400.0) is None


def test_a_resize_that_was_not_watched_from_its_beginning_costs_nothing_known() -> None:
    joined = stay_of(resized(job("a"), 4, 20.0), None)
    assert restart_cost(followed(joined, [(300, 400)]), 400.0) is None


def test_a_pod_that_fell_out_and_came_back_is_no_resize() -> None:
    joined = followed(stay_of(resized(job("a"), 4, 20.0), None), [(90, 400), (105, 400), (120, 400)])
    fallen = stay_of(resized(job("a"), 4, None), joined)
    again = stay_of(resized(job("a"), 4, 300.0), fallen)
    assert restart_cost(followed(again, [(320, 400)]), 400.0) is None
    assert observation(followed(again, [(320, 1), (330, 1), (340, 1)])) is None, "it settles anew"


def test_pods_of_the_old_size_say_nothing_of_the_new_one() -> None:
    old = running(job("a"), {"n1": 4}, since=LONG_AGO)
    granted = running(job("a"), {"n1": 4}, flavor="a100", since=NOW)
    moved = replace(granted, pods=old.pods)
    stay = followed(stay_of(moved, stay_of(old, None)), [(15, 400), (30, 400), (45, 400)])
    assert observation(stay) is None


def test_while_pods_leave_nothing_is_learned() -> None:
    leaving = resized(job("a"), 4, 0.0, at=LONG_AGO)
    leaving = replace(leaving, pods=(*leaving.pods[:3], replace(leaving.pods[3], terminating=True)))
    assert observation(followed(stay_of(leaving, None), [(1, 400), (2, 400), (3, 400)])) is None


def test_a_job_that_has_nothing_is_not_followed() -> None:
    assert stay_of(job("a"), beginning()) is None


def test_numbers_that_are_no_rates_are_refused() -> None:
    assert "not a number" in refused(float("nan"))
    assert "never negative" in refused(-1.0)
    assert "no rate is above" in refused(float("inf"))
    assert "no rate is above" in refused(1e16)
    assert "no rate is below" in refused(1e-300)
    assert refused(0.0) == refused(1e-9) == refused(1e15) == ""


def test_a_record_does_not_change_for_noise() -> None:
    record = noted(NO_RECORD, Observation(4, "h100", 400.0, NOW))
    assert noted(record, Observation(4, "h100", 410.0, NOW + 60)) is record
    changed = noted(record, Observation(4, "h100", 440.0, NOW + 60))
    assert changed.points == (Observation(4, "h100", 440.0, NOW + 60),)


def test_the_age_of_a_rate_is_kept_to_the_hour() -> None:
    record = noted(NO_RECORD, Observation(4, "h100", 400.0, NOW))
    later = noted(record, Observation(4, "h100", 401.0, NOW + TOLD_AGAIN_SECONDS))
    assert later.points == (Observation(4, "h100", 401.0, NOW + TOLD_AGAIN_SECONDS),)


def test_a_record_is_bounded_and_loses_the_oldest() -> None:
    record = NO_RECORD
    for size in range(1, 41):
        record = noted(record, Observation(size, "h100", 100.0 * size, NOW + size))
    assert [point.replicas for point in record.points] == list(range(41 - MOST_POINTS, 41))


def test_one_slow_restart_is_half_of_what_is_known() -> None:
    record = with_restart(with_restart(NO_RECORD, 100.0), 300.0)
    assert record.restart_seconds == 200.0


def test_progress_is_told_by_the_hundredth_and_at_the_end() -> None:
    record = with_progress(NO_RECORD, 0.5, NOW)
    assert with_progress(record, 0.505, NOW + 60) is record
    assert with_progress(record, 0.51, NOW + 60).progress == 0.51
    assert with_progress(record, 0.4, NOW + 60).progress == 0.4, "a checkpoint was lost"
    nearly = with_progress(record, 0.995, NOW)
    assert with_progress(nearly, 1.0, NOW + 60).progress == 1.0


def test_a_resize_whose_pods_were_all_ready_once_is_over_also_when_one_falls_out_later() -> None:
    ready = beginning()
    out = stay_of(resized(job("a"), 4, None), ready)
    assert out is not None
    back = followed(stay_of(resized(job("a"), 4, 500.0), out), [(600, 400), (620, 400), (640, 400)])
    assert restart_cost(back, 400.0) is None


def test_the_first_sample_counts_when_the_job_has_settled_to_the_second() -> None:
    assert len(followed(beginning(), [(20 + SETTLE - 1, 400)]).recent) == 0
    assert len(followed(beginning(), [(20 + SETTLE, 400)]).recent) == 1


def test_of_a_stay_no_more_samples_are_kept_than_are_of_use() -> None:
    long = followed(beginning(), [(100 + 15 * at, 400) for at in range(200)])
    assert (len(long.recent), len(long.first)) == (WINDOW, MOST_SAMPLES)
    assert followed(long.counted(), [(9000, 400)]).first == ()


def test_a_good_sample_from_before_the_resize_by_another_clock_costs_nothing() -> None:
    early = replace(beginning(), first=(Sample(400.0, NOW - 3),))
    assert restart_cost(early, 400.0) == 0.0


def test_what_is_written_has_as_many_digits_as_it_is_sure_of() -> None:
    seen = observation(followed(beginning(), [(90 + at, 123.456789) for at in range(3)]))
    assert seen is not None
    assert seen.rate == 123.5
    assert with_restart(NO_RECORD, 12.3456).restart_seconds == 12.3


def test_a_rate_on_one_flavor_replaces_none_on_another() -> None:
    both = noted(noted(NO_RECORD, Observation(2, "h100", 10.0, NOW)), Observation(2, "a100", 5.0, NOW + 1))
    assert [point.flavor for point in both.points] == ["h100", "a100"]
