"""apportion demo: a sandbox in this process, the operator in its own, a story, and checks from outside."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from apportion.cli import story
from apportion.cli.stage import furnish
from apportion.kube.raw import integer, text
from apportion.sandbox import Sandbox

PATIENCE_SECONDS = 25.0
READING_SECONDS = 3.0
STORY_SECONDS = 90.0


@dataclass
class Stage:
    """What the audience sees: the jobs as the API server has them, the captions, the checks."""

    sandbox: Sandbox
    console: Console
    live: Live | None = None
    started: float = field(default_factory=time.monotonic)
    captions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def jobs(self) -> list[Any]:
        return sorted(self.sandbox.store.list("trainingjobs"), key=lambda job: text(job, "metadata", "name"))

    def job(self, name: str) -> Any:
        return next((job for job in self.jobs() if text(job, "metadata", "name") == name), {})

    def granted(self, name: str) -> int:
        return integer(self.job(name), "status", "admission", "replicas")

    def phase(self, name: str) -> str:
        return text(self.job(name), "status", "phase")

    def say(self, line: str, mark: str = "") -> None:
        self.captions.append(f"{mark or '--'} {line}")
        if self.live is None:
            self.console.print(f"[{self.seconds():5.1f} s] {mark or '--'} {line}", markup=False)

    def look(self) -> None:
        """Show what is new; and hold the promise that no job of the story falls below its minimum."""
        for job in self.jobs():
            name = text(job, "metadata", "name")
            line = f"{text(job, 'status', 'phase') or 'Pending':<10} {_size(job):<28} {text(job, 'status', 'message')}"
            if self.live is None and self.shown.get(name) != line:
                self.console.print(f"[{self.seconds():5.1f} s]      {name:<9} {line}", markup=False)
            self.shown[name] = line
        self._promise()
        if self.live is not None:
            self.live.update(self.table())

    def _promise(self) -> None:
        for deployment in self.sandbox.store.list("deployments"):
            name = text(deployment, "metadata", "name")
            least = story.MINIMUMS.get(name, 0)
            if integer(deployment, "spec", "replicas") < least:
                self.fail(f"{name} fell below its minimum of {least}")

    def fail(self, line: str) -> None:
        if line not in self.failures:
            self.failures.append(line)
            self.say(line, "FAILED")

    def table(self) -> Table:
        table = Table("JOB", "QUEUE", "PHASE", "HAS", "", "WHY", expand=True, box=None)
        for job in self.jobs():
            size = integer(job, "status", "admission", "replicas")
            most = integer(job, "spec", "maxReplicas")
            table.add_row(
                text(job, "metadata", "name"),
                text(job, "spec", "queueName"),
                text(job, "status", "phase") or "Pending",
                _size(job),
                "█" * size + "░" * max(0, most - size),
                text(job, "status", "message"),
            )
        table.title = f"Apportion demo, {self.seconds():.0f} s"
        table.caption = "\n".join(self.captions[-8:])
        table.caption_justify = "left"
        return table


def _size(job: Any) -> str:
    size = integer(job, "status", "admission", "replicas")
    return f"{size} on {text(job, 'status', 'admission', 'flavor')}" if size else "-"


async def until(stage: Stage, what: str, holds: Callable[[], bool], patience: float = PATIENCE_SECONDS) -> None:
    """Wait for one of the story's checks, looking ten times a second."""
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            stage.fail(f"not within {patience:.0f} s: {what}")
            return
        stage.look()
        await asyncio.sleep(0.1)
    stage.look()
    stage.say(what, "ok")


async def read(stage: Stage) -> None:
    """Time for the audience to read, while the promise is watched."""
    deadline = time.monotonic() + READING_SECONDS
    while time.monotonic() < deadline:
        stage.look()
        await asyncio.sleep(0.1)


