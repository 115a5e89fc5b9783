"""What an observer has seen of a cluster, change by change, and how the cluster stood after each.

It reads objects as kubectl would print them and shares no code with the operator that it judges.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Obj = Any

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
FLAVOR = "apportion.dev/flavor"
OPERATOR = "apportion"
"""The operator's field manager."""
VERSIONS = {
    "TrainingJob": "apportion.dev/v1alpha1",
    "Queue": "apportion.dev/v1alpha1",
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "Pod": "v1",
    "Node": "v1",
}


@dataclass(frozen=True)
class Change:
    """One object as it became, or that it is gone (`obj` None).

    `revision` is etcd's: it orders changes of all kinds, whichever watch told first. `at` is the observer's clock.
    listed: found by a LIST after a watch had broken; what lay between was not seen.
    """

    revision: int
    kind: str
    name: str
    obj: Obj
    at: float = 0.0
    listed: bool = False

    def __str__(self) -> str:
        return f"{self.at:9.2f} {self.revision:7d} {self.kind} {self.name} {summary(self.kind, self.obj)}"


@dataclass(frozen=True)
class Grant:
    """What a job's status says that it was given; nothing: replicas 0."""

    flavor: str = ""
    replicas: int = 0


@dataclass
class World:
    """The objects as they stand. Namespaced ones are of one namespace, in which nothing but jobs has pods."""

    objects: dict[str, dict[str, Obj]] = field(default_factory=lambda: defaultdict(dict))
    _specs: dict[tuple[str, int], Obj] = field(default_factory=dict)

    def apply(self, change: Change) -> Obj:
        """Take it in, and return the object as it was before, None if there was none."""
        known = self.objects[change.kind]
        before = known.get(change.name)
        if change.obj is None:
            known.pop(change.name, None)
            return before
        known[change.name] = change.obj
        if change.kind == "TrainingJob":
            meta = change.obj["metadata"]
            self._specs[meta["uid"], meta["generation"]] = change.obj["spec"]
        return before if before is None or uid(before) == uid(change.obj) else None

    def of(self, kind: str) -> dict[str, Obj]:
        return self.objects[kind]

    def dump(self) -> Iterator[Obj]:
        """As kubectl would write them into a file, but for managedFields. A LIST leaves out what all have in common."""
        for kind, known in self.objects.items():
            for obj in known.values():
                meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
                yield {**obj, "apiVersion": VERSIONS[kind], "kind": kind, "metadata": meta}

    # --- jobs --------------------------------------------------------------------------------------------------------

    def spec_decided_on(self, job: Obj) -> Obj:
        """The job's spec at the time of its status; the current one if that was never seen."""
        seen = job.get("status", {}).get("observedGeneration", 0)
        return self._specs.get((uid(job), seen), job["spec"])

    def accelerators(self, job: Obj) -> int:
        """Of one replica, as its status knew the job."""
        template = self.spec_decided_on(job).get("template")
        if template is None:
            deployed = self.deployment_of(job)
            template = deployed["spec"]["template"] if deployed is not None else {"spec": {}}
        return requested(template["spec"])

    def deployment_of(self, job: Obj) -> Obj:
        reference = job["spec"].get("workloadRef", {}).get("name")
        return self.of("Deployment").get(reference or job["metadata"]["name"])

    def job_of(self, deployment: Obj) -> Obj:
        """The job that owns it or names it; None if that is gone, or is another of the same name."""
        owner = owner_of(deployment)
        if owner is not None:
            job = self.of("TrainingJob").get(owner["name"])
            return job if job is not None and uid(job) == owner["uid"] else None
        name = deployment["metadata"]["name"]
        named = (j for j in self.of("TrainingJob").values() if j["spec"].get("workloadRef", {}).get("name") == name)
        return next(named, None)

    def granted(self) -> Iterator[tuple[Obj, Grant]]:
        for job in self.of("TrainingJob").values():
            if (grant := grant_of(job)).replicas:
                yield job, grant

    # --- room --------------------------------------------------------------------------------------------------------

    def room(self) -> dict[str, int]:
        """Accelerators by flavor: of nodes that take pods, and on others what pods still hold there."""
        room: dict[str, int] = defaultdict(int)
        taking = set()
        for name, node in self.of("Node").items():
            if PRODUCT in node["metadata"].get("labels", {}) and takes_pods(node):
                taking.add(name)
                room[flavor_name(node["metadata"]["labels"][PRODUCT])] += int(node["status"]["allocatable"].get(GPU, 0))
        for pod in self.holding():
            product = pod["spec"].get("nodeSelector", {}).get(PRODUCT)
            if pod["spec"]["nodeName"] not in taking and product:
                room[flavor_name(product)] += requested(pod["spec"])
        return dict(room)

    def free(self, flavor: str) -> list[int]:
        """Accelerators that no pod holds, by node that takes pods."""
        nodes = {
            name: int(node["status"]["allocatable"].get(GPU, 0))
            for name, node in self.of("Node").items()
            if takes_pods(node) and flavor_name(node["metadata"].get("labels", {}).get(PRODUCT, "")) == flavor
        }
        for pod in self.holding():
            if pod["spec"]["nodeName"] in nodes:
                nodes[pod["spec"]["nodeName"]] -= requested(pod["spec"])
        return list(nodes.values())

    def holding(self) -> Iterator[Obj]:
        """Pods that hold something of a node, also those that are on their way out."""
        for pod in self.of("Pod").values():
            if pod["spec"].get("nodeName") and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                yield pod


