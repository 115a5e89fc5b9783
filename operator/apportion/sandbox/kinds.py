"""The resources that the API serves: the built-in ones as a table, custom ones as their CRDs come and go."""

from dataclasses import dataclass, field

Key = tuple[str, str]
"""(group, plural): all versions of a resource share one collection."""


@dataclass(frozen=True)
class Resource:
    """One served resource in one version. `subresources` names those that can be read or written under an object."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    singular: str = ""
    list_kind: str = ""
    custom: bool = False

    @property
    def key(self) -> Key:
        # The two event APIs are two views of one collection, as they are in the real server.
        return ("", "events") if self.group == "events.k8s.io" else (self.group, self.plural)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The plural as messages write it: deployments.apps, pods."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _builtin(api_version: str, plural: str, kind: str, short: str = "", sub: str = "", **extra: object) -> Resource:
    group, _, version = api_version.rpartition("/")
    return Resource(
        group,
        version,
        plural,
        kind,
        namespaced=bool(extra.get("namespaced", True)),
        short_names=tuple(short.split()),
        categories=("all",) if extra.get("all") else (),
        subresources=frozenset(sub.split()),
        singular=kind.lower(),
        list_kind=f"{kind}List",
    )


_RBAC = "rbac.authorization.k8s.io/v1"

BUILTIN = (
    _builtin("v1", "namespaces", "Namespace", "ns", "status finalize", namespaced=False),
    _builtin("v1", "nodes", "Node", "no", "status", namespaced=False),
    _builtin("v1", "pods", "Pod", "po", "status binding eviction log", all=True),
    _builtin("v1", "events", "Event", "ev"),
    _builtin("v1", "configmaps", "ConfigMap", "cm"),
    _builtin("v1", "secrets", "Secret"),
    _builtin("v1", "services", "Service", "svc", "status", all=True),
    _builtin("v1", "serviceaccounts", "ServiceAccount", "sa"),
    _builtin("v1", "resourcequotas", "ResourceQuota", "quota", "status"),
    _builtin("v1", "limitranges", "LimitRange", "limits"),
    _builtin("v1", "endpoints", "Endpoints", "ep"),
    _builtin("v1", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc", "status"),
    _builtin("v1", "persistentvolumes", "PersistentVolume", "pv", "status", namespaced=False),
    _builtin("apps/v1", "deployments", "Deployment", "deploy", "status scale", all=True),
    _builtin("apps/v1", "replicasets", "ReplicaSet", "rs", "status scale", all=True),
    _builtin("apps/v1", "statefulsets", "StatefulSet", "sts", "status scale", all=True),
    _builtin("apps/v1", "daemonsets", "DaemonSet", "ds", "status", all=True),
    _builtin("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", "status", all=True),
    _builtin("batch/v1", "jobs", "Job", "", "status", all=True),
    _builtin("batch/v1", "cronjobs", "CronJob", "cj", "status", all=True),
    _builtin("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", "status"),
    _builtin("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", "pc", namespaced=False),
    _builtin("coordination.k8s.io/v1", "leases", "Lease"),
    _builtin("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
    _builtin("events.k8s.io/v1", "events", "Event", "ev"),
    _builtin("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", "netpol"),
    _builtin(_RBAC, "roles", "Role"),
    _builtin(_RBAC, "rolebindings", "RoleBinding"),
    _builtin(_RBAC, "clusterroles", "ClusterRole", namespaced=False),
    _builtin(_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _builtin("storage.k8s.io/v1", "storageclasses", "StorageClass", "sc", namespaced=False),
    _builtin("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", "", "status"),
    _builtin("resource.k8s.io/v1", "resourceslices", "ResourceSlice", namespaced=False),
    _builtin("resource.k8s.io/v1", "deviceclasses", "DeviceClass", namespaced=False),
    _builtin(
        "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", "crd crds", "status",
        namespaced=False,
    ),
)  # fmt: skip

WITH_GENERATION = frozenset(
    {
        ("", "pods"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "statefulsets"),
        ("apps", "daemonsets"),
        ("batch", "jobs"),
        ("batch", "cronjobs"),
        ("policy", "poddisruptionbudgets"),
        ("networking.k8s.io", "networkpolicies"),
        ("scheduling.k8s.io", "priorityclasses"),
        ("resource.k8s.io", "resourceslices"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    }
)
"""Built-in kinds whose metadata.generation the real server counts; it does so for every custom resource too."""


@dataclass
class Catalog:
    """Finds resources by path and by word, and changes as CRDs do."""

    _served: dict[tuple[str, str, str], Resource] = field(default_factory=dict)
    _words: dict[str, Resource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for resource in BUILTIN:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Serve a resource. The first one to take a word keeps it, so core kinds win over their newer namesakes."""
        self._served[resource.group, resource.version, resource.plural] = resource
        words = (resource.plural, resource.kind, resource.singular, resource.qualified, *resource.short_names)
        for word in words:
            holder = self._words.setdefault(word.lower(), resource)
            if (holder.group, holder.plural) == (resource.group, resource.plural):
                self._words[word.lower()] = resource

    def drop(self, key: Key) -> None:
        """Stop serving every version of a resource."""
        self._served = {at: resource for at, resource in self._served.items() if resource.key != key}
        self._words = {word: resource for word, resource in self._words.items() if resource.key != key}

    def at(self, group: str, version: str, plural: str) -> Resource | None:
        return self._served.get((group, version, plural))

    def named(self, word: str) -> Resource | None:
        """The resource called `word`: plural, kind, singular, short name or plural.group, in any case."""
        return self._words.get(word.lower())

    def of(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's own apiVersion and kind."""
        found = self._words.get(kind.lower())
        if found is not None and found.api_version == api_version and found.kind == kind:
            return found
        return next((r for r in self._served.values() if r.kind == kind and r.api_version == api_version), None)

    def all(self) -> list[Resource]:
        return list(self._served.values())
