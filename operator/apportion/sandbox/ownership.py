"""managedFields: who last wrote which field by an Update, so that a fight over a field can name its other side.

Lists are one field here; the real server looks into lists that have merge keys.
"""

from typing import Any

from apportion.sandbox.clock import timestamp
from apportion.sandbox.trees import Obj, clone

_SYSTEM = frozenset(
    {
        "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "name",
        "namespace", "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip


def _owned_fields(tree: Any) -> Obj:
    return {f"f:{key}": _owned_fields(value) for key, value in tree.items()} if isinstance(tree, dict) else {}


def _changed(old: Any, new: Any) -> tuple[Obj, Obj]:
    """The fields that were set or changed, and those that were removed."""
    written: Obj = {}
    removed: Obj = {}
    for key, value in new.items():
        if key not in old:
            written[f"f:{key}"] = _owned_fields(value)
        elif isinstance(value, dict) and isinstance(old[key], dict):
            if value != old[key]:
                below, gone = _changed(old[key], value)
                if below:
                    written[f"f:{key}"] = below
                if gone:
                    removed[f"f:{key}"] = gone
        elif value != old[key]:
            written[f"f:{key}"] = _owned_fields(value)
    removed.update({f"f:{key}": {} for key in old.keys() - new.keys()})
    return written, removed


def _without(fields: Obj, taken: Obj) -> Obj:
    left: Obj = {}
    for key, below in fields.items():
        if key not in taken:
            left[key] = below
        elif below and taken[key] and (rest := _without(below, taken[key])):
            left[key] = rest
    return left


def _with(fields: Obj, added: Obj) -> Obj:
    merged = dict(fields)
    for key, below in added.items():
        merged[key] = _with(merged.get(key, {}), below)
    return merged


def _content(obj: Obj) -> Obj:
    meta = {key: value for key, value in obj.get("metadata", {}).items() if key not in _SYSTEM and value}
    rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    return {**rest, "metadata": meta} if meta else rest


def stamp(old: Obj | None, new: Obj, manager: str, subresource: str, now: float) -> None:
    """Enter in new.metadata.managedFields that `manager` made `new` out of `old`. The last writer stands last."""
    entries = list((old or {}).get("metadata", {}).get("managedFields") or ())
    written, removed = _changed(_content(old) if old else {}, _content(new))
    taken = _with(written, removed)
    mine: Obj = {}
    kept: list[Obj] = []
    for entry in entries:
        fields = entry["fieldsV1"]
        if entry["manager"] == manager and entry.get("subresource", "") == subresource:
            mine = _without(fields, removed)
        elif left := _without(fields, taken):
            kept.append({**entry, "fieldsV1": left})
    entry = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": new["apiVersion"],
        "time": timestamp(now),
        "fieldsType": "FieldsV1",
        "fieldsV1": clone(_with(mine, written)),
    }
    if subresource:
        entry["subresource"] = subresource
    new["metadata"]["managedFields"] = [*kept, entry]
