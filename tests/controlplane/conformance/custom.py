"""Cases about custom resources: Apportion's own, and one of the tests' for what Apportion's do not use."""

from typing import Any

from controlplane.conformance.requests import Case, Step, delete, get, patch, post, put, table
from unit.api_cases import CASES, VALID, changed

GROUP = "/apis/apportion.dev/v1alpha1"
PATHS = {
    "TrainingJob": f"{GROUP}/namespaces/$ns/trainingjobs",
    "Queue": f"{GROUP}/queues",
    "AllocationPolicy": f"{GROUP}/allocationpolicies",
}
JOBS = PATHS["TrainingJob"]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/$ns.example.com/v1/namespaces/$ns/widgets"
HEADS = ("columnDefinitions.*.name", "columnDefinitions.*.type", "columnDefinitions.*.priority")


def job(**changes: Any) -> dict[str, Any]:
    made = changed("TrainingJob", {f"spec.{path.replace('__', '.')}": value for path, value in changes.items()})
    made["metadata"] = {"name": "job"}
    return made


def verdict(kind: str, changes: dict[str, Any]) -> Case:
    """Tried only: a policy has one name for all."""
    body = changed(kind, changes)
    body["metadata"].pop("namespace", None)
    return Case("", (post(PATHS[kind], body, dryRun="All"),))


VERDICTS = [Case(f"{kind}: {said}", verdict(kind, changes).steps) for said, kind, changes, _ in CASES if kind in VALID]

MADE = post(JOBS, job())
OURS = [
    Case("made, listed, shown", (MADE, get(f"{JOBS}/job"), get(JOBS), table(JOBS, HEADS), table(f"{JOBS}/job", HEADS))),
    Case("made with fields that nobody knows", (
        post(JOBS, {**job(), "odd": 1}),
        patch(f"{JOBS}/job", "merge", {"spec": {"odd": 1}}),
        post(JOBS, {**job(), "odd": 1}, fieldValidation="Strict", dryRun="All"),
    )),
    Case("replaced without a resourceVersion", (MADE, put(f"{JOBS}/job", job()))),
    Case("replaced", (
        Step("POST", JOBS, job(), keep={"rv": "metadata.resourceVersion"}),
        put(f"{JOBS}/job", {**job(), "metadata": {"name": "job", "resourceVersion": "$rv"}}),
        put(f"{JOBS}/job", {**job(maxReplicas=17), "metadata": {"name": "job", "resourceVersion": "$rv"}}),
        put(f"{JOBS}/job", {**job(maxReplicas=18), "metadata": {"name": "job", "resourceVersion": "$rv"}}),
    )),
    Case("the status apart", (
        post(JOBS, {**job(), "status": {"phase": "Running"}}),
        patch(f"{JOBS}/job", "merge", {"status": {"phase": "Running"}}),
        patch(f"{JOBS}/job/status", "merge", {"status": {"phase": "Running"}, "spec": {"suspend": True}}),
        patch(f"{JOBS}/job/status", "merge", {"metadata": {"labels": {"a": "b"}}}),
        patch(f"{JOBS}/job/status", "merge", {"status": {"phase": "Odd"}}),
        patch(f"{JOBS}/job/status", "merge", {"status": {"odd": 1}}),
        patch(f"{JOBS}/job/status", "json", [{"op": "test", "path": "/status/phase", "value": "Odd"}]),
        get(f"{JOBS}/job/status"),
        put(f"{JOBS}/job/status", job()),
    )),
    Case("what cannot change", (
        MADE,
        patch(f"{JOBS}/job", "merge", {"spec": {"workloadRef": {"name": "other"}}}),
        patch(f"{JOBS}/job", "json", [
            {"op": "remove", "path": "/spec/workloadRef"},
            {"op": "add", "path": "/spec/template", "value": {"spec": {"containers": [{}]}}},
        ]),
        patch(f"{JOBS}/job", "merge", {"spec": {"minReplicas": 17}}),
    )),
    Case("patched", (
        MADE,
        patch(f"{JOBS}/job", "strategic", {"spec": {"suspend": True}}),
        patch(f"{JOBS}/job", "json", [{"op": "replace", "path": "/spec/suspend", "value": True}]),
        patch(f"{JOBS}/job", "merge", {"spec": {"maxReplicas": "many"}}),
        patch(f"{JOBS}/job", "merge", {"spec": None}),
        patch(f"{JOBS}/job", "merge", {"kind": "Queue"}),
    )),
    Case("no such thing of theirs", (
        get(f"{JOBS}/job"), get(f"{JOBS}/job/scale"), get(f"{GROUP}/namespaces/$ns/queues"), get(f"{GROUP}/odd"),
        get("/apis/apportion.dev/v2/trainingjobs"), post(f"{GROUP}/trainingjobs", job()),
        get(JOBS, fieldSelector="spec.suspend=true"), get(JOBS, fieldSelector="metadata.name=x"),
    )),
]  # fmt: skip

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "default": {},
            "properties": {
                "count": {"type": "integer", "minimum": 1, "default": 3},
                "amount": {"type": "integer"},
                "share": {"x-kubernetes-int-or-string": True},
                "when": {"type": "string", "format": "date-time"},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "named": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 3}},
                "maybe": {"type": "string", "nullable": True},
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 9,
                         "items": {"type": "string", "maxLength": 9}},
                "parts": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                },
            },
        },
        "status": {"type": "object", "properties": {"count": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}  # fmt: skip


def definition(**changes: Any) -> dict[str, Any]:
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {"status": {}, "scale": {
            "specReplicasPath": ".spec.count", "statusReplicasPath": ".status.count",
            "labelSelectorPath": ".status.selector",
        }},
        "additionalPrinterColumns": [{"name": "Count", "type": "integer", "jsonPath": ".spec.count"}],
    }  # fmt: skip
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "shortNames": ["wd"]}
    spec = {"group": "$ns.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.$ns.example.com"}, "spec": {**spec, **changes}}  # fmt: skip


