"""The HTTP face of the store."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from apportion.sandbox import discovery, errors
from apportion.sandbox.crds import CustomResources
from apportion.sandbox.errors import StatusError
from apportion.sandbox.events import as_core_event, as_new_event
from apportion.sandbox.kinds import Resource
from apportion.sandbox.patches import json_patch, merge_patch, strategic_merge_patch
from apportion.sandbox.requests import (
    Target,
    decode,
    dry_run,
    flag,
    manager_of,
    number,
    split_group,
    target_of,
    wanted_shape,
)
from apportion.sandbox.reviews import Access, review
from apportion.sandbox.selectors import both, by_fields, by_labels
from apportion.sandbox.storage import Record
from apportion.sandbox.store import Deletion, Edit, Store, Write
from apportion.sandbox.subresources import Subresources
from apportion.sandbox.tables import columns_of, partial, table
from apportion.sandbox.trees import Obj, clone, compact
from apportion.sandbox.watches import Scope, Watch, error_line

_CREATE_ON_PUT = frozenset({("coordination.k8s.io", "leases"), ("", "events")})
_PATCH_TYPES = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
Query = Mapping[str, str]


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
        self._custom = custom
        self._access = access
        self._subresources = Subresources(store, custom)
        self._bookmark_seconds = bookmark_seconds
        self._watches: set[Watch] = set()

    def end_watches(self) -> None:
        """Let every running watch end, as a restarting server does."""
        for watch in self._watches:
            watch.end()

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
                raise errors.path_not_found()
            return await self._on_target(request, target)
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
            raise errors.path_not_found()
        return _reply(found)

    async def _on_target(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        query: Query = request.query
        method = request.method
        if method in ("GET", "HEAD"):
            verb = "get" if target.name else ("watch" if flag(query, "watch") else "list")
        else:
            verb = "deletecollection" if method == "DELETE" and not target.name else _VERBS.get(method, "")
        if not verb or (
            (method == "POST") != (not target.name or target.subresource in ("binding", "eviction"))
            and (method in ("POST", "PUT", "PATCH"))
        ):
            raise errors.method_not_allowed()
        self._access.check(verb, target)
        shape = wanted_shape(request.headers.get("Accept", ""))
        if verb == "watch":
            return await self._watch(request, target, shape)
        if verb == "list":
            return self._list(query, target, shape)
        if verb == "get":
            if target.subresource == "log":
                return web.Response(text="")
            return self._answer(self._read(target), target, shape, query)
        body = decode(request.headers.get("Content-Type", ""), await request.read())
        manager = manager_of(query, request.headers.get("User-Agent", ""))
        if verb in ("delete", "deletecollection"):
            return self._delete(target, query, body)
        by = Write(manager, target.subresource, dry_run(query))
        if verb == "create":
            return self._create(target, body, by, shape, query)
        if verb == "update":
            return self._put(target, body, by, shape, query)
        patch = self._patcher(request.headers.get("Content-Type", ""), target, body)
        return self._answer(self._edit(target, patch, by, unconditional=True), target, shape, query)

    # Reading

    def _read(self, target: Target) -> Record:
        record = self._store.storage.find(target.resource.key, target.namespace, target.name)
        if record is None:
            raise errors.not_found(target.resource, target.name)
        if target.subresource == "scale":
            return Record(self._subresources.scale(target.resource, record.obj), record.revision)
        return record

    def _answer(self, record: Record, target: Target, shape: str, query: Query, code: int = 200) -> web.Response:
        return _reply(self._encoder(target, shape, query)(record), code)

    def _encoder(self, target: Target, shape: str, query: Query) -> Callable[[Record], bytes]:
        """What turns a record into the JSON that this request wants."""
        if shape == "Table" and target.subresource != "scale":
            return lambda record: compact(self._table(target, [record], query))
        if shape == "PartialObjectMetadata":
            return lambda record: compact(partial(record.obj))
        if target.resource.group == "events.k8s.io":
            return lambda record: compact(as_new_event(record.obj))
        return Record.json

    def _table(self, target: Target, records: list[Record], query: Query, meta: Obj | None = None) -> Obj:
        columns = columns_of(target.resource, self._custom.columns.get(target.resource))
        meta = meta or {"resourceVersion": str(records[0].revision)}
        objects = [record.obj for record in records]
        return table(columns, objects, meta, query.get("includeObject", "Metadata"), self._store.clock.now())

    def _scope(self, query: Query, target: Target) -> Scope:
        labels = by_labels(query.get("labelSelector", ""))
        fields = by_fields(query.get("fieldSelector", ""), target.resource.plural)
        return Scope(target.resource, target.namespace, both(labels, fields))

    def _list(self, query: Query, target: Target, shape: str) -> web.Response:
        resource, storage = target.resource, self._store.storage
        if flag(query, "sendInitialEvents"):
            raise _no_initial_events("sendInitialEvents is forbidden for list")
        revision = self._revision(query)
        if query.get("resourceVersionMatch") == "Exact" and storage.is_compacted(resource.key, revision or 0):
            raise errors.expired("The provided resource version is too old.")
        scope = self._scope(query, target)
        records = [record for record in storage.records(resource.key, target.namespace) if scope.admits(record)]
        records.sort(key=_place)
        meta: Obj = {"resourceVersion": str(storage.revision)}
        records, meta = self._page(query, resource, records, meta)
        if shape == "Table":
            return _reply(self._table(target, records, query, meta))
        if shape == "PartialObjectMetadata":
            items = [compact(partial(record.obj)) for record in records]
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        else:
            encode = self._encoder(target, shape, query)
            items = [encode(record) for record in records]
            head = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta}
            if not resource.custom:
                # Like the real server, whose lists of built-in kinds leave them out, to the surprise of clients.
                prefix = compact({"apiVersion": resource.api_version, "kind": resource.kind})[:-1] + b","
                items = [b"{" + item.removeprefix(prefix) if item.startswith(prefix) else item for item in items]
        return _reply(compact(head)[:-1] + b',"items":[' + b",".join(items) + b"]}")

    def _page(self, query: Query, resource: Resource, records: list[Record], meta: Obj) -> tuple[list[Record], Obj]:
        """One page of a list. Later pages show the present state under the revision of the first."""
        token = query.get("continue", "")
        if token:
            try:
                revision, namespace, name = json.loads(base64.urlsafe_b64decode(token))
            except ValueError:
                raise errors.bad_request("continue key is not valid: unable to decode") from None
            if self._store.storage.is_compacted(resource.key, revision):
                raise errors.expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a "
                    "new list without the continue parameter."
                )
            meta = {"resourceVersion": str(revision)}
            records = [record for record in records if _place(record) > (namespace, name)]
        limit = number(query, "limit")
        if limit and len(records) > limit:
            rest = len(records) - limit
            records = records[:limit]
            last = compact([int(meta["resourceVersion"]), *_place(records[-1])])
            meta = {**meta, "continue": base64.urlsafe_b64encode(last).decode(), "remainingItemCount": rest}
        return records, meta

    def _revision(self, query: Query) -> int | None:
        revision = number(query, "resourceVersion")
        present = self._store.storage.revision
        if revision is not None and revision > present:
            details = {
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            }
            message = f"Timeout: Too large resource version: {revision}, current: {present}"
            raise StatusError(504, "Timeout", message, details)
        return revision

    async def _watch(self, request: web.BaseRequest, target: Target, shape: str) -> web.StreamResponse:
        query: Query = request.query
        if "sendInitialEvents" in query:
            raise _no_initial_events(
                "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            )
        scope, revision = self._scope(query, target), self._revision(query)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        watch = Watch(self._store.storage, scope, self._encoder(target, shape, query))
        self._watches.add(watch)
        timeout = number(query, "timeoutSeconds")
        timer = asyncio.get_running_loop().call_later(timeout, watch.end) if timeout else None
        try:
            expired = _replay(watch, revision)
            await response.prepare(request)
            if expired is not None:
                await response.write(error_line(expired.status()))
                return response
            bookmark = _bookmark(target.resource) if flag(query, "allowWatchBookmarks") else None
            async for lines in watch.lines(bookmark, self._bookmark_seconds):
                await response.write(lines)
        except ConnectionError:
            pass
        finally:
            watch.close()
            self._watches.discard(watch)
            if timer:
                timer.cancel()
        return response

    # Writing

    def _create(self, target: Target, body: Any, by: Write, shape: str, query: Query) -> web.Response:
        if target.subresource == "binding":
            self._subresources.bind(target.namespace, target.name, body, by)
            return _reply(_success(), 201)
        if target.subresource == "eviction":
            self._subresources.evict(target.namespace, target.name, _deletion(query, (body or {}).get("deleteOptions")))
            return _reply(_success(), 201)
        obj = _incoming(target.resource, body)
        namespace = target.namespace
        if target.resource.namespaced and not namespace:
            raise errors.method_not_allowed()
        record = self._store.create(self._stored(target.resource), namespace, obj, by)
        return self._answer(record, target, shape, query, 201)

    def _put(self, target: Target, body: Any, by: Write, shape: str, query: Query) -> web.Response:
        obj = _incoming(target.resource, body) if target.subresource != "scale" else body
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
        how, tried = _deletion(query, body), dry_run(query, body)
        if target.name:
            record, gone = self._store.delete(target.resource, target.namespace, target.name, how, tried)
            if not gone or target.resource.kind == "Pod":
                return _reply(record.json())
            meta = record.obj["metadata"]
            details = {"name": meta["name"], "kind": target.resource.plural, "uid": meta["uid"]}
            if target.resource.group:
                details["group"] = target.resource.group
            return _reply({**_success(), "details": details})
        scope = self._scope(query, target)
        found = self._store.storage.records(target.resource.key, target.namespace)
        doomed = sorted(filter(scope.admits, found), key=_place)
        for record in doomed:
            namespace, name = _place(record)
            self._store.delete(target.resource, namespace, name, how, tried)
        head = {"kind": target.resource.list_kind, "apiVersion": target.resource.api_version}
        meta = {"resourceVersion": str(self._store.storage.revision)}
        return _reply({**head, "metadata": meta, "items": [record.obj for record in doomed]})

    def _stored(self, resource: Resource) -> Resource:
        return self._store.resource("events") if resource.group == "events.k8s.io" else resource


def _place(record: Record) -> tuple[str, str]:
    meta = record.obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _success() -> Obj:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


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
    if options.get("orphanDependents"):
        propagation = "Orphan"
    return Deletion(grace, propagation, asked.get("uid") or "", asked.get("resourceVersion") or "")


def _replay(watch: Watch, revision: int | None) -> StatusError | None:
    try:
        watch.replay(revision or None)
    except StatusError as error:
        return error
    return None


def _bookmark(resource: Resource) -> Callable[[int], Obj]:
    def made(revision: int) -> Obj:
        meta = {"resourceVersion": str(revision), "creationTimestamp": None}
        return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}

    return made


def _no_initial_events(why: str) -> StatusError:
    text = f"sendInitialEvents: Forbidden: {why}"
    cause = {"reason": "FieldValueForbidden", "message": f"Forbidden: {why}", "field": "sendInitialEvents"}
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": [cause]}
    return StatusError(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {text}', details)
