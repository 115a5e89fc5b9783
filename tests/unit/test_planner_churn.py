"""The churn budget: what is held back when it is spent, what never is, and how the job says so."""

import json
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from apportion.api.names import API_VERSION
from apportion.kube.memory import read_memory, status_of
from apportion.kube.policies import policy_of
from apportion.model.curves import Usl
from apportion.model.jobs import FlavorChoice, Job, Memory
from apportion.model.plan import Decision, Grant, Outcome, Plan
from apportion.model.policy import NO_BUDGET, ChurnBudget, Policy, QueueChurn, Stability
from apportion.model.snapshot import Snapshot
from apportion.optimizer import solve
from apportion.planner import decide
from apportion.planner.churn import Churn, remembered
from apportion.simulator import Arrival, Course, Rules, Scheduler, least_allocated, play
from builders import LONG_AGO, NOW, job, nodes, queue, quota, running, snapshot

LINEAR = Usl(1.0, 0.0)
GONE = ChurnBudget(0.0)


def under(budget: ChurnBudget) -> Policy:
    return Policy(stability=Stability(churn=budget))


def elastic(name: str, on: dict[str, int] | None = None, *ago: float, **fields: object) -> Job:
    """One to eight GPUs, a restart of 60 s; restarted by us so many seconds ago."""
    base = job(name, 1, 8, curve=LINEAR, **{"restart_seconds": 60.0, **fields})
    times = tuple(NOW - seconds for seconds in sorted(ago, reverse=True))
    if on is None:
        return replace(base, memory=Memory(restarted_at=times))
    return running(base, on, restarted_at=times, restarts=len(times))


def said(decision: Decision, name: str) -> Outcome:
    return next(outcome for outcome in decision.outcomes if outcome.key.name == name)


def targets(decision: Decision) -> dict[str, int]:
    return {outcome.key.name: outcome.target.replicas for outcome in decision.outcomes}


def restarted(decision: Decision) -> set[str]:
    return {one.key.name for one in decision.resizes if one.current.replicas}


def test_a_job_may_grow_until_the_hour_has_cost_what_it_may() -> None:
    budget = ChurnBudget(120.0)
    for ago, grows in (((), True), ((3000.0,), True), ((3000.0, 2000.0), False), ((3601.0, 2000.0), True)):
        decision = decide(snapshot(elastic("a", {"h100-0": 2}, *ago), on=nodes(1)), under(budget))
        assert targets(decision) == {"a": 8 if grows else 2}, ago


def test_who_is_held_back_says_so_and_is_looked_at_when_the_hour_is_over() -> None:
    decision = decide(snapshot(elastic("a", {"h100-0": 2}, 3000.0, 100.0), on=nodes(1)), under(ChurnBudget(120.0)))
    outcome = said(decision, "a")
    assert outcome.reason == "ChurnBudgetSpent"
    assert outcome.message == (
        "2 of at most 8: the churn budget (120 restart-seconds an hour) has no room left for its restart of 60 s"
    )
    assert decision.recheck_after == pytest.approx(600.0)
    later = snapshot(elastic("a", {"h100-0": 2}, 3600.0, 700.0), on=nodes(1))
    assert targets(decide(later, under(ChurnBudget(120.0)))) == {"a": 8}


def test_a_restart_is_remembered_in_the_status_and_an_end_is_none() -> None:
    grown = said(decide(snapshot(elastic("a", {"h100-0": 2}, 4000.0, 3000.0), on=nodes(1)), Policy()), "a").memory
    assert (grown.restarts, grown.restarted_at) == (3, (NOW - 3000.0, NOW))
    for ending in ({"completed": True}, {"suspended": True}):
        ended = said(decide(snapshot(elastic("a", {"h100-0": 2}, **ending), on=nodes(1)), Policy()), "a")
        assert ended.granted == Grant()
        assert (ended.memory.restarts, ended.memory.restarted_at) == (0, ())
    assert len(remembered((NOW - at for at in range(500, 0, -1)), NOW)) == 60


def test_what_was_spent_survives_the_operator() -> None:
    """Another process knows it from the status; entries that are no times, or of the future, are nothing."""
    world = snapshot(elastic("a", {"h100-0": 2}), on=nodes(1))
    grown = said(decide(world, under(ChurnBudget(60.0))), "a").memory
    status = json.loads(json.dumps(status_of(grown, 1)))
    assert read_memory({"status": status}).restarted_at == (NOW,)
    after = replace(elastic("a", {"h100-0": 2}), memory=read_memory({"status": status}))
    spent = Churn(replace(world, jobs=(after,)), ChurnBudget(60.0))
    assert spent.spent_for(after) is not None
    assert spent.free_at(after) == NOW + 3600
    forged = {**status, "restartedAt": ["never", 7, None, "2999-01-01T00:00:00Z"]}
    after = replace(after, memory=read_memory({"status": forged}))
    assert Churn(replace(world, jobs=(after,)), ChurnBudget(60.0)).spent_for(after) is None


