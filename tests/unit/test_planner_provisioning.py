"""Nodes that do not exist yet: who gets them, for how long they are waited for, and what they must be worth."""

from dataclasses import replace

import pytest

from apportion.model.curves import GLOBAL_BATCH, Points
from apportion.model.flavors import Flavor, Node, Provisionable
from apportion.model.jobs import Admission, Job, Memory, Pod
from apportion.model.plan import NOTHING, Decision, Grant, NewNodes
from apportion.model.policy import Policy, Stability
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from builders import A100, GPU, H100, NOW, job, node, nodes, queue, quota, running, snapshot

POLICY = Policy()
TIMEOUT = 900.0


def cloud(most: int = 4, each: int = 8, **fields: float) -> Flavor:
    return replace(H100, provisionable=Provisionable(most, each, **fields))


def world(*jobs: Job, on: tuple[Node, ...] = (), flavor: Flavor | None = None, **fields: object) -> Snapshot:
    return snapshot(*jobs, on=on, flavors=(A100, flavor or cloud()), **fields)


def grants(decision: Decision) -> dict[str, Grant]:
    return {outcome.key.name: outcome.granted for outcome in decision.outcomes}


def carried_out(before: Snapshot, decision: Decision, bound: dict[str, list[str]] | None = None) -> Snapshot:
    """The grants with their pods a second later; `bound`: the nodes of a job's first pods, the others are Pending."""
    jobs = []
    for one, outcome in zip(before.jobs, decision.outcomes, strict=True):
        there = [pod for pod in one.pods if pod.node is not None][: outcome.granted.replicas]
        on = (bound or {}).get(one.key.name, [])
        for number in range(len(there), outcome.granted.replicas):
            name, where = f"{one.key.name}-{number}", on[number] if number < len(on) else None
            phase = "Running" if where else "Pending"
            there.append(Pod(name, name, where, one.requests, before.now, phase=phase, ready=where is not None))
        jobs.append(replace(one, pods=tuple(there), memory=outcome.memory))
    return replace(before, jobs=tuple(jobs), round=decision.round, now=before.now + 1)


def later(before: Snapshot, seconds: float) -> Snapshot:
    return replace(before, now=before.now + seconds)


def condition(decision: Decision, name: str, type_: str) -> tuple[bool, str, str]:
    outcome = next(outcome for outcome in decision.outcomes if outcome.key.name == name)
    found = next(c for c in outcome.memory.conditions if c.type == type_)
    return found.status, found.reason, found.message


def test_a_job_gets_nodes_that_do_not_exist_yet() -> None:
    decision = decide(world(job("one", 12, 12)), POLICY)
    assert grants(decision) == {"one": Grant("h100", 12)}
    assert decision.new_nodes == (NewNodes("h100", 2, 8, 2),)
    running_ = condition(decision, "one", "Running")
    assert running_[:2] == (False, "WaitingForNodes")
    assert "12 of 12 pods wait for up to 2 new nodes with h100" in running_[2]
    assert "900 s" in running_[2]
    assert decision.capacity[1].allocatable == 0, "what does not exist is nobody's capacity"


def test_nothing_is_granted_beyond_the_most_nodes() -> None:
    decision = decide(world(job("one", 4, 40), job("two", 4, 40), flavor=cloud(most=2)), POLICY)
    assert sum(grant.replicas for grant in grants(decision).values()) == 16


def test_nodes_that_exist_count_against_the_most() -> None:
    decision = decide(world(job("one", 1, 40), on=nodes(1), flavor=cloud(most=2)), POLICY)
    assert grants(decision)["one"].replicas == 16


def test_what_exists_is_used_first() -> None:
    decision = decide(world(job("one", 8, 8), on=nodes(1)), POLICY)
    assert grants(decision) == {"one": Grant("h100", 8)}
    assert not decision.new_nodes
    assert condition(decision, "one", "Running")[1] == "PodsNotReady"


def test_a_gang_may_stand_on_both() -> None:
    decision = decide(world(job("one", 12, 12), on=nodes(1)), POLICY)
    assert grants(decision) == {"one": Grant("h100", 12)}
    assert decision.new_nodes == (NewNodes("h100", 1, 8, 2),)


