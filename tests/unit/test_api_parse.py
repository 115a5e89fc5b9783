"""Objects into models: what is accepted, and which field and words a refusal names.

Each case changes one thing in a valid object: (what it says, kind, {path: value}, refused field or None). The
same verdicts are asked of the API server's schema and CEL rules where a control plane is at hand.
"""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.api import (
    InvalidObject,
    parse_allocation_policy,
    parse_queue,
    parse_training_job,
    unknown_fields,
)
from apportion.api.names import API_VERSION

VALID: dict[str, dict[str, Any]] = {
    "TrainingJob": {
        "apiVersion": API_VERSION,
        "kind": "TrainingJob",
        "metadata": {"name": "llama-sft", "namespace": "team-a"},
        "spec": {
            "queueName": "research",
            "priorityClassName": "high",
            "suspend": False,
            "preemptible": True,
            "minReplicas": 2,
            "maxReplicas": 16,
            "replicaSteps": [2, 4, 8, 16],
            "accelerators": {
                "resource": "nvidia.com/gpu",
                "perReplica": 1,
                "flavors": [{"name": "h100"}, {"name": "a100", "speed": 0.45}],
                "requirements": [{"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["40000"]}],
            },
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama-sft"},
            "scaling": {
                "mode": "PerReplicaBatch",
                "points": [{"replicas": 1, "rate": 100, "flavor": "a100"}],
                "usl": {"lambda": 100, "sigma": 0.02, "kappa": 0.0001},
            },
            "restartSeconds": 90,
            "minRuntimeSeconds": 300,
            "placementTimeoutSeconds": 60,
            "failureLimit": 6,
            "completionPolicy": "OnExitZero",
        },
    },
    "Queue": {
        "apiVersion": API_VERSION,
        "kind": "Queue",
        "metadata": {"name": "research"},
        "spec": {
            "cohort": "lab",
            "weight": 2,
            "namespaceSelector": {"matchLabels": {"team": "research"}},
            "allowedPriorityClasses": ["normal", "high"],
            "flavors": [
                {"name": "h100", "nominalQuota": 32, "borrowingLimit": 16, "lendingLimit": 8},
                {"name": "*", "nominalQuota": 8},
            ],
        },
    },
    "AllocationPolicy": {
        "apiVersion": API_VERSION,
        "kind": "AllocationPolicy",
        "metadata": {"name": "default"},
        "spec": {
            "mode": "Enforce",
            "objective": {"name": "ProportionalFair", "exponent": -0.5, "admissionWorth": 0.2, "sizeExponent": 0},
            "stability": {"changeMargin": 0.1, "expectedHoldSeconds": 1800, "fewestMovesWithin": 0.001},
            "flavors": [
                {
                    "name": "h100",
                    "resource": "nvidia.com/gpu",
                    "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
                    "tolerations": [],
                    "pricePerHour": 2.50,
                    "watts": 700,
                    "idleWatts": 80,
                    "speed": 1.0,
                }
            ],
            "solver": {"timeLimitSeconds": 10, "gap": 0.001},
        },
    },
}

ABSENT = object()
TEMPLATE = {"spec": {"containers": [{"name": "main", "image": "trainer"}]}}
TEMPLATED = {"spec.workloadRef": ABSENT, "spec.template": TEMPLATE}
JOB, QUEUE, POLICY = "TrainingJob", "Queue", "AllocationPolicy"

CASES: list[tuple[str, str, dict[str, Any], str | None]] = [
    ("every field of the example", JOB, {}, None),
    ("every field of the example", QUEUE, {}, None),
    ("every field of the example", POLICY, {}, None),
    ("a template", JOB, TEMPLATED, None),
    ("a policy without a spec", POLICY, {"spec": ABSENT}, None),
    ("a queue that lists nothing", QUEUE, {"spec": {}}, None),
    ("null is absent", JOB, {"spec.replicaSteps": None}, None),
    ("no maximum", JOB, {"spec.maxReplicas": ABSENT}, "spec.maxReplicas"),
    ("minimum above maximum", JOB, {"spec.minReplicas": 17, "spec.replicaSteps": ABSENT}, "spec.minReplicas"),
    ("minimum zero", JOB, {"spec.minReplicas": 0}, "spec.minReplicas"),
    ("negative", JOB, {"spec.minReplicas": -1}, "spec.minReplicas"),
    ("huge", JOB, {"spec.maxReplicas": 2**62}, "spec.maxReplicas"),
    ("a bool is no integer", JOB, {"spec.minReplicas": True}, "spec.minReplicas"),
    ("a string is no integer", JOB, {"spec.minReplicas": "2"}, "spec.minReplicas"),
    ("a fraction is no integer", JOB, {"spec.minReplicas": 2.5}, "spec.minReplicas"),
    ("a string is no bool", JOB, {"spec.suspend": "yes"}, "spec.suspend"),
    ("a step above the maximum", JOB, {"spec.replicaSteps": [2, 4, 32]}, "spec.replicaSteps[2]"),
    ("a step below the minimum", JOB, {"spec.replicaSteps": [1, 4]}, "spec.replicaSteps[0]"),
    ("falling steps", JOB, {"spec.replicaSteps": [2, 8, 4]}, "spec.replicaSteps[2]"),
    ("a step twice", JOB, {"spec.replicaSteps": [2, 2, 4]}, "spec.replicaSteps[1]"),
    ("no steps", JOB, {"spec.replicaSteps": []}, "spec.replicaSteps"),
    (
        "too many steps",
        JOB,
        {"spec.maxReplicas": 100, "spec.replicaSteps": list(range(2, 67))},
        "spec.replicaSteps",
    ),
    ("steps are no list", JOB, {"spec.replicaSteps": "2,4"}, "spec.replicaSteps"),
    ("neither reference nor template", JOB, {"spec.workloadRef": ABSENT}, "spec.workloadRef"),
    ("both reference and template", JOB, {"spec.template": TEMPLATE}, "spec.workloadRef"),
    ("another kind of workload", JOB, {"spec.workloadRef.kind": "StatefulSet"}, "spec.workloadRef.kind"),
    ("a reference's defaults", JOB, {"spec.workloadRef": {"name": "web"}}, None),
    ("a template with nothing", JOB, TEMPLATED | {"spec.template": {"spec": {}}}, "spec.template.spec.containers"),
    ("a template without a spec", JOB, TEMPLATED | {"spec.template": {}}, "spec.template.spec"),
    (
        "a template with no container",
        JOB,
        TEMPLATED | {"spec.template": {"spec": {"containers": []}}},
        "spec.template.spec.containers",
    ),
    (
        "a template with a container of another type",
        JOB,
        TEMPLATED | {"spec.template": {"spec": {"containers": ["main"]}}},
        "spec.template.spec.containers[0]",
    ),
    (
        "a template with metadata of another type",
        JOB,
        TEMPLATED | {"spec.template": {**TEMPLATE, "metadata": "x"}},
        "spec.template.metadata",
    ),
    (
        "a template that is not restarted",
        JOB,
        TEMPLATED | {"spec.template": {"spec": {"restartPolicy": "Never", "containers": [{}]}}},
        "spec.template.spec.restartPolicy",
    ),
    ("a template of another type", JOB, TEMPLATED | {"spec.template": [1]}, "spec.template"),
    ("a queue name in another script", JOB, {"spec.queueName": "forschung-é"}, "spec.queueName"),
    ("a queue name of a megabyte", JOB, {"spec.queueName": "q" * 1_000_000}, "spec.queueName"),
    ("an empty queue name", JOB, {"spec.queueName": ""}, "spec.queueName"),
    ("an unknown mode", JOB, {"spec.scaling.mode": "perReplicaBatch"}, "spec.scaling.mode"),
    (
        "a point twice",
        JOB,
        {"spec.scaling.points": [{"replicas": 2, "rate": 1}, {"replicas": 2, "rate": "1.5"}]},
        "spec.scaling.points[1]",
    ),
    (
        "a point for each of two flavors",
        JOB,
        {"spec.scaling.points": [{"replicas": 2, "rate": 1}, {"replicas": 2, "rate": 1, "flavor": "a100"}]},
        None,
    ),
    ("a rate of zero", JOB, {"spec.scaling.points": [{"replicas": 2, "rate": 0}]}, "spec.scaling.points[0].rate"),
    ("a rate of 0.00", JOB, {"spec.scaling.points": [{"replicas": 2, "rate": "0.00"}]}, "spec.scaling.points[0].rate"),
    ("a decimal string", JOB, {"spec.scaling.usl": {"lambda": "100.5", "sigma": "0", "kappa": "0.001"}}, None),
    ("a word for a number", JOB, {"spec.scaling.usl.sigma": "little"}, "spec.scaling.usl.sigma"),
    ("an exponent in a string", JOB, {"spec.scaling.usl.sigma": "1e-3"}, "spec.scaling.usl.sigma"),
    ("a negative sigma", JOB, {"spec.scaling.usl.sigma": -0.1}, "spec.scaling.usl.sigma"),
    ("a bool for a number", JOB, {"spec.scaling.usl.sigma": False}, "spec.scaling.usl.sigma"),
    ("a list for a number", JOB, {"spec.scaling.usl.sigma": []}, "spec.scaling.usl.sigma"),
    ("a mapping for a number", JOB, {"spec.scaling.usl.sigma": {}}, "spec.scaling.usl.sigma"),
    ("half a curve", JOB, {"spec.scaling.usl.kappa": ABSENT}, "spec.scaling.usl.kappa"),
    (
        "a flavor twice",
        JOB,
        {"spec.accelerators.flavors": [{"name": "a"}, {"name": "a"}]},
        "spec.accelerators.flavors[1].name",
    ),
    (
        "a speed of zero",
        JOB,
        {"spec.accelerators.flavors": [{"name": "a", "speed": 0}]},
        "spec.accelerators.flavors[0].speed",
    ),
    ("no resource name", JOB, {"spec.accelerators.resource": "gpu count"}, "spec.accelerators.resource"),
    ("nothing per replica", JOB, {"spec.accelerators.perReplica": 0}, "spec.accelerators.perReplica"),
    *(
        (
            f"{operator} with {values}",
            JOB,
            {"spec.accelerators.requirements": [{"key": "zone", "operator": operator, "values": values}]},
            None if good else "spec.accelerators.requirements[0].values",
        )
        for operator, values, good in [
            ("In", ["a"], True),
            ("In", [], False),
            ("NotIn", ["a", "b"], True),
            ("NotIn", [], False),
            ("Exists", [], True),
            ("Exists", ["a"], False),
            ("DoesNotExist", [], True),
            ("DoesNotExist", ["a"], False),
            ("Gt", ["80"], True),
            ("Gt", ["80", "90"], False),
            ("Gt", [], False),
            ("Lt", ["many"], False),
            ("Lt", ["1234567890123456789"], False),
        ]
    ),
    (
        "an operator in lower case",
        JOB,
        {"spec.accelerators.requirements": [{"key": "zone", "operator": "in", "values": ["a"]}]},
        "spec.accelerators.requirements[0].operator",
    ),
    ("a negative restart", JOB, {"spec.restartSeconds": -1}, "spec.restartSeconds"),
    ("no time for placement", JOB, {"spec.placementTimeoutSeconds": 0}, "spec.placementTimeoutSeconds"),
    ("no failure allowed", JOB, {"spec.failureLimit": 0}, "spec.failureLimit"),
    ("another completion", JOB, {"spec.completionPolicy": "Always"}, "spec.completionPolicy"),
    ("a name that no label can hold", JOB, {"metadata.name": "x" * 64}, "metadata.name"),
    ("a name of 63", JOB, {"metadata.name": "x" * 63}, None),
    ("a spec of another type", JOB, {"spec": "x"}, "spec"),
    ("no spec", JOB, {"spec": ABSENT}, "spec"),
    ("a negative quota", QUEUE, {"spec.flavors": [{"name": "a", "nominalQuota": -1}]}, "spec.flavors[0].nominalQuota"),
    ("no quota", QUEUE, {"spec.flavors": [{"name": "a"}]}, "spec.flavors[0].nominalQuota"),
    (
        "a negative limit",
        QUEUE,
        {"spec.flavors": [{"name": "a", "nominalQuota": 1, "borrowingLimit": -1}]},
        "spec.flavors[0].borrowingLimit",
    ),
    (
        "lends more than it has",
        QUEUE,
        {"spec.flavors": [{"name": "a", "nominalQuota": 1, "lendingLimit": 2}]},
        "spec.flavors[0].lendingLimit",
    ),
    (
        "a flavor twice",
        QUEUE,
        {"spec.flavors": [{"name": "a", "nominalQuota": 1}, {"name": "a", "nominalQuota": 2}]},
        "spec.flavors[1].name",
    ),
    ("half a wildcard", QUEUE, {"spec.flavors": [{"name": "h*", "nominalQuota": 1}]}, "spec.flavors[0].name"),
    ("a class twice", QUEUE, {"spec.allowedPriorityClasses": ["a", "a"]}, "spec.allowedPriorityClasses[1]"),
    ("no class at all", QUEUE, {"spec.allowedPriorityClasses": []}, None),
    ("no weight", QUEUE, {"spec.weight": 0}, "spec.weight"),
    ("a weight as text", QUEUE, {"spec.weight": "2"}, "spec.weight"),
    (
        "a selector without values",
        QUEUE,
        {"spec.namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In"}]}},
        "spec.namespaceSelector.matchExpressions[0].values",
    ),
    (
        "a selector that compares",
        QUEUE,
        {"spec.namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Gt", "values": ["1"]}]}},
        "spec.namespaceSelector.matchExpressions[0].operator",
    ),
    ("an unusable label value", QUEUE, {"spec.namespaceSelector.matchLabels.team": "a b"},
     "spec.namespaceSelector.matchLabels.team"),
    ("another name", POLICY, {"metadata.name": "draft"}, "metadata.name"),
    ("another mode", POLICY, {"spec.mode": "DryRun"}, "spec.mode"),
    ("another objective", POLICY, {"spec.objective.name": "MaxMinFair"}, "spec.objective.name"),
    ("a convex value", POLICY, {"spec.objective.exponent": 1.5}, "spec.objective.exponent"),
    ("worthless admission", POLICY, {"spec.objective.admissionWorth": 0}, "spec.objective.admissionWorth"),
    ("a price as text", POLICY, {"spec.flavors": [{"name": "a", "pricePerHour": "2.50"}]}, None),
    ("a price with its currency", POLICY, {"spec.flavors": [{"name": "a", "pricePerHour": "2.50 EUR"}]},
     "spec.flavors[0].pricePerHour"),
    ("a negative price", POLICY, {"spec.flavors": [{"name": "a", "pricePerHour": -1}]}, "spec.flavors[0].pricePerHour"),
    ("a selector without its resource", POLICY, {"spec.flavors": [{"name": "a", "nodeSelector": {"x": "y"}}]},
     "spec.flavors[0].resource"),
    ("more watts idle than busy", POLICY, {"spec.flavors": [{"name": "a", "watts": 1, "idleWatts": 2}]},
     "spec.flavors[0].idleWatts"),
    ("tolerates all", POLICY, {"spec.flavors": [{"name": "a", "tolerations": [{"operator": "Exists"}]}]}, None),
    ("tolerates nothing named", POLICY, {"spec.flavors": [{"name": "a", "tolerations": [{"value": "x"}]}]},
     "spec.flavors[0].tolerations[0].operator"),
    ("tolerates any and one value", POLICY,
     {"spec.flavors": [{"name": "a", "tolerations": [{"key": "k", "operator": "Exists", "value": "x"}]}]},
     "spec.flavors[0].tolerations[0].value"),
    ("a flavor in capitals", POLICY, {"spec.flavors": [{"name": "H100"}]}, "spec.flavors[0].name"),
    ("no time to solve", POLICY, {"spec.solver.timeLimitSeconds": 0}, "spec.solver.timeLimitSeconds"),
    ("a gap above everything", POLICY, {"spec.solver.gap": 1.5}, "spec.solver.gap"),
]  # fmt: skip

