"""Flavors of which nodes may be added, as the objects say it."""

from typing import Any

import pytest

from apportion.kube import kinds
from apportion.kube.cluster import Cluster
from apportion.kube.facts import node_facts
from apportion.kube.memory import read_admission, status_of
from apportion.model.flavors import Provisionable
from apportion.model.jobs import Admission, Memory
from apportion.model.plan import Grant
from apportion.model.selection import Toleration
from apportion.planner import decide
from apportion.sandbox import gpu_node
from apportion.sandbox.manifests import container

GPU = "nvidia.com/gpu"
OFFER = {"maxNodes": 4, "acceleratorsPerNode": 8, "provisioningTimeoutSeconds": 300, "leastYield": 0.5}
FLAVOR = {"name": "h100", "resource": GPU, "nodeSelector": {"pool": "h100"}, "provisionable": OFFER}


def cluster() -> Cluster:
    found = Cluster()
    spec = {"flavors": [FLAVOR]}
    found.apply(kinds.POLICY, {"metadata": {"name": "default", "uid": "p"}, "spec": spec})
    template = {"spec": {"containers": [container(GPU, 8)]}}
    body = {"minReplicas": 2, "maxReplicas": 2, "template": template}
    found.apply(kinds.JOB, {"metadata": {"name": "job", "namespace": "team", "uid": "j"}, "spec": body})
    return found


def test_a_policy_says_what_may_be_added_and_jobs_get_it() -> None:
    known = cluster()
    (flavor,) = known.snapshot(1e9).flavors
    assert flavor.provisionable == Provisionable(4, 8, 300.0, 0.5)
    assert decide(known.snapshot(1e9), known.policy()).outcomes[0].granted == Grant("h100", 2)


def test_pods_tolerate_the_providers_taint_before_there_is_a_node_that_has_it() -> None:
    (flavor,) = cluster().snapshot(1e9).flavors
    assert flavor.tolerations == (Toleration(GPU, "Exists"),)


def test_what_a_grant_waits_for_is_in_the_status_until_it_has_come() -> None:
    waits = Admission("h100", 2, 7, 1e9, new_nodes=2)
    status = status_of(Memory(admission=waits), 1)
    assert read_admission(status) == waits
    there = status_of(Memory(admission=Admission("h100", 2, 7, 1e9)), 1)
    assert "newNodes" not in there["admission"]


@pytest.mark.parametrize(
    ("taint", "why_not"),
    [
        ("startup-taint.cluster-autoscaler.kubernetes.io/driver", "is starting"),
        ("karpenter.sh/unregistered", "is starting"),
        ("node.cloudprovider.kubernetes.io/uninitialized", "is starting"),
        ("dedicated", ""),
    ],
)
def test_a_node_with_a_startup_taint_is_starting(taint: str, why_not: str) -> None:
    raw: dict[str, Any] = gpu_node("n0", "H100", 8, [{"key": taint, "effect": "NoSchedule"}])
    raw["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    raw["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    found = node_facts(raw)
    assert (found.why_not, found.placeable) == (why_not, not why_not)
    assert found.created == pytest.approx(1767225600.0)