def test_the_grant_is_kept_while_its_nodes_come() -> None:
    start = world(job("one", 4, 16))
    first = decide(start, POLICY)
    waiting = carried_out(start, first)
    for seconds in (1, 100, 400, 890):
        again = decide(later(waiting, seconds), POLICY)
        assert grants(again) == grants(first)
        assert not again.resizes
        assert again.outcomes[0].memory.admission == first.outcomes[0].memory.admission
        assert again.outcomes[0].message == first.outcomes[0].message


def test_the_grant_is_kept_when_more_jobs_want_the_nodes() -> None:
    start = world(job("one", 8, 8), flavor=cloud(most=1))
    first = decide(start, POLICY)
    waiting = carried_out(start, first)
    crowded = replace(waiting, jobs=(*waiting.jobs, job("two", 1, 8)))
    again = decide(crowded, POLICY)
    assert grants(again) == {"one": Grant("h100", 8), "two": NOTHING}


def test_once_all_pods_are_bound_nothing_is_awaited_any_more() -> None:
    start = world(job("one", 8, 8))
    waiting = carried_out(start, decide(start, POLICY), {"one": ["h100-0"] * 8})
    there = replace(waiting, nodes=nodes(1))
    decision = decide(there, POLICY)
    assert decision.outcomes[0].memory.admission == Admission("h100", 8, 8, NOW)
    assert condition(decision, "one", "Running")[:2] == (True, "AllPodsReady")
    assert not decision.new_nodes


def test_nodes_that_never_come_are_given_back_after_the_time_out() -> None:
    start = world(job("one", 8, 8))
    waiting = carried_out(start, decide(start, POLICY))
    assert grants(decide(later(waiting, TIMEOUT - 5), POLICY))["one"].replicas == 8
    over = decide(later(waiting, TIMEOUT), POLICY)
    assert grants(over) == {"one": NOTHING}
    status, reason, message = condition(over, "one", "Degraded")
    assert (status, reason) == (True, "NodesNotProvided")
    assert "8 of 8 pods on h100 stayed Pending for 900 s" in message
    assert not over.new_nodes
    (rest,) = over.outcomes[0].memory.backoff
    assert rest.flavor == "h100"
    assert grants(decide(replace(carried_out(later(waiting, TIMEOUT), over), now=rest.until - 1), POLICY)) == {
        "one": NOTHING
    }
    assert grants(decide(replace(carried_out(later(waiting, TIMEOUT), over), now=rest.until + 1), POLICY))[
        "one"
    ] == Grant("h100", 8)


def test_a_waiting_grant_asks_for_a_round_when_its_time_is_over() -> None:
    start = world(job("one", 8, 8))
    waiting = carried_out(start, decide(start, POLICY))
    assert decide(waiting, POLICY).recheck_after == pytest.approx(TIMEOUT - 1)


def test_when_fewer_nodes_come_the_gang_keeps_the_step_that_they_hold() -> None:
    start = world(job("one", 4, 16))
    waiting = carried_out(start, decide(start, POLICY), {"one": ["h100-0"] * 8})
    some = replace(waiting, nodes=nodes(1))
    assert grants(decide(some, POLICY))["one"].replicas == 16
    over = decide(later(some, TIMEOUT), POLICY)
    assert grants(over)["one"] == Grant("h100", 8)
    assert condition(over, "one", "Degraded")[1] == "NodesNotProvided"


def test_a_running_job_grows_onto_new_nodes_and_keeps_running() -> None:
    here = running(job("one", 4, 16), {"h100-0": 8})
    decision = decide(world(here, on=nodes(1)), POLICY)
    assert grants(decision)["one"] == Grant("h100", 16)
    over = decide(later(carried_out(world(here, on=nodes(1)), decision), TIMEOUT), POLICY)
    assert grants(over)["one"] == Grant("h100", 8)


