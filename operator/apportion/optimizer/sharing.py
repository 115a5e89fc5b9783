"""The value stage: prices, prune, integer program, certificate; then the plan nearest to what runs.

Reduced values against exact prices say which columns a better plan could use: with L(lambda) a bound and z what is
already found, a column whose slack exceeds L - z is in no better plan (optimizer.md, "Certificate").
"""

from dataclasses import dataclass, replace

import numpy as np

from apportion.optimizer.certificate import smoothed_prices
from apportion.optimizer.greedy import Ledger, grown, rounded
from apportion.optimizer.options import Bools, Floats, Ints
from apportion.optimizer.problem import Problem
from apportion.optimizer.rows import Draft
from apportion.optimizer.solving import Solvers

COLUMNS_PER_GROUP = (1.35, 2.0)  # of the first integer programs: what the relaxation uses and the nearest others
MOST_COLUMNS = 4000  # of one integer program; what is left out is in the bound
FEW_COLUMNS = 400  # below it nothing is pruned that a better plan might use
FEW_TO_RELAX = 1000  # columns that all together take a solver less time than finding prices without one
NEAR_PER_GROUP = 4  # columns near the best response that the relaxation starts from
FEW_PER_GROUP = 2  # the same where prices are known
RELAXATIONS = 4
NEXT_TO_NOTHING = 0.2  # of the gap that is good enough: more columns would improve the prices by no more
MOST_TO_STAY = 300  # columns of the last stage; beyond them only the cheapest go back to what they have
MOVES_GAP = 0.005  # of the jobs that stay: proving the very last move costs more than it saves
MOST_TO_MEND = 80  # columns that an integer program beside what the relaxation uses takes next to no time for
MENDED = 5.0  # times the gap that is good enough: beyond it what was rounded is not mended
TO_A_WHOLE = 1e-6  # of a member: rounding of a relaxation
ROUNDING = 1e-9
ROUNDING_OF_MOVES = 1e-5  # of one: a relaxation's rows hold to about as much


@dataclass(frozen=True)
class Target:
    """The relative gap that is good enough, of a value less `constant`; `prices` of rows to start from, if known.

    rough: what the relaxation rounds to is good enough, also where it misses what a stage reached.
    """

    gap: float
    constant: float
    prices: Floats | None = None
    rough: bool = False

    def of_all(self, value: float) -> float:
        """The gap in terms of the whole value, constant included, for a solver that sees no constants."""
        return self.gap * abs((value - self.constant) / value) if value else 0.0

    def enough(self, bound: float) -> float:
        """The value from which on the bound is near enough."""
        return bound - self.gap * abs(bound - self.constant) / (1.0 + self.gap)

    def near(self, value: float, bound: float) -> bool:
        """Whether the gap is so small that a little work may bring it to what is good enough."""
        return bound - value <= MENDED * self.gap * abs(value - self.constant)

    def reached(self, value: float, bound: float) -> bool:
        return bound - value <= max(self.gap * abs(value - self.constant), ROUNDING * max(1.0, abs(bound)))


@dataclass(frozen=True)
class Shared:
    """x, its value in the objective, a bound on the best, and the prices of the rows. `chosen`: the columns used."""

    x: Floats
    value: float
    bound: float
    prices: Floats
    chosen: Ints


@dataclass(frozen=True)
class Relaxed:
    """Prices of the rows, the bound that they prove, and the x of the relaxation where a solver found one."""

    prices: Floats
    bound: float
    x: Floats | None


