"""What is written, and what keeps another's stale write out; a client that keeps requests stands for the API server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from apportion.kube import kinds
from apportion.kube.actuator import Actuator
from apportion.kube.client import MOST_TRIES, Api, Refused, Unreachable
from apportion.kube.cluster import Cluster
from apportion.model.policy import Policy
from apportion.planner import decide
from apportion.sandbox import gpu_node
from apportion.sandbox.manifests import container

NOW = 1_700_000_000.0
PRODUCT, FLAVOR = "NVIDIA-X", "nvidia-x"
DECISION, NAMED = "/metadata/annotations/apportion.dev~1decision", "apportion.dev/flavor"
TEMPLATE: dict[str, Any] = {
    "metadata": {"annotations": {NAMED: FLAVOR}},
    "spec": {"containers": [container("nvidia.com/gpu", 1)]},
}


class Writes(Api):
    """Keeps patches instead of sending them."""

    def __init__(self) -> None:
        super().__init__(None)
        self.patches: dict[str, Any] = {}

    async def patch(self, path: str, body: list[dict[str, Any]]) -> Any:
        self.patches[path.rpartition("/namespaces/team/")[2]] = body
        return {}


def known(granted: int, round_: int, size: int, decision: str, **spec: Any) -> Cluster:
    """A node of 8, a job that was granted so much in `round_`, and its Deployment, which carries `decision`."""
    cluster = Cluster()
    node = gpu_node("n0", PRODUCT, 8)
    node["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    cluster.apply(kinds.NODE, node)
    cluster.apply(kinds.JOB, job(granted, round_, **spec))
    notes = {"apportion.dev/decision": decision}
    meta = {"name": "job", "namespace": "team", "uid": "d", "labels": {"apportion.dev/managed": "true"}}
    body = {"metadata": {**meta, "annotations": notes}, "spec": {"replicas": size, "template": TEMPLATE}}
    cluster.apply(kinds.DEPLOYMENT, body)
    for index in range(size):
        cluster.apply(kinds.POD, pod(index))
    return cluster


def pod(index: int) -> dict[str, Any]:
    owner = {"kind": "ReplicaSet", "name": "job-abc", "uid": "r", "controller": True}
    meta = {"name": f"job-abc-{index}", "namespace": "team", "uid": f"p{index}", "ownerReferences": [owner]}
    spec = {**TEMPLATE["spec"], "nodeName": "n0"}
    return {"metadata": {**meta, "labels": {"pod-template-hash": "abc"}}, "spec": spec, "status": {"phase": "Running"}}


def job(granted: int, round_: int, generation: int = 1, **spec: Any) -> dict[str, Any]:
    meta = {
        "name": "job",
        "namespace": "team",
        "uid": "j",
        "generation": generation,
        "resourceVersion": str(generation),
    }
    admission = {"flavor": FLAVOR, "replicas": granted, "round": round_, "since": "2023-11-14T22:00:00Z"}
    status = {"observedGeneration": 1, "admission": admission} if granted else {}
    body = {
        "minReplicas": 1,
        "maxReplicas": 8,
        "workloadRef": {"name": "job"},
        "minRuntimeSeconds": 0,
        "restartSeconds": 0,
        **spec,
    }
    return {"metadata": meta, "spec": body, "status": status}


@dataclass
class Round:
    """A decision on the cluster as it is, carried out when the test says so."""

    cluster: Cluster
    writes: Writes = field(default_factory=Writes)

    def __post_init__(self) -> None:
        self.snapshot = self.cluster.snapshot(NOW)
        self.decision = decide(self.snapshot, Policy())

    async def carried_out(self) -> dict[str, Any]:
        actuator = Actuator(self.writes, self.cluster, lambda: True, lambda kind, raw: None)
        await actuator.carry_out(self.snapshot, self.decision)
        return self.writes.patches


async def test_a_grant_that_came_to_nothing_leaves_its_decision_so_that_its_patch_cannot_come_late() -> None:
    """Round 2 granted 2, and its leader was stopped; 8 are granted again, which the Deployment has."""
    patches = await Round(known(2, 2, 8, "1")).carried_out()
    patch = patches["deployments/job"]
    assert {"op": "test", "path": DECISION, "value": "1"} in patch
    assert {"op": "add", "path": DECISION, "value": "3"} in patch
    assert patch[-1] == {"op": "replace", "path": "/spec/replicas", "value": 8}


async def test_an_admission_that_is_withdrawn_before_it_was_carried_out_leaves_its_decision_too() -> None:
    patches = await Round(known(2, 2, 0, "1", suspend=True)).carried_out()
    assert {"op": "add", "path": DECISION, "value": "2"} in patches["deployments/job"]


async def test_a_deployment_that_is_as_decided_is_not_written() -> None:
    assert "deployments/job" not in await Round(known(8, 2, 8, "2")).carried_out()


async def test_a_status_is_of_the_spec_that_was_decided_on() -> None:
    """Another spec that comes before the status is written has not been looked at: a failed job would miss it."""
    round_ = Round(known(0, 0, 0, "1"))
    round_.cluster.apply(kinds.JOB, job(0, 0, generation=2, maxReplicas=4))
    patches = await round_.carried_out()
    (status,) = (entry["value"] for entry in patches["trainingjobs/job/status"] if entry["path"] == "/status")
    assert status["observedGeneration"] == 1
    assert {each["observedGeneration"] for each in status["conditions"]} == {1}


# --- a Deployment that the API server does not take ------------------------------------------------------------------


class Denying(Writes):
    """Takes every status, and no Deployment."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    async def patch(self, path: str, body: list[dict[str, Any]]) -> Any:
        if "/deployments/" in path:
            return await self.create(path, body)
        return await super().patch(path, body)

    async def create(self, path: str, body: Any) -> Any:
        self.refused += 1
        raise Refused(403, "Forbidden", "denied by a webhook")


