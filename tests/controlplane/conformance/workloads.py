"""Cases about the built-in kinds that Apportion meets: defaults, refusals, subresources, budgets and quotas."""

from typing import Any

from controlplane.conformance.objects import DEPLOYMENTS, PODS, deployment, pod
from controlplane.conformance.requests import Case, Step, get, gone, patch, post, put
from controlplane.conformance.requests import delete as deleted

NODES = "/api/v1/nodes"
BUDGETS = "/apis/policy/v1/namespaces/$ns/poddisruptionbudgets"
QUOTAS = "/api/v1/namespaces/$ns/resourcequotas"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/$ns/leases"
SCALE = f"{DEPLOYMENTS}/d/scale"
MADE = post(DEPLOYMENTS, deployment("d", paused=True))


def limited(amount: Any, requests: Any = None) -> dict[str, Any]:
    """A pod's spec whose container has limits."""
    resources = {"limits": {"nvidia.com/gpu": amount}, **({"requests": requests} if requests else {})}
    return {"containers": [{"name": "main", "image": "trainer:1", "resources": resources}]}


def containers(*found: Any) -> dict[str, Any]:
    return {"containers": list(found)}


MAIN = {"name": "main", "image": "trainer:1"}
BAD_PODS: dict[str, dict[str, Any]] = {
    "no containers": containers(),
    "a container without a name": containers({"image": "a"}),
    "a container without an image": containers({"name": "a"}),
    "a container with a bad name": containers({"name": "A_b", "image": "a"}),
    "two containers of one name": containers(MAIN, MAIN),
    "a container that is a word": containers("main"),
    "containers that are a word": {"containers": "main"},
    "a negative quantity": limited("-1"),
    "a fraction of a device": limited("500m"),
    "a quantity that is none": limited("lots"),
    "a request above its limit": limited("1", {"nvidia.com/gpu": "2"}),
    "cpu above its limit": containers({**MAIN, "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}),
    "a request without its limit": containers({**MAIN, "resources": {"requests": {"nvidia.com/gpu": "1"}}}),
    "an odd restart policy": {**containers(MAIN), "restartPolicy": "Odd"},
    "an odd toleration": {**containers(MAIN), "tolerations": [{"key": "a", "operator": "Odd"}]},
    "a toleration of everything by value": {**containers(MAIN), "tolerations": [{"value": "a"}]},
    "a toleration that exists and equals": {
        **containers(MAIN), "tolerations": [{"key": "a", "operator": "Exists", "value": "b"}],
    },
    "a bad node selector": {**containers(MAIN), "nodeSelector": {"a b": "c"}},
    "a negative grace": {**containers(MAIN), "terminationGracePeriodSeconds": -1},
    "a grace that is a word": {**containers(MAIN), "terminationGracePeriodSeconds": "soon"},
    "no such priority class": {**containers(MAIN), "priorityClassName": "nobody"},
    "no such service account": {**containers(MAIN), "serviceAccountName": "nobody"},
    "an odd pull policy": containers({**MAIN, "imagePullPolicy": "Odd"}),
    "a priority of its own": {**containers(MAIN), "priority": 7},
}  # fmt: skip

PODS_CASES = [
    Case("made", (post(PODS, pod("p", nodeName="nobody")), get(f"{PODS}/p"))),
    Case("made with devices", (post(PODS, pod("p", nodeName="nobody", **limited("2"))),)),
    *(Case(f"refused: {what}", (post(PODS, pod("p", **spec)),)) for what, spec in BAD_PODS.items()),
    Case(
        "changed",
        (
            post(PODS, pod("p", nodeName="nobody")),
            patch(f"{PODS}/p", "merge", {"metadata": {"annotations": {"a": "b"}}}),
            patch(f"{PODS}/p", "json", [{"op": "replace", "path": "/spec/containers/0/image", "value": "b"}]),
            patch(f"{PODS}/p", "merge", {"spec": {"nodeName": "other"}}),
            patch(f"{PODS}/p", "merge", {"spec": {"activeDeadlineSeconds": 5}}),
            patch(f"{PODS}/p", "merge", {"status": {"phase": "Running"}}),
            patch(f"{PODS}/p/status", "merge", {"status": {"phase": "Running"}, "metadata": {"labels": {"a": "b"}}}),
            patch(f"{PODS}/p/status", "merge", {"spec": {"nodeName": "other"}}),
        ),
    ),
    Case(
        "bound",
        (
            post(PODS, pod("p", schedulerName="none")),
            post(f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "nobody"}}),
            post(f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "nobody"}}),
            post(f"{PODS}/q/binding", {"metadata": {"name": "q"}, "target": {"kind": "Node", "name": "nobody"}}),
            post(f"{PODS}/p/binding", {"metadata": {"name": "p"}}),
        ),
    ),
    Case(
        "kept by a budget",
        (
            post(
                BUDGETS,
                {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}},
            ),
            post(PODS, pod("p", nodeName="nobody")),
            patch(
                f"{PODS}/p/status",
                "merge",
                {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}},
            ),
            Step("POST", f"{PODS}/p/eviction", {"metadata": {"name": "p"}}, until=429),
            deleted(f"{BUDGETS}/b"),
            Step("POST", f"{PODS}/p/eviction", {"metadata": {"name": "p"}}, until=201),
        ),
    ),
    Case(
        "beyond a quota",
        (
            post(QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"requests.nvidia.com/gpu": "1"}}}),
            # A quota counts once its status stands in what admission has seen: a moment after it is made.
            Step("POST", PODS, pod("p", nodeName="nobody", **limited("2")), {"dryRun": "All"}, until=403),
            post(PODS, pod("p", nodeName="nobody", **limited("2"))),
        ),
    ),
    Case("a quota of an odd amount", (post(QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "many"}}}),)),
]