PARSERS = {JOB: parse_training_job, QUEUE: parse_queue, POLICY: parse_allocation_policy}


def changed(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
    raw = copy.deepcopy(VALID[kind])
    for path, value in changes.items():
        *parents, last = path.split(".")
        at = raw
        for parent in parents:
            at = at[parent]
        if value is ABSENT:
            del at[last]
        else:
            at[last] = copy.deepcopy(value)
    return raw


@pytest.mark.parametrize(("kind", "changes", "field"), [pytest.param(*c[1:], id=f"{c[1]}: {c[0]}") for c in CASES])
def test_a_refusal_names_the_object_and_the_field(kind, changes, field):
    raw = changed(kind, changes)
    if field is None:
        PARSERS[kind](raw)
        return
    with pytest.raises(InvalidObject) as refused:
        PARSERS[kind](raw)
    assert refused.value.field == field
    assert (refused.value.kind, refused.value.name) == (kind, raw["metadata"]["name"])
    assert str(refused.value).startswith(f"{kind} ")
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec.minReplicas": True}, "spec.minReplicas: expected an integer, not true"),
        (
            {"spec.minReplicas": 10**5000},
            "spec.minReplicas: expected at most 100000, not a number of more than 64 bits",
        ),
        ({"spec.minReplicas": float("nan")}, "spec.minReplicas: expected an integer, not nan"),
        ({"spec.suspend": [1, 2]}, "spec.suspend: expected true or false, not a list of 2"),
        ({"spec.accelerators": 3}, "spec.accelerators: expected a mapping, not 3"),
        ({"spec.maxReplicas": ABSENT}, "spec.maxReplicas: is required"),
        (
            {"spec.replicaSteps": [2, 32]},
            "spec.replicaSteps[1]: every element of replicaSteps must lie between minReplicas and maxReplicas"
            "; found 32",
        ),
        (
            {"spec.completionPolicy": "Some\x1btimes"},
            "spec.completionPolicy: expected 'OnExitZero' or 'Never', not \"Some\\x1btimes\"",
        ),
        ({"spec.queueName": "\ud800"}, "spec.queueName: expected text that can be written as UTF-8"),
        (
            {"spec.scaling.usl.sigma": float("inf")},
            "spec.scaling.usl.sigma: expected a number of at least 0, or one as a decimal string; found inf",
        ),
        (
            {"spec.queueName": "Research"},
            "spec.queueName: expected a-z, 0-9, '-' and '.', as in a Kubernetes name, not \"Research\"",
        ),
    ],
)
def test_a_refusal_is_one_clear_sentence(changes, said):
    with pytest.raises(InvalidObject) as refused:
        parse_training_job(changed(JOB, changes))
    assert str(refused.value) == f"TrainingJob team-a/llama-sft: {said}"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), True, 10**400])
