"""Raw objects into facts: requests, flavors, pods, nodes; total for strange input."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.kube.facts import (
    PriorityClassFacts,
    deployment_facts,
    node_facts,
    pod_facts,
    priority_class_facts,
    replica_set_prefix,
)
from apportion.kube.flavors import classify
from apportion.kube.podspec import accelerator_resources, node_choice, requests, unmodelled
from apportion.kube.raw import amounts, quantity, seconds, timestamp
from apportion.model.flavors import Flavor
from apportion.model.selection import Requirement, Taint, Toleration

GPU = "nvidia.com/gpu"


def container(**limits: str) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": limits}}


def test_requests_are_counted_as_the_scheduler_counts_them() -> None:
    spec = {
        "containers": [container(cpu="1", memory="1Gi"), container(cpu="500m")],
        "initContainers": [
            {**container(cpu="2"), "restartPolicy": "Always"},
            container(cpu="6"),
            {**container(cpu="1"), "restartPolicy": "Always"},
        ],
        "overhead": {"cpu": "100m"},
    }
    assert requests(spec) == {"cpu": 8100, "memory": 2**30, "pods": 1}


def test_limits_count_where_nothing_is_requested() -> None:
    spec = {"containers": [{"resources": {"limits": {GPU: 8, "cpu": "2"}, "requests": {"cpu": "1"}}}]}
    assert requests(spec) == {GPU: 8, "cpu": 1000, "pods": 1}


@pytest.mark.parametrize(
    ("resource", "labels", "name"),
    [
        (GPU, {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, "nvidia-h100-80gb-hbm3"),
        (GPU, {"nvidia.com/gpu.product": "NVIDIA-A10-SHARED"}, "nvidia-a10-shared"),
        (GPU, {"cloud.google.com/gke-accelerator": "nvidia-l4"}, "nvidia-l4"),
        (GPU, {"node.kubernetes.io/instance-type": "p5.48xlarge"}, "p5-48xlarge"),
        (
            "nvidia.com/mig-1g.10gb",
            {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
            "nvidia-h100-80gb-hbm3-mig-1g-10gb",
        ),
        ("amd.com/gpu", {"amd.com/gpu.product-name": "AMD_Instinct_MI300X"}, "amd-instinct-mi300x"),
        ("gpu.intel.com/i915", {"gpu.intel.com/product": "Max_1550"}, "max-1550"),
        ("habana.ai/gaudi", {"habana.ai/device-type": "gaudi3"}, "gaudi3"),
        ("aws.amazon.com/neuron", {"node.kubernetes.io/instance-type": "trn2.48xlarge"}, "trn2-48xlarge"),
        (
            "google.com/tpu",
            {
                "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
                "cloud.google.com/gke-tpu-topology": "2x4",
            },
            "tpu-v5-lite-podslice-2x4",
        ),
        ("cpu", {}, "cpu"),
    ],
)
def test_flavors_are_discovered(resource: str, labels: dict[str, str], name: str) -> None:
    found = classify({resource: 8, "cpu": 8000}, labels, ())
    assert found.flavor is not None
    assert found.flavor.name == name
    assert found.flavor.resource == resource
    assert all(labels[key] == value for key, value in found.flavor.node_selector)


NEURON, CORES = "aws.amazon.com/neuron", "aws.amazon.com/neuroncore"
TRN1 = {"node.kubernetes.io/instance-type": "trn1.32xlarge"}


def test_chips_that_have_several_names_are_one_flavor() -> None:
    """As AWS's device plugin makes every such node advertise them."""
    both = {NEURON: 16, CORES: 32}
    for offered in (both, {**both, "aws.amazon.com/neurondevice": 16}):
        found = classify(offered, TRN1, ())
        assert found.flavor is not None, found.why_not
        assert (found.flavor.name, found.flavor.resource) == ("trn1-32xlarge", NEURON)
    alone = classify({NEURON: 0, CORES: 32}, TRN1, ()).flavor
    assert alone is not None
    assert alone.resource == CORES
    by_cores = classify(both, TRN1, (Flavor("trn1-core", CORES, tuple(TRN1.items())),)).flavor
    assert by_cores is not None
    assert (by_cores.name, by_cores.resource) == ("trn1-core", CORES)
    # Whichever of its names counts: AWS's nodes are tainted with the one.
    for flavor in (alone, by_cores):
        assert [toleration.key for toleration in flavor.tolerations] == [NEURON]


