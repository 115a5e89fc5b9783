"""Cases about objects: their life, their patches, what is refused of them, and how they go."""

from typing import Any

from controlplane.conformance.requests import Case, Step, delete, get, gone, patch, post, put

MAPS = "/api/v1/namespaces/$ns/configmaps"
PODS = "/api/v1/namespaces/$ns/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/$ns/deployments"


def config(name: str, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "labels": {"name": name}, **more}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"x": "1"}}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod on a node that nobody watches: what a kubelet would do, the case does."""
    containers = [{"name": "main", "image": "trainer:1"}]
    meta = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers, **spec}}


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "trainer:1"}]}}
    body = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


MADE = post(MAPS, config("a"), fieldManager="me")
KEPT = Step("POST", MAPS, config("a"), keep={"rv": "metadata.resourceVersion", "uid": "metadata.uid"})
CHANGED = patch(f"{MAPS}/a", "merge", {"data": {"x": "2"}})

LIFE = [
    Case("created, read, deleted", (MADE, get(f"{MAPS}/a"), delete(f"{MAPS}/a"), get(f"{MAPS}/a"))),
    Case("created twice", (MADE, MADE)),
    Case("created with a generated name", (post(MAPS, {"metadata": {"generateName": "a-"}}),)),
    Case("created without a name", (post(MAPS, {"metadata": {}}),)),
    Case("created where no namespace is", (post(MAPS.replace("$ns", "nowhere"), config("a")),)),
    Case("created in another namespace than it says", (post(MAPS, config("a", namespace="default")),)),
    Case("created as another kind", (post(MAPS, {**config("a"), "kind": "Secret"}),)),
    Case("created without kind", (post(MAPS, {"metadata": {"name": "a"}}),)),
    Case("created with a resourceVersion", (post(MAPS, config("a", resourceVersion="1")),)),
    Case("created by what is no JSON", (post(MAPS, "{"), post(MAPS, "[]"), post(MAPS, ""), post(MAPS, "null"))),
    Case("created in a media type that nobody knows", (Step("POST", MAPS, config("a"), media="text/csv"),)),
    Case("created as YAML", (Step("POST", MAPS, "metadata: {name: a}\n", media="application/yaml"),)),
    Case("asked for in a media type that nobody knows", (MADE, Step("GET", f"{MAPS}/a", accept="text/csv"))),
    Case("tried only", (post(MAPS, config("a"), dryRun="All"), get(f"{MAPS}/a"), post(MAPS, config("a"), dryRun="x"))),
    Case("replaced", (KEPT, put(f"{MAPS}/a", {**config("a", resourceVersion="$rv"), "data": {}}), get(f"{MAPS}/a"))),
    Case("replaced without a resourceVersion", (MADE, put(f"{MAPS}/a", config("a")))),
    Case("replaced too late", (KEPT, CHANGED, put(f"{MAPS}/a", config("a", resourceVersion="$rv")))),
    Case("replaced as another object", (KEPT, put(f"{MAPS}/a", config("a", uid="1234")))),
    Case("replaced under another name", (MADE, put(f"{MAPS}/a", config("b")))),
    Case("replaced without a name", (MADE, put(f"{MAPS}/a", {"data": {"x": "2"}}))),
    Case("replaced where nothing is", (put(f"{MAPS}/a", config("a")),)),
    Case("replaced by the same", (KEPT, put(f"{MAPS}/a", config("a", resourceVersion="$rv")))),
    Case("unknown fields, strictly", (post(MAPS, {**config("a"), "odd": 1}, fieldValidation="Strict"),)),
    Case("an unknown field, dropped", (post(MAPS, {**config("a"), "odd": 1}),)),
    Case("field validation that nobody knows", (post(MAPS, config("a"), fieldValidation="Odd"),)),
    Case("methods that make no sense", (post(f"{MAPS}/a", {}), put(MAPS, {}), patch(MAPS, "merge", {}))),
    Case("no such resource", (get("/api/v1/namespaces/$ns/things"), get("/apis/nowhere.dev/v1/things"))),
    Case("no such subresource", (MADE, get(f"{MAPS}/a/status"), post(f"{PODS}/a/odd", {}))),
    Case("cluster-wide by a path with a namespace", (get("/api/v1/namespaces/$ns/nodes"),)),
    Case("namespaced by a path without one", (post("/api/v1/configmaps", config("a")),)),
    Case("a namespace of one's own", (get("/api/v1/namespaces/$ns"),)),
]

PATCHES = [
    Case("merge", (MADE, patch(f"{MAPS}/a", "merge", {"data": {"x": None, "y": "2"}}), get(f"{MAPS}/a"))),
    Case("merge with no object", (MADE, patch(f"{MAPS}/a", "merge", [1]), patch(f"{MAPS}/a", "merge", "{"))),
    Case("merge that changes nothing", (MADE, patch(f"{MAPS}/a", "merge", {"data": {"x": "1"}}))),
    Case("merge where nothing is", (patch(f"{MAPS}/a", "merge", {}),)),
    Case("merge that renames", (MADE, patch(f"{MAPS}/a", "merge", {"metadata": {"name": "b"}}))),
    Case("merge too late", (KEPT, CHANGED, patch(f"{MAPS}/a", "merge", {"metadata": {"resourceVersion": "$rv"}}))),
    Case("merge for another uid", (MADE, patch(f"{MAPS}/a", "merge", {"metadata": {"uid": "1234"}}))),
    Case("merge with a wrong type", (MADE, patch(f"{MAPS}/a", "merge", {"data": {"x": 1}}))),
    Case("merge with a wrong label", (MADE, patch(f"{MAPS}/a", "merge", {"metadata": {"labels": {"a": "b c"}}}))),
    *(
        Case(f"JSON patch: {what}", (MADE, patch(f"{MAPS}/a", "json", operations), get(f"{MAPS}/a")))
        for what, operations in {
            "add, replace, remove": [
                {"op": "add", "path": "/data/y", "value": "2"},
                {"op": "replace", "path": "/data/x", "value": "3"},
                {"op": "remove", "path": "/metadata/labels"},
            ],
            "move, copy": [
                {"op": "copy", "from": "/data/x", "path": "/data/y"},
                {"op": "move", "from": "/data/x", "path": "/data/z"},
            ],
            "a test that holds": [{"op": "test", "path": "/data/x", "value": "1"}],
            "a test that fails": [{"op": "test", "path": "/data/x", "value": "2"}],
            "a test of nothing": [{"op": "test", "path": "/metadata/annotations", "value": None}],
            "a test of nothing below nothing": [{"op": "test", "path": "/metadata/annotations/a", "value": None}],
            "a replacement of nothing": [{"op": "replace", "path": "/data/y", "value": "2"}],
            "a removal of nothing": [{"op": "remove", "path": "/data/y"}],
            "an addition below nothing": [{"op": "add", "path": "/metadata/annotations/a", "value": "1"}],
            "an odd operation": [{"op": "odd", "path": "/data/y"}],
            "no operation": [{"path": "/data/y"}],
            "no list": {"op": "remove", "path": "/data/x"},
            "no path": [{"op": "remove"}],
            "a relative path": [{"op": "remove", "path": "data/x"}],
            "nothing": [],
            "a finalizer that is not there": [{"op": "remove", "path": "/metadata/finalizers/0"}],
            "the end of a list": [
                {"op": "add", "path": "/metadata/finalizers", "value": ["a.b/c"]},
                {"op": "add", "path": "/metadata/finalizers/-", "value": "a.b/d"},
                {"op": "remove", "path": "/metadata/finalizers/-1"},
                {"op": "remove", "path": "/metadata/finalizers/0"},
            ],
        }.items()
    ),
    Case("a patch of no type", (MADE, Step("PATCH", f"{MAPS}/a", {}), patch(f"{MAPS}/a", "text/csv", {}))),
    Case(
        "strategic: containers merge by name",
        (
            post(DEPLOYMENTS, deployment("d")),
            patch(
                f"{DEPLOYMENTS}/d",
                "strategic",
                {
                    "spec": {
                        "template": {
                            "spec": {"containers": [{"name": "main", "image": "b"}, {"name": "c", "image": "d"}]}
                        }
                    }
                },
            ),
            patch(
                f"{DEPLOYMENTS}/d",
                "strategic",
                {"spec": {"template": {"spec": {"containers": [{"name": "c", "$patch": "delete"}]}}}},
            ),
        ),
    ),
    Case(
        "strategic: an element without its key",
        (
            post(DEPLOYMENTS, deployment("d")),
            patch(f"{DEPLOYMENTS}/d", "strategic", {"spec": {"template": {"spec": {"containers": [{"image": "b"}]}}}}),
        ),
    ),
    Case(
        "strategic: an odd directive",
        (MADE, patch(f"{MAPS}/a", "strategic", {"data": {"$patch": "odd"}})),
    ),
]

ENDS = [
    Case(
        "a finalizer keeps it",
        (
            post(MAPS, config("a", finalizers=["example.com/hold"])),
            delete(f"{MAPS}/a"),
            get(f"{MAPS}/a"),
            delete(f"{MAPS}/a"),
            patch(f"{MAPS}/a", "merge", {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}),
            patch(f"{MAPS}/a", "merge", {"metadata": {"finalizers": None}}),
            get(f"{MAPS}/a"),
        ),
    ),
    Case("a finalizer with a bad name", (post(MAPS, config("a", finalizers=["hold it"])),)),
    Case("a finalizer without a domain", (post(MAPS, config("a", finalizers=["hold"])),)),
    Case("deleted for another uid", (MADE, delete(f"{MAPS}/a", {"preconditions": {"uid": "1234"}}))),
    Case("deleted for another version", (MADE, delete(f"{MAPS}/a", {"preconditions": {"resourceVersion": "1"}}))),
    Case("deleted for this one", (KEPT, delete(f"{MAPS}/a", {"preconditions": {"uid": "$uid"}}))),
    Case("deleted in an odd way", (MADE, delete(f"{MAPS}/a", {"propagationPolicy": "Odd"}))),
    Case("deleted in two ways", (MADE, delete(f"{MAPS}/a", {"propagationPolicy": "Orphan", "orphanDependents": True}))),
    Case("tried only to delete", (MADE, delete(f"{MAPS}/a", dryRun="All"), get(f"{MAPS}/a"))),
    Case("deleted where nothing is", (delete(f"{MAPS}/a"),)),
    Case("a namespace of another name", (get("/api/v1/namespaces/nowhere"), delete("/api/v1/namespaces/nowhere"))),
    *(
        Case(
            f"an owner goes: {policy}",
            (
                Step("POST", MAPS, config("owner"), keep={"uid": "metadata.uid"}),
                post(
                    MAPS,
                    config(
                        "mine",
                        ownerReferences=[
                            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "$uid"},
                        ],
                    ),
                ),
                delete(f"{MAPS}/owner", propagationPolicy=policy),
                gone(f"{MAPS}/owner"),
                get(f"{MAPS}/mine") if policy == "Orphan" else gone(f"{MAPS}/mine"),
            ),
        )
        for policy in ("Background", "Foreground", "Orphan")
    ),
    Case("an owner without a uid", (post(MAPS, config("a", ownerReferences=[{"kind": "ConfigMap", "name": "b"}])),)),
    Case(
        "two owners that control",
        (
            post(
                MAPS,
                config(
                    "a",
                    ownerReferences=[
                        {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name, "controller": True}
                        for name in ("b", "c")
                    ],
                ),
            ),
        ),
    ),
    Case(
        "a pod with grace",
        (
            post(PODS, pod("p", nodeName="nobody")),
            delete(f"{PODS}/p"),
            delete(f"{PODS}/p", gracePeriodSeconds="60"),
            delete(f"{PODS}/p", gracePeriodSeconds="5"),
            get(f"{PODS}/p"),
            delete(f"{PODS}/p", gracePeriodSeconds="0"),
            get(f"{PODS}/p"),
        ),
    ),
    Case("a pod without a node", (post(PODS, pod("p", schedulerName="none")), delete(f"{PODS}/p"), get(f"{PODS}/p"))),
    Case(
        "a pod with a negative grace",
        (post(PODS, pod("p", nodeName="nobody")), delete(f"{PODS}/p", gracePeriodSeconds="-1")),
    ),
    Case("a grace that is no number", (MADE, delete(f"{MAPS}/a", gracePeriodSeconds="soon"))),
    Case(
        "a pod is evicted",
        (
            post(PODS, pod("p", nodeName="nobody")),
            post(f"{PODS}/p/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}),
            get(f"{PODS}/p"),
            post(f"{PODS}/q/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}}),
        ),
    ),
    Case(
        "collections",
        (
            *(post(MAPS, config(name)) for name in ("a", "b", "c")),
            delete(MAPS, labelSelector="name in (a,b)"),
            Step("GET", MAPS, query={"labelSelector": "name"}, same=("items.*.metadata.name",)),
        ),
    ),
]
