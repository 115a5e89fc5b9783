"""The sandbox's API over HTTP, with nothing between: lists, watches, patches, tables, refusals; and the fault proxy."""

import asyncio
import contextlib
import json

import aiohttp
import pytest

from apportion.sandbox import Sandbox, container, deployment, gpu_node, node, pod
from fault_proxy import Fault, FaultProxy

PODS = "/api/v1/namespaces/default/pods"
CONFIGS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/d"
PATCH = {"json": "application/json-patch+json", "merge": "application/merge-patch+json"}


class Api:
    """A bare client of one server."""

    def __init__(self, session, url):
        self.session = session
        self.url = url

    async def __call__(self, method, path, body=None, **options):
        async with self.session.request(method, self.url + path, json=body, **options) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if text.startswith("{") else text

    async def patch(self, path, body, kind="json"):
        headers = {"Content-Type": PATCH.get(kind, kind)}
        async with self.session.patch(self.url + path, data=json.dumps(body), headers=headers) as reply:
            return reply.status, await reply.json()

    @contextlib.asynccontextmanager
    async def watch(self, path, **query):
        """The events of a watch, as an async iterator that ends with it."""
        async with self.session.get(self.url + path, params={"watch": "true", **query}) as reply:
            assert reply.status == 200

            async def events():
                while line := await reply.content.readline():
                    yield json.loads(line)

            yield events()


@pytest.fixture
async def sandbox():
    async with Sandbox(start_seconds=0.01, bind_seconds=0.001, bookmark_seconds=0.05) as sandbox:
        yield sandbox


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=4)) as session:
        yield session


@pytest.fixture
def api(session, sandbox):
    return Api(session, sandbox.url)


def config(name, **data):
    return {"metadata": {"name": name, "labels": {"name": name, "odd": str(len(name) % 2)}}, "data": data}


def ready_replicas(sandbox, name):
    return sandbox.store.get("deployments", "default", name).get("status", {}).get("readyReplicas", 0)


async def next_event(events, kind=None):
    async for event in events:
        if kind is None or event["type"] == kind:
            return event
    raise AssertionError("the watch ended")


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
    assert (code, refused["reason"]) == (400, "BadRequest")


async def test_collections_are_deleted_by_selector(api, sandbox):
    for name in ("a", "aa", "bbb"):
        await api("POST", CONFIGS, config(name))
    code, deleted = await api("DELETE", CONFIGS, params={"labelSelector": "odd=1"})
    assert (code, len(deleted["items"])) == (200, 2)
    assert [each["metadata"]["name"] for each in sandbox.store.list("configmaps")] == ["aa"]


async def test_a_watch_replays_and_goes_on(api):
    _, listed = await api("GET", CONFIGS)
    await api("POST", CONFIGS, config("a", x="1"))
    await api("POST", CONFIGS, config("b"))
    async with api.watch(CONFIGS, resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        seen = [await next_event(events), await next_event(events)]
        assert [(each["type"], each["object"]["metadata"]["name"]) for each in seen] == [("ADDED", "a"), ("ADDED", "b")]
        await api("DELETE", f"{CONFIGS}/a")
        deleted = await next_event(events)
        assert deleted["type"] == "DELETED"
        revisions = [int(each["object"]["metadata"]["resourceVersion"]) for each in (*seen, deleted)]
        assert revisions == sorted(set(revisions))


async def test_an_object_that_leaves_the_selection_is_deleted_from_the_watch(api):
    await api("POST", CONFIGS, config("a"))
    async with api.watch(CONFIGS, labelSelector="name=a") as events:
        assert (await next_event(events))["type"] == "ADDED"
        await api.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"name": "other"}}}, "merge")
        assert (await next_event(events))["type"] == "DELETED"
        await api.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"name": "a"}}}, "merge")
        assert (await next_event(events))["type"] == "ADDED"


async def test_bookmarks_carry_the_present_revision(api, sandbox):
    async with api.watch(CONFIGS, allowWatchBookmarks="true") as events:
        sandbox.store.apply(pod("elsewhere"))
        bookmark = await next_event(events, "BOOKMARK")
        assert int(bookmark["object"]["metadata"]["resourceVersion"]) <= sandbox.store.storage.revision
        assert bookmark["object"]["kind"] == "ConfigMap"


