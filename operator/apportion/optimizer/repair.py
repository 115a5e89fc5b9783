"""From the program's counts to jobs and nodes: place, cut back what does not place, fill what stays idle."""

from collections.abc import Container
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import groupby

import numpy as np

from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Allocation
from apportion.model.snapshot import Snapshot
from apportion.optimizer.greedy import NOTHING, Ledger, Steps
from apportion.optimizer.options import Floats, Options
from apportion.optimizer.packing import Placer
from apportion.optimizer.problem import Problem
from apportion.optimizer.sharing import Shared
from apportion.optimizer.solving import Solvers
from apportion.optimizer.staying import Ground

MOST_SOLVES = 2  # with the columns that did not place forbidden
MOST_TO_SOLVE_AGAIN = 1000  # columns: a larger program has enough others to fill what is cut back
MOST_CUTS = 4


@dataclass(frozen=True)
class Assignment:
    """The column of each job (NOTHING: it waits), the same as counts, and whose pods did not all find a node.

    resolved: it comes from another solve, which knew nothing of fewest moves.
    """

    columns: dict[JobKey, int]
    x: Floats
    unplaced: tuple[JobKey, ...]
    resolved: bool


def trimmed(repair: "Repair", x: Floats) -> Assignment:
    """An assignment whose pods all place on paper; what then stays idle is not filled."""
    wanted = repair.assign(x)
    assigned, placer = repair.fitted(wanted, repair.place(wanted))
    return Assignment(assigned, repair.counts(assigned), tuple(sorted(placer.unplaced)), resolved=False)


def grown_up(repair: "Repair", x: Floats) -> Assignment:
    """What of x places, with every step on top of it that places as well, the most valuable first."""
    wanted = repair.assign(x)
    assigned, placer = repair.fitted(wanted, repair.place(wanted))
    missing = repair.fill(assigned, placer).unplaced
    return Assignment(assigned, repair.counts(assigned), tuple(sorted(missing)), resolved=True)


def repaired(repair: "Repair", x: Floats, solvers: Solvers, best: Shared, gap: float) -> Assignment:
    """An assignment whose pods all place on paper, as far as they are new, and that leaves nothing useful idle."""
    problem = repair.problem
    assigned = repair.assign(x)
    placer = repair.place(assigned)
    failed = repair.failed(assigned, placer)
    caps = problem.size[problem.options.columns.group].astype(np.float64)
    resolved, tried, still = False, assigned, failed
    for _ in range(MOST_SOLVES if failed and len(problem.value) <= MOST_TO_SOLVE_AGAIN else 0):
        for key in still:
            if not repair.had(key, tried[key]):
                caps[tried[key]] = min(caps[tried[key]], max(0.0, x[tried[key]] - 1))
        found = solvers.solve(problem, best.chosen, problem.value, caps, gap=gap)
        if found is None:
            break
        x, tried = found.x, repair.assign(found.x)
        placed = repair.place(tried)
        still = repair.failed(tried, placed)
        if not still:
            assigned, placer, resolved = tried, placed, True
            break
    wanted = dict(assigned)
    assigned, placer = repair.fitted(assigned, placer)
    missing = repair.fill(assigned, placer).unplaced
    lost = tuple(
        key
        for key, column in wanted.items()
        if (assigned[key] == NOTHING != column)
        or repair.size(assigned[key]) < repair.size(column)
        or (key in missing and assigned[key] != NOTHING)
    )
    return Assignment(assigned, repair.counts(assigned), lost, resolved)


