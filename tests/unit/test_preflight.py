"""What must hold before the operator can work, and the line that says what does not."""

from collections.abc import Callable
from typing import Any

import pytest

from apportion.kube.client import Api, Refused, Unreachable
from apportion.kube.kinds import CUSTOM, JOB
from apportion.kube.preflight import problems


class Server(Api):
    """A server of some version, at which one may do all but what is denied, and has all kinds but what is missing."""

    def __init__(
        self,
        version: tuple[str, str] = ("1", "33+"),
        denied: Callable[[dict[str, str]], bool] = lambda asked: False,
        fails: Callable[[str], Exception | None] = lambda path: None,
    ) -> None:
        super().__init__(None)
        self.version, self.denied, self.fails = version, denied, fails
        self.reviewed: list[dict[str, str]] = []

    @property
    def host(self) -> str:
        return "https://api"

    async def request(self, method: str, path: str, query: Any = None, body: Any = None, patch: str = "") -> Any:
        if (error := self.fails(path)) is not None:
            raise error
        if path == "/version":
            return {"major": self.version[0], "minor": self.version[1]}
        if method == "GET":
            return {"items": []}
        assert path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        asked = body["spec"]["resourceAttributes"]
        self.reviewed.append(asked)
        return {"status": {"allowed": not self.denied(asked)}}


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (("1", "29"), []),
        (("1", "33+"), []),
        (("2", "0"), []),
        (("1", "28"), ["Kubernetes 1.28 is not supported: 1.29 or newer is needed"]),
        (("", ""), ["Kubernetes . is not supported: 1.29 or newer is needed"]),
    ],
)
async def test_an_old_server_is_refused(version: tuple[str, str], said: list[str]) -> None:
    assert await problems(Server(version)) == said


@pytest.mark.parametrize(
    ("at", "error", "said"),
    [
        ("/version", Unreachable("GET /version: gone"), "cannot be reached: GET /version: gone"),
        ("/version", Refused(401, "Unauthorized", "who?"), "refuses this identity: 401 Unauthorized: who?"),
        (JOB.path(), Unreachable("GET: gone"), "could not be asked: GET: gone"),
        (JOB.path(), Refused(500, "InternalError", "etcd"), "could not be asked: 500 InternalError: etcd"),
    ],
)
async def test_a_server_that_does_not_answer_is_named(at: str, error: Exception, said: str) -> None:
    server = Server(fails=lambda path: error if path == at else None)
    assert await problems(server) == [f"the API server https://api {said}"]


async def test_every_right_that_is_missing_is_told_with_its_resource() -> None:
    def denied(asked: dict[str, str]) -> bool:
        verb, resource = asked["verb"], asked["resource"]
        return (verb, resource) in {("create", "events"), ("watch", "nodes"), ("list", "queues")} or (
            verb == "patch" and asked.get("subresource") == "status" and resource == "trainingjobs"
        )

    assert sorted(await problems(Server(denied=denied))) == [
        "this identity may not create events: see the chart's rbac.yaml",
        "this identity may not list queues.apportion.dev: see the chart's rbac.yaml",
        "this identity may not patch trainingjobs/status.apportion.dev: see the chart's rbac.yaml",
        "this identity may not watch nodes: see the chart's rbac.yaml",
    ]


async def test_a_server_that_says_nothing_of_a_right_does_not_grant_it() -> None:
    class Silent(Server):
        async def request(self, method: str, path: str, *rest: Any, **more: Any) -> Any:
            return {} if method == "POST" else await super().request(method, path, *rest, **more)

    assert len(await problems(Silent())) > 20


async def test_a_definition_that_is_missing_is_told() -> None:
    missing = Refused(404, "NotFound", "the server could not find the requested resource")
    names = {kind.path(): str(kind) for kind in CUSTOM}
    server = Server(fails=lambda path: missing if path in names else None)
    assert await problems(server) == [
        f"the CustomResourceDefinition {name} is not installed: apply crds/" for name in names.values()
    ]


async def test_rights_of_one_namespace_are_enough_where_only_that_is_watched() -> None:
    """Nodes and other people's pods are of the whole cluster, and so is a list of them."""
    server = Server(denied=lambda asked: "namespace" not in asked and asked["resource"] in ("trainingjobs", "events"))
    assert await problems(server, ("red", "blue")) == []
    places = {(one["verb"], one.get("namespace", "")) for one in server.reviewed if one["resource"] == "pods"}
    assert places == {("list", ""), ("watch", ""), ("patch", "red"), ("patch", "blue")}
    told = await problems(Server(denied=lambda asked: asked.get("namespace") == "blue"), ("red", "blue"))
    assert "this identity may not patch pods in namespace blue: see the chart's rbac.yaml" in told
    assert all(" in namespace blue: " in line for line in told)
