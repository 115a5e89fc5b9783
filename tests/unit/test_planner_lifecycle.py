"""What pods and workload say of a job: the rows of behaviour.md that need no queue."""

from dataclasses import replace
from typing import Any

import pytest

from apportion.model.jobs import Backoff, Block, Job, Pod, Workload
from apportion.model.plan import NOTHING, Decision, Grant, Outcome
from apportion.model.policy import Mode, Policy
from apportion.planner import decide
from builders import GPU, LONG_AGO, NOW, job, node, nodes, queue, quota, running, snapshot


def decided(one: Job, on: int = 1, mode: Mode = Mode.ENFORCE, **fields: object) -> tuple[Decision, Outcome]:
    decision = decide(snapshot(one, on=nodes(on), **fields), Policy(mode=mode))
    return decision, decision.outcomes[0]


def pods(one: Job, **changes: object) -> Job:
    return replace(one, pods=tuple(replace(pod, **changes) for pod in one.pods))


def condition(outcome: Outcome, type_: str) -> tuple[bool, str]:
    found = next(c for c in outcome.memory.conditions if c.type == type_)
    return found.status, found.reason


TWO = running(job("one", 1, 2), {"h100-0": 2})
WORKLOAD = Workload("one", "uid-w", 2, owned=True, flavor="h100", decision="1", granted=2, has_annotations=True)


def test_all_pods_ready_is_running() -> None:
    _, outcome = decided(TWO)
    assert outcome.memory.phase == "Running"
    assert condition(outcome, "Admitted") == (True, "Admitted")
    assert outcome.memory.replicas == 2
    assert outcome.granted == outcome.current


def test_not_all_ready_is_starting_or_resizing() -> None:
    unready = pods(TWO, ready=False)
    assert decided(unready)[1].memory.phase == "Resizing"
    first = replace(unready, memory=replace(unready.memory, phase="Starting"))
    assert decided(first)[1].memory.phase == "Starting"


def test_exit_zero_of_every_pod_after_the_resize_is_success() -> None:
    ended = pods(TWO, exit_code=0, exited_at=NOW - 5, ready=False)
    _, outcome = decided(ended)
    assert outcome.memory.phase == "Succeeded"
    assert outcome.granted.replicas == 0
    assert condition(outcome, "Complete") == (True, "ExitedZero")


@pytest.mark.parametrize(
    "change",
    [
        {"exit_code": 1, "exited_at": NOW - 5},
        {"exit_code": 0, "exited_at": LONG_AGO - 5},
        {"exit_code": 0, "exited_at": NOW - 5, "terminating": True},
    ],
    ids=["another exit code", "ended before the last resize", "being deleted"],
)
def test_other_ends_are_no_success(change: dict[str, object]) -> None:
    assert decided(pods(TWO, **change))[1].memory.phase != "Succeeded"


def test_one_pod_that_goes_on_is_no_success() -> None:
    first, second = TWO.pods
    mixed = replace(TWO, pods=(replace(first, exit_code=0, exited_at=NOW - 5), second))
    assert decided(mixed)[1].memory.phase == "Running"


def test_a_service_never_completes_by_itself() -> None:
    service = replace(pods(TWO, exit_code=0, exited_at=NOW - 5), complete_on_exit_zero=False)
    assert decided(service)[1].granted.replicas == 2


def test_success_is_final_until_retried() -> None:
    over = replace(TWO, pods=(), memory=replace(TWO.memory, phase="Succeeded", admission=None))
    assert decided(over)[1].memory.phase == "Succeeded"
    again = decided(replace(over, retried="1"))[1]
    assert again.granted.replicas == 2
    assert again.memory.retried == "1"
    assert again.memory.queued_since == NOW


def test_marked_complete_gives_everything_back() -> None:
    _, outcome = decided(replace(TWO, completed=True))
    assert (outcome.memory.phase, outcome.granted.replicas) == ("Succeeded", 0)


@pytest.mark.parametrize("held", [False, True])
def test_suspend_gives_everything_back_also_of_a_job_that_is_held(held: bool) -> None:
    _, outcome = decided(replace(TWO, suspended=True, held=held))
    assert (outcome.memory.phase, outcome.granted.replicas, outcome.touch) == ("Suspended", 0, True)


