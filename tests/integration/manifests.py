"""Objects as teams and administrators write them. Functions return a dict; tests apply it."""

from typing import Any

from apportion.kube.kinds import Kind
from apportion.sandbox.manifests import container

Obj = dict[str, Any]

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
GROUP_VERSION = "apportion.dev/v1alpha1"
SYSTEM = "apportion-system"
MANAGED = "apportion.dev/managed"
HOLD = "apportion.dev/hold"
RETRY = "apportion.dev/retry"
COMPLETED = "apportion.dev/completed"
DECISION = "apportion.dev/decision"
MERGE_PATCH = "application/merge-patch+json"

QUOTA = Kind("ResourceQuota", "", "v1", "resourcequotas")
REPLICA_SET = Kind("ReplicaSet", "apps", "v1", "replicasets")
SERVICE_ACCOUNT = Kind("ServiceAccount", "", "v1", "serviceaccounts")
DEFINITION = Kind(
    "CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False
)
RBAC = "rbac.authorization.k8s.io"
CLUSTER_ROLE = Kind("ClusterRole", RBAC, "v1", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDING = Kind("ClusterRoleBinding", RBAC, "v1", "clusterrolebindings", namespaced=False)
ROLE = Kind("Role", RBAC, "v1", "roles")
ROLE_BINDING = Kind("RoleBinding", RBAC, "v1", "rolebindings")


def namespace(name: str) -> Obj:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def priority_class(name: str, value: int, policy: str = "Never") -> Obj:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "preemptionPolicy": policy,
    }


def training_job(space: str, name: str, replicas: tuple[int, int], gpus: int, **spec: Any) -> Obj:
    """A job whose rules need no time to pass. pods: annotations of its pods;
    pod: laid over the pod's spec; annotations: of the job itself. gpus 0 and workloadRef: no template."""
    pods, pod, annotations = spec.pop("pods", {}), spec.pop("pod", {}), spec.pop("annotations", {})
    body: Obj = {
        "minReplicas": replicas[0],
        "maxReplicas": replicas[1],
        "restartSeconds": 0,
        "minRuntimeSeconds": 0,
        "placementTimeoutSeconds": 30,
    }
    if "workloadRef" not in spec:
        body["template"] = {
            "metadata": {"annotations": pods},
            "spec": {"containers": [container(GPU if gpus else "", gpus)], **pod},
        }
    meta = {"name": name, "namespace": space, "annotations": annotations}
    return {"apiVersion": GROUP_VERSION, "kind": "TrainingJob", "metadata": meta, "spec": {**body, **spec}}


def deployment(space: str, name: str, replicas: int, gpus: int, managed: bool = True, **spec: Any) -> Obj:
    """A Deployment as another team would write it. pods and pod as in `training_job`; meta: laid over its metadata."""
    pods, pod, meta = spec.pop("pods", {}), spec.pop("pod", {}), spec.pop("meta", {})
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": space,
            "labels": {**labels, **({MANAGED: "true"} if managed else {})},
            **meta,
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": pods},
                "spec": {
                    "containers": [container(GPU if gpus else "", gpus)],
                    "terminationGracePeriodSeconds": 5,
                    **pod,
                },
            },
            **spec,
        },
    }


def foreign_pod(space: str, name: str, gpus: int, **spec: Any) -> Obj:
    """A pod that nobody controls."""
    pods = spec.pop("pods", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "annotations": pods},
        "spec": {"containers": [container(GPU, gpus)], "terminationGracePeriodSeconds": 30, **spec},
    }


def readiness(ready: bool) -> Obj:
    """The condition of a node, or of a pod, as a kubelet reports it."""
    return {"type": "Ready", "status": "True" if ready else "False", "reason": "Test", "message": "set by a test"}
