"""A valid object of each kind, and what becomes of it when one thing in it changes.

Each case is (what it says, kind, {path: value}, refused field or None). The parser's tests read them; the same verdicts
are asked of the API server's schema and CEL rules where a control plane is at hand.
"""

import copy
from typing import Any

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
            "stability": {
                "changeMargin": 0.1,
                "expectedHoldSeconds": 1800,
                "fewestMovesWithin": 0.001,
                "churnBudget": {
                    "restartSecondsPerHour": 3600,
                    "queues": [{"name": "red", "restartSecondsPerHour": 600}],
                },
            },
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
            "shadow": [{"name": "linear", "objective": {"name": "ProportionalFair", "exponent": 1}}],
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
    ("a shadow that says nothing", POLICY, {"spec.shadow": [{"name": "same"}]}, None),
    ("a shadow without a name", POLICY, {"spec.shadow": [{"objective": {}}]}, "spec.shadow[0].name"),
    ("a shadow twice", POLICY, {"spec.shadow": [{"name": "a"}, {"name": "a"}]}, "spec.shadow[1].name"),
    ("an absurd shadow", POLICY, {"spec.shadow": [{"name": "a", "objective": {"exponent": 5}}]},
     "spec.shadow[0].objective.exponent"),
    ("many shadows", POLICY, {"spec.shadow": [{"name": f"s{index}"} for index in range(9)]}, "spec.shadow"),
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
    ("a churn budget by queue", POLICY,
     {"spec.stability.churnBudget": {"queues": [{"name": "*", "restartSecondsPerHour": 0}]}}, None),
    ("churn below nothing", POLICY, {"spec.stability.churnBudget.restartSecondsPerHour": -1},
     "spec.stability.churnBudget.restartSecondsPerHour"),
    ("churn of half a second", POLICY, {"spec.stability.churnBudget.restartSecondsPerHour": 0.5},
     "spec.stability.churnBudget.restartSecondsPerHour"),
    ("churn of a queue without a limit", POLICY, {"spec.stability.churnBudget.queues": [{"name": "red"}]},
     "spec.stability.churnBudget.queues[0].restartSecondsPerHour"),
    ("churn of nobody", POLICY,
     {"spec.stability.churnBudget.queues": [{"name": "Red*", "restartSecondsPerHour": 1}]},
     "spec.stability.churnBudget.queues[0].name"),
    ("churn of a queue twice", POLICY,
     {"spec.stability.churnBudget.queues": [{"name": "red", "restartSecondsPerHour": 1}] * 2},
     "spec.stability.churnBudget.queues[1].name"),
    ("no time to solve", POLICY, {"spec.solver.timeLimitSeconds": 0}, "spec.solver.timeLimitSeconds"),
    ("a gap above everything", POLICY, {"spec.solver.gap": 1.5}, "spec.solver.gap"),
]  # fmt: skip


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