def test_hold_keeps_exactly_what_is() -> None:
    held = replace(running(job("one", 1, 8), {"h100-0": 2}), held=True)
    _, outcome = decided(held)
    assert outcome.target.replicas == 2
    assert outcome.reason == "Held"


def unplaced(seconds: float, bound: int) -> Job:
    base = running(job("one", 2, 4, placement_timeout_seconds=60), {"h100-0": bound})
    admission = replace(base.memory.admission, replicas=4) if base.memory.admission else None
    waiting = tuple(
        Pod(
            f"w{i}",
            f"w{i}",
            None,
            base.requests,
            NOW - seconds,
            phase="Pending",
            unschedulable="0/1 nodes: Insufficient",
        )
        for i in range(4 - bound)
    )
    return replace(base, pods=(*base.pods, *waiting), memory=replace(base.memory, admission=admission))


def test_pending_pods_are_waited_for() -> None:
    decision, outcome = decided(unplaced(20, bound=2))
    assert outcome.granted.replicas == 4
    assert decision.recheck_after == pytest.approx(40)


def test_placement_that_fails_gives_back_what_is_not_bound() -> None:
    _, outcome = decided(unplaced(61, bound=3))
    assert outcome.granted.replicas == 3
    assert condition(outcome, "Degraded") == (True, "PlacementFailed")
    assert "Insufficient" in outcome.message
    assert outcome.memory.backoff == (Backoff("h100", 1, NOW + 60),)


def test_placement_below_the_minimum_gives_all_back_and_the_wait_doubles() -> None:
    one = unplaced(61, bound=1)
    one = replace(one, memory=replace(one.memory, backoff=(Backoff("h100", 2, NOW - 1),)))
    _, outcome = decided(one)
    assert outcome.granted.replicas == 0
    assert outcome.memory.backoff == (Backoff("h100", 3, NOW + 240),)


def test_what_did_not_come_is_given_back_now_though_its_next_place_is_not_free_yet() -> None:
    """The plan has a place for it on the other flavor, where a pod that ends still sits."""
    pending = unplaced(61, bound=0)
    ends = replace(running(job("ends", 1, 1, completed=True), {"a100-0": 1}, "a100"))
    world = snapshot(pending, ends, on=(*nodes(1), *nodes(1, len(pending.pods), "a100")))
    decision = decide(world, Policy())
    outcome = next(one for one in decision.outcomes if one.key == pending.key)
    assert (outcome.granted, outcome.target.flavor) == (NOTHING, "a100")
    (change,) = (one for one in decision.resizes if one.key == pending.key)
    assert (change.wave, change.current, change.target) == (0, outcome.current, NOTHING)


def test_a_flavor_in_back_off_is_left_out_and_tried_again() -> None:
    resting = replace(
        job("one", 1, 2),
        memory=replace(TWO.memory, phase="Pending", admission=None, backoff=(Backoff("h100", 1, NOW + 9),)),
    )
    decision, outcome = decided(resting)
    assert outcome.granted.replicas == 0
    assert outcome.reason in ("BackingOff", "PlacementFailed")
    assert decision.recheck_after is not None
    assert decision.recheck_after <= 9
    over = replace(resting, memory=replace(resting.memory, backoff=(Backoff("h100", 1, NOW - 1),)))
    assert decided(over)[1].granted.replicas == 2


def crashed(restarts: int, baseline: int = 0) -> Job:
    base = pods(TWO, ready=False, restarts=restarts, exit_code=1, waiting_reason="CrashLoopBackOff")
    return replace(base, memory=replace(base.memory, ready_restarts=baseline))


def test_a_crash_loop_is_not_grown() -> None:
    growing = replace(crashed(3), steps=(1, 2, 3, 4))
    _, outcome = decided(growing)
    assert outcome.target.replicas == 2
    assert condition(outcome, "Degraded") == (True, "WorkloadFailing")


def test_the_failure_limit_ends_a_crash_loop() -> None:
    _, outcome = decided(crashed(6))
    assert (outcome.memory.phase, outcome.granted.replicas) == ("Failed", 0)
    assert decided(crashed(10, baseline=5))[1].memory.phase != "Failed"


def test_restarts_before_the_pods_were_ready_do_not_count() -> None:
    well = pods(TWO, restarts=5, ready_since=NOW - 100)
    assert decided(well)[1].memory.ready_restarts == 5


