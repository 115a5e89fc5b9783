"""Times are the API server's, whatever this machine's clock says."""

import pytest

from apportion.kube.clock import ServerClock

NOON = "Wed, 25 Nov 2026 12:00:00 GMT"
NOON_SECONDS = 1795608000.0


@pytest.mark.parametrize("off", [3600.0, -3600.0, 3.0])
def test_a_wrong_clock_is_put_right_by_the_first_reply(off: float) -> None:
    clock = ServerClock(lambda: NOON_SECONDS + off)
    assert clock.now() == NOON_SECONDS + off
    clock.hear(NOON, 0.1)
    assert clock.now() == NOON_SECONDS


def test_a_right_clock_is_left_alone_since_the_header_has_whole_seconds() -> None:
    clock = ServerClock(lambda: NOON_SECONDS + 0.9)
    clock.hear(NOON, 0.1)
    assert clock.now() == NOON_SECONDS + 0.9


def test_a_clock_that_is_set_right_meanwhile_is_followed() -> None:
    times = iter([NOON_SECONDS + 3600, NOON_SECONDS, NOON_SECONDS])
    clock = ServerClock(lambda: next(times))
    clock.hear(NOON, 0.1)
    clock.hear(NOON, 0.1)
    assert clock.now() == NOON_SECONDS


@pytest.mark.parametrize(("date", "took"), [(NOON, 30.0), ("", 0.1), ("yesterday", 0.1)])
def test_a_reply_that_was_long_under_way_or_tells_no_time_is_not_heard(date: str, took: float) -> None:
    clock = ServerClock(lambda: NOON_SECONDS + 3600)
    clock.hear(date, took)
    assert clock.now() == NOON_SECONDS + 3600
