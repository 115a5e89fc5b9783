"""solve(snapshot, policy) -> Plan: the whole way from a snapshot to a plan that was checked and placed."""

import time
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

import numpy as np

from apportion.model.eligibility import current_grant
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Allocation, Plan, Price, Status
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer.anchors import anchored, anchors
from apportion.optimizer.cells import cells_of
from apportion.optimizer.check import violations
from apportion.optimizer.greedy import NOTHING
from apportion.optimizer.options import Ints, Options, options, promised
from apportion.optimizer.packing import Placer
from apportion.optimizer.problem import Problem
from apportion.optimizer.repair import Assignment, Repair, repaired
from apportion.optimizer.rows import Rows, rows
from apportion.optimizer.sharing import Shared, Target, nearest_to_current, shared
from apportion.optimizer.solving import Solvers
from apportion.optimizer.stages import staged
from apportion.optimizer.staying import Ground
from apportion.optimizer.value import terms_of

PROMISE = 100.0  # what a promise weighs in a relaxation, in units of the most valuable option
MOST_ANCHORINGS = 4  # programs that are solved again because nodes do not hold what the first asked for
NEXT_TO_NOTHING = 1e-6  # of a job: rounding of a relaxation


def solve(snapshot: Snapshot, policy: Policy) -> Plan:
    """The allocations of all candidates by the integer program of docs and optimizer.md.

    Never raises: what cannot be used is warned about, and where everything fails all jobs keep what they have
    (Status.KEPT). `objective` and `bound` are those of the value stage; the allocations are worth
    objective - moves_cost. Same snapshot and policy, same plan, unless a clock cut the solver short.
    """
    started = time.perf_counter()
    try:
        plan = Round(snapshot, policy).plan()
    except Exception as problem:
        plan = kept(snapshot, f"no plan could be made: {type(problem).__name__}: {problem}")
    return replace(plan, seconds=time.perf_counter() - started)


def kept(snapshot: Snapshot, warning: str) -> Plan:
    """Everybody keeps what they have."""
    allocations = tuple(
        Allocation(job.key, grant.flavor, grant.replicas) if (grant := current_grant(job)).replicas else
        Allocation(job.key)
        for job in snapshot.jobs if terms_of(snapshot, job).candidate
    )  # fmt: skip
    return Plan(allocations, 0.0, 0.0, Status.KEPT, "kept", warnings=(warning,))


def would_grow(snapshot: Snapshot, policy: Policy, keys: Iterable[JobKey]) -> bool:
    """Would the relaxation of the program give any of these running jobs more replicas than it has?

    It takes an eighth of a solve or less. A yes may be wrong, since integers decide; a no means that what is scarce is
    worth more to others. Yes too where nothing could be found out; solve() says why.
    """
    try:
        return Round(snapshot, policy).would_grow(set(keys))
    except Exception:
        return True


