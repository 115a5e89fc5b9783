"""Manifests for tests and the demo: nodes of several kinds, and small workloads. Data, applied elsewhere."""

from apportion.sandbox.trees import Obj

GPU_PRODUCT = "nvidia.com/gpu.product"
H100, A100, L4 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB", "NVIDIA-L4"
TPU_ACCELERATOR, TPU_TOPOLOGY = "cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"


def node(
    name: str,
    labels: dict[str, str] | None = None,
    allocatable: dict[str, str] | None = None,
    taints: list[Obj] | None = None,
) -> Obj:
    """A node. `allocatable` comes on top of 64 cores, 512 GiB and 110 pods; the sandbox makes it Ready."""
    resources = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "110", **(allocatable or {})}
    spec = {"taints": taints} if taints else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {"capacity": dict(resources), "allocatable": dict(resources)},
    }


def gpu_node(name: str, product: str = H100, gpus: int = 8, taints: list[Obj] | None = None) -> Obj:
    """A node with NVIDIA devices of one product."""
    labels = {GPU_PRODUCT: product, "nvidia.com/gpu.count": str(gpus)}
    resources = {"cpu": "192", "memory": "2Ti"} if gpus >= 8 else {"cpu": "48", "memory": "192Gi"}
    return node(name, labels, {**resources, "nvidia.com/gpu": str(gpus)}, taints)


def tpu_node(name: str, chips: int = 8, topology: str = "2x4") -> Obj:
    """A host of a single-host TPU v5e slice, with the taint that GKE puts on it."""
    labels = {TPU_ACCELERATOR: "tpu-v5-lite-podslice", TPU_TOPOLOGY: topology}
    taint = {"key": "google.com/tpu", "value": "present", "effect": "NoSchedule"}
    return node(name, labels, {"cpu": "224", "memory": "384Gi", "google.com/tpu": str(chips)}, [taint])


def mixed_cluster(h100: int = 4, a100: int = 4, l4: int = 6, tpu: int = 2, cpu: int = 2) -> list[Obj]:
    """Nodes of five sorts: 8 H100, 8 A100, 1 L4, 8 TPU v5e chips, and none."""
    nodes = [gpu_node(f"h100-{i}", H100) for i in range(h100)]
    nodes += [gpu_node(f"a100-{i}", A100) for i in range(a100)]
    nodes += [gpu_node(f"l4-{i}", L4, gpus=1) for i in range(l4)]
    nodes += [tpu_node(f"tpu-{i}") for i in range(tpu)]
    return nodes + [node(f"cpu-{i}") for i in range(cpu)]


def container(resource: str = "", amount: int = 0, name: str = "main", image: str = "trainer:1") -> Obj:
    """A container that asks for so many devices."""
    limits = {resource: str(amount)} if resource else {}
    return {"name": name, "image": image, "resources": {"limits": limits} if limits else {}}


def pod(name: str, namespace: str = "default", spec: Obj | None = None, annotations: Obj | None = None) -> Obj:
    """A pod; `spec` is laid over one container without requests."""
    meta = {"name": name, "namespace": namespace, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container()], **(spec or {})}}


def deployment(
    name: str, replicas: int = 1, namespace: str = "default", spec: Obj | None = None, annotations: Obj | None = None
) -> Obj:
    """A Deployment whose pods have `spec` laid over one container without requests, and these annotations."""
    labels = {"app": name}
    template_meta: Obj = {"labels": dict(labels)}
    if annotations:
        template_meta["annotations"] = dict(annotations)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": template_meta, "spec": {"containers": [container()], **(spec or {})}},
        },
    }
