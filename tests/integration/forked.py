"""Processes of `python -m apportion.cli` that are forked from one that has imported all that they need: see stem.py."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STEM = Path(__file__).with_name("stem.py")
POLL_SECONDS = 0.01


class Stem:
    """The process that forks; one request at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                # -P: the folder of the file is not one to import from.
                [sys.executable, "-P", str(STEM)],
                stdin=its.fileno(),
                # A library's idle threads do not survive a fork, so there shall be none.
                env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self._lines = ours.makefile("rw")
        ours.close()
        self._lock = threading.Lock()
        atexit.register(self._close)

    def ask(self, **request: Any) -> Any:
        with self._lock:
            self._lines.write(f"{json.dumps(request)}\n")
            self._lines.flush()
            answer = self._lines.readline()
        assert answer, "the process that forks operators has ended"
        return json.loads(answer)

    def _close(self) -> None:
        self._lines.close()
        self._process.wait()


class Forked:
    """As much of subprocess.Popen as tests use."""

    def __init__(self, stem: Stem, words: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.returncode: int | None = None
        self._stem = stem
        self.pid: int = stem.ask(words=words, environment=dict(environment), log=str(log))

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._stem.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(POLL_SECONDS)
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
