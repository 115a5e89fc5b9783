"""What two replies to one request must have in common: status, reason, causes and shape."""

import re
from collections.abc import Iterator
from typing import Any

from controlplane.conformance.requests import Reply, Step, at

CONTROLLED = "conditions|observedGeneration|terminatingReplicas|hard|used"
DIFFERENCES = {
    r"\.managedFields": "the sandbox has a list as one field, and its controllers have other names",
    r"\.metadata\.remainingItemCount": "a real server may leave it out, and does with selectors",
    r"^\.message|\.details\.causes\[\]\.message": "sentences are for people; causes are compared by field and reason",
    r"^\.details($|\.(group|kind|name|uid|retryAfterSeconds))": "left out here and there by the real one",
    r"\.storageVersionHash": "the sandbox stores each kind in one version",
    r"\.lastProbeTime": "a null that clients with types do not see",
    rf"^(\.items\[\])?\.status\.({CONTROLLED})": "controllers write in their own time",
    r"\.metadata\.annotations($|\.deployment\.kubernetes\.io)": "controllers write in their own time",
    r"\.columnDefinitions\[\]\.(format|description)": "the sandbox describes a column by its name alone",
}
"""Paths of shapes that are not compared, as regular expressions, and why."""
_IGNORED = re.compile("|".join(DIFFERENCES))
_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


def shape(value: Any, path: str = "") -> Iterator[str]:
    """Each path with the type that it has. All elements of a list together make its shape."""
    if _IGNORED.search(path):
        return
    if value is None:
        yield f"{path}: null"
        return
    yield f"{path}: {_TYPES[type(value)]}"
    if isinstance(value, dict):
        for key, below in value.items():
            yield from shape(below, f"{path}.{key}")
    if isinstance(value, list):
        for below in value:
            yield from shape(below, f"{path}[]")


def differences(step: Step, ours: Reply, theirs: Reply) -> list[str]:
    """In which ways the sandbox's reply is not the real server's; empty if it conforms."""
    if ours.status != theirs.status:
        return [f"status {ours.status}, not {theirs.status}\n  ours: {_told(ours)}\n  theirs: {_told(theirs)}"]
    found = []
    if _is_status(ours.body) or _is_status(theirs.body):
        for what, mine, wanted in (
            ("reason", at(ours.body, "reason"), at(theirs.body, "reason")),
            ("causes", _causes(ours.body), _causes(theirs.body)),
        ):
            if mine != wanted:
                found.append(f"{what} {mine}, not {wanted}\n  ours: {_told(ours)}\n  theirs: {_told(theirs)}")
    mine_set, wanted_set = set(shape(ours.body)), set(shape(theirs.body))
    found += [f"has {each}" for each in sorted(mine_set - wanted_set)]
    found += [f"lacks {each}" for each in sorted(wanted_set - mine_set)]
    for path in step.same:
        if at(ours.body, path) != at(theirs.body, path):
            found.append(f"{path} is {at(ours.body, path)}, not {at(theirs.body, path)}")
    return found


def _is_status(body: Any) -> bool:
    return isinstance(body, dict) and body.get("kind") == "Status"


def _causes(body: Any) -> set[tuple[str, str]]:
    causes = at(body, "details.causes") or []
    return {(cause.get("field", ""), cause.get("reason", "")) for cause in causes}


def _told(reply: Reply) -> str:
    return str(at(reply.body, "message") if _is_status(reply.body) else reply.body)[:600]
