"""What the API server does to an object between a request and the storage.

Names, namespaces, uids, generations, resourceVersions and their conflicts, defaults, validation, status isolation,
finalizers and graceful deletion. The HTTP server, the simulated controllers, tests and the demo all write through
here. Everything is synchronous: one write is one step, and nobody sees half of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from apportion.sandbox import errors
from apportion.sandbox.clock import Clock, timestamp
from apportion.sandbox.defaults import fill_defaults
from apportion.sandbox.kinds import Catalog, Resource
from apportion.sandbox.metadata import check_metadata
from apportion.sandbox.objects import labels_of
from apportion.sandbox.ownership import stamp
from apportion.sandbox.rules import (
    check_identity,
    check_type,
    counts_generations,
    differs_in_spec,
    finalizers_after,
    give_name,
    grace_seconds,
    holds_contents,
    in_order,
    isolate,
    may_go,
    undecodable,
)
from apportion.sandbox.schema import check_custom, fill_schema_defaults, prune, refuse_unknown
from apportion.sandbox.selectors import selector_matches
from apportion.sandbox.storage import Record, Storage
from apportion.sandbox.trees import Obj, clone
from apportion.sandbox.validation import check_builtin

Edit = Callable[[Obj], Obj]
"""Makes the new object of the present one, which it must not change."""
Admit = Callable[[Resource, Obj], None]
"""Completes an object that is about to be created, in place, or refuses it with a StatusError."""


@dataclass(frozen=True)
class Write:
    """How one write is made: by whom, to which subresource. `strict` refuses unknown fields."""

    manager: str = "sandbox"
    subresource: str = ""
    dry_run: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Deletion:
    """DeleteOptions. `grace` in seconds; None takes the pod's own."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    revision: str = ""


_PLAIN = Write()
_DELETE = Deletion()


