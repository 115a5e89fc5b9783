"""What the operator reads: kinds, their paths in the API, and the rights that it needs on them."""

from collections.abc import Collection
from dataclasses import dataclass

from apportion.api.names import ALLOCATION_POLICY, GROUP, QUEUE, TRAINING_JOB, VERSION


@dataclass(frozen=True)
class Kind:
    """A resource of the API; `group` "" is the core group."""

    name: str
    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def base(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of the collection, of one namespace's, or of one object."""
        parts = [self.base]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


NODE = Kind("Node", "", "v1", "nodes", namespaced=False)
POD = Kind("Pod", "", "v1", "pods")
NAMESPACE = Kind("Namespace", "", "v1", "namespaces", namespaced=False)
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments")
AUTOSCALER = Kind("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers")
PRIORITY_CLASS = Kind("PriorityClass", "scheduling.k8s.io", "v1", "priorityclasses", namespaced=False)
JOB = Kind(TRAINING_JOB, GROUP, VERSION, "trainingjobs")
QUEUE_KIND = Kind(QUEUE, GROUP, VERSION, "queues", namespaced=False)
POLICY = Kind(ALLOCATION_POLICY, GROUP, VERSION, "allocationpolicies", namespaced=False)
EVENT = Kind("Event", "", "v1", "events")
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases")

CUSTOM = (JOB, QUEUE_KIND, POLICY)
WATCHED = (
    NAMESPACE,
    PRIORITY_CLASS,
    POLICY,
    QUEUE_KIND,
    NODE,
    AUTOSCALER,
    DEPLOYMENT,
    POD,
    JOB,
)
TENANTS = (AUTOSCALER, DEPLOYMENT, JOB)
"""What is read in the watched namespaces only, if there are any. Pods are read everywhere: they use up nodes."""


def places(kind: Kind, watched: Collection[str]) -> tuple[str, ...]:
    """The namespaces in which a kind is listed; ("",) is the whole cluster."""
    return tuple(watched) if watched and kind in TENANTS else ("",)


BY_NAME = {kind.name: kind for kind in WATCHED}
