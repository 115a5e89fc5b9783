"""What a round's taking works with: who could give, in which order, and who is counted as having what."""

from dataclasses import replace

from apportion.model.jobs import Displaced, Job, Memory
from apportion.model.plan import NOTHING, Grant
from apportion.model.snapshot import Terms
from apportion.planner.ledger import Ledger, holding
from builders import A100, H100, LONG_AGO, NOW, job, nodes, queue, quota, running, snapshot

LAB = (queue("mine", quota(8), cohort="lab"), queue("yours", quota(8), cohort="lab"))


def runs(name: str, replicas: int, on: str = "h100-0", **fields: object) -> Job:
    """Of two at least, queued when it came."""
    return running(job(name, 2, 8, **{"queue_name": "yours", **fields}), {on: replicas})


def ledger_of(*jobs: Job, terms: dict[str, Terms] | None = None) -> Ledger:
    on = (*nodes(2), *nodes(1, flavor="a100"))
    said = {one.key: (terms or {}).get(one.key.name, Terms()) for one in jobs}
    return Ledger(snapshot(*jobs, on=on, queues=LAB), said)


def test_a_job_that_made_room_is_counted_with_the_minimum_that_it_is_to_get_again() -> None:
    aside = replace(job("aside", 2, 4), memory=Memory(displaced=Displaced("team/gang", "a100", 4, NOW)))
    assert holding(aside) == Grant("a100", 2)
    assert holding(job("plain")) == NOTHING
    assert holding(runs("r", 3)) == Grant("h100", 3)


def test_those_of_the_lowest_class_give_first_and_of_equals_the_youngest() -> None:
    taken = runs("taken", 2, on="h100-1")
    jobs = (
        runs("old", 2, created=LONG_AGO),
        runs("young", 2, created=LONG_AGO + 5),
        runs("high", 2, created=LONG_AGO + 9, priority=10),
        runs("pinned", 2, on="h100-1"),
        taken,
        running(job("elsewhere", 2, 8, queue_name="yours"), {"a100-0": 2}, "a100"),
        runs("mine", 2, on="h100-1", queue_name="mine"),
    )
    ledger = ledger_of(*jobs, terms={"pinned": Terms(pinned=True)})
    ledger.taken[taken.key] = "by somebody"
    assert [one.key.name for one in ledger.running_in("yours", "h100")] == ["young", "old", "high"]


def test_a_reclaim_takes_what_is_above_minimums() -> None:
    ledger = ledger_of(runs("more", 3), runs("least", 2))
    assert {key.name: grant for key, grant in ledger.surplus((LAB[1],), H100).items()} == {"more": Grant("h100", 2)}


def test_what_was_reclaimed_once_is_not_borrowed_any_more() -> None:
    ledger = ledger_of(runs("a", 7), runs("b", 7, on="h100-1"))
    assert ledger.borrowed(LAB[1], "h100") == 6
    ledger.divide(4, H100, (LAB[1],))
    assert ledger.borrowed(LAB[1], "h100") == 4, "two of the four were free"
    ledger.divide(100, H100, (LAB[1],))
    assert ledger.borrowed(LAB[1], "h100") == 0


def test_flavors_to_start_on_are_those_that_do_not_rest_and_have_nodes_fastest_first() -> None:
    asked = job("asked")
    slow_first = ledger_of(asked).choices(asked)
    assert [flavor.name for flavor in slow_first] == ["h100", "a100"], "a100 stands first in the snapshot"
    resting = ledger_of(asked, terms={"asked": Terms(barred=frozenset({"h100"}))})
    assert resting.choices(asked) == [A100]
    bare = Ledger(snapshot(asked, on=nodes(1), queues=LAB), {asked.key: Terms()})
    assert bare.choices(asked) == [H100]


def test_who_is_pinned_stands_on_the_floor_with_all_that_it_has() -> None:
    ledger = ledger_of(
        runs("pinned", 4),
        runs("free", 4, on="h100-1"),
        terms={"pinned": Terms(pinned=True, keeps=2), "free": Terms(keeps=2)},
    )
    assert {key.name: grant.replicas for key, grant in ledger._floor_grants().items()} == {"pinned": 4, "free": 2}
