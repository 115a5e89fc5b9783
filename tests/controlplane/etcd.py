"""What a test does to etcd itself, through the JSON gateway of its client port."""

import base64
import http.client
import json
from typing import Any

REQUEST_SECONDS = 10


def compact(port: int) -> int:
    """Drop every revision but the newest, and return that one."""
    key = base64.b64encode(b"/").decode()
    revision = int(_call(port, "/v3/kv/range", {"key": key})["header"]["revision"])
    _call(port, "/v3/kv/compaction", {"revision": revision, "physical": True})
    return revision


def _call(port: int, path: str, body: dict[str, Any]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_SECONDS)
    try:
        connection.request("POST", path, json.dumps(body))
        reply = connection.getresponse()
        content = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise RuntimeError(f"etcd {path}: {reply.status} {content.decode(errors='replace')}")
    return json.loads(content)
