"""What the API server refuses in the built-in kinds: names and labels of all, and the rules that matter to a workload.

Only the fields that Apportion, kubectl and the simulated controllers rely on are checked; unknown fields are kept
where the real server drops them.
"""

import re
from collections.abc import Callable
from typing import Any

from apportion.sandbox.cel import faulty_rules
from apportion.sandbox.errors import Cause, Undecodable, forbidden_value, invalid_value, not_supported, required_value
from apportion.sandbox.kinds import Key, Resource
from apportion.sandbox.pods import quantity
from apportion.sandbox.selectors import selector_matches
from apportion.sandbox.trees import Obj, clone, dig

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_PATH_SEGMENT = re.compile(r"^(?!\.{1,2}$)[^/%]+$")
_QUALIFIED = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_LABEL_NAMES = frozenset({("", "namespaces"), ("", "services")})

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def _name(resource: Resource, name: str, field: str) -> list[Cause]:
    if resource.group == "rbac.authorization.k8s.io":
        fits = bool(_PATH_SEGMENT.match(name))
        return [] if fits else [invalid_value(field, name, "may not contain '/' or '%'")]
    if resource.key in _LABEL_NAMES:
        if len(name) > 63:
            return [invalid_value(field, name, "must be no more than 63 characters")]
        return [] if _LABEL.match(name) else [invalid_value(field, name, _LABEL_RULE)]
    if len(name) > 253:
        return [invalid_value(field, name, "must be no more than 253 characters")]
    return [] if _SUBDOMAIN.match(name) else [invalid_value(field, name, _SUBDOMAIN_RULE)]


def _qualified_name(key: str, field: str) -> list[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.match(prefix):
        return [invalid_value(field, key, f"prefix part {_SUBDOMAIN_RULE}")]
    if len(name) > 63:
        return [invalid_value(field, key, "name part must be no more than 63 characters")]
    return [] if _QUALIFIED.match(name) else [invalid_value(field, key, _QUALIFIED_RULE)]


def _labels(labels: Any, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in (labels or {}).items():
        causes += _qualified_name(key, field)
        if len(value) > 63:
            causes.append(invalid_value(field, value, "must be no more than 63 characters"))
        elif value and not _QUALIFIED.match(value):
            causes.append(invalid_value(field, value, _VALUE_RULE))
    return causes


def check_shape(resource: Resource, obj: Any) -> None:
    """Refuse with 400 what the real server could not decode: metadata of the wrong types."""
    meta = obj.get("metadata")
    if not isinstance(meta, dict):
        raise Undecodable(f"{resource.kind} in version {resource.version!r} cannot be handled: metadata is no object")
    for field in ("labels", "annotations"):
        entries = meta.get(field)
        if entries is None:
            continue
        wrong = not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values())
        if wrong:
            raise Undecodable(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: json: cannot '
                f"unmarshal into Go struct field ObjectMeta.metadata.{field} of type string"
            )
    if not resource.custom:
        _check_types(resource, obj)


_INTEGERS = (
    "terminationGracePeriodSeconds",
    "replicas",
    "minReadySeconds",
    "revisionHistoryLimit",
    "progressDeadlineSeconds",
    "parallelism",
)


def _check_types(resource: Resource, obj: Obj) -> None:
    spec = obj.get("spec")
    if spec is not None and not isinstance(spec, dict):
        raise Undecodable(_undecodable(resource, "spec", spec, "object"))
    data = obj.get("data") or {}
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise Undecodable(_undecodable(resource, "data", data, "string"))
    for field in _INTEGERS:
        value = (spec or {}).get(field)
        if value is not None and type(value) is not int:
            raise Undecodable(_undecodable(resource, f"spec.{field}", value, "int32"))


def _undecodable(resource: Resource, field: str, value: object, wanted: str) -> str:
    found = {str: "string", bool: "bool", float: "number", int: "number", list: "array"}.get(type(value), "object")
    return (
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: json: cannot '
        f"unmarshal {found} into Go struct field {resource.kind}Spec.{field} of type {wanted}"
    )


_STANDARD_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")


def _finalizer(name: str) -> list[Cause]:
    causes = _qualified_name(name, "metadata.finalizers")
    if "/" not in name and name not in _STANDARD_FINALIZERS:
        why = "name is neither a standard finalizer name nor is it fully qualified"
        causes.append(invalid_value("metadata.finalizers[0]", name, why))
    return causes


def check_metadata(resource: Resource, obj: Obj) -> list[Cause]:
    """Names, labels, annotations and owners."""
    meta = obj["metadata"]
    causes = _name(resource, meta["name"], "metadata.name")
    causes += _labels(meta.get("labels"), "metadata.labels")
    for finalizer in meta.get("finalizers") or ():
        causes += _finalizer(finalizer)
    for key in meta.get("annotations") or {}:
        causes += _qualified_name(key.lower(), "metadata.annotations")
    if sum(len(k) + len(v) for k, v in (meta.get("annotations") or {}).items()) > 256 * 1024:
        causes.append(Cause("metadata.annotations", "FieldValueTooLong", "Too long: may not be more than 262144 bytes"))
    owners = meta.get("ownerReferences") or []
    for i, owner in enumerate(owners):
        causes += [
            required_value(f"metadata.ownerReferences[{i}].{field}")
            for field in ("apiVersion", "kind", "name", "uid")
            if not owner.get(field)
        ]
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        why = "Only one reference can have Controller set to true"
        causes.append(invalid_value("metadata.ownerReferences", owners, why))
    return causes


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
        causes += _labels({key: value}, f"{field}.nodeSelector")
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
    elif not _LABEL.match(name):
        causes.append(invalid_value(f"{field}.name", name, _LABEL_RULE))
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
    causes += _labels(template["metadata"].get("labels"), "spec.template.labels")
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
        causes += _qualified_name(taint["key"], f"{field}.key") if taint.get("key") else []
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
            causes += faulty_rules(schema, f"{field}.schema.openAPIV3Schema")
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


_VALIDATORS: dict[Key, Callable[[Obj, Obj | None], list[Cause]]] = {
    ("", "pods"): _pod,
    ("", "configmaps"): _config_map,
    ("", "nodes"): _node,
    ("", "resourcequotas"): _quota,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _workload,
    ("apps", "statefulsets"): _workload,
    ("scheduling.k8s.io", "priorityclasses"): _priority_class,
}


def check_builtin(key: Key, obj: Obj, old: Obj | None) -> list[Cause]:
    """The faults of a built-in object; `old` is what it replaces."""
    validator = _VALIDATORS.get(key)
    return validator(obj, old) if validator else []
