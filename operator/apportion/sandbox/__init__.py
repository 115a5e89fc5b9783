"""The embedded cluster: an API server with a simulated scheduler, controllers and kubelets, in one process."""

from apportion.sandbox.clock import Clock, LoopClock, ManualClock
from apportion.sandbox.errors import StatusError
from apportion.sandbox.manifests import (
    container,
    deployment,
    gpu_node,
    mixed_cluster,
    node,
    pod,
    tpu_node,
)
from apportion.sandbox.sandbox import Sandbox

__all__ = [
    "Clock",
    "LoopClock",
    "ManualClock",
    "Sandbox",
    "StatusError",
    "container",
    "deployment",
    "gpu_node",
    "mixed_cluster",
    "node",
    "pod",
    "tpu_node",
]
