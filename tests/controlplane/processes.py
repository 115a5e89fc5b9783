"""Processes that never outlive the Python process that started them, with their output in a file."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TETHER = Path(__file__).with_name("tether.py")
OWNER = "APPORTION_CONTROLPLANE_OWNER"
STOP_SECONDS = 20
TAIL_LINES = 25
# How much garbage Go lets its heap grow by. With its own 100 a start costs half as much CPU again, and tests a sixth.
GARBAGE_PERCENT = "400"
# The kernel signals the end of a parent when the *thread* that forked ends. So one thread forks, and it stays.
_FORKER = ThreadPoolExecutor(1, "forker")


class Failed(Exception):
    """Something of the control plane does not work; the message has the last lines of the logs."""


class Process:
    """One component. `start` after `stop` or `kill` runs the same command again; its log goes on in the same file."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self.command = command
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.wanted = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self.wanted = True
        self._process = _FORKER.submit(self._fork).result()

    def _fork(self) -> subprocess.Popen[bytes]:
        # Little of this process's environment: no proxy, no kubeconfig and no GOMAXPROCS of a user changes a test.
        environment = {"PATH": os.defpath, "HOME": str(self.folder), OWNER: owner(), "GOGC": GARBAGE_PERCENT}
        tethered = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self.command]
        with self.log.open("ab") as sink:
            return subprocess.Popen(
                tethered, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=self.folder, env=environment
            )

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP freezes it, SIGCONT thaws it."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        self.wanted = False
        self.signal(signal.SIGTERM)
        try:
            self._wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.name} did not end in {STOP_SECONDS} s after SIGTERM\n{self.tail()}") from None

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.wanted = False
        self.signal(signal.SIGKILL)
        self._wait()

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_SECONDS)

    def tail(self) -> str:
        """The last lines of its log, under a heading."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        state = "runs" if self.alive else "has ended"
        return "\n".join([f"--- {self.name} {state}, {self.log}", *lines[-TAIL_LINES:]])


def owner() -> str:
    """This process, in a way that no later process with the same number shares."""
    return f"{os.getpid()}@{_birth(os.getpid())}"


def _birth(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" if there is none."""
    with contextlib.suppress(OSError):
        # The name in parentheses may hold spaces: fields are counted behind it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def owned() -> dict[int, str]:
    """Processes of control planes on this machine, of this user, by number: who owns them."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # Other users' processes cannot be read, and a process may end while it is looked at.
        with contextlib.suppress(OSError):
            for entry in (folder / "environ").read_bytes().split(b"\0"):
                name, _, value = entry.decode(errors="replace").partition("=")
                if name == OWNER:
                    found[int(folder.name)] = value
    return found


def kill_orphans() -> list[int]:
    """End processes whose owner is gone without them, which the tether should have prevented; returns their numbers."""
    killed = []
    for pid, whose in owned().items():
        number, _, birth = whose.partition("@")
        if _birth(int(number)) != birth:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
    return killed


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address on which nobody listens.

    They lie below the range from which the kernel numbers outgoing connections. A port out of that range could be
    taken, even by a client that tries to reach it, while the API server that owned it restarts.
    """
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            tried = held.enter_context(socket.socket())
            port = random.randrange(first_ephemeral // 2, first_ephemeral)
            with contextlib.suppress(OSError):
                tried.bind(("127.0.0.1", port))
                ports.append(port)
        return ports
