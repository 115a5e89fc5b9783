"""The operator on the real control plane, then a bare client that writes the same: who asked what, and when.

Times are those of the API server's audit log, which sees every client alike.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from apportion.config import Settings
from apportion.kube.actuator import CONCURRENCY
from apportion.kube.client import Api, connect
from apportion.kube.kinds import DEPLOYMENT, JOB, POD
from bench.living import percentile, resident
from bench.plane import installed_plane
from bench.stage import training_job
from controlplane.nodes import NodeClass, add_nodes, until_ready
from controlplane.plane import Plane
from integration.manifests import MERGE_PATCH, SYSTEM, Obj
from integration.operator_process import Operator, is_ready, leads
from integration.real_plane import OPERATOR
from integration.waiting import until

SPACE = "default"
USER = f"system:serviceaccount:{SYSTEM}:{OPERATOR}"
ADMIN = "admin"
# Of the user who creates the jobs.
APPLIERS = 16
QUIET_SECONDS = 5.0
# Who looks more often takes the API server's time; when things happened is in its audit log.
LOOK_SECONDS = 1.0
LONGEST_SECONDS = 900.0
GIVEN_BY_SERVER = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
Row = tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """One line of the audit log; seconds since the epoch."""

    user: str
    verb: str
    what: str
    name: str
    received: float
    answered: float


@dataclass(frozen=True)
class Run:
    """What one client did with so many jobs. `waits`: from each job's creation to its Deployment; seconds."""

    jobs: int
    applying: float
    writing: float
    after_last_create: float
    waits: tuple[float, ...]
    rounds: int
    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Tables:
    runs: list[Row]
    requests: list[Row]
    process: list[Row]


async def measure(counts: tuple[int, ...], nodes: int, idle_seconds: int) -> Tables:
    """All on one control plane of its own."""
    async with installed_plane() as (plane, api):
        await until_ready(api, await add_nodes(api, nodes, NodeClass()), 300)
        return await _tables(api, plane, counts, idle_seconds)


async def _tables(api: Api, plane: Plane, counts: tuple[int, ...], idle_seconds: int) -> Tables:
    tables = Tables([], [], [])
    # Straight to the API server: a proxy in this process would be a part of what is measured.
    config = plane.service_account_kubeconfig(SYSTEM, OPERATOR)
    for count in counts:
        async with _operating(config, plane.folder) as operator:
            ours = await _with_operator(api, plane, operator, count)
            wanted = await _written(api)
            if count == counts[-1]:
                tables.requests.extend(await _idle(plane, idle_seconds))
            tables.process.append((f"with {count} jobs", *resident(operator.pid), f"{_cpu_seconds(operator.pid):.1f}"))
        await _clear(api)
        async with await connect(str(config)) as theirs_api:
            theirs = await _bare(api, theirs_api, plane, wanted)
        await _clear(api)
        tables.runs.extend((_row("operator", ours, theirs), _row("bare client", theirs, theirs)))
        tables.requests.extend(_asked(ours))
    return tables


@contextlib.asynccontextmanager
async def _operating(config: Path, folder: Path) -> AsyncIterator[Operator]:
    # Its memory is measured, none of which it shall share.
    operator = Operator(config, folder, lease_seconds=Settings.lease_seconds, fresh=True)
    operator.start()
    try:
        await is_ready(operator)
        await until(lambda: leads(operator), "the operator leads", 60, operator.log)
        yield operator
    finally:
        await asyncio.to_thread(operator.stop)


async def _with_operator(api: Api, plane: Plane, operator: Operator, count: int) -> Run:
    before = await _rounds(operator)
    begun = time.time()
    await _apply(api, count)
    await until(lambda: _has(api, count), f"{count} Deployments", LONGEST_SECONDS, operator.log, LOOK_SECONDS)
    await _quiet(operator)
    return _run(plane, begun, count, USER, await _rounds(operator) - before)


async def _bare(user: Api, writer: Api, plane: Plane, wanted: dict[str, tuple[Obj, Obj]]) -> Run:
    """As many requests at once as the actuator, in its order: every status, then the Deployments. And with its
    identity: an administrator's requests are neither authorized nor queued, nor are owner references looked at."""
    begun = time.time()
    await _apply(user, len(wanted))
    owners = {job["metadata"]["name"]: job["metadata"]["uid"] for job in await user.list_all(JOB)}

    async def tell(name: str) -> None:
        path = JOB.path(SPACE, name, "status")
        await writer.request("PATCH", path, None, {"status": wanted[name][0]}, MERGE_PATCH)

    async def make(name: str) -> None:
        manifest = wanted[name][1]
        (owner,) = manifest["metadata"]["ownerReferences"]
        meta = {**manifest["metadata"], "ownerReferences": [{**owner, "uid": owners[name]}]}
        await writer.create(DEPLOYMENT.path(SPACE), {**manifest, "metadata": meta})

    await _together(tell, wanted, CONCURRENCY)
    await _together(make, wanted, CONCURRENCY)
    return _run(plane, begun, len(wanted), USER, 0)


