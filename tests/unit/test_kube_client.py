"""The client in front of a small HTTP server: what is asked, what is tried again, and what a failure is called."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from apportion.kube.client import (
    LONGEST_RETRY_SECONDS,
    MOST_TRIES,
    PAGE,
    Api,
    NoConfiguration,
    Refused,
    Unreachable,
    _retry_after,
    connect,
)
from apportion.kube.kinds import EVENT, JOB, NODE

Answer = Callable[[web.Request], Awaitable[web.Response]]


class Server:
    """Answers every request as the test says, and keeps them."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.bodies: list[str] = []
        self.answer: Answer = self.nothing
        self.port = 0

    async def nothing(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        self.bodies.append(await request.text())
        return await self.answer(request)

    def config(self, folder: Path) -> str:
        """A kubeconfig for it; its second context has no token."""
        here = {"server": f"http://127.0.0.1:{self.port}"}
        contexts = [
            {"name": name, "context": {"cluster": "here", "user": user}}
            for name, user in (("mine", "me"), ("bare", "nobody"))
        ]
        users = [{"name": "me", "user": {"token": "secret"}}, {"name": "nobody", "user": {}}]
        clusters = [{"name": "here", "cluster": here}]
        content = {"current-context": "mine", "contexts": contexts, "clusters": clusters, "users": users}
        path = folder / "config"
        path.write_text(json.dumps(content))
        return str(path)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture
async def api(server: Server, tmp_path: Path) -> AsyncIterator[Api]:
    async with await connect(server.config(tmp_path)) as found:
        yield found


async def test_who_asks_and_how_it_may_is_in_each_request(server: Server, api: Api) -> None:
    await api.get("/api/v1/nodes")
    (request,) = server.asked
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["User-Agent"] == "apportion"
    assert request.headers["Accept"] == "application/json"


async def test_another_context_is_another_user(server: Server, tmp_path: Path) -> None:
    async with await connect(server.config(tmp_path), "bare") as api:
        await api.get("/api/v1/nodes")
        assert (await api.credentials())["token"] is None
    assert "Authorization" not in server.asked[0].headers


async def test_another_client_of_the_same_server_gets_what_it_needs(server: Server, api: Api) -> None:
    known = await api.credentials()
    assert (known["server"], known["token"], known["insecure"]) == (f"http://127.0.0.1:{server.port}", "secret", False)
    assert api.host == known["server"]


async def test_writes_say_whose_fields_they_are(server: Server, api: Api) -> None:
    await api.create(EVENT.path("team"), {"kind": "Event"})
    await api.patch(JOB.path("team", "job", "status"), [{"op": "test"}])
    await api.put("/x", {"a": 1})
    said = [(one.method, one.content_type, one.query["fieldManager"]) for one in server.asked]
    assert said == [
        ("POST", "application/json", "apportion"),
        ("PATCH", "application/json-patch+json", "apportion"),
        ("PUT", "application/json", "apportion"),
    ]
    assert [json.loads(body) for body in server.bodies] == [{"kind": "Event"}, [{"op": "test"}], {"a": 1}]


async def test_a_list_is_read_page_by_page_and_each_object_says_its_kind(server: Server, api: Api) -> None:
    pages = {"": ["a", "b"], "next": ["c"]}

    async def paged(request: web.Request) -> web.Response:
        items = [{"metadata": {"name": name}} for name in pages[request.query.get("continue", "")]]
        more = {} if "continue" in request.query else {"continue": "next"}
        return web.json_response({"items": [*items, "no object"], "metadata": more})

    server.answer = paged
    found = [raw async for page in api.pages(JOB, ("red", "blue")) for raw in page]
    assert [raw["metadata"]["name"] for raw in found] == ["a", "b", "c"] * 2
    assert {(raw["apiVersion"], raw["kind"]) for raw in found} == {("apportion.dev/v1alpha1", "TrainingJob")}
    assert [one.path for one in server.asked] == [JOB.path("red")] * 2 + [JOB.path("blue")] * 2
    assert {one.query["limit"] for one in server.asked} == {str(PAGE)}
    assert [raw["apiVersion"] for raw in await api.list_all(NODE)] == ["v1"] * 3


async def test_too_many_requests_are_tried_again_a_few_times(server: Server, api: Api) -> None:
    async def busy(request: web.Request) -> web.Response:
        if len(server.asked) < MOST_TRIES:
            return web.json_response({"message": "slow down"}, status=429, headers={"Retry-After": "0"})
        return web.json_response({"kind": "Done"})

    server.answer = busy
    assert await api.get("/x") == {"kind": "Done"}
    server.asked = []
    server.answer = lambda request: busy_for_ever()
    with pytest.raises(Refused) as refused:
        await api.get("/x")
    assert (refused.value.code, len(server.asked)) == (429, MOST_TRIES)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("2", 2.0), ("0", 0.1), ("600", LONGEST_RETRY_SECONDS), ("Fri, 01 Jan 2100 00:00:00 GMT", 1.0)],
)
def test_a_server_is_left_alone_for_as_long_as_it_says_within_reason(said: str, seconds: float) -> None:
    assert _retry_after(said) == seconds


