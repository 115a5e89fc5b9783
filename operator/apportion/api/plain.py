"""Frozen values of the model as JSON and back, without a loss, by their type annotations.

A dataclass is an object of its fields; a choice between several dataclasses has one key, the name of the class; a
mapping whose keys are not text is a list of pairs. Numbers that JSON has not are the texts inf, -inf and nan. Reading
is total: whatever the file holds, the result is a value or one `NotPlain` that names the place.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from apportion.api.parse import shown

_NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class NotPlain(Exception):
    """`place` is a path like snapshot.jobs[3].steps[0]; `message` says what was expected there."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(place, message)
        self.place = place
        self.message = message

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


@dataclass(frozen=True)
class Form:
    """How one type is written and read; `write` None: as it is."""

    write: Callable[[Any], Any] | None
    read: Callable[[Any, str], Any]


def plain(annotation: Any, value: Any) -> Any:
    """The value as JSON values."""
    write = form_of(annotation).write
    return value if write is None else write(value)


def typed(annotation: Any, raw: Any, place: str = "") -> Any:
    """The value that was written. Raises NotPlain."""
    return form_of(annotation).read(raw, place)


@cache
def form_of(annotation: Any) -> Form:
    """Raises TypeError for a type that no value of the model has."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _choice(arguments)
    if origin is tuple:
        return _many(arguments[0]) if arguments[1:] == (...,) else _row(arguments, tuple)
    if origin is frozenset:
        many = _many(arguments[0])
        return Form(lambda value: _sorted(many, value), lambda raw, at: frozenset(many.read(raw, at)))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*arguments)
    if isinstance(annotation, type):
        return _single(annotation)
    raise TypeError(f"{annotation} has no form in a file")


def _single(kind: type) -> Form:
    if issubclass(kind, Enum):
        return Form(lambda value: value.value, lambda raw, at: _member(kind, raw, at))
    if dataclasses.is_dataclass(kind):
        return _object(kind)
    if issubclass(kind, tuple):
        hints = get_type_hints(kind)
        return _row(tuple(hints.values()), lambda values: kind(*values))
    if kind is float:
        return Form(_float, _read_float)
    if kind in (bool, int, str):
        return Form(None, lambda raw, at: _exactly(kind, raw, at))
    raise TypeError(f"{kind} has no form in a file")


def _exactly(kind: type, raw: Any, place: str) -> Any:
    if type(raw) is not kind:
        wanted = {bool: "true or false", int: "an integer", str: "a string"}[kind]
        raise NotPlain(place, f"expected {wanted}, not {shown(raw)}")
    return raw


def _float(value: float) -> float | str:
    return value if math.isfinite(value) else repr(float(value))


def _read_float(raw: Any, place: str) -> float:
    if isinstance(raw, str) and raw in _NUMBERS:
        return _NUMBERS[raw]
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise NotPlain(place, f"expected a number, not {shown(raw)}")
    return raw


def _member(kind: type[Enum], raw: Any, place: str) -> Any:
    try:
        return kind(raw)
    except ValueError:
        raise NotPlain(place, f"expected one of {', '.join(str(m.value) for m in kind)}, not {shown(raw)}") from None


def _listed(raw: Any, place: str) -> list[Any]:
    if not isinstance(raw, list):
        raise NotPlain(place, f"expected a list, not {shown(raw)}")
    return raw


def _many(annotation: Any) -> Form:
    form = form_of(annotation)
    write = form.write
    return Form(
        list if write is None else lambda value: [write(item) for item in value],
        lambda raw, at: tuple(form.read(item, f"{at}[{index}]") for index, item in enumerate(_listed(raw, at))),
    )


def _sorted(many: Form, value: frozenset[Any]) -> list[Any]:
    """The same set always gives the same file."""
    assert many.write is not None
    found: list[Any] = many.write(value)
    return sorted(found)


def _row(annotations: tuple[Any, ...], made: Callable[[tuple[Any, ...]], Any]) -> Form:
    """A tuple of fixed length."""
    forms = [form_of(annotation) for annotation in annotations]

    def write(value: Any) -> list[Any]:
        return [item if f.write is None else f.write(item) for f, item in zip(forms, value, strict=True)]

    def read(raw: Any, place: str) -> Any:
        if len(_listed(raw, place)) != len(forms):
            raise NotPlain(place, f"expected {len(forms)} values, not {len(raw)}")
        return made(tuple(f.read(v, f"{place}[{at}]") for at, (f, v) in enumerate(zip(forms, raw, strict=True))))

    return Form(write, read)


def _mapping(key: Any, inner: Any) -> Form:
    if key is not str:
        pairs = _many(tuple[key, inner])
        assert pairs.write is not None
        write_pairs = pairs.write
        return Form(lambda value: write_pairs(value.items()), lambda raw, at: dict(pairs.read(raw, at)))
    form = form_of(inner)
    write = form.write

    def read(raw: Any, place: str) -> Any:
        if not isinstance(raw, dict):
            raise NotPlain(place, f"expected a mapping, not {shown(raw)}")
        return {name: form.read(value, f"{place}.{name}") for name, value in raw.items()}

    return Form(dict if write is None else lambda value: {name: write(item) for name, item in value.items()}, read)


def _choice(kinds: tuple[Any, ...]) -> Form:
    some = [kind for kind in kinds if kind is not NoneType]
    form = form_of(some[0]) if len(some) == 1 else _named(some)
    if len(some) == len(kinds):
        return form
    write = form.write
    return Form(
        None if write is None else lambda value: None if value is None else write(value),
        lambda raw, at: None if raw is None else form.read(raw, at),
    )


def _named(kinds: list[Any]) -> Form:
    """One of several dataclasses, by the name of its class."""
    if not all(dataclasses.is_dataclass(kind) for kind in kinds):
        raise TypeError(f"{kinds} have no form in a file: which one it is could not be told")
    forms = {kind.__name__: form_of(kind) for kind in kinds}

    def write(value: Any) -> dict[str, Any]:
        name = type(value).__name__
        inner = forms[name].write
        assert inner is not None
        return {name: inner(value)}

    def read(raw: Any, place: str) -> Any:
        if not isinstance(raw, dict) or len(raw) != 1 or (name := next(iter(raw))) not in forms:
            raise NotPlain(place, f"expected one of {', '.join(forms)}")
        return forms[name].read(raw[name], f"{place}.{name}")

    return Form(write, read)


def _object(kind: type) -> Form:
    """Fields that a file lacks have their default, if they have one: it was written before they were there."""
    hints = get_type_hints(kind)
    forms = {field.name: form_of(hints[field.name]) for field in dataclasses.fields(kind)}
    writers = [(name, form.write) for name, form in forms.items()]
    needed = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def write(value: Any) -> dict[str, Any]:
        return {
            name: getattr(value, name) if writer is None else writer(getattr(value, name)) for name, writer in writers
        }

    def read(raw: Any, place: str) -> Any:
        if not isinstance(raw, dict):
            raise NotPlain(place, f"expected a mapping, not {shown(raw)}")
        for name in raw:
            if name not in forms:
                raise NotPlain(f"{place}.{name}".lstrip("."), "is not known: a newer version may have written it")
        for name in needed:
            if name not in raw:
                raise NotPlain(f"{place}.{name}".lstrip("."), "is required")
        return kind(**{name: forms[name].read(value, f"{place}.{name}".lstrip(".")) for name, value in raw.items()})

    return Form(write, read)
