"""Simulations in processes of their own end with the command that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CLUSTER = "docs/examples/clusters/two-pools.yaml"
LONG = ("--trace", "generate:jobs=5000,hours=500", "--cluster", CLUSTER, "--policy", "program", "--policy", "fifo")
PATIENCE_SECONDS = 60.0


def members(session: int) -> list[str]:
    """The command lines of the processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getsid(int(entry.name)) == session:
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return [line for line in found if line]


def until(true: Callable[[], bool]) -> bool:
    last = time.monotonic() + PATIENCE_SECONDS
    while not true() and time.monotonic() < last:
        time.sleep(0.1)
    return true()


@pytest.fixture
def command() -> Iterator[subprocess.Popen[bytes]]:
    """A simulation of hours, both of its runs begun."""
    words = [str(Path(sys.executable).with_name("apportion")), "simulate", *LONG, "--seeds", "1", "--processes", "2"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    runs = "from multiprocessing.spawn import spawn_main"
    assert until(lambda: sum(runs in line for line in members(process.pid)) == 2)
    yield process
    for line in members(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
        print("still there:", line)
        break
    process.communicate()


@pytest.mark.parametrize("whom", [os.killpg, os.kill], ids=["the group", "the command alone"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_and_all_of_its_runs_without_a_traceback(
    command: subprocess.Popen[bytes], number: signal.Signals, code: int, whom: Callable[[int, int], None]
) -> None:
    whom(command.pid, number)
    said, _ = command.communicate(timeout=PATIENCE_SECONDS)
    assert command.returncode == code
    assert b"Traceback" not in said
    assert until(lambda: not members(command.pid))


def test_runs_end_when_the_command_was_killed(command: subprocess.Popen[bytes]) -> None:
    command.kill()
    command.wait()
    assert until(lambda: not members(command.pid))
