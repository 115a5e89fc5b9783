"""What all wire models share: strict and frozen, camelCase outside, and rules across fields that are written once.

A `Rule` holds the CEL text that the API server runs beside the check that the parser runs, so the two cannot be
edited apart; a test compares their verdicts on examples.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

Path = tuple[str | int, ...]


class Rule(NamedTuple):
    """`broken` returns where the rule is broken, relative to its model, or None. A rule on a change has no `broken`:
    only the API server sees the old object."""

    cel: str
    message: str
    broken: Callable[[Any], Path | None] | None = None


def refusal(message: str, at: Path = ()) -> PydanticCustomError:
    """A validation error that says its own sentence and points below the field being validated."""
    return PydanticCustomError("refusal", "{sentence}", {"sentence": message, "at": at})


class Wire(BaseModel):
    """A part of a custom resource. Unknown fields are ignored, as the API server prunes them."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, raw: Any) -> Any:
        """A null says nothing, as in the API server: the default holds."""
        if isinstance(raw, Mapping):
            return {key: value for key, value in raw.items() if value is not None}
        return raw

    @model_validator(mode="after")
    def _rules_hold(self) -> "Wire":
        for rule in self.rules:
            at = rule.broken(self) if rule.broken else None
            if at is not None:
                raise refusal(rule.message, at)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        if cls.rules:
            schema["x-kubernetes-validations"] = [{"rule": rule.cel, "message": rule.message} for rule in cls.rules]
        return schema
