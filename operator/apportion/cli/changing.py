"""The words of --what-if as changes. Total: any text is a change, or an error that names what was expected."""

import re
from collections.abc import Callable, Sequence

from apportion.api.scalars import MOST_ACCELERATORS, MOST_REPLICAS
from apportion.model.snapshot import Snapshot
from apportion.planner.changes import (
    LIMITS,
    AddedNodes,
    Change,
    DrainedNode,
    JobChange,
    QuotaChange,
    Setting,
    WeightChange,
    job_named,
    nearest,
    node_named,
    queue_named,
)

MOST_NODES = 10_000
MOST_WEIGHT = 1_000_000
LONGEST = 604_800

FORMS = (
    "queue NAME nominalQuota FLAVOR=N",
    "queue NAME weight=N",
    "tj/NAME FIELD=VALUE",
    "add N nodes like NODE",
    "drain NODE",
    "submit FILE",
)

Submit = Callable[[str], Sequence[Change]]


class NotUnderstood(Exception):
    """The text is no change; the message names what was expected."""


def parsed(text: str, snapshot: Snapshot, submit: Submit) -> list[Change]:
    """The changes that the text asks for, most often one; `submit` reads a file. Raises NotUnderstood, CannotChange."""
    words = text.split()
    first = words[0] if words else ""
    if first.startswith("tj/"):
        return [_job(snapshot, first.removeprefix("tj/"), words[1:])]
    match first, words[1:]:
        case "queue", [name, *rest]:
            return _queue(snapshot, name, rest)
        case "add", [count, "node" | "nodes", "like", name]:
            number = _integer("a number of nodes", count, 1, MOST_NODES)
            return [AddedNodes(number, node_named(snapshot, name).name)]
        case "drain", [_, *_] as names:
            return [DrainedNode(node_named(snapshot, name).name) for name in names]
        case "submit", [_, *_]:
            return list(submit(text.strip().removeprefix("submit").strip()))
        case _:
            raise NotUnderstood(_expected(first))


def _expected(first: str) -> str:
    ours = [form for form in FORMS if first and form.split()[0] == first]
    if ours:
        return "expected " + " or ".join(repr(form) for form in ours)
    near = nearest(first, ["queue", "add", "drain", "submit"]) if first else ""
    hint = near if "did you mean" in near else ""
    return f"expected one of {', '.join(map(repr, FORMS))}{hint}"


def _queue(snapshot: Snapshot, name: str, rest: list[str]) -> list[Change]:
    """queue NAME weight=N, or queue NAME LIMIT FLAVOR=N ..."""
    queue = queue_named(snapshot, name)
    if len(rest) == 1 and "=" in rest[0]:
        field, value = _pair(rest[0], "weight=N")
        if field != "weight":
            raise NotUnderstood(f"expected weight=N or a limit like nominalQuota FLAVOR=N, not {rest[0]!r}")
        return [WeightChange(queue.name, _weight(value))]
    limit = rest[0] if rest else ""
    if limit not in LIMITS:
        raise NotUnderstood(
            f"expected weight=N, or one of {', '.join(LIMITS)} and FLAVOR=N, not {limit!r}{_near(limit, LIMITS)}"
        )
    if len(rest) < 2:
        raise NotUnderstood(f"expected FLAVOR=N after {limit}, for example {limit} h100=16")
    changes: list[Change] = []
    for word in rest[1:]:
        flavor, value = _pair(word, "FLAVOR=N")
        open_ = value == "none" and limit != "nominalQuota"
        amount = None if open_ else _integer(f"{limit} {flavor}", value, 0, MOST_ACCELERATORS)
        changes.append(QuotaChange(queue.name, limit, flavor, amount))
    return changes


def _job(snapshot: Snapshot, name: str, rest: list[str]) -> Change:
    job = job_named(snapshot, name)
    if not rest:
        raise NotUnderstood(f"expected FIELD=VALUE after tj/{name}, FIELD one of {', '.join(FIELDS)}")
    settings: dict[str, Setting] = {}
    for word in rest:
        field, value = _pair(word, "FIELD=VALUE")
        if field not in FIELDS:
            raise NotUnderstood(f"expected a field among {', '.join(FIELDS)}, not {field!r}{_near(field, FIELDS)}")
        if field in settings:
            raise NotUnderstood(f"expected each field once; {field} stands twice")
        settings[field] = FIELDS[field](field, value)
    return JobChange(job.key, tuple(settings.items()))


def _near(name: str, known: Sequence[str] | dict[str, Callable[[str, str], Setting]]) -> str:
    near = nearest(name, known)
    return near if "did you mean" in near else ""


def _pair(word: str, expected: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals and value):
        raise NotUnderstood(f"expected {expected} without spaces, not {word!r}")
    return name, value


def _integer(what: str, text: str, least: int, most: int) -> int:
    """Digits only: no sign, no underscore, no digit of another script."""
    if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise NotUnderstood(f"{what}: expected a whole number from {least} to {most}, not {text!r}")
    return int(text)


def _weight(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text) or not 0 < float(text) <= MOST_WEIGHT:
        raise NotUnderstood(f"weight: expected a number above 0, at most {MOST_WEIGHT}, not {text!r}")
    return float(text)


def _truth(field: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise NotUnderstood(f"{field}: expected true or false, not {text!r}")
    return text == "true"


def _replicas(field: str, text: str) -> int:
    return _integer(field, text, 1, MOST_REPLICAS)


def _seconds(field: str, text: str) -> int:
    return _integer(field, text, 0, LONGEST)


def _list(field: str, text: str) -> tuple[int, ...]:
    steps = tuple(_replicas(field, part) for part in text.split(","))
    if list(steps) != sorted(set(steps)):
        raise NotUnderstood(f"{field}: expected rising numbers without repeats, like 2,4,8, not {text!r}")
    return steps


FIELDS: dict[str, Callable[[str, str], Setting]] = {
    "minReplicas": _replicas,
    "maxReplicas": _replicas,
    "replicaSteps": _list,
    "suspend": _truth,
    "preemptible": _truth,
    "queueName": lambda _field, text: text,
    "minRuntimeSeconds": _seconds,
    "restartSeconds": _seconds,
}
"""What may be set of a job, and how its value is read."""
