"""What the operator reads, as files: reading them for the command line, and writing them without secrets.

Reading is total. Whatever a file holds, the result is its objects or one `InputError` that names the file, the
document in it, the field and what was expected.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

from apportion.api.documents import UnreadableText, documents
from apportion.api.names import ALLOCATION_POLICY, CLUSTER_SCOPED, GROUPS, QUEUE, TRAINING_JOB
from apportion.api.parse import (
    InvalidObject,
    parse_allocation_policy,
    parse_queue,
    parse_training_job,
    printable,
    shown,
    unknown_fields,
)
from apportion.api.redact import snapshot_document

__all__ = ["InputError", "Loaded", "load_objects", "snapshot_document"]

MOST_BYTES = 512 * 1024 * 1024

Raw = dict[str, Any]

_PARSERS = {
    TRAINING_JOB: parse_training_job,
    QUEUE: parse_queue,
    ALLOCATION_POLICY: parse_allocation_policy,
}


class InputError(Exception):
    """`message` is one line for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True)
class Loaded:
    """Raw objects in the order they were read. `ignored` counts the others by kind; `warnings` name fields that no
    schema has, and that an API server would drop."""

    objects: tuple[Raw, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> tuple[Raw, ...]:
        return tuple(raw for raw in self.objects if raw["kind"] == kind)


def load_objects(paths: Sequence[str], stdin: TextIO) -> Loaded:
    """The objects of all files together; "-" is standard input. Raises InputError."""
    objects: list[Raw] = []
    warnings: list[str] = []
    ignored: Counter[str] = Counter()
    places: dict[tuple[str, str, str], str] = {}
    for path in _each_once(paths):
        for place, raw in _objects(path, stdin):
            kind = _kind(raw, place)
            if kind not in GROUPS:
                ignored[str(raw["kind"])] += 1
                continue
            raw = _checked(raw, place)
            key = (kind, raw["metadata"].get("namespace", ""), raw["metadata"]["name"])
            if key in places:
                raise InputError(f"{place}: expected each object once; {_said(*key)} is also in {places[key]}")
            places[key] = place
            objects.append(raw)
            warnings += [f"{place}: {_said(*key)}: unknown field {field}" for field in unknown_fields(raw)]
    return Loaded(tuple(objects), dict(sorted(ignored.items())), tuple(warnings))


def _each_once(paths: Sequence[str]) -> Sequence[str]:
    for path, times in Counter(paths).items():
        if times > 1:
            raise InputError(f"{_file(path)}: expected each file once, named {times} times")
    return paths


def _file(path: str) -> str:
    return "standard input" if path == "-" else printable(path, 200)


def _said(kind: str, namespace: str, name: str) -> str:
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _objects(path: str, stdin: TextIO) -> Iterator[tuple[str, Raw]]:
    found = False
    try:
        for number, document in documents(read_text(path, stdin)):
            found = True
            yield from _unrolled(document, f"{_file(path)}: document {number}")
    except UnreadableText as error:
        raise InputError(f"{_file(path)}: document {error.document}: {error.message}") from None
    if not found:
        raise InputError(f"{_file(path)}: expected Kubernetes objects as YAML or JSON, found nothing")


def read_text(path: str, stdin: TextIO) -> str:
    """Of a file, or of standard input ("-"), which must be UTF-8. Raises InputError."""
    try:
        if path == "-":
            # A stream of text alone (a test's, a notebook's) has been decoded already.
            binary: IO[bytes] | None = getattr(stdin, "buffer", None)
            data = binary.read(MOST_BYTES + 1) if binary else stdin.read(MOST_BYTES + 1).encode()
        else:
            with Path(path).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{_file(path)}: expected a readable file: {reason}") from None
    if len(data) > MOST_BYTES:
        raise InputError(f"{_file(path)}: expected at most {MOST_BYTES // 2**20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{_file(path)}: expected UTF-8 text, found another byte at {error.start}") from None
    if "\0" in text:
        raise InputError(f"{_file(path)}: expected text, found a zero byte: is this a binary file?")
    return text


def _unrolled(document: Any, place: str) -> Iterator[tuple[str, Raw]]:
    """The object, or the items of the List; those of a typed list leave out what they are."""
    raw = _mapping(document, place)
    kind = raw.get("kind")
    if not (isinstance(kind, str) and kind.endswith("List") and "items" in raw):
        yield place, raw
        return
    items = raw["items"] if raw["items"] is not None else []
    if not isinstance(items, list):
        raise InputError(f"{place}: items: expected a list, not {shown(items)}")
    typed = {} if kind == "List" else {"apiVersion": raw.get("apiVersion"), "kind": kind.removesuffix("List")}
    for index, item in enumerate(items):
        inside = f"{place}, items[{index}]"
        yield inside, typed | _mapping(item, inside)


def _mapping(document: Any, place: str) -> Raw:
    if not isinstance(document, Mapping):
        raise InputError(f"{place}: expected an object with apiVersion and kind, not {shown(document)}")
    return dict(document)


def _kind(raw: Raw, place: str) -> str:
    """The kind if it is one that the operator reads; Queues of other projects are not ours. What the API server answers
    instead of objects is no empty cluster."""
    for part in ("apiVersion", "kind"):
        if not isinstance(raw.get(part), str) or not raw[part]:
            raise InputError(f"{place}: {part}: expected a string, not {shown(raw.get(part))}")
    kind, version = raw["kind"], raw["apiVersion"]
    match version, kind:
        case "v1" | "meta.k8s.io/v1", "Status":
            said = raw.get("message") or raw.get("reason")
            raise InputError(f"{place}: expected objects, not the Status of a request: {shown(said)}")
        case "meta.k8s.io/v1" | "meta.k8s.io/v1beta1", "Table":
            raise InputError(f"{place}: expected objects as with kubectl get -o yaml, not a Table of them")
    group = version.rsplit("/", 1)[0] if "/" in version else ""
    return kind if GROUPS.get(kind) == group else ""


def _checked(raw: Raw, place: str) -> Raw:
    """With a sound name and namespace, and valid if it is one of ours."""
    metadata = raw.get("metadata")
    if not isinstance(metadata, Mapping):
        raise InputError(f"{place}: {raw['kind']}: metadata: expected a mapping, not {shown(metadata)}")
    name, namespace = metadata.get("name"), metadata.get("namespace") or "default"
    if not isinstance(name, str) or not name:
        raise InputError(f"{place}: {raw['kind']}: metadata.name: expected a string, not {shown(name)}")
    if not isinstance(namespace, str):
        raise InputError(f"{place}: {raw['kind']} {printable(name)}: metadata.namespace: expected a string")
    if raw["kind"] not in CLUSTER_SCOPED:
        raw = {**raw, "metadata": {**metadata, "namespace": namespace}}
    parse = _PARSERS.get(raw["kind"])
    if parse:
        try:
            parse(raw)
        except InvalidObject as error:
            raise InputError(f"{place}: {error}") from None
    return raw
