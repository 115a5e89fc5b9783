"""The worker process from outside: started on demand, killed when it is late, one request at a time.

A solver cannot be stopped from within (HiGHS overruns its time limit, a thread cannot be killed), so it runs where it
can: in a process group of its own, which takes CBC's child along.
"""

import atexit
import contextlib
import os
import pickle
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import apportion
from apportion.optimizer.program import NOTHING, Answer, Limits, Program

HEADER = struct.Struct("!Q")
CHUNK = 1 << 16
GOODBYE_SECONDS = 1.0


class Late(Exception):
    """The worker did not answer in time."""


class Worker:
    """At most one process, shared by all threads; a forked child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def start(self) -> None:
        """Starts the process if none runs, without waiting for it."""
        with self._lock, contextlib.suppress(OSError):
            self._running()

    def solve(self, program: Program, limits: Limits, seconds: float) -> Answer:
        """The answer, or NOTHING with a message where the process was late (it is killed) or died."""
        request = pickle.dumps((program, limits), protocol=pickle.HIGHEST_PROTOCOL)
        deadline = time.monotonic() + seconds
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            return Answer(message="the solver was busy until the time limit")
        try:
            for attempt in (1, 2):
                process = self._running()
                try:
                    return self._ask(process, request, deadline)
                except Late:
                    self._kill()
                    return Answer(message=f"{limits.method}: killed at the time limit")
                except (OSError, EOFError, pickle.UnpicklingError) as problem:
                    # It may have died since the last request: once more with a new one.
                    self._kill()
                    if attempt == 2:
                        return Answer(message=f"the solver process ended: {problem}")
        except OSError as problem:
            return Answer(message=f"no solver process: {problem}")
        finally:
            self._lock.release()
        return NOTHING

    def close(self) -> None:
        """Lets the process end by itself, briefly, then kills it."""
        with self._lock:
            process = self._process
            if process is not None and process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GOODBYE_SECONDS)
            # Also where no process ever started: its folder may be there.
            self._kill()

    def after_fork(self) -> None:
        """In a forked child: the process belongs to the parent."""
        self._lock = threading.Lock()
        if self._process is not None:
            self._process.returncode = 0
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        self._process, self._folder = None, ""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._kill()
        self._folder = tempfile.mkdtemp(prefix="apportion-solver-")
        root = str(Path(apportion.__file__).resolve().parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "apportion.optimizer.worker", self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
        )
        return self._process

    def _kill(self) -> None:
        process, folder = self._process, self._folder
        self._process, self._folder = None, ""
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)

    def _ask(self, process: subprocess.Popen[bytes], request: bytes, deadline: float) -> Answer:
        if process.stdin is None or process.stdout is None:
            raise EOFError("no pipes")
        write, read = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(write, False)
        left = memoryview(HEADER.pack(len(request)) + request)
        while left:
            _wait(write, select.POLLOUT, deadline)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(write, left[:CHUNK]) :]
        (length,) = HEADER.unpack(_read(read, HEADER.size, deadline))
        answer = pickle.loads(_read(read, length, deadline))
        return answer if isinstance(answer, Answer) else NOTHING


def _read(pipe: int, length: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < length:
        _wait(pipe, select.POLLIN, deadline)
        chunk = os.read(pipe, min(length - len(data), CHUNK))
        if not chunk:
            raise EOFError("the solver process closed its output")
        data += chunk
    return bytes(data)


def _wait(pipe: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise Late


WORKER = Worker()
atexit.register(WORKER.close)
os.register_at_fork(after_in_child=WORKER.after_fork)


def warm() -> None:
    """Starts the solver process ahead of the first solve, which then need not wait for its imports."""
    WORKER.start()
