"""What is watched and what is not, with no server: as the connections of kopf tell it."""

import pytest

from apportion.controller.sight import Sight
from apportion.kube.kinds import DEPLOYMENT, JOB, NODE, POD, WATCHED, places


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def seen_whole(clock: Clock, *namespaces: str) -> Sight:
    """Everything was listed by ourselves; then kopf lists and watches everything; then we listed again."""
    sight = Sight(namespaces, clock)
    for kind in WATCHED:
        sight.listed(kind, clock.now)
    for kind in WATCHED:
        for place in places(kind, namespaces):
            for watching in (False, True):
                sight.asked(kind.path(place), watching)
                sight.answered(kind.path(place), watching, 200)
    for kind in WATCHED:
        sight.listed(kind, clock.now)
    return sight


def test_what_is_watched_is_known_however_long_ago_it_was_listed(clock: Clock) -> None:
    sight = seen_whole(clock)

    clock.now += 3600

    assert sight.unwatched() == {}
    assert sight.unsure() == set()
    assert sight.age() == 0.0


def test_before_anything_was_listed_nothing_is_known(clock: Clock) -> None:
    assert Sight((), clock).age() == float("inf")


def test_a_watch_that_is_refused_again_and_again_ages_from_the_first_time_and_says_why(clock: Clock) -> None:
    sight = seen_whole(clock)
    for _ in range(10):
        for watching, code in ((False, 200), (True, 403)):
            sight.asked(POD.path(), watching)
            sight.answered(POD.path(), watching, code)
        clock.now += 10

    assert sight.unwatched() == {POD: 100.0}
    assert sight.why(POD) == "status 403"
    assert sight.age() == 100.0

    sight.asked(POD.path(), True)
    sight.failed(POD.path(), "no route to host")
    assert sight.why(POD) == "no route to host"
    sight.answered(POD.path(), True, 200)
    assert sight.unwatched() == {}
    assert sight.why(POD) == ""


def test_a_list_stands_in_for_a_watch(clock: Clock) -> None:
    sight = seen_whole(clock)
    sight.asked(NODE.path(), True)
    clock.now += 100
    sight.listed(NODE, clock.now - 5)

    assert sight.unsure() == {NODE}
    assert sight.anew() == set(), "there is nothing new to look for in a hurry"
    assert sight.unwatched() == {NODE: 100.0}
    assert sight.age() == 5.0


def test_a_request_that_is_never_answered_is_no_watch(clock: Clock) -> None:
    sight = seen_whole(clock)
    sight.asked(POD.path(), True)
    clock.now += 70

    assert sight.unwatched() == {POD: 70.0}


def test_when_kopf_ends_nothing_is_watched(clock: Clock) -> None:
    sight = seen_whole(clock)
    clock.now += 10
    sight.ended()
    clock.now += 20

    assert sight.unwatched() == dict.fromkeys(WATCHED, 20.0)
    assert sight.age() == 20.0


def test_after_a_list_of_kopfs_what_vanished_is_to_be_found_by_a_list_that_began_later(clock: Clock) -> None:
    sight = seen_whole(clock)
    before = clock.now
    clock.now += 1
    for watching in (False, True):
        sight.asked(JOB.path(), watching)
        sight.answered(JOB.path(), watching, 200)
    assert sight.unsure() == sight.anew() == {JOB}

    sight.listed(JOB, before)
    assert sight.unsure() == sight.anew() == {JOB}
    sight.listed(JOB, clock.now)
    assert sight.unsure() == sight.anew() == set()


def test_a_watch_that_goes_on_from_where_it_was_has_missed_nothing(clock: Clock) -> None:
    sight = seen_whole(clock)
    sight.asked(JOB.path(), True)
    sight.answered(JOB.path(), True, 200)

    assert sight.unsure() == set()


def test_of_a_kind_in_several_namespaces_each_must_be_watched(clock: Clock) -> None:
    sight = seen_whole(clock, "red", "blue")
    sight.asked(DEPLOYMENT.path("blue"), True)
    clock.now += 30
    assert sight.unwatched() == {DEPLOYMENT: 30.0}

    sight.asked(DEPLOYMENT.path("red"), True)
    sight.answered(DEPLOYMENT.path("red"), True, 200)
    assert sight.unwatched() == {DEPLOYMENT: 30.0}
    assert sight.age() == 30.0


def test_other_requests_of_kopf_are_of_no_consequence(clock: Clock) -> None:
    sight = seen_whole(clock)
    for path in ("/apis/apps/v1", "/api/v1/namespaces/a/pods/b"):
        sight.asked(path, False)
        sight.answered(path, False, 404)
        sight.failed(path, "gone")

    assert sight.unwatched() == {}


def test_whole_is_what_was_watched_at_the_same_time_once(clock: Clock) -> None:
    sight = Sight((), clock)
    for kind in WATCHED:
        assert not sight.whole.is_set()
        sight.asked(kind.path(), True)
        sight.answered(kind.path(), True, 200)
        if kind is NODE:
            sight.ended()
    assert not sight.whole.is_set(), "what came before the end is not watched any more"
    for kind in WATCHED:
        sight.asked(kind.path(), True)
        sight.answered(kind.path(), True, 200)
    assert sight.whole.is_set()
    sight.ended()
    assert sight.whole.is_set()