BAD_DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "negative": {"replicas": -1},
    "a word": {"replicas": "two"},
    "a fraction": {"replicas": 1.5},
    "an empty selector": {"selector": {}},
    "no selector": {"selector": None},
    "another selector than its labels": {"selector": {"matchLabels": {"app": "other"}}},
    "an odd strategy": {"strategy": {"type": "Odd"}},
    "a strategy of two minds": {"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
    "a strategy that stands still": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
    "a template of nothing": {"template": {}},
    "a template that is not restarted": {
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {**containers(MAIN), "restartPolicy": "Never"}},
    },
    "a template that is a word": {"template": "x"},
    "a deadline before it can be ready": {"progressDeadlineSeconds": 5, "minReadySeconds": 10},
}
WORKLOADS = [
    Case("made", (MADE, get(f"{DEPLOYMENTS}/d"))),
    *(
        Case(f"refused: {what}", (post(DEPLOYMENTS, deployment("d", **spec)),))
        for what, spec in BAD_DEPLOYMENTS.items()
    ),
    Case("a spec that is a word", (post(DEPLOYMENTS, {**deployment("d"), "spec": "x"}),)),
    Case("no spec", (post(DEPLOYMENTS, {"metadata": {"name": "d"}}),)),
    Case("a name with capitals", (post(DEPLOYMENTS, deployment("Big")),)),
    Case("a name that is too long", (post(DEPLOYMENTS, deployment("d" * 254)),)),
    Case(
        "another selector later",
        (MADE, patch(f"{DEPLOYMENTS}/d", "merge", {"spec": {"selector": {"matchLabels": {"b": "c"}}}})),
    ),
    Case(
        "generations",
        (
            MADE,
            Step(
                "PATCH",
                f"{DEPLOYMENTS}/d",
                {"metadata": {"labels": {"a": "b"}}},
                media="application/merge-patch+json",
                same=("metadata.generation",),
            ),
            Step(
                "PATCH",
                f"{DEPLOYMENTS}/d",
                {"spec": {"replicas": 2}},
                media="application/merge-patch+json",
                same=("metadata.generation",),
            ),
            Step(
                "PATCH",
                f"{DEPLOYMENTS}/d",
                {"spec": {"replicas": 2}},
                media="application/merge-patch+json",
                same=("metadata.generation",),
            ),
        ),
    ),
    Case(
        "the status apart",
        (
            post(DEPLOYMENTS, {**deployment("d", paused=True), "status": {"replicas": 7}}),
            patch(f"{DEPLOYMENTS}/d", "merge", {"status": {"replicas": 7}}),
            patch(f"{DEPLOYMENTS}/d/status", "merge", {"spec": {"replicas": 7}}),
            patch(f"{DEPLOYMENTS}/d/status", "merge", {"status": {"replicas": -7}}),
            get(f"{DEPLOYMENTS}/d/status"),
        ),
    ),
    Case(
        "scaled",
        (
            MADE,
            get(SCALE),
            patch(SCALE, "merge", {"spec": {"replicas": 0}}),
            patch(SCALE, "merge", {"spec": {"replicas": -1}}),
            patch(SCALE, "merge", {"spec": {"replicas": "two"}}),
            put(SCALE, {"metadata": {"name": "d", "namespace": "$ns"}, "spec": {"replicas": 0}}),
            put(
                SCALE, {"metadata": {"name": "d", "namespace": "$ns", "resourceVersion": "1"}, "spec": {"replicas": 1}}
            ),
            get(f"{DEPLOYMENTS}/e/scale"),
            post(SCALE, {}),
        ),
    ),
]

