"""What the API server refuses in the built-in kinds, as far as it matters to a workload.

Only the fields that Apportion, kubectl and the simulated controllers rely on are checked; unknown fields are kept
where the real server drops them.
"""

from collections.abc import Callable

from apportion.sandbox.cel import faulty_rules
from apportion.sandbox.errors import Cause, Undecodable, forbidden_value, invalid_value, not_supported, required_value
from apportion.sandbox.kinds import Key
from apportion.sandbox.metadata import LABEL, LABEL_RULE, check_labels, qualified_name
from apportion.sandbox.pods import quantity
from apportion.sandbox.selectors import selector_matches
from apportion.sandbox.trees import Obj, clone, dig


def _pod_spec(spec: Obj, field: str) -> list[Cause]:
    causes: list[Cause] = []
    containers = spec.get("containers") or []
    if not containers:
        causes.append(required_value(f"{field}.containers"))
    seen: set[str] = set()
    for group in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(group) or ()):
            causes += _container(container, f"{field}.{group}[{i}]", seen)
    for i, toleration in enumerate(spec.get("tolerations") or ()):
        causes += _toleration(toleration, f"{field}.tolerations[{i}]")
    for key, value in (spec.get("nodeSelector") or {}).items():
        causes += check_labels({key: value}, f"{field}.nodeSelector")
    return causes


