"""Requests as data, and how they are sent to a server: with no client library between."""

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PATIENCE_SECONDS = 8.0
LOOK_SECONDS = 0.05
JSON = "application/json"
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True)
class Step:
    """One request. `$ns` in it stands for a namespace of the case's own, `$name` for what an earlier step has kept.

    `patch`: a kind of PATCHES, or a media type. `until`: repeated until it is answered with this status.
    `keep`: name -> where in the reply it stands. `same`: values of the reply that must be equal, as paths in which `*`
    stands for every element.
    """

    method: str
    path: str
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    media: str = JSON
    accept: str = JSON
    until: int = 0
    keep: Mapping[str, str] = field(default_factory=dict)
    same: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """`body`: parsed JSON, the text if it is none, or a list of events if the request was a watch."""

    status: int
    body: Any


@dataclass
class Case:
    """What is asked, in order; both servers get the same."""

    name: str
    steps: tuple[Step, ...]


def get(path: str, **query: str) -> Step:
    return Step("GET", path, query=query)


def table(path: str, same: tuple[str, ...] = (), **query: str) -> Step:
    return Step("GET", path, query=query, accept="application/json;as=Table;v=v1;g=meta.k8s.io", same=same)


def watch(path: str, **query: str) -> Step:
    """All events until the server ends the watch, a second later if the case does not say another time."""
    return Step("GET", path, query={"watch": "true", "timeoutSeconds": "1", **query})


def post(path: str, body: Any, **query: str) -> Step:
    return Step("POST", path, body, query)


def put(path: str, body: Any, **query: str) -> Step:
    return Step("PUT", path, body, query)


def patch(path: str, kind: str, body: Any, **query: str) -> Step:
    return Step("PATCH", path, body, query, PATCHES.get(kind, kind))


def delete(path: str, body: Any = None, **query: str) -> Step:
    return Step("DELETE", path, body, query)


def gone(path: str) -> Step:
    """Wait until there is nothing."""
    return Step("GET", path, until=404)


@dataclass
class Server:
    """One side of the comparison."""

    url: str
    token: str
    trust: ssl.SSLContext | None
    session: aiohttp.ClientSession

    async def carry_out(self, case: Case, namespace: str) -> list[Reply]:
        """The replies to a case's steps, in a namespace that must be there."""
        known = {"ns": namespace}
        replies = []
        for step in case.steps:
            reply = await self._settled(step, known)
            known.update({name: str(at(reply.body, path)) for name, path in step.keep.items()})
            replies.append(reply)
        return replies

    async def _settled(self, step: Step, known: Mapping[str, str]) -> Reply:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            reply = await self.send(step, known)
            if step.until in (0, reply.status):
                return reply
            assert time.monotonic() < deadline, f"{self.url}: {step} was answered {reply}"
            await asyncio.sleep(LOOK_SECONDS)

    async def send(self, step: Step, known: Mapping[str, str]) -> Reply:
        body = None
        if step.body is not None:
            body = filled(step.body if isinstance(step.body, str) else json.dumps(step.body), known)
        headers = {"Content-Type": step.media, "Accept": step.accept, "Authorization": f"Bearer {self.token}"}
        query = {name: filled(value, known) for name, value in step.query.items()}
        async with self.session.request(
            step.method, self.url + filled(step.path, known), params=query, data=body, headers=headers, ssl=self._ssl
        ) as reply:
            text = await reply.text()
            return Reply(reply.status, _parsed(text, "watch" in query and reply.status == 200))

    @property
    def _ssl(self) -> ssl.SSLContext | bool:
        return self.trust if self.trust is not None else True


def _parsed(text: str, stream: bool) -> Any:
    if stream:
        events = [json.loads(line) for line in text.splitlines()]
        # How many bookmarks come is a matter of time: the first one stands for all.
        marks = [event for event in events if event["type"] == "BOOKMARK"][:1]
        return [event for event in events if event["type"] != "BOOKMARK" or event in marks]
    try:
        return json.loads(text)
    except ValueError:
        return text


def filled(text: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        text = text.replace(f"${name}", value)
    return text


def at(value: Any, path: str) -> Any:
    """The value at a path, with a list in the place of each `*`; None where there is nothing."""
    head, _, rest = path.partition(".")
    if not head:
        return value
    if head == "*":
        return [at(each, rest) for each in value] if isinstance(value, list) else None
    if isinstance(value, list):
        return at(value[int(head)], rest) if int(head) < len(value) else None
    return at(value.get(head), rest) if isinstance(value, dict) else None