# --- objects as one reads them ---------------------------------------------------------------------------------------


def uid(obj: Obj) -> str:
    return str(obj["metadata"]["uid"])


def flavor_name(product: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", product.lower()).strip("-")


def grant_of(job: Obj) -> Grant:
    admission = job.get("status", {}).get("admission") or {}
    return Grant(admission["flavor"], admission["replicas"]) if admission.get("replicas") else Grant()


def steps_of(spec: Obj) -> list[int]:
    return list(spec.get("replicaSteps") or range(spec.get("minReplicas", 1), spec["maxReplicas"] + 1))


def condition(obj: Obj, kind: str) -> Obj:
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def requested(pod_spec: Obj) -> int:
    """Accelerators of all containers. Where a template has a limit alone, its pods get that as their request."""
    asked = (container.get("resources", {}) for container in pod_spec.get("containers", []))
    return sum(int({**each.get("limits", {}), **each.get("requests", {})}.get(GPU, 0)) for each in asked)


def takes_pods(node: Obj) -> bool:
    ready = condition(node, "Ready").get("status") == "True"
    return ready and not node["spec"].get("unschedulable") and "deletionTimestamp" not in node["metadata"]


def owner_of(obj: Obj) -> Obj:
    return next((o for o in obj["metadata"].get("ownerReferences", []) if o.get("controller")), None)


def sizer_of(deployment: Obj) -> str:
    """The field manager that wrote spec.replicas last."""
    wrote = [
        entry
        for entry in deployment["metadata"].get("managedFields", [])
        if "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}) and entry.get("subresource", "") != "status"
    ]
    return str(max(wrote, key=lambda entry: entry.get("time", ""))["manager"]) if wrote else ""


def is_ready(pod: Obj) -> bool:
    return condition(pod, "Ready").get("status") == "True" and "deletionTimestamp" not in pod["metadata"]


def summary(kind: str, obj: Obj) -> str:
    """What matters of an object, in a line."""
    if obj is None:
        return "is gone"
    status = obj.get("status", {})
    if kind == "TrainingJob":
        admitted = condition(obj, "Admitted")
        given = status.get("admission")
        return f"gen {obj['metadata']['generation']} {status.get('phase')} {given} {admitted.get('reason')}"
    if kind == "Deployment":
        return f"replicas {obj['spec'].get('replicas')} by {sizer_of(obj)} of {obj['metadata'].get('annotations')}"
    if kind == "ReplicaSet":
        return f"replicas {obj['spec'].get('replicas')} of {owner_of(obj)}"
    if kind == "Pod":
        leaving = " leaving" if "deletionTimestamp" in obj["metadata"] else ""
        return f"{status.get('phase')} on {obj['spec'].get('nodeName')}{leaving}{' ready' if is_ready(obj) else ''}"
    if kind == "Node":
        return "takes pods" if takes_pods(obj) else "takes no pods"
    return str(obj.get("spec"))