def test_the_policy_object_says_the_budget() -> None:
    def stability(**budget: object) -> ChurnBudget:
        spec = {"stability": {"churnBudget": budget}}
        raw = {"apiVersion": API_VERSION, "kind": "AllocationPolicy", "metadata": {"name": "default"}, "spec": spec}
        return policy_of(raw).stability.churn

    assert stability() == NO_BUDGET == Policy().stability.churn
    both = stability(restartSecondsPerHour=600, queues=[{"name": "*", "restartSecondsPerHour": 60}])
    assert both == ChurnBudget(600.0, (QueueChurn("*", 60.0),))


def test_a_queue_has_its_own_budget_and_a_star_means_all_others() -> None:
    queues = tuple(queue(name, quota(8)) for name in ("blue", "green", "red"))
    budget = ChurnBudget(None, (QueueChurn("red", 600.0), QueueChurn("*", 0.0)))
    jobs = [elastic(name, {f"h100-{at}": 2}, queue_name=name) for at, name in enumerate(("blue", "green", "red"))]
    decision = decide(snapshot(*jobs, on=nodes(3), queues=queues), under(budget))
    assert targets(decision) == {"blue": 2, "green": 2, "red": 8}
    assert "queue green" in said(decision, "green").message
    assert decision.recheck_after is None or decision.recheck_after <= 60.0


def test_of_several_changes_only_what_fits_is_made_and_who_takes_comes_with_who_gives() -> None:
    """w waits for a GPU that only a shrink can give; grows into what is free on the other nodes cost the same."""
    full = elastic("full", {"h100-0": 8})
    small = [elastic(f"s{at}", {f"h100-{at}": 2}) for at in (1, 2, 3)]
    rigid = replace(job("w", 18, 18, curve=LINEAR), created=LONG_AGO)
    world = snapshot(full, *small, on=nodes(4))
    assert restarted(decide(world, under(ChurnBudget(None)))) == {"s1", "s2", "s3"}
    assert len(restarted(decide(world, under(ChurnBudget(150.0))))) == 2
    assert restarted(decide(world, under(ChurnBudget(59.0)))) == set()
    # 18 of the 32 GPUs are free; one more for w comes from full, and then nothing is left to grow into.
    waits = snapshot(full, *small, replace(rigid, steps=(19,)), on=nodes(4))
    for budget, gets in ((ChurnBudget(60.0), 19), (ChurnBudget(59.0), 0)):
        decision = decide(waits, under(budget))
        assert targets(decision)["w"] == gets
        assert len(restarted(decision)) == (1 if gets else 0)
    # One restart may be: that for w, and not the one of a job that would grow elsewhere at the same price.
    slow = running(elastic("b", flavors=(FlavorChoice("a100"),)), {"a100-0": 2}, "a100")
    here = [replace(one, flavors=(FlavorChoice("h100"),)) for one in waits.jobs]
    both = snapshot(slow, *here, on=(*nodes(4), *nodes(1, flavor="a100")))
    assert len(restarted(decide(both, under(ChurnBudget(None))))) > 2
    assert restarted(decide(both, under(ChurnBudget(60.0)))) == {"full"}


def test_a_waiting_equal_is_told_who_keeps_its_room() -> None:
    decision = decide(snapshot(elastic("a", {"h100-0": 8}), job("w", 2, 4), on=nodes(1)), under(GONE))
    assert targets(decision) == {"a": 8, "w": 0}
    assert said(decision, "w").reason == "ChurnBudgetSpent"
    assert "7 beyond their minimums" in said(decision, "w").message
    assert decision.recheck_after == 60.0


def test_a_restart_that_costs_nothing_needs_no_budget() -> None:
    world = snapshot(elastic("a", {"h100-0": 2}, restart_seconds=0.0), on=nodes(1))
    assert targets(decide(world, under(GONE))) == {"a": 8}


LAB = (queue("mine", quota(8), cohort="lab"), queue("yours", quota(8), cohort="lab"))


def test_an_owner_takes_back_its_nominal_quota_although_the_budget_is_spent() -> None:
    borrower = elastic("theirs", {"h100-0": 8, "h100-1": 4}, queue_name="yours", steps=tuple(range(1, 17)))
    owner = job("mine", 8, 8, queue_name="mine")
    decision = decide(snapshot(borrower, owner, on=nodes(2), queues=LAB), under(GONE))
    assert targets(decision) == {"mine": 8, "theirs": 8}
    growing = elastic("mine", {"h100-1": 4}, queue_name="mine")
    decision = decide(snapshot(borrower, growing, on=nodes(2), queues=LAB), under(GONE))
    assert targets(decision) == {"mine": 8, "theirs": 8}