def shared(problem: Problem, start: Floats, solvers: Solvers, target: Target) -> Shared:
    """The most valuable x; `start` is any that keeps to the rows."""
    best = grown(problem, start)
    if not problem.rows.hold(best):
        best = start
    relaxed = priced(problem, best, solvers, target)
    prices, bound = relaxed.prices, relaxed.bound
    if not len(problem.value):
        return Shared(best, 0.0, 0.0, prices, np.zeros(0, dtype=np.int64))
    value = float(problem.value @ best)
    if relaxed.x is not None and not target.reached(value, bound):
        near = rounded(problem, relaxed.x)
        if problem.keeps_to(near) and problem.value @ near > value and problem.rows.hold(near):
            best, value = near, float(problem.value @ near)
            if target.rough and not target.reached(value, bound) and target.near(value, bound):
                best = near = mended(problem, best, relaxed, solvers, target)
                value = float(problem.value @ best)
        if target.rough and not target.reached(value, bound):
            return Shared(near, float(problem.value @ near), bound, prices, np.zeros(0, dtype=np.int64))
    dual = bound
    for most in (*(int(share * len(problem.size)) for share in COLUMNS_PER_GROUP), MOST_COLUMNS):
        used = best if relaxed.x is None else best + relaxed.x
        chosen, theta, complete = _near(problem, prices, dual - value, used, most)
        if target.reached(value, bound):
            break
        enough = target.enough(bound)
        found = solvers.solve(problem, chosen, problem.value, gap=target.of_all(value), enough=enough)
        if found is None:
            break
        # What was left out reaches at most L - theta; what was not, at most the solver's bound.
        if found.bound is not None:
            bound = min(bound, max(found.bound, dual - theta))
        if problem.value @ found.x > value:
            best, value = found.x, float(problem.value @ found.x)
        if complete:
            break
    return Shared(best, value, max(bound, value), prices, chosen)


def mended(problem: Problem, best: Floats, relaxed: Relaxed, solvers: Solvers, target: Target) -> Floats:
    """`best`, which was rounded from the relaxation, or better: by an integer program over those groups alone that the
    relaxation divides, or could change at least cost. All others have what it gives them."""
    if relaxed.x is None or problem.rows.fit is not None:
        return best
    columns, x, value = problem.options.columns, relaxed.x, float(problem.value @ best)
    slack = problem.slack(relaxed.prices)
    cheap = np.zeros(len(x), dtype=np.bool_)
    cheap[np.argsort(slack, kind="stable")[: np.count_nonzero(x) + MOST_TO_MEND]] = True
    divided = np.abs(x - np.round(x)) > TO_A_WHOLE
    open_ = np.zeros(len(problem.size), dtype=np.bool_)
    open_[columns.group[divided | (cheap & (x <= TO_A_WHOLE))]] = True
    inside = open_[columns.group]
    settled = np.where(inside, 0.0, np.round(x))
    worth = float(problem.value @ settled)
    rest = replace(problem, rows=replace(problem.rows, right=problem.rows.right - problem.load(settled)))
    chosen = np.flatnonzero(inside & (cheap | (x > 0) | (best > 0)))
    gap = target.of_all(value) * value / (value - worth) if value > worth else target.gap
    found = solvers.solve(rest, chosen, problem.value, gap=gap, enough=target.enough(relaxed.bound) - worth)
    if found is None or worth + problem.value @ found.x <= value or not problem.keeps_to(settled + found.x):
        return best
    return settled + found.x


def priced(problem: Problem, x: Floats, solvers: Solvers, target: Target) -> Relaxed:
    """Prices of the relaxation: over the columns near the best response and x, until others change it next to nothing:
    less than a fifth of the gap that is good enough. Where there are few columns, over all of them at once."""
    if not len(problem.value):
        return Relaxed(np.zeros(len(problem.rows)), 0.0, None)
    offered = np.flatnonzero(problem.offered | (x > 0))
    if len(offered) <= FEW_TO_RELAX and (exact := solvers.relax(problem, offered, problem.value)) is not None:
        return Relaxed(exact.prices, problem.bound(exact.prices), exact.x)
    prices = smoothed_prices(problem, target.prices)
    bound, relaxed = problem.bound(prices), None
    chosen = _nearest(problem, prices, x, NEAR_PER_GROUP if target.prices is None else FEW_PER_GROUP)
    for _ in range(RELAXATIONS):
        found = solvers.relax(problem, np.flatnonzero(chosen), problem.value)
        if found is None:
            break
        # Cut short by time it may be anything that keeps to the rows.
        relaxed = found.x if found.optimal else relaxed
        proved = problem.bound(found.prices)
        if proved < bound:
            prices, bound = found.prices, proved
        left = max(
            1e-7 * max(1.0, abs(proved)),
            (1.0 if target.rough else NEXT_TO_NOTHING) * target.gap * (proved - target.constant),
        )
        if found.bound is not None and proved - found.bound <= left:
            prices, bound = found.prices, min(bound, proved)
            break
        more = _nearest(problem, found.prices, x, NEAR_PER_GROUP) & ~chosen
        if not more.any():
            break
        chosen |= more
    return Relaxed(prices, bound, relaxed)


