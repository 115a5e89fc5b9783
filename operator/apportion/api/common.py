"""The parts that more than one kind uses: metadata, conditions, label selectors."""

from typing import Annotated, Literal

from pydantic import Field

from apportion.api.base import Path, Rule, Wire
from apportion.api.scalars import (
    Amount,
    Generation,
    Labels,
    LabelValue,
    Listed,
    ObjectName,
    QualifiedName,
    Sentence,
    Timestamp,
)


class Metadata(Wire):
    """What the operator reads of an object's metadata. Kubernetes writes it; files may lack most of it."""

    name: ObjectName
    namespace: Annotated[str, Field(max_length=253)] = ""
    uid: Annotated[str, Field(max_length=253)] = ""
    generation: Generation = 1
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Budget(Wire):
    """Money that may be spent."""

    per_hour: Amount
    """The most that what is granted may cost in an hour, in the currency of the flavors' pricePerHour; a number or a
    decimal string."""


class CapUse(Wire):
    """A limit, and how much of it is used."""

    limit: Annotated[float, Field(ge=0, le=1e15)]
    """The most that may be used: money per hour, or watts."""
    used: Annotated[float, Field(ge=0, le=1e15)]
    """What is granted counts so much."""
    price: Annotated[float, Field(ge=0, le=1e15)] = 0.0
    """Shadow price: what one more unit of the limit would be worth, in the objective's unit."""


class Condition(Wire):
    """One standard condition."""

    type: Annotated[str, Field(min_length=1, max_length=316, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """What is said, in CamelCase."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Generation | None = None
    """The metadata.generation that the condition was made from."""
    last_transition_time: Timestamp
    """When the status last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """Why, as one word in CamelCase."""
    message: Sentence = ""
    """Why, as a sentence."""


def _no_values(requirement: "LabelRequirement | NodeRequirement") -> Path | None:
    return ("values",) if requirement.operator in ("In", "NotIn") and not requirement.values else None


def _idle_values(requirement: "LabelRequirement | NodeRequirement") -> Path | None:
    return ("values",) if requirement.operator in ("Exists", "DoesNotExist") and requirement.values else None


def _not_one_integer(requirement: "NodeRequirement") -> Path | None:
    if requirement.operator not in ("Gt", "Lt"):
        return None
    digits = requirement.values[0].removeprefix("-") if len(requirement.values) == 1 else ""
    return None if digits.isascii() and digits.isdecimal() and len(digits) <= 18 else ("values",)


_IN_NEEDS_VALUES = Rule(
    "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
    "In and NotIn need at least one value",
    _no_values,
)
_EXISTS_NEEDS_NONE = Rule(
    "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",
    "Exists and DoesNotExist take no values",
    _idle_values,
)
_GT_NEEDS_ONE = Rule(
    "!(self.operator in ['Gt', 'Lt']) || "
    "(has(self.values) && size(self.values) == 1 && self.values[0].matches('^-?[0-9]{1,18}$'))",
    "Gt and Lt need exactly one value, an integer",
    _not_one_integer,
)


class NodeRequirement(Wire):
    """One node-affinity expression over node labels."""

    key: QualifiedName
    """The node label, for example nvidia.com/gpu.memory."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How to compare. Gt and Lt compare integers; a node without the label satisfies NotIn and DoesNotExist."""
    values: Listed[LabelValue] = ()
    """Compared with: at least one for In and NotIn, none for Exists and DoesNotExist, an integer for Gt and Lt."""

    rules = (_IN_NEEDS_VALUES, _EXISTS_NEEDS_NONE, _GT_NEEDS_ONE)


class LabelRequirement(Wire):
    """One expression of a label selector."""

    key: QualifiedName
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared."""
    values: Listed[LabelValue] = ()
    """Compared with: at least one for In and NotIn, none for Exists and DoesNotExist."""

    rules = (_IN_NEEDS_VALUES, _EXISTS_NEEDS_NONE)


class LabelSelector(Wire):
    """A label selector: all of it must match; an empty one matches everything."""

    match_labels: Labels = Field(default_factory=dict)
    """Labels that must be there with exactly these values."""
    match_expressions: Listed[LabelRequirement] = ()
    """Expressions that must all hold."""
