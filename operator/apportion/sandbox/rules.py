"""The rules of a write, as pure functions: identity, isolation of the status, generations, deletion."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from apportion.sandbox import errors
from apportion.sandbox.kinds import WITH_GENERATION, Resource
from apportion.sandbox.metadata import check_shape
from apportion.sandbox.trees import Obj, dig

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of generated names: no vowels and no look-alikes, as in the real server."""


def check_type(resource: Resource, obj: Any) -> None:
    """Refuse with 400 what is not of the kind that the path names; fill in the kind that it leaves out."""
    if not isinstance(obj, dict):
        raise errors.bad_request("the object provided is not an object")
    obj.setdefault("apiVersion", resource.api_version)
    obj.setdefault("kind", resource.kind)
    if obj["kind"] != resource.kind or obj["apiVersion"] != resource.api_version:
        given = f"{obj['apiVersion']}, Kind={obj['kind']}"
        raise errors.bad_request(
            f"the object provided is unrecognized: {given} is not {resource.api_version}, Kind={resource.kind}"
        )
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    check_shape(resource, obj)


def give_name(resource: Resource, meta: Obj, random: Random) -> None:
    """Make a name of generateName. Raises 422 where neither is given."""
    prefix = meta.get("generateName", "")
    if meta.get("name"):
        return
    if not prefix:
        why = "name or generateName is required"
        raise errors.invalid(resource, "", [errors.required_value("metadata.name", why)])
    meta["name"] = prefix[:58] + "".join(random.choices(NAME_LETTERS, k=5))


def counts_generations(resource: Resource) -> bool:
    """Whether metadata.generation is kept for objects of this resource."""
    return resource.custom or resource.key in WITH_GENERATION


def differs_in_spec(resource: Resource, old: Obj, new: Obj) -> bool:
    """Whether an update counts as a new generation."""
    if not resource.custom:
        if resource.key == ("scheduling.k8s.io", "priorityclasses"):
            return any(old.get(field) != new.get(field) for field in ("globalDefault", "description"))
        return bool(old.get("spec") != new.get("spec"))
    hidden = {"metadata", "status"} if "status" in resource.subresources else {"metadata"}
    return any(old.get(name) != new.get(name) for name in (old.keys() | new.keys()) - hidden)


def check_identity(resource: Resource, meta: Obj, before: Obj, unconditional: bool) -> None:
    """Refuse a write to another object than the present one: by name, uid or resourceVersion."""
    name = before["name"]
    if meta.setdefault("name", name) != name:
        raise errors.bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    if resource.namespaced and meta.setdefault("namespace", before["namespace"]) != before["namespace"]:
        raise errors.bad_request("the namespace of the provided object does not match the namespace on the request")
    if meta.get("uid", before["uid"]) != before["uid"] and unconditional:
        raise errors.invalid(resource, name, [errors.invalid_value("metadata.uid", meta["uid"], "field is immutable")])
    if meta.get("uid", before["uid"]) != before["uid"]:
        why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}"
        raise errors.conflict(resource, name, why)
    revision = meta.get("resourceVersion") or ""
    if not revision and resource.custom and not unconditional:
        cause = errors.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
        raise errors.invalid(resource, name, [cause])
    if revision and revision != before["resourceVersion"]:
        raise errors.conflict(resource, name)


def isolate(resource: Resource, old: Obj, new: Obj, subresource: str) -> Obj:
    """Keep a write to the status out of the rest and the other way round."""
    if "status" not in resource.subresources:
        return {**new, "metadata": dict(new["metadata"])}
    if subresource == "status":
        kept = dict(old["metadata"])
        if not resource.custom and "annotations" in new["metadata"]:
            kept["annotations"] = new["metadata"]["annotations"]
        if resource.key == ("", "pods") and "labels" in new["metadata"]:
            kept["labels"] = new["metadata"]["labels"]
        isolated = {**old, "metadata": kept}
        isolated.pop("status", None)
        return {**isolated, "status": new["status"]} if "status" in new else isolated
    isolated = {**new, "metadata": dict(new["metadata"])}
    isolated.pop("status", None)
    return {**isolated, "status": old["status"]} if "status" in old else isolated


def may_go(resource: Resource, obj: Obj) -> bool:
    """Whether a marked object without finalizers waits for nothing else."""
    if holds_contents(resource, obj):
        return False
    return resource.key != ("", "pods") or obj["metadata"].get("deletionGracePeriodSeconds", 0) == 0


def grace_seconds(resource: Resource, pod: Obj, asked: int | None) -> int:
    """How long a deleted pod may take; 0 for everything that goes at once."""
    if resource.key != ("", "pods"):
        return 0
    if not dig(pod, "spec", "nodeName") or dig(pod, "status", "phase") in ("Succeeded", "Failed"):
        return 0
    if asked is not None:
        return max(0, asked)
    present = pod["metadata"].get("deletionGracePeriodSeconds")
    return int(pod["spec"].get("terminationGracePeriodSeconds", 30) if present is None else present)


@contextmanager
def undecodable(resource: Resource) -> Iterator[None]:
    """Refuse with 400 what is not of the built-in type's shape, as the real server's decoder does: those types have no
    schema here, so a string where an object belongs is found only by what stumbles over it."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if resource.custom:
            raise
        raise errors.Undecodable(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {error}'
        ) from error


def holds_contents(resource: Resource, obj: Obj) -> bool:
    """A namespace that is not emptied yet."""
    return resource.key == ("", "namespaces") and bool(dig(obj, "spec", "finalizers"))


def finalizers_after(present: list[str], propagation: str) -> list[str]:
    """The finalizers of an object whose deletion was asked for in this way."""
    if not propagation:
        return list(present)
    rest = [name for name in present if name not in (ORPHAN, FOREGROUND)]
    added = {"Orphan": [ORPHAN], "Foreground": [FOREGROUND], "Background": []}.get(propagation)
    if added is None:
        raise errors.bad_request(f"invalid propagationPolicy {propagation!r}")
    return rest + added


def in_order(obj: Obj) -> Obj:
    """apiVersion and kind first: lists of built-in kinds cut them off the text. What is empty in metadata goes."""
    meta = {key: value for key, value in obj["metadata"].items() if value or key not in _OMITTED}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **obj, "metadata": meta}


_OMITTED = ("labels", "annotations", "finalizers", "ownerReferences")