async def test_a_watch_from_before_the_compaction_gets_410_as_an_event(api, sandbox):
    await api("POST", CONFIGS, config("a"))
    sandbox.compact()
    async with api.watch(CONFIGS, resourceVersion="2") as events:
        error = await next_event(events)
        assert error["type"] == "ERROR"
        assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")
        with pytest.raises(AssertionError, match="ended"):
            await next_event(events)


async def test_a_list_at_a_forgotten_revision_gets_410(api, sandbox):
    await api("POST", CONFIGS, config("a"))
    sandbox.compact()
    query = {"resourceVersion": "2", "resourceVersionMatch": "Exact"}
    code, refused = await api("GET", CONFIGS, params=query)
    assert (code, refused["reason"]) == (410, "Expired")


async def test_a_watch_ends_by_itself_at_its_timeout_and_when_the_server_ends_it(api, sandbox):
    async with api.watch(CONFIGS, timeoutSeconds="1") as events:
        assert [event async for event in events] == []
    async with api.watch(CONFIGS) as events:
        sandbox.end_watches()
        assert [event async for event in events] == []


async def test_streaming_lists_and_future_revisions_are_refused(api):
    code, refused = await api("GET", CONFIGS, params={"watch": "1", "sendInitialEvents": "true"})
    assert (code, refused["reason"]) == (422, "Invalid")
    code, refused = await api("GET", CONFIGS, params={"resourceVersion": "999999"})
    assert (code, refused["reason"]) == (504, "Timeout")


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


# The fault proxy


@pytest.fixture
async def proxy(sandbox):
    async with FaultProxy(sandbox.url) as proxy:
        yield proxy


@pytest.fixture
def through(session, proxy):
    return Api(session, proxy.url)


async def test_the_proxy_answers_as_told_and_then_passes(through, proxy, sandbox):
    proxy.rules.append(Fault("POST", r"/configmaps$", status=429, retry_after=1, times=2))
    for _ in range(2):
        code, refused = await through("POST", CONFIGS, config("a"))
        assert (code, refused["reason"], refused["details"]) == (429, "TooManyRequests", {"retryAfterSeconds": 1})
    assert sandbox.store.find("configmaps", "default", "a") is None
    assert (await through("POST", CONFIGS, config("a")))[0] == 201
    assert [seen.status for seen in proxy.writes("configmaps")] == [429, 429, 201]
    assert proxy.writes(user_agent="aiohttp") == proxy.log


async def test_the_proxy_drops_connections_before_or_after_the_server_acted(through, proxy, sandbox):
    proxy.rules += [Fault(path="/a$", drop=True), Fault("POST", drop=True, after=True, times=1)]
    with pytest.raises(aiohttp.ClientConnectionError):
        await through("POST", CONFIGS, config("b"))
    assert sandbox.store.find("configmaps", "default", "b")
    with pytest.raises(aiohttp.ClientConnectionError):
        await through("GET", f"{CONFIGS}/a")
    assert {seen.status for seen in proxy.log} == {0}


async def test_the_proxy_cuts_watches_now_or_after_some_events(through, proxy, api):
    async with through.watch(CONFIGS) as events:
        await api("POST", CONFIGS, config("a"))
        assert (await next_event(events))["type"] == "ADDED"
        proxy.cut_watches()
        with pytest.raises(aiohttp.ClientPayloadError):
            await next_event(events)
    proxy.cut_after = 2
    await api("POST", CONFIGS, config("b"))
    await api("POST", CONFIGS, config("c"))
    async with through.watch(CONFIGS) as events:
        assert [(await next_event(events))["type"] for _ in range(2)] == ["ADDED", "ADDED"]
        with pytest.raises(aiohttp.ClientPayloadError):
            await next_event(events)


async def test_a_paused_proxy_lets_everything_hang(through, proxy, api):
    async with through.watch(CONFIGS) as events:
        proxy.pause()
        await api("POST", CONFIGS, config("a"))
        waiting = asyncio.ensure_future(next_event(events))
        request = asyncio.ensure_future(through("GET", f"{CONFIGS}/a"))
        done, _ = await asyncio.wait({waiting, request}, timeout=0.2)
        assert not done
        proxy.resume()
        assert (await waiting)["type"] == "ADDED"
        assert (await request)[0] == 200
