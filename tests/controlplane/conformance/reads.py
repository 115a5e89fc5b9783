"""Cases about reading: selectors, pages, Tables, watches."""

from controlplane.conformance.objects import DEPLOYMENTS, MAPS, PODS, config, deployment, pod
from controlplane.conformance.requests import Case, Step, delete, get, patch, post, table, watch

THREE = tuple(post(MAPS, config(name)) for name in ("a", "b", "c"))
NAMES = ("items.*.metadata.name",)


def listed(path: str, **query: str) -> Step:
    return Step("GET", path, query=query, same=NAMES)


LABELS = """name=a|name==b|name!=a|name in (a,b)|name notin (a, b)|!name|name|odd|name,name!=c|name=|odd!=x| name = a |\
name in (a),name notin (b)|a.b/c notin (d)|name>1|name<1"""
NO_LABELS = "name in|name in (a|=a|name=a b|,|na me=a|name=-a|!name=a|name in ()|name>a"
MAP_FIELDS = ("metadata.name=a", "metadata.name!=a", "metadata.namespace=$ns", "metadata.name==b", "")
POD_FIELDS = """spec.nodeName=nobody|spec.nodeName=|spec.nodeName!=|status.phase=Pending|status.phase!=Pending|\
spec.schedulerName=none|spec.restartPolicy=Always|spec.nodeName=nobody,status.phase=Running|spec.hostNetwork=false|\
spec.serviceAccountName=default|status.podIP=|status.nominatedNodeName="""
NO_FIELDS = "spec.odd=1|odd|metadata.name|metadata.labels.x=1|metadata.uid=1"

SELECTORS = [
    Case("by labels", (*THREE, *(listed(MAPS, labelSelector=selector) for selector in LABELS.split("|")))),
    *(
        Case(f"by labels that cannot be read: {text}", (get(MAPS, labelSelector=text),))
        for text in NO_LABELS.split("|")
    ),
    Case("by fields", (*THREE, *(listed(MAPS, fieldSelector=selector) for selector in MAP_FIELDS))),
    Case(
        "by fields of pods",
        (
            post(PODS, pod("p", nodeName="nobody")),
            post(PODS, pod("q", schedulerName="none")),
            *(listed(PODS, fieldSelector=selector) for selector in POD_FIELDS.split("|")),
        ),
    ),
    Case(
        "by fields that cannot be read",
        tuple(
            get(f"/api/v1/namespaces/$ns/{what}", fieldSelector=selector)
            for what in ("pods", "configmaps")
            for selector in NO_FIELDS.split("|")
        ),
    ),
    Case("by fields of nodes", (get("/api/v1/nodes", fieldSelector="spec.unschedulable=true,metadata.name=x"),)),
    Case(
        "by fields of events",
        (get("/api/v1/namespaces/$ns/events", fieldSelector="involvedObject.name=x,reason=y,type=Normal"),),
    ),
    Case(
        "by fields of Deployments",
        (
            post(DEPLOYMENTS, deployment("d", paused=True)),
            listed(DEPLOYMENTS, fieldSelector="metadata.name=d"),
            get(DEPLOYMENTS, fieldSelector="spec.replicas=0"),
        ),
    ),
]

LISTS = [
    Case("nothing", (get(MAPS, labelSelector="none=none"), get(DEPLOYMENTS))),
    Case(
        "pages",
        (
            *THREE,
            Step("GET", MAPS, query={"limit": "2"}, keep={"more": "metadata.continue"}, same=NAMES),
            Step("GET", MAPS, query={"limit": "2", "continue": "$more"}, same=NAMES),
            get(MAPS, limit="1", resourceVersion="0"),
            get(MAPS, limit="2", **{"continue": "x"}),
            get(MAPS, limit="2", **{"continue": "$more", "resourceVersion": "1"}),
            get(MAPS, limit="many"),
            get(MAPS, limit="-1"),
        ),
    ),
    Case(
        "versions",
        (
            *THREE,
            Step("GET", MAPS, keep={"rv": "metadata.resourceVersion"}),
            listed(MAPS, resourceVersion="0"),
            listed(MAPS, resourceVersion="$rv"),
            listed(MAPS, resourceVersion="$rv", resourceVersionMatch="NotOlderThan"),
            listed(MAPS, resourceVersion="$rv", resourceVersionMatch="Exact"),
            get(MAPS, resourceVersion="new"),
            get(MAPS, resourceVersionMatch="Exact"),
            get(MAPS, resourceVersion="$rv", resourceVersionMatch="Odd"),
            get(MAPS, resourceVersion="0", resourceVersionMatch="Exact"),
            get(MAPS, resourceVersion="1", resourceVersionMatch="Exact"),
            get(MAPS, resourceVersion="999999999"),
            get(f"{MAPS}/a", resourceVersion="0"),
        ),
    ),
    Case(
        "a version that was overwritten",
        (
            *THREE,
            Step("GET", MAPS, keep={"rv": "metadata.resourceVersion"}),
            delete(f"{MAPS}/b"),
            listed(MAPS, resourceVersion="$rv", resourceVersionMatch="Exact"),
        ),
    ),
]