def test_a_running_job_does_not_stop_to_wait_for_a_faster_node() -> None:
    here = running(job("one", 4, 4), {"a100-0": 4}, flavor="a100")
    decision = decide(world(here, on=nodes(1, flavor="a100")), POLICY)
    assert grants(decision)["one"] == Grant("a100", 4)


def test_who_waits_for_nodes_takes_no_room_that_others_need() -> None:
    """The pods of `large` may be put on the node that exists: until those of `small` are there, it waits."""
    start = world(job("large", 12, 12, created=NOW - 1), job("small", 4, 4, created=NOW - 9), on=nodes(1))
    first = decide(start, POLICY)
    assert grants(first) == {"large": NOTHING, "small": Grant("h100", 4)}
    bound = carried_out(start, first, {"small": ["h100-0"] * 4})
    second = decide(bound, POLICY)
    assert grants(second) == {"large": Grant("h100", 12), "small": Grant("h100", 4)}
    assert second.new_nodes == (NewNodes("h100", 1, 8, 3),)


def test_jobs_on_nodes_that_exist_are_not_disturbed_when_none_come() -> None:
    small = running(job("small", 4, 4), {"h100-0": 4})
    start = world(job("large", 12, 12), small, on=nodes(1))
    waiting = carried_out(start, decide(start, POLICY), {"large": ["h100-0"] * 4})
    over = decide(later(waiting, TIMEOUT + 1), POLICY)
    assert grants(over) == {"large": NOTHING, "small": Grant("h100", 4)}


def test_another_job_is_admitted_while_one_waits() -> None:
    start = world(job("large", 8, 8))
    waiting = carried_out(start, decide(start, POLICY))
    more = replace(waiting, jobs=(*waiting.jobs, job("small", 2, 2)))
    assert grants(decide(more, POLICY)) == {"large": Grant("h100", 8), "small": Grant("h100", 2)}


def test_a_new_node_that_is_not_ready_yet_is_one_that_comes() -> None:
    start = world(job("one", 8, 8), flavor=cloud(most=1))
    waiting = carried_out(start, decide(start, POLICY))
    booting = node("h100-0", placeable=False, why_not="is not ready", created=NOW)
    assert grants(decide(replace(waiting, nodes=(booting,)), POLICY)) == {"one": Grant("h100", 8)}


def test_an_old_node_that_is_not_ready_is_one_of_those_that_exist() -> None:
    broken = node("h100-0", placeable=False, why_not="is not ready", created=NOW - 10_000)
    decision = decide(world(job("one", 8, 8), on=(broken,), flavor=cloud(most=1)), POLICY)
    assert grants(decision) == {"one": NOTHING}


def test_a_new_node_is_like_those_that_exist() -> None:
    small = node("h100-0", allocatable={"cpu": 4_000}, foreign={GPU: 8})
    decision = decide(world(job("one", 8, 8), on=(small,), flavor=cloud(most=2)), POLICY)
    assert grants(decision) == {"one": NOTHING}, "eight pods of one core each do not fit onto one node of four"


def test_a_suspended_job_gives_its_nodes_back_at_once() -> None:
    start = world(job("one", 8, 8))
    waiting = carried_out(start, decide(start, POLICY))
    stopped = replace(waiting, jobs=(replace(waiting.jobs[0], suspended=True),))
    decision = decide(stopped, POLICY)
    assert grants(decision) == {"one": NOTHING}
    assert not decision.new_nodes


def test_quota_holds_for_new_nodes() -> None:
    one = job("one", 4, 16, queue_name="team")
    decision = decide(world(one, queues=(queue("team", quota(8)),)), POLICY)
    assert grants(decision)["one"].replicas == 8


def test_a_queue_may_borrow_new_nodes() -> None:
    queues = (queue("a", quota(8), cohort="lab"), queue("b", quota(8), cohort="lab"))
    decision = decide(world(job("one", 16, 16, queue_name="a"), queues=queues), POLICY)
    assert grants(decision)["one"].replicas == 16


