"""Relaxations of random programs against a call of SciPy, and their prices against duality."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from apportion.optimizer.program import Limits, Program
from apportion.optimizer.solvers import run


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Up to five columns and rows, some rows empty, some equal, not always with a solution."""
    columns, rows = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    whole = st.integers(-4, 6)
    entries = [(row, column, draw(whole)) for row in range(rows) for column in range(columns) if draw(st.booleans())]
    draw(st.randoms(use_true_random=False)).shuffle(entries)
    row, column, entry = zip(*entries, strict=True) if entries else ((), (), ())
    lower = [draw(st.integers(-1, 1)) for _ in range(columns)]
    return Program(
        cost=np.array([draw(whole) for _ in range(columns)], dtype=np.float64),
        lower=np.array(lower, dtype=np.float64),
        upper=np.array([low + draw(st.integers(0, 4)) for low in lower], dtype=np.float64),
        integer=np.ones(columns, dtype=np.bool_),
        names=[f"x{at}" for at in range(columns)],
        row=np.array(row, dtype=np.int64),
        column=np.array(column, dtype=np.int64),
        entry=np.array(entry, dtype=np.float64),
        right=np.array([draw(st.integers(0, 9)) for _ in range(rows)], dtype=np.float64),
        equal=np.array([draw(st.booleans()) for _ in range(rows)], dtype=np.bool_),
        row_names=[f"r{at}" for at in range(rows)],
    )


@pytest.mark.parametrize("method", ["highs", "cbc"])
def test_relaxations_reach_what_an_independent_solver_reaches_and_their_prices_prove_it(
    method: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("cbc")

    @settings(derandomize=True, deadline=None, max_examples=200 if method == "highs" else 25, database=None)
    @given(programs())
    def check(program: Program) -> None:
        # PuLP passes no empty rows on to CBC; those of the optimizer all say 0 <= something.
        assume(method == "highs" or len(np.unique(program.row)) == len(program.right))
        matrix = np.zeros((len(program.right), len(program.cost)))
        matrix[program.row, program.column] = program.entry
        same = program.equal
        expected = linprog(
            -program.cost, matrix[~same], program.right[~same], matrix[same], program.right[same],
            np.stack([program.lower, program.upper], axis=1),
        )  # fmt: skip
        answer = run(program, Limits(method, False, 0.0, 10.0), str(folder))
        if expected.status != 0:
            assert answer.values is None
            return
        assert answer.values is not None
        assert program.cost @ answer.values == pytest.approx(-expected.fun, abs=1e-6)
        assert (answer.prices[~same] >= -1e-9).all()
        reduced = program.cost - answer.prices @ matrix
        proved = answer.prices @ program.right + np.maximum(reduced * program.lower, reduced * program.upper).sum()
        assert proved == pytest.approx(-expected.fun, abs=1e-6)

    check()
