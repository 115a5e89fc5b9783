"""Asking the solvers in the policy's order, within one deadline for everything."""

import math
import time
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np

from apportion.model.policy import SolverLimits
from apportion.optimizer.options import Floats, Ints
from apportion.optimizer.problem import Problem
from apportion.optimizer.process import WORKER
from apportion.optimizer.program import Answer, Limits, Program, restrict, whole

SOLVERS = ("highs", "cbc")
OVERRUN = 1.1  # a solver stops itself at the limit and is killed at this multiple of it


@dataclass(frozen=True)
class Found:
    """A solver's x over all columns (whole numbers if they were asked for), its bound and the prices of the rows."""

    x: Floats
    bound: float | None
    prices: Floats
    optimal: bool


@dataclass
class Solvers:
    """The methods left to try: one that fails is not asked again in this round."""

    limits: SolverLimits
    started: float = field(default_factory=time.monotonic)
    warnings: list[str] = field(default_factory=list)
    _known: dict[bytes, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.methods = [method for method in self.limits.methods if method in SOLVERS]
        self.used = "greedy"

    @property
    def left(self) -> float:
        return self.limits.time_limit_seconds - (time.monotonic() - self.started)

    def solve(
        self,
        problem: Problem,
        chosen: Ints,
        cost: Floats,
        upper: Floats | None = None,
        *,
        gap: float = 0.0,
        enough: float = math.inf,
    ) -> Found | None:
        """The best whole x by `cost` over the chosen columns, or one worth `enough`; None: no method found one."""
        return self._ask(problem, chosen, cost, upper, Limits("", True, gap, 0.0, enough=enough))

    def relax(self, problem: Problem, chosen: Ints, cost: Floats) -> Found | None:
        """The same without integers: exact prices."""
        return self._ask(problem, chosen, cost, None, Limits("", False, 0.0, 0.0))

    def _ask(self, problem: Problem, chosen: Ints, cost: Floats, upper: Floats | None, wanted: Limits) -> Found | None:
        if not self.methods or not len(chosen):
            return None
        caps = upper if upper is not None else problem.size[problem.options.columns.group].astype(np.float64)
        scale = float(np.abs(cost[chosen]).max()) or 1.0
        fit = problem.rows.fit if wanted.mip else None
        restricted = restrict(problem, fit, chosen, cost / scale, caps)
        while self.methods:
            method, left = self.methods[0], self.left
            if left <= 0:
                self._give_up(f"{method}: no time left")
                continue
            limits = replace(wanted, method=method, seconds=left, enough=wanted.enough / scale)
            answer = self._answer(restricted.program, limits)
            if answer.infeasible:
                return None
            values = answer.values
            if values is not None and wanted.mip:
                values = whole(values, len(chosen))
            if values is None:
                self._give_up(answer.message or f"{method}: values are not whole")
                continue
            self.used = method
            x = np.zeros(len(problem.value))
            x[chosen] = values[: len(chosen)]
            bound = None if answer.bound is None else answer.bound * scale
            prices = np.maximum(answer.prices[: len(problem.rows)], 0.0) * scale
            return Found(x, bound, prices, answer.optimal)
        return None

    def _answer(self, program: Program, limits: Limits) -> Answer:
        """Attempts at one plan often come to equal programs: what was solved in this round is not solved again."""
        question = _digest(program, limits)
        if (known := self._known.get(question)) is not None:
            return known
        answer = WORKER.solve(program, limits, limits.seconds + (OVERRUN - 1) * self.limits.time_limit_seconds)
        if answer.optimal:
            self._known[question] = answer
        return answer

    def _give_up(self, message: str) -> None:
        self.warnings.append(message)
        self.methods.pop(0)


def _digest(program: Program, limits: Limits) -> bytes:
    """Of all that the answer follows from, if no clock cuts it short: everything but the names and the seconds."""
    digest = blake2b(repr((limits.method, limits.mip, limits.gap, limits.nodes, limits.enough)).encode())
    for part in (program.cost, program.lower, program.upper, program.integer, program.row, program.column):
        digest.update(part.tobytes())
    for part in (program.entry, program.right, program.equal):
        digest.update(part.tobytes())
    return digest.digest()