def _nearest(problem: Problem, prices: Floats, x: Floats, few: int) -> Bools:
    """By column: offered and among so many of its group that lose least, or in x."""
    slack = problem.slack(prices)
    columns = problem.options.columns
    order = np.lexsort((slack, columns.group))
    rank = np.empty(len(slack), dtype=np.int64)
    rank[order] = np.arange(len(slack)) - columns.start[columns.group[order]]
    return ((rank < few) & problem.offered) | (x > 0)


def _near(problem: Problem, prices: Floats, gap: float, x: Floats, most: int) -> tuple[Ints, float, bool]:
    """The columns that a plan better than x may use, about `most` of them.

    Second theta: all others lose at least so much of the bound. Third: whether none had to be left out.
    """
    slack = problem.slack(prices)
    order = np.flatnonzero(problem.offered)
    theta = max(gap, 0.0) * (1.0 + 1e-6) + 1e-12
    if len(order) <= FEW_COLUMNS:
        theta = np.inf
    complete = np.count_nonzero(slack[order] <= theta) <= max(most, FEW_COLUMNS)
    if complete:
        order = order[slack[order] <= theta]
    else:
        # Of many alike columns only some: those that x uses, then the earliest.
        order = order[np.argsort(slack[order], kind="stable")]
        theta = float(slack[order[most]])
        order = order[:most]
    return np.union1d(order, np.flatnonzero(x)), theta, bool(complete)


def nearest_to_current(problem: Problem, best: Shared, solvers: Solvers, given_up: float) -> Floats:
    """Of all x within `given_up` of the best value one with few jobs changed; the fewest, in a small program.

    First those go back to what they have for whom that costs least, then as far as the solver finds more.
    """
    columns = problem.options.columns
    running = np.array([group.current.replicas > 0 for group in problem.options.groups], dtype=np.bool_)[columns.group]
    stays = (columns.current & running).astype(np.float64)
    sizes = np.array([group.size * (group.current.replicas > 0) for group in problem.options.groups])
    if float(stays @ best.x) >= sizes.sum() or not len(best.chosen):
        return best.x
    x = _back(problem, best.x, given_up)
    chosen = np.union1d(best.chosen, np.flatnonzero(columns.current & problem.offered))
    if len(chosen) > MOST_TO_STAY:
        return x
    draft = Draft(problem.rows)
    draft.add("value/held", chosen, -problem.value[chosen], -(best.value - given_up))
    held = replace(problem, rows=draft.rows())
    # Mostly the relaxation, in a tenth of the time, says that nobody more can stay.
    most = solvers.relax(held, chosen, stays)
    if most is not None and most.bound is not None and most.bound < stays @ x + 1.0 - ROUNDING_OF_MOVES:
        return x
    found = solvers.solve(held, chosen, stays, gap=MOVES_GAP)
    if found is None or stays @ found.x <= stays @ x or problem.value @ found.x < best.value - given_up - ROUNDING:
        return x
    return found.x


def _back(problem: Problem, x: Floats, given_up: float) -> Floats:
    """x with members set back to their current option, the cheapest first, while rows and what may be lost allow it.

    Room that one gives back may let another return, so it goes round until nobody more can.
    """
    columns, value = problem.options.columns, problem.value
    x, ledger, left = x.copy(), Ledger(problem, x), given_up
    home = {int(columns.group[at]): at for at in np.flatnonzero(columns.current & problem.offered).tolist()}
    away = [at for at in np.flatnonzero(x).tolist() if home.get(int(columns.group[at]), at) != at]
    away.sort(key=lambda at: (value[at] - value[home[int(columns.group[at])]], at))
    moved = True
    while moved:
        moved = False
        for at in away:
            to = home[int(columns.group[at])]
            cost = float(value[at] - value[to])
            while x[at] > 0 and cost <= left and ledger.take(to, at):
                x[at] -= 1
                x[to] += 1
                left -= cost
                moved = True
    return x
