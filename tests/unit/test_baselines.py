"""What tells the other rules apart, each on a cluster where it shows."""

import math
from dataclasses import replace

import pytest

from apportion.baselines import BASELINES, UNCERTIFIED
from apportion.cli.policy import PLAYED, other_policy
from apportion.model.curves import Usl
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Snapshot, Terms
from optimizer_builders import EXACT, NOW, granted, job, node, running, snapshot, under

LINEAR = Usl(1.0, 0.0)


def shared(rule: str, of: Snapshot) -> dict[str, int]:
    return granted(BASELINES[rule](of, EXACT))


def test_static_gives_minimums_in_the_order_of_arrival_and_nothing_more() -> None:
    jobs = [
        job("late", 2, 8, created=NOW - 1),
        job("early", 2, 8, created=NOW - 100),
        job("middle", 6, 8, created=NOW - 50),
    ]
    assert shared("static", snapshot([node("n", 8)], jobs)) == {"early": 2, "late": 0, "middle": 6}


def test_static_takes_higher_classes_first() -> None:
    jobs = [job("early", 8, 8, created=NOW - 100), job("urgent", 8, 8, created=NOW, priority=10)]
    assert shared("static", snapshot([node("n", 8)], jobs)) == {"early": 0, "urgent": 8}


def test_fifo_gives_the_first_all_that_it_takes_and_lets_small_ones_ahead_of_what_does_not_fit() -> None:
    jobs = [
        job("first", 1, 5, created=NOW - 100),
        job("large", 4, 8, created=NOW - 50),
        job("small", 1, 2, created=NOW - 1),
    ]
    assert shared("fifo", snapshot([node("n", 8)], jobs)) == {"first": 5, "large": 0, "small": 2}


def test_fifo_never_resizes_what_runs() -> None:
    here = running(job("runs", 1, 8), {"n": 3})
    of = under(snapshot([node("n", 8)], [here, job("new", 1, 2)]), runs=Terms(keeps=1))
    assert shared("fifo", of) == {"new": 2, "runs": 3}


def test_drf_evens_out_what_queues_have_by_their_weights() -> None:
    queues = (
        Queue("few", weight=1.0, quotas=(Quota("*", 12),)),
        Queue("many", weight=2.0, quotas=(Quota("*", 12),)),
    )
    jobs = [
        job("a", 1, 12, queue_name="few", curve=LINEAR),
        *(job(f"b{at}", 1, 12, queue_name="many", curve=LINEAR) for at in range(3)),
    ]
    found = shared("drf", snapshot([node("n", 12)], jobs, queues=queues))
    assert found["a"] == 4
    assert sorted(found.values()) == [2, 3, 3, 4]


def test_max_min_gives_to_the_slowest_first() -> None:
    """One scales well and one does not: rates are evened out, not accelerators."""
    jobs = [job("well", 1, 8, curve=LINEAR), job("badly", 1, 8, curve=Usl(1.0, 0.5))]
    found = shared("max-min", snapshot([node("n", 8)], jobs))
    assert found["badly"] > found["well"]
    assert sum(found.values()) == 8


def test_greedy_gives_to_whom_it_is_worth_most() -> None:
    jobs = [job("well", 1, 8, curve=LINEAR), job("badly", 1, 8, curve=Usl(1.0, 0.9))]
    found = shared("greedy", snapshot([node("n", 8)], jobs))
    assert found["well"] > found["badly"] >= 1


def test_each_rule_prefers_the_faster_flavor_and_says_its_name() -> None:
    of = snapshot([node("slow", 8, "a100"), node("fast", 8, "h100")], [job("one", 1, 1)])
    for name, rule in BASELINES.items():
        plan = rule(of, EXACT)
        assert [allocation.flavor for allocation in plan.allocations] == ["h100"], name
        assert plan.method not in ("highs", "cbc")


def test_a_pinned_job_stays_as_it_is_under_every_rule() -> None:
    held = running(job("held", 1, 8), {"n": 5})
    of = under(snapshot([node("n", 8)], [held, job("new", 1, 8)]), held=Terms(pinned=True))
    for name in BASELINES:
        assert shared(name, of)["held"] == 5
        assert shared(name, replace(of, queues=()))["new"] <= 3


@pytest.mark.parametrize("name", BASELINES)
def test_a_simulated_rule_shares_alike_and_asks_no_solver_how_good_that_was(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job(f"j{at}", 1 + at % 2, 6, (1, 2, 4)[at % 3]) for at in range(9)]
    of = snapshot([node("n1"), node("n2"), node("n3", 7)], jobs)
    certified = BASELINES[name](of, EXACT)
    monkeypatch.setattr("apportion.optimizer.solving.WORKER", None)
    played = other_policy(name, PLAYED).rule(of, EXACT)
    assert UNCERTIFIED[name](of, EXACT) == played
    assert math.isfinite(certified.bound)
    assert played == replace(certified, bound=math.inf, bound_staying=math.inf, status=played.status)
