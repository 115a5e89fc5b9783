"""What is free on a node, and when nobody can tell."""

from typing import Any

import pytest

from apportion.kube import kinds
from apportion.kube.cluster import Cluster
from apportion.model.policy import Policy
from apportion.planner import decide

GPU, NEURON, CORES = "nvidia.com/gpu", "aws.amazon.com/neuron", "aws.amazon.com/neuroncore"
TRN1, H100 = {"node.kubernetes.io/instance-type": "trn1"}, {"nvidia.com/gpu.product": "H100"}


def raw_of(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "ml", "name": name, "uid": f"uid-{name}", "resourceVersion": "1"}, **fields}


def node(name: str, labels: dict[str, str], offers: dict[str, int], healthy: dict[str, int] | None = None) -> Any:
    plenty = {"cpu": "128", "memory": "999Gi", "pods": "110"}
    capacity, allocatable = (
        {**plenty, **{k: str(v) for k, v in counts.items()}} for counts in (offers, healthy or offers)
    )
    ready = [{"type": "Ready", "status": "True"}]
    raw = raw_of(name, status={"allocatable": allocatable, "capacity": capacity, "conditions": ready})
    return {**raw, "metadata": {"name": name, "uid": name, "labels": labels}}


def holding(name: str, resource: str, on: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "resources": {"limits": {resource: "2"}}}]
    return raw_of(name, spec={"nodeName": on, "containers": containers, **spec}, status={"phase": "Running"})


def test_a_chip_that_is_held_under_another_name_is_not_free() -> None:
    """Two cores may lie on one chip or on two, and Kubernetes counts them from none: nobody gets more of that node, and
    what runs there stays, as on a cordoned one."""
    cluster = Cluster()
    for name in ("by-chips", "by-cores"):
        cluster.apply(kinds.NODE, node(name, TRN1, {NEURON: 16, CORES: 32}))
    cluster.apply(kinds.POD, holding("a", CORES, "by-cores"))
    cluster.apply(kinds.POD, holding("b", NEURON, "by-chips"))
    seen = cluster.snapshot(0.0)
    by_chips, by_cores = seen.nodes
    assert [(node.name, node.flavor, node.placeable) for node in seen.nodes] == [
        ("by-chips", "trn1", True),
        ("by-cores", "trn1", False),
    ]
    assert by_chips.foreign[NEURON] == 2
    why = f"pods hold {CORES} on it, the same chips as its {NEURON}: what is free cannot be told"
    assert by_cores.why_not == why
    assert seen.warnings == (f"node by-cores: {why}",)


def test_accelerators_that_are_not_healthy_are_told() -> None:
    cluster = Cluster()
    cluster.apply(kinds.NODE, node("worn", H100, {GPU: 8}, healthy={GPU: 6}))
    seen = cluster.snapshot(0.0)
    assert (seen.nodes[0].broken, seen.nodes[0].placeable) == (2, True)
    assert seen.warnings == (f"node worn: 2 of its {GPU} are not healthy",)


def test_cores_that_the_node_keeps_for_itself_are_not_broken() -> None:
    cluster = Cluster()
    raw = node("plain", {}, {})
    raw["status"]["allocatable"]["cpu"] = "120"
    cluster.apply(kinds.NODE, raw)
    seen = cluster.snapshot(0.0)
    assert (seen.nodes[0].flavor, seen.nodes[0].broken, seen.warnings) == ("cpu", 0, ())


def test_a_node_that_does_not_say_yet_what_is_allocatable_is_known_by_what_it_has() -> None:
    """It would count as one of another flavor until it does."""
    cluster = Cluster()
    raw = node("new", H100, {GPU: 8})
    raw["status"]["allocatable"] = {}
    cluster.apply(kinds.NODE, raw)
    assert cluster.snapshot(0.0).nodes[0].flavor == "h100"


@pytest.mark.parametrize("claims", [None, [{"name": "gpu", "resourceClaimName": "mine"}]], ids=["none", "claimed"])
def test_where_a_pod_claims_through_dra_who_runs_stays_and_nobody_comes(claims: list[Any] | None) -> None:
    """What a claim takes no pod's requests tell."""
    cluster = Cluster()
    cluster.apply(kinds.NODE, node("gpu-0", H100, {GPU: 8}))
    template = {"spec": {"containers": [{"name": "main", "resources": {"limits": {GPU: "2"}}}]}}
    granted = {"apportion.dev/decision": "7", "apportion.dev/replicas": "1", "apportion.dev/flavor": "h100"}
    spec = {"minReplicas": 1, "maxReplicas": 2, "template": template}
    admission = {"flavor": "h100", "replicas": 1, "round": 7, "since": "1970-01-01T00:00:00Z"}
    for name, status in (("running", {"admission": admission}), ("waiting", {})):
        cluster.apply(kinds.JOB, raw_of(name, spec=spec, status=status))
    owner = [{"kind": "TrainingJob", "name": "running", "uid": "uid-running", "controller": True}]
    made = {"metadata": {"annotations": granted}, **template}
    deployment = raw_of("running", spec={"replicas": 1, "template": made}, status={"replicas": 1})
    deployment["metadata"].update(ownerReferences=owner, annotations=granted)
    cluster.apply(kinds.DEPLOYMENT, deployment)
    pod = holding("running-abc-xyz", GPU, "gpu-0")
    pod["metadata"]["ownerReferences"] = [
        {"kind": "ReplicaSet", "name": "running-abc", "uid": "rs", "controller": True}
    ]
    pod["metadata"]["labels"] = {"pod-template-hash": "abc"}
    cluster.apply(kinds.POD, pod)
    cluster.apply(kinds.POD, holding("other", "cpu", "gpu-0", **({"resourceClaims": claims} if claims else {})))
    seen = cluster.snapshot(3600.0)
    got = {outcome.key.name: outcome.target.replicas for outcome in decide(seen, Policy()).outcomes}
    assert got == ({"running": 1, "waiting": 0} if claims else {"running": 2, "waiting": 2})
    assert seen.warnings == (("node gpu-0: its accelerators are claimed through DRA",) if claims else ())