def test_a_node_with_several_accelerators_says_what_they_are() -> None:
    """Their flavors may have one name: that of the instance."""
    found = classify({GPU: 8, NEURON: 16}, TRN1, ())
    assert found.why_not == (
        "offers several accelerator resources (aws.amazon.com/neuron, nvidia.com/gpu); name one in the AllocationPolicy"
    )


def test_a_multi_host_slice_is_refused_with_the_reason() -> None:
    labels = {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x8",
    }
    found = classify({"google.com/tpu": 4}, labels, ())
    assert found.flavor is None
    assert "multi-host" in found.why_not


@pytest.mark.parametrize("topology", ["2xx4", "0x4", "2x5000", "axb", "-2x4"])
def test_what_is_no_topology_is_refused_with_the_reason(topology: str) -> None:
    labels = {"cloud.google.com/gke-tpu-accelerator": "tpu-v5", "cloud.google.com/gke-tpu-topology": topology}
    found = classify({"google.com/tpu": 4}, labels, ())
    assert found.flavor is None
    assert "is no topology" in found.why_not


@pytest.mark.parametrize("resource", ["cpu", GPU])
def test_a_catalog_entry_without_a_selector_names_no_nodes_that_discovery_names(resource: str) -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4"}
    found = classify({resource: 8000}, labels, (Flavor("mine", resource, price_per_hour=2.0),))
    assert found.flavor is not None
    assert found.flavor.name == {"cpu": "cpu", GPU: "nvidia-l4"}[resource]


@pytest.mark.parametrize(
    ("operator", "value", "fits"),
    [("Gt", "81", True), ("Gt", "80", False), ("Lt", "79", True), ("Lt", "80", False), ("Gt", "many", False)],
)
def test_bounds_of_a_requirement_are_strict_and_of_whole_numbers(operator: str, value: str, fits: bool) -> None:
    assert Requirement("memory", operator, ("80",)).matches({"memory": value}) is fits


def test_the_catalog_names_adds_and_overrides() -> None:
    h100 = Flavor("h100", GPU, (("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),), price_per_hour=2.5)
    fpga = Flavor("u250", "xilinx.com/fpga")
    priced = Flavor("nvidia-l4", "", price_per_hour=0.5, speed=0.2)
    catalog = (h100, fpga, priced)
    assert classify({GPU: 8}, {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, catalog).flavor is not None
    named = classify({GPU: 8}, {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, catalog).flavor
    assert named is not None
    assert (named.name, named.price_per_hour) == ("h100", 2.5)
    added = classify({"xilinx.com/fpga": 2, "cpu": 1}, {}, catalog).flavor
    assert added is not None
    assert added.name == "u250"
    known = classify({GPU: 1}, {"nvidia.com/gpu.product": "NVIDIA-L4"}, catalog).flavor
    assert known is not None
    assert (known.name, known.resource, known.speed) == ("nvidia-l4", GPU, 0.2)


def raw_node(**changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}, **changes.get("metadata", {})},
        "spec": changes.get("spec", {}),
        "status": {
            "allocatable": {"cpu": "8", GPU: "7", "memory": "1Gi"},
            "capacity": {GPU: "8"},
            "conditions": [{"type": "Ready", "status": changes.get("ready", "True")}],
        },
    }


def test_a_node_is_placeable_only_when_ready_not_cordoned_and_not_going() -> None:
    assert node_facts(raw_node()).placeable
    assert not node_facts(raw_node(ready="Unknown")).placeable
    assert node_facts(raw_node(spec={"unschedulable": True})).why_not == "is cordoned"
    assert not node_facts(raw_node(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})).placeable
    assert node_facts(raw_node()).allocatable == {"cpu": 8000, GPU: 7, "memory": 2**30}


@pytest.mark.parametrize("key", ["not-ready", "unreachable", "unschedulable"])
def test_lifecycle_taints_are_said_by_conditions_and_others_stay(key: str) -> None:
    taints = [{"key": f"node.kubernetes.io/{key}", "effect": "NoSchedule"}, {"key": "mine", "effect": "NoExecute"}]
    assert node_facts(raw_node(spec={"taints": taints})).taints == (Taint("mine", "", "NoExecute"),)


def raw_pod(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "p",
            "uid": "u",
            "namespace": "ns",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"pod-template-hash": "6d4b"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "a-job-6d4b", "controller": True}],
        },
        "spec": {
            "nodeName": "n",
            "containers": [{"name": "main", "resources": {"limits": {GPU: "2"}}}, {"name": "side"}],
        },
        "status": {"phase": "Running", **status},
    }