def test_numbers_are_finite_and_no_bools(number):
    with pytest.raises(InvalidObject, match=r"spec\.weight"):
        parse_queue(changed(QUEUE, {"spec.weight": number}))
    with pytest.raises(InvalidObject, match=r"pricePerHour"):
        parse_allocation_policy(changed(POLICY, {"spec.flavors": [{"name": "a", "pricePerHour": number}]}))


@pytest.mark.parametrize("raw", [None, 3, [], "x", {}, {"metadata": 3}, {"metadata": {"name": 7}}, {3: 4}])
def test_what_is_no_object_is_refused_as_one(raw):
    for parse in PARSERS.values():
        with pytest.raises(InvalidObject):
            parse(raw)


def test_another_kind_or_version_is_refused():
    with pytest.raises(InvalidObject, match='kind: expected Queue, not "TrainingJob"'):
        parse_queue(VALID[JOB])
    with pytest.raises(InvalidObject, match=r'apiVersion: expected apportion\.dev/v1alpha1, not "apportion\.dev/v2"'):
        parse_queue({**VALID[QUEUE], "apiVersion": "apportion.dev/v2"})


def test_items_of_a_list_carry_neither_kind_nor_version():
    raw = {key: VALID[QUEUE][key] for key in ("metadata", "spec")}
    assert parse_queue(raw).metadata.name == "research"