async def refused_writes(cluster: Cluster, held: dict[str, Any], seconds: range) -> list[int]:
    """At which of these seconds a round sends the Deployment; each sees what the one before has written."""
    api, sent = Denying(), []
    cluster.apply(kinds.JOB, held)
    for second in seconds:
        snapshot, before = cluster.snapshot(NOW + second), api.refused
        done = await Actuator(api, cluster, lambda: True, lambda kind, raw: None).carry_out(
            snapshot, decide(snapshot, Policy())
        )
        cluster.refusals = {one.outcome.key: one.refused for one in done if one.refused}
        sent += [second] if api.refused > before else []
        if patch := api.patches.pop("trainingjobs/job/status", None):
            (status,) = (entry["value"] for entry in patch if entry["path"] == "/status")
            meta = {**held["metadata"], "resourceVersion": str(3 + second)}
            held = {**held, "metadata": meta, "status": status}
            cluster.apply(kinds.JOB, held)
    return sent


def holding(cluster: Cluster, granted: int, **spec: Any) -> tuple[Cluster, dict[str, Any]]:
    held = job(granted, 2, generation=2, **spec)
    held["status"]["observedGeneration"] = 2
    return cluster, {**held, "metadata": {**held["metadata"], "annotations": {"apportion.dev/hold": "true"}}}


def without_its_deployment() -> tuple[Cluster, dict[str, Any]]:
    cluster, held = holding(known(2, 2, 0, "1"), 2, template=TEMPLATE)
    del held["spec"]["workloadRef"]
    cluster.apply(kinds.DEPLOYMENT, {"metadata": {"name": "job", "namespace": "team", "uid": "d"}}, deleted=True)
    return cluster, held


@pytest.mark.parametrize(
    "case",
    [
        without_its_deployment,
        lambda: holding(known(4, 2, 2, "1"), 4),
        lambda: holding(known(2, 2, 2, "1"), 2),
    ],
    ids=["there is none", "it is too small", "only the decision is missing"],
)
async def test_the_refused_deployment_of_a_held_job_is_sent_again_after_a_growing_pause(
    case: Callable[[], tuple[Cluster, dict[str, Any]]],
) -> None:
    """Told in the round after, 10 s later: so the pauses of 60, 120 and 240 s begin there."""
    assert await refused_writes(*case(), range(0, 600, 10)) == [0, 70, 200, 450]


# --- a right that ends -----------------------------------------------------------------------------------------------


class Busy:
    """Turns every request away for a moment; after so many the lease is lost."""

    def __init__(self) -> None:
        self.tries = 0

    async def param_serialize(self, method: str, target: str, **_: Any) -> tuple[str, str, Mapping[str, str]]:
        return method, target, {}

    async def call_api(self, *_: Any, **__: Any) -> Any:
        self.tries += 1
        return self

    status = 429
    headers: Mapping[str, str] = {"Retry-After": "0.1"}

    async def read(self) -> bytes:
        return b"{}"


async def test_a_write_is_not_tried_again_after_the_lease_was_lost() -> None:
    busy = Busy()
    api = Api(busy)
    with pytest.raises(Unreachable, match="another leads"):
        await api.writing_while(lambda: busy.tries < 2).patch("/apis/apps/v1/namespaces/team/deployments/job", [])
    assert busy.tries == 2


async def test_reads_and_the_lease_itself_need_no_lease() -> None:
    busy = Busy()
    api = Api(busy)
    with pytest.raises(Refused):
        await api.writing_while(lambda: False).get("/api/v1/nodes")
    with pytest.raises(Refused):
        await api.put("/apis/coordination.k8s.io/v1/namespaces/team/leases/apportion", {})
    assert busy.tries == 2 * MOST_TRIES