def _quantities(listed: Obj | None, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for name, text in (listed or {}).items():
        try:
            negative = quantity(name, str(text)) < 0
        except ValueError as error:
            raise Undecodable(f"{field}[{name}]: {error}") from None
        if negative:
            causes.append(invalid_value(f"{field}[{name}]", str(text), "must be greater than or equal to 0"))
    return causes


_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")


def _container(container: Obj, field: str, seen: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = container.get("name", "")
    if not name:
        causes.append(required_value(f"{field}.name"))
    elif not LABEL.match(name):
        causes.append(invalid_value(f"{field}.name", name, LABEL_RULE))
    elif name in seen:
        causes.append(Cause(f"{field}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"'))
    seen.add(name)
    if not container.get("image"):
        causes.append(required_value(f"{field}.image"))
    resources = container.get("resources") or {}
    for group in ("requests", "limits"):
        causes += _quantities(resources.get(group), f"{field}.resources.{group}")
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    policy = container.get("imagePullPolicy", "Always")
    if policy not in _PULL_POLICIES:
        causes.append(not_supported(f"{field}.imagePullPolicy", policy, list(_PULL_POLICIES)))
    if causes:
        return causes
    for name in requests.keys() | limits.keys():
        extended = "/" in name and not name.startswith("kubernetes.io/")
        for group, listed in (("limits", limits), ("requests", requests)):
            if extended and str(listed.get(name, "0")).endswith(("m", "u", "n")):
                field_of = f"{field}.resources.{group}[{name}]"
                causes.append(invalid_value(field_of, str(listed[name]), "must be an integer"))
        over = (
            name in requests
            and name in limits
            and quantity(name, str(requests[name])) > quantity(name, str(limits[name]))
        )
        if over and not extended:
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            causes.append(invalid_value(f"{field}.resources.requests", str(requests[name]), why))
        if extended and name not in limits:
            why = "Limit must be set for non overcommitable resources"
            causes.append(required_value(f"{field}.resources.limits", why))
        elif extended and name in requests and str(requests[name]) != str(limits[name]):
            why = f"must be equal to {name} limit of {limits[name]}"
            causes.append(invalid_value(f"{field}.resources.requests", str(requests[name]), why))
    return causes


def _toleration(toleration: Obj, field: str) -> list[Cause]:
    operator, key = toleration.get("operator", "Equal"), toleration.get("key", "")
    if operator not in ("Equal", "Exists", ""):
        return [not_supported(f"{field}.operator", operator, ["Equal", "Exists"])]
    if not key and operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        return [invalid_value(f"{field}.operator", operator, why)]
    if operator == "Exists" and toleration.get("value"):
        why = "value must be empty when `operator` is 'Exists'"
        return [invalid_value(f"{field}.operator", operator, why)]
    return []


def _not_negative(obj: Obj, *fields: str) -> list[Cause]:
    values = [(f"spec.{field}", dig(obj, "spec", field)) for field in fields]
    why = "must be greater than or equal to 0"
    return [invalid_value(field, value, why) for field, value in values if isinstance(value, int) and value < 0]


def _workload(obj: Obj, old: Obj | None) -> list[Cause]:
    causes = _not_negative(obj, "replicas", "minReadySeconds")
    spec = obj["spec"]
    selector = spec.get("selector")
    template = spec["template"]
    if selector is None:
        causes.append(required_value("spec.selector"))
        why = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", template["metadata"].get("labels"), why))
    else:
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            causes.append(invalid_value("spec.selector", selector, "empty selector is invalid for deployment"))
        labels = template["metadata"].get("labels") or {}
        if not selector_matches(selector, labels):
            why = "`selector` does not match template `labels`"
            causes.append(invalid_value("spec.template.metadata.labels", labels, why))
    if old is not None and dig(old, "spec", "selector") != selector:
        causes.append(invalid_value("spec.selector", selector, "field is immutable"))
    causes += check_labels(template["metadata"].get("labels"), "spec.template.labels")
    if template["spec"].get("restartPolicy") != "Always":
        policy = template["spec"].get("restartPolicy")
        causes.append(not_supported("spec.template.spec.restartPolicy", policy, ["Always"]))
    return causes + _pod_spec(template["spec"], "spec.template.spec")


def _deployment(obj: Obj, old: Obj | None) -> list[Cause]:
    strategy = obj["spec"]["strategy"]
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        return [not_supported("spec.strategy", strategy, ["Recreate", "RollingUpdate"])]
    causes = _workload(obj, old)
    rolling, deadline = strategy.get("rollingUpdate") or {}, obj["spec"]["progressDeadlineSeconds"]
    if rolling.get("maxSurge") in (0, "0%") and rolling.get("maxUnavailable") in (0, "0%"):
        why = "may not be 0 when `maxSurge` is 0"
        causes.append(invalid_value("spec.strategy.rollingUpdate.maxUnavailable", 0, why))
    if deadline <= obj["spec"].get("minReadySeconds", 0):
        causes.append(invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    if strategy["type"] == "Recreate" and strategy.get("rollingUpdate") is not None:
        why = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(forbidden_value("spec.strategy.rollingUpdate", why))
    return causes


def _pod(obj: Obj, old: Obj | None) -> list[Cause]:
    if old is None:
        policy = obj["spec"]["restartPolicy"]
        odd = policy not in _RESTART_POLICIES
        causes = [not_supported("spec.restartPolicy", policy, list(_RESTART_POLICIES))] if odd else []
        return causes + _pod_spec(obj["spec"], "spec")
    before, after = clone(old["spec"]), clone(obj["spec"])
    for spec in (before, after):
        for field in ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "schedulingGates"):
            spec.pop(field, None)
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            container.pop("image", None)
    kept = before.pop("tolerations", None) or []
    given = after.pop("tolerations", None) or []
    if before != after or any(toleration not in given for toleration in kept):
        why = (
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
        )
        return [forbidden_value("spec", why)]
    return []


def _node(obj: Obj, _: Obj | None) -> list[Cause]:
    status = obj.get("status") or {}
    causes = _quantities(status.get("allocatable"), "status.allocatable")
    for i, taint in enumerate(obj["spec"].get("taints") or ()):
        field = f"metadata.taints[{i}]"
        causes += [required_value(f"{field}.{name}") for name in ("key", "effect") if not taint.get(name)]
        causes += qualified_name(taint["key"], f"{field}.key") if taint.get("key") else []
        if taint.get("effect", "NoSchedule") not in _EFFECTS:
            causes.append(not_supported(f"{field}.effect", taint["effect"], list(_EFFECTS)))
    return causes + _quantities(status.get("capacity"), "status.capacity")


_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _quota(obj: Obj, _: Obj | None) -> list[Cause]:
    return _quantities(dig(obj, "spec", "hard"), "spec.hard")


def _definition(obj: Obj, _: Obj | None) -> list[Cause]:
    """What the sandbox needs of a CRD, and the rule for its name. Whether its schema is structural is not checked."""
    spec = obj.get("spec") or {}
    paths = (("group",), ("scope",), ("versions",), ("names", "plural"), ("names", "kind"))
    causes = [required_value(f"spec.{'.'.join(path)}") for path in paths if not dig(spec, *path)]
    if causes:
        return causes
    wanted = f"{spec['names']['plural']}.{spec['group']}"
    if obj["metadata"]["name"] != wanted:
        why = 'must be spec.names.plural+"."+spec.group'
        causes.append(invalid_value("metadata.name", obj["metadata"]["name"], why))
    if spec["scope"] not in ("Namespaced", "Cluster"):
        causes.append(not_supported("spec.scope", spec["scope"], ["Cluster", "Namespaced"]))
    if sum(bool(version.get("storage")) for version in spec["versions"]) != 1:
        why = "must have exactly one version marked as storage version"
        causes.append(invalid_value("spec.versions", spec["versions"], why))
    for i, version in enumerate(spec["versions"]):
        field = f"spec.versions[{i}]"
        if not version.get("name"):
            causes.append(required_value(f"{field}.name"))
        schema = dig(version, "schema", "openAPIV3Schema")
        if not schema:
            causes.append(required_value(f"{field}.schema.openAPIV3Schema", "schemas are required"))
        else:
            alone = len(spec["versions"]) == 1
            causes += faulty_rules(schema, f"{'spec.validation' if alone else f'{field}.schema'}.openAPIV3Schema")
    return causes


def _priority_class(obj: Obj, old: Obj | None) -> list[Cause]:
    policy, value = obj.get("preemptionPolicy"), obj.get("value", 0)
    if old is not None:
        causes = [forbidden_value("value", "may not be changed in an update.")] if value != old.get("value") else []
        if policy != old.get("preemptionPolicy"):
            causes.append(invalid_value("preemptionPolicy", policy, "field is immutable"))
        return causes
    causes = []
    known = ("PreemptLowerPriority", "Never")
    if obj["metadata"]["name"] in _SYSTEM_CLASSES:
        return causes
    if obj["metadata"]["name"].startswith("system-"):
        causes.append(forbidden_value("metadata.name", "names with 'system-' prefix are reserved for system use only"))
    if value > 1_000_000_000:
        why = "maximum allowed value of a user defined priority is 1000000000"
        causes.append(forbidden_value("value", why))
    if policy not in known:
        causes.append(not_supported("preemptionPolicy", policy, list(known)))
    return causes


_SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")


def _config_map(obj: Obj, old: Obj | None) -> list[Cause]:
    if old is not None and old.get("immutable") and obj.get("data") != old.get("data"):
        return [forbidden_value("data", "field is immutable when `immutable` is set")]
    return []


def _lease(obj: Obj, _: Obj | None) -> list[Cause]:
    seconds = dig(obj, "spec", "leaseDurationSeconds")
    wrong = seconds is not None and seconds <= 0
    return [invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0")] if wrong else []


def _event(obj: Obj, _: Obj | None) -> list[Cause]:
    about = dig(obj, "involvedObject", "namespace") or "default"
    if about != obj["metadata"]["namespace"]:
        return [invalid_value("involvedObject.namespace", about, "does not match event.namespace")]
    return []


def _autoscaler(obj: Obj, _: Obj | None) -> list[Cause]:
    most, least = dig(obj, "spec", "maxReplicas") or 0, dig(obj, "spec", "minReplicas") or 0
    causes = [required_value("spec.maxReplicas")] if most < 1 else []
    if most < least:
        causes.append(invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    return causes


_VALIDATORS: dict[Key, Callable[[Obj, Obj | None], list[Cause]]] = {
    ("", "pods"): _pod,
    ("", "configmaps"): _config_map,
    ("", "events"): _event,
    ("", "nodes"): _node,
    ("", "resourcequotas"): _quota,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _workload,
    ("apps", "statefulsets"): _workload,
    ("autoscaling", "horizontalpodautoscalers"): _autoscaler,
    ("coordination.k8s.io", "leases"): _lease,
    ("scheduling.k8s.io", "priorityclasses"): _priority_class,
}


def check_builtin(key: Key, obj: Obj, old: Obj | None) -> list[Cause]:
    """The faults of a built-in object; `old` is what it replaces."""
    validator = _VALIDATORS.get(key)
    return validator(obj, old) if validator else []
