"""The checker of the fault tests is checked: a made-up history that breaks a rule is caught, a clean one is not."""

from typing import Any

import pytest

from unit.made_up_history import A100, History


def test_life_without_a_fault_breaks_nothing(history: History) -> None:
    history.queue("default", 8)
    history.job("a", 0, reason="NoCapacity")
    history.runs("a", 4)
    history.job("a", 2, reason="Admitted")
    history.deployment("a", 2)
    history.gone("Pod", "a-3")
    history.gone("Pod", "a-2")
    history.runs("b", 6)
    history.job("b", 0, suspend=True, generation=2, reason="Suspended", phase="Suspended")
    history.deployment("b", 0)
    for index in range(6):
        history.gone("Pod", f"b-{index}")
    assert history.broken() == ""
    assert history.at_rest() == ""


# --- at every instant ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "says"),
    [
        (1, "granted 1, below the gang of 2"),
        (9, "granted 9, which is none of its steps"),
        (3, "none of its steps [2, 4]"),
    ],
)
def test_grant_that_is_no_step_of_the_job(history: History, granted: int, says: str) -> None:
    history.node("n1")
    history.job("a", granted, **({"replicaSteps": [2, 4]} if granted == 3 else {}))
    assert says in history.broken()


def test_grant_is_held_against_the_spec_that_its_status_knew(history: History) -> None:
    history.job("a", 0)
    history.job("a", 0, maxReplicas=2, generation=2, seen=1)
    history.job("a", 8, maxReplicas=2, generation=2, seen=1)
    assert history.broken() == ""
    history.job("a", 7, maxReplicas=2, generation=2, seen=2)
    assert "granted 7, which is none of its steps [2]" in history.broken()


def test_more_granted_than_exists(history: History) -> None:
    history.runs("a", 4)
    history.starts("b", 5)
    assert "9 nvidia-h100 are granted, 8 exist" in history.broken()


def test_grants_of_one_round_are_judged_when_all_are_written(history: History) -> None:
    """Two jobs that change places pass through a moment in which both are on one flavor."""
    history.node("n1", product=A100)
    history.starts("a", 8)
    history.starts("b", 8, product=A100)
    history.job("a", 8, product=A100)
    history.job("b", 8)
    history.deployment("a", 8, product=A100)
    history.deployment("b", 8)
    assert history.broken() == ""
    history.starts("c", 2)
    assert "10 nvidia-h100 are granted, 8 exist" in history.broken()


def test_room_that_went_a_moment_ago_may_still_be_granted_but_not_later(history: History) -> None:
    history.node("n1")
    history.gone("Node", "n1")
    history.starts("a", 8)
    history.starts("b", 4)
    assert history.broken() == ""
    history.pass_time(10)
    history.starts("c", 2)
    assert "14 nvidia-h100 are granted, 8 exist" in history.broken()


def test_pods_keep_their_room_on_a_node_that_takes_no_others(history: History) -> None:
    history.node("n1")
    history.starts("a", 4)
    history.pods("a", 4, node="n1")
    history.node("n1", ready=False)
    history.pass_time(10)
    history.starts("b", 8)
    assert history.broken() == "", "4 retained and 8 placeable"
    history.starts("c", 2)
    assert "14 nvidia-h100 are granted, 12 exist" in history.broken()


def test_losing_nodes_alone_breaks_nothing_and_growing_then_does(history: History) -> None:
    history.node("n1")
    history.starts("a", 8)
    history.starts("b", 4)
    history.gone("Node", "n1")
    history.pass_time(10)
    history.starts("a", 7)
    assert history.broken() == ""
    history.starts("b", 5)
    assert "12 nvidia-h100 are granted, 8 exist" in history.broken()


def test_queue_beyond_its_quota(history: History) -> None:
    history.queue("default", 4)
    history.pass_time(10)
    history.starts("a", 5)
    assert "queue default uses 5 of 4 + 0 nvidia-h100" in history.broken()


def test_borrowing_beyond_its_limit_and_beyond_what_the_cohort_has(history: History) -> None:
    history.node("n1", 32)
    history.queue("default", 4, "all", borrowingLimit=2)
    history.queue("rich", 8, "all", lendingLimit=3)
    history.pass_time(10)
    history.starts("a", 6)
    history.starts("b", 6, queueName="rich")
    assert history.broken() == ""
    history.starts("a", 7)
    assert "queue default uses 7 of 4 + 2" in history.broken()
    history.checker.violations.clear()
    history.queue("default", 4, "all")
    history.starts("b", 5, queueName="rich")
    history.pass_time(10)
    history.starts("a", 8)
    assert "cohort all uses 13 of 12" in history.broken()


def test_what_a_queue_does_not_lend_is_not_borrowed(history: History) -> None:
    history.queue("default", 2, "all")
    history.queue("rich", 4, "all", lendingLimit=1)
    history.pass_time(10)
    history.starts("a", 3)
    assert history.broken() == ""
    history.starts("a", 4)
    assert "cohort all uses 7 of 6" in history.broken()


