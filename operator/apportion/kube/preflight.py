"""What must hold before the operator can work, each failure as one line: the server, its version, CRDs, rights."""

import asyncio
import re
from collections.abc import Collection
from dataclasses import dataclass

from apportion.kube import kinds
from apportion.kube.client import Api, Refused, Unreachable
from apportion.kube.kinds import Kind
from apportion.kube.raw import at, mapping, text

OLDEST = (1, 29)


@dataclass(frozen=True)
class Right:
    verb: str
    kind: Kind
    subresource: str = ""

    def __str__(self) -> str:
        resource = f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural
        return f"{self.verb} {resource}{'.' + self.kind.group if self.kind.group else ''}"


RIGHTS = (
    *(Right(verb, kind) for kind in kinds.WATCHED for verb in ("list", "watch")),
    Right("create", kinds.DEPLOYMENT),
    Right("patch", kinds.DEPLOYMENT),
    Right("patch", kinds.JOB, "status"),
    Right("patch", kinds.QUEUE_KIND, "status"),
    Right("patch", kinds.POLICY, "status"),
    Right("patch", kinds.POD),
    Right("create", kinds.EVENT),
)


async def problems(api: Api, watched: Collection[str] = ()) -> list[str]:
    """Empty when all is well. The first kind of problem that is found is told; later ones would only repeat it."""
    try:
        version = await api.get("/version")
    except Unreachable as error:
        return [f"the API server {api.host} cannot be reached: {error}"]
    except Refused as refused:
        return [f"the API server {api.host} refuses this identity: {refused}"]
    found = _version_problem(text(version, "major"), text(version, "minor"))
    if found:
        return [found]
    try:
        return await _missing_rights(api, watched) or await _missing_definitions(api, watched)
    except (Refused, Unreachable) as error:
        return [f"the API server {api.host} could not be asked: {error}"]


def _version_problem(major: str, minor: str) -> str:
    numbers = [int(match.group()) if (match := re.match(r"\d+", part)) else 0 for part in (major, minor)]
    if (numbers[0], numbers[1]) < OLDEST:
        return f"Kubernetes {major}.{minor} is not supported: {OLDEST[0]}.{OLDEST[1]} or newer is needed"
    return ""


def _places(right: Right, watched: Collection[str]) -> Collection[str]:
    """Where a right is needed: what is written in namespaces is written in the watched ones only."""
    writes = right.verb in ("create", "patch") and right.kind.namespaced
    return watched if watched and writes else kinds.places(right.kind, watched)


async def _missing_definitions(api: Api, watched: Collection[str]) -> list[str]:
    async def missing(kind: Kind) -> str:
        try:
            await api.get(kind.path(kinds.places(kind, watched)[0]), {"limit": "1"})
        except Refused as refused:
            if refused.code == 404:
                return f"the CustomResourceDefinition {kind} is not installed: apply crds/"
            raise
        return ""

    return [line for line in await asyncio.gather(*map(missing, kinds.CUSTOM)) if line]


async def _missing_rights(api: Api, watched: Collection[str]) -> list[str]:
    async def refused(right: Right, namespace: str) -> str:
        attributes = {"verb": right.verb, "group": right.kind.group, "resource": right.kind.plural}
        if namespace:
            attributes["namespace"] = namespace
        if right.subresource:
            attributes["subresource"] = right.subresource
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        reply = await api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
        where = f" in namespace {namespace}" if namespace else ""
        return "" if at(mapping(reply, "status"), "allowed") is True else f"{right}{where}"

    asked = [(right, namespace) for right in RIGHTS for namespace in _places(right, watched)]
    lines = [line for line in await asyncio.gather(*(refused(*one) for one in asked)) if line]
    return [f"this identity may not {line}: see the chart's rbac.yaml" for line in lines]
