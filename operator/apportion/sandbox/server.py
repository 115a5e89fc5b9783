"""The HTTP face of the store."""

from typing import Any

from aiohttp import web

from apportion.sandbox import discovery, errors
from apportion.sandbox.clock import timestamp
from apportion.sandbox.crds import CustomResources
from apportion.sandbox.errors import StatusError
from apportion.sandbox.events import as_core_event, as_new_event
from apportion.sandbox.kinds import BUILTIN, Resource
from apportion.sandbox.patches import json_patch, merge_patch, strategic_merge_patch
from apportion.sandbox.reading import Query, Reader, place_of
from apportion.sandbox.requests import (
    Target,
    decode,
    dry_run,
    flag,
    is_strict,
    manager_of,
    number,
    split_group,
    target_of,
    wanted_shape,
)
from apportion.sandbox.reviews import Access, review
from apportion.sandbox.storage import Record
from apportion.sandbox.store import Deletion, Edit, Store, Write
from apportion.sandbox.subresources import Subresources
from apportion.sandbox.trees import Obj, clone, compact, dig

_CREATE_ON_PUT = frozenset({("coordination.k8s.io", "leases"), ("", "events")})
_PATCH_TYPES = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_BUILTIN_GROUPS = frozenset(resource.group for resource in BUILTIN)
_POSTED = frozenset({"binding", "eviction"})


def _reply(body: Obj | bytes, code: int = 200) -> web.Response:
    text = body if isinstance(body, bytes) else compact(body)
    return web.Response(body=text, status=code, content_type="application/json")


def _refusal(error: StatusError) -> web.Response:
    response = _reply(error.status(), error.code)
    retry = (error.details or {}).get("retryAfterSeconds")
    if retry:
        response.headers["Retry-After"] = str(retry)
    return response


