"""solve(snapshot, policy) -> Plan: the whole way from a snapshot to a plan that was checked and placed."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from apportion.model.jobs import JobKey
from apportion.model.plan import Plan, Status
from apportion.model.policy import Aim, Policy
from apportion.model.snapshot import Snapshot, capped
from apportion.optimizer.attempts import Attempt, admission_constant, promises_kept
from apportion.optimizer.cells import cells_of
from apportion.optimizer.certificate import smoothed_prices
from apportion.optimizer.fit import fit_of
from apportion.optimizer.leximin import levelled, levels
from apportion.optimizer.limits import limits
from apportion.optimizer.options import Floats, Options, loosened, options, stood
from apportion.optimizer.packing import Placer
from apportion.optimizer.problem import Problem
from apportion.optimizer.repair import Repair, grown_up, repaired, trimmed
from apportion.optimizer.rows import Rows
from apportion.optimizer.sharing import Target, nearest_to_current, priced, shared
from apportion.optimizer.solving import Solvers
from apportion.optimizer.stages import promised, reaching, staged
from apportion.optimizer.staying import Ground, needed
from apportion.optimizer.telling import Proof, kept, told
from apportion.optimizer.value import terms_of

MOST_TO_TRY_OFTEN = 1000  # columns of a program that takes next to no time
MOST_NARROWINGS = 3  # of the rows of a small program, where nodes do not hold what they allow
PROMISE = 100.0  # what a promise weighs in a relaxation, in units of the most valuable option
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
        if plan.status is Status.KEPT:
            # Room was counted for pods that then do not stay.
            plan = Round(snapshot, policy, lasting=False).plan()
    except Exception as problem:
        plan = kept(snapshot, f"no plan could be made: {type(problem).__name__}: {problem}")
    return replace(plan, seconds=time.perf_counter() - started)


def would_grow(snapshot: Snapshot, policy: Policy, keys: Iterable[JobKey]) -> bool:
    """Would the relaxation of the program give any of these running jobs more replicas than it has?

    It takes an eighth of a solve or less. A yes may be wrong, since integers decide; a no means that what is scarce is
    worth more to others. Yes too where nothing could be found out; solve() says why. Always yes under MaxMinFair: the
    relaxation of the value knows nothing of the worst off.
    """
    if policy.objective.name is Aim.MAX_MIN_FAIR:
        return True
    try:
        return Round(snapshot, policy).would_grow(set(keys))
    except Exception:
        return True


@dataclass(frozen=True)
class Effort:
    """The gap that is good enough, prices by row to start from, and whether rounding the relaxation will do."""

    gap: float
    prices: Mapping[str, float]
    rough: bool = False


class Round:
    """One program: what it is made of, and the steps to a plan.

    lasting: nodes have room for the pods of promised minimums, whatever they offer by now.
    """

    def __init__(self, snapshot: Snapshot, policy: Policy, lasting: bool = True) -> None:
        snapshot, _ = capped(snapshot, policy)
        self.snapshot, self.policy = snapshot, policy
        self.gap = max(0.0, policy.solver.gap)
        candidates = [job for job in snapshot.jobs if terms_of(snapshot, job).candidate]
        self.choices = [job for job in candidates if not terms_of(snapshot, job).pinned]
        self.solvers = Solvers(policy.solver)
        cells = cells_of(snapshot)
        self.ground = Ground(snapshot, cells)
        # Nobody here can mend what others took too much, or what a node lost under pods that have to stay: that costs
        # nobody elsewhere. What these jobs hold beyond goes below zero.
        room = np.maximum(Placer(self.ground).free, 0)
        if lasting:
            room = np.maximum(room, needed(snapshot, self.ground, self.choices))
        self.found = options(snapshot, policy, self.ground, room, self.choices)
        self.sizes = np.array([group.size for group in self.found.groups], dtype=np.int64)
        self._counted: dict[tuple[tuple[int, ...], bool], Attempt] = {}

    def plan(self) -> Plan:
        """First who stays where, then the best with those in their places.

        Rows count what each job alone leaves behind, not what several leave together (footprints.py). So who stays
        where is found in two steps, the second counted from what the first leaves; with that settled rows are exact. A
        small program is first tried as if all pods could move, and then in more ways until one is as good as that; of
        large ones only one where a higher class would wait. Nothing more is tried once nothing better is left to be
        found by more than the gap that is good enough: in a steady cluster that is so at once.
        """
        effort = Effort(self.gap, self.snapshot.prices)
        if not self.found.stays:
            only = self.attempted(self.found, self.limits, effort)
            return self.plan_of(only, only.bound)
        small = len(self.found.columns) <= MOST_TO_TRY_OFTEN
        loose = self.placed(*self.loose, effort) if small else None
        tried: list[Attempt] = []
        for attempt in self._attempts(replace(effort, rough=not small), loose):
            tried.append(attempt)
            if self._as_good(attempt, loose) if loose is not None else self._good_enough(attempt):
                break
        # Of equals the last, of which most is proved.
        best = max(reversed(tried), key=lambda one: one.rank)
        if best.outranked and loose is None:
            loose = self.placed(*self.loose, effort)
            best = max(best, loose, self.counted_from(loose), key=lambda one: one.rank)
        # Other plans may be better for the worst off, and need not reach what this one does for those after them.
        market = best if small else self.priced_by(best, tried)
        bound = self.bound(best, not self._levels, market.prices)
        if loose is not None and loose.proved and loose.problem.keeps_to(best.assignment.x):
            bound = min(bound, loose.bound, self.bound(best) if self._levels else bound)
        return self.plan_of(best, bound, best.bound_staying(self.ground), market)

    def _attempts(self, effort: Effort, loose: Attempt | None) -> Iterator[Attempt]:
        """Counted from where pods are, then from where other attempts leave them."""
        if loose is not None:
            yield loose
        first = self.attempted(self.found, self.limits, effort)
        yield first
        yield from self.from_here(first)
        if loose is not None:
            yield self.counted_from(first)
            yield self.counted_from(loose)

    def _as_good(self, attempt: Attempt, loose: Attempt) -> bool:
        """Nothing better is left to be found by more than the gap that is good enough, wherever pods are."""
        if self._levels or not loose.proved or not loose.problem.keeps_to(attempt.assignment.x):
            return False
        value = attempt.best.value if attempt.whole_placed else attempt.value
        return self._target(attempt.problem).reached(value, loose.bound)

    def _good_enough(self, attempt: Attempt) -> bool:
        """The same of a large program, by prices alone, where everybody has what was promised and a minimum."""
        if self._levels or not attempt.finished or not attempt.contents_all:
            return False
        return self._target(attempt.problem).reached(attempt.best.value, self.bound(attempt))

    def from_here(self, done: Attempt) -> Iterator[Attempt]:
        """Counted from where this leaves pods: first to find who stays where, then with that settled.

        One that time cuts short may admit more than those before it, but at a fraction of the value: it does not count.
        """
        for rough in (True, False):
            following = self.counted_from(done, rough) if self.solvers.left > 0 else None
            if following is None or self._cut_short(following):
                yield self.filled(done)
                return
            yield following
            done = following

    def _cut_short(self, attempt: Attempt) -> bool:
        near = self._target(attempt.problem).near(attempt.best.value, attempt.best.bound)
        return self.solvers.left <= 0 and not near

    def filled(self, attempt: Attempt) -> Attempt:
        """The attempt with what idles given away: no time is left for anything better."""
        repair = Repair(self.snapshot, self.ground, attempt.problem)
        return self._as_placed(replace(attempt, assignment=grown_up(repair, attempt.assignment.x)))

    def counted_from(self, attempt: Attempt, rough: bool = False) -> Attempt:
        """The program counted from where this attempt leaves all pods; not rough: with those in their places."""
        stay = self.found.columns.stay
        kept = tuple(int(stay[at]) if at >= 0 else -1 for at in attempt.assignment.columns.values())
        if (kept, rough) not in self._counted:
            found = stood(self.found, self.ground, attempt.assignment.columns)
            if rough:
                # Who finds out who stays where is to look at more than what was planned.
                found = replace(found, allowed=self.found.allowed, planned={})
            rows = limits(self.snapshot, found, self.ground.cells)
            effort = Effort(self.gap, attempt.prices, rough)
            self._counted[kept, rough] = self.attempted(found, rows, effort)
        return self._counted[kept, rough]

    @cached_property
    def limits(self) -> Rows:
        """All rows, counted from where pods are."""
        return limits(self.snapshot, self.found, self.ground.cells)

    @cached_property
    def loose(self) -> tuple[Options, Rows]:
        """The options and rows as if pods could move inside their flavor."""
        if not self.found.stays:
            return self.found, self.limits
        found = loosened(self.found)
        return found, limits(self.snapshot, found, self.ground.cells)

    def attempted(self, found: Options, rows: Rows, effort: Effort) -> Attempt:
        """As `placed`; where nodes could not hold what rows allow, again with what they can hold."""
        attempt = self.placed(found, rows, effort)
        if effort.rough or self._levels or attempt.whole_placed:
            return attempt
        fit = fit_of(found, self.ground.cells) if len(found.columns) <= MOST_TO_TRY_OFTEN else None
        if fit is None:
            return self.narrowed(found, rows, effort, attempt)
        exact = self.placed(found, replace(rows, fit=fit), effort).without_room(attempt)
        # Of equals the exact one, whose bound is better.
        return max(exact, attempt, key=lambda one: one.rank)

    def narrowed(self, found: Options, rows: Rows, effort: Effort, attempt: Attempt) -> Attempt:
        """The best of this and of plans that take less of the nodes than rows of capacity allow.

        Sums allow what no packing reaches where pods of many kinds contend for several resources. So rows are drawn in
        by halves towards what is known to pack, as long as nodes do not hold what is left.
        """
        if attempt.certified and self._target(attempt.problem).reached(attempt.value, attempt.bound):
            return attempt
        at = [blocks.row for blocks in rows.blocks]
        allowed = rows.right[at]
        packed = np.minimum(attempt.whole.load(attempt.assignment.x)[at], allowed)
        best = attempt
        for _ in range(1 if found.stays or len(found.columns) > MOST_TO_TRY_OFTEN else MOST_NARROWINGS):
            if self.solvers.left <= 0:
                break
            right, between = rows.right.copy(), (packed + allowed) / 2
            right[at] = between
            again = self.placed(found, replace(rows, right=right), effort)
            packed, allowed = (between, allowed) if again.whole_placed else (packed, between)
            best = max(best, again, key=lambda one: one.rank)
        widened = self._widened(best, found, rows)
        bound = min(widened.bound, attempt.bound) if attempt.certified else widened.bound
        return replace(widened, bound=bound).without_room(attempt)

    def _widened(self, attempt: Attempt, found: Options, rows: Rows) -> Attempt:
        """The attempt over all that rows allow: of what admits no less, what is proved there."""
        x, whole = attempt.assignment.x, attempt.whole.on(found, rows, attempt.limits)
        problem = reaching(whole.unstaged(len(rows)), x)
        proved = priced(problem, x, self.solvers, self._target(problem, _by_row(problem, attempt.prices)))
        best = replace(attempt.best, prices=proved.prices, bound=proved.bound)
        return replace(attempt, problem=problem, whole=problem, best=best, bound=proved.bound)

    def placed(self, found: Options, rows: Rows, effort: Effort) -> Attempt:
        """The program over these rows, solved with this effort, and placed."""
        whole, start = staged(found, rows, self.solvers, effort.gap, effort.rough)
        problem, proved = whole, True
        if self._levels:
            reached = levelled(whole, start, self.solvers)
            problem, start, proved = reached.problem, reached.x, reached.proved
        constant = admission_constant(problem)
        target = Target(effort.gap, constant, _by_row(problem, effort.prices), effort.rough)
        best = shared(problem, start, self.solvers, target)
        given_up = max(0.0, self.policy.stability.fewest_moves_within) * abs(best.value - constant)
        finished = not effort.rough or target.reached(best.value, best.bound)
        x = nearest_to_current(problem, best, self.solvers, given_up) if finished else best.x
        repair = Repair(self.snapshot, self.ground, problem)
        assignment = repaired(repair, x, self.solvers, best, effort.gap) if finished else trimmed(repair, x)
        moved = best.value - float(problem.value @ x)
        attempt = self._as_placed(
            Attempt(problem, best, assignment, len(rows), moved, best.bound, whole, proved=proved, finished=finished)
        )
        if effort.rough or not assignment.unplaced:
            return attempt
        # Growth that does not place must cost nobody an admission: from everybody's smallest option up.
        lean = self._as_placed(replace(attempt, assignment=grown_up(repair, start), bound=best.bound))
        if promises_kept(problem, lean.assignment.x) < promises_kept(problem, start):
            # Nor may who was promised nothing be in the way of who was.
            _, kept = promised(found, rows, self.solvers, effort.gap)
            strict = replace(attempt, assignment=grown_up(repair, kept), bound=best.bound).without_room(attempt)
            lean = max(lean, self._as_placed(strict), key=lambda one: one.rank)
        return max(attempt, lean, key=lambda one: one.rank)

    def _as_placed(self, attempt: Attempt) -> Attempt:
        problem, x = attempt.problem, attempt.assignment.x
        attempt = replace(attempt, levels=levels(problem, x) if self._levels else ())
        if attempt.certified:
            return attempt
        # Nodes could not hold what the stages had counted on: the best plan need not reach it either.
        prices = attempt.best.prices[: attempt.limits]
        return replace(attempt, bound=max(attempt.bound, attempt.whole.unstaged(attempt.limits).bound(prices)))

    @property
    def _levels(self) -> bool:
        return self.policy.objective.name is Aim.MAX_MIN_FAIR

    def bound(self, attempt: Attempt, staged: bool = True, prices: Mapping[str, float] | None = None) -> float:
        """What no plan is worth more than, wherever pods are; staged: that reaches what this does stage by stage.

        prices: by row to start from; those of the attempt unless given.
        """
        problem = self._anywhere(attempt, staged)
        start = _by_row(problem, attempt.prices if prices is None else prices)
        if len(self.found.columns) > MOST_TO_TRY_OFTEN:
            bound = problem.bound(smoothed_prices(problem, start))
            return bound if start is None else min(bound, problem.bound(start))
        return priced(problem, attempt.assignment.x, self.solvers, self._target(problem, start)).bound

    def _target(self, problem: Problem, prices: Floats | None = None) -> Target:
        return Target(self.gap, admission_constant(problem), prices)

    def _anywhere(self, attempt: Attempt, staged: bool = True) -> Problem:
        """Its program as if all pods could move; without what the stages reached where the attempt does not."""
        found, rows = self.loose
        problem = attempt.problem.on(found, rows, attempt.limits)
        if staged and attempt.proved and problem.keeps_to(attempt.assignment.x):
            return problem
        return attempt.whole.on(found, rows, attempt.limits).unstaged(len(rows))

    def priced_by(self, best: Attempt, tried: Sequence[Attempt]) -> Attempt:
        """The attempt whose prices prove most of plans in which all pods can move, and are what the next round starts
        from: where everybody's pods keep their places, prices say little of other places."""
        problem = self._anywhere(best, not self._levels)
        nothing = np.zeros(len(problem.rows))

        def proved(one: Attempt) -> float:
            prices = _by_row(problem, one.prices)
            return problem.bound(nothing if prices is None else prices)

        return min(tried, key=proved)

    def would_grow(self, keys: Set[JobKey]) -> bool:
        # As if pods could move: rows counted from where they are do not see what several leave together.
        found, rows = self.loose
        columns = found.columns
        problem = Problem(found, rows, self.sizes, np.zeros_like(self.sizes), columns.reduced <= 0)
        promised_to = np.array([group.keeps > 0 for group in found.groups], dtype=np.bool_)
        worth = columns.value + PROMISE * float(columns.value.max(initial=1.0)) * promised_to[columns.group]
        relaxed = self.solvers.relax(problem, np.flatnonzero(problem.offered), worth)
        if relaxed is None:
            return True
        asking = np.array([any(job.key in keys for job in group.members) for group in found.groups], dtype=np.bool_)
        have = np.array([group.current.replicas for group in found.groups], dtype=np.int64)
        more = asking[columns.group] & (columns.replicas > have[columns.group])
        return bool(relaxed.x[more].sum() > NEXT_TO_NOTHING)

    def plan_of(
        self, attempt: Attempt, bound: float, staying: float | None = None, market: Attempt | None = None
    ) -> Plan:
        proof = Proof(bound, staying, market or attempt)
        return told(self.snapshot, self.policy, self.solvers, attempt, proof)


def _by_row(problem: Problem, prices: Mapping[str, float]) -> Floats | None:
    """None where nothing has a price: then nothing is known."""
    return np.array([prices.get(name, 0.0) for name in problem.rows.names]) if prices else None
