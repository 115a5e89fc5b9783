"""Who tells how much there is to do goes before others of its queue that have more of it left."""

import math
from dataclasses import replace

import pytest

from apportion.model.curves import Usl
from apportion.model.jobs import Job, Target
from apportion.model.measured import Record
from apportion.model.policy import Policy
from apportion.model.snapshot import Terms
from apportion.planner import decide
from apportion.planner.favour import MOST, favoured
from builders import NOW, job, nodes, queue, quota, snapshot

SCALES = Usl(100.0, 0.05, 0.0)


def sized(name: str, work: float | None, low: int = 1, high: int = 8, **fields: object) -> Job:
    """At its minimum it does 100 a second."""
    target = None if work is None else Target(work=work)
    return job(name, low, high, **{"curve": SCALES, "declared": True, "target": target, "created": NOW, **fields})


def granted(*jobs: Job, gpus: int = 8, **fields: object) -> dict[str, int]:
    decision = decide(snapshot(*jobs, on=nodes(1, gpus), **fields), Policy())
    return {said.key.name: said.target.replicas for said in decision.outcomes}


def favours(*jobs: Job) -> dict[str, float]:
    seen = snapshot(*jobs, on=nodes(1), terms={one.key: Terms() for one in jobs})
    return {one.key.name: one.favour for one in favoured(seen).jobs}


def test_less_work_gets_more_replicas() -> None:
    assert granted(sized("long", None), sized("short", None)) == {"long": 4, "short": 4}
    found = granted(sized("long", 1e7), sized("short", 1e5))
    assert found["short"] > found["long"] > 0


def test_half_the_work_is_twice_the_weight() -> None:
    found = favours(sized("half", 0.5e6), sized("usual", 1e6), sized("double", 2e6))
    assert found == {"half": 2.0, "usual": 1.0, "double": 0.5}, "as docs/learning.md says"


def test_less_work_is_admitted_first() -> None:
    older = sized("older", 1e7, low=8, created=NOW - 300)
    assert granted(older, sized("short", 1e5, low=8, created=NOW - 300)) == {"older": 0, "short": 8}


def test_of_equal_times_the_smaller_gang_goes_first() -> None:
    found = favours(sized("gang", 1e6, low=8, each=8), sized("one", 1e6 * SCALES.at(1) / SCALES.at(8)))
    assert found["one"] > 1 > found["gang"]


def test_replicas_without_accelerators_count_as_one() -> None:
    found = favours(sized("none", 1e5, each=0), sized("other", 1e7))
    assert found["none"] > found["other"]


def test_a_day_of_waiting_outweighs_any_tale() -> None:
    older = sized("older", 1e9, low=8, created=NOW - 24 * 3600)
    assert granted(older, *(sized(f"tale-{number}", 1e-3, low=8, created=NOW) for number in range(2)))["older"] == 8


def test_what_is_done_counts_no_more() -> None:
    nearly = sized("nearly", 1e7)
    nearly = replace(nearly, memory=replace(nearly.memory, record=Record((), None, 0.99, NOW)))
    found = favours(nearly, sized("other", 1e6))
    assert found["nearly"] > 1 > found["other"]


def test_others_of_the_queue_that_say_nothing_keep_the_weight_that_is_usual_there() -> None:
    found = favours(sized("short", 1e5), sized("long", 1e7), sized("silent", None))
    assert found["silent"] == 1.0
    assert found["short"] > 1 > found["long"]


def test_whoever_tells_alone_gains_nothing() -> None:
    assert favours(sized("tells", 1.0), sized("silent", None)) == {"tells": 1.0, "silent": 1.0}


def test_nothing_is_gained_from_other_queues() -> None:
    queues = (queue("one", quota(16)), queue("two", quota(16)))
    jobs = [
        sized(f"{name}-{work:g}", work, queue_name=name) for name, work in (("one", 1e3), ("one", 1e9), ("two", 1e6))
    ]
    silent = [replace(one, target=None) for one in jobs]
    assert granted(*jobs, gpus=24, queues=queues)["two-1e+06"] == granted(*silent, gpus=24, queues=queues)["two-1e+06"]


def test_no_tale_brings_more_than_the_most() -> None:
    tales = favours(sized("tale", 1e-9), *(sized(f"true-{number}", 1e7) for number in range(9)))
    assert tales["tale"] == MOST == 4.0, "as docs/learning.md says"
    assert min(tales.values()) >= 1 / MOST


def test_the_shortest_and_the_longest_tale_there_can_be() -> None:
    assert favours(sized("nothing", 1e-300), sized("all", 1e300, each=10**11)) == {"nothing": MOST, "all": 1 / MOST}


def test_a_little_progress_is_no_other_program() -> None:
    first = favours(sized("a", 1e6), sized("b", 1e7))
    assert favours(sized("a", 0.98e6), sized("b", 0.97e7)) == first


@pytest.mark.parametrize(
    "fields",
    [{"declared": False}, {"target": Target(work=math.inf)}, {"target": Target(throughput=50.0)}],
    ids=["its rate is not known", "endless work", "a rate is its target"],
)
def test_without_a_time_that_is_left_there_is_no_favour(fields: dict[str, object]) -> None:
    found = favours(replace(sized("odd", 1e5), **fields), sized("short", 1e5), sized("long", 1e7))  # type: ignore[arg-type]
    assert found["odd"] == 1.0
    assert found["short"] > 1


def test_who_is_no_candidate_is_nobodys_measure() -> None:
    first, gone = sized("a", 1e6), sized("gone", 1.0)
    seen = snapshot(first, gone, on=nodes(1), terms={first.key: Terms(), gone.key: Terms(candidate=False)})
    assert {one.favour for one in favoured(seen).jobs} == {1.0}
