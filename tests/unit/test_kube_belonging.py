"""Whose a pod is, where its name alone would say a Deployment that has not made it."""

from typing import Any

import pytest

from apportion.kube.belonging import Belonging, Claim
from apportion.kube.facts import DeploymentFacts, PodFacts, deployment_facts, pod_facts
from apportion.model.jobs import JobKey

JOB = JobKey("ml", "train")
BEFORE, SINCE, AFTER = "2026-01-01T00:00:00Z", "2026-01-01T00:10:00Z", "2026-01-01T00:10:05Z"


def pod(name: str, replica_set: str, created: str, leaving: bool = False) -> PodFacts:
    hash_ = replica_set.rpartition("-")[2]
    meta: dict[str, Any] = {
        "name": name,
        "namespace": "ml",
        "creationTimestamp": created,
        "labels": {"pod-template-hash": hash_},
        "ownerReferences": [{"kind": "ReplicaSet", "name": replica_set, "controller": True}],
    }
    if leaving:
        meta["deletionTimestamp"] = AFTER
    facts = pod_facts({"metadata": meta, "spec": {"containers": [{"name": "main"}]}, "status": {"phase": "Running"}})
    assert facts is not None
    return facts


def pods(count: int, replica_set: str, created: str, **more: Any) -> list[PodFacts]:
    return [pod(f"{replica_set}-{created[-3:-1]}-{index}", replica_set, created, **more) for index in range(count)]


def deployment(**status: Any) -> DeploymentFacts:
    meta = {"name": "train", "namespace": "ml", "creationTimestamp": SINCE}
    return deployment_facts({"metadata": meta, "spec": {"replicas": 5}, "status": status})


OLD, NEW = "train-old", "train-new"


@pytest.mark.parametrize(
    ("there", "status", "its_own"),
    [
        (pods(5, OLD, BEFORE), {}, {OLD}),
        (pods(5, OLD, BEFORE), {"observedGeneration": 1}, set()),
        (pods(5, OLD, BEFORE), {"observedGeneration": 1, "replicas": 5}, {OLD}),
        (pods(5, OLD, BEFORE) + pods(3, NEW, AFTER), {"observedGeneration": 1, "replicas": 3}, {NEW}),
        (pods(5, OLD, BEFORE) + pods(2, NEW, AFTER), {"observedGeneration": 1, "replicas": 5}, {NEW}),
        (pods(5, OLD, BEFORE) + pods(2, NEW, AFTER), {"observedGeneration": 2, "replicas": 7}, {OLD, NEW}),
        (pods(2, OLD, BEFORE) + pods(3, OLD, AFTER), {"observedGeneration": 2, "replicas": 2}, {OLD}),
        (pods(2, OLD, BEFORE) + pods(3, OLD, AFTER, leaving=True), {"observedGeneration": 2, "replicas": 2}, {OLD}),
        (
            pods(2, OLD, BEFORE) + pods(2, NEW, AFTER, leaving=True),
            {"observedGeneration": 2, "replicas": 2},
            {OLD, NEW},
        ),
        (pods(5, OLD, SINCE), {"observedGeneration": 1}, {OLD}),
    ],
    ids=[
        "nobody has counted yet",
        "the Deployment has none of the old ones",
        "it has taken the old ones over",
        "the old ones are left beside its own",
        "so they are while its count of its own is late",
        "it has taken them over and rolls out another template",
        "it has taken them over and grows, its count is late",
        "it has taken them over and some of its pods end",
        "its new ones end",
        "as old as it is",
    ],
)
def test_pods_from_before_a_deployment_are_its_own_if_its_controller_counts_them(
    there: list[PodFacts], status: dict[str, Any], its_own: set[str]
) -> None:
    belonging = Belonging(there, {JOB: Claim(deployment(**status))})
    assert {pod.replica_set for pod in belonging.by_job[JOB]} == its_own
    assert {pod.replica_set for pod in there if belonging.is_foreign(pod)} == {
        pod.replica_set for pod in there
    } - its_own


def test_pods_are_kept_for_a_deployment_that_is_to_be_made_again() -> None:
    there = pods(2, OLD, BEFORE)
    belonging = Belonging(there, {JOB: Claim(None)})
    assert belonging.by_job == {JOB: there}
    assert not any(map(belonging.is_foreign, there))


@pytest.mark.parametrize("made", [None, deployment()], ids=["not made yet", "made, and not counted yet"])
def test_pods_from_before_a_job_are_those_of_an_earlier_one_of_its_name(made: DeploymentFacts | None) -> None:
    job_came = pods(1, NEW, SINCE)[0].pod.created
    there = [*pods(2, OLD, BEFORE), *pods(1, NEW, AFTER)]
    belonging = Belonging(there, {JOB: Claim(made, job_came)})
    assert {pod.replica_set for pod in belonging.by_job[JOB]} == {NEW}
    assert {pod.replica_set for pod in there if belonging.is_foreign(pod)} == {OLD}


def test_pods_of_a_deployment_of_no_job_are_foreign() -> None:
    (other,) = pods(1, "other-abc", BEFORE)
    belonging = Belonging([other], {JOB: Claim(deployment())})
    assert belonging.by_job == {}
    assert belonging.is_foreign(other)
