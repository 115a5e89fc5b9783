"""Small questions that are asked of any object."""

from apportion.sandbox.trees import Obj


def labels_of(obj: Obj) -> dict[str, str]:
    """The labels of an object; empty if it has none."""
    labels: dict[str, str] = obj["metadata"].get("labels") or {}
    return labels


def owner_of(obj: Obj) -> Obj | None:
    """The owner reference of the controller of an object."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return dict(owner)
    return None


def controlled_by(owner: Obj) -> Obj:
    """The owner reference that makes `owner` the controller of an object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
