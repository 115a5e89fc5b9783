"""Promises before anything else: with no program where none is needed."""

from typing import Any

import numpy as np

from apportion.model.jobs import FlavorChoice, Job
from apportion.model.policy import SolverLimits
from apportion.model.snapshot import Terms
from apportion.optimizer.attempts import promises_kept
from apportion.optimizer.options import stood
from apportion.optimizer.problem import Problem
from apportion.optimizer.solve import Round
from apportion.optimizer.solving import Found, Solvers
from apportion.optimizer.stages import reaching, staged
from optimizer_builders import EXACT, job, node, snapshot, under


class _Asked(Solvers):
    """Counts the programs that it was asked to solve."""

    programs = 0

    def solve(self, *asked: Any, **limits: Any) -> Found | None:
        self.programs += 1
        return super().solve(*asked, **limits)


def promised(*jobs: Job, each: int) -> Round:
    """So many h100s and as many a100s; each of the jobs is to run."""
    world = snapshot([node("n", each), node("m", each, flavor="a100")], list(jobs))
    return Round(under(world, **{one.key.name: Terms(keeps=1) for one in jobs}), EXACT)


def only(flavor: str) -> tuple[FlavorChoice, ...]:
    return (FlavorChoice(flavor),)


def test_promises_of_a_plan_are_kept_without_a_program() -> None:
    """Both that may go anywhere would go to the same flavor, wherever that is; the plan knows better."""
    round_ = promised(
        job("any"), job("anything"), job("fast", flavors=only("h100")), job("slow", flavors=only("a100")), each=2
    )
    columns, on = round_.found.columns, {"any": "h100", "anything": "a100", "fast": "h100", "slow": "a100"}
    numbers = {flavor.name: at for at, flavor in enumerate(round_.snapshot.flavors)}
    plan = {
        member.key: int(np.flatnonzero((columns.group == at) & (columns.flavor == numbers[on[member.key.name]]))[0])
        for at, group in enumerate(round_.found.groups)
        for member in group.members
    }
    for found, programs in ((stood(round_.found, round_.ground, plan), 0), (round_.found, 1)):
        solvers = _Asked(SolverLimits())
        problem, x = staged(found, round_.limits, solvers, 0.0)
        assert promises_kept(problem, x) == 4
        assert solvers.programs == programs


def test_only_a_turn_in_which_something_is_lost_is_a_program() -> None:
    """Two are to have the one h100: only the lower class loses anything."""
    round_ = promised(job("first", priority=100, flavors=only("h100")), job("second", flavors=only("h100")), each=1)
    solvers = _Asked(SolverLimits())
    problem, x = staged(round_.found, round_.limits, solvers, 0.0)
    assert promises_kept(problem, x) == 1
    assert solvers.programs == 1


def test_what_is_reached_is_held_down_to_the_first_class_of_which_somebody_waits() -> None:
    """Three classes of two jobs: all of the first run, one of the second, one of the third."""
    classes = {"first": 300, "second": 200, "third": 100}
    jobs = [job(f"{name}-{at}", priority=rank, most=2) for name, rank in classes.items() for at in (1, 2)]
    round_ = Round(snapshot([node("n", 8)], jobs), EXACT)
    found = round_.found
    sizes = np.array([group.size for group in found.groups])
    problem = Problem(found, round_.limits, sizes, np.zeros_like(sizes), np.ones(len(found.columns), dtype=np.bool_))

    def running(*counts: int) -> np.ndarray[Any, Any]:
        """So many of each class, the first with one replica."""
        x, of_rank = np.zeros(len(found.columns)), dict(zip(classes.values(), counts, strict=True))
        for at, group in enumerate(found.groups):
            taken = min(group.size, of_rank[group.like.priority])
            of_rank[group.like.priority] -= taken
            x[found.columns.start[at]] = taken
        return x

    reached = reaching(problem, running(2, 1, 1))
    for counts in ((2, 1, 1), (2, 1, 0), (2, 2, 0)):
        assert reached.keeps_to(running(*counts))
    for counts in ((2, 0, 2), (1, 2, 2)):
        assert not reached.keeps_to(running(*counts))
    assert reaching(problem, running(2, 2, 2)).keeps_to(running(2, 2, 2))
    assert not reaching(problem, running(2, 2, 2)).keeps_to(running(2, 2, 1))