def test_the_main_containers_last_end_is_read() -> None:
    ended = {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:01:00Z"}}
    statuses = [
        {"name": "side", "restartCount": 4, "lastState": {"terminated": {"exitCode": 9}}},
        {"name": "main", "restartCount": 1, "lastState": ended},
    ]
    facts = pod_facts(raw_pod(containerStatuses=statuses))
    assert facts is not None
    assert (facts.pod.exit_code, facts.pod.exited_at, facts.pod.restarts) == (
        0,
        seconds({"t": "2026-01-01T00:01:00Z"}, "t"),
        5,
    )
    assert (facts.deployment, facts.holds, facts.pod.requests[GPU]) == ("a-job", "n", 2)


ENDED = {"terminated": {"exitCode": 3, "finishedAt": "2026-01-01T00:01:00Z"}}


@pytest.mark.parametrize(
    ("main", "exit_code", "waiting"),
    [
        ({}, None, ""),
        ({"state": ENDED}, 3, ""),
        ({"lastState": ENDED, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}, 3, "CrashLoopBackOff"),
        ({"lastState": {"terminated": {"exitCode": True}}}, None, ""),
        ({"lastState": {"terminated": {"exitCode": "0"}}}, None, ""),
    ],
    ids=["runs", "has ended just now", "ended and waits", "a forged end", "another forged end"],
)
def test_how_the_main_container_ended_and_what_it_waits_for(main: Any, exit_code: int | None, waiting: str) -> None:
    facts = pod_facts(raw_pod(containerStatuses=[{"name": "main", **main}]))
    assert facts is not None
    assert (facts.pod.exit_code, facts.pod.waiting_reason) == (exit_code, waiting)


@pytest.mark.parametrize(("said", "cost"), [("-7", -7), ("dear", 0), (None, 0)])
def test_a_pods_deletion_cost_is_its_annotations(said: str | None, cost: int) -> None:
    raw = raw_pod()
    raw["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": said} if said else {}
    facts = pod_facts(raw)
    assert facts is not None
    assert facts.pod.deletion_cost == cost


@pytest.mark.parametrize(("status", "since"), [("True", "2026-01-01T00:02:00Z"), ("False", None), ("Unknown", None)])
def test_a_pod_is_ready_as_long_as_its_condition_says_so(status: str, since: str | None) -> None:
    ready = {"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:02:00Z"}
    facts = pod_facts(raw_pod(conditions=[{"type": "Initialized", "status": "True"}, ready]))
    assert facts is not None
    assert (facts.pod.ready, facts.pod.ready_since) == (since is not None, seconds({"since": since}, "since"))


@pytest.mark.parametrize(("policy", "preempts"), [(None, True), ("PreemptLowerPriority", True), ("Never", False)])
def test_a_priority_class_preempts_unless_it_says_never(policy: str | None, preempts: bool) -> None:
    raw = {"metadata": {"name": "high"}, "value": 7, **({"preemptionPolicy": policy} if policy else {})}
    assert priority_class_facts(raw) == PriorityClassFacts("high", 7, preempts)


@pytest.mark.parametrize(("status", "told"), [("False", "0/1 nodes are available"), ("True", ""), ("Unknown", "")])
def test_what_the_scheduler_says_counts_while_it_finds_no_node(status: str, told: str) -> None:
    scheduled = {"type": "PodScheduled", "status": status, "message": "0/1 nodes are available"}
    facts = pod_facts(raw_pod(phase="Pending", conditions=[scheduled]))
    assert facts is not None
    assert facts.pod.unschedulable == told


@pytest.mark.parametrize(
    ("owner", "hash_"),
    [
        ({"kind": "ReplicaSet", "name": "train-2", "controller": True}, None),
        ({"kind": "ReplicaSet", "name": "train-2", "controller": True}, "6d4b"),
        ({"kind": "ReplicaSet", "name": "train-6d4b", "controller": False}, "6d4b"),
        ({"kind": "Job", "name": "train-6d4b", "controller": True}, "6d4b"),
    ],
    ids=["a-replica-set-of-nobody", "of-another-template", "no-controller", "another-kind"],
)
def test_a_pod_is_a_deployments_only_by_the_name_that_its_controller_gives(
    owner: dict[str, Any], hash_: str | None
) -> None:
    raw = raw_pod()
    raw["metadata"]["ownerReferences"] = [owner]
    raw["metadata"]["labels"] = {"pod-template-hash": hash_} if hash_ else {}
    facts = pod_facts(raw)
    assert facts is not None
    assert facts.deployment == ""


def test_a_replica_sets_name_holds_as_much_of_a_long_deployments_name_as_there_is_room_for() -> None:
    raw = raw_pod()
    name = "d" * 250
    raw["metadata"]["ownerReferences"][0]["name"] = f"{name[:248]}-6d4b"
    facts = pod_facts(raw)
    assert facts is not None
    assert facts.deployment == replica_set_prefix(name)


def test_ended_pods_hold_nothing_and_nominated_ones_do() -> None:
    assert pod_facts(raw_pod(phase="Succeeded")) is None
    assert pod_facts(raw_pod(phase="Failed")) is None
    waiting = raw_pod(phase="Pending", nominatedNodeName="m")
    del waiting["spec"]["nodeName"]
    facts = pod_facts(waiting)
    assert facts is not None
    assert (facts.pod.node, facts.holds) == (None, "m")


def test_node_affinity_becomes_alternatives_and_requirements() -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    choice = node_choice({"affinity": affinity, "nodeSelector": {"x": "y"}}, (Requirement("m", "Gt", ("40000",)),))
    assert choice.labels_match({"zone": "b", "x": "y", "m": "81559"})
    assert not choice.labels_match({"zone": "c", "x": "y", "m": "81559"})
    assert not choice.labels_match({"zone": "b", "x": "y", "m": "24000"})
    assert not choice.labels_match({"zone": "b", "x": "y"})


def test_a_field_of_the_node_itself_is_its_name() -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    choice = node_choice({"affinity": {"nodeAffinity": required}})
    assert choice.labels_match(node_facts(raw_node()).labels)
    assert not choice.labels_match(node_facts(raw_node(metadata={"name": "another"})).labels)


def test_what_a_toleration_or_a_taint_leaves_out_means_what_it_means_to_the_scheduler() -> None:
    choice = node_choice({"tolerations": [{"key": "spot", "value": "yes"}]})
    assert choice.tolerations == (Toleration("spot", "Equal", "yes", ""),)
    assert node_facts(raw_node(spec={"taints": [{"key": "spot"}]})).taints == (Taint("spot", "", "NoSchedule"),)


def test_accelerators_are_the_resources_of_somebodys_domain() -> None:
    needed = ("cpu", "memory", "pods", "ephemeral-storage", "hugepages-2Mi", "kubernetes.io/batch", "x.com/fpga", GPU)
    assert accelerator_resources(dict.fromkeys(needed, 1)) == [GPU, "x.com/fpga"]


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("constraint", "spec"),
    [
        ("required pod anti-affinity", {"affinity": {"podAntiAffinity": {REQUIRED: [{}]}}}),
        ("required pod affinity", {"affinity": {"podAffinity": {REQUIRED: [{}]}}}),
        ("topology spread constraints", {"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]}),
        ("topology spread constraints", {"topologySpreadConstraints": [{"maxSkew": 1}]}),
        ("persistent volumes, which may be zonal", {"volumes": [{"persistentVolumeClaim": {"claimName": "x"}}]}),
        ("host ports", {"containers": [{"ports": [{"containerPort": 80}, {"hostPort": 80}]}]}),
        ("resource claims (DRA)", {"resourceClaims": [{"name": "gpu"}]}),
        (None, {"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{}]}}}),
        (None, {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{}]}}}),
        (None, {"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]}),
        (None, {"volumes": [{"emptyDir": {}}]}),
        (None, {"containers": [{"ports": [{"containerPort": 80}]}]}),
    ],
)
def test_constraints_that_the_program_does_not_know_are_named(constraint: str | None, spec: dict[str, Any]) -> None:
    """Preferences keep no pod from a node."""
    assert unmodelled(spec) == ([constraint] if constraint else [])


def test_the_last_editor_of_the_spec_is_named_not_the_status_writer() -> None:
    raw = {
        "metadata": {
            "managedFields": [
                {"manager": "kubectl", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                {"manager": "argocd", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:template": {}}}},
                {
                    "manager": "kcm",
                    "time": "2026-01-03T00:00:00Z",
                    "subresource": "status",
                    "fieldsV1": {"f:status": {}},
                },
                {"manager": "labels", "time": "2026-01-04T00:00:00Z", "fieldsV1": {"f:metadata": {}}},
            ]
        },
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]},
    }
    facts = deployment_facts(raw)
    assert facts.workload.editor == "argocd"
    assert facts.workload.refusal == "exceeded quota"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("cpu", "1500m", 1500),
        ("cpu", "0.1", 100),
        ("memory", "1Gi", 2**30),
        ("memory", "1e3", 1000),
        ("memory", "0.5", 1),
        ("cpu", "0.0001", 1),
        ("memory", "NaN", None),
        ("memory", "Infinity", None),
        (GPU, "8", 8),
        (GPU, "x", None),
        (GPU, "1_0", None),
        ("memory", "1 Gi", None),
        ("memory", "1e3Ki", None),
        ("memory", ".5Gi", 2**29),
        ("memory", "+1.", 1),
        (GPU, "", None),
        (GPU, "9" * 400, 2**62),
        ("memory", "1e9999999999", 2**62),
        ("cpu", "1e9999999999", 2**62),
        ("cpu", "1e999999", 2**62),
        ("cpu", "-1e9999999999", -(2**62) * 1000),
    ],
)
def test_quantities(name: str, value: str, expected: int | None) -> None:
    assert quantity(name, value) == expected


def test_times_survive_the_wire() -> None:
    assert seconds({"t": timestamp(1764000000.123456)}, "t") == pytest.approx(1764000000.123456, abs=1e-6)
    assert seconds({"t": "yesterday"}, "t") is None


def test_a_time_without_a_zone_is_utc_wherever_the_operator_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert seconds({"t": "2026-01-01T00:00:00"}, "t") == 1767225600.0
        assert seconds({"t": "2026-01-01T01:00:00+01:00"}, "t") == 1767225600.0
    time.tzset()


def test_a_resource_list_holds_no_debts() -> None:
    assert amounts({"a": "1", "b": "0", "c": "-1", "d": "x", "e": 2}) == {"a": 1, "e": 2}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SHAPED = st.fixed_dictionaries({}, optional={"metadata": JSON, "spec": JSON, "status": JSON})


@settings(max_examples=100, derandomize=True, deadline=None)
@given(raw=SHAPED)
def test_no_object_makes_the_readers_fail(raw: dict[str, Any]) -> None:
    node_facts(raw)
    pod_facts(raw)
    deployment_facts(raw)
