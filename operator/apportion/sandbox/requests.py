"""A request as the API server understands it: what its path names and what its headers and query ask for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import yaml

from apportion.sandbox.errors import bad_request, not_acceptable, not_supported, options, unsupported_media_type
from apportion.sandbox.kinds import Catalog, Resource
from apportion.sandbox.trees import Obj

_JSON_TYPES = frozenset({"", "application/json", "application/json-patch+json", "application/merge-patch+json",
                         "application/strategic-merge-patch+json", "application/octet-stream"})  # fmt: skip
_YAML_TYPES = frozenset({"application/yaml", "application/apply-patch+yaml"})
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True)
class Target:
    """What a path names. `name` is empty for a collection, `namespace` for all of them or for none."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def split_group(path: str) -> tuple[str, str, list[str]] | None:
    """(group, version, rest) of a path under /api or /apis; None for others."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) >= 2:
        return "", parts[1], parts[2:]
    if parts[0] == "apis" and len(parts) >= 3:
        return parts[1], parts[2], parts[3:]
    return None


def target_of(catalog: Catalog, group: str, version: str, rest: list[str]) -> Target | None:
    """The target of a resource path; None when nothing is served there."""
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    resource = catalog.at(group, version, rest[0])
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        return None
    if name and resource.namespaced and not namespace:
        return None
    return Target(resource, namespace, name, subresource)


def decode(content_type: str, body: bytes) -> Any:
    """The body as a JSON tree; None for an empty one. Raises 400 and 415."""
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        return None
    try:
        if kind in _JSON_TYPES:
            decoded = json.loads(body)
            return {} if decoded is None else decoded
        if kind in _YAML_TYPES:
            return yaml.safe_load(body)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"couldn't decode the body of the request: {error}") from None
    raise unsupported_media_type(
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml"
    )


def wanted_shape(accept: str) -> str:
    """Table, PartialObjectMetadata or "" for the object itself. Raises 406 when JSON would not do."""
    acceptable = not accept
    for clause in accept.split(","):
        media, *parameters = [part.strip() for part in clause.split(";")]
        if media not in ("application/json", "*/*", "application/*"):
            continue
        options = dict(part.split("=", 1) for part in parameters if "=" in part)
        shape = options.get("as", "").removesuffix("List")
        if not shape:
            return ""
        if options.get("g") == "meta.k8s.io" and options.get("v") == "v1" and shape in _SHAPES:
            return shape
    if not acceptable:
        raise not_acceptable("application/json, application/yaml")
    return ""


_SHAPES = frozenset({"Table", "PartialObjectMetadata"})


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean query parameter, as Go's strconv reads it."""
    return query.get(name, "").lower() in ("true", "1", "t")


def number(query: Mapping[str, str], name: str) -> int | None:
    """A whole number among the query parameters. Raises 400."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def dry_run(query: Mapping[str, str], kind: str, body: Obj | None = None) -> bool:
    """Whether nothing is to be stored; `kind` of the options that say it. Raises 422 for a dryRun that is not All."""
    asked = [query["dryRun"]] if "dryRun" in query else (body or {}).get("dryRun") or []
    if any(word != "All" for word in asked):
        raise options(kind, not_supported("dryRun", asked, ["All"]))
    return bool(asked)


def is_strict(query: Mapping[str, str], kind: str) -> bool:
    """Whether unknown fields are refused. Raises 422."""
    asked = query.get("fieldValidation", "")
    if asked not in _FIELD_VALIDATIONS:
        raise options(kind, not_supported("fieldValidation", asked, list(_FIELD_VALIDATIONS)))
    return asked == "Strict"


_FIELD_VALIDATIONS = ("", "Ignore", "Strict", "Warn")


def manager_of(query: Mapping[str, str], user_agent: str) -> str:
    """Who writes: the fieldManager parameter, else the program of the User-Agent, as the real server does it."""
    return query.get("fieldManager") or user_agent.partition("/")[0][:128] or "unknown"
