"""The solver process: started on demand, killed when late, and what takes over then."""

import io
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apportion.model.plan import Plan, Status
from apportion.model.policy import SolverLimits
from apportion.model.snapshot import Snapshot
from apportion.optimizer import process, solve, violations, warm
from apportion.optimizer.problem import Problem
from apportion.optimizer.process import Worker
from apportion.optimizer.program import Answer, Limits, Program
from apportion.optimizer.solve import Round
from apportion.optimizer.solvers import run
from apportion.optimizer.worker import HEADER, serve
from optimizer_builders import EXACT, granted, job, node, snapshot


def case() -> Snapshot:
    """Needs an integer program: the greedy plan is not the best one."""
    jobs = [job(f"j{at}", 1 + at % 2, 6, (1, 2, 4)[at % 3]) for at in range(9)]
    return snapshot([node("n1"), node("n2"), node("n3", 7)], jobs)


def by(*methods: str, seconds: float = 20.0) -> Plan:
    return solve(case(), replace(EXACT, solver=SolverLimits(seconds, 0.0, methods)))


def test_what_was_solved_in_a_round_is_not_solved_again(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    class Counting(Worker):
        asked = 0

        def solve(self, program: Program, limits: Limits, seconds: float) -> Answer:
            self.asked += 1
            return super().solve(program, limits, seconds)

    counting = Counting()
    request.addfinalizer(counting.close)
    monkeypatch.setattr("apportion.optimizer.solving.WORKER", counting)
    made = Round(case(), EXACT)
    problem = Problem(made.found, made.limits, made.sizes, np.zeros_like(made.sizes), made.found.allowed)
    every = np.arange(len(problem.value))
    answers = [made.solvers.solve(problem, every, problem.value) for _ in range(3)]
    assert counting.asked == 1
    assert all(found is not None and (found.x == answers[0].x).all() for found in answers)  # type: ignore[union-attr]
    made.solvers.relax(problem, every, problem.value)
    made.solvers.solve(problem, every, problem.value, gap=0.5)
    made.solvers.solve(problem, every, 1.0 + problem.value)
    assert counting.asked == 4, "other limits and other values are other questions"
    Round(case(), EXACT).solvers.solve(problem, every, problem.value)
    assert counting.asked == 5, "nothing outlives its round"


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
    folder = Path(worker._folder)
    worker.close()
    assert not folder.exists()


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


def program() -> Program:
    """max 3 a + 2 b with a + b <= 3.5 and b = 1, both whole and at most 5."""
    return Program(
        cost=np.array([3.0, 2.0]),
        lower=np.zeros(2),
        upper=np.full(2, 5.0),
        integer=np.ones(2, dtype=np.bool_),
        names=["a", "b"],
        row=np.array([0, 0, 1]),
        column=np.array([0, 1, 1]),
        entry=np.ones(3),
        right=np.array([3.5, 1.0]),
        equal=np.array([False, True]),
        row_names=["capacity/h100/1", "choice/ns/b"],
    )


@pytest.mark.parametrize("method", ["highs", "cbc"])
def test_solvers_return_values_bounds_and_prices_of_one_sign(method: str, tmp_path: Path) -> None:
    whole = run(program(), Limits(method, True, 0.0, 10.0), str(tmp_path))
    assert whole.values is not None
    assert whole.values.round(6).tolist() == [2.0, 1.0]
    assert whole.optimal
    assert whole.bound is None or whole.bound == pytest.approx(8.0)
    relaxed = run(program(), Limits(method, False, 0.0, 10.0), str(tmp_path))
    assert relaxed.values is not None
    assert relaxed.values.round(6).tolist() == [2.5, 1.0]
    assert relaxed.prices.round(6).tolist() == [3.0, -1.0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["highs", "cbc"])
def test_what_cannot_be_is_not_taken_for_a_solution(method: str, tmp_path: Path) -> None:
    impossible = replace(program(), right=np.array([0.5, 1.0]))
    answer = run(impossible, Limits(method, True, 0.0, 10.0), str(tmp_path))
    assert answer.values is None
    assert answer.infeasible == (method == "highs")
    nothing = replace(program(), cost=np.zeros(0), right=np.zeros(0))
    assert run(nothing, Limits(method, True, 0.0, 10.0), str(tmp_path)).optimal


def test_a_node_limit_and_a_sufficient_objective_end_the_search(tmp_path: Path) -> None:
    few = run(program(), Limits("highs", True, 0.0, 10.0, nodes=0), str(tmp_path))
    assert few.values is None or few.values.round(6).tolist() == [2.0, 1.0]
    enough = run(program(), Limits("highs", True, 0.0, 10.0, enough=4.0), str(tmp_path))
    assert enough.values is not None


def test_the_worker_answers_each_request_and_survives_a_bad_one(tmp_path: Path) -> None:
    good = pickle.dumps((program(), Limits("highs", True, 0.0, 10.0)))
    bad = pickle.dumps((replace(program(), cost=np.array([math.nan, 1.0])), Limits("highs", True, 0.0, 10.0)))
    worse = pickle.dumps((None, Limits("highs", True, 0.0, 10.0)))
    source = io.BytesIO(b"".join(HEADER.pack(len(data)) + data for data in (good, bad, worse, good)))
    sink = io.BytesIO()
    serve(source, sink, str(tmp_path))
    sink.seek(0)
    answers = []
    while head := sink.read(HEADER.size):
        answers.append(pickle.loads(sink.read(*HEADER.unpack(head))))
    assert len(answers) == 4
    assert answers[2].values is None
    assert "AttributeError" in answers[2].message
    assert answers[0].values.tolist() == answers[3].values.tolist()


def test_an_answer_that_nobody_hears_any_more_is_no_trouble(tmp_path: Path) -> None:
    """Its command was killed while it solved."""
    folder = tmp_path / "files"
    folder.mkdir()
    request = pickle.dumps((program(), Limits("highs", True, 0.0, 10.0)))
    heard, answers = os.pipe()
    os.close(heard)
    words = [sys.executable, "-m", "apportion.optimizer.worker", str(folder)]
    done = subprocess.run(
        words,
        input=HEADER.pack(len(request)) + request,
        stdout=answers,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(answers)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not folder.exists()