@dataclass
class Store:
    """Typed access to the storage. `resource` arguments may be any word kubectl would take: Pod, po, pods."""

    storage: Storage
    catalog: Catalog
    clock: Clock
    random: Random
    schemas: dict[Resource, Obj] = field(default_factory=dict)
    admission: list[Admit] = field(default_factory=list)

    def resource(self, word: str | Resource) -> Resource:
        found = word if isinstance(word, Resource) else self.catalog.named(word)
        if found is None:
            raise errors.unknown_word(str(word))
        return found

    # Reading

    def peek(self, word: str | Resource, namespace: str, name: str) -> Obj | None:
        """The object as stored, which must not be changed, or None."""
        resource = self.resource(word)
        record = self.storage.find(resource.key, namespace if resource.namespaced else "", name)
        return record.obj if record else None

    def find(self, word: str | Resource, namespace: str, name: str) -> Obj | None:
        """A copy of the object, or None."""
        found = self.peek(word, namespace, name)
        return None if found is None else _copied(found)

    def get(self, word: str | Resource, namespace: str, name: str) -> Obj:
        """A copy of the object. Raises StatusError NotFound."""
        found = self.find(word, namespace, name)
        if found is None:
            raise errors.not_found(self.resource(word), name)
        return found

    def list(self, word: str | Resource, namespace: str = "", labels: dict[str, str] | None = None) -> list[Obj]:
        """Copies of all objects, of one namespace if given, with these labels, by namespace and name."""
        records = self.storage.records(self.resource(word).key, namespace)
        found = [r.obj for r in records if selector_matches({"matchLabels": labels or {}}, labels_of(r.obj))]
        found.sort(key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))
        return [_copied(obj) for obj in found]

    # Writing

    def apply(self, obj: Obj, manager: str = "sandbox") -> Obj:
        """Create the object or put it in the place of the present one, its status included when it has one.

        Returns a copy of what is stored. A namespace that does not exist yet is created. Raises StatusError.
        """
        resource = self.catalog.of(obj.get("apiVersion", ""), obj.get("kind", ""))
        if resource is None:
            raise errors.path_not_found()
        wanted = clone(obj)
        meta = wanted.setdefault("metadata", {})
        namespace = meta.setdefault("namespace", "default") if resource.namespaced else ""
        if namespace and self.peek("namespaces", "", namespace) is None:
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        name = meta.get("name", "")
        by = Write(manager)
        if not name or self.peek(resource, namespace, name) is None:
            record = self.create(resource, namespace, wanted, by)
        else:
            meta.pop("resourceVersion", None)
            record = self.update(resource, namespace, name, lambda _: wanted, by)
        if "status" in obj and "status" in resource.subresources:
            name = record.obj["metadata"]["name"]
            status = {**(record.obj.get("status") or {}), **clone(obj["status"])}
            record = self.revise(resource, namespace, name, lambda old: {**old, "status": status}, by)
        return _copied(record.obj)

    def create(self, resource: Resource, namespace: str, obj: Obj, by: Write = _PLAIN) -> Record:
        """Create an object, which becomes the store's own. Raises StatusError."""
        check_type(resource, obj)
        if by.strict:
            refuse_unknown(self.schemas.get(resource), obj)
        meta = obj["metadata"]
        if meta.get("resourceVersion"):
            raise errors.internal("resourceVersion should not be set on objects to be created")
        self._check_namespace(resource, namespace, meta)
        give_name(resource, meta, self.random)
        if resource.namespaced:
            meta["namespace"] = namespace
        name = meta["name"]
        if self.storage.find(resource.key, namespace, name) is not None:
            raise errors.already_exists(resource, name)
        for system in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"):
            meta.pop(system, None)
        meta["uid"] = str(UUID(int=self.random.getrandbits(128), version=4))
        meta["creationTimestamp"] = timestamp(self.clock.now())
        meta["resourceVersion"] = ""
        meta.pop("generation", None)
        if counts_generations(resource):
            meta["generation"] = 1
        if "status" in resource.subresources and resource.kind != "Node":
            # A node registers with its status; that of anything else is for its controller to write.
            obj.pop("status", None)
        with undecodable(resource):
            obj = self._complete(resource, obj)
            for admit in self.admission:
                admit(resource, obj)
            self._check(resource, obj, None)
        stamp(None, obj, by.manager, by.subresource, self.clock.now())
        obj = in_order(obj)
        if by.dry_run:
            del obj["metadata"]["resourceVersion"]
            return Record(obj, 0)
        return self.storage.put(resource.key, obj)

    def update(
        self,
        word: str | Resource,
        namespace: str,
        name: str,
        edit: Edit,
        by: Write = _PLAIN,
        unconditional: bool = True,
    ) -> Record:
        """Write what `edit` makes of the object, as a PUT or PATCH would. Raises StatusError.

        A resourceVersion in the new object must be the present one; without `unconditional` a custom resource must
        have one. A write that changes nothing returns the present version.
        """
        resource = self.resource(word)
        present = self._present(resource, namespace, name)
        old = present.obj
        new = edit(old)
        if new is old:
            new = clone(old)
        check_type(resource, new)
        meta, before = new["metadata"], old["metadata"]
        check_identity(resource, meta, before, unconditional)
        new = isolate(resource, old, new, by.subresource)
        meta = new["metadata"]
        for system in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
            meta.pop(system, None)
            if system in before:
                meta[system] = before[system]
        meta.pop("selfLink", None)
        if by.strict:
            refuse_unknown(self.schemas.get(resource), new)
        with undecodable(resource):
            new = self._complete(resource, new)
            self._check(resource, new, old)
        return self._replace(resource, present, new, by)

    def revise(self, word: str | Resource, namespace: str, name: str, edit: Edit, by: Write = _PLAIN) -> Record:
        """Write what `edit` makes of the object as it is: the way of the server's own parts, without checks."""
        resource = self.resource(word)
        present = self._present(resource, namespace, name)
        new = edit(present.obj)
        return self._replace(resource, present, {**new, "metadata": dict(new["metadata"])}, by)

    def set_status(self, word: str | Resource, obj: Obj, status: Obj, manager: str = "sandbox") -> Record | None:
        """Write the status of an object that may be gone by now, or be another one of that name: then do nothing."""
        resource = self.resource(word)
        meta = obj["metadata"]
        present = self.storage.find(resource.key, meta.get("namespace", ""), meta["name"])
        if present is None or present.obj["metadata"]["uid"] != meta["uid"]:
            return None
        by = Write(manager, "status")
        return self._replace(
            resource, present, {**present.obj, "metadata": dict(present.obj["metadata"]), "status": status}, by
        )

    def delete(
        self, word: str | Resource, namespace: str, name: str, how: Deletion = _DELETE, dry_run: bool = False
    ) -> tuple[Record, bool]:
        """Delete an object, or mark it when finalizers or a grace period keep it. True: it is gone.

        Raises StatusError.
        """
        resource = self.resource(word)
        present = self._present(resource, namespace, name)
        meta = present.obj["metadata"]
        if how.uid and how.uid != meta["uid"]:
            why = f"Precondition failed: UID in precondition: {how.uid}, UID in object meta: {meta['uid']}"
            raise errors.conflict(resource, name, why)
        if how.revision and how.revision != meta["resourceVersion"]:
            why = (
                f"Precondition failed: ResourceVersion in precondition: {how.revision}, "
                f"ResourceVersion in object meta: {meta['resourceVersion']}"
            )
            raise errors.conflict(resource, name, why)
        finalizers = finalizers_after(meta.get("finalizers") or [], how.propagation)
        grace = grace_seconds(resource, present.obj, how.grace)
        if not finalizers and grace == 0 and not holds_contents(resource, present.obj):
            if dry_run:
                return present, True
            return self.storage.remove(resource.key, meta.get("namespace", ""), name), True
        marked = {**meta, "finalizers": finalizers} if finalizers else {**meta}
        if "deletionTimestamp" not in meta:
            marked["deletionTimestamp"] = timestamp(self.clock.now() + grace)
            marked["deletionGracePeriodSeconds"] = grace
            if "generation" in marked:
                marked["generation"] += 1
        elif grace < meta.get("deletionGracePeriodSeconds", 0):
            marked["deletionTimestamp"] = timestamp(self.clock.now() + grace)
            marked["deletionGracePeriodSeconds"] = grace
        if marked == meta or dry_run:
            return present, False
        obj = {**present.obj, "metadata": marked}
        if resource.key == ("", "namespaces"):
            obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        return self.storage.put(resource.key, obj), False

    # The steps

    def _present(self, resource: Resource, namespace: str, name: str) -> Record:
        present = self.storage.find(resource.key, namespace if resource.namespaced else "", name)
        if present is None:
            raise errors.not_found(resource, name)
        return present

    def _check_namespace(self, resource: Resource, namespace: str, meta: Obj) -> None:
        if not resource.namespaced:
            meta.pop("namespace", None)
            return
        if meta.get("namespace", namespace) != namespace:
            raise errors.bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request"
                f" ({meta['namespace']} is not {namespace})"
            )
        found = self.peek("namespaces", "", namespace)
        if found is None:
            raise errors.not_found(self.resource("namespaces"), namespace)
        if "deletionTimestamp" in found["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise errors.forbidden(resource, meta.get("name", ""), why)

    def _complete(self, resource: Resource, obj: Obj) -> Obj:
        schema = self.schemas.get(resource)
        if schema is not None:
            completed: Obj = clone(prune(schema, obj))
            fill_schema_defaults(schema, completed)
            return completed
        completed = clone(obj)
        fill_defaults(resource.key, completed)
        return completed

    def _check(self, resource: Resource, obj: Obj, old: Obj | None) -> None:
        causes = check_metadata(resource, obj)
        if old is not None and "deletionTimestamp" in old["metadata"]:
            kept = old["metadata"].get("finalizers") or []
            added = [name for name in obj["metadata"].get("finalizers") or () if name not in kept]
            if added:
                why = (
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{', '.join(map(errors.shown, added))}}}"
                )
                causes.append(errors.forbidden_value("metadata.finalizers", why))
        schema = self.schemas.get(resource)
        if schema is not None:
            causes += check_custom(schema, obj, old)
        elif not resource.custom and not causes:
            causes += check_builtin(resource.key, obj, old)
        if causes:
            raise errors.invalid(resource, obj["metadata"]["name"], causes)

    def _replace(self, resource: Resource, present: Record, new: Obj, by: Write) -> Record:
        old = present.obj
        meta, before = new["metadata"], old["metadata"]
        meta["resourceVersion"] = before["resourceVersion"]
        if "managedFields" in before:
            meta["managedFields"] = before["managedFields"]
        if new == old:
            return present
        if counts_generations(resource) and differs_in_spec(resource, old, new):
            meta["generation"] = before.get("generation", 0) + 1
        stamp(old, new, by.manager, by.subresource, self.clock.now())
        if by.dry_run:
            return Record(new, present.revision)
        new = in_order(new)
        if "deletionTimestamp" in meta and not meta.get("finalizers") and may_go(resource, new):
            self.storage.put(resource.key, new)
            return self.storage.remove(resource.key, meta.get("namespace", ""), meta["name"])
        return self.storage.put(resource.key, new)


def _copied(obj: Obj) -> Obj:
    copied: Obj = clone(obj)
    return copied