async def _apply(api: Api, count: int) -> None:
    """By one client, as fast as the API server takes them."""

    async def post(name: str) -> None:
        await api.create(JOB.path(SPACE), training_job(name, 1, 1, 8))

    await _together(post, [f"job-{index:04}" for index in range(count)], APPLIERS)


async def _together(act: Callable[[str], Awaitable[None]], names: Iterable[str], at_once: int) -> None:
    gate = asyncio.Semaphore(at_once)

    async def one(name: str) -> None:
        async with gate:
            await act(name)

    await asyncio.gather(*map(one, names))


async def _has(api: Api, count: int) -> bool:
    found = await api.get(DEPLOYMENT.path(SPACE), {"limit": "1"})
    return len(found["items"]) + int(found["metadata"].get("remainingItemCount") or 0) >= count


async def _written(api: Api) -> dict[str, tuple[Obj, Obj]]:
    """By job: the status and the Deployment that the operator wrote, as another could write them."""
    statuses = {job["metadata"]["name"]: job["status"] for job in await api.list_all(JOB)}
    made = {}
    for found in await api.list_all(DEPLOYMENT):
        meta = {key: value for key, value in found["metadata"].items() if key not in GIVEN_BY_SERVER}
        made[meta["name"]] = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": found["spec"]}
    return {name: (statuses[name], manifest) for name, manifest in made.items()}


async def _clear(api: Api) -> None:
    async def delete(name: str) -> None:
        await api.request("DELETE", JOB.path(SPACE, name))

    # One by one: the deletion of a whole collection takes longer than a client waits for a reply.
    await _together(delete, [job["metadata"]["name"] for job in await api.list_all(JOB)], APPLIERS)

    async def empty() -> bool:
        left = [await api.get(kind.path(SPACE), {"limit": "1"}) for kind in (JOB, DEPLOYMENT, POD)]
        return not any(found["items"] for found in left)

    await until(empty, "nothing is left of the run", LONGEST_SECONDS)


# --- readings --------------------------------------------------------------------------------------------------------


def _requests(plane: Plane, begun: float) -> list[Request]:
    found = []
    for event in plane.audit():
        received = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
        if received < begun or event.get("responseStatus", {}).get("code", 500) >= 400:
            continue
        target = event.get("objectRef", {})
        what = "/".join(filter(None, (target.get("resource", ""), target.get("subresource", ""))))
        answered = datetime.fromisoformat(event["stageTimestamp"]).timestamp()
        user = event["user"]["username"]
        found.append(Request(user, event["verb"], what, target.get("name", ""), received, answered))
    return found


def _run(plane: Plane, begun: float, count: int, user: str, rounds: int) -> Run:
    requests = _requests(plane, begun)
    created = {one.name: one for one in requests if (one.user, one.verb, one.what) == (ADMIN, "create", JOB.plural)}
    writes = [one for one in requests if one.user == user and one.what in (DEPLOYMENT.plural, f"{JOB.plural}/status")]
    done = {one.name: one.answered for one in writes if one.what == DEPLOYMENT.plural and one.verb != "list"}
    assert len(created) == len(done) == count, f"{len(created)} jobs, {len(done)} Deployments in the audit log"
    last_create = max(one.answered for one in created.values())
    own = tuple(one for one in requests if one.user == user)
    return Run(
        count,
        last_create - min(one.received for one in created.values()),
        max(done.values()) - min(one.received for one in writes),
        max(done.values()) - last_create,
        tuple(sorted(done[name] - created[name].answered for name in created)),
        rounds,
        own,
    )


def _row(client: str, run: Run, bare: Run) -> Row:
    return (
        str(run.jobs),
        client,
        f"{run.applying:.2f}",
        f"{run.applying + run.after_last_create:.2f}",
        f"{run.after_last_create:.2f}",
        f"{run.after_last_create / bare.writing:.2f}",
        f"{percentile(run.waits, 0.5):.2f}",
        f"{percentile(run.waits, 0.99):.2f}",
        f"{run.jobs / run.writing:.0f}",
        str(run.rounds) if run.rounds else "",
    )


def _asked(run: Run) -> list[Row]:
    """Up to the last Deployment and in the rounds that follow while pods start."""
    counts = Counter(f"{one.verb} {one.what}" for one in run.requests)
    return [(f"{run.jobs} jobs", what, str(count), f"{count / run.jobs:.2f}") for what, count in sorted(counts.items())]


async def _idle(plane: Plane, seconds: int) -> list[Row]:
    begun = time.time()
    await asyncio.sleep(seconds)
    counts = Counter(f"{one.verb} {one.what}" for one in _requests(plane, begun) if one.user == USER)
    return [(f"{seconds} idle seconds", what, str(count), "") for what, count in sorted(counts.items())]


async def _rounds(operator: Operator) -> int:
    return int((await operator.metrics()).get('apportion_round_duration_seconds_count{phase="total"}', 0))


async def _quiet(operator: Operator) -> None:
    """Until no round has ended for a while."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        rounds = await _rounds(operator)
        if rounds != last:
            last, since = rounds, time.monotonic()
        await asyncio.sleep(0.5)


def _cpu_seconds(pid: int) -> float:
    """Of the process and of its children that have ended, since it started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
