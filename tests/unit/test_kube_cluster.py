"""What is kept of an object: the facts of it, once for each version; what was read may be forgotten."""

import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apportion.kube import kinds
from apportion.kube.cluster import Cluster, Observed
from apportion.kube.jobs import job_facts
from apportion.kube.kinds import Kind
from apportion.kube.memory import status_of
from apportion.kube.raw import fingerprint
from apportion.kube.render import status_patch
from apportion.model.jobs import Block, JobKey
from apportion.model.measured import Observation, Record
from apportion.model.policy import Mode, Policy

POD_SPEC = {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}


def raw_of(name: str, version: int = 1, uid: str = "", **fields: Any) -> dict[str, Any]:
    """As from the wire: no part of it is shared with another object."""
    meta = {"namespace": "ml", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return dict(json.loads(json.dumps({"metadata": {**meta, "managedFields": [{"manager": "x"}]}, **fields})))


def job(name: str, version: int = 1, most: int = 4, uid: str = "", **fields: Any) -> dict[str, Any]:
    spec = {"maxReplicas": most, "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC}}
    return raw_of(name, version, uid, spec=spec, **fields)


def owned_deployment(name: str) -> dict[str, Any]:
    raw = raw_of(name, spec={"replicas": 2, "template": {"spec": POD_SPEC}})
    raw["metadata"]["ownerReferences"] = [{"kind": "TrainingJob", "uid": f"uid-{name}", "controller": True}]
    return raw


def containers_in(raw: Any) -> list[Any]:
    if isinstance(raw, dict | list):
        below = raw.values() if isinstance(raw, dict) else raw
        return [raw, *(found for value in below for found in containers_in(value))]
    return []


def reached_from(start: object) -> set[int]:
    seen: set[int] = set()
    waiting: list[object] = [start]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type):
            seen.add(id(one))
            waiting += gc.get_referents(one)
    return seen


STATUS = {"phase": "Running", "admission": {"flavor": "h100", "replicas": 2, "round": 3}, "conditions": [{"type": "X"}]}


@pytest.mark.parametrize(
    ("kind", "raw"),
    [(kinds.JOB, job("a", status=STATUS)), (kinds.DEPLOYMENT, owned_deployment("a"))],
    ids=["TrainingJob", "owned Deployment"],
)
def test_thousands_of_objects_are_kept_so_nothing_of_what_they_were_read_from_is(kind: Kind, raw: Any) -> None:
    cluster = Cluster()
    cluster.apply(kind, raw)
    kept = reached_from(cluster.entries[kind.name]["ml", "a"])
    assert [part for part in containers_in(raw) if id(part) in kept] == []


def test_jobs_of_one_shape_share_their_template() -> None:
    cluster = Cluster()
    for name in ("a", "b"):
        cluster.apply(kinds.JOB, job(name))
    first, second = cluster.values(kinds.JOB)
    assert first.template is second.template
    assert first.template.parsed() == job("a")["spec"]["template"]


def test_a_version_is_read_once_and_a_newer_one_again() -> None:
    cluster = Cluster()
    assert cluster.apply(kinds.JOB, job("a", 5))
    before = cluster.entries[kinds.JOB.name]["ml", "a"]
    assert not cluster.apply(kinds.JOB, job("a", 5))
    assert cluster.entries[kinds.JOB.name]["ml", "a"] is before
    cluster.apply(kinds.JOB, job("a", 6, most=9))
    assert cluster.values(kinds.JOB)[0].job.maximum == 9


@pytest.mark.parametrize(
    ("status", "fence"),
    [
        (None, ("/status", None)),
        ({"phase": "Pending"}, ("/status/admission", None)),
        (STATUS, ("/status/admission/round", 3)),
        ({"admission": {"round": 7}}, ("/status/admission/round", 7)),
    ],
    ids=["no status yet", "nothing granted", "granted in round 3", "a grant that cannot be read"],
)
def test_a_write_of_the_status_is_fenced_by_the_status_that_was_read(status: Any, fence: tuple[str, Any]) -> None:
    facts = job_facts(job("a", **({} if status is None else {"status": status})))
    assert status_patch(facts.job.uid, facts.fence, {"phase": "Failed"}) == [
        {"op": "test", "path": "/metadata/uid", "value": "uid-a"},
        {"op": "test", "path": fence[0], "value": fence[1]},
        {"op": "add", "path": "/status", "value": {"phase": "Failed"}},
    ]


def test_a_status_is_told_from_the_one_that_would_be_written() -> None:
    written = status_of(job_facts(job("a", status=STATUS)).job.memory, generation=1)
    facts = job_facts(job("a", status=dict(reversed(written.items()))))
    assert facts.told == fingerprint(written)
    assert facts.told != fingerprint({**written, "replicas": 5})


def pod(name: str, created: str) -> dict[str, Any]:
    raw = raw_of(name, spec={**POD_SPEC, "nodeName": "n"}, status={"phase": "Running"})
    made_by = [{"kind": "ReplicaSet", "name": f"a-{name}", "controller": True}]
    labels = {"pod-template-hash": name}
    raw["metadata"] |= {"creationTimestamp": created, "labels": labels, "ownerReferences": made_by}
    return raw


@pytest.mark.parametrize(("status", "its_own"), [(STATUS, ["after"]), ({"phase": "Pending"}, [])])
def test_pods_of_a_deployment_that_somebody_deleted_are_kept_for_the_one_to_come(
    status: dict[str, Any], its_own: list[str]
) -> None:
    """Not those from before the job, and only while something is granted: then its Deployment is made again."""
    cluster = Cluster()
    made = job("a", status=status)
    made["metadata"]["creationTimestamp"] = "2026-01-01T00:10:00Z"
    cluster.apply(kinds.JOB, made)
    cluster.apply(kinds.POD, pod("before", "2026-01-01T00:00:00Z"))
    cluster.apply(kinds.POD, pod("after", "2026-01-01T00:20:00Z"))
    (found,) = cluster.snapshot(now=1e9).jobs
    assert [one.name for one in found.pods] == its_own


async def test_what_an_event_brought_while_the_list_was_read_stays_and_what_is_in_neither_is_gone() -> None:
    cluster = Cluster()
    for name in ("kept", "gone", "made again"):
        cluster.apply(kinds.JOB, job(name))

    async def pages() -> AsyncIterator[list[Any]]:
        yield [job("kept")]
        cluster.apply(kinds.JOB, job("new", 7))
        again = job("made again", 8)
        again["metadata"]["uid"] = "another"
        cluster.apply(kinds.JOB, again)
        yield []

    assert await cluster.replace_all(kinds.JOB, pages())
    assert sorted(facts.key.name for facts in cluster.values(kinds.JOB)) == ["kept", "made again", "new"]


def test_news_that_is_older_than_what_is_known_is_not_taken_in() -> None:
    cluster = Cluster()
    cluster.apply(kinds.JOB, job("a", 5, most=9))
    assert not cluster.apply(kinds.JOB, job("a", 4, most=2))
    assert not cluster.apply(kinds.JOB, job("a", 4, uid="its forerunner"), deleted=True)
    assert not cluster.apply(kinds.JOB, job("another"), deleted=True)
    assert cluster.values(kinds.JOB)[0].job.maximum == 9
    assert cluster.apply(kinds.JOB, job("a", 1, most=2, uid="made again"))
    assert cluster.apply(kinds.JOB, job("a", 1, uid="made again"), deleted=True)
    assert cluster.values(kinds.JOB) == []


def queue(version: int, weight: int) -> dict[str, Any]:
    meta = {"name": "red", "uid": "q", "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {"weight": weight}}


def test_a_queue_that_cannot_be_read_any_more_keeps_what_it_said_and_is_warned_of_until_it_can() -> None:
    cluster = Cluster()
    cluster.apply(kinds.QUEUE_KIND, queue(1, 3))
    cluster.apply(kinds.QUEUE_KIND, queue(2, -1))
    seen = cluster.snapshot(0.0)
    assert [one.weight for one in seen.queues] == [3.0]
    (warning,) = seen.warnings
    assert "spec.weight" in warning
    cluster.apply(kinds.QUEUE_KIND, queue(3, 4))
    assert cluster.snapshot(0.0).warnings == ()
    cluster.apply(kinds.QUEUE_KIND, queue(4, -1))
    cluster.apply(kinds.QUEUE_KIND, queue(5, -1), deleted=True)
    assert (cluster.snapshot(0.0).queues, cluster.snapshot(0.0).warnings) == ((), ())


async def test_a_warning_of_what_vanished_unseen_vanishes_too() -> None:
    cluster = Cluster()
    cluster.apply(kinds.QUEUE_KIND, queue(1, -1))

    async def nothing() -> AsyncIterator[list[Any]]:
        yield []

    assert cluster.snapshot(0.0).warnings
    assert await cluster.replace_all(kinds.QUEUE_KIND, nothing())
    assert cluster.snapshot(0.0).warnings == ()


def changed(version: int, most: int = 4, status: Any = None, **meta: Any) -> dict[str, Any]:
    raw = job("a", version, most, status=status or {})
    raw["metadata"] |= {"generation": 1, **meta}
    return raw


@pytest.mark.parametrize(
    ("change", "is_news"),
    [
        ({"status": {"phase": "Running", "message": "all is well"}}, False),
        ({"labels": {"a": "b"}}, False),
        ({"generation": 2}, True),
        ({"annotations": {"apportion.dev/hold": "true"}}, True),
        ({"annotations": {"apportion.dev/completed": "true"}}, True),
        ({"annotations": {"apportion.dev/retry": "1"}}, True),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, True),
        ({"status": STATUS}, True),
        ({"most": -1}, True),
    ],
    ids=["its status", "a label", "its spec", "hold", "completed", "retry", "its end", "its grant", "an error"],
)
def test_of_a_job_is_news_what_a_decision_could_depend_on(change: dict[str, Any], is_news: bool) -> None:
    cluster = Cluster()
    cluster.apply(kinds.JOB, changed(1))
    assert cluster.apply(kinds.JOB, changed(2, **change)) is is_news


def test_what_a_deployments_controller_counts_is_no_news_and_its_size_is() -> None:
    cluster, first = Cluster(), owned_deployment("a")
    cluster.apply(kinds.DEPLOYMENT, first)

    def again(version: int, replicas: int) -> dict[str, Any]:
        meta = {**first["metadata"], "resourceVersion": str(version)}
        status = {"observedGeneration": 1, "replicas": version}
        return {"metadata": meta, "spec": {**first["spec"], "replicas": replicas}, "status": status}

    assert not cluster.apply(kinds.DEPLOYMENT, again(2, 2))
    assert cluster.apply(kinds.DEPLOYMENT, again(3, 4))


def test_no_round_has_its_number_again() -> None:
    """Whoever wrote last: a status of a job, a Deployment, or the policy. A stale patch could pass its test."""
    cluster = Cluster()
    assert cluster.snapshot(0.0).round == 0
    cluster.apply(kinds.JOB, job("a", status=STATUS))
    assert cluster.snapshot(0.0).round == 3
    raw = owned_deployment("a")
    raw["metadata"]["annotations"] = {"apportion.dev/decision": "8"}
    cluster.apply(kinds.DEPLOYMENT, raw)
    assert cluster.snapshot(0.0).round == 8
    policy = {"metadata": {"name": "default", "uid": "p"}, "status": {"round": 9}}
    cluster.apply(kinds.POLICY, policy)
    assert cluster.snapshot(0.0).round == 9


@pytest.mark.parametrize("forged", ["x", "-4", "9" * 16, "3.5"])
def test_a_forged_decision_of_a_deployment_is_no_round(forged: str) -> None:
    cluster, raw = Cluster(), owned_deployment("a")
    raw["metadata"]["annotations"] = {"apportion.dev/decision": forged}
    cluster.apply(kinds.JOB, job("a"))
    cluster.apply(kinds.DEPLOYMENT, raw)
    assert cluster.snapshot(0.0).round == 0


def test_a_job_that_is_being_deleted_is_none() -> None:
    cluster = Cluster()
    cluster.apply(kinds.JOB, changed(1, deletionTimestamp="2026-01-01T00:00:00Z"))
    assert cluster.snapshot(0.0).jobs == ()


def test_what_was_measured_and_refused_is_known_of_the_job_that_it_was_of() -> None:
    cluster = Cluster()
    cluster.apply(kinds.JOB, job("a"))
    key, record, trouble = JobKey("ml", "a"), Record((Observation(2, "h100", 3.0, 1.0),)), Block("NoSeries", "nothing")
    cluster.observed[key] = Observed("uid-a", record, trouble)
    cluster.refusals[key] = "denied by a webhook"
    (found,) = cluster.snapshot(0.0).jobs
    assert (found.memory.record, found.unmeasured, found.refusal) == (record, trouble, "denied by a webhook")
    cluster.observed[key] = Observed("its forerunner", record, trouble)
    (found,) = cluster.snapshot(0.0).jobs
    assert (found.memory.record.points, found.unmeasured) == ((), None)


def test_there_is_one_policy_and_one_of_another_name_is_warned_of() -> None:
    cluster = Cluster()
    cluster.apply(kinds.POLICY, {"metadata": {"name": "another", "uid": "a"}, "spec": {"mode": "Freeze"}})
    assert cluster.policy() == Policy()
    assert "there is one AllocationPolicy" in cluster.snapshot(0.0).warnings[0]
    cluster.apply(kinds.POLICY, {"metadata": {"name": "default", "uid": "d"}, "spec": {"mode": "Observe"}})
    assert cluster.policy().mode == Mode.OBSERVE
