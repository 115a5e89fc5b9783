"""An operator as a real process: started, killed, stopped and asked over its port."""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import aiohttp

from integration.forked import Forked, Stem
from integration.waiting import until

PROGRAM = (sys.executable, "-m", "apportion.cli")
SOLVER = b"apportion.optimizer.worker"
TRACED = "COVERAGE_PROCESS_CONFIG"  # with it a Python process measures its coverage


@cache
def stem() -> Stem:
    """One for all operators of this process."""
    return Stem({name: value for name, value in os.environ.items() if name != TRACED})


class Operator:
    """One operator process. traced: it measures its coverage, if pytest does.

    fresh: it is started as a user starts it. Otherwise it is forked from a process that has imported what it needs.
    """

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        *options: str,
        lease_seconds: float = 2,
        environment: Mapping[str, str] | None = None,
        traced: bool = False,
        fresh: bool = False,
    ) -> None:
        self.log_path = folder / f"operator-{secrets.token_hex(3)}.log"
        self.command = [
            *PROGRAM, "run", "--kubeconfig", str(kubeconfig), "--host", "127.0.0.1",
            "--port", "0", "--log-format", "text", "--lease-seconds", str(lease_seconds), *options,
        ]  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if traced or name != TRACED}
        self.environment = {**inherited, **(environment or {})}
        self.fresh = fresh
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def start(self) -> None:
        # What an interpreter reads at its start cannot be changed in a fork.
        if self.fresh or self.environment.get("PYTHONPATH") != os.environ.get("PYTHONPATH"):
            with self.log_path.open("ab") as sink:
                self.process = subprocess.Popen(self.command, stdout=sink, stderr=sink, env=self.environment)
        else:
            self.process = Forked(stem(), self.command[len(PROGRAM) :], self.environment, self.log_path)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def solvers(self) -> list[int]:
        """Its solver processes."""
        return self.children(SOLVER)

    def signal_children(self, part: bytes, number: signal.Signals) -> list[int]:
        """To those of its processes whose command line has this part; which they were."""
        found = self.children(part)
        for pid in found:
            os.kill(pid, number)
        return found

    def children(self, part: bytes) -> list[int]:
        """Its processes whose command line has this part."""
        found = []
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            # Threads and processes may end while they are looked at.
            with contextlib.suppress(OSError):
                numbers = [int(number) for number in children.read_text().split()]
                found += [pid for pid in numbers if part in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return sorted(found)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self) -> None:
        """kill -9."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM, as a kubelet does it."""
        if self.alive:
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGTERM)
        self._wait()

    def _wait(self) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"the operator did not end in 15 s:\n{self.log()}") from None

    def restart(self) -> None:
        """After kill or stop: the same command again; its log goes on in the same file."""
        self.log_path.rename(self.log_path.with_suffix(f".{secrets.token_hex(2)}.log"))
        self.start()

    def port(self) -> int | None:
        found = re.search(r"on port (\d+)", self.log())
        return int(found.group(1)) if found else None

    async def get(self, path: str) -> tuple[int, str]:
        """(status, body) of a probe or of the metrics; (0, "") while nothing listens."""
        port = self.port()
        if port is None:
            return 0, ""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://127.0.0.1:{port}{path}") as reply,
            ):
                return reply.status, await reply.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def metrics(self) -> dict[str, float]:
        """By series, labels included."""
        _, body = await self.get("/metrics")
        lines = [line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#")]
        return {series: float(value) for series, _, value in lines}


async def is_ready(operator: Operator, seconds: float = 40) -> None:
    async def answers() -> bool:
        assert operator.alive, f"the operator ended:\n{operator.log()}"
        return (await operator.get("/readyz"))[0] == 200

    await until(answers, "the operator is ready", seconds, operator.log)


async def unready(operator: Operator, *parts: str) -> str:
    """Wait until readiness is refused with a sentence that has all the parts."""

    async def said() -> str | None:
        assert operator.alive, operator.log()
        status, body = await operator.get("/readyz")
        return body if status == 503 and all(part in body for part in parts) else None

    return str(await until(said, f"unready, and says {parts}", 30, operator.log))


async def leads(operator: Operator, value: float = 1.0) -> bool:
    """Whether it holds the Lease, as its metrics say; with value 0 whether they say that it does not."""
    return (await operator.metrics()).get("apportion_leader") == value
