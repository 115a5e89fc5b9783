"""What the API server fills in for the built-in kinds, and what its admission adds to a pod.

Drift detection compares templates, so pod templates get the same defaults here as there.
"""

from collections.abc import Callable
from typing import Any

from apportion.sandbox.kinds import Key
from apportion.sandbox.trees import Obj

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def _fill(target: Obj, values: Obj) -> None:
    for key, value in values.items():
        if target.get(key) is None:
            target[key] = value


def _pull_policy(image: str) -> str:
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _container(container: Obj) -> None:
    _fill(
        container,
        {
            "resources": {},
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": _pull_policy(container.get("image", "")),
        },
    )
    for port in container.get("ports") or ():
        _fill(port, {"protocol": "TCP"})
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            _fill(reference, {"apiVersion": "v1"})
    for probe in filter(None, (container.get(name) for name in _PROBES)):
        _fill(probe, _PROBE_DEFAULTS)
        if "httpGet" in probe:
            _fill(probe["httpGet"], {"path": "/", "scheme": "HTTP"})


def _volume(volume: Obj) -> None:
    for kind in ("configMap", "secret", "projected", "downwardAPI"):
        if isinstance(volume.get(kind), dict):
            _fill(volume[kind], {"defaultMode": 420})
    if "hostPath" in volume:
        _fill(volume["hostPath"], {"type": ""})


def pod_spec(spec: Obj) -> None:
    """The defaults of a pod's spec that its template gets as well."""
    _fill(
        spec,
        {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "securityContext": {},
            "schedulerName": "default-scheduler",
        },
    )
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)
    if spec.get("serviceAccountName"):
        _fill(spec, {"serviceAccount": spec["serviceAccountName"]})


def _pod(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    _fill(spec, {"enableServiceLinks": True})
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        resources = container["resources"]
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    status = obj.setdefault("status", {})
    _fill(status, {"phase": "Pending", "qosClass": _qos_class(spec)})


def _qos_class(spec: Obj) -> str:
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    requests = [(container["resources"].get("requests") or {}) for container in containers]
    limits = [(container["resources"].get("limits") or {}) for container in containers]
    if not any(name in amounts for amounts in (*requests, *limits) for name in ("cpu", "memory")):
        return "BestEffort"
    complete = all(
        name in limit and request.get(name) == limit[name]
        for request, limit in zip(requests, limits, strict=True)
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if complete else "Burstable"


def _template(spec: Obj) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))


def _deployment(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, {"replicas": 1, "strategy": {}, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
    strategy = spec["strategy"]
    _fill(strategy, {"type": "RollingUpdate"})
    if strategy["type"] == "RollingUpdate":
        strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        _fill(strategy["rollingUpdate"], {"maxUnavailable": "25%", "maxSurge": "25%"})
    _template(spec)


def _replica_set(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, {"replicas": 1})
    _template(spec)


def _stateful_set(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, {"replicas": 1, "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10})
    _fill(spec, {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}})
    _template(spec)


def _namespace(obj: Obj) -> None:
    obj["spec"] = {"finalizers": ["kubernetes"], **(obj.get("spec") or {})}
    _fill(obj.setdefault("status", {}), {"phase": "Active"})
    labels = obj["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def _node(obj: Obj) -> None:
    obj.setdefault("spec", {})
    status = obj.setdefault("status", {})
    _fill(status, {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}})
    if "allocatable" not in status and "capacity" in status:
        status["allocatable"] = dict(status["capacity"])


def _service(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, {"type": "ClusterIP", "sessionAffinity": "None"})
    for port in spec.get("ports") or ():
        _fill(port, {"protocol": "TCP", "targetPort": port.get("port")})


def _secret(obj: Obj) -> None:
    _fill(obj, {"type": "Opaque"})


def _priority_class(obj: Obj) -> None:
    _fill(obj, {"preemptionPolicy": "PreemptLowerPriority"})


def _autoscaler(obj: Obj) -> None:
    _fill(obj.setdefault("spec", {}), {"minReplicas": 1})


def _definition(obj: Obj) -> None:
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    if names.get("kind"):
        _fill(names, {"singular": names["kind"].lower(), "listKind": f"{names['kind']}List"})
        _fill(spec, {"conversion": {"strategy": "None"}})
        stored = [version.get("name") for version in spec.get("versions") or () if version.get("storage")]
        accepted = {"plural": "", "kind": ""}
        _fill(obj, {"status": {"conditions": None, "acceptedNames": accepted, "storedVersions": stored}})


_DEFAULTERS: dict[Key, Callable[[Any], None]] = {
    ("", "pods"): _pod,
    ("", "namespaces"): _namespace,
    ("", "nodes"): _node,
    ("", "services"): _service,
    ("", "secrets"): _secret,
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _replica_set,
    ("apps", "statefulsets"): _stateful_set,
    ("scheduling.k8s.io", "priorityclasses"): _priority_class,
    ("autoscaling", "horizontalpodautoscalers"): _autoscaler,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
}


_BARE_STATUS: dict[Key, Obj] = {
    ("apps", "deployments"): {},
    ("apps", "replicasets"): {"replicas": 0},
    ("apps", "statefulsets"): {"replicas": 0},
    ("", "resourcequotas"): {},
    ("", "services"): {"loadBalancer": {}},
    ("", "persistentvolumeclaims"): {"phase": "Pending"},
    ("batch", "jobs"): {},
    ("policy", "poddisruptionbudgets"): {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    },
}
"""The status that the real server shows of an object whose controller has not written one yet."""


def fill_defaults(key: Key, obj: Obj) -> None:
    """Fill in the defaults of a built-in object, in place."""
    if key in _BARE_STATUS:
        _fill(obj, {"status": dict(_BARE_STATUS[key])})
    defaulter = _DEFAULTERS.get(key)
    if defaulter:
        defaulter(obj)
