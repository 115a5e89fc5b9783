"""Tables: what the server answers when kubectl asks to be told what to print."""

from collections.abc import Callable
from typing import Any, NamedTuple

from apportion.sandbox.clock import seconds_of
from apportion.sandbox.errors import bad_request
from apportion.sandbox.jsonpath import find_all
from apportion.sandbox.kinds import Key, Resource
from apportion.sandbox.objects import labels_of
from apportion.sandbox.trees import Obj, dig


class Column(NamedTuple):
    """One column: its heading, its type, its cell of an object at a time, and 1 for `-o wide` alone."""

    name: str
    cell: Callable[[Obj, float], Any]
    type: str = "string"
    priority: int = 0


def human_duration(seconds: float) -> str:
    """An age as kubectl writes it: 5s, 3m20s, 2h, 4d."""
    whole = int(seconds)
    if whole < 0:
        return "0s" if whole > -2 else "<invalid>"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _since(text: str | None, now: float) -> str:
    return human_duration(now - seconds_of(text)) if text else "<unknown>"


def _age(obj: Obj, now: float) -> str:
    return _since(obj["metadata"].get("creationTimestamp"), now)


def _at(*path: str, default: Any = "<none>") -> Callable[[Obj, float], Any]:
    def cell(obj: Obj, _: float) -> Any:
        value = dig(obj, *path)
        return default if value is None else value

    return cell


def _selector_text(selector: Obj | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items()))


def pod_status(pod: Obj) -> str:
    """The word in kubectl's STATUS column."""
    status = pod.get("status") or {}
    word = str(status.get("reason") or status.get("phase") or "Unknown")
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            if kind in state:
                word = state[kind].get("reason") or word
    if "deletionTimestamp" in pod["metadata"]:
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return word


def _pod_ready(pod: Obj, _: float) -> str:
    statuses = dig(pod, "status", "containerStatuses") or []
    return f"{sum(bool(each.get('ready')) for each in statuses)}/{len(pod['spec']['containers'])}"


def _pod_restarts(pod: Obj, now: float) -> str:
    statuses = dig(pod, "status", "containerStatuses") or []
    restarts = sum(each.get("restartCount", 0) for each in statuses)
    ends = [dig(each, "lastState", "terminated", "finishedAt") for each in statuses]
    last = max((end for end in ends if end), default=None)
    return f"{restarts} ({_since(last, now)} ago)" if restarts and last else str(restarts)


