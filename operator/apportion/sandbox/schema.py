"""Structural schemas of custom resources: pruning, defaulting, validation; their CEL rules are in cel.py."""

import re
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from apportion.sandbox.cel import broken_rules, has_rules, unchecked
from apportion.sandbox.errors import Cause, bad_request, invalid_value, not_supported, required_value, shown
from apportion.sandbox.trees import Obj, clone, same

_ANY = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"


def prune(schema: Obj, value: Any) -> Any:
    """The value without the fields that the schema does not know. The root's own four always stay."""
    pruned = _prune(schema, value)
    return {**pruned, **{key: value[key] for key in ("apiVersion", "kind", "metadata") if key in value}}


def _prune(schema: Obj, value: Any) -> Any:
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [_prune(items, item) for item in value] if items else value
    if not isinstance(value, dict):
        return value
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    kept: Obj = {}
    for key, below in value.items():
        if key in properties:
            kept[key] = _prune(properties[key], below)
        elif isinstance(extra, dict):
            kept[key] = _prune(extra, below)
        elif extra is True or schema.get(_ANY):
            kept[key] = below
    return kept


def unknown_fields(schema: Obj, value: Any, path: str = "") -> list[str]:
    """The fields that pruning drops, as paths."""
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [found for i, item in enumerate(value) for found in unknown_fields(items, item, f"{path}[{i}]")]
    if not isinstance(value, dict):
        return []
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    found = []
    for key, below in value.items():
        at = f"{path}.{key}".lstrip(".")
        part = properties.get(key, extra)
        if isinstance(part, dict):
            found += [] if at == "metadata" else unknown_fields(part, below, at)
        elif extra is not True and not schema.get(_ANY) and (path or key not in _ROOT):
            found.append(at)
    return found


def refuse_unknown(schema: Obj | None, obj: Obj) -> None:
    """What fieldValidation=Strict asks for. Built-in kinds have no schema here, and nothing is unknown in them."""
    unknown = unknown_fields(schema, obj) if schema is not None else []
    if unknown:
        listed = ", ".join(f'unknown field "{field}"' for field in unknown)
        raise bad_request(f"strict decoding error: {listed}")


_ROOT = ("apiVersion", "kind", "metadata")


def check_custom(schema: Obj, obj: Obj, old: Obj | None) -> list[Cause]:
    """The faults of a custom resource: by its schema, and if there is none by its rules."""
    causes = validate(schema, {key: value for key, value in obj.items() if key != "metadata"})
    if not has_rules(schema):
        return causes
    if any(cause.reason in _BLOCKING for cause in causes):
        return [*causes, unchecked()]
    return causes + broken_rules(schema, _named(obj), None if old is None else _named(old))


_BLOCKING = frozenset(
    {
        "FieldValueTypeInvalid", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
        "FieldValueNotSupported",
    }
)  # fmt: skip
"""Faults after which the rules are not asked: they count on what the schema promises."""


def _named(obj: Obj) -> Obj:
    """An object as rules see it: of its metadata they know the name only."""
    return {**obj, "metadata": {"name": obj["metadata"]["name"]}}


def fill_schema_defaults(schema: Obj, value: Any) -> None:
    """Set absent fields that have a default, in place; a null where null is not allowed counts as absent."""
    if isinstance(value, list):
        for item in value:
            fill_schema_defaults(schema.get("items") or {}, item)
        return
    if not isinstance(value, dict):
        return
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, below in properties.items():
        if key in value and value[key] is None and not below.get("nullable"):
            del value[key]
        if "default" in below and key not in value:
            value[key] = clone(below["default"])
        if key in value:
            fill_schema_defaults(below, value[key])
    if isinstance(extra, dict):
        for key in value.keys() - properties.keys():
            fill_schema_defaults(extra, value[key])


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float) and not value.is_integer():
        return "number"
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "integer"}
    return kinds[type(value)]


def _has_type(wanted: str, value: Any) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[wanted])


