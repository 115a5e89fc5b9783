"""A process that has imported all that an operator imports, and becomes one: each request forks a child that runs it.

A fork takes milliseconds where the imports of a fresh interpreter take two seconds of CPU. The child is a process like
any other: it runs `python -m apportion.cli` as its own main program, and ends as that ends. What it shares with its
siblings is what an interpreter reads at its start: sys.path, the clock's replacement, the seed of hashes.

Started as `python stem.py` with one end of a pair of sockets as its standard input (see forked.py). It ends with the
process that has the other end, and then ends what still runs of its children.
"""

import gc
import json
import os
import runpy
import signal
import sys
from typing import Any

PROGRAM = "apportion.cli"
SOCKET = 0


def prepare() -> None:
    """Import, and leave no thread behind that a child would miss."""
    import coverage  # noqa: F401

    from apportion.cli import logs  # noqa: F401
    from apportion.controller import run  # noqa: F401

    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, "a fork copies one thread, and the locks of all"
    # What is there now is never garbage: no child shall look for it, and copy its pages by that.
    gc.freeze()


def serve() -> dict[str, Any]:
    """Returns only in children: what they are to be. Ends with the process at the other end."""
    children: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = ended(request["poll"])
            if answer is not None:
                children.discard(request["poll"])
        else:
            answer = os.fork()
            if not answer:
                return dict(request)
            children.add(answer)
        os.write(SOCKET, f"{json.dumps(answer)}\n".encode())
    for child in children:
        os.kill(child, signal.SIGKILL)
    sys.exit()


def ended(child: int) -> int | None:
    """The exit code, as subprocess has it; None while it runs."""
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def become(words: list[str], environment: dict[str, str], log: str) -> None:
    """From here on this process has nothing of the one that it was forked from but what is imported."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(os.devnull, "rb") as nothing, open(log, "ab") as sink:
        os.dup2(nothing.fileno(), SOCKET)
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    import coverage

    # As coverage's .pth file does in each interpreter that starts: it measures if the environment says so.
    coverage.process_startup()
    sys.argv = [PROGRAM, *words]
    runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    # Ctrl-C reaches all processes of a terminal: who started this one decides when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()
    become(**serve())
