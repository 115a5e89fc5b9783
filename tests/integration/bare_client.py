"""A client of one API server with no library between: requests, patches and watches as they are on the wire."""

import contextlib
import json

CONFIGS = "/api/v1/namespaces/default/configmaps"
PATCH = {"json": "application/json-patch+json", "merge": "application/merge-patch+json"}


class Api:
    """Replies as (status, JSON or text)."""

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


async def next_event(events, kind=None):
    async for event in events:
        if kind is None or event["type"] == kind:
            return event
    raise AssertionError("the watch ended")


def config(name, **data):
    return {"metadata": {"name": name, "labels": {"name": name, "odd": str(len(name) % 2)}}, "data": data}
