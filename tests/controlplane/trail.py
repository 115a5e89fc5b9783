"""The API server's audit log as a test reads it: who asked for what, when, and what came of it."""

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from controlplane.access import Access
from controlplane.plane import Plane

CREDENTIAL = "authentication.kubernetes.io/credential-id"
READS = ("get", "list", "watch")
# What an operator without the lease may write: it asks for the lease, and what it is allowed to do.
OF_NO_CONSEQUENCE = ("leases", "selfsubjectaccessreviews")


@dataclass(frozen=True)
class Request:
    """One finished request, its times in seconds of the epoch by the API server's clock. since: a watch's revision."""

    verb: str
    resource: str
    name: str
    code: int
    received: float
    answered: float
    credential: str
    since: int = 0

    @property
    def took_effect(self) -> bool:
        """Did it change anything that is not the lease?"""
        return self.verb not in READS and self.resource not in OF_NO_CONSEQUENCE and self.code < 400


def credential_of(access: Access) -> str:
    """A token of a ServiceAccount as the audit log names it: two of one account are two."""
    payload = access.token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"JTI={claims['jti']}"


def requests_by(plane: Plane, credential: str, since: float = 0.0) -> list[Request]:
    """Of one credential, oldest first, from this time on."""
    found = [_request(event) for event in plane.audit()]
    return [each for each in found if each.credential == credential and each.received >= since]


def _request(event: dict[str, Any]) -> Request:
    about = event.get("objectRef", {})
    resource = "/".join(filter(None, (about.get("resource", ""), about.get("subresource", ""))))
    received, answered = (
        datetime.fromisoformat(event[field]).timestamp() for field in ("requestReceivedTimestamp", "stageTimestamp")
    )
    since = int(parse_qs(urlsplit(event["requestURI"]).query).get("resourceVersion", ["0"])[0])
    by = event["user"].get("extra", {}).get(CREDENTIAL, [""])
    code = event.get("responseStatus", {}).get("code", 0)
    return Request(event["verb"], resource, about.get("name", ""), code, received, answered, by[0], since)
