"""A made-up history of a cluster, for the tests of the checker."""

from typing import Any

from controlplane.history import Change
from controlplane.invariants import Checker

H100, A100 = "NVIDIA-H100", "NVIDIA-A100"
FLAVOR = {H100: "nvidia-h100", A100: "nvidia-a100"}
FLAVOR_NOTE, OWNER_KIND = "apportion.dev/flavor", "TrainingJob"


class History:
    """Objects as a real API server would show them; each step is a second and a revision later."""

    def __init__(self, lag: float = 5) -> None:
        self.checker = Checker(lag)
        self.revision = 0
        self.now = 0.0
        self.step = 1.0

    def see(self, kind: str, name: str, obj: Any, listed: bool = False) -> None:
        self.revision += 1
        self.now += self.step
        self.checker.see(Change(self.revision, kind, name, obj, self.now, listed))

    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    def gone(self, kind: str, name: str) -> None:
        self.see(kind, name, None)

    def node(self, name: str, gpus: int = 8, product: str = H100, ready: bool = True) -> None:
        labels = {"nvidia.com/gpu.product": product}
        conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
        status = {"allocatable": {"nvidia.com/gpu": str(gpus)}, "conditions": conditions}
        self.see(
            "Node", name, {"metadata": {"name": name, "uid": name, "labels": labels}, "spec": {}, "status": status}
        )

    def queue(self, name: str, nominal: int, cohort: str = "", **limits: int) -> None:
        self.quota(name, "*", nominal, {"cohort": cohort} if cohort else {}, **limits)

    def quota(self, name: str, flavor: str, nominal: int, spec: Any, **limits: int) -> None:
        entry = {"name": flavor, "nominalQuota": nominal, **limits}
        self.see("Queue", name, {"metadata": {"uid": name}, "spec": {"flavors": [entry], **spec}})

    def job(self, name: str, granted: int, **more: Any) -> None:
        """reason and message as its status says them; seen: observedGeneration; the rest is laid over its spec."""
        product, generation = more.pop("product", H100), more.pop("generation", 1)
        reason, phase = more.pop("reason", "NoCapacity"), more.pop("phase", "Running" if granted else "Pending")
        degraded, message = more.pop("degraded", False), more.pop("message", "as it is")
        admits = more.pop("admits", bool(granted))
        listed, seen = more.pop("listed", False), more.pop("seen", generation)
        spec = {"minReplicas": 2, "maxReplicas": 8, "template": {"spec": pod_spec(product)}, **more}
        admitted = {"type": "Admitted", "status": "True" if admits else "False", "reason": reason}
        conditions = [admitted, {"type": "Degraded", "status": "True" if degraded else "False", "reason": "X"}]
        status = {"phase": phase, "observedGeneration": seen, "conditions": conditions, "message": message}
        if granted:
            status["admission"] = {"flavor": FLAVOR[product], "replicas": granted, "round": 1}
        meta = {"name": name, "uid": f"uid-{name}", "generation": generation}
        self.see("TrainingJob", name, {"metadata": meta, "spec": spec, "status": status}, listed)

    def deployment(self, name: str, replicas: int, **more: Any) -> None:
        product, owned = more.get("product", H100), more.get("owned", True)
        wrote = {"manager": more.get("by", "apportion"), "fieldsV1": {"f:spec": {"f:replicas": {}}}, "time": "1"}
        meta: dict[str, Any] = {"name": name, "uid": f"uid-of-{name}", "managedFields": [wrote]}
        meta["annotations"] = {FLAVOR_NOTE: FLAVOR[product]}
        if owned:
            meta["ownerReferences"] = [
                {"kind": OWNER_KIND, "name": name, "uid": more.get("owner", f"uid-{name}"), "controller": True}
            ]
        template = {"metadata": {"annotations": {FLAVOR_NOTE: FLAVOR[product]}}, "spec": pod_spec(product)}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"job": name}}, "template": template}
        self.see("Deployment", name, {"metadata": meta, "spec": spec})

    def pods(self, job: str, count: int, node: str = "n0", **more: Any) -> None:
        """of: the uid of the Deployment whose ReplicaSet has them."""
        deployment, made_by = more.get("of", f"uid-of-{job}"), f"{job}-{more.get('of', 'set')}"
        above = {"kind": "Deployment", "name": job, "uid": deployment, "controller": True}
        replica_set = {"metadata": {"uid": f"uid-{made_by}", "ownerReferences": [above]}, "spec": {"replicas": count}}
        self.checker.see(Change(self.revision, "ReplicaSet", made_by, replica_set, self.now))
        for index in range(count):
            owner = {"kind": "ReplicaSet", "name": made_by, "uid": f"uid-{made_by}", "controller": True}
            name = f"{job}-{index}" if "of" not in more else f"{made_by}-{index}"
            meta: dict[str, Any] = {"name": name, "uid": f"uid-{name}", "ownerReferences": [owner]}
            if more.get("leaving"):
                meta["deletionTimestamp"] = "now"
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            spec = {**pod_spec(more.get("product", H100)), "nodeName": node}
            self.see("Pod", meta["name"], {"metadata": meta, "spec": spec, "status": status})

    def starts(self, name: str, replicas: int, **more: Any) -> None:
        """Granted and sized; its pods come later."""
        product = more.get("product", H100)
        self.job(name, replicas, **more)
        self.deployment(name, replicas, product=product)

    def runs(self, name: str, replicas: int, **more: Any) -> None:
        """A job that is granted, sized and has its pods, as it should be."""
        self.starts(name, replicas, **more)
        self.pods(name, replicas)

    def broken(self) -> str:
        return "\n".join(violation.what for violation in self.checker.violations)

    def at_rest(self) -> str:
        return "\n".join(self.checker.at_rest())


def pod_spec(product: str = H100, gpus: int = 1) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(gpus)}
    return {"containers": [{"resources": {"limits": limits}}], "nodeSelector": {"nvidia.com/gpu.product": product}}