def test_an_owner_takes_back_its_quota_rather_than_wait_for_nodes() -> None:
    borrower = running(job("borrower", 4, 8, queue_name="b"), {"h100-0": 8})
    queues = (queue("a", quota(4), cohort="lab"), queue("b", quota(4), cohort="lab"))
    start = world(borrower, job("owner", 4, 4, queue_name="a"), on=nodes(1), queues=queues)
    decision = decide(start, POLICY)
    assert grants(decision)["borrower"] == Grant("h100", 4)


@pytest.mark.parametrize(
    ("price", "least", "granted"),
    [(2.0, 0.2, 8), (8.0, 0.2, 0), (8.0, 0.05, 8)],
    ids=["as dear as what exists", "four times as dear", "and that is worth it"],
)
def test_a_new_node_must_earn_its_price(price: float, least: float, granted: int) -> None:
    dear = replace(cloud(least_yield=least), price_per_hour=price)
    other = running(job("other", 8, 8), {"a100-0": 8}, flavor="a100")
    start = snapshot(job("one", 8, 8), other, on=nodes(1, flavor="a100"),
                     flavors=(replace(A100, speed=1.0, price_per_hour=2.0), dear))  # fmt: skip
    assert grants(decide(start, POLICY))["one"].replicas == granted


def test_growth_on_new_nodes_ends_where_it_earns_too_little() -> None:
    """With 4 replicas the job is as fast as it gets: a fifth would do nothing for its money."""
    flat = Points(((1, 1.0), (2, 2.0), (4, 4.0), (8, 4.4)))
    one = job("one", 1, 8, curve=flat, steps=(1, 2, 4, 8))
    assert grants(decide(world(one), POLICY))["one"].replicas == 4
    assert grants(decide(world(one, on=nodes(1)), POLICY))["one"].replicas == 8, "what exists costs nothing more"


def test_the_wait_is_set_against_the_time_that_a_change_lasts() -> None:
    hurried = Policy(stability=Stability(expected_hold_seconds=100.0))
    assert grants(decide(world(job("one", 4, 4)), hurried)) == {"one": NOTHING}
    assert grants(decide(world(job("one", 4, 4), flavor=cloud(timeout_seconds=100.0)), hurried))["one"].replicas == 4


def test_without_provisionable_flavors_a_decision_is_as_before() -> None:
    start = snapshot(job("one", 4, 16, curve=GLOBAL_BATCH), job("two", 2, 2), on=nodes(1))
    plain, offered = decide(start, POLICY), decide(replace(start, flavors=(A100, cloud(most=0))), POLICY)
    assert plain == offered
    assert not plain.new_nodes


def test_a_lost_pod_of_a_job_whose_nodes_came_waits_no_longer_than_others() -> None:
    here = running(job("one", 4, 8), {"h100-0": 7})
    lost = Pod("one-7", "one-7", None, here.requests, NOW - 70, phase="Pending")
    memory = Memory(phase="Running", admission=Admission("h100", 8, 1, NOW - 7000))
    decision = decide(world(replace(here, pods=(*here.pods, lost), memory=memory), on=nodes(1)), POLICY)
    assert condition(decision, "one", "Degraded")[1] == "PlacementFailed"


@pytest.mark.parametrize("waiting", [False, True])
def test_nobody_gives_way_for_somebody_who_would_wait_for_nodes(waiting: bool) -> None:
    """The gang of four needs a second node even without `low`; one may be on its way, and may never come."""
    low, other = running(job("low", 2, 2), {"h100-0": 2}), running(job("other", 1, 1, priority=100), {"h100-0": 1})
    waits = running(job("waits", 2, 2), {"h100-0": 1})
    pending = replace(waits.pods[0], name="late", node=None, phase="Pending", ready=False, created=NOW - 400)
    admission = Admission("h100", 2, 1, NOW - 400, new_nodes=1)
    waits = replace(waits, pods=(*waits.pods, pending), memory=replace(waits.memory, admission=admission))
    jobs = (low, other, waits) if waiting else (low, other)
    decision = decide(
        world(*jobs, job("high", 2, 2, 2, priority=10), on=(node("h100-0", 4),), flavor=cloud(2, 4)), POLICY
    )
    assert grants(decision)["low"] == Grant("h100", 2)