def _node_status(node: Obj, _: float) -> str:
    words = [
        {"True": "Ready", "False": "NotReady"}.get(condition["status"], "Unknown")
        for condition in dig(node, "status", "conditions") or ()
        if condition["type"] == "Ready"
    ] or ["Unknown"]
    if dig(node, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _node_address(kind: str) -> Callable[[Obj, float], str]:
    def cell(node: Obj, _: float) -> str:
        addresses = dig(node, "status", "addresses") or ()
        return next((each["address"] for each in addresses if each["type"] == kind), "<none>")

    return cell


def _node_roles(node: Obj, _: float) -> str:
    prefix = "node-role.kubernetes.io/"
    return ",".join(sorted(k.removeprefix(prefix) for k in labels_of(node) if k.startswith(prefix))) or "<none>"


def _ready_of(field: str) -> Callable[[Obj, float], str]:
    return lambda obj, _: f"{dig(obj, 'status', field) or 0}/{dig(obj, 'spec', 'replicas') or 0}"


def _containers(field: str) -> Callable[[Obj, float], str]:
    return lambda obj, _: ",".join(each.get(field, "") for each in obj["spec"]["template"]["spec"]["containers"])


def _selector(obj: Obj, _: float) -> str:
    return _selector_text(obj["spec"].get("selector"))


def _event_seen(field: str) -> Callable[[Obj, float], str]:
    def cell(event: Obj, now: float) -> str:
        text = event.get(field) or event.get("eventTime") or event["metadata"].get("creationTimestamp")
        return _since(text, now)

    return cell


def _event_object(event: Obj, _: float) -> str:
    about = event.get("involvedObject") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _service_ports(service: Obj, _: float) -> str:
    ports = dig(service, "spec", "ports") or []
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>"


_NAME = Column("Name", lambda obj, _: obj["metadata"]["name"])
_AGE = Column("Age", _age)
_COUNT = {"default": 0}
_TEMPLATE = (
    Column("Containers", _containers("name"), priority=1),
    Column("Images", _containers("image"), priority=1),
    Column("Selector", _selector, priority=1),
)

_COLUMNS: dict[Key, tuple[Column, ...]] = {
    ("", "pods"): (
        _NAME,
        Column("Ready", _pod_ready),
        Column("Status", lambda obj, _: pod_status(obj)),
        Column("Restarts", _pod_restarts),
        _AGE,
        Column("IP", _at("status", "podIP"), priority=1),
        Column("Node", _at("spec", "nodeName"), priority=1),
        Column("Nominated Node", _at("status", "nominatedNodeName"), priority=1),
        Column("Readiness Gates", lambda obj, _: "<none>", priority=1),
    ),
    ("", "nodes"): (
        _NAME,
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        _AGE,
        Column("Version", _at("status", "nodeInfo", "kubeletVersion", default="")),
        Column("Internal-IP", _node_address("InternalIP"), priority=1),
        Column("External-IP", _node_address("ExternalIP"), priority=1),
        Column("OS-Image", _at("status", "nodeInfo", "osImage", default="<unknown>"), priority=1),
        Column("Kernel-Version", _at("status", "nodeInfo", "kernelVersion", default="<unknown>"), priority=1),
        Column("Container-Runtime", _at("status", "nodeInfo", "containerRuntimeVersion", default="-"), priority=1),
    ),
    ("", "namespaces"): (_NAME, Column("Status", _at("status", "phase")), _AGE),
    ("", "events"): (
        Column("Last Seen", _event_seen("lastTimestamp")),
        Column("Type", _at("type", default="")),
        Column("Reason", _at("reason", default="")),
        Column("Object", _event_object),
        Column("Subobject", _at("involvedObject", "fieldPath", default=""), priority=1),
        Column("Source", _at("source", "component", default=""), priority=1),
        Column("Message", lambda obj, _: str(obj.get("message", "")).strip()),
        Column("First Seen", _event_seen("firstTimestamp"), priority=1),
        Column("Count", lambda obj, _: obj.get("count", 1), priority=1),
        Column("Name", lambda obj, _: obj["metadata"]["name"], priority=1),
    ),
    ("", "configmaps"): (_NAME, Column("Data", lambda obj, _: len(obj.get("data") or {})), _AGE),
    ("", "secrets"): (
        _NAME,
        Column("Type", _at("type")),
        Column("Data", lambda obj, _: len(obj.get("data") or {})),
        _AGE,
    ),
    ("", "services"): (
        _NAME,
        Column("Type", _at("spec", "type")),
        Column("Cluster-IP", _at("spec", "clusterIP")),
        Column("External-IP", lambda obj, _: "<none>"),
        Column("Port(s)", _service_ports),
        _AGE,
        Column("Selector", lambda obj, _: _selector_text({"matchLabels": dig(obj, "spec", "selector")}), priority=1),
    ),
    ("apps", "deployments"): (
        _NAME,
        Column("Ready", _ready_of("readyReplicas")),
        Column("Up-to-date", _at("status", "updatedReplicas", **_COUNT)),
        Column("Available", _at("status", "availableReplicas", **_COUNT)),
        _AGE,
        *_TEMPLATE,
    ),
    ("apps", "replicasets"): (
        _NAME,
        Column("Desired", _at("spec", "replicas", **_COUNT), "integer"),
        Column("Current", _at("status", "replicas", **_COUNT), "integer"),
        Column("Ready", _at("status", "readyReplicas", **_COUNT), "integer"),
        _AGE,
        *_TEMPLATE,
    ),
    ("apps", "statefulsets"): (_NAME, Column("Ready", _ready_of("readyReplicas")), _AGE, *_TEMPLATE[:2]),
    ("coordination.k8s.io", "leases"): (_NAME, Column("Holder", _at("spec", "holderIdentity", default="")), _AGE),
    ("scheduling.k8s.io", "priorityclasses"): (
        _NAME,
        Column("Value", _at("value", **_COUNT), "integer"),
        Column("Global-Default", _at("globalDefault", default=False), "boolean"),
        _AGE,
        Column("PreemptionPolicy", _at("preemptionPolicy")),
    ),
    ("policy", "poddisruptionbudgets"): (
        _NAME,
        Column("Min Available", _at("spec", "minAvailable", default="N/A")),
        Column("Max Unavailable", _at("spec", "maxUnavailable", default="N/A")),
        Column("Allowed Disruptions", _at("status", "disruptionsAllowed", **_COUNT), "integer"),
        _AGE,
    ),
    ("apiextensions.k8s.io", "customresourcedefinitions"): (
        _NAME,
        Column("Created At", _at("metadata", "creationTimestamp"), "date"),
    ),
}  # fmt: skip


def _custom_cell(column: Obj) -> Callable[[Obj, float], Any]:
    path, kind = column["jsonPath"], column["type"]

    def cell(obj: Obj, now: float) -> Any:
        found = find_all(path, obj)
        if not found:
            return None
        if kind == "date":
            return _since(str(found[0]), now)
        if kind in ("integer", "number", "boolean"):
            return found[0]
        return ",".join(str(value) if isinstance(value, str | int | float) else repr(value) for value in found)

    return cell


def columns_of(resource: Resource, custom: list[Obj] | None) -> tuple[Column, ...]:
    """The columns of a resource; `custom` are the additionalPrinterColumns of its CRD."""
    if custom:
        extra = (Column(each["name"], _custom_cell(each), each["type"], each.get("priority", 0)) for each in custom)
        return (_NAME, *extra)
    return _COLUMNS.get(resource.key, (_NAME, _AGE))


def table(columns: tuple[Column, ...], objects: list[Obj], meta: Obj, include: str, now: float) -> Obj:
    """A Table of the objects. `include`: Metadata (the default), Object or None."""
    definitions = [
        {
            "name": column.name,
            "type": column.type,
            "format": "name" if column.name == "Name" else "",
            "description": column.name,
            "priority": column.priority,
        }
        for column in columns
    ]
    if include not in ("", "Metadata", "Object", "None"):
        why = f"includeObject: Invalid value: {include!r}: must be 'Metadata', 'Object', 'None', or empty"
        raise bad_request(f"Unable to convert to Table as requested: {why}")
    rows = [_row(columns, obj, include, now) for obj in objects]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": definitions,
        "rows": rows,
    }


def partial(obj: Obj) -> Obj:
    """The object as PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _row(columns: tuple[Column, ...], obj: Obj, include: str, now: float) -> Obj:
    row: Obj = {"cells": [column.cell(obj, now) for column in columns]}
    row["object"] = {"Object": obj, "None": None}[include] if include in ("Object", "None") else partial(obj)
    return row