def test_a_failed_job_starts_again_when_its_spec_changes() -> None:
    failed = replace(
        TWO, pods=(), memory=replace(TWO.memory, phase="Failed", admission=None), generation=2, observed_generation=2
    )
    assert decided(failed)[1].memory.phase == "Failed"
    assert decided(replace(failed, generation=3))[1].granted.replicas == 2


def test_replicas_changed_by_hand_are_put_back_and_told() -> None:
    _, outcome = decided(replace(TWO, workload=replace(WORKLOAD, replicas=5)))
    assert outcome.granted.replicas == 2
    assert outcome.touch
    assert [notice.reason for notice in outcome.notices] == ["ReplicasReverted"]
    assert "from 2 to 5" in outcome.notices[0].message


def test_the_third_revert_within_ten_minutes_ends_the_fight() -> None:
    fought = replace(TWO, workload=replace(WORKLOAD, replicas=5, editor="argocd"))
    fought = replace(fought, memory=replace(fought.memory, reverts=(NOW - 20, NOW - 10)))
    _, outcome = decided(fought)
    assert not outcome.touch
    assert condition(outcome, "Degraded") == (True, "FieldConflict")
    assert "argocd" in outcome.message


def test_old_reverts_are_forgotten() -> None:
    fought = replace(TWO, workload=replace(WORKLOAD, replicas=5))
    fought = replace(fought, memory=replace(fought.memory, reverts=(NOW - 900, NOW - 800)))
    assert decided(fought)[1].touch


def test_a_conflict_ends_when_the_replicas_are_right_again() -> None:
    settled = replace(TWO, workload=WORKLOAD)
    settled = replace(settled, memory=replace(settled.memory, reverts=(NOW - 30, NOW - 20, NOW - 10)))
    _, outcome = decided(settled)
    assert outcome.touch
    assert outcome.memory.reverts == ()


def test_refused_pods_count_only_as_far_as_they_exist() -> None:
    base = running(job("one", 1, 4), {"h100-0": 2})
    assert base.memory.admission is not None
    wanting = replace(base, workload=replace(WORKLOAD, refusal="exceeded quota"))
    wanting = replace(wanting, memory=replace(base.memory, admission=replace(base.memory.admission, replicas=4)))
    _, outcome = decided(wanting)
    assert outcome.granted.replicas == 2
    assert condition(outcome, "Degraded") == (True, "PodsRefused")


def test_a_refused_deployment_gives_its_grant_back_and_a_new_spec_is_tried_at_once() -> None:
    refused = replace(TWO, pods=(), refusal="422 Invalid: Deployment is invalid")
    _, first = decided(refused)
    assert condition(first, "Degraded") == (True, "WorkloadRefused")
    assert first.granted == NOTHING
    again = replace(TWO, pods=(), memory=first.memory)
    assert decided(again)[1].granted == NOTHING
    assert decided(replace(again, generation=2))[1].granted == Grant("h100", 2)


def test_a_job_that_runs_keeps_its_pods_where_a_change_is_refused() -> None:
    _, outcome = decided(replace(TWO, refusal="403 Forbidden: denied the request"))
    assert condition(outcome, "Degraded") == (True, "WorkloadRefused")
    assert outcome.granted == Grant("h100", 2)


def test_an_invalid_job_that_runs_is_not_touched() -> None:
    broken = replace(TWO, block=Block("Invalid", "spec.minReplicas: expected less"), steps=())
    _, outcome = decided(broken)
    assert (outcome.granted.replicas, outcome.touch, outcome.memory.phase) == (2, False, "Invalid")
    assert condition(outcome, "Invalid") == (True, "InvalidSpec")


def test_observe_decides_and_grants_nothing() -> None:
    decision, outcome = decided(job("one", 1, 2), mode=Mode.OBSERVE)
    assert (outcome.target.replicas, outcome.granted.replicas, outcome.touch) == (2, 0, False)
    assert "would get 2 on h100" in outcome.message
    assert decision.round == 7


def test_freeze_keeps_everything_and_admits_nothing() -> None:
    assert decided(running(job("one", 1, 8), {"h100-0": 2}), mode=Mode.FREEZE)[1].target.replicas == 2
    fresh = decided(job("one", 1, 2), mode=Mode.FREEZE)[1]
    assert (fresh.granted.replicas, fresh.reason) == (0, "Frozen")


