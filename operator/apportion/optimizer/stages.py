"""Who gets at least a minimum, before anything is shared by value: promises first, then class by class.

Each stage is a program over the smallest options alone. What it reaches becomes part of the problem of all later ones:
a group must run where all of its class in its queue could be admitted, else a row per queue and class holds the sum.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from apportion.optimizer.greedy import admitted
from apportion.optimizer.options import Bools, Floats, Group, Options, seniority
from apportion.optimizer.problem import Problem
from apportion.optimizer.rows import Draft, Rows
from apportion.optimizer.sharing import Target, shared
from apportion.optimizer.solving import Solvers

REDUCED_LOSS = 0.5  # of a promise: what losing all of its surplus weighs against losing it whole
SENIORITY = 1e-4  # of B: of equals the younger admission gives way
ROUNDING = 1e-7


def staged(options: Options, rows: Rows, solvers: Solvers, gap: float, rough: bool = False) -> tuple[Problem, Floats]:
    """The problem with all that the stages settled, and an x that keeps to it (everybody at a smallest option).

    rough: admissions as the relaxation rounds, without an integer program.
    """
    stages = _Stages(options, rows, solvers, Target(gap, 0.0, rough=rough))
    stages.promises()
    for members, kind in _admissions(options.groups):
        stages.admit(members, kind)
    return stages.problem, stages.x


def _admissions(groups: Sequence[Group]) -> Iterator[tuple[list[int], str]]:
    """Who is admitted together: class by class from the highest, of each first the incumbents.

    Incumbents of a class keep theirs: nobody loses a minimum to an equal.
    """
    for priority in sorted({group.like.priority for group in groups}, reverse=True):
        members = [at for at, group in enumerate(groups) if group.like.priority == priority]
        yield [at for at in members if groups[at].current.replicas > 0], "incumbents"
        yield members, "class"


def reaching(problem: Problem, x: Floats) -> Problem:
    """The problem, given without what stages add, of plans that admit what x does or, class by class, more.

    A plan that admits more in one class may admit less in the next: so what x admits is held as far down as all of a
    class are admitted, and in the first that is not, as a sum.
    """
    groups, columns = problem.options.groups, problem.options.columns
    given = np.bincount(columns.group, x, minlength=len(groups)).astype(np.int64)
    must, worth = problem.must.copy(), np.array([group.worth for group in groups])
    for members, kind in _admissions(groups):
        if (given[members] < problem.size[members]).any():
            here = np.flatnonzero(np.isin(columns.group, members))
            draft, entries = Draft(problem.rows), worth[columns.group[here]]
            draft.add(f"{kind}/reached", here, -entries, -float(entries @ x[here]) + ROUNDING)
            return replace(problem, must=must, rows=draft.rows())
        must[members] = problem.size[members]
    return replace(problem, must=must)


def promised(options: Options, rows: Rows, solvers: Solvers, gap: float) -> tuple[Problem, Floats]:
    """As `staged`, but only promises are kept; nobody else has anything yet."""
    stages = _Stages(options, rows, solvers, Target(gap, 0.0))
    stages.promises()
    return stages.problem, stages.x


class _Turn(NamedTuple):
    """Groups whose promises are looked at together: their minimums, or (`whole`) what was promised above them."""

    members: list[int]
    whole: bool


def _turns(groups: Sequence[Group]) -> list[_Turn]:
    """Who loses last comes first: all minimums, then what was promised above these; of both first whoever has its pods,
    then whose are gone. Who is preemptible gives way to a higher class of its own queue whose pods are gone. Of each
    kind the highest class first."""
    turns: dict[tuple[int, ...], _Turn] = {}
    for whole in (False, True):
        mine = [at for at, group in enumerate(groups) if group.keeps > (group.like.minimum if whole else 0)]
        lacks = {at: groups[at].bound < (groups[at].keeps if whole else groups[at].like.minimum) for at in mine}
        higher: dict[str | None, int] = {}
        for at in mine:
            if lacks[at]:
                queue = groups[at].like.queue_name
                higher[queue] = max(groups[at].like.priority, higher.get(queue, groups[at].like.priority))
        for at in mine:
            job = groups[at].like
            gives_way = lacks[at] or (job.preemptible and higher.get(job.queue_name, job.priority) > job.priority)
            key = (whole, gives_way, -job.priority, lacks[at])
            turns.setdefault(key, _Turn([], whole)).members.append(at)
    return [turns[key] for key in sorted(turns)]


class _Stages:
    def __init__(self, options: Options, rows: Rows, solvers: Solvers, target: Target) -> None:
        sizes = np.array([group.size for group in options.groups], dtype=np.int64)
        self.problem = Problem(
            options, rows, sizes, np.zeros_like(sizes), (options.columns.reduced <= 0) & options.allowed
        )
        self.x: Floats = np.zeros(len(options.columns))
        self._options, self._solvers, self._target = options, solvers, target
        self._choices = self._smallest()
        self._seen: set[int] = set()

    def promises(self) -> None:
        """Everybody who must keep something keeps it where they are, or else as much is lost as has to be.

        Where not all can, turn by turn, each holding what those before it reached.
        """
        must = [at for at, group in enumerate(self._options.groups) if group.keeps > 0]
        if not must:
            return
        # Whose pods stay take what only they can have; the others find room among the rest.
        stay = self._options.columns.stay
        must.sort(key=lambda at: not any(stay[column] >= 0 for column in self._choices.get(at, ())))
        self._seen.update(must)
        planned = {at: [self._least_like(column) for column in self._options.planned.get(at, ())] for at in must}
        self.x, complete = admitted(self.problem, self.x, must, self._choices, planned)
        if complete:
            self._settle(must)
            return
        columns = self._options.columns
        promised = np.isin(columns.group, must) & self._options.allowed
        self.problem = replace(self.problem, offered=promised)
        worth = 1.0 - REDUCED_LOSS * columns.reduced
        everything = {at: np.flatnonzero(columns.group == at)[np.argsort(columns.reduced[columns.group == at],
                      kind="stable")].tolist() for at in must}  # fmt: skip
        turns = _turns(self._options.groups)
        ranked = [at for turn in turns if not turn.whole for at in turn.members]
        self.x, _ = admitted(self.problem, np.zeros(len(columns)), ranked, everything)
        for number, turn in enumerate(turns):
            mine = promised & np.isin(columns.group, turn.members)
            self._keep(f"promises/{number}", promised, mine, worth if turn.whole else np.ones(len(columns)))
        self._keep_what_is_left(must)

    def _keep(self, name: str, promised: Bools, mine: Bools, worth: Floats) -> None:
        """As much worth as possible for the columns in `mine`, and no less from now on."""
        if worth[mine] @ self.x[mine] < self._most(worth, mine) - ROUNDING:
            found = self._solvers.solve(
                self.problem, np.flatnonzero(promised), np.where(mine, worth, 0.0), gap=self._target.gap
            )
            if found is not None and worth[mine] @ found.x[mine] >= worth[mine] @ self.x[mine] - ROUNDING:
                self.x = found.x
        here = np.flatnonzero(mine)
        self._hold(name, here, worth[here])

    def _most(self, worth: Floats, mine: Bools) -> float:
        """If everybody with a column of `mine` had the best of them."""
        best = np.zeros(len(self.problem.size))
        np.maximum.at(best, self._options.columns.group[mine], worth[mine])
        return float(best @ self.problem.size)

    def _keep_what_is_left(self, must: list[int]) -> None:
        """Those who lost nothing may lose nothing later; the others may be given what remains."""
        columns = self._options.columns
        given = np.bincount(columns.group, self.x, minlength=len(self.problem.size)).astype(np.int64)
        lost = np.bincount(columns.group, self.x * columns.reduced, minlength=len(given)) > ROUNDING
        lost |= given < self.problem.size
        offered = ((columns.reduced <= 0) | lost[columns.group]) & self._options.allowed
        bound = self.problem.must.copy()
        bound[must] = given[must]
        self.problem = replace(self.problem, offered=offered, must=bound)
        self._choices = self._smallest()

    def admit(self, members: list[int], kind: str) -> None:
        """As much admission worth as possible for these groups, keeping all that earlier stages reached."""
        open_ = [at for at in members if self.problem.must[at] < self.problem.size[at] and self._choices.get(at)]
        if not open_:
            return
        self._seen.update(open_)
        groups, columns = self._options.groups, self._options.columns
        open_.sort(key=lambda at: seniority(groups[at].like))
        order = (
            open_
            if kind == "incumbents"
            else sorted(open_, key=lambda at: (-groups[at].worth / max(1, self._least(at)), at))
        )
        before = self.x
        self.x, complete = admitted(self.problem, before, order, self._choices)
        if not self.problem.rows.hold(self.x):
            self.x, complete = before, False
        if not complete:
            worth = np.zeros(len(columns))
            for rank, at in enumerate(open_):
                earlier = 1.0 - SENIORITY * rank / len(open_) if kind == "incumbents" else 1.0
                worth[self._choices[at]] = groups[at].worth * earlier
            smallest = self.x > 0
            smallest[[column for at in self._seen for column in self._choices.get(at, [])]] = True
            problem = self.problem.worth(worth, smallest & self.problem.offered)
            found = shared(problem, self.x, self._solvers, self._target)
            if problem.keeps_to(found.x) and worth @ found.x >= worth @ self.x:
                self.x = found.x
        self._hold_by_queue(open_, kind)

    def _hold_by_queue(self, open_: list[int], kind: str) -> None:
        """Queue by queue: all of them must run where all are admitted, else the sum reached is a row."""
        groups, columns = self._options.groups, self._options.columns
        given = np.bincount(columns.group, self.x, minlength=len(groups)).astype(np.int64)
        for queue in sorted({groups[at].like.queue_name or "" for at in open_}):
            mine = [at for at in open_ if (groups[at].like.queue_name or "") == queue]
            if all(given[at] == self.problem.size[at] for at in mine):
                self._settle(mine)
                continue
            here = np.flatnonzero(np.isin(columns.group, mine))
            worth = np.array([group.worth for group in groups])[columns.group[here]]
            if kind == "incumbents":
                rank = {at: 1.0 - SENIORITY * number / len(open_) for number, at in enumerate(open_)}
                worth = worth * np.array([rank[at] for at in columns.group[here].tolist()])
            self._hold(f"{kind}/{queue}/{groups[mine[0]].like.priority}", here, worth)

    def _settle(self, members: Iterable[int]) -> None:
        must = self.problem.must.copy()
        must[list(members)] = self.problem.size[list(members)]
        self.problem = replace(self.problem, must=must)

    def _hold(self, name: str, here: np.ndarray, worth: Floats) -> None:
        """A row: what was reached here is not given up again."""
        reached = float(worth @ self.x[here])
        if reached <= 0:
            return
        draft = Draft(self.problem.rows)
        draft.add(name, here, -worth, -reached + ROUNDING)
        self.problem = replace(self.problem, rows=draft.rows())

    def _least(self, at: int) -> float:
        columns = self._options.columns
        least = min(int(columns.replicas[column]) for column in self._choices[at])
        return least * max(1, self._options.groups[at].like.per_replica)

    def _least_like(self, column: int) -> int:
        """The smallest offered option of its flavor with the same pods staying: where all those of a plan keep to the
        rows together, so do these."""
        columns, offered = self._options.columns, self.problem.offered
        first, least = int(columns.start[columns.group[column]]), column
        for at in range(column - 1, first - 1, -1):
            if columns.flavor[at] != columns.flavor[column] or columns.stay[at] != columns.stay[column]:
                break
            least = at if offered[at] else least
        return least

    def _smallest(self) -> dict[int, list[int]]:
        """By group: the smallest offered option of each flavor, that of the current flavor first, then the fastest."""
        columns, offered = self._options.columns, self.problem.offered
        choices: dict[int, list[int]] = {}
        here = {int(columns.group[at]): int(columns.flavor[at]) for at in np.flatnonzero(columns.current)}
        seen: set[tuple[int, int]] = set()
        for at in np.flatnonzero(offered).tolist():
            key = (int(columns.group[at]), int(columns.flavor[at]))
            if key not in seen:
                seen.add(key)
                choices.setdefault(key[0], []).append(at)
        for group, found in choices.items():
            flavor = here.get(group, -1)
            ranked = [(columns.flavor[at] != flavor, -columns.value[at], at) for at in found]
            choices[group] = [at for _, _, at in sorted(ranked)]
        return choices
