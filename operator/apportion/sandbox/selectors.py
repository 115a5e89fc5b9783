"""Label and field selectors, parsed once into predicates."""

import re
from collections.abc import Callable
from typing import Any

from apportion.sandbox.errors import StatusError, bad_request
from apportion.sandbox.trees import Obj, dig

Labels = dict[str, str]
Matcher = Callable[[Obj], bool]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^)]*)\)$")
_ORDERED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9_./-]*)\s*([<>])\s*(-?[0-9]+)$")
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9_./-]*[A-Za-z0-9])?$")
_SPLIT = re.compile(r",(?![^(]*\))")


def _in(key: str, values: frozenset[str]) -> Callable[[Labels], bool]:
    return lambda labels: labels.get(key) in values


def _not_in(key: str, values: frozenset[str]) -> Callable[[Labels], bool]:
    return lambda labels: labels.get(key) not in values


def _compare(key: str, operator: str, bound: str) -> Callable[[Labels], bool]:
    limit = int(bound)

    def holds(labels: Labels) -> bool:
        try:
            value = int(labels[key])
        except (KeyError, ValueError):
            return False
        return value > limit if operator == "Gt" else value < limit

    return holds


def requirement(key: str, operator: str, values: list[str]) -> Callable[[Labels], bool]:
    """One matchExpressions entry as a predicate. Raises ValueError for an operator that does not exist."""
    if operator == "In":
        return _in(key, frozenset(values))
    if operator == "NotIn":
        return _not_in(key, frozenset(values))
    if operator == "Exists":
        return lambda labels: key in labels
    if operator == "DoesNotExist":
        return lambda labels: key not in labels
    if operator in ("Gt", "Lt") and len(values) == 1:
        return _compare(key, operator, values[0])
    raise ValueError(f"{operator!r} is not a valid selector operator")


def _parse_one(text: str) -> Callable[[Labels], bool]:
    found = _SET.match(text)
    if found:
        key, operator, listed = found.groups()
        values = [value.strip() for value in listed.split(",")]
        return requirement(key, "In" if operator == "in" else "NotIn", values)
    ordered = _ORDERED.match(text)
    if ordered:
        key, sign, bound = ordered.groups()
        return requirement(key, "Gt" if sign == ">" else "Lt", [bound])
    for sign in ("!=", "==", "="):
        if sign in text:
            key, value = (side.strip() for side in text.split(sign, 1))
            break
    else:
        key, sign, value = text.lstrip("!").strip(), "", ""
    if not _NAME.match(key) or (value and not _NAME.match(value)):
        raise ValueError(f"unable to parse requirement: found {text!r}")
    if not sign:
        return requirement(key, "DoesNotExist" if text.startswith("!") else "Exists", [])
    return requirement(key, "NotIn" if sign == "!=" else "In", [value])


def by_labels(text: str) -> Matcher | None:
    """The predicate of a labelSelector parameter; None for one that admits all. Raises 400."""
    if not text.strip():
        return None
    parts = [part.strip() for part in _SPLIT.split(text)]
    try:
        tests = [_parse_one(part) for part in parts]
    except ValueError as error:
        raise bad_request(str(error)) from None

    def matches(obj: Obj) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def selector_matches(selector: Obj | None, labels: Labels) -> bool:
    """Whether a LabelSelector object admits `labels`. An absent one admits nothing, an empty one everything."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(
        requirement(term["key"], term["operator"], term.get("values") or [])(labels)
        for term in selector.get("matchExpressions") or ()
    )


_FIELDS: dict[str, frozenset[str]] = {
    "pods": frozenset(
        {
            "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.hostNetwork", "spec.serviceAccountName",
            "status.phase", "status.podIP", "status.nominatedNodeName",
        }
    ),
    "nodes": frozenset({"spec.unschedulable"}),
    "namespaces": frozenset({"status.phase"}),
    "replicasets": frozenset({"status.replicas"}),
    "secrets": frozenset({"type"}),
    "jobs": frozenset({"status.successful"}),
    "events": frozenset(
        {
            "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
            "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
            "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
            "reason", "reportingComponent", "source", "type",
        }
    ),
}  # fmt: skip
_DEFAULTS = {"spec.unschedulable": "false", "spec.hostNetwork": "false", "status.phase": ""}


def _field(obj: Obj, path: str) -> str:
    value: Any = dig(obj, *path.split("."))
    if path == "source":
        value = dig(obj, "source", "component")
    if isinstance(value, bool):
        return "true" if value else "false"
    return _DEFAULTS.get(path, "") if value is None else str(value)


def by_fields(text: str, plural: str) -> Matcher | None:
    """The predicate of a fieldSelector parameter; None for one that admits all. Raises 400 for unknown fields."""
    tests: list[tuple[str, str, bool]] = []
    for part in filter(None, text.split(",")):
        sign = "!=" if "!=" in part else "=="
        path, found, value = part.partition("!=" if sign == "!=" else "=")
        if not found:
            raise bad_request(f"invalid selector: {text!r}; can't understand {part!r}")
        path, value = path.strip(), value.removeprefix("=").strip()
        if path not in ("metadata.name", "metadata.namespace") and path not in _FIELDS.get(plural, ()):
            raise StatusError(400, "BadRequest", f"field label not supported: {path}")
        tests.append((path.replace("regarding.", "involvedObject."), value, sign == "=="))
    if not tests:
        return None
    return lambda obj: all((_field(obj, path) == value) is wanted for path, value, wanted in tests)


def both(first: Matcher | None, second: Matcher | None) -> Matcher | None:
    """The conjunction of two predicates that may be absent."""
    if first is None or second is None:
        return first or second
    return lambda obj: first(obj) and second(obj)
