"""The solver process: started on demand, killed when late, and what takes over then."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from apportion.model.plan import Plan, Status
from apportion.model.policy import SolverLimits
from apportion.model.snapshot import Snapshot
from apportion.optimizer import process, solve, violations, warm
from apportion.optimizer.process import Worker
from optimizer_builders import EXACT, granted, job, node, snapshot


def case() -> Snapshot:
    """Needs an integer program: the greedy plan is not the best one."""
    jobs = [job(f"j{at}", 1 + at % 2, 6, (1, 2, 4)[at % 3]) for at in range(9)]
    return snapshot([node("n1"), node("n2"), node("n3", 7)], jobs)


def by(*methods: str, seconds: float = 20.0) -> Plan:
    return solve(case(), replace(EXACT, solver=SolverLimits(seconds, 0.0, methods)))


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """One of its own, so that a killed one disturbs no other test."""
    own = Worker()
    monkeypatch.setattr("apportion.optimizer.solving.WORKER", own)
    yield own
    own.close()


def test_all_methods_agree_and_each_is_certified() -> None:
    plans = {method: by(method) for method in ("highs", "cbc", "greedy")}
    assert [plan.method for plan in plans.values()] == ["highs", "cbc", "greedy"]
    assert plans["highs"].objective == pytest.approx(plans["cbc"].objective)
    for plan in plans.values():
        assert violations(case(), plan.allocations) == []
        assert plan.objective <= plans["highs"].objective + 1e-9 <= plan.bound + 2e-9
    assert plans["highs"].status is Status.OPTIMAL
    assert plans["highs"].gap < 1e-6
    assert plans["highs"].warnings == ()


def test_a_method_that_does_not_exist_is_passed_over() -> None:
    assert by("gurobi", "highs").method == "highs"
    assert by("gurobi").method == "greedy"
    assert by().method == "greedy"


def test_without_time_the_greedy_plan_is_used_and_the_limit_is_kept(worker: Worker) -> None:
    started = time.monotonic()
    plan = by("highs", "cbc", seconds=0.05)
    assert time.monotonic() - started < 3.0
    assert plan.method == "greedy"
    assert any("killed at the time limit" in warning or "no time left" in warning for warning in plan.warnings)
    assert sum(granted(plan).values()) > 0
    assert worker._process is None
    assert by("highs").method == "highs"


def test_a_stopped_worker_is_killed_at_the_limit(worker: Worker) -> None:
    by("highs")
    assert worker._process is not None
    stopped = worker._process.pid
    os.kill(stopped, signal.SIGSTOP)
    assert by("highs", seconds=0.3).method == "greedy"
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)
    assert by("highs").method == "highs"


def test_a_killed_worker_is_replaced_unnoticed(worker: Worker) -> None:
    first = by("highs")
    assert worker._process is not None
    os.kill(worker._process.pid, signal.SIGKILL)
    assert by("highs") == first
    assert by("highs").warnings == ()


def test_no_python_no_worker_but_a_plan(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    plan = by("highs", "cbc")
    assert plan.method == "greedy"
    assert any("no solver process" in warning for warning in plan.warnings)


def test_its_files_go_with_it(worker: Worker) -> None:
    assert by("cbc").method == "cbc"
    folder = Path(worker._folder)
    assert folder.parent == Path(tempfile.gettempdir())
    assert list(folder.iterdir()) == []
    worker.close()
    assert not folder.exists()
    worker.close()


def test_several_threads_get_the_same_plan() -> None:
    found: list[Plan] = []
    threads = [threading.Thread(target=lambda: found.append(by("highs"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [by("highs")] * 4


SCRIPT = """
import os, sys
sys.path[:0] = {paths!r}
from test_optimizer_worker import by
plan = by("highs")
child = os.fork()
if child == 0:
    ok = by("highs") == plan and by("highs").method == "highs"
    sys.stdout.flush()
    sys.exit(0 if ok else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert by("highs") == plan
print(plan.method)
"""


def test_a_script_without_a_main_guard_may_fork_and_prints_nothing_else() -> None:
    here = Path(__file__).parent
    script = SCRIPT.format(paths=[str(here), str(here.parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("highs\n", "")


def test_warm_starts_it_ahead() -> None:
    warm()
    assert process.WORKER._process is not None
    assert process.WORKER._process.poll() is None