def validate(schema: Obj, value: Any, path: str = "") -> list[Cause]:
    """The faults of a value, with the reasons and sentences of the real API server."""
    if value is None and schema.get("nullable"):
        return []
    if schema.get(_INT_OR_STRING):
        if not (_has_type("integer", value) or isinstance(value, str)):
            return [_wrong_type(path, "integer,string", value)]
    elif "type" in schema and not _has_type(schema["type"], value):
        causes = [_wrong_type(path, schema["type"], value)]
        if schema["type"] == "integer" and isinstance(value, float):
            why = f"Checked value must be of type integer (default format) in {path}"
            causes.append(invalid_value("<nil>", "", why))
        return causes + _enumerated(schema, value, path)
    causes = _composed(schema, value, path) + _enumerated(schema, value, path)
    if isinstance(value, str):
        return causes + _string(schema, value, path)
    if isinstance(value, dict):
        return causes + _object(schema, value, path)
    if isinstance(value, list):
        return causes + _array(schema, value, path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return causes + _number(schema, value, path)
    return causes


def _enumerated(schema: Obj, value: Any, path: str) -> list[Cause]:
    """The real server says this also of a value of another type."""
    if "enum" not in schema or any(same(value, word) for word in schema["enum"]):
        return []
    return [not_supported(path, value, [str(word) for word in schema["enum"]])]


def _wrong_type(path: str, wanted: str, value: Any) -> Cause:
    found = _type_name(value)
    why = f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
    return Cause(path, "FieldValueTypeInvalid", why)


def _composed(schema: Obj, value: Any, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for below in schema.get("allOf") or ():
        causes += validate(below, value, path)
    for word, wanted in (("anyOf", "at least one"), ("oneOf", "one and only one")):
        options = schema.get(word)
        if not options:
            continue
        fitting = sum(not validate(below, value, path) for below in options)
        if fitting == 0 or (word == "oneOf" and fitting > 1):
            why = f"{path} in body must validate {wanted} schema ({word})"
            causes.append(invalid_value(path, value, why))
    if "not" in schema and not validate(schema["not"], value, path):
        causes.append(invalid_value("<nil>", "", f"{shown(path)} must not validate the schema (not)"))
    return causes


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _is_format(name: str, value: str) -> bool:
    try:
        if name == "date-time":
            return "T" in value.upper() and datetime.fromisoformat(value).tzinfo is not None
        if name == "date":
            return bool(date.fromisoformat(value))
    except ValueError:
        return False
    return True


def _string(schema: Obj, value: str, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if len(value) < schema.get("minLength", 0):
        causes.append(invalid_value(path, value, f"{path} in body should be at least {schema['minLength']} chars long"))
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        why = f"Too long: may not be more than {schema['maxLength']} bytes"
        causes.append(Cause(path, "FieldValueTooLong", why))
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        causes.append(invalid_value(path, value, f"{path} in body should match '{schema['pattern']}'"))
    if "format" in schema and not _is_format(schema["format"], value):
        why = f"{path} in body must be of type {schema['format']}: {shown(value)}"
        causes.append(Cause(path, "FieldValueTypeInvalid", f"Invalid value: {shown(value)}: {why}"))
    return causes


_INTEGER_FORMATS = {"int32": 2**31, "int64": 2**63}


def _number(schema: Obj, value: float, path: str) -> list[Cause]:
    causes: list[Cause] = []
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value <= low if schema.get("exclusiveMinimum") else value < low):
        rule = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        causes.append(invalid_value(path, value, f"{path} in body should be {rule} {low}"))
    if high is not None and (value >= high if schema.get("exclusiveMaximum") else value > high):
        rule = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        causes.append(invalid_value(path, value, f"{path} in body should be {rule} {high}"))
    step = schema.get("multipleOf")
    if step and value % step:
        causes.append(invalid_value(path, value, f"{path} in body should be a multiple of {step}"))
    bound = _INTEGER_FORMATS.get(schema.get("format", ""))
    if bound and not -bound <= value < bound:
        causes.append(invalid_value(path, value, f"{path} in body must be of type {schema['format']}: {value}"))
    return causes


def _object(schema: Obj, value: Obj, path: str) -> list[Cause]:
    prefix = f"{path}." if path else ""
    causes = [required_value(f"{prefix}{name}") for name in schema.get("required") or () if name not in value]
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, below in value.items():
        if key in properties:
            causes += validate(properties[key], below, f"{prefix}{key}")
        elif isinstance(extra, dict):
            causes += validate(extra, below, f"{prefix}{key}")
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        limit = schema["maxProperties"]
        causes.append(Cause(path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {limit} items"))
    if len(value) < schema.get("minProperties", 0):
        why = f"{path} in body should have at least {schema['minProperties']} properties"
        causes.append(invalid_value(path, value, why))
    return causes


def _array(schema: Obj, value: list[Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        limit = schema["maxItems"]
        causes.append(Cause(path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {limit} items"))
    if len(value) < schema.get("minItems", 0):
        why = f"{path} in body should have at least {schema['minItems']} items"
        causes.append(invalid_value(path, value, why))
    for i, item in enumerate(value):
        causes += validate(schema.get("items") or {}, item, f"{path}[{i}]")
    return causes + _duplicates(schema, value, path)


def _duplicates(schema: Obj, value: list[Any], path: str) -> list[Cause]:
    kind = schema.get("x-kubernetes-list-type")
    if kind == "map":
        names = schema.get("x-kubernetes-list-map-keys") or []
        parts = [{name: item.get(name) for name in names} if isinstance(item, dict) else item for item in value]
    elif kind == "set" or schema.get("uniqueItems"):
        parts = value
    else:
        return []
    return [
        Cause(f"{path}[{i}]", "FieldValueDuplicate", f"Duplicate value: {shown(part)}")
        for i, part in enumerate(parts)
        if any(same(part, earlier) for earlier in parts[:i])
    ]
