"""A snapshot to keep, send and plan from: what the operator reads, without what containers are told."""

from collections.abc import Iterable, Mapping
from typing import Any

from apportion.api.names import GROUPS, TRAINING_JOB

Raw = dict[str, Any]

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
# Passwords stand in command lines too, in probes and hooks; no decision reads any of them.
_TOLD = frozenset({"envFrom", "command", "args", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"})
_ORDER = {kind: place for place, kind in enumerate(GROUPS)}


def snapshot_document(objects: Iterable[Mapping[str, Any]]) -> Raw:
    """One v1 List of the kinds that the operator reads, in the order of kind, namespace and name."""
    kept = [_redacted(raw) for raw in objects if raw.get("kind") in _ORDER]
    return {"apiVersion": "v1", "kind": "List", "items": sorted(kept, key=_place)}


def _place(raw: Raw) -> tuple[int, str, str]:
    metadata = raw["metadata"] if isinstance(raw.get("metadata"), Mapping) else {}
    return _ORDER[raw["kind"]], str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _redacted(raw: Mapping[str, Any]) -> Raw:
    clean = dict(raw)
    if "metadata" in clean:
        clean["metadata"] = _metadata(clean["metadata"])
    if clean["kind"] == "Pod":
        clean["spec"] = _pod_spec(clean.get("spec"))
    elif clean["kind"] in ("Deployment", "ReplicaSet", TRAINING_JOB):
        clean["spec"] = _templated(clean.get("spec"))
    return clean


def _metadata(metadata: Any) -> Any:
    """The last applied configuration is a copy of the whole object, environment included."""
    if not isinstance(metadata, Mapping):
        return metadata
    clean = {key: value for key, value in metadata.items() if key != "managedFields"}
    if isinstance(clean.get("annotations"), Mapping):
        clean["annotations"] = {key: value for key, value in clean["annotations"].items() if key != _LAST_APPLIED}
    return clean


def _templated(spec: Any) -> Any:
    if not isinstance(spec, Mapping) or not isinstance(spec.get("template"), Mapping):
        return spec
    template = dict(spec["template"])
    if "metadata" in template:
        template["metadata"] = _metadata(template["metadata"])
    template["spec"] = _pod_spec(template.get("spec"))
    return {**spec, "template": template}


def _pod_spec(spec: Any) -> Any:
    if not isinstance(spec, Mapping):
        return spec
    return {key: _containers(value) if key in _CONTAINERS else value for key, value in spec.items()}


def _containers(containers: Any) -> Any:
    if not isinstance(containers, list):
        return containers
    return [_container(container) if isinstance(container, Mapping) else container for container in containers]


def _container(container: Mapping[str, Any]) -> Raw:
    clean = {key: value for key, value in container.items() if key not in _TOLD}
    if isinstance(clean.get("env"), list):
        named = (variable for variable in clean["env"] if isinstance(variable, Mapping))
        clean["env"] = [{"name": variable.get("name")} for variable in named]
    else:
        clean.pop("env", None)
    return clean