LATE = tuple(replace(pod, node=None, phase="Pending", created=NOW - 61) for pod in TWO.pods)


@pytest.mark.parametrize(
    "keeping",
    [
        {"held": True},
        {"mode": Mode.FREEZE},
        {"mode": Mode.OBSERVE},
        {"queues": (queue("other", quota(8)),)},
    ],
    ids=["hold", "Freeze", "Observe", "its Queue is gone"],
)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pods": LATE}, "PlacementFailed"),
        ({"pods": (), "workload": replace(WORKLOAD, refusal="exceeded quota")}, "PodsRefused"),
        ({"pods": (), "workload": WORKLOAD, "refusal": "denied by a webhook"}, "WorkloadRefused"),
    ],
    ids=["Pending", "pods refused", "workload refused"],
)  # fmt: skip
def test_who_is_to_stay_as_it_is_gives_nothing_back(
    keeping: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    fields = {name: value for name, value in keeping.items() if name != "held"}
    asked = replace(TWO, held="held" in keeping, queue_name="gone", **change)
    _, outcome = decided(asked, **{"queues": (queue("gone", quota(8)),), **fields})
    assert outcome.granted == outcome.current == Grant("h100", 2)
    assert outcome.memory.admission == TWO.admission
    assert condition(outcome, "Degraded") == (True, reason)
    resting = [entry.flavor for entry in outcome.memory.backoff]
    assert resting == (["h100"] if reason == "WorkloadRefused" else []), "only writes rest: no flavor is left out"
    _, given_back = decided(replace(asked, held=False), queues=(queue("gone", quota(8)),))
    assert given_back.memory.admission is None


def test_a_held_job_whose_deployment_is_refused_gives_its_grant_back_once_it_is_held_no_more() -> None:
    """Nothing is written to it until the back-off is over: till then others could not use what it does not."""
    held = replace(TWO, held=True, pods=(), workload=None)
    _, refused = decided(replace(held, refusal="denied by a webhook"))
    _, resting = decided(replace(held, memory=refused.memory))
    assert resting.granted == Grant("h100", 2)
    assert resting.message == "denied by a webhook"
    assert decided(replace(held, held=False, memory=resting.memory))[1].granted == NOTHING
    carried_out = replace(held, held=False, memory=resting.memory, workload=WORKLOAD)
    assert decided(carried_out)[1].granted == Grant("h100", 2)


def test_a_held_job_whose_deployment_is_refused_says_so_also_while_its_pods_wait() -> None:
    """Who forgets it would send the Deployment in every second round."""
    held = replace(TWO, held=True, pods=LATE)
    _, refused = decided(replace(held, refusal="denied by a webhook"))
    assert condition(decided(replace(held, memory=refused.memory))[1], "Degraded") == (True, "WorkloadRefused")
    later = decide(snapshot(replace(held, memory=refused.memory), on=nodes(1), now=NOW + 61), Policy()).outcomes[0]
    assert condition(later, "Degraded") == (True, "PlacementFailed")


def test_a_frozen_job_says_that_the_mode_keeps_it() -> None:
    frozen = decided(running(job("one", 1, 8), {"h100-0": 2}), mode=Mode.FREEZE)[1]
    assert (frozen.reason, frozen.message) == (
        "Frozen", "2 on h100: the AllocationPolicy's mode is Freeze, so it stays",
    )  # fmt: skip


def found_running(*bound: str, pending: int = 0) -> Job:
    """A job that has just come, for a Deployment whose pods run on the slower flavor."""
    base = running(job("one", 1, 4, min_runtime_seconds=300.0), dict.fromkeys(bound, 1), "a100", since=NOW - 10)
    waiting = tuple(replace(base.pods[0], name=f"late-{at}", node=None, phase="Pending") for at in range(pending))
    workload = Workload("one", "w", len(bound) + pending, owned=False)
    return replace(base, pods=(*base.pods, *waiting), memory=type(base.memory)(), workload=workload)


@pytest.mark.parametrize("pending", [0, 2])
def test_a_deployment_that_ran_before_is_adopted_as_far_as_its_pods_are_bound(pending: int) -> None:
    here = (*nodes(1), *nodes(2, flavor="a100"))
    decision = decide(snapshot(found_running("a100-0", "a100-1", pending=pending), on=here), Policy())
    assert decision.outcomes[0].current == NOTHING
    assert decision.outcomes[0].granted.flavor == "a100"
    assert decision.outcomes[0].granted.replicas >= 2
    frozen = decide(snapshot(found_running("a100-0", "a100-1", pending=pending), on=here), Policy(mode=Mode.FREEZE))
    assert frozen.outcomes[0].granted == Grant("a100", 2)


def test_pods_on_two_flavors_are_nobodys_grant() -> None:
    mixed = found_running("a100-0", "h100-0")
    frozen = decide(snapshot(mixed, on=(*nodes(1), *nodes(1, flavor="a100"))), Policy(mode=Mode.FREEZE))
    assert frozen.outcomes[0].granted == NOTHING


@pytest.mark.parametrize(
    ("one", "seconds"),
    [
        (job("one", 9, 9), None),
        (running(job("one", 1, 2, restart_seconds=600.0, created=NOW - 60), {"h100-0": 1}, since=NOW - 60), 60.0),
        (TWO, None),
        (running(job("one", 1, 2, min_runtime_seconds=300.0), {"h100-0": 2}, since=NOW - 100), 200.0),
    ],
    ids=["never fits", "does not grow", "at its maximum", "min runtime"],
)
def test_a_round_comes_back_when_time_alone_may_change_something(one: Job, seconds: float | None) -> None:
    assert decided(one)[0].recheck_after == seconds


def test_a_waiting_job_is_looked_at_every_minute() -> None:
    taken = (node("h100-0", foreign={GPU: 8}),)
    assert decide(snapshot(job("one"), on=taken), Policy()).recheck_after == 60.0


def test_the_scheduler_is_quoted_where_it_said_something() -> None:
    waiting = tuple(
        replace(TWO.pods[0], name=f"p{at}", node=None, phase="Pending", created=NOW - 100, unschedulable=said)
        for at, said in enumerate(("", "0/1 nodes are available"))
    )
    _, outcome = decided(replace(TWO, pods=waiting))
    assert "0/1 nodes are available" in outcome.memory.message or any(
        "0/1 nodes are available" in c.message for c in outcome.memory.conditions
    )


def test_a_placement_that_failed_stays_told_while_the_flavor_rests() -> None:
    waiting = tuple(replace(pod, node=None, phase="Pending", created=NOW - 100) for pod in TWO.pods)
    _, first = decided(replace(TWO, pods=waiting))
    assert condition(first, "Degraded") == (True, "PlacementFailed")
    later = snapshot(replace(TWO, pods=(), memory=first.memory), on=nodes(1), now=NOW + 30)
    outcome = decide(later, Policy()).outcomes[0]
    assert condition(outcome, "Degraded") == (True, "PlacementFailed")
    assert outcome.granted == NOTHING


def test_failures_long_ago_do_not_lengthen_the_wait() -> None:
    rested = replace(TWO.memory, backoff=(Backoff("h100", 5, NOW - 3700), Backoff("a100", 5, NOW - 3500)))
    assert [entry.flavor for entry in decided(replace(TWO, memory=rested))[1].memory.backoff] == ["a100"]


def test_capacity_counts_what_others_and_jobs_hold() -> None:
    decision = decide(snapshot(TWO, on=(node("h100-0", foreign={GPU: 3}), node("x", placeable=False))), Policy())
    row = next(row for row in decision.capacity if row.flavor == "h100")
    assert (row.allocatable, row.others_use, row.jobs_use, row.free) == (8, 3, 2, 3)


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.FREEZE])
def test_a_time_that_has_passed_is_not_waited_for(mode: Mode) -> None:
    """Its pod stays Pending as long as its node is away; nothing but an event changes that."""
    one = running(job("one", 1, 1, held=mode is Mode.ENFORCE, placement_timeout_seconds=60.0), {"gone": 1})
    pending = replace(one.pods[0], node=None, phase="Pending", created=NOW - 100)
    world = snapshot(replace(one, pods=(pending,)), on=())
    decision = decide(world, Policy(mode=mode))
    assert decision.outcomes[0].granted.replicas == 1
    assert decision.recheck_after is None