HEADS = ("columnDefinitions.*.name", "columnDefinitions.*.type", "columnDefinitions.*.priority")
SHAPES = [
    Case(
        "Tables",
        (
            post(MAPS, config("a")),
            table(MAPS, (*HEADS, "rows.*.cells.0")),
            table(f"{MAPS}/a", HEADS),
            table(MAPS, HEADS, includeObject="None"),
            table(MAPS, HEADS, includeObject="Object"),
            table(MAPS, includeObject="Odd"),
        ),
    ),
    *(
        Case(f"a Table of {path.rpartition('/')[2]}", (table(path, HEADS),))
        for path in (
            "/api/v1/nodes", "/api/v1/namespaces/$ns/events", "/api/v1/namespaces/$ns/secrets",
            "/api/v1/namespaces/$ns/services", "/apis/apps/v1/namespaces/$ns/replicasets",
            "/apis/apps/v1/namespaces/$ns/statefulsets", "/apis/coordination.k8s.io/v1/namespaces/$ns/leases",
            "/apis/policy/v1/namespaces/$ns/poddisruptionbudgets",
            "/api/v1/namespaces/$ns/resourcequotas", "/api/v1/namespaces/$ns/serviceaccounts",
        )
    ),
    *(
        # One object by name: the real server is shared, and other tests leave objects without a namespace on it.
        Case(f"a Table of {path.rpartition('/')[2]}", (table(path, HEADS, fieldSelector=f"metadata.name={name}"),))
        for path, name in (
            ("/api/v1/namespaces", "$ns"),
            ("/apis/scheduling.k8s.io/v1/priorityclasses", "system-node-critical"),
            ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "queues.apportion.dev"),
        )
    ),
    Case("a Table of Deployments", (post(DEPLOYMENTS, deployment("d", paused=True)), table(DEPLOYMENTS, HEADS))),
    Case(
        "a Table of pods",
        (post(PODS, pod("p", nodeName="nobody")), table(PODS, (*HEADS, "rows.*.cells.1", "rows.*.cells.2"))),
    ),
    *(
        Case(
            f"as {what}",
            (
                post(MAPS, config("a")),
                Step("GET", MAPS, accept=f"application/json;as={what};v=v1;g=meta.k8s.io"),
                Step("GET", f"{MAPS}/a", accept=f"application/json;as={what};v=v1;g=meta.k8s.io"),
            ),
        )
        for what in ("PartialObjectMetadataList", "PartialObjectMetadata", "Odd")
    ),
]  # fmt: skip

TYPES = ("*.type", "*.object.metadata.name")


def watched(path: str, **query: str) -> Step:
    step = watch(path, **query)
    return Step("GET", path, query=step.query, same=TYPES)


WATCHES = [
    Case("from now", (*THREE, watched(MAPS, labelSelector="name"))),
    Case("from a version", (
        Step("POST", MAPS, config("a"), keep={"rv": "metadata.resourceVersion"}),
        post(MAPS, config("b")),
        patch(f"{MAPS}/b", "merge", {"data": {"x": "2"}}),
        delete(f"{MAPS}/b"),
        watched(MAPS, resourceVersion="$rv"),
    )),
    Case("as a selection sees it", (
        Step("POST", MAPS, config("a"), keep={"rv": "metadata.resourceVersion"}),
        patch(f"{MAPS}/a", "merge", {"data": {"x": "2"}}),
        patch(f"{MAPS}/a", "merge", {"metadata": {"labels": {"name": "z"}}}),
        patch(f"{MAPS}/a", "merge", {"metadata": {"labels": {"name": "a"}}}),
        delete(f"{MAPS}/a"),
        watched(MAPS, resourceVersion="$rv", labelSelector="name=a"),
    )),
    Case("of one object", (*THREE, watched(MAPS, fieldSelector="metadata.name=b"))),
    Case("from a version that is none", (get(MAPS, watch="true", resourceVersion="new"),)),
    Case("that begins with what there is and marks its end", (
        post(MAPS, config("a")),
        watched(MAPS, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true"),
        get(MAPS, watch="true", sendInitialEvents="true", timeoutSeconds="1"),
        get(MAPS, watch="true", sendInitialEvents="true", resourceVersionMatch="Exact", timeoutSeconds="1"),
        get(MAPS, watch="true", resourceVersionMatch="NotOlderThan", timeoutSeconds="1"),
        get(MAPS, sendInitialEvents="true", resourceVersionMatch="NotOlderThan"),
    )),
    Case("as Tables", (
        post(MAPS, config("a")),
        Step("GET", MAPS, query={"watch": "true", "timeoutSeconds": "1", "fieldSelector": "metadata.name=a"},
             accept="application/json;as=Table;v=v1;g=meta.k8s.io"),
    )),
    Case("with a timeout that is none", (get(MAPS, watch="true", timeoutSeconds="soon"),)),
]  # fmt: skip
