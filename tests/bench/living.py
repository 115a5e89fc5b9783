"""The operator as a real process, the sandbox as another, a watching user in this one."""

import asyncio
import contextlib
import itertools
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bench.stage import training_job
from fault_proxy import FaultProxy

JOBS = "/apis/apportion.dev/v1alpha1/namespaces/default/trainingjobs"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
QUIET_SECONDS = 3.0
SLOW_ROUND_SECONDS = 45.0
AT_ONCE = 16
PIPE = asyncio.subprocess.PIPE


@dataclass
class Scene:
    """Both processes; `seen` has the watch events of Deployments as (seconds, type, name)."""

    folder: Path
    server: str
    http: aiohttp.ClientSession
    operator: asyncio.subprocess.Process
    metrics_url: str
    seen: list[tuple[float, str, str]] = field(default_factory=list)

    async def request(self, method: str, path: str, body: object = None) -> Any:
        async with self.http.request(method, self.server + path, json=body) as reply:
            reply.raise_for_status()
            return await reply.json()

    async def count(self, path: str) -> int:
        got = await self.request("GET", f"{path}?limit=1")
        return len(got["items"]) + int(got["metadata"].get("remainingItemCount", 0))

    async def deployed(self, count: int, longest: float = 600.0) -> None:
        """Until there are so many Deployments."""
        async with asyncio.timeout(longest):
            for wait in itertools.chain((0.2,) * 20, itertools.repeat(2.0)):
                if await self.count(DEPLOYMENTS) >= count:
                    return
                await asyncio.sleep(wait)

    async def watch(self) -> None:
        async with self.http.get(f"{self.server}{DEPLOYMENTS}?watch=1") as reply:
            buffer = b""
            async for chunk in reply.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    self.seen.append((time.monotonic(), event["type"], event["object"]["metadata"]["name"]))

    async def figures(self) -> dict[str, float]:
        """Metrics of the operator by name with labels."""
        async with self.http.get(f"{self.metrics_url}/metrics") as reply:
            text = await reply.text()
        return {name: float(value) for name, value in re.findall(r"^(apportion_\S+) (\S+)$", text, flags=re.M)}

    async def quiet(self, seconds: float = QUIET_SECONDS, longest: float = 900.0) -> None:
        """Until no round has ended for so long."""
        began, last, since = time.monotonic(), -1.0, time.monotonic()
        while time.monotonic() - since < seconds:
            rounds = (await self.figures()).get('apportion_round_duration_seconds_count{phase="total"}', 0.0)
            if rounds != last:
                last, since = rounds, time.monotonic()
            if time.monotonic() - began > longest:
                raise TimeoutError(f"rounds go on after {longest:.0f} s")
            await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def scene(nodes: int, jobs: int = 0, proxy: bool = False) -> AsyncIterator[tuple[Scene, FaultProxy | None]]:
    """Sandbox, operator, and if wanted a proxy between them in this process."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="apportion-bench-")))
        config = folder / "kubeconfig"
        stage = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.stage", str(config), str(nodes), str(jobs), stdin=PIPE, stdout=PIPE
        )
        stack.push_async_callback(_end, stage)
        assert stage.stdout is not None
        assert await asyncio.wait_for(stage.stdout.readline(), 300) == b"ready\n"
        server = yaml.safe_load(config.read_text())["clusters"][0]["cluster"]["server"]
        between = None
        if proxy:
            between = await stack.enter_async_context(FaultProxy(server))
            config.write_text(config.read_text().replace(server, between.url))
        log = stack.enter_context((folder / "operator.log").open("wb"))
        operator = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "apportion.cli", "run", "--kubeconfig", str(config), "--host", "127.0.0.1",
            "--port", "0", "--log-format", "text", stdout=log, stderr=log,
        )  # fmt: skip
        stack.push_async_callback(_end, operator)
        timeout = aiohttp.ClientTimeout(total=None)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        here = Scene(folder, server, http, operator, await _address(folder / "operator.log", operator))
        await _ready(here)
        yield here, between


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 20)
    if process.returncode is None:
        process.kill()
        await process.wait()


async def _address(log: Path, operator: asyncio.subprocess.Process) -> str:
    said = ""
    for _ in range(600):
        said = await asyncio.to_thread(log.read_text)
        if found := re.search(r"readyz on port (\d+)", said):
            return f"http://127.0.0.1:{found[1]}"
        assert operator.returncode is None, said
        await asyncio.sleep(0.1)
    raise TimeoutError(said)


async def _ready(here: Scene) -> None:
    for _ in range(1200):
        async with here.http.get(f"{here.metrics_url}/readyz") as reply:
            if reply.status == 200 and (await here.figures()).get("apportion_leader") == 1:
                return
        await asyncio.sleep(0.1)
    raise TimeoutError((here.folder / "operator.log").read_text()[-3000:])


async def latency(jobs: int, nodes: int, repeat: int) -> list[tuple[str, ...]]:
    """Creation is the moment before the POST; the Deployment counts when this process's watch shows it."""
    rows = []
    async with scene(nodes) as (here, _):
        watch = asyncio.create_task(here.watch())
        try:
            await _together(here, ["warm-0", "warm-1"])
            await here.quiet()
            for run in range(1, repeat + 1):
                rows.append(await _one_run(here, run, jobs))
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    return rows


