"""What is kept of an object: the facts of it, once for each version; what was read may be forgotten."""

import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apportion.kube import kinds
from apportion.kube.cluster import Cluster
from apportion.kube.jobs import job_facts
from apportion.kube.kinds import Kind
from apportion.kube.memory import status_of
from apportion.kube.raw import fingerprint
from apportion.kube.render import status_patch

POD_SPEC = {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]}


def raw_of(name: str, version: int = 1, uid: str = "", **fields: Any) -> dict[str, Any]:
    """As from the wire: no part of it is shared with another object."""
    meta = {"namespace": "ml", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return dict(json.loads(json.dumps({"metadata": {**meta, "managedFields": [{"manager": "x"}]}, **fields})))


def job(name: str, version: int = 1, most: int = 4, **fields: Any) -> dict[str, Any]:
    spec = {"maxReplicas": most, "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC}}
    return raw_of(name, version, spec=spec, **fields)


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