def test_a_higher_class_of_the_queue_is_stronger_than_the_budget() -> None:
    low = elastic("low", {"h100-0": 8}, queue_name="mine")
    for priority, gets in ((0, 0), (9, 2)):
        waiting = job("high", 2, 2, queue_name="mine", priority=priority)
        decision = decide(snapshot(low, waiting, on=nodes(1), queues=LAB[:1]), under(GONE))
        assert targets(decision) == {"high": gets, "low": 8 - gets}
        # Also where nobody may be evicted, and where there are no queues.
        for rigid, queues in ((True, LAB[:1]), (False, ())):
            decision = decide(
                snapshot(replace(low, preemptible=not rigid), waiting, on=nodes(1), queues=queues), under(GONE)
            )
            assert targets(decision) == {"high": gets, "low": 8 - gets}
    # Two must shrink for it, where the budget has room for one restart.
    lows = [elastic(f"low{at}", {f"h100-{at}": 8}) for at in (0, 1)]
    decision = decide(snapshot(*lows, job("high", 12, 12, priority=9), on=nodes(2)), under(ChurnBudget(60.0)))
    assert targets(decision)["high"] == 12
    # It loses no more than is asked for, and may not grow meanwhile.
    idle = elastic("low", {"h100-0": 2}, queue_name="mine")
    never = job("high", 9, 9, queue_name="mine", priority=9)
    assert targets(decide(snapshot(idle, never, on=nodes(1), queues=LAB[:1]), under(GONE))) == {"high": 0, "low": 2}
    young = running(replace(low, min_runtime_seconds=600.0), {"h100-0": 8}, since=NOW - 10)
    waiting = job("high", 2, 2, queue_name="mine", priority=9)
    assert targets(decide(snapshot(young, waiting, on=nodes(1), queues=LAB[:1]), under(GONE)))["high"] == 0


def test_lost_nodes_suspend_and_completion_are_stronger_than_the_budget() -> None:
    lost = elastic("a", {"h100-0": 4, "gone": 4})
    assert targets(decide(snapshot(lost, on=nodes(1, 4)), under(GONE))) == {"a": 4}
    for ending in ({"completed": True}, {"suspended": True}):
        assert targets(decide(snapshot(elastic("a", {"h100-0": 8}, **ending), on=nodes(1)), under(GONE))) == {"a": 0}


def test_what_was_forced_counts_although_it_went_over() -> None:
    a, b = elastic("a", {"h100-0": 2}, 10.0, 20.0, 30.0), elastic("b", {"h100-1": 2})
    decision = decide(snapshot(a, b, on=nodes(2)), under(ChurnBudget(120.0)))
    assert targets(decision) == {"a": 2, "b": 2}
    # Two of a's restarts must be over before one more fits: the one of 30 and that of 20 seconds ago.
    assert decision.recheck_after == pytest.approx(3580.0)


def test_a_spent_budget_costs_no_second_solve() -> None:
    solved = []

    def counting(world: Snapshot, policy: Policy) -> Plan:
        solved.append(1)
        return solve(world, policy)

    world = snapshot(elastic("a", {"h100-0": 2}), elastic("b", {"h100-1": 2}), on=nodes(2))
    for seconds, solves in ((0.0, 1), (60.0, 2), (120.0, 1)):
        solved.clear()
        decide(world, under(ChurnBudget(seconds)), counting)
        assert len(solved) == solves, seconds


def test_a_budget_below_one_restart_never_frees_one() -> None:
    world = snapshot(elastic("a", {"h100-0": 2}), on=nodes(1))
    assert Churn(world, ChurnBudget(30.0)).free_at(world.jobs[0]) is None


@pytest.mark.parametrize("seconds", [0.0, 240.0, 600.0])
def test_no_hour_of_a_simulated_day_costs_more_than_it_may(seconds: float) -> None:
    """A day's crowd that would restart more: in no hour more than the budget, and with more budget more is done."""
    random = Random(4)
    arrivals = []
    for number in range(30):
        spec = replace(elastic(f"j{number:02}"), memory=Memory(), min_runtime_seconds=0.0)
        arrivals.append(Arrival(number * 300.0, spec, random.uniform(0.5, 2.0) * 7200.0, LINEAR, 1e9))
    start = snapshot(on=nodes(2), now=0.0, round=0)
    # Finished jobs take their restarts along: here everybody stays until the clock ends.
    stays = [replace(one, work=float("inf")) for one in arrivals]
    rules, scheduler = Rules(under(ChurnBudget(seconds))), Scheduler(least_allocated, Random(1))
    times: Counter[float] = Counter()
    for step in play(start, stays, rules, scheduler, Course(until=12_000.0)):
        times[step.world.now] += sum(60 for one in step.decision.resizes if one.wave == 0 and one.current.replicas)
    spent = [sum(cost for at, cost in times.items() if end - 3600 < at <= end) for end in times]
    assert max(spent) <= seconds
    assert max(spent) >= seconds - 60
