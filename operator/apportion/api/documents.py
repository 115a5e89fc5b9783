"""Text into documents: YAML and JSON as Kubernetes reads them, with every failure in words.

PyYAML follows YAML 1.1 where Kubernetes does not: times become datetimes, 1:30 becomes 90, 1e3 stays text, a key that
stands twice wins silently, and a plain "=" cannot be read at all.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from apportion.api.parse import printable

MOST_VALUES = 50_000_000
"""A file of a few lines can stand for more values than fit into memory, by aliases of aliases."""

MOST_LEVELS = 200
"""The C parser recurses on its own stack: a file of brackets alone would end the process, not raise."""

Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnreadableText(Exception):
    """`document` counts from 1; `message` says where and what."""

    def __init__(self, document: int, message: str) -> None:
        super().__init__(document, message)
        self.document = document
        self.message = message


class _Loader(Base):  # type: ignore[misc]
    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to say it
        first: [(tag, form) for tag, form in resolvers if tag.rsplit(":", 1)[1] in ("bool", "null", "merge")]
        for first, resolvers in Base.yaml_implicit_resolvers.items()
    }

    levels = 0

    def descend_resolver(self, node: Any, index: Any) -> None:
        self.levels += 1
        if self.levels > MOST_LEVELS:
            raise RecursionError
        super().descend_resolver(node, index)

    def ascend_resolver(self) -> None:
        self.levels -= 1
        super().ascend_resolver()

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, _ in node.value:
                said = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
                if said in seen and said is not None and said[0] != "tag:yaml.org,2002:merge":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {printable(key.value)} stands twice", key.start_mark
                    )
                seen.add(said)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return {key if isinstance(key, str) else json.dumps(key): value for key, value in mapping.items()}


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^(?:[-+]?0b[01]+|[-+]?0o?[0-7]+|[-+]?(?:0|[1-9][0-9]*)|[-+]?0x[0-9a-fA-F]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def documents(text: str) -> Iterator[tuple[int, Any]]:
    """(number of the document, value); empty documents are passed over, but counted. Raises UnreadableText."""
    if text.lstrip()[:1] in ("{", "["):
        found = _json_documents(text)
        if found is not None:
            yield from enumerate(found, start=1)
            return
    yield from _yaml_documents(text)


def _yaml_documents(text: str) -> Iterator[tuple[int, Any]]:
    number = 1
    loader = _Loader(text)
    try:
        while loader.check_data():
            value = loader.get_data()
            if "&" in text:
                _count(value, {}, number)
            if value is not None:
                yield number, value
            number += 1
    except yaml.MarkedYAMLError as error:
        raise UnreadableText(number, _yaml_message(error)) from None
    except yaml.reader.ReaderError as error:
        raise UnreadableText(number, f"expected text, found the character #x{error.character:04x}") from None
    except RecursionError:
        raise UnreadableText(number, f"expected at most {MOST_LEVELS} levels of nesting") from None
    except (ValueError, OverflowError, TypeError) as error:
        raise UnreadableText(number, f"expected values that JSON has: {printable(str(error), 120)}") from None
    finally:
        loader.dispose()


def _yaml_message(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}expected YAML or JSON: {printable(error.problem or error.context or 'cannot be read', 160)}"


def _json_documents(text: str) -> list[Any] | None:
    """The documents, one after the other as `kubectl get -o json` prints them; None if the text is no JSON: it may
    be YAML's flow style, and YAML's message is as good."""
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refused)
    found, at = [], 0
    try:
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            value, at = decoder.raw_decode(text, at)
            found.append(value)
    except (ValueError, RecursionError):
        return None
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key stands twice")
    return mapping


def _refused(constant: str) -> None:
    raise ValueError(constant)


def _count(value: Any, counted: dict[int, int], document: int) -> int:
    """How many values this one stands for when every alias is followed."""
    if not isinstance(value, Mapping | list):
        return 1
    if id(value) in counted:
        if counted[id(value)] < 0:
            raise UnreadableText(document, "expected a finite document: an alias holds itself")
        return counted[id(value)]
    counted[id(value)] = -1
    inner = value.values() if isinstance(value, Mapping) else value
    total = 1 + sum(_count(item, counted, document) for item in inner)
    if total > MOST_VALUES:
        raise UnreadableText(document, f"expected at most {MOST_VALUES} values: aliases of aliases stand for more")
    counted[id(value)] = total
    return total