def test_job_that_may_not_borrow_stays_within_the_nominal_quota(history: History) -> None:
    history.queue("default", 2, "all")
    history.queue("rich", 4, "all")
    history.pass_time(10)
    history.starts("a", 3, preemptible=False)
    assert "jobs that may not borrow hold 3 of 2" in history.broken()


def test_quota_that_was_cut_a_moment_ago(history: History) -> None:
    history.queue("default", 8)
    history.pass_time(10)
    history.queue("default", 4)
    history.starts("a", 6)
    assert history.broken() == ""
    history.pass_time(10)
    history.starts("b", 2)
    assert "queue default uses 8 of 4" in history.broken()


def test_flavor_that_the_queue_does_not_list_and_queue_that_is_not_there(history: History) -> None:
    history.quota("default", "nvidia-a100", 8, {})
    history.pass_time(10)
    history.starts("a", 2)
    assert "queue default has no quota of nvidia-h100" in history.broken()
    history.starts("b", 2, queueName="none")
    assert "there is no queue none" in history.broken()


def test_loss_without_a_word(history: History) -> None:
    history.job("a", 4)
    history.job("a", 2, message="")
    assert "lost 2 replicas, and its status does not say why" in history.broken()


def test_nothing_granted_to_a_job_that_counts_as_admitted(history: History) -> None:
    history.job("a", 8)
    history.job("a", 0, suspend=True, admits=True)
    assert "has nothing, and its status does not say that it is not admitted" in history.broken()


def test_everything_lost_where_there_is_room(history: History) -> None:
    history.runs("a", 4)
    history.job("a", 0, reason="NoCapacity")
    assert "lost all its replicas (NoCapacity), though 8 nvidia-h100 are free and it needs 2" in history.broken()


@pytest.mark.parametrize(
    "why",
    [{"suspend": True}, {"phase": "Succeeded"}, {"degraded": True}, {"reason": "Preempted"}],
    ids=["suspended", "finished", "degraded", "taken"],
)
def test_everything_lost_for_a_reason(history: History, why: dict[str, Any]) -> None:
    history.runs("a", 4)
    history.job("a", 0, **why)
    assert history.broken() == ""


def test_everything_lost_with_its_node_or_its_quota(history: History) -> None:
    history.queue("default", 8)
    history.runs("a", 4)
    history.queue("default", 1)
    history.job("a", 0, reason="QuotaExceeded")
    history.queue("default", 8)
    history.gone("Node", "n0")
    for index in range(4):
        history.gone("Pod", f"a-{index}")
    history.job("b", 4)
    history.job("b", 0)
    assert history.broken() == ""


def test_deployment_sized_otherwise_than_granted(history: History) -> None:
    history.runs("a", 4)
    history.deployment("a", 6)
    assert "Deployment a: sized to 6, while its job is granted 4 on nvidia-h100" in history.broken()


def test_deployment_taken_to_zero_while_its_job_should_run(history: History) -> None:
    history.runs("a", 4)
    history.deployment("a", 0)
    assert "Deployment a: sized to 0, while its job is granted 4" in history.broken()


def test_deployment_raised_without_any_grant(history: History) -> None:
    history.job("a", 0)
    history.deployment("a", 2)
    assert "sized to 2, while its job is granted 0 on nothing" in history.broken()


@pytest.mark.parametrize("owned", [True, False])
def test_deployment_goes_through_zero_to_another_flavor_only(history: History, owned: bool) -> None:
    history.node("n1", product=A100)
    spec = {} if owned else {"template": None, "workloadRef": {"name": "a"}}
    history.job("a", 4, **spec)
    history.deployment("a", 4, owned=owned)
    history.job("a", 4, product=A100, **spec)
    history.deployment("a", 0, owned=owned)
    assert history.broken() == ""
    history.deployment("a", 4, owned=owned, product=A100)
    assert history.broken() == ""
    history.deployment("a", 0, owned=owned, product=A100)
    assert "sized to 0, while its job is granted 4 on nvidia-a100" in history.broken()


def test_move_to_a_flavor_that_has_no_room(history: History) -> None:
    history.node("n1", 2, product=A100)
    history.starts("a", 4)
    history.starts("a", 4, product=A100)
    assert "4 nvidia-a100 are granted, 2 exist" in history.broken()


def test_deployment_of_an_older_job_of_the_same_name_is_not_judged_by_the_new_one(history: History) -> None:
    history.job("a", 4)
    history.deployment("a", 2, owner="uid-of-an-older-a")
    assert history.broken() == ""


def test_what_others_do_to_a_deployment_is_not_the_operators_fault(history: History) -> None:
    history.runs("a", 4)
    history.deployment("a", 0, by="kubectl")
    assert history.broken() == ""


def test_state_that_a_list_shows_is_not_judged_as_a_step(history: History) -> None:
    history.job("a", 4)
    history.job("a", 2, message="", listed=True)
    assert history.broken() == ""


def test_violation_tells_what_led_there(history: History) -> None:
    history.starts("a", 4)
    history.starts("b", 5)
    (found,) = history.checker.violations
    assert len(found.after) == 5
    assert "Deployment b" in found.after[-1]
    assert "Node n0 takes pods" in found.after[0]
