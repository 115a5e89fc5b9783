"""GET, LIST and WATCH: from the storage to the JSON that a request wants."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import Protocol

from aiohttp import web

from apportion.sandbox import errors
from apportion.sandbox.crds import CustomResources
from apportion.sandbox.errors import StatusError
from apportion.sandbox.events import as_new_event
from apportion.sandbox.kinds import Resource
from apportion.sandbox.requests import Target, flag, number
from apportion.sandbox.selectors import both, by_fields, by_labels
from apportion.sandbox.storage import Record
from apportion.sandbox.store import Store
from apportion.sandbox.subresources import Subresources
from apportion.sandbox.tables import columns_of, partial, table
from apportion.sandbox.trees import Obj, compact
from apportion.sandbox.watches import Scope, Watch, error_line

Query = Mapping[str, str]


class Reader:
    """Answers reads from the store. Bookmarks are sent after `bookmark_seconds` in which nothing happened."""

    def __init__(
        self, store: Store, custom: CustomResources, subresources: Subresources, bookmark_seconds: float
    ) -> None:
        self._store = store
        self._custom = custom
        self._subresources = subresources
        self._bookmark_seconds = bookmark_seconds
        self._watches: set[Watch] = set()

    def end_watches(self) -> None:
        """Let every running watch end, as a restarting server does."""
        for watch in self._watches:
            watch.end()

    def read(self, target: Target) -> Record:
        """The record that a GET names. Raises 404."""
        record = self._store.storage.find(target.resource.key, target.namespace, target.name)
        if record is None:
            raise errors.not_found(target.resource, target.name)
        if target.subresource == "scale":
            return Record(self._subresources.scale(target.resource, record.obj), record.revision)
        return record

    def encoder(self, target: Target, shape: str, query: Query) -> Callable[[Record], bytes]:
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

    def scope(self, query: Query, target: Target) -> Scope:
        """What the selectors of a request leave of a collection. Raises 400."""
        labels = by_labels(query.get("labelSelector", ""))
        fields = by_fields(query.get("fieldSelector", ""), target.resource.plural)
        return Scope(target.resource, target.namespace, both(labels, fields))

    def listing(self, query: Query, target: Target, shape: str) -> bytes:
        """The JSON of a LIST. Raises 400, 410 and 504."""
        resource, storage = target.resource, self._store.storage
        _check_versions(query)
        revision = self._revision(query)
        if query.get("resourceVersionMatch") == "Exact" and storage.has_changed(resource.key, revision or 0):
            # Only the present is kept here, which a real server may say of any version but the last.
            raise errors.expired("The provided resource version is too old.")
        scope = self.scope(query, target)
        records = [record for record in storage.records(resource.key, target.namespace) if scope.admits(record)]
        records.sort(key=place_of)
        meta: Obj = {
            "resourceVersion": str(storage.revision),
            **({"continue": ""} if resource.custom and not shape else {}),
        }
        records, meta = self._page(query, resource, records, meta)
        if shape == "Table":
            return compact(self._table(target, records, query, meta))
        if shape == "PartialObjectMetadata":
            items = [compact(partial(record.obj)) for record in records]
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        else:
            encode = self.encoder(target, shape, query)
            items = [encode(record) for record in records]
            head = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta}
            if not resource.custom:
                # Like the real server, whose lists of built-in kinds leave them out, to the surprise of clients.
                prefix = compact({"apiVersion": resource.api_version, "kind": resource.kind})[:-1] + b","
                items = [b"{" + item.removeprefix(prefix) if item.startswith(prefix) else item for item in items]
        return compact(head)[:-1] + b',"items":[' + b",".join(items) + b"]}"

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
            records = [record for record in records if place_of(record) > (namespace, name)]
        limit = number(query, "limit")
        # From its cache, which is what version 0 asks for, a real server gives all.
        if limit and 0 < limit < len(records) and query.get("resourceVersion") != "0":
            rest = len(records) - limit
            records = records[:limit]
            last = compact([int(meta["resourceVersion"]), *place_of(records[-1])])
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

    async def watch(self, request: web.BaseRequest, target: Target, shape: str) -> web.StreamResponse:
        """Stream a WATCH until it or the client ends. Raises 400, 422 and 504."""
        query: Query = request.query
        _check_watch(query)
        if not (query.get("resourceVersion") or "0").isdecimal():
            raise errors.internal(f"resourceVersion: Invalid value: {query['resourceVersion']!r}: invalid syntax")
        scope, revision = self.scope(query, target), self._revision(query)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        watch = Watch(self._store.storage, scope, self.encoder(target, shape, query))
        self._watches.add(watch)
        timeout = number(query, "timeoutSeconds")
        timer = asyncio.get_running_loop().call_later(timeout, watch.end) if timeout else None
        try:
            initial = flag(query, "sendInitialEvents")
            expired = _replay(watch, None if initial else revision)
            await response.prepare(request)
            if expired is not None:
                await response.write(error_line(expired.status()))
                return response
            bookmark = _bookmark(target.resource) if flag(query, "allowWatchBookmarks") else None
            if initial and bookmark:
                watch.mark(bookmark(self._store.storage.revision, {"k8s.io/initial-events-end": "true"}))
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


def place_of(record: Record) -> tuple[str, str]:
    """(namespace, name) of a record."""
    meta = record.obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _replay(watch: Watch, revision: int | None) -> StatusError | None:
    try:
        watch.replay(revision or None)
    except StatusError as error:
        return error
    return None


class _Bookmark(Protocol):
    def __call__(self, revision: int, annotations: Obj | None = None) -> Obj: ...


def _bookmark(resource: Resource) -> _Bookmark:
    def made(revision: int, annotations: Obj | None = None) -> Obj:
        meta: Obj = {"resourceVersion": str(revision), **({"annotations": annotations} if annotations else {})}
        return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}

    return made


def _check_watch(query: Query) -> None:
    """How a WATCH may begin. Raises 422."""
    initial, match = "sendInitialEvents" in query, query.get("resourceVersionMatch", "")
    field, causes = "resourceVersionMatch", []
    if match and not initial:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(errors.forbidden_value(field, why))
    if initial and match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(errors.forbidden_value(field, why))
        if match:
            causes.append(errors.not_supported(field, match, ["NotOlderThan"]))
    if causes:
        raise errors.options("ListOptions", *causes)


def _check_versions(query: Query) -> None:
    """Which resourceVersion a LIST may ask for, and how. Raises 400 and 422."""
    version, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    field = "resourceVersionMatch"
    causes = []
    if match and not version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        causes.append(errors.forbidden_value(field, why))
    if "sendInitialEvents" in query:
        causes.append(errors.forbidden_value("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if causes:
        raise errors.options("ListOptions", *causes)
    if match not in ("", "Exact", "NotOlderThan"):
        cause = errors.not_supported(field, match, ["Exact", "NotOlderThan", ""])
        raise errors.options("ListOptions", cause)
    if match == "Exact" and version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        raise errors.options("ListOptions", errors.forbidden_value(field, why))
    if query.get("continue") and version not in ("", "0"):
        raise errors.bad_request("specifying resource version is not allowed when using continue")
