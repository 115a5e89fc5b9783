"""What the API server refuses of any object: metadata of the wrong shape, and names, labels, finalizers and owners."""

import re
from typing import Any

from apportion.sandbox.errors import Cause, Undecodable, invalid_value, required_value
from apportion.sandbox.kinds import Resource
from apportion.sandbox.trees import Obj

LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_PATH_SEGMENT = re.compile(r"^(?!\.{1,2}$)[^/%]+$")
_QUALIFIED = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_LABEL_NAMES = frozenset({("", "namespaces"), ("", "services")})

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_RULE = (
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
        return [] if LABEL.match(name) else [invalid_value(field, name, LABEL_RULE)]
    if len(name) > 253:
        return [invalid_value(field, name, "must be no more than 253 characters")]
    return [] if _SUBDOMAIN.match(name) else [invalid_value(field, name, _SUBDOMAIN_RULE)]


def qualified_name(key: str, field: str) -> list[Cause]:
    """The faults of a label's, annotation's or taint's key."""
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.match(prefix):
        return [invalid_value(field, key, f"prefix part {_SUBDOMAIN_RULE}")]
    if len(name) > 63:
        return [invalid_value(field, key, "name part must be no more than 63 characters")]
    return [] if _QUALIFIED.match(name) else [invalid_value(field, key, _QUALIFIED_RULE)]


def check_labels(labels: Any, field: str) -> list[Cause]:
    """The faults of labels, or of the pairs of a selector."""
    causes: list[Cause] = []
    for key, value in (labels or {}).items():
        causes += qualified_name(key, field)
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
    causes = qualified_name(name, "metadata.finalizers")
    if "/" not in name and name not in _STANDARD_FINALIZERS:
        why = "name is neither a standard finalizer name nor is it fully qualified"
        causes.append(invalid_value("metadata.finalizers[0]", name, why))
    return causes


def check_metadata(resource: Resource, obj: Obj) -> list[Cause]:
    """Names, labels, annotations and owners."""
    meta = obj["metadata"]
    causes = _name(resource, meta["name"], "metadata.name")
    causes += check_labels(meta.get("labels"), "metadata.labels")
    for finalizer in meta.get("finalizers") or ():
        causes += _finalizer(finalizer)
    for key in meta.get("annotations") or {}:
        causes += qualified_name(key.lower(), "metadata.annotations")
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
