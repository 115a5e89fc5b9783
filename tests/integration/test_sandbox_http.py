"""The sandbox's API over HTTP, with nothing between: objects, lists, patches, subresources, tables, refusals."""

import pytest

from apportion.sandbox import container, deployment, gpu_node, node, pod
from integration.bare_client import CONFIGS, config

PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/d"


def ready_replicas(sandbox, name):
    return sandbox.store.get("deployments", "default", name).get("status", {}).get("readyReplicas", 0)


async def test_the_life_of_an_object(api):
    code, made = await api("POST", CONFIGS, config("a", x="1"))
    assert (code, made["kind"], made["apiVersion"]) == (201, "ConfigMap", "v1")
    assert made["metadata"]["uid"]
    assert (await api("POST", CONFIGS, config("a")))[1]["reason"] == "AlreadyExists"
    made["data"] = {"x": "2"}
    code, put = await api("PUT", f"{CONFIGS}/a", made)
    assert (code, put["data"]) == (200, {"x": "2"})
    code, refused = await api("PUT", f"{CONFIGS}/a", made)
    assert (code, refused["reason"]) == (409, "Conflict")
    code, gone = await api("DELETE", f"{CONFIGS}/a")
    assert (code, gone["status"]) == (200, "Success")
    assert gone["details"]["uid"] == made["metadata"]["uid"]
    code, missing = await api("GET", f"{CONFIGS}/a")
    assert (code, missing["message"]) == (404, 'configmaps "a" not found')
    assert missing["details"] == {"name": "a", "kind": "configmaps"}


async def test_items_of_built_in_lists_have_no_kind(api, sandbox):
    sandbox.store.apply({"apiVersion": "v1", "kind": "ConfigMap", **config("a")})
    _, found = await api("GET", CONFIGS)
    assert (found["kind"], found["apiVersion"]) == ("ConfigMapList", "v1")
    assert [sorted(item) for item in found["items"]] == [["data", "metadata"]]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("name=aa", ["aa"]),
        ("name in (a, bbb)", ["a", "bbb"]),
        ("name notin (a),odd=1", ["bbb"]),
        ("name!=a", ["aa", "bbb"]),
        ("!name", []),
        ("odd", ["a", "aa", "bbb"]),
    ],
)
async def test_label_selectors(api, selector, names):
    for name in ("a", "aa", "bbb"):
        await api("POST", CONFIGS, config(name))
    _, found = await api("GET", CONFIGS, params={"labelSelector": selector})
    assert [item["metadata"]["name"] for item in found["items"]] == names


async def test_field_selectors(api, sandbox):
    sandbox.store.apply(node("n"))
    sandbox.store.apply(pod("bound"))
    await sandbox.wait_for(lambda: sandbox.store.get("pods", "default", "bound")["spec"].get("nodeName"))
    sandbox.store.apply(pod("unbound", spec={"nodeSelector": {"no": "where"}}))
    for selector, names in (
        ("spec.nodeName=n", ["bound"]),
        ("metadata.name!=bound", ["unbound"]),
        ("spec.nodeName=", ["unbound"]),
    ):
        _, found = await api("GET", "/api/v1/pods", params={"fieldSelector": selector})
        assert [item["metadata"]["name"] for item in found["items"]] == names
    code, refused = await api("GET", "/api/v1/pods", params={"fieldSelector": "spec.odd=1"})
    assert (code, refused["message"]) == (400, "field label not supported: spec.odd")