def widget(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "$ns.example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


def ruled(rule: str) -> dict[str, Any]:
    """A definition with one CEL rule, and without the default of spec, which the rule would be asked about."""
    made = definition()
    spec = {**SCHEMA["properties"]["spec"], "x-kubernetes-validations": [{"rule": rule}]}
    del spec["default"]
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "spec": spec}}
    made["spec"]["versions"] = [{**made["spec"]["versions"][0], "schema": {"openAPIV3Schema": schema}}]
    return made


SERVED = Step("GET", WIDGETS, until=200)
WIDGET_VALUES: tuple[dict[str, Any], ...] = (
    {}, {"count": 0}, {"count": None}, {"amount": 1.0}, {"amount": 1.5}, {"share": "5%"}, {"share": 5}, {"share": 1.5},
    {"share": []}, {"when": "2026-01-02T03:04:05Z"}, {"when": "soon"}, {"any": {"a": [1]}}, {"any": 1},
    {"named": {"a": "abc"}}, {"named": {"a": "abcd"}}, {"named": {"a": 1}}, {"maybe": None}, {"maybe": 1},
    {"tags": ["a", "a"]}, {"parts": [{"name": "a"}, {"name": "a"}]}, {"parts": [{}]}, {"parts": [None]},
    {"odd": 1}, {"count": 0, "share": [], "maybe": 1},
)  # fmt: skip
GOES = [
    Case(
        "a definition",
        (
            post(DEFINITIONS, definition()),
            SERVED,
            delete(f"{DEFINITIONS}/widgets.$ns.example.com"),
            Step("GET", WIDGETS, until=404),
        ),
    )
]
KINDS = [
    Case("a new kind", (
        post(DEFINITIONS, definition()),
        SERVED,
        *(post(WIDGETS, widget(**spec), dryRun="All") for spec in WIDGET_VALUES),
        post(WIDGETS, {"apiVersion": "$ns.example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}),
        table(WIDGETS, (*HEADS, "rows.*.cells.0", "rows.*.cells.1")),
        get(f"{WIDGETS}/w/scale"),
        patch(f"{WIDGETS}/w/scale", "merge", {"spec": {"replicas": 5}}),
        patch(f"{WIDGETS}/w/scale", "merge", {"spec": {"replicas": 0}}),
        get(f"{DEFINITIONS}/widgets.$ns.example.com"),
        get("/apis/$ns.example.com/v1"),
    )),
    Case("a rule of its own", (
        post(DEFINITIONS, ruled("self.count % 2 == 1 && (!has(self.tags) || self.tags.all(t, t.startsWith('a')))")),
        SERVED,
        post(WIDGETS, widget(count=3, tags=["ab"]), dryRun="All"),
        post(WIDGETS, widget(count=4), dryRun="All"),
        post(WIDGETS, widget(tags=["b"]), dryRun="All"),
        post(WIDGETS, widget(tags=[1]), dryRun="All"),
    )),
    Case("a rule that is none", (post(DEFINITIONS, ruled("self.count >")),)),
    Case("a rule about what is not there", (post(DEFINITIONS, ruled("self.odd == 1")),)),
    Case("a definition under another name", (post(DEFINITIONS, {**definition(), "metadata": {"name": "a.b"}}),)),
    Case("a definition of no version", (post(DEFINITIONS, definition(versions=[])),)),
    Case("a definition of an odd scope", (post(DEFINITIONS, definition(scope="Odd")),)),
    Case("a definition of nothing", (post(DEFINITIONS, {"metadata": {"name": "a.b"}}),)),
]  # fmt: skip