class Repair:
    """Assignments of jobs to columns, placed on paper and brought to what places."""

    def __init__(self, snapshot: Snapshot, ground: Ground, problem: Problem) -> None:
        self._snapshot, self._ground, self.problem = snapshot, ground, problem
        self._options: Options = problem.options
        self._steps = Steps(problem)
        self._jobs: dict[JobKey, tuple[int, Job]] = {
            job.key: (at, job) for at, group in enumerate(self._options.groups) for job in group.members
        }

    def assign(self, x: Floats) -> dict[JobKey, int]:
        """Counts to members: the oldest keep what they have, then the oldest get most."""
        columns = self._options.columns
        assigned = dict.fromkeys(self._jobs, NOTHING)
        of_group: dict[int, list[int]] = {}
        for column in np.flatnonzero(x).tolist():
            of_group.setdefault(int(columns.group[column]), []).append(column)
        for group, mine in of_group.items():
            mine.sort(key=lambda at: (not columns.current[at], -columns.value[at], columns.replicas[at], at))
            given = [column for column in mine for _ in range(round(x[column]))]
            for job, column in zip(self._options.groups[group].members, given, strict=False):
                assigned[job.key] = column
        return assigned

    def counts(self, assigned: dict[JobKey, int]) -> Floats:
        taken = [column for column in assigned.values() if column != NOTHING]
        return np.bincount(np.array(taken, dtype=np.int64), minlength=len(self.problem.value)).astype(np.float64)

    def size(self, column: int) -> float:
        return 0.0 if column == NOTHING else float(self.problem.value[column])

    def place(self, assigned: dict[JobKey, int]) -> Placer:
        """All together; where somebody's minimum finds no room beside new pods of a lower class, class by class.

        Else what was taken from that one for the other would go back to it, and be taken again, for ever.
        """
        order = sorted(assigned, key=lambda key: (-self._worth(assigned[key]), key))
        wanted = [self._allocation(key, assigned[key]) for key in order if assigned[key] != NOTHING]
        placer = Placer(self._ground)
        placer.place(wanted)
        if not self._outranked(assigned, placer):
            return placer
        turns = groupby(sorted(wanted, key=lambda one: self._turn(one.key)), lambda one: self._turn(one.key))
        placer = Placer(self._ground)
        placer.place(*([*turn] for _, turn in turns))
        return placer

    def _outranked(self, assigned: dict[JobKey, int], placer: Placer) -> bool:
        short = [key for key in placer.unplaced if key in assigned and self._below_minimum(key, assigned[key], placer)]
        if not short:
            return False
        new = (key for key, at in assigned.items() if at != NOTHING and self._options.columns.new[at])
        return max(map(self._turn, new)) > min(map(self._turn, short))

    def _below_minimum(self, key: JobKey, column: int, placer: Placer) -> bool:
        replicas = int(self._options.columns.replicas[column])
        return column != NOTHING and replicas - placer.unplaced[key] < self._jobs[key][1].minimum

    def _turn(self, key: JobKey) -> tuple[bool, int]:
        """Who was promised something goes first, then the highest class."""
        group = self._options.groups[self._jobs[key][0]]
        return (group.keeps == 0, -group.like.priority)

    def _worth(self, column: int) -> float:
        """Value per accelerator: who comes first where pods of one size contend."""
        return 0.0 if column == NOTHING else float(self.problem.value[column] / self._steps.accelerators[column])

    def _allocation(self, key: JobKey, column: int) -> Allocation:
        columns = self._options.columns
        flavor = self._snapshot.flavors[int(columns.flavor[column])]
        return Allocation(key, flavor.name, int(columns.replicas[column]))

    def failed(self, assigned: dict[JobKey, int], placer: Placer) -> dict[JobKey, int]:
        """How many pods of whom found no place, as far as the job could do with less.

        A job that holds no more than it had goes no further down than its smallest option: what it misses then may
        come back, and it is not evicted for it.
        """
        return {
            key: count
            for key, count in placer.unplaced.items()
            if key in assigned and assigned[key] != NOTHING and self._lesser(key, assigned[key], count)
        }

    def had(self, key: JobKey, column: int) -> bool:
        columns, current = self._options.columns, self._options.groups[self._jobs[key][0]].current
        same = self._snapshot.flavors[int(columns.flavor[column])].name == current.flavor
        return same and int(columns.replicas[column]) <= current.replicas

    def fitted(self, assigned: dict[JobKey, int], placer: Placer) -> tuple[dict[JobKey, int], Placer]:
        """What of it places: first everybody who was promised something has it, then the others give back."""
        return self.cut(*self.returned(assigned, placer))

    def returned(self, assigned: dict[JobKey, int], placer: Placer) -> tuple[dict[JobKey, int], Placer]:
        """Who finds no room for what was promised stays where it is; whoever was to have that room looks for another.

        The program counts as if pods inside a flavor could move; real ones stay, and what a job gives up for a place
        that is none may be taken by then. Survivors are placed before anybody else, so those that return have theirs.
        """
        assigned, stay = dict(assigned), set[JobKey]()
        while lost := {key for key in placer.unplaced if key not in stay and self._loses(key, assigned, placer)}:
            stay |= lost
            ledger = Ledger(self.problem, self.counts(assigned))
            for key in sorted(lost):
                assigned[key] = self._stand(key, assigned[key], ledger)
            self._give_way(assigned, stay)
            placer = self.place(assigned)
        return assigned, placer

    def _loses(self, key: JobKey, assigned: dict[JobKey, int], placer: Placer) -> bool:
        if key not in assigned:
            return False
        group, column = self._options.groups[self._jobs[key][0]], assigned[key]
        placed = self._options.columns.replicas[column] - placer.unplaced[key] if column != NOTHING else 0
        return placed < group.keeps <= group.current.replicas and bool(self._standing(key))

    def _standing(self, key: JobKey) -> list[int]:
        """The options that leave the job where it is with what was promised, the largest first."""
        group, columns = self._jobs[key][0], self._options.columns
        mine = np.arange(columns.start[group], columns.start[group + 1])
        mine = mine[self.problem.offered[mine] & (columns.reduced[mine] <= 0)]
        return [at for at in mine[np.argsort(-columns.replicas[mine])].tolist() if self.had(key, at)]

    def _stand(self, key: JobKey, column: int, ledger: Ledger) -> int:
        options = self._standing(key)
        for at in options:
            if ledger.take(at, column):
                return at
        ledger.move(options[-1], column)
        return options[-1]

    def _give_way(self, assigned: dict[JobKey, int], stay: Container[JobKey]) -> None:
        """Rows that those who stay break: the others on them stay as well, or get nothing, the least valuable first.

        In the end those who stay keep no more than what was promised; that breaks no row.
        """
        ledger = Ledger(self.problem, self.counts(assigned))
        for key in sorted(assigned, key=lambda key: (key in stay, self._worth(assigned[key]), key)):
            column = assigned[key]
            if column == NOTHING or not ledger.over(column):
                continue
            options = self._standing(key) if self._options.groups[self._jobs[key][0]].keeps else [NOTHING]
            if options and options[-1] != column:
                ledger.move(options[-1], column)
                assigned[key] = options[-1]

    def cut(self, assigned: dict[JobKey, int], placer: Placer) -> tuple[dict[JobKey, int], Placer]:
        """Gives back what found no place: down to what did, a running job no further than to what it had."""
        assigned = dict(assigned)
        for attempt in range(MOST_CUTS):
            failed = self.failed(assigned, placer)
            if not failed:
                break
            ledger = Ledger(self.problem, self.counts(assigned))
            for key, missing in sorted(failed.items()):
                column = assigned[key]
                lesser = self._lesser(key, column, missing)
                if attempt == MOST_CUTS - 1:
                    lesser = lesser[-2:] if self._options.groups[self._jobs[key][0]].current.replicas else lesser[-1:]
                # The column itself where a promise forbids less: then its pods may stay Pending, and that is said.
                assigned[key] = next((at for at in lesser if at == NOTHING or ledger.take(at, column)), column)
                if assigned[key] == NOTHING:
                    ledger.give_back(column)
            placer = self.place(assigned)
        return assigned, placer

    def _lesser(self, key: JobKey, column: int, missing: int) -> list[int]:
        """Options of less, to be tried in this order; the last one always can be taken.

        Of the same flavor: what was placed, largest first. Then a job that moved may stay where it is, and one that
        would be larger or new gets what it had or nothing; a job that was there already goes down to its smallest.
        """
        columns, problem = self._options.columns, self.problem
        group, _ = self._jobs[key]
        mine = np.arange(columns.start[group], columns.start[group + 1])
        mine = mine[problem.offered[mine]]
        mine = mine[np.argsort(-columns.replicas[mine], kind="stable")]
        smaller = mine[
            (columns.flavor[mine] == columns.flavor[column]) & (columns.replicas[mine] < columns.replicas[column])
        ]
        placed = smaller[columns.replicas[smaller] <= columns.replicas[column] - missing].tolist()
        if self.had(key, column):
            return [*placed, *smaller.tolist()[-1:]]
        had = [at for at in mine.tolist() if self.had(key, at)]
        return [*placed, *had, NOTHING]

    def fill(self, assigned: dict[JobKey, int], placer: Placer) -> Placer:
        """Takes every step that is worth something, breaks no row and places, the most valuable per accelerator first.
        The placement of all that was taken; the given one where nothing was."""
        ledger = Ledger(self.problem, self.counts(assigned))
        columns = self._options.columns
        heap: list[tuple[float, JobKey, int, int]] = []

        def offer(key: JobKey, rank: int = 0) -> None:
            following = self._steps.after(self._jobs[key][0], assigned[key])
            if rank < len(following):
                heappush(heap, (-following[rank][0], key, assigned[key], rank))

        for key in assigned:
            offer(key)
        taken: list[tuple[JobKey, int]] = []
        full: set[tuple[str, object]] = set()
        closed: set[tuple[int, int]] = set()
        kinds = [(group.like.nodes, tuple(sorted(group.like.requests.items()))) for group in self._options.groups]
        while heap:
            _, key, column, rank = heappop(heap)
            group, _ = self._jobs[key]
            target = self._steps.after(group, column)[rank][1]
            more = int(columns.replicas[target]) - (int(columns.replicas[column]) if column != NOTHING else 0)
            flavor = self._snapshot.flavors[int(columns.flavor[target])].name
            kind = (flavor, kinds[group])
            # Rows only fill up: a step that was forbidden once is forbidden to all who would take the same.
            if kind not in full and (column, target) not in closed:
                if not ledger.take(target, column):
                    closed.add((column, target))
                    offer(key, rank + 1)
                    continue
                if placer.add(key, flavor, more):
                    assigned[key] = target
                    taken.append((key, column))
                    offer(key)
                    continue
                ledger.give_back(target, column)
                if more == 1:
                    full.add(kind)
            offer(key, rank + 1)
        return self.settled(assigned, taken) if taken else placer

    def settled(self, assigned: dict[JobKey, int], taken: list[tuple[JobKey, int]]) -> Placer:
        """Places all again, after these steps: (job, its column before). That might put pods elsewhere and fail: the
        last step is given back until it does not."""
        placer = self.place(assigned)
        if not self.failed(assigned, placer):
            return placer
        # The most steps that place, by halving: each trial places everything.
        low, high = 0, len(taken)
        while low + 1 < high:
            middle = (low + high) // 2
            if self.failed(tried := self._without(assigned, taken[middle:]), self.place(tried)):
                high = middle
            else:
                low = middle
        assigned.update(self._without(assigned, taken[low:]))
        del taken[low:]
        return self.place(assigned)

    def _without(self, assigned: dict[JobKey, int], taken: list[tuple[JobKey, int]]) -> dict[JobKey, int]:
        return assigned | dict(reversed(taken))