async def test_pages(api, sandbox):
    for name in "abcde":
        await api("POST", CONFIGS, config(name))
    _, first = await api("GET", CONFIGS, params={"limit": "2"})
    assert first["metadata"]["remainingItemCount"] == 3
    _, second = await api("GET", CONFIGS, params={"limit": "9", "continue": first["metadata"]["continue"]})
    names = [item["metadata"]["name"] for item in first["items"] + second["items"]]
    assert names == list("abcde")
    assert second["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}
    await api("POST", CONFIGS, config("f"))
    sandbox.compact()
    code, refused = await api("GET", CONFIGS, params={"limit": "2", "continue": first["metadata"]["continue"]})
    assert (code, refused["reason"]) == (410, "Expired")


async def test_json_patch_tests_and_null(api):
    await api("POST", CONFIGS, config("a", x="1"))
    absent = {"op": "test", "path": "/metadata/annotations", "value": None}
    code, patched = await api.patch(f"{CONFIGS}/a", [absent, {"op": "replace", "path": "/data/x", "value": "2"}])
    assert (code, patched["data"]["x"]) == (200, "2")
    code, refused = await api.patch(f"{CONFIGS}/a", [{"op": "test", "path": "/data/x", "value": "1"}])
    assert (code, refused["reason"]) == (422, "Invalid")
    assert refused["message"] == "the server rejected our request due to an error in our request"


async def test_patch_types_that_are_refused(api):
    await api("POST", CONFIGS, config("a"))
    code, refused = await api.patch(f"{CONFIGS}/a", {}, "application/apply-patch+yaml")
    assert (code, refused["reason"]) == (415, "UnsupportedMediaType")
    code, _ = await api.patch("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x", {}, "text/plain")
    assert code == 415
    headers = {"Content-Type": "application/vnd.kubernetes.protobuf"}
    async with api.session.post(api.url + CONFIGS, data=b"k8s\0", headers=headers) as reply:
        assert reply.status == 415


async def test_scale(api, sandbox):
    sandbox.store.apply(deployment("d", 3))
    code, scale = await api("GET", f"{DEPLOYMENT}/scale")
    assert (code, scale["kind"], scale["spec"]) == (200, "Scale", {"replicas": 3})
    assert scale["status"]["selector"] == "app=d"
    code, scale = await api.patch(f"{DEPLOYMENT}/scale", {"spec": {"replicas": 5}}, "merge")
    assert (code, scale["spec"]["replicas"]) == (200, 5)
    assert sandbox.store.get("deployments", "default", "d")["spec"]["replicas"] == 5
    code, _ = await api.patch(f"{DEPLOYMENT}/scale", {"spec": {"replicas": -1}}, "merge")
    assert code == 422


async def test_dry_run(api, sandbox):
    code, _ = await api("POST", CONFIGS, config("a"), params={"dryRun": "All"})
    assert code == 201
    assert sandbox.store.find("configmaps", "default", "a") is None
    await api("POST", CONFIGS, config("a"))
    code, _ = await api("DELETE", f"{CONFIGS}/a", params={"dryRun": "All"})
    assert sandbox.store.find("configmaps", "default", "a")
    code, refused = await api("POST", CONFIGS, config("b"), params={"dryRun": "Some"})
    assert (code, refused["reason"]) == (422, "Invalid")


async def test_collections_are_deleted_by_selector(api, sandbox):
    for name in ("a", "aa", "bbb"):
        await api("POST", CONFIGS, config(name))
    code, deleted = await api("DELETE", CONFIGS, params={"labelSelector": "odd=1"})
    assert (code, len(deleted["items"])) == (200, 2)
    assert [each["metadata"]["name"] for each in sandbox.store.list("configmaps")] == ["aa"]


async def test_tables(api, sandbox):
    sandbox.store.apply(gpu_node("n"))
    sandbox.store.apply(deployment("d", 1, spec={"containers": [container("nvidia.com/gpu", 1)]}))
    await sandbox.wait_for(lambda: ready_replicas(sandbox, "d"))
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    _, table = await api("GET", PODS, headers=accept)
    assert [column["name"] for column in table["columnDefinitions"][:5]] == [
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
    ]
    assert table["rows"][0]["cells"][1:4] == ["1/1", "Running", "0"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    _, table = await api("GET", DEPLOYMENT, headers=accept)
    assert table["rows"][0]["cells"][:4] == ["d", "1/1", 1, 1]


async def test_events_have_two_faces(api, sandbox):
    event = {"metadata": {"name": "e", "namespace": "default"}, "regarding": {"kind": "Pod", "name": "p"}, "note": "hi"}
    code, _ = await api("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event)
    assert code == 201
    _, core = await api("GET", "/api/v1/events", params={"fieldSelector": "involvedObject.name=p"})
    assert [item["message"] for item in core["items"]] == ["hi"]
    _, new = await api("GET", "/apis/events.k8s.io/v1/events")
    assert [(item["note"], item["regarding"]["name"]) for item in new["items"]] == [("hi", "p")]


async def test_rights_can_be_taken_away(api, sandbox):
    sandbox.deny.add(("list", "", "pods"))
    code, refused = await api("GET", PODS)
    assert (code, refused["reason"]) == (403, "Forbidden")
    assert 'cannot list resource "pods" in API group "" in the namespace "default"' in refused["message"]
    url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for verb, allowed in (("list", False), ("get", True)):
        asked = {"spec": {"resourceAttributes": {"verb": verb, "group": "", "resource": "pods"}}}
        code, answer = await api("POST", url, asked)
        assert (code, answer["status"]["allowed"]) == (201, allowed)


async def test_eviction_respects_budgets(api, sandbox):
    sandbox.store.apply(node("n"))
    sandbox.store.apply(deployment("d", 1))
    await sandbox.wait_for(lambda: ready_replicas(sandbox, "d"))
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}}
    sandbox.store.apply({**budget, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "d"}}}})
    name = sandbox.store.list("pods")[0]["metadata"]["name"]
    code, refused = await api("POST", f"{PODS}/{name}/eviction", {})
    assert (code, refused["reason"]) == (429, "TooManyRequests")
    sandbox.store.delete("pdb", "default", "b")
    assert (await api("POST", f"{PODS}/{name}/eviction", {}))[0] == 201


async def test_binding_by_hand(api, sandbox):
    sandbox.store.apply(node("n"))
    sandbox.store.apply(pod("p", spec={"schedulerName": "mine"}))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert (await api("POST", f"{PODS}/p/binding", binding))[0] == 201
    assert (await api("POST", f"{PODS}/p/binding", binding))[0] == 409


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
async def test_probes(api, path):
    assert await api("GET", path) == (200, "ok")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/apis/nowhere.dev/v1", 404),
        ("GET", "/apis/nowhere.dev/v1/things", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("POST", f"{CONFIGS}/a", 405),
        ("PUT", CONFIGS, 405),
        ("POST", "/api/v1/configmaps", 405),
    ],
)
async def test_what_is_not_there(api, method, path, code):
    assert (await api(method, path, config("a") if method != "GET" else None))[0] == code
