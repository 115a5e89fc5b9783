"""What a target gets, what it leaves to others, and what is said where it will be missed."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from apportion.model.curves import Learned, Usl
from apportion.model.flavors import Node
from apportion.model.jobs import Admission, Condition, FlavorChoice, Job, Target
from apportion.model.measured import Observation, Record
from apportion.model.plan import Decision, Grant, Outcome
from apportion.model.policy import Aim, Objective, Policy
from apportion.planner import decide
from apportion.planner.targets import enough
from builders import A100, GPU, H100, NOW, job, node, nodes, running, snapshot

HOUR = 3600.0
LINEAR = Usl(100.0, 0.0, 0.0)
ON = nodes(2)
BOTH = (*nodes(2), *nodes(2, flavor="a100"))


def aims(name: str = "a", target: Target | None = None, **fields: object) -> Job:
    """1 to 16 replicas that do 100 a second each on an h100."""
    return job(name, 1, 16, **{"curve": LINEAR, "declared": True, "target": target, **fields})


def by(hours: float, work: float) -> Target:
    return Target(deadline=NOW + hours * HOUR, work=work)


def done(base: Job, progress: float) -> Job:
    return replace(base, memory=replace(base.memory, record=Record((), None, progress, NOW)))


def outcome(decision: Decision, name: str = "a") -> Outcome:
    return next(outcome for outcome in decision.outcomes if outcome.key.name == name)


def target_of(*jobs: Job, on: tuple = ON, name: str = "a") -> int:  # type: ignore[type-arg]
    return outcome(decide(snapshot(*jobs, on=on), Policy()), name).target.replicas


def risk(decision: Decision, kind: str = "DeadlineAtRisk", name: str = "a") -> Condition | None:
    found = [c for c in outcome(decision, name).memory.conditions if c.type == kind and c.status]
    return found[0] if found else None


# --- how much it gets -------------------------------------------------------------------------------------------------


def test_a_rate_is_reached_with_the_fewest_replicas() -> None:
    assert target_of(aims(target=Target(throughput=450))) == 5
    assert target_of(aims()) == 16, "without a target it takes all there is"


@pytest.mark.parametrize("needs", [0.001, 1.0, 100.0, 399.0])
@pytest.mark.parametrize("aim", Aim)
@pytest.mark.parametrize("low", [1, 4])
def test_a_job_that_is_fast_enough_at_its_minimum_is_admitted_like_any(low: int, aim: Aim, needs: float) -> None:
    asked = job("a", low, 8, curve=LINEAR, declared=True, target=Target(throughput=needs))
    decision = decide(snapshot(asked, on=ON), Policy(objective=Objective(name=aim)))
    assert outcome(decision).target.replicas == max(low, math.ceil(needs / 100))


@pytest.mark.parametrize("needs", [0.001, 1.0, 20.0])
@pytest.mark.parametrize("aim", [Aim.PROPORTIONAL_FAIR, Aim.MAX_MIN_FAIR, Aim.MIN_COST])
@pytest.mark.parametrize(
    ("on", "flavor"),
    [(BOTH, "a100"), ((*ON, node("a100-0", flavor="a100", foreign={GPU: 8})), "h100"), (ON, "h100")],
    ids=["both have room", "the cheap one is full", "the dear one alone"],
)
def test_it_goes_to_the_cheapest_flavor_with_room(on: tuple[Node, ...], flavor: str, aim: Aim, needs: float) -> None:
    """However little being admitted is worth; and it counts as about what it does at its least."""
    flavors = (replace(A100, price_per_hour=1.0), replace(H100, price_per_hour=40.0))
    asked = job("a", 1, 8, curve=LINEAR, declared=True, target=Target(throughput=needs))
    policy = Policy(objective=Objective(name=aim, admission_worth=0.001))
    assert outcome(decide(snapshot(asked, on=on, flavors=flavors), policy)).target == Grant(flavor, 1)
    assert all(50 <= goal.counts_as < 56 for goal in enough(asked, flavors, NOW))


@pytest.mark.parametrize(("spread", "replicas"), [(0.0, 4), (0.2, 5), (1.0, 5)])
def test_a_learned_curve_is_trusted_less_the_less_it_has_seen_and_never_by_more_than_a_quarter(
    spread: float, replicas: int
) -> None:
    learned = Learned(t0=0.01, reach=16, spread=spread)
    assert target_of(aims(target=Target(throughput=400), curve=learned)) == replicas


def test_a_deadline_is_met_with_the_fewest_replicas() -> None:
    assert target_of(aims(target=by(1, 100 * HOUR * 3.5))) == 4


def test_the_restart_that_it_costs_to_begin_counts() -> None:
    """One replica would do it to the second, if it did not have to start."""
    asked = aims(target=by(1, 100 * HOUR), restart_seconds=60.0)
    assert target_of(asked) == 2


def test_what_is_done_is_not_asked_for_again() -> None:
    assert target_of(done(aims(target=by(1, 100 * HOUR * 8)), 0.5)) == 4


def test_a_job_that_falls_behind_is_given_more() -> None:
    """A third of the work is left for a tenth of the time."""
    behind = running(aims(target=by(1, 100 * HOUR * 12)), {"h100-0": 2})
    assert target_of(done(behind, 1 / 3)) == 8


def test_a_job_on_time_is_left_as_it_is() -> None:
    """It would not be if it had to restart: five would make up for that."""
    asked = running(aims(target=by(1, 100 * HOUR * 3.9), restart_seconds=300.0), {"h100-0": 4})
    decision = decide(snapshot(asked, on=ON), Policy())
    assert outcome(decision).target.replicas == 4
    assert outcome(decision).reason == "TargetReached"


def test_what_is_not_needed_is_given_back() -> None:
    assert target_of(running(aims(target=Target(throughput=250)), {"h100-0": 8})) == 3


def test_nothing_is_given_back_within_its_minimum_runtime_or_near_the_end() -> None:
    recent = running(aims(target=Target(throughput=250), min_runtime_seconds=600.0), {"h100-0": 8}, since=NOW - 300)
    assert target_of(recent) == 8
    soon = running(aims(target=by(0.1, 100 * HOUR * 0.2), restart_seconds=60.0), {"h100-0": 8})
    assert target_of(soon) == 8


def test_noise_gives_nothing_back() -> None:
    """7 would reach it as well, but hardly."""
    assert target_of(running(aims(target=Target(throughput=690)), {"h100-0": 8})) == 8


def test_what_was_measured_corrects_the_curve() -> None:
    """By its curve four reach 390, by measurement they do 340."""
    asked = running(aims(target=Target(throughput=390)), {"h100-0": 4})
    seen = Record((Observation(4, "h100", 340.0, NOW),))
    assert target_of(replace(asked, memory=replace(asked.memory, record=seen))) == 5


def test_on_a_slower_flavor_it_takes_as_many_more() -> None:
    only_slow = nodes(2, flavor="a100")
    assert target_of(aims(target=Target(throughput=450)), on=only_slow) == 9


def test_the_cheaper_way_is_taken() -> None:
    """Five h100 for 4 each, or nine a100 for 1 each; and the other way round."""
    asked = aims(target=Target(throughput=450))
    for slow, fast, flavor in [(1.0, 4.0, "a100"), (4.0, 1.0, "h100")]:
        flavors = (replace(A100, price_per_hour=slow), replace(H100, price_per_hour=fast))
        decision = decide(snapshot(asked, on=BOTH, flavors=flavors), Policy())
        assert outcome(decision).target.flavor == flavor


@pytest.mark.parametrize(
    ("target", "slow", "flavor"),
    [(by(10, 3e6), 2.0, "h100"), (by(10, 3e6), 1.0, "a100"), (Target(throughput=100.0), 2.0, "a100")],
    ids=["sooner done costs less", "sooner done costs more", "no end"],
)
def test_work_with_an_end_goes_where_the_work_is_cheapest_not_the_hour(
    target: Target, slow: float, flavor: str
) -> None:
    """Both are fast enough with its four: 400 a second on h100 for 3 each, or 200 on a100 for 1 or 2 each."""
    flavors = (replace(A100, price_per_hour=slow), replace(H100, price_per_hour=3.0))
    gang = aims(target=target, steps=(4,))
    assert outcome(decide(snapshot(gang, on=BOTH, flavors=flavors), Policy())).target.flavor == flavor


def test_where_a_price_is_unknown_the_fewest_are_the_cheapest() -> None:
    flavors = (replace(A100, price_per_hour=0.1), H100)
    decision = decide(snapshot(aims(target=Target(throughput=450)), on=BOTH, flavors=flavors), Policy())
    assert (outcome(decision).target.flavor, outcome(decision).target.replicas) == ("h100", 5)


# --- others -----------------------------------------------------------------------------------------------------------


def test_the_least_cost_reaches_targets_first_and_then_keeps_everybody_at_the_minimum() -> None:
    """Six on an h100 cost less than eleven on an a100; for another two on an a100 cost less."""
    policy = Policy(objective=Objective(name=Aim.MIN_COST))
    priced = (replace(H100, price_per_hour=3.0), replace(A100, price_per_hour=2.0))
    jobs = (
        aims(target=Target(throughput=550), flavors=(FlavorChoice("h100", 1.0), FlavorChoice("a100", 0.5))),
        aims("b", Target(throughput=150), flavors=(FlavorChoice("h100", 1.0), FlavorChoice("a100", 0.8))),
        aims("c"),
        aims("d", Target(throughput=1e6)),
    )
    decision = decide(replace(snapshot(*jobs, on=BOTH), flavors=priced), policy)
    found = {name: outcome(decision, name).target for name in "abcd"}
    assert (found["a"].replicas, found["a"].flavor) == (6, "h100")
    assert (found["b"].replicas, found["b"].flavor) == (2, "a100")
    assert (found["c"].replicas, found["c"].flavor) == (1, "a100")
    assert (found["d"].replicas, found["d"].flavor) == (1, "a100"), "out of reach: its minimum"


def test_the_least_cost_serves_as_many_targets_as_there_is_room_for() -> None:
    policy = Policy(objective=Objective(name=Aim.MIN_COST))
    jobs = [aims(name, Target(throughput=rate)) for name, rate in (("a", 900), ("b", 600), ("c", 700))]
    decision = decide(snapshot(*jobs, on=ON), policy)
    assert [outcome(decision, name).target.replicas for name in "abc"] == [1, 6, 7]


def test_under_the_least_cost_a_restart_that_costs_more_than_the_target_is_worth_is_not_made() -> None:
    """Just started, of 60 s restarts: it goes on with what it has until it is older."""
    policy = Policy(objective=Objective(name=Aim.MIN_COST))
    young = running(aims(target=Target(throughput=450), restart_seconds=60.0), {"h100-0": 1}, since=NOW - 10)
    for age, replicas in ((10.0, 1), (3600.0, 5)):
        asked = replace(young, created=NOW - age)
        assert outcome(decide(snapshot(asked, on=ON), policy)).target.replicas == replicas


def test_what_a_target_leaves_goes_to_others() -> None:
    jobs = (aims("a", Target(throughput=450)), aims("b"))
    assert (target_of(*jobs), target_of(*jobs, name="b")) == (5, 11)


def test_to_reach_a_target_is_worth_more_than_to_be_merely_faster() -> None:
    """Half for each would be fair, and would miss the deadline that ten can meet."""
    jobs = (aims("a", by(1, 100 * HOUR * 9.5)), aims("b"))
    assert (target_of(*jobs), target_of(*jobs, name="b")) == (10, 6)


def test_a_target_takes_nobody_s_minimum() -> None:
    other = running(job("b", 8, 8), {"h100-0": 8})
    assert target_of(aims("a", by(1, 100 * HOUR * 16)), other, name="b") == 8


def test_a_target_out_of_reach_is_served_like_anybody() -> None:
    jobs = (aims("a", by(1, 100 * HOUR * 50)), aims("b"))
    assert target_of(*jobs) == target_of(*jobs, name="b") == 8


def test_alike_but_for_their_targets_they_are_not_taken_for_alike() -> None:
    jobs = (aims("a", Target(throughput=250)), aims("b", Target(throughput=550)), aims("c", Target(throughput=250)))
    assert [target_of(*jobs, name=name) for name in "abc"] == [3, 6, 3]


# --- what is said -----------------------------------------------------------------------------------------------------


def test_no_risk_is_told_while_the_job_is_on_time() -> None:
    asked = running(aims(target=by(1, 100 * HOUR * 3.5)), {"h100-0": 4})
    assert risk(decide(snapshot(asked, on=ON), Policy())) is None


def test_a_deadline_out_of_reach_is_told_with_the_numbers() -> None:
    asked = aims(target=by(1, 100 * HOUR * 32))
    decision = decide(snapshot(asked, on=ON), Policy())
    assert outcome(decision).target.replicas == 16, "as good as can be"
    found = risk(decision)
    assert found is not None
    assert found.reason == "TooSlow"
    time = datetime.fromtimestamp(NOW + HOUR, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for part in ("16 on h100 do 1.6e+03 a second", time, "takes 3.2e+03", "60 minutes late", "no progress is told"):
        assert part in found.message


def test_a_deadline_in_the_past_is_a_condition() -> None:
    asked = done(running(aims(target=by(-1, 100 * HOUR)), {"h100-0": 4}), 0.5)
    decision = decide(snapshot(asked, on=ON), Policy())
    found = risk(decision)
    assert found is not None
    assert found.reason == "DeadlinePassed"
    assert "180000 of 360000" in found.message
    assert outcome(decision).target.replicas == 16, "the sooner the better"


def test_a_job_that_waits_is_at_risk_once_it_could_not_make_it_any_more() -> None:
    full = running(job("b", 16, 16), {"h100-0": 8, "h100-1": 8})
    for work, reason in [(100 * HOUR * 15, None), (100 * HOUR * 17, "OutOfReach")]:
        found = risk(decide(snapshot(aims(target=by(1, work)), full, on=ON), Policy()))
        assert (found.reason if found else None) == reason


def test_a_rate_out_of_reach_is_told() -> None:
    decision = decide(snapshot(aims(target=Target(throughput=9000)), on=ON), Policy())
    found = risk(decision, "ThroughputAtRisk")
    assert found is not None
    assert found.reason == "OutOfReach"
    assert found.message == "it has 1.6e+03 a second of 9000; its best would be 1.6e+03"


def test_of_a_job_whose_rate_nobody_knows_nothing_is_claimed() -> None:
    """What is usual has a shape and no unit: it says neither enough nor too little."""
    decision = decide(snapshot(job("a", 1, 16, target=Target(throughput=450)), on=ON), Policy())
    assert outcome(decision).target.replicas == 16
    assert risk(decision, "ThroughputAtRisk") is None


def test_a_risk_that_is_over_is_told_as_over() -> None:
    asked = aims(target=by(1, 100 * HOUR * 32))
    first = outcome(decide(snapshot(asked, on=ON), Policy())).memory
    mended = replace(asked, target=by(1, 100 * HOUR * 3), memory=replace(first, admission=None))
    conditions = outcome(decide(snapshot(mended, on=ON), Policy())).memory.conditions
    assert [c.status for c in conditions if c.type == "DeadlineAtRisk"] == [False]


def test_a_deadline_is_looked_at_again_without_any_news() -> None:
    asked = running(aims(target=by(1, 100 * HOUR * 3.5)), {"h100-0": 4})
    assert decide(snapshot(asked, on=ON), Policy()).recheck_after == 300
    assert decide(snapshot(replace(asked, target=by(0.01, 1)), on=ON), Policy()).recheck_after == pytest.approx(36)


def test_all_progress_made_ends_the_job() -> None:
    decision = decide(snapshot(done(running(aims(), {"h100-0": 4}), 1.0), on=ON), Policy())
    assert outcome(decision).memory.phase == "Succeeded"
    assert outcome(decision).target.replicas == 0


def test_expected_and_observed_rates_are_told_where_they_are_known() -> None:
    asked = running(aims(), {"h100-0": 4, "h100-1": 4})
    seen = Record((Observation(8, "h100", 765.4, NOW), Observation(4, "h100", 1.0, NOW)))
    asked = replace(asked, held=True, memory=replace(asked.memory, record=seen))
    assert outcome(decide(snapshot(asked, on=ON), Policy())).memory.throughput == (800.0, 765.0)
    moved = replace(asked, memory=replace(asked.memory, admission=Admission("h100", 7, 1, NOW)))
    assert outcome(decide(snapshot(moved, on=ON), Policy())).memory.throughput is None