def test_defaults():
    spec = parse_training_job(changed(JOB, {"spec": {"maxReplicas": 3, "workloadRef": {"name": "web"}}})).spec
    assert spec.model_dump(exclude={"workload_ref"}) == {
        "queue_name": None,
        "priority_class_name": None,
        "suspend": False,
        "preemptible": True,
        "min_replicas": 1,
        "max_replicas": 3,
        "replica_steps": None,
        "accelerators": {"resource": None, "per_replica": None, "flavors": None, "requirements": ()},
        "template": None,
        "scaling": {"mode": "PerReplicaBatch", "points": (), "usl": None},
        "restart_seconds": 60,
        "min_runtime_seconds": 300,
        "placement_timeout_seconds": 60,
        "failure_limit": 6,
        "completion_policy": "OnExitZero",
    }


def test_values_arrive_as_python_values():
    job = parse_training_job(
        {
            **changed(JOB, {"spec.accelerators.flavors": [{"name": "a100", "speed": "0.45"}]}),
            "status": {
                "phase": "Running",
                "admission": {"flavor": "a100", "replicas": 4, "round": 7, "since": "2026-01-01T00:00:00Z"},
                "backoff": [{"flavor": "h100", "failures": 2, "until": "2026-01-01T01:00:00.5+01:00"}],
                "revertedAt": ["2026-01-01T00:00:00Z"],
                "readyRestarts": 3,
            },
        }
    )
    assert job.spec.replica_steps == (2, 4, 8, 16)
    assert job.spec.accelerators.flavors is not None
    assert job.spec.accelerators.flavors[0].speed == 0.45
    assert job.spec.scaling.usl is not None
    assert job.spec.scaling.usl.lambda_ == 100.0
    assert job.status.admission is not None
    assert job.status.admission.since == 1767225600.0
    assert job.status.backoff[0].until == 1767225600.5
    assert (job.status.reverted_at, job.status.ready_restarts) == ((1767225600.0,), 3)