OTHERS = [
    Case("a namespace", (
        post("/api/v1/namespaces", {"metadata": {"name": "$ns-b"}}),
        get("/api/v1/namespaces/$ns-b"),
        Step("GET", "/api/v1/namespaces/$ns-b/serviceaccounts/default", until=200),
        deleted("/api/v1/namespaces/$ns-b"),
        gone("/api/v1/namespaces/$ns-b"),
    )),
    Case("a namespace with dots", (post("/api/v1/namespaces", {"metadata": {"name": "a.b"}}),)),
    Case("a node", (
        post(NODES, {"metadata": {"name": "n-$ns"}}),
        patch(f"{NODES}/n-$ns", "merge", {"spec": {"unschedulable": True}}),
        patch(f"{NODES}/n-$ns", "merge", {"spec": {"taints": [{"key": "a"}]}}),
        patch(f"{NODES}/n-$ns", "merge", {"spec": {"taints": [{"key": "a", "effect": "Odd"}]}}),
        patch(f"{NODES}/n-$ns", "merge", {"spec": {"taints": [{"key": "a b", "effect": "NoSchedule"}]}}),
        patch(f"{NODES}/n-$ns/status", "merge", {"status": {"allocatable": {"nvidia.com/gpu": "lots"}}}),
        patch(f"{NODES}/n-$ns/status", "merge", {"status": {"allocatable": {"nvidia.com/gpu": "-1"}}}),
        deleted(f"{NODES}/n-$ns"),
    )),
    Case("a priority class", (
        post(CLASSES, {"metadata": {"name": "c-$ns"}, "value": 7}),
        patch(f"{CLASSES}/c-$ns", "merge", {"value": 8}),
        patch(f"{CLASSES}/c-$ns", "merge", {"preemptionPolicy": "Never"}),
        deleted(f"{CLASSES}/c-$ns"),
        post(CLASSES, {"metadata": {"name": "c-$ns"}, "value": 2_000_000_000}),
        post(CLASSES, {"metadata": {"name": "c-$ns"}, "value": 1, "preemptionPolicy": "Odd"}),
        post(CLASSES, {"metadata": {"name": "system-$ns"}, "value": 1}),
        post(CLASSES, {"metadata": {"name": "c-$ns"}, "value": "x"}),
    )),
    Case("a Lease", (
        post(LEASES, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 5}}),
        put(f"{LEASES}/m", {"metadata": {"name": "m"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 5}}),
        post(LEASES, {"metadata": {"name": "n"}, "spec": {"leaseDurationSeconds": 0}}),
        post(LEASES, {"metadata": {"name": "n"}, "spec": {"renewTime": "now"}}),
    )),
    Case("an Event", (
        post("/api/v1/namespaces/$ns/events", {
            "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "$ns"},
            "reason": "R", "message": "m", "type": "Normal",
        }),
        post("/api/v1/namespaces/$ns/events", {
            "metadata": {"name": "f"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        }),
        get("/apis/events.k8s.io/v1/namespaces/$ns/events"),
    )),
    Case("an autoscaler", (
        post("/apis/autoscaling/v2/namespaces/$ns/horizontalpodautoscalers", {
            "metadata": {"name": "h"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 0},
        }),
    )),
    Case("rights", (
        post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}},
        }),
        post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}),
    )),
    Case("about itself", (
        Step("GET", "/version"), Step("GET", "/healthz"), Step("GET", "/nothing"), Step("GET", "/apis/nowhere.dev"),
        Step("GET", "/apis/coordination.k8s.io"), Step("GET", "/apis/nowhere.dev/v1"),
    )),
]  # fmt: skip