@pytest.mark.parametrize(("status", "fails"), [(200, False), (201, False), (399, False), (400, True), (503, True)])
async def test_an_error_begins_at_400(server: Server, api: Api, status: int, fails: bool) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"kind": "Status"}, status=status)

    server.answer = answer
    if fails:
        with pytest.raises(Refused, match=f"^{status} "):
            await api.get("/x")
    else:
        assert await api.get("/x") == {"kind": "Status"}


async def busy_for_ever() -> web.Response:
    return web.json_response({}, status=429, headers={"Retry-After": "0"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"reason": "NotFound", "message": "nodes \\"x\\" not found"}', '404 NotFound: nodes "x" not found'),
        (b"a proxy's page", "404 Error: a proxy's page"),
        (b"x" * 1000, "404 Error: " + "x" * 300),
        (b"\xff[", "404 Error: \ufffd["),
        (b"[1]", "404 Error: [1]"),
    ],
)
async def test_a_refusal_says_what_the_server_said(server: Server, api: Api, body: bytes, said: str) -> None:
    async def refusing(request: web.Request) -> web.Response:
        return web.Response(body=body, status=404)

    server.answer = refusing
    with pytest.raises(Refused) as refused:
        await api.get("/x")
    assert str(refused.value) == said


async def test_a_server_that_answers_too_late_is_not_reached(server: Server, tmp_path: Path) -> None:
    never = asyncio.Event()

    async def hanging(request: web.Request) -> web.Response:
        await never.wait()
        return web.json_response({})

    server.answer = hanging
    async with await connect(server.config(tmp_path), timeout_seconds=0.05) as api:
        with pytest.raises(Unreachable, match=r"^PUT /x: "):
            await api.put("/x", {})
    never.set()


async def test_a_server_that_is_not_there_is_not_reached(tmp_path: Path, unused_tcp_port: int) -> None:
    gone = Server()
    gone.port = unused_tcp_port
    async with await connect(gone.config(tmp_path)) as api:
        with pytest.raises(Unreachable, match=r"^GET /x: "):
            await api.get("/x")


async def test_names_are_quoted_in_paths(server: Server, api: Api) -> None:
    await api.get("/api/v1/namespaces/a b#c/pods", {"fieldSelector": "a=b&c"})
    (request,) = server.asked
    assert (request.path, dict(request.query)) == ("/api/v1/namespaces/a b#c/pods", {"fieldSelector": "a=b&c"})


async def test_each_reply_tells_the_servers_time(server: Server, api: Api) -> None:
    async def later(request: web.Request) -> web.Response:
        return web.json_response({}, headers={"Date": "Fri, 01 Jan 2100 00:00:00 GMT"})

    server.answer = later
    await api.get("/x")
    assert api.clock.now() == pytest.approx(4102444800.0, abs=60)


@pytest.mark.parametrize(
    ("content", "context", "says"),
    [
        (None, None, "config: there is no such file"),
        ("[", None, "no usable Kubernetes configuration: "),
        ("", None, "no usable Kubernetes configuration: "),
        ('{"contexts": [], "clusters": [], "users": []}', "mine", "no usable Kubernetes configuration: "),
        ('{"contexts": [{"name": "mine", "context": 3}]}', "mine", "no usable Kubernetes configuration: "),
        (
            '{"contexts": [{"name": "mine", "context": {"cluster": "here"}}], "clusters": [{"name": "here", '
            '"cluster": {"server": "https://x", "certificate-authority-data": "aaaa"}}]}',
            "mine", "no usable Kubernetes configuration: ",
        ),
    ],
    ids=["no file", "no YAML", "nothing in it", "no such context", "no context", "a certificate that is none"],
)  # fmt: skip
async def test_a_configuration_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, content: str | None, context: str | None, says: str
) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(NoConfiguration) as none:
        await connect(str(path), context)
    assert says in str(none.value)
    assert "\n" not in str(none.value)
