"""Simulations side by side, each in a process of its own: how far all are, and that nobody plays on for no one."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from types import FrameType
from typing import Any, NoReturn

from rich.progress import TimeRemainingColumn

from apportion.cli.progress import progress
from apportion.simulator import Contender, Setting, Trial, trial

SHOWN_EVERY_SECONDS = 0.2
LOOK_SECONDS = 0.2


def played(setting: Setting, runs: Sequence[tuple[Contender, int]], jobs: int, most: int) -> Iterator[Trial]:
    """In the order of `runs`, so many at once; one at a time in this process. For the main thread: SIGTERM ends it with
    SystemExit while it lasts, as SIGINT does with KeyboardInterrupt, and the other processes end with it."""
    with progress(TimeRemainingColumn()) as bar:
        task = bar.add_task("jobs done", total=jobs * len(runs))
        if min(most, len(runs)) == 1:
            for number, (one, seed) in enumerate(runs):

                def told(done: int, before: int = number * jobs) -> None:
                    bar.update(task, completed=before + done)

                yield trial(setting, one, seed, told)
            return
        context = get_context("spawn")
        # Without locks: who is killed while it holds one would hold up all others.
        counts, over = context.Array("L", len(runs), lock=False), context.Value("b", 0, lock=False)
        shared = _Shared(setting, counts, over)
        with _ended_by_sigterm(), ProcessPoolExecutor(min(most, len(runs)), context, _begin, (shared,)) as pool:
            try:
                # What is ignored stays so in the processes that start meanwhile: signals are for this one alone.
                with _handled(signal.SIGINT, signal.SIG_IGN), _handled(signal.SIGTERM, signal.SIG_IGN):
                    waiting: list[Future[Trial]] = [
                        pool.submit(_run, one, seed, number) for number, (one, seed) in enumerate(runs)
                    ]
                left = set(waiting)
                while left:
                    _, left = wait(left, SHOWN_EVERY_SECONDS, FIRST_COMPLETED)
                    bar.update(task, completed=sum(counts))
                yield from (future.result() for future in waiting)
            finally:
                over.value = 1


@contextlib.contextmanager
def _handled(number: signal.Signals, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _ended_by_sigterm() -> contextlib.AbstractContextManager[None]:
    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    return _handled(signal.SIGTERM, end)


@dataclass(frozen=True)
class _Shared:
    """What all runs of a process share. counts: how many jobs are done, by run; over: 1 if nobody waits any more."""

    setting: Setting
    counts: Any
    over: Any


_SHARED: _Shared | None = None


def _begin(shared: _Shared) -> None:
    """Once in each process."""
    global _SHARED
    _SHARED = shared
    threading.Thread(target=_leave_when_over, args=(shared,), daemon=True).start()


def _leave_when_over(shared: _Shared) -> None:
    """A simulation looks at nothing outside: it is ended in the middle."""
    parent = parent_process()
    while parent is not None and parent.is_alive() and not shared.over.value:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def _run(contender: Contender, seed: int, number: int) -> Trial:
    assert _SHARED is not None
    counts = _SHARED.counts

    def told(done: int) -> None:
        counts[number] = done

    return trial(_SHARED.setting, contender, seed, told)