async def _together(here: Scene, names: list[str]) -> tuple[dict[str, float], float]:
    """When each was posted, and when the last POST was answered."""
    gate, posted = asyncio.Semaphore(AT_ONCE), {}

    async def post(name: str) -> None:
        async with gate:
            posted[name] = time.monotonic()
            await here.request("POST", JOBS, training_job(name, 1, 4, 8))

    await asyncio.gather(*(post(name) for name in names))
    return posted, time.monotonic()


async def _one_run(here: Scene, run: int, jobs: int) -> tuple[str, ...]:
    names = [f"run{run}-{index:03}" for index in range(jobs)]
    before = await here.figures()
    begun = time.monotonic()
    posted, applied = await _together(here, names)
    await here.quiet()
    after = await here.figures()
    first: dict[str, float] = {}
    for at, kind, name in here.seen:
        if name in posted and kind != "DELETED":
            first.setdefault(name, at)
    waits = sorted(first[name] - posted[name] for name in names if name in first)
    log = (here.folder / "operator.log").read_text()
    assert len(waits) == jobs, f"{jobs - len(waits)} jobs have no Deployment: {log[-2000:]}"
    for name in names:
        await here.request("DELETE", f"{JOBS}/{name}")
    await here.quiet()

    def grown(phase: str, what: str) -> float:
        name = f'apportion_round_duration_seconds_{what}{{phase="{phase}"}}'
        return after.get(name, 0.0) - before.get(name, 0.0)

    return (
        str(run),
        f"{percentile(waits, 0.50):.2f}",
        f"{percentile(waits, 0.99):.2f}",
        f"{waits[-1]:.2f}",
        f"{applied - begun:.2f}",
        f"{max(first.values()) - begun:.2f}",
        f"{grown('total', 'count'):.0f}",
        *(f"{grown(phase, 'sum'):.2f}" for phase in ("snapshot", "decide", "actuate")),
    )


def percentile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


async def memory(jobs: int, nodes: int) -> list[tuple[str, ...]]:
    async with scene(nodes, jobs) as (here, _):
        await here.deployed(jobs)
        await here.quiet(SLOW_ROUND_SECONDS)
        rows = [("operator", *resident(here.operator.pid))]
        rows += [("solver worker", *resident(pid)) for pid in _children(here.operator.pid)]
        pods = await here.count("/api/v1/pods")
        rows.append((f"({await here.count(DEPLOYMENTS)} Deployments, {pods} pods)", "", ""))
        return rows


def resident(pid: int) -> tuple[str, str]:
    """VmRSS and VmHWM in MB (10^6 bytes)."""
    said = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), flags=re.M))
    return tuple(f"{int(said[name]) * 1024 / 1e6:.0f}" for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return sorted(set(found))


async def idle(seconds: int) -> list[tuple[str, ...]]:
    async with scene(10, 20, proxy=True) as (here, proxy):
        assert proxy is not None
        await here.deployed(20)
        await here.quiet(5.0)
        start = len(proxy.log)
        await asyncio.sleep(seconds)
        writes = Counter(f"{seen.method} {seen.path.split('?')[0]}" for seen in proxy.log[start:] if seen.is_write)
        reads = sum(1 for seen in proxy.log[start:] if not seen.is_write)
        rows = [(name, str(count)) for name, count in sorted(writes.items())]
        return [*rows, ("(reads, for comparison)", str(reads))]
