"""The demo's story as data: who asks for what, when, and what must be true afterwards."""

from typing import Any

H100, A100, L4 = "h100", "a100", "l4"
GPU = "nvidia.com/gpu"

RANKER_SECONDS = 28

Obj = dict[str, Any]


def priority_class(name: str, value: int) -> Obj:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "preemptionPolicy": "Never",
    }


def namespace(name: str) -> Obj:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": name}}}


def queue(name: str, weight: int) -> Obj:
    return {
        "apiVersion": "apportion.dev/v1alpha1",
        "kind": "Queue",
        "metadata": {"name": name},
        "spec": {
            "cohort": "lab",
            "weight": weight,
            "namespaceSelector": {"matchLabels": {"team": name}},
            "flavors": [
                {"name": H100, "nominalQuota": 16},
                {"name": A100, "nominalQuota": 16},
                {"name": "*", "nominalQuota": 8},
            ],
        },
    }


def job(team: str, name: str, ask: tuple[int, int], each: tuple[str, int], **spec: Any) -> Obj:
    """`ask` is (minimum, maximum) replicas, `each` (resource, count) of one replica."""
    resource, count = each
    annotations = spec.pop("pod_annotations", {})
    container = {"name": "trainer", "image": "example.com/trainer:1", "resources": {"limits": {resource: count}}}
    return {
        "apiVersion": "apportion.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": team},
        "spec": {
            "queueName": team,
            "minReplicas": ask[0],
            "maxReplicas": ask[1],
            "restartSeconds": 2,
            "minRuntimeSeconds": 1,
            "template": {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}},
            **spec,
        },
    }


def on(*names: str) -> Obj:
    return {"flavors": [{"name": name} for name in names]}


def flavor(name: str, product: str, speed: float, price: float) -> Obj:
    selector = {"nvidia.com/gpu.product": product}
    return {"name": name, "resource": GPU, "nodeSelector": selector, "speed": speed, "pricePerHour": price}


POLICY = {
    "apiVersion": "apportion.dev/v1alpha1",
    "kind": "AllocationPolicy",
    "metadata": {"name": "default"},
    "spec": {
        "flavors": [
            flavor(H100, "NVIDIA-H100-80GB-HBM3", 1.0, 2.5),
            flavor(A100, "NVIDIA-A100-SXM4-80GB", 0.45, 1.2),
            flavor(L4, "NVIDIA-L4", 0.15, 0.5),
        ]
    },
}

SETTING = (
    POLICY,
    namespace("research"),
    namespace("product"),
    priority_class("normal", 100),
    priority_class("urgent", 1000),
    queue("research", 1),
    queue("product", 1),
)

FIRST_JOBS = (
    job("research", "pretrain", (2, 8), (GPU, 4), accelerators=on(H100), priorityClassName="normal"),
    job("research", "vision", (1, 8), (GPU, 2), accelerators=on(A100), priorityClassName="normal"),
    job("research", "speech", (2, 8), (GPU, 2), accelerators=on(A100), priorityClassName="normal"),
    job("product", "embed", (1, 6), (GPU, 1), accelerators=on(L4), priorityClassName="normal"),
    job("research", "gemma", (1, 2), ("google.com/tpu", 8), priorityClassName="normal"),
)

URGENT_GANG = job("research", "incident", (8, 8), (GPU, 2), accelerators=on(A100), priorityClassName="urgent")

RANKER = job(
    "product",
    "ranker",
    (2, 4),
    (GPU, 4),
    accelerators=on(H100),
    priorityClassName="normal",
    pod_annotations={"sandbox.apportion.dev/exit-after": str(RANKER_SECONDS)},
)

MINIMUMS = {"pretrain": 2, "vision": 1, "speech": 2, "embed": 1, "gemma": 1}
FAILING_NODE = "h100-3"
