"""The sandbox answers as the real API server does: the same requests to both, and what the two replies share.

A difference is a lie of the sandbox, unless comparing.py says why it is not compared, or known.py why it stays. A watch
from what is forgotten (410) takes an API server that starts anew: test_controlplane.py and test_sandbox_watches.py
expect the same of either.
"""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from apportion.api.crds import crd_documents
from apportion.sandbox import Sandbox
from controlplane.conformance import custom, objects, reads, workloads
from controlplane.conformance.comparing import differences
from controlplane.conformance.known import KNOWN
from controlplane.conformance.requests import Case, Server, Step, delete, post
from controlplane.plane import Plane

TOPICS = {
    "objects": objects.LIFE,
    "patches": objects.PATCHES,
    "ends": objects.ENDS + custom.GOES,
    "selectors": reads.SELECTORS,
    "lists": reads.LISTS,
    "shapes": reads.SHAPES,
    "watches": reads.WATCHES,
    "pods": workloads.PODS_CASES,
    "deployments": workloads.WORKLOADS,
    "others": workloads.OTHERS,
    "verdicts": custom.VERDICTS,
    "jobs": custom.OURS,
    "kinds": custom.KINDS,
}
AT_ONCE = 8


@dataclass
class Both:
    sandbox: Server
    real: Server

    async def compared(self, case: Case) -> list[str]:
        """How the sandbox's answers to a case differ."""
        namespace = f"conform-{secrets.token_hex(3)}"
        replies = []
        for server in (self.sandbox, self.real):
            await server.send(post("/api/v1/namespaces", {"metadata": {"name": namespace}}), {})
            account = Step("GET", "/api/v1/namespaces/$ns/serviceaccounts/default", until=200)
            await server.carry_out(Case("", (account,)), namespace)
            replies.append(await server.carry_out(case, namespace))
            await server.send(delete(f"{custom.DEFINITIONS}/widgets.$ns.example.com"), {"ns": namespace})
        return [
            f"{number}. {step.method} {step.path} {dict(step.query)}: {difference}"
            for number, (step, ours, theirs) in enumerate(zip(case.steps, *replies, strict=True), 1)
            for difference in differences(step, ours, theirs)
        ]


@pytest.fixture
async def both(real_plane: Plane) -> AsyncIterator[Both]:
    """Both servers with Apportion's definitions."""
    access = real_plane.admin
    trust = ssl.create_default_context(cafile=str(access.authority))
    async with Sandbox(bookmark_seconds=0.5, orphan_seconds=3600) as sandbox, aiohttp.ClientSession() as session:
        ours = Server(sandbox.url, "sandbox", None, session)
        theirs = Server(access.url, access.token, trust, session)
        for server in (ours, theirs):
            for definition in crd_documents():
                await server.send(post(custom.DEFINITIONS, definition), {})
            for path in ("trainingjobs", "queues", "allocationpolicies"):
                await server.carry_out(Case("", (Step("GET", f"{custom.GROUP}/{path}", until=200),)), "")
        yield Both(ours, theirs)


@pytest.mark.parametrize("topic", TOPICS)
async def test_the_sandbox_answers_as_the_real_server(both: Both, topic: str) -> None:
    """Many cases at a time: one waits mostly, and each has a namespace of its own."""
    free = asyncio.Semaphore(AT_ONCE)

    async def judge(case: Case) -> list[str]:
        async with free:
            told = await both.compared(case)
        name = f"{topic}: {case.name}"
        if name in KNOWN:
            return [] if told else [f"=== {name}: conforms by now; take it out of known.py"]
        return [f"=== {name}", *told] if told else []

    found = await asyncio.gather(*(judge(case) for case in TOPICS[topic]))
    told = [line for lines in found for line in lines]
    assert not told, "\n".join(told)
