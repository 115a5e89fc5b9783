"""When a round starts after changes, and that news waits for a round; clocks are arguments."""

import threading

import pytest

from apportion.controller.debounce import Debounce
from apportion.controller.precedence import LONG_SECONDS, LONGEST_SECONDS, Precedence


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def marked(times: list[float], cost: float = 0.0, arrivals: int = 0) -> tuple[Debounce, Clock]:
    """Changes at these times, the first of which are arrivals of jobs; the clock stands at the last of them."""
    clock = Clock()
    debounce = Debounce(0.15, 1.0, clock)
    for _ in range(2):
        debounce.took(cost)
    for number, time in enumerate(times):
        clock.now = 100.0 + time
        debounce.mark(arrival=number < arrivals)
    return debounce, clock


def due_in(times: list[float], cost: float = 0.0, arrivals: int = 0) -> float:
    wait = marked(times, cost, arrivals)[0].due_in()
    assert wait is not None
    return round(wait, 6)


def test_after_few_changes_a_round_waits_for_the_whole_silence() -> None:
    assert due_in([0.0]) == 0.15
    assert due_in([0.0, 0.001, 0.002]) == 0.15


def test_the_end_of_a_burst_is_seen_sooner() -> None:
    assert due_in([0.001 * at for at in range(50)]) == 0.03


def test_a_burst_with_gaps_is_waited_for_as_its_longest_gap_says() -> None:
    times = [0.001 * at for at in range(50)]
    assert due_in([*times, 0.089]) == 0.08
    assert due_in([*times, 0.149]) == 0.15


def test_changes_without_end_do_not_put_a_round_off_for_more_than_the_longest_time() -> None:
    assert due_in([0.1 * at for at in range(10)]) == 0.1
    assert due_in([0.1 * at for at in range(11)]) == 0.0


def test_while_jobs_arrive_a_round_waits_for_the_last_of_them_but_not_for_ever() -> None:
    until = {seconds: [0.01 * at for at in range(100 * seconds + 1)] for seconds in (2, 5)}
    assert due_in(until[2], arrivals=201) == 0.03
    assert due_in(until[2], cost=0.7, arrivals=201) == 0.7
    assert due_in(until[5], arrivals=501) == 0.0


def test_changes_that_go_on_after_the_last_arrival_put_a_round_off_no_longer() -> None:
    times = [0.01 * at for at in range(201)]
    assert due_in(times, arrivals=191) == 0.03
    assert due_in(times, arrivals=186) == 0.0


FEW = [0.13 * at for at in range(9)]


def test_where_few_jobs_arrive_the_usual_longest_time_holds() -> None:
    assert due_in(FEW, arrivals=9) == 0.0


def test_jobs_that_a_round_has_taken_make_no_burst_of_a_few_more() -> None:
    debounce, clock = marked([0.001 * at for at in range(50)], arrivals=50)
    debounce.taken()
    began = clock.now
    for time in FEW:
        clock.now = began + time
        debounce.mark(arrival=True)
    assert debounce.due_in() == 0.0


@pytest.mark.parametrize("arrivals", [0, 201])
def test_silence_ends_a_burst_of_jobs_however_long_it_was(arrivals: int) -> None:
    debounce, clock = marked([0.01 * at for at in range(201)], arrivals=arrivals)
    clock.now += 0.03
    assert debounce.due_in() == pytest.approx(0.0)
    assert debounce.ended_burst() == (arrivals > 0)


def test_where_deciding_is_long_rounds_wait_for_as_long_a_silence() -> None:
    many = [0.001 * at for at in range(50)]
    assert due_in(many, cost=0.7) == 0.7
    assert due_in([0.1 * at for at in range(14)], cost=0.7) == 0.1


def test_one_long_round_between_short_ones_makes_no_round_wait() -> None:
    debounce, _ = marked([0.0])
    for cost, wait in ((0.5, 0.15), (0.01, 0.15), (0.5, 0.15), (0.6, 0.5), (0.01, 0.15)):
        debounce.took(cost)
        assert debounce.due_in() == pytest.approx(wait)


def test_a_burst_that_a_round_has_taken_says_nothing_of_the_next_one() -> None:
    debounce, clock = marked([0.001 * at for at in range(50)])
    debounce.taken()
    assert debounce.due_in() is None
    clock.now += 5
    debounce.mark()
    assert debounce.due_in() == pytest.approx(0.15)


def reader_of(precedence: Precedence) -> tuple[threading.Thread, threading.Event]:
    """A thread that hands over one piece of news; the event says that it has."""
    over = threading.Event()

    def hand_over() -> None:
        precedence.give_way()
        over.set()

    thread = threading.Thread(target=hand_over, daemon=True)
    thread.start()
    return thread, over


def test_news_waits_until_the_round_is_over() -> None:
    precedence = Precedence()
    with precedence.held():
        thread, over = reader_of(precedence)
        assert not over.wait(0.05)
    assert over.wait(5)
    thread.join(5)
    assert not precedence.delayed


def test_after_its_longest_time_a_round_keeps_nobody_waiting() -> None:
    clock = Clock()
    precedence = Precedence(clock)
    with precedence.held():
        clock.now += LONGEST_SECONDS
        _, over = reader_of(precedence)
        assert over.wait(5)


def test_a_long_round_says_that_news_was_delayed_and_one_that_nobody_waited_for_does_not() -> None:
    clock = Clock()
    precedence = Precedence(clock)
    with precedence.held():
        clock.now += LONG_SECONDS
    assert not precedence.delayed
    with precedence.held():
        _, over = reader_of(precedence)
        assert not over.wait(0.05)
        clock.now += LONG_SECONDS
    assert over.wait(5)
    assert precedence.delayed
