"""The field types: every string and list has a length, every number its bounds.

Bounds are wide, but they are there: the API server estimates the cost of CEL rules from them, and a solver never
sees 10**400 replicas.
"""

import re
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from apportion.api.base import refusal

MOST_REPLICAS = 100_000
MOST_ACCELERATORS = 10_000_000
MOST_OF_A_KIND = 64
LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_VALUE = rf"^({LABEL_NAME})?$"
SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
QUALIFIED_NAME = rf"^({SUBDOMAIN}/)?{LABEL_NAME}$"
DECIMAL = r"^[0-9]{1,15}(\.[0-9]{1,15})?$"
POSITIVE_DECIMAL = r"^([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)$"
LARGEST = 1e15

T = TypeVar("T")


def _seconds(value: Any) -> float:
    """Seconds of the epoch from an RFC 3339 time."""
    if not isinstance(value, str):
        raise refusal("expected a time like 2026-01-31T12:00:00Z")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise refusal("expected a time like 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise refusal("expected a time with its zone, like 2026-01-31T12:00:00Z")
    return moment.timestamp()


def _decimal(pattern: str, expected: str) -> Any:
    """A validator that takes a JSON number or a plain decimal string. A bool is neither, nor are NaN and infinity."""
    well_formed = re.compile(pattern.removeprefix("^").removesuffix("$"), re.ASCII)

    def number(value: Any) -> float:
        if isinstance(value, str):
            if len(value) > 32 or not well_formed.fullmatch(value):
                raise refusal(expected)
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            raise refusal(expected)
        if pattern == POSITIVE_DECIMAL and value == 0:
            raise refusal(expected)
        return float(value)

    return number


def _decimal_schema(pattern: str) -> WithJsonSchema:
    """A number or a string. A structural schema has no union but int-or-string, which refuses 2.50; so the type is
    left out, and each kind of value that is not wanted is bounded away instead."""
    schema: dict[str, Any] = {
        "x-kubernetes-preserve-unknown-fields": True,
        "pattern": pattern,
        "maxLength": 32,
        "minimum": 0,
        "maximum": LARGEST,
        "minItems": 1,
        "maxItems": 0,
        "minProperties": 1,
        "maxProperties": 0,
        "not": {"enum": [True, False]},
    }
    if pattern == POSITIVE_DECIMAL:
        schema["exclusiveMinimum"] = True
    return WithJsonSchema(schema)


Amount = Annotated[
    float,
    BeforeValidator(_decimal(DECIMAL, "expected a number of at least 0, or one as a decimal string")),
    _decimal_schema(DECIMAL),
]
PositiveAmount = Annotated[
    float,
    BeforeValidator(_decimal(POSITIVE_DECIMAL, "expected a number above 0, or one as a decimal string")),
    _decimal_schema(POSITIVE_DECIMAL),
]
Timestamp = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64}),
]

Replicas = Annotated[int, Field(ge=1, le=MOST_REPLICAS)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Generation = Annotated[int, Field(ge=0, le=2**53)]
Accelerators = Annotated[int, Field(ge=0, le=MOST_ACCELERATORS)]
Watts = Annotated[int, Field(ge=0, le=1_000_000)]
CapWatts = Annotated[int, Field(ge=0, le=10**12)]

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=rf"^{SUBDOMAIN}$")]
FlavorName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
QualifiedName = Annotated[str, Field(min_length=1, max_length=317, pattern=QUALIFIED_NAME)]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]
Sentence = Annotated[str, Field(max_length=32_768)]
PromQl = Annotated[str, Field(min_length=1, max_length=2048)]
Rate = Annotated[float, Field(ge=0, le=LARGEST)]
# CEL sees no field without a type: where a rule asks for one, it is a plain number, and no decimal string.
PositiveNumber = Annotated[float, Field(gt=0, le=LARGEST)]


def _unique(field: str | None) -> AfterValidator:
    """No two items with the same name (the same value, for field None): a set or a map, in the API server's words."""

    def check(items: tuple[Any, ...]) -> tuple[Any, ...]:
        seen: set[Any] = set()
        for index, item in enumerate(items):
            name = getattr(item, field) if field else item
            if name in seen:
                raise refusal("is there twice; expected each once", (index, field) if field else (index,))
            seen.add(name)
        return items

    return AfterValidator(check)


def _list_type(kind: str, *keys: str) -> dict[str, Any]:
    return {"x-kubernetes-list-type": kind} | ({"x-kubernetes-list-map-keys": list(keys)} if keys else {})


# Lists arrive as Python lists and are kept as tuples; strict mode alone would refuse the change.
Listed = Annotated[
    tuple[T, ...], Field(strict=False, max_length=MOST_OF_A_KIND, json_schema_extra=_list_type("atomic"))
]
# What is reported by flavor: there may be more discovered flavors than anybody would list by hand.
Reported = Annotated[tuple[T, ...], Field(strict=False, max_length=1024, json_schema_extra=_list_type("atomic"))]
NamedList = Annotated[
    tuple[T, ...],
    Field(strict=False, max_length=MOST_OF_A_KIND, json_schema_extra=_list_type("map", "name")),
    _unique("name"),
]
# Where each item costs something in every round.
FewNamed = Annotated[
    tuple[T, ...],
    Field(strict=False, max_length=8, json_schema_extra=_list_type("map", "name")),
    _unique("name"),
]
SetOf = Annotated[
    tuple[T, ...],
    Field(strict=False, max_length=MOST_OF_A_KIND, json_schema_extra=_list_type("set")),
    _unique(None),
]
ByType = Annotated[
    tuple[T, ...],
    Field(strict=False, max_length=MOST_OF_A_KIND, json_schema_extra=_list_type("map", "type")),
    _unique("type"),
]
# A structural schema cannot bound the keys of a map; the parser does.
Labels = Annotated[
    dict[QualifiedName, LabelValue],
    Field(max_length=MOST_OF_A_KIND),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
            "maxProperties": MOST_OF_A_KIND,
        }
    ),
]