class Server:
    """Answers HTTP requests from the store. `access.deny` takes rights away; `bookmark_seconds` paces bookmarks."""

    def __init__(self, store: Store, custom: CustomResources, access: Access, bookmark_seconds: float) -> None:
        self._store = store
        self._access = access
        self._subresources = Subresources(store, custom)
        self.reader = Reader(store, custom, self._subresources, bookmark_seconds)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a refusal is a Status."""
        try:
            located = split_group(request.path)
            if located is None or not located[2]:
                return self._about(request.path, located)
            group, version, rest = located
            if request.method == "POST" and len(rest) == 1:
                answer = review(self._access, group, rest[0], decode(request.content_type, await request.read()))
                if answer is not None:
                    return _reply(answer, 201)
            target = target_of(self._store.catalog, group, version, rest)
            if target is None:
                raise errors.path_not_found() if group in _BUILTIN_GROUPS else errors.PageNotFound()
            return await self._on_target(request, target)
        except errors.PageNotFound as error:
            return web.Response(text=error.message, status=404)
        except StatusError as error:
            return _refusal(error)

    def _about(self, path: str, located: tuple[str, str, list[str]] | None) -> web.Response:
        catalog = self._store.catalog
        trimmed = path.strip("/")
        if trimmed.partition("/")[0] in ("healthz", "readyz", "livez"):
            return web.Response(text="ok")
        found: Obj | None = None
        if located is not None:
            found = discovery.resource_list(catalog, located[0], located[1])
        elif trimmed == "api":
            found = discovery.api_versions()
        elif trimmed == "apis":
            found = discovery.group_list(catalog)
        elif trimmed.startswith("apis/"):
            found = discovery.group(catalog, trimmed.removeprefix("apis/"))
        elif trimmed == "version":
            found = discovery.VERSION
        elif trimmed == "openapi/v3":
            found = discovery.openapi_index(catalog)
        elif trimmed.startswith("openapi/v3/"):
            found = discovery.openapi_document(catalog, trimmed.removeprefix("openapi/v3/"), self._store.schemas)
        if found is None:
            raise errors.PageNotFound()
        return _reply(found)

    async def _on_target(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        query: Query = request.query
        verb = _verb(request.method, target, query)
        self._access.check(verb, target)
        shape = wanted_shape(request.headers.get("Accept", ""))
        if verb == "watch":
            return await self.reader.watch(request, target, shape)
        if verb == "list":
            return _reply(self.reader.listing(query, target, shape))
        if verb == "get":
            if target.subresource == "log":
                return web.Response(text="")
            return self._answer(self.reader.read(target), target, shape, query)
        body = decode(request.headers.get("Content-Type", ""), await request.read())
        manager = manager_of(query, request.headers.get("User-Agent", ""))
        if verb in ("delete", "deletecollection"):
            return self._delete(target, query, body)
        options = f"{verb.capitalize()}Options"
        by = Write(manager, target.subresource, dry_run(query, options), is_strict(query, options))
        if verb == "create":
            return self._create(target, body, by, shape, query)
        if verb == "update":
            return self._put(target, body, by, shape, query)
        patch = self._patcher(request.headers.get("Content-Type", ""), target, body)
        try:
            return self._answer(self._edit(target, patch, by, unconditional=True), target, shape, query)
        except errors.Undecodable as error:
            raise errors.bad_patch(error.message) from error

    # Writing

    def _answer(self, record: Record, target: Target, shape: str, query: Query, code: int = 200) -> web.Response:
        return _reply(self.reader.encoder(target, shape, query)(record), code)

    def _create(self, target: Target, body: Any, by: Write, shape: str, query: Query) -> web.Response:
        if target.subresource == "binding":
            self._subresources.bind(target.namespace, target.name, body, by)
            return _reply({**_success(), "code": 201}, 201)
        if target.subresource == "eviction":
            self._subresources.evict(target.namespace, target.name, _deletion(query, (body or {}).get("deleteOptions")))
            return _reply({**_success(), "code": 201}, 201)
        obj = _incoming(target.resource, body)
        namespace = target.namespace
        if target.resource.namespaced and not namespace:
            raise errors.PageNotFound() if target.resource.custom else errors.method_not_allowed()
        record = self._store.create(self._stored(target.resource), namespace, obj, by)
        return self._answer(record, target, shape, query, 201)

    def _put(self, target: Target, body: Any, by: Write, shape: str, query: Query) -> web.Response:
        obj = _incoming(target.resource, body) if target.subresource != "scale" else body
        if not dig(obj, "metadata", "name"):
            why = f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
            raise errors.bad_request(why)
        missing = self._store.storage.find(target.resource.key, target.namespace, target.name) is None
        if missing and target.resource.key in _CREATE_ON_PUT:
            return self._create(target, obj, by, shape, query)
        record = self._edit(target, lambda _: obj, by, unconditional=False)
        return self._answer(record, target, shape, query)

    def _edit(self, target: Target, edit: Edit, by: Write, unconditional: bool) -> Record:
        if target.subresource == "scale":
            return self._subresources.rescale(target.resource, target.namespace, target.name, edit, by)
        resource = self._stored(target.resource)
        return self._store.update(resource, target.namespace, target.name, edit, by, unconditional)

    def _patcher(self, content_type: str, target: Target, body: Any) -> Edit:
        kind = content_type.partition(";")[0].strip()
        event = target.resource.group == "events.k8s.io"
        if kind == "application/json-patch+json":
            return lambda old: _patched(json_patch(as_new_event(old) if event else old, body), event)
        if body is None or not isinstance(body, dict):
            raise errors.bad_request("error decoding patch: an object was expected")
        if kind == "application/merge-patch+json":
            return lambda old: _patched(merge_patch(as_new_event(old) if event else old, body), event)
        if kind == "application/strategic-merge-patch+json" and not target.resource.custom:
            return lambda old: _patched(
                strategic_merge_patch(as_new_event(old) if event else old, body, target.resource.kind), event
            )
        if kind == "application/apply-patch+yaml":
            raise errors.unsupported_media_type("server-side apply is not supported by the sandbox")
        raise errors.unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: {_PATCH_TYPES}"
        )

    def _delete(self, target: Target, query: Query, body: Any) -> web.Response:
        how, tried = _deletion(query, body), dry_run(query, "DeleteOptions", body)
        if target.name:
            record, gone = self._store.delete(target.resource, target.namespace, target.name, how, tried)
            if not gone or target.resource.kind in ("Pod", "CustomResourceDefinition"):
                return _reply(_ended(record.obj, self._store.clock.now()) if gone else record.json())
            meta = record.obj["metadata"]
            details = {"name": meta["name"], "kind": target.resource.plural, "uid": meta["uid"]}
            if target.resource.group:
                details["group"] = target.resource.group
            return _reply({**_success(), "details": details})
        scope = self.reader.scope(query, target)
        found = self._store.storage.records(target.resource.key, target.namespace)
        doomed = sorted(filter(scope.admits, found), key=place_of)
        for record in doomed:
            namespace, name = place_of(record)
            self._store.delete(target.resource, namespace, name, how, tried)
        head = {"kind": target.resource.list_kind, "apiVersion": target.resource.api_version}
        meta = {"resourceVersion": str(self._store.storage.revision)}
        hidden = () if target.resource.custom else ("apiVersion", "kind")
        items = [{key: value for key, value in record.obj.items() if key not in hidden} for record in doomed]
        return _reply({**head, "metadata": meta, "items": items})

    def _stored(self, resource: Resource) -> Resource:
        return self._store.resource("events") if resource.group == "events.k8s.io" else resource


def _verb(method: str, target: Target, query: Query) -> str:
    """What a request does, in the words of roles. Raises 405 when nothing does it there."""
    if method in ("GET", "HEAD"):
        return "get" if target.name else ("watch" if flag(query, "watch") else "list")
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    posted = not target.name or target.subresource in _POSTED
    if method not in _VERBS or (method == "POST") != posted:
        raise errors.method_not_allowed()
    return _VERBS[method]


def _success() -> Obj:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


def _ended(obj: Obj, now: float) -> Obj:
    """The last version of what went at once."""
    grace = {"deletionGracePeriodSeconds": 0} if obj["kind"] == "Pod" else {}
    return {**obj, "metadata": {"deletionTimestamp": timestamp(now), **grace, **obj["metadata"]}}


def _incoming(resource: Resource, body: Any) -> Obj:
    if not isinstance(body, dict):
        raise errors.bad_request("the body of the request is not an object")
    return as_core_event(body) if resource.group == "events.k8s.io" else body


def _patched(result: Any, event: bool) -> Obj:
    if not isinstance(result, dict):
        raise errors.bad_request("error decoding patch: the result is no object")
    changed: Obj = clone(as_core_event(result) if event else result)
    return changed


def _deletion(query: Query, body: Any) -> Deletion:
    options = body if isinstance(body, dict) else {}
    asked = options.get("preconditions") or {}
    grace = options.get("gracePeriodSeconds", number(query, "gracePeriodSeconds"))
    propagation = options.get("propagationPolicy") or query.get("propagationPolicy", "")
    if options.get("orphanDependents") is not None and propagation:
        why = "orphanDependents and deletionPropagation cannot be both set"
        raise errors.options("DeleteOptions", errors.invalid_value("propagationPolicy", propagation, why))
    if propagation not in ("", "Foreground", "Background", "Orphan"):
        known = ["Foreground", "Background", "Orphan", "nil"]
        raise errors.options("DeleteOptions", errors.not_supported("propagationPolicy", propagation, known))
    if options.get("orphanDependents"):
        propagation = "Orphan"
    return Deletion(grace, propagation, asked.get("uid") or "", asked.get("resourceVersion") or "")