@pytest.mark.parametrize("time", ["yesterday", "2026-01-01T00:00:00", 1767225600, "2026-13-01T00:00:00Z"])
def test_a_time_has_its_form_and_zone(time):
    admission = {"flavor": "a100", "replicas": 4, "round": 7, "since": time}
    with pytest.raises(InvalidObject) as refused:
        parse_training_job({**VALID[JOB], "status": {"admission": admission}})
    assert refused.value.field == "status.admission.since"


def test_models_are_frozen():
    job = parse_training_job(VALID[JOB])
    with pytest.raises(ValueError, match="frozen"):
        job.spec.max_replicas = 3


def test_unknown_fields_are_ignored_and_named():
    raw = changed(JOB, TEMPLATED | {"spec.acelerators": {}, "spec.scaling.metrics": {"query": "x"}})
    raw["spec"]["accelerators"]["flavors"][1]["sped"] = 1
    raw["spec"]["template"]["spec"]["whatever"] = 1
    raw["spce"] = {}
    raw["metadata"]["managedFields"] = []
    raw["status"] = {"curve": {}}
    parse_training_job(raw)
    assert sorted(unknown_fields(raw)) == [
        "spce",
        "spec.accelerators.flavors[1].sped",
        "spec.acelerators",
        "spec.scaling.metrics",
    ]
    assert unknown_fields({"kind": "Pod", "spec": {"x": 1}}) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
PATHS = sorted(
    {"metadata", "metadata.name", "metadata.labels", "spec", "status"}
    | {f"spec.{name}" for name in VALID[JOB]["spec"]}
    | {"spec.accelerators.flavors", "spec.scaling.points", "spec.template", "spec.scaling.usl.lambda"}
)


@given(path=st.sampled_from(PATHS), value=JSON)
def test_parsing_is_total(path, value):
    raw = changed(JOB, {path: value})
    assert refusal(raw).isprintable()
    assert all(isinstance(field, str) for field in unknown_fields(raw))


def refusal(raw: dict[str, Any]) -> str:
    try:
        parse_training_job(raw)
    except InvalidObject as refused:
        return str(refused)
    return ""
