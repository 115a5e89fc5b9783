"""The checker of the fault tests is checked at rest: what is wrong when nothing changes any more, and what it keeps."""

import pytest

from unit.made_up_history import History


def test_deployment_or_pods_that_are_not_what_was_granted(history: History) -> None:
    history.job("a", 4)
    assert "TrainingJob a: granted 4, its Deployment has 0" in history.at_rest()
    history.deployment("a", 4)
    history.pods("a", 3)
    assert "TrainingJob a: granted 4, 3 pods are ready" in history.at_rest()
    history.pods("a", 4)
    assert history.at_rest() == ""
    history.pods("a", 1, leaving=True)
    assert "3 pods are ready" in history.at_rest()


def test_pods_of_a_deployment_that_was_deleted_are_not_those_of_the_one_made_again(history: History) -> None:
    history.runs("a", 4)
    history.pods("a", 3, of="uid-of-an-older-one")
    assert history.at_rest() == ""
    history.gone("Pod", "a-0")
    assert "TrainingJob a: granted 4, 3 pods are ready" in history.at_rest()


def test_status_of_an_older_spec(history: History) -> None:
    history.runs("a", 4)
    history.job("a", 4, generation=2, seen=1)
    assert "its status is of an older spec" in history.at_rest()


def test_more_granted_than_exists_or_than_the_quota_at_rest(history: History) -> None:
    history.queue("default", 8)
    history.runs("a", 4)
    history.queue("default", 2)
    assert "queue default uses 4 of 2" in history.at_rest()
    history.job("a", 4, minReplicas=4)
    assert history.at_rest() == "", "a minimum outlasts a quota"
    history.gone("Node", "n0")
    for index in range(4):
        history.gone("Pod", f"a-{index}")
    assert "4 nvidia-h100 are granted, 0 exist" in history.at_rest()


def test_queue_within_its_own_quota_is_not_to_blame_for_a_cohort_beyond(history: History) -> None:
    history.queue("default", 4, "all")
    history.queue("rich", 2, "all")
    history.runs("a", 4)
    history.runs("b", 4, queueName="rich", minReplicas=4)
    assert history.at_rest() == "", "b keeps its minimum, a what is its queue's own"
    history.job("b", 4, queueName="rich")
    assert "cohort all uses 8 of 6" in history.at_rest()


def test_deployment_that_outlives_its_job(history: History) -> None:
    history.runs("a", 2)
    history.gone("TrainingJob", "a")
    assert "Deployment a: its job is gone" in history.at_rest()
    history.job("a", 2)
    history.deployment("a", 2, owner="uid-of-an-older-a")
    assert "Deployment a: its job is gone" in history.at_rest()


def test_job_that_waits_beside_room_for_it(history: History) -> None:
    history.runs("a", 4)
    history.job("b", 0, minReplicas=4)
    assert "TrainingJob b: waits, though 4 pods of 1 nvidia-h100 would fit" in history.at_rest()
    history.job("b", 0, minReplicas=5)
    assert history.at_rest() == ""
    history.queue("default", 6)
    history.job("b", 0, minReplicas=4)
    assert history.at_rest() == "", "the quota is used up"
    history.queue("default", 8)
    history.job("b", 0, minReplicas=4, suspend=True)
    assert history.at_rest() == ""


@pytest.mark.parametrize("broken", [False, True])
def test_what_the_newest_round_saw_is_kept_or_the_first_that_broke_a_rule(broken: bool) -> None:
    """Of a round with two grants it is how things were before the first one."""
    history = History(lag=5)
    history.node("n")
    for name in ("a", "b"):
        history.job(name, 0)
    step, history.step = history.step, 0.01
    history.job("a", 1 if broken else 2)
    history.job("b", 2)
    history.step = step
    assert bool(history.checker.violations) == broken
    assert kept(history) == [0, 0]

    history.job("a", 4)
    assert kept(history) == ([0, 0] if broken else [2, 2])
    assert {obj["kind"] for obj in history.checker.before_round} == {"Node", "TrainingJob"}
    assert {obj["apiVersion"] for obj in history.checker.before_round} == {"v1", "apportion.dev/v1alpha1"}


def kept(history: History) -> list[int]:
    jobs = [obj for obj in history.checker.before_round if obj["kind"] == "TrainingJob"]
    return [job["status"].get("admission", {}).get("replicas", 0) for job in jobs]