class Round:
    """One program: what it is made of, and the steps to a plan."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        self.snapshot, self.policy = snapshot, policy
        self.candidates = [job for job in snapshot.jobs if terms_of(snapshot, job).candidate]
        self.choices = [job for job in self.candidates if not terms_of(snapshot, job).pinned]
        self.solvers = Solvers(policy.solver)
        cells = self.cells = cells_of(snapshot)
        self.ground = Ground(snapshot, cells)
        self.found = options(snapshot, policy, cells, self.choices)
        self.limits = rows(snapshot, self.found, cells, Placer(self.ground).free)
        self.sizes = np.array([group.size for group in self.found.groups], dtype=np.int64)

    def plan(self) -> Plan:
        """By the program as if pods could move; where nodes do not hold that, with ever more of them anchored."""
        first = chosen = attempt = self._attempt(self.found, self.limits)
        stuck: set[JobKey] = set()
        for left in reversed(range(MOST_ANCHORINGS)):
            kept = anchors(self.snapshot, self.found, attempt.assignment.wanted, stuck)
            if attempt.assignment.fits or not kept or self.solvers.left <= 0:
                break
            found, free, old = anchored(self.snapshot, self.ground, self.found, kept)
            attempt = self._attempt(found, rows(self.snapshot, found, self.cells, free)).renumbered(old, self.found)
            chosen = max(chosen, attempt, key=lambda one: (-one.broken, one.value))
            # In the end nobody moves any more who would lose by it what was promised.
            stuck |= set(attempt.assignment.unplaced) if left > 1 else attempt.assignment.columns.keys()
        problem, best, assignment = first.problem, first.best, chosen.assignment
        if not problem.keeps_to(assignment.x):
            # Nodes could not hold what the stages had counted on: the best plan need not reach it either.
            unstaged = _unstaged(problem, self.limits).bound(best.prices[: len(self.limits)])
            best = replace(best, bound=max(best.bound, unstaged))
        return self.plan_of(problem, best, assignment, self.found, first.moved)

    def _attempt(self, found: Options, limits: Rows) -> "_Attempt":
        gap = max(0.0, self.policy.solver.gap)
        problem, start = staged(found, limits, self.solvers, gap)
        best = shared(problem, start, self.solvers, Target(gap, _constant(problem)))
        given_up = max(0.0, self.policy.stability.fewest_moves_within) * abs(best.value - _constant(problem))
        x = nearest_to_current(problem, best, self.solvers, given_up)
        repair = Repair(self.snapshot, self.ground, problem)
        assignment = repaired(repair, x, self.solvers, best, gap)
        moved = best.value - float(problem.value @ x)
        return _Attempt(problem, best, assignment, moved, repair.broken(assignment.columns))

    def would_grow(self, keys: Set[JobKey]) -> bool:
        found, columns = self.found, self.found.columns
        problem = Problem(found, self.limits, self.sizes, np.zeros_like(self.sizes), columns.reduced <= 0)
        promised_to = np.array([group.keeps > 0 for group in found.groups], dtype=np.bool_)
        worth = columns.value + PROMISE * float(columns.value.max(initial=1.0)) * promised_to[columns.group]
        relaxed = self.solvers.relax(problem, np.flatnonzero(problem.offered), worth)
        if relaxed is None:
            return True
        asking = np.array([any(job.key in keys for job in group.members) for group in found.groups], dtype=np.bool_)
        have = np.array([group.current.replicas for group in found.groups], dtype=np.int64)
        more = asking[columns.group] & (columns.replicas > have[columns.group])
        return bool(relaxed.x[more].sum() > NEXT_TO_NOTHING)

    def plan_of(self, problem: Problem, best: Shared, assignment: Assignment, found: Options, moved: float) -> Plan:
        columns = found.columns
        flavors = self.snapshot.flavors
        by_key: dict[object, Allocation] = {}
        for job in self.candidates:
            grant = current_grant(job)
            by_key[job.key] = Allocation(job.key)
            if terms_of(self.snapshot, job).pinned and grant.replicas:
                by_key[job.key] = Allocation(job.key, grant.flavor, grant.replicas)
        for key, column in assignment.columns.items():
            if column >= 0:
                name = flavors[int(columns.flavor[column])].name
                by_key[key] = Allocation(key, name, int(columns.replicas[column]))
        allocations = tuple(by_key.values())
        wrong = violations(self.snapshot, allocations)
        if wrong:
            return kept(self.snapshot, f"the plan broke its own rules, nothing changes: {'; '.join(wrong[:5])}")
        # Admission worth of jobs that run anyway is a constant, and would only make the gap look smaller.
        constant = _constant(problem)
        x = assignment.x
        value = float(problem.value @ x) - constant
        objective = value
        if not assignment.resolved:
            # What fewest moves gave up is told apart from what nodes could not hold.
            objective += max(0.0, min(moved, best.value - constant - value))
        bound = max(best.bound - constant, objective)
        plan = Plan(
            allocations, objective, bound, Status.FEASIBLE, self.solvers.used,
            prices=self._prices(problem, best), moves_cost=objective - value, unplaced=assignment.unplaced,
            short=tuple(job.key for job in self.choices if self._is_short(job, by_key[job.key])),
            warnings=(*found.warnings, *self.solvers.warnings),
        )  # fmt: skip
        proved = plan.gap <= max(self.policy.solver.gap, 0.0) + 1e-9
        return replace(plan, status=Status.OPTIMAL if proved else Status.FEASIBLE)

    def _is_short(self, job: Job, allocation: Allocation) -> bool:
        return allocation.replicas < promised(job, terms_of(self.snapshot, job))

    def _prices(self, problem: Problem, best: Shared) -> tuple[Price, ...]:
        """Per accelerator: rows of one flavor, or of one queue on it, add up."""
        total: dict[tuple[str, str], float] = {}
        for row, whose in problem.rows.priced:
            key = (whose.flavor, whose.queue)
            price = float(best.prices[row]) if row < len(best.prices) else 0.0
            total[key] = total.get(key, 0.0) + price / whose.per
        return tuple(Price(flavor, price, queue) for (flavor, queue), price in sorted(total.items()) if price > 1e-12)


@dataclass(frozen=True)
class _Attempt:
    """One program and what became of it on nodes; `moved` is what fewest moves gave up, `broken` counts promises."""

    problem: Problem
    best: Shared
    assignment: Assignment
    moved: float
    broken: int

    @property
    def value(self) -> float:
        return float(self.problem.value @ self.assignment.x)

    def renumbered(self, old: Ints, whole: Options) -> "_Attempt":
        """In the column numbers of the whole program; of it only the assignment counts any more."""

        def renamed(columns: dict[JobKey, int]) -> dict[JobKey, int]:
            return {key: NOTHING if column == NOTHING else int(old[column]) for key, column in columns.items()}

        x = np.zeros(len(whole.columns))
        x[old] = self.assignment.x
        problem = replace(self.problem, options=whole)
        one = self.assignment
        moved = replace(one, columns=renamed(one.columns), wanted=renamed(one.wanted), x=x, resolved=True)
        return replace(self, problem=problem, assignment=moved)


def _constant(problem: Problem) -> float:
    """The admission worth of jobs that must run anyway."""
    groups = problem.options.groups
    return sum(group.worth * int(must) for group, must in zip(groups, problem.must, strict=True) if group.keeps > 0)


def _unstaged(problem: Problem, limits: Rows) -> Problem:
    """The problem without what the stages of admission added; promises stay."""
    promises = np.array([group.keeps > 0 for group in problem.options.groups], dtype=np.bool_)
    return replace(problem, rows=limits, must=np.where(promises, problem.must, 0))
