"""What the API says about itself: versions, groups, resources, and just enough OpenAPI for kubectl."""

from apportion.sandbox.kinds import Catalog, Resource
from apportion.sandbox.trees import Obj

VERSION: Obj = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+apportion-sandbox",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-04-22T00:00:00Z",
    "goVersion": "none",
    "compiler": "python",
    "platform": "any",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_VIRTUAL = {
    ("authorization.k8s.io", "v1"): (
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ),
    ("authentication.k8s.io", "v1"): (("selfsubjectreviews", "SelfSubjectReview"),),
}
"""Resources that can be created only, and answer at once."""


def api_versions() -> Obj:
    """GET /api"""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _versions(catalog: Catalog) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    pairs = [(resource.group, resource.version) for resource in catalog.all()]
    for group, version in [*pairs, *_VIRTUAL]:
        versions = groups.setdefault(group, [])
        if version not in versions:
            versions.append(version)
    groups.pop("", None)
    return groups


def _group(name: str, versions: list[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group_list(catalog: Catalog) -> Obj:
    """GET /apis"""
    groups = [_group(name, versions) for name, versions in _versions(catalog).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(catalog: Catalog, name: str) -> Obj | None:
    """GET /apis/<group>"""
    versions = _versions(catalog).get(name)
    return None if versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resource_list(catalog: Catalog, name: str, version: str) -> Obj | None:
    """GET /api/v1 and /apis/<group>/<version>; None for one that is not served."""
    served = [r for r in catalog.all() if r.group == name and r.version == version]
    virtual = _VIRTUAL.get((name, version), ())
    if not served and not virtual:
        return None
    entries: list[Obj] = [
        {"name": plural, "singularName": "", "namespaced": False, "kind": kind, "verbs": ["create"]}
        for plural, kind in virtual
    ]
    for resource in served:
        entries += _entries(resource)
    version_text = f"{name}/{version}" if name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version_text, "resources": entries}


_FOREIGN = {
    "binding": ("", "v1", "Binding", ["create"]),
    "eviction": ("policy", "v1", "Eviction", ["create"]),
    "scale": ("autoscaling", "v1", "Scale", ["get", "patch", "update"]),
}


def _entries(resource: Resource) -> list[Obj]:
    entry: Obj = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _VERBS,
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entries = [entry]
    for name in sorted(resource.subresources):
        below: Obj = {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": ["get", "patch", "update"],
        }
        if name in _FOREIGN:
            below["group"], below["version"], below["kind"], below["verbs"] = _FOREIGN[name]
        entries.append(below)
    return entries


def _path(name: str, version: str) -> str:
    return f"apis/{name}/{version}" if name else f"api/{version}"


def openapi_index(catalog: Catalog) -> Obj:
    """GET /openapi/v3"""
    pairs = dict.fromkeys((r.group, r.version) for r in catalog.all())
    paths = [_path(name, version) for name, version in pairs]
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in paths}}


def openapi_document(catalog: Catalog, path: str, schemas: dict[Resource, Obj]) -> Obj | None:
    """GET /openapi/v3/<path>: that PATCH takes fieldValidation, and the schemas of custom resources for `explain`."""
    served = [r for r in catalog.all() if _path(r.group, r.version) == path]
    if not served:
        return None
    paths: Obj = {}
    components: Obj = {}
    for resource in served:
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        query = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("fieldValidation", "dryRun")]
        paths[f"/{path}{scope}/{resource.plural}/{{name}}"] = {
            "get": {"x-kubernetes-group-version-kind": kind, "responses": {}},
            "patch": {
                "parameters": query,
                "requestBody": {"content": {"application/merge-patch+json": {}}},
                "responses": {},
                "x-kubernetes-group-version-kind": kind,
            },
        }
        schema = schemas.get(resource, {"type": "object"})
        components[f"{resource.kind}"] = {**schema, "x-kubernetes-group-version-kind": [kind]}
    info = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": components}}
