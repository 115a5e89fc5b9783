"""The three kinds of PATCH that the sandbox takes: JSON Patch, merge patch and strategic merge patch.

All return a new tree and leave their input alone. JSON Patch follows the library that the real server uses
(evanphx/json-patch) where RFC 6902 is silent or it differs: `test` of a missing key against null passes, `replace` of a
missing key adds it, array indices may be negative.
"""

from typing import Any

from apportion.sandbox.errors import StatusError, bad_request, internal, rejected_patch
from apportion.sandbox.trees import Obj, clone, same

_MISSING = object()
_OPERATIONS = frozenset({"add", "remove", "replace", "move", "copy", "test"})


def _steps(pointer: Any) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise rejected_patch()
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _index(step: str, size: int) -> int:
    try:
        at = int(step)
    except ValueError:
        raise rejected_patch() from None
    if at < 0:
        at += size
    if not 0 <= at < size:
        raise rejected_patch()
    return at


def _parent(document: Any, steps: list[str]) -> Any:
    for step in steps[:-1]:
        if isinstance(document, dict):
            document = document.get(step, _MISSING)
        elif isinstance(document, list):
            document = document[_index(step, len(document))]
        if not isinstance(document, dict | list):
            raise rejected_patch()
    return document


def _read(document: Any, steps: list[str]) -> Any:
    if not steps:
        return document
    parent = _parent(document, steps)
    if isinstance(parent, dict):
        return parent.get(steps[-1], _MISSING)
    return parent[_index(steps[-1], len(parent))]


def _add(document: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    parent = _parent(document, steps)
    if isinstance(parent, dict):
        parent[steps[-1]] = value
    elif steps[-1] == "-":
        parent.append(value)
    else:
        parent.insert(_index(steps[-1], len(parent) + 1), value)
    return document


def _remove(document: Any, steps: list[str]) -> Any:
    if not steps:
        raise rejected_patch()
    parent = _parent(document, steps)
    if isinstance(parent, list):
        return parent.pop(_index(steps[-1], len(parent)))
    if steps[-1] not in parent:
        raise rejected_patch()
    return parent.pop(steps[-1])


def _replace(document: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    parent = _parent(document, steps)
    if isinstance(parent, dict):
        parent[steps[-1]] = value
    else:
        parent[_index(steps[-1], len(parent))] = value
    return document


def _test(document: Any, steps: list[str], value: Any) -> None:
    found = _read(document, steps)
    if not same(None if found is _MISSING else found, value):
        raise rejected_patch()


def json_patch(document: Any, operations: Any) -> Any:
    """Apply RFC 6902 operations, all or none. Raises 400 for what is no patch, 422 for one that does not apply."""
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise bad_request("error decoding patch: a JSON Patch is a list of operations")
    if len(operations) > 10_000:
        message = f"The allowed maximum operations in a JSON patch is 10000, got {len(operations)}"
        raise StatusError(413, "RequestEntityTooLarge", message)
    result = clone(document)
    for operation in operations:
        verb, steps, value = operation.get("op"), _steps(operation.get("path")), operation.get("value")
        if verb not in _OPERATIONS:
            raise rejected_patch()
        if verb == "test":
            _test(result, steps, value)
        elif verb == "add":
            result = _add(result, steps, clone(value))
        elif verb == "replace":
            result = _replace(result, steps, clone(value))
        elif verb == "remove":
            _remove(result, steps)
        else:
            source = _steps(operation.get("from"))
            moved = _remove(result, source) if verb == "move" else clone(_read(result, source))
            if moved is _MISSING:
                raise rejected_patch()
            result = _add(result, steps, moved)
    return result


def merge_patch(document: Any, patch: Any) -> Any:
    """Apply RFC 7386: objects are merged, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


_MERGE_KEYS = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "hostIPs": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "ports": "containerPort",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "secrets": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""The patchMergeKey tags of the built-in types. Lists that are not here (tolerations, taints, args) are atomic."""
_MERGED_PRIMITIVES = frozenset({"finalizers"})
_ORDER, _DELETE = "$setElementOrder/", "$deleteFromPrimitiveList/"


def strategic_merge_patch(document: Any, patch: Any, kind: str) -> Any:
    """Apply a strategic merge patch to an object of a built-in `kind`, with the directives that kubectl writes."""
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a strategic merge patch is an object")
    keys = {**_MERGE_KEYS, "ports": "port"} if kind == "Service" else _MERGE_KEYS
    return _merge_objects(document if isinstance(document, dict) else {}, patch, keys)


def _merge_objects(target: Obj, patch: Obj, keys: dict[str, str]) -> Obj:
    directive = patch.get("$patch")
    if directive not in (None, "delete", "replace", "merge"):
        raise internal(f"unknown patch type: {directive} in map: {patch}")
    if directive == "delete":
        return {}
    plain = {key: value for key, value in patch.items() if not key.startswith("$")}
    if directive == "replace":
        replaced: Obj = _without_nulls(plain)
        return replaced
    result = dict(target)
    if "$retainKeys" in patch:
        result = {key: value for key, value in result.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        if key.startswith(_DELETE):
            field = key.removeprefix(_DELETE)
            result[field] = [item for item in result.get(field) or [] if item not in value]
    for key, value in plain.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = _merge_objects(below if isinstance(below, dict) else {}, value, keys)
        elif isinstance(value, list):
            result[key] = _merge_lists(key, result.get(key) or [], value, keys)
        else:
            result[key] = value
    for key, value in patch.items():
        field = key.removeprefix(_ORDER)
        if key.startswith(_ORDER) and isinstance(result.get(field), list):
            result[field] = _ordered(result[field], value, keys.get(field))
    return result


def _without_nulls(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_nulls(value) for key, value in tree.items() if value is not None}
    return clone(tree)


def _merge_lists(field: str, target: list[Any], patch: list[Any], keys: dict[str, str]) -> list[Any]:
    if field in _MERGED_PRIMITIVES:
        return target + [item for item in patch if item not in target]
    key = keys.get(field)
    if key is None or not all(isinstance(item, dict) for item in (*target, *patch)):
        return [clone(item) for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    if any(item == {"$patch": "replace"} for item in patch):
        return [_without_nulls(item) for item in patch if "$patch" not in item]
    result = list(target)
    for item in patch:
        if key not in item:
            raise internal(f"map: {item} does not contain declared merge key: {key}")
        at = next((i for i, existing in enumerate(result) if existing.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(_merge_objects({}, item, keys))
        else:
            result[at] = _merge_objects(result[at], item, keys)
    return result


def _ordered(items: list[Any], order: list[Any], key: str | None) -> list[Any]:
    """The elements in the order that the client names; those it does not name keep their place at the end."""
    wanted = [entry.get(key) if key and isinstance(entry, dict) else entry for entry in order]

    def rank(item: Any) -> int:
        name = item.get(key) if key and isinstance(item, dict) else item
        return wanted.index(name) if name in wanted else len(wanted)

    return sorted(items, key=rank)
