"""Raw objects into models. Total: whatever the object holds, the result is a model or one `InvalidObject`."""

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from apportion.api.allocationpolicy import AllocationPolicy
from apportion.api.base import Path, Wire
from apportion.api.names import ALLOCATION_POLICY, API_VERSION, QUEUE, TRAINING_JOB
from apportion.api.queue import Queue
from apportion.api.trainingjob import TrainingJob

MODELS: Mapping[str, type[Wire]] = {TRAINING_JOB: TrainingJob, QUEUE: Queue, ALLOCATION_POLICY: AllocationPolicy}

W = TypeVar("W", bound=Wire)


class InvalidObject(Exception):
    """An object that cannot be read. `field` is a path like spec.replicaSteps[2], empty for the object as a whole;
    `message` says what was expected there."""

    def __init__(self, kind: str, namespace: str, name: str, field: str, message: str) -> None:
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.field = field
        self.message = message
        super().__init__(kind, namespace, name, field, message)

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return ": ".join(part for part in (f"{self.kind} {name or '(no name)'}", self.field, self.message) if part)


def parse_training_job(raw: Mapping[str, Any]) -> TrainingJob:
    """Raises InvalidObject."""
    return _parse(TRAINING_JOB, TrainingJob, raw)


def parse_queue(raw: Mapping[str, Any]) -> Queue:
    """Raises InvalidObject."""
    return _parse(QUEUE, Queue, raw)


def parse_allocation_policy(raw: Mapping[str, Any]) -> AllocationPolicy:
    """Raises InvalidObject."""
    return _parse(ALLOCATION_POLICY, AllocationPolicy, raw)


def unknown_fields(raw: Mapping[str, Any]) -> list[str]:
    """Paths, in order, of the fields outside metadata and status that the schema does not have: the API server prunes
    them silently. Inside a pod template everything is allowed. An object of another kind has none."""
    model = MODELS.get(str(raw.get("kind")))
    if model is None:
        return []
    body = {key: value for key, value in raw.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    return [field_path(path) for path in _unknown(model, body, ())]


def field_path(path: Path) -> str:
    """("spec", "replicaSteps", 2) as spec.replicaSteps[2]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{printable(part)}" if text else printable(part)
    return text


def printable(text: str, most: int = 60) -> str:
    """Text that no terminal, log or API server chokes on: escaped where it must be, and not long."""
    cut = text if len(text) <= most else text[: most - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def shown(value: object) -> str:
    """What was found instead, as somebody would have written it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value) if abs(value) < 2**63 else "a number of more than 64 bits"
        case float():
            return repr(value)
        case str():
            return f'"{printable(value, 40)}"'
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case _:
            return f"a {type(value).__name__}"


def _parse(kind: str, model: type[W], raw: object) -> W:
    if not isinstance(raw, Mapping):
        raise InvalidObject(kind, "", "", "", f"expected a mapping, not {shown(raw)}")
    metadata = raw.get("metadata")
    named = metadata if isinstance(metadata, Mapping) else {}
    namespace, name = (_text(named.get(key)) for key in ("namespace", "name"))
    for field, wanted in (("apiVersion", API_VERSION), ("kind", kind)):
        found = raw.get(field)
        if found is not None and found != wanted:
            raise InvalidObject(kind, namespace, name, field, f"expected {wanted}, not {shown(found)}")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidObject(kind, namespace, name, field_path(_path(first)), _sentence(first, raw)) from None


def _text(value: object) -> str:
    return printable(value, 253) if isinstance(value, str) else ""


def _path(error: ErrorDetails) -> Path:
    path = (*error["loc"], *error.get("ctx", {}).get("at", ()))
    return tuple(part for part in path if part != "[key]")


_EXPECTED = {
    "missing": "is required",
    "bool_type": "expected true or false",
    "int_type": "expected an integer",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "string_type": "expected a string",
    "string_unicode": "expected text that can be written as UTF-8",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than_equal": "expected at most {le}",
    "literal_error": "expected {expected}",
    "string_too_short": "must not be empty",
    "string_too_long": "expected at most {max_length} characters",
    "too_short": "expected at least {min_length} item",
    "too_long": "expected at most {max_length} items",
}
_SAYS_IT_ALL = ("missing", "string_too_short", "too_short", "string_too_long", "too_long", "string_unicode")


def _sentence(error: ErrorDetails, raw: object) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "refusal":
        found = _found(raw, _path(error))
        aside = "" if found is None or isinstance(found, Mapping | list) else f"; found {shown(found)}"
        return f"{context['sentence']}{aside}"
    if kind == "string_pattern_mismatch":
        allowed = "letters, digits, '-', '_' and '.'" if "A-Z" in context["pattern"] else "a-z, 0-9, '-' and '.'"
        return f"expected {allowed}, as in a Kubernetes name, not {shown(error['input'])}"
    expected = _EXPECTED.get(kind, error["msg"]).format(**context)
    return expected if kind in _SAYS_IT_ALL else f"{expected}, not {shown(error['input'])}"


def _found(raw: object, path: Path) -> object:
    """What the object holds at the path; None if there is no such place."""
    for part in path:
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list | tuple) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
        else:
            return None
    return raw


def _unknown(model: type[Wire], raw: Mapping[Any, Any], path: Path) -> Iterator[Path]:
    fields = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    for key, value in raw.items():
        below = (*path, str(key))
        if key not in fields:
            yield below
            continue
        part = _part(fields[key])
        if part is None:
            continue
        for where, item in _items(value, below):
            yield from _unknown(part, item, where)


def _items(value: object, path: Path) -> Iterator[tuple[Path, Mapping[Any, Any]]]:
    if isinstance(value, Mapping):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, Mapping):
                yield (*path, index), item


def _part(annotation: Any) -> type[Wire] | None:
    """The model inside Annotated[...], X | None or tuple[X, ...]; None for scalars and free mappings."""
    if isinstance(annotation, type) and issubclass(annotation, Wire):
        return annotation
    if get_origin(annotation) in (Union, UnionType, tuple, Annotated):
        return next((part for part in map(_part, get_args(annotation)) if part), None)
    return None
