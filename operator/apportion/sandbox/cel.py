"""The CEL rules of custom resources (x-kubernetes-validations), evaluated by cel-python.

Of what Kubernetes adds to CEL only `isSorted` is here, and types are not checked before a rule is asked. A definition
whose rule does not parse is refused; a rule that cannot be evaluated refuses the object: nothing passes unjudged.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import celpy
from celpy import celtypes

from apportion.sandbox.errors import Cause, invalid_value
from apportion.sandbox.trees import Obj

_RULES = "x-kubernetes-validations"
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)


_ROOT = "<nil>"
"""The field that the real server names when a fault is of the whole object."""


def unchecked() -> Cause:
    """What the real server adds to the faults of an object that it did not ask its rules about."""
    return invalid_value(_ROOT, None, _UNCHECKED)


def has_rules(schema: Obj) -> bool:
    """Whether a schema has any rule."""
    return _RULES in schema or any(has_rules(part) for part in _parts(schema))


def broken_rules(schema: Obj, value: Any, old: Any, path: str = "") -> list[Cause]:
    """The rules that a valid value breaks. What has not changed since `old` is not asked again, as on a real server."""
    if old is not None and old == value:
        return []
    causes = [cause for rule in schema.get(_RULES, ()) for cause in _ask(rule, schema, (value, old), path)]
    if isinstance(value, dict):
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        before = old if isinstance(old, dict) else {}
        for key, below in value.items():
            part = properties.get(key, extra)
            if isinstance(part, dict):
                causes += broken_rules(part, below, before.get(key), f"{path}.{key}".lstrip("."))
    if isinstance(value, list) and schema.get("items"):
        for index, below in enumerate(value):
            causes += broken_rules(schema["items"], below, None, f"{path}[{index}]")
    return causes


def faulty_rules(schema: Obj, path: str) -> list[Cause]:
    """The rules of a definition that cannot be evaluated here."""
    causes = []
    for index, rule in enumerate(schema.get(_RULES, ())):
        try:
            _program(rule["rule"])
        except celpy.CELParseError as error:
            why = f"rule compile error: compilation failed: {error.args[0]}"
            causes.append(invalid_value(f"{path}.{_RULES}[{index}].rule", rule["rule"], why))
    for name, part in (schema.get("properties") or {}).items():
        causes += faulty_rules(part, f"{path}.properties[{name}]")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            causes += faulty_rules(schema[word], f"{path}.{word}")
    return causes


def _parts(schema: Obj) -> list[Obj]:
    below = [schema[word] for word in ("items", "additionalProperties") if isinstance(schema.get(word), dict)]
    return [*(schema.get("properties") or {}).values(), *below]


def _ask(rule: Obj, schema: Obj, change: tuple[Any, Any], path: str) -> list[Cause]:
    text, (value, old), path = rule["rule"], change, path or _ROOT
    if "oldSelf" in text and old is None:
        return []
    try:
        known = {"self": _as_cel(schema, value)}
        if "oldSelf" in text:
            known["oldSelf"] = _as_cel(schema, old)
        verdict: Any = _program(text)(known)
    except (celpy.CELEvalError, ValueError) as error:
        # A ValueError tells of a number beyond 64 bits.
        why = f"rule evaluation error: {error.args[0]}"
        return [Cause(path, "FieldValueInvalid", f"Invalid value: {why}")]
    if verdict:
        return []
    return [Cause(path, "FieldValueInvalid", f"Invalid value: {rule.get('message') or f'failed rule: {text}'}")]


@lru_cache(maxsize=512)
def _program(text: str) -> Callable[[Any], Any]:
    environment = celpy.Environment()
    program = environment.program(environment.compile(text), functions={"isSorted": _is_sorted})
    evaluate: Callable[[Any], Any] = program.evaluate
    return evaluate


def _is_sorted(items: Any) -> Any:
    return celtypes.BoolType(all(before <= after for before, after in pairwise(items)))


def _as_cel(schema: Obj, value: Any) -> Any:
    """A value as its schema types it: 1 is a double where a number is due, and unknown fields are not seen."""
    if isinstance(value, dict):
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        found = {}
        for key, below in value.items():
            part = properties.get(key, extra)
            if isinstance(part, dict):
                found[celtypes.StringType(key)] = _as_cel(part, below)
        if not properties and not isinstance(extra, dict):
            return celpy.json_to_cel(value)
        return celtypes.MapType(found)
    if isinstance(value, list):
        return celtypes.ListType([_as_cel(schema.get("items") or {}, item) for item in value])
    if schema.get("type") == "number":
        return celtypes.DoubleType(value)
    return celpy.json_to_cel(value)