async def tell(stage: Stage) -> None:
    """The story. Each part changes something, as a user or the weather would, and waits for what must follow."""
    store = stage.sandbox.store
    for obj in story.SETTING:
        store.apply(obj)
    stage.say("Five jobs arrive. There is room: each gets more than its minimum, research borrows what product lends.")
    for job in story.FIRST_JOBS:
        store.apply(job)
    await until(stage, "the first job runs", lambda: any(stage.phase(n) == "Running" for n in story.MINIMUMS))
    await until(stage, "all five run, pretrain on all 32 H100", lambda: _run(stage) and stage.granted("pretrain") == 8)

    await read(stage)
    stage.say("An urgent gang of 8 x 2 A100 arrives in research: all or nothing. The others shrink; nobody is stopped.")
    store.apply(story.URGENT_GANG)
    await until(stage, "incident runs with its whole gang", lambda: stage.phase("incident") == "Running")
    await until(stage, "vision and speech still run, smaller", lambda: _run(stage))

    await read(stage)
    stage.say("product takes its lent H100 back: its ranker wants 2 to 4 replicas of 4, and 16 of the 32 are its own.")
    store.apply(story.RANKER)
    await until(stage, "ranker has product's 16 H100", lambda: stage.granted("ranker") == 4)
    await until(stage, "pretrain was shrunk to research's 16, not stopped", lambda: stage.granted("pretrain") == 4)
    await until(stage, "ranker runs", lambda: stage.phase("ranker") == "Running")

    await read(stage)
    stage.say(f"Node {story.FAILING_NODE} fails. Kubernetes takes its pods; the jobs go on with what is left.")
    store.set_status("nodes", store.get("nodes", "", story.FAILING_NODE), _not_ready())
    await until(stage, "pretrain has given up what was lost", lambda: stage.granted("pretrain") == 2)
    await until(stage, "24 H100 are shared, nobody is below the minimum", lambda: _h100(stage) == 24 and _run(stage))

    await read(stage)
    stage.say(f"ranker ends by itself about {story.RANKER_SECONDS} s after its start; its H100 go to pretrain.")
    await until(stage, "ranker has succeeded", lambda: stage.phase("ranker") == "Succeeded", story.RANKER_SECONDS + 15)
    await until(stage, "pretrain has grown to all 24 H100", lambda: stage.granted("pretrain") == 6 and _run(stage))


def _run(stage: Stage) -> bool:
    return all(stage.phase(name) == "Running" for name in story.MINIMUMS)


def _h100(stage: Stage) -> int:
    """H100s of pods that are bound to nodes that work."""
    return 4 * sum(
        1
        for pod in stage.sandbox.store.list("pods")
        if text(pod, "spec", "nodeName").startswith("h100-")
        and text(pod, "spec", "nodeName") != story.FAILING_NODE
        and not text(pod, "metadata", "deletionTimestamp")
    )


def _not_ready() -> dict[str, Any]:
    return {"conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "demo"}]}


@contextlib.asynccontextmanager
async def operator(kubeconfig: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The operator as a real process, its log in a file."""
    command = [sys.executable, "-m", "apportion.cli", "run", "--kubeconfig", str(kubeconfig), "--port", "0"]
    with log.open("wb") as sink:
        options = ["--host", "127.0.0.1", "--log-format", "text"]
        process = await asyncio.create_subprocess_exec(*command, *options, stdout=sink, stderr=sink)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


@contextlib.contextmanager
def screen(console: Console, plain: bool) -> Iterator[Live | None]:
    if plain or not console.is_terminal:
        yield None
        return
    with Live(console=console, refresh_per_second=8) as live:
        yield live


async def play(keep: bool, plain: bool) -> int:
    console = Console(soft_wrap=plain or not sys.stdout.isatty(), highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="apportion-demo-"))
    kubeconfig, log = folder / "kubeconfig", folder / "operator.log"
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Sandbox(eviction_seconds=2) as sandbox:
        furnish(sandbox, nodes=True)
        kubeconfig.write_text(sandbox.kubeconfig(), encoding="utf-8")
        console.print(
            "An embedded cluster: 32 H100, 32 A100, 6 L4, 16 TPU v5e chips, 2 CPU nodes. The operator starts."
        )
        async with operator(kubeconfig, log) as process:
            with screen(console, plain) as live:
                stage = Stage(sandbox, console, live)
                await _whichever(tell(stage), stop, process)
            verdict = _verdict(stage, stop, process.returncode)
            for line in stage.captions if live is not None else ():
                console.print(line, markup=False)
            console.print(verdict)
            if keep and not stop.is_set():
                console.print(
                    f"The cluster and the operator keep running; end them with Ctrl-C.\nexport KUBECONFIG={kubeconfig}"
                )
                await stop.wait()
    failed = bool(stage.failures) or not verdict.startswith("The story held")
    if failed:
        console.print(f"The operator's log: {log}")
    else:
        for path in (kubeconfig, log):
            path.unlink(missing_ok=True)
        os.rmdir(folder)
    return 1 if failed else 0


async def _whichever(part: Any, stop: asyncio.Event, process: asyncio.subprocess.Process) -> None:
    """Until the story ends, the user interrupts, or the operator dies."""
    tasks = {asyncio.ensure_future(part), asyncio.ensure_future(stop.wait()), asyncio.ensure_future(process.wait())}
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for task in done:
        task.result()


def _verdict(stage: Stage, stop: asyncio.Event, code: int | None) -> str:
    if code is not None:
        return f"The operator ended with code {code}."
    if stop.is_set():
        return "Interrupted."
    if stage.failures:
        return f"{len(stage.failures)} checks of the story failed."
    if stage.seconds() > STORY_SECONDS:
        return f"The story took {stage.seconds():.0f} s; it should take no more than {STORY_SECONDS:.0f}."
    return f"The story held: every check passed in {stage.seconds():.0f} s."


def demo_command(keep: bool, plain: bool) -> int:
    """0 only if all of the story's own checks held."""
    return asyncio.run(play(keep, plain))
