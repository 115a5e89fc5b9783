"""What became of one program on the nodes, and what no plan with the same pods in their places can be better than."""

from dataclasses import dataclass, replace

import numpy as np

from apportion.model.eligibility import current_grant
from apportion.optimizer.greedy import NOTHING
from apportion.optimizer.options import Floats
from apportion.optimizer.problem import Problem
from apportion.optimizer.repair import Assignment
from apportion.optimizer.sharing import ROUNDING, Shared
from apportion.optimizer.staying import Ground


@dataclass(frozen=True)
class Attempt:
    """A program, its best x, and the assignment that places.

    limits: how many of its rows come from the snapshot; the stages of admission added the others. moved: what fewest
    moves gave up, in value. bound: no x of the program is worth more that reaches what the
    assignment does stage by stage. `whole` is the program without the steps of MaxMinFair, `levels` what the assignment
    reaches in these, proved: whether none reaches better ones; all three say nothing under another aim. finished: few
    moves were looked for and idle room was filled, so that it may be the plan.
    """

    problem: Problem
    best: Shared
    assignment: Assignment
    limits: int
    moved: float
    bound: float
    whole: Problem
    levels: tuple[int, ...] = ()
    proved: bool = True
    finished: bool = True

    @property
    def value(self) -> float:
        return float(self.problem.value @ self.assignment.x)

    @property
    def whole_placed(self) -> bool:
        """Nodes hold what the program chose."""
        reached = self.best.value - self.moved
        return not self.assignment.unplaced and self.value >= reached - ROUNDING * max(1.0, abs(reached))

    def without_room(self, counted: "Attempt") -> "Attempt":
        """Named as unplaced are also those who have nothing, where by the rows alone more of their group had."""
        columns, groups = self.problem.options.columns, self.problem.options.groups
        fewer = np.bincount(columns.group, counted.best.x, minlength=len(groups)) > self._given
        members = (job.key for group, less in zip(groups, fewer, strict=True) if less for job in group.members)
        lacking = {key for key in members if self.assignment.columns[key] == NOTHING}
        unplaced = tuple(sorted({*self.assignment.unplaced, *lacking}))
        return replace(self, assignment=replace(self.assignment, unplaced=unplaced))

    @property
    def prices(self) -> dict[str, float]:
        """By row; rows without a price are left out."""
        named = zip(self.problem.rows.names, self.best.prices.tolist(), strict=False)
        return {name: price for name, price in named if price > 0}

    @property
    def rank(self) -> tuple[float, ...]:
        """Greater for the better of two: promises kept, then class by class from the highest the admissions of
        incumbents and of all, then (under MaxMinFair) the worst off, then value."""
        groups = self.problem.options.groups
        worth = self._given * np.array([group.worth for group in groups])
        priority = np.array([group.like.priority for group in groups], dtype=np.int64)
        incumbent = np.array([group.current.replicas > 0 for group in groups], dtype=np.bool_)
        ranks: list[float] = [promises_kept(self.problem, self.assignment.x)]
        for rank in sorted({*priority.tolist()}, reverse=True):
            mine = priority == rank
            ranks += [round(float(worth[mine & incumbent].sum()), 9), round(float(worth[mine].sum()), 9)]
        return (*ranks, *self.levels, self.value)

    @property
    def certified(self) -> bool:
        """Whether the assignment reaches what the stages did, and these what can be reached."""
        return self.proved and self.problem.keeps_to(self.assignment.x)

    @property
    def contents_all(self) -> bool:
        """Everything that was chosen places, every promise is kept whole, and nobody waits."""
        lost = float(self.assignment.x @ self.problem.options.columns.reduced)
        return self.certified and self.whole_placed and not lost and bool((self._given >= self.problem.size).all())

    @property
    def outranked(self) -> bool:
        """Somebody waits while another of a lower class runs."""
        groups = self.problem.options.groups
        waiting = [group.like.priority for group, given in zip(groups, self._given, strict=True) if given < group.size]
        running = [group.like.priority for group, given in zip(groups, self._given, strict=True) if given > 0]
        return max(waiting, default=0) > min(running, default=0)

    @property
    def _given(self) -> Floats:
        groups = self.problem.options.columns.group
        return np.bincount(groups, self.assignment.x, minlength=len(self.problem.size)).astype(np.float64)

    def bound_staying(self, ground: Ground) -> float:
        """What no plan is worth more than with which the same pods stay on the same nodes.

        L of the prices (optimizer.md, "Certificate"), where a job takes one of the options with which exactly these
        pods of it stay, a row of capacity holds what they leave on the nodes, and only new pods pay for it.
        """
        problem = self.problem if self.certified else self.whole.unstaged(self.limits)
        prices = self.best.prices[: len(problem.rows)]
        right, free = problem.rows.right.copy(), problem.options.room.copy()
        for key, column in self.assignment.columns.items():
            job = ground.jobs[key]
            if column != NOTHING and problem.options.columns.stay[column] >= 0:
                stays = ground.held(job, current_grant(job).flavor, int(problem.options.columns.replicas[column]))
                free[stays.rows] -= stays.amounts
        for row, mask, shape, scale in problem.rows.blocks:
            inside = free[ground.cells.indices(mask)]
            right[row] = float(ground.cells.blocks(inside, shape).sum()) / scale
        proved = float(prices @ right) + self._best_responses(problem, prices) + problem.borrowed(prices)
        # Patterns are for exactly these pods in their places, so the program's own bound holds for them.
        return min(proved, self.best.bound) if self.certified and problem.rows.fit is not None else proved

    def _best_responses(self, problem: Problem, prices: Floats) -> float:
        """The sum over jobs of the best option, less what its new pods pay, with which the same pods stay."""
        rows, columns = problem.rows, problem.options.columns
        held = np.bincount(rows.column, rows.held * prices[rows.row], minlength=len(columns))
        worth = np.where(problem.offered, problem.value - problem.charge(prices) + held, -np.inf)
        of_stay = np.full(len(problem.options.stays), -np.inf)
        stays = columns.stay >= 0
        np.maximum.at(of_stay, columns.stay[stays], worth[stays])
        of_new = np.full(len(problem.size), -np.inf)
        np.maximum.at(of_new, columns.group[~stays], worth[~stays])
        total = 0.0
        for at, group in enumerate(problem.options.groups):
            for job in group.members:
                column = self.assignment.columns[job.key]
                if column != NOTHING and columns.stay[column] >= 0:
                    total += float(of_stay[columns.stay[column]])
                elif column == NOTHING or problem.must[at] < problem.size[at]:
                    total += max(0.0, float(of_new[at]))
                else:
                    total += float(of_new[at])
        return total


def promises_kept(problem: Problem, x: Floats) -> float:
    """How many of those who were promised something have all of it."""
    columns, groups = problem.options.columns, problem.options.groups
    kept = np.bincount(columns.group, x * (columns.reduced <= 0), minlength=len(groups))
    return float(kept @ np.array([group.keeps > 0 for group in groups], dtype=np.bool_))


def admission_constant(problem: Problem) -> float:
    """The admission worth that is in the value of jobs that must run anyway."""
    groups = problem.options.groups
    return sum(group.counted * int(must) for group, must in zip(groups, problem.must, strict=True) if group.keeps > 0)
