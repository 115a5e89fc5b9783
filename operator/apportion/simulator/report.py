"""What came of a simulation, job by job and in all."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from apportion.assessment.holding import IDLE, JOBS
from apportion.assessment.metering import charge
from apportion.model.flavors import Flavor
from apportion.model.jobs import JobKey
from apportion.planner.fairness import jain
from apportion.simulator.account import Account
from apportion.simulator.arrivals import Arrival
from apportion.simulator.history import Bins, History
from apportion.simulator.play import Step
from apportion.simulator.world import Done, Entry

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that is done. Times in seconds of the virtual clock.

    alone: how long the work would take at the best rate that the job could have in this cluster. queued: seconds
    without anything. waited: seconds before it had anything for the first time. due: its deadline, if it has one.
    """

    key: JobKey
    came: float
    ended: float
    alone: float
    queued: float
    restarts: int
    waited: float = 0.0
    due: float | None = None

    @property
    def seconds(self) -> float:
        """The job's completion time (JCT): from its arrival to its end."""
        return self.ended - self.came

    @property
    def normalised_rate(self) -> float:
        """The mean over the job's stay of its rate relative to its best: 1 for one that is alone and at its best."""
        return self.alone / self.seconds if self.seconds > 0 else 1.0


@dataclass(frozen=True)
class Report:
    """`finished` holds one small value for each job; `seconds` is when the last decision was made. unfinished: jobs
    that were not done by then, and that their owners had not deleted; overdue: of these, those whose deadline had
    passed; history: how it went."""

    finished: tuple[Finished, ...]
    account: Account
    seconds: float
    unfinished: int = 0
    overdue: int = 0
    history: Bins = field(default_factory=Bins)
    flavors: Mapping[str, Flavor] = field(default_factory=dict)

    @property
    def mean_seconds(self) -> float:
        """Mean JCT."""
        return fmean(one.seconds for one in self.finished) if self.finished else 0.0

    def percentile(self, percent: float) -> float:
        """Of the JCT, linear between two jobs."""
        return float(np.percentile([one.seconds for one in self.finished], percent)) if self.finished else 0.0

    @property
    def makespan(self) -> float:
        """From the first arrival to the last end."""
        if not self.finished:
            return 0.0
        return max(one.ended for one in self.finished) - min(one.came for one in self.finished)

    @property
    def normalised_rate(self) -> float:
        return fmean(one.normalised_rate for one in self.finished) if self.finished else 0.0

    @property
    def fairness(self) -> float:
        """Jain's index of the jobs' normalised rates: 1 where all were served alike."""
        return jain(one.normalised_rate for one in self.finished) or 0.0

    @property
    def deadlines_met(self) -> float | None:
        """Part of the jobs with a deadline that were done by then; None where there is none."""
        met = [one.ended <= one.due for one in self.finished if one.due is not None] + [False] * self.overdue
        return fmean(met) if met else None

    @property
    def restarts_a_job(self) -> float:
        return fmean(one.restarts for one in self.finished) if self.finished else 0.0

    @property
    def lost_share(self) -> float:
        """Accelerator-seconds that restarts took, of all that jobs held."""
        held = self.account.used + self.account.lost
        return self.account.lost / held if held else 0.0

    @property
    def utilisation(self) -> float:
        """Accelerator-seconds worked, of all there were."""
        return self.account.used / self.account.capacity if self.account.capacity else 0.0

    @property
    def cost(self) -> float | None:
        """Money for all accelerators, idle ones too; None where a flavor that there is has no price."""
        return self._charged(0)

    @property
    def cost_of_jobs(self) -> float | None:
        """Money for what jobs held."""
        return self._charged(0, idle=False)

    @property
    def energy(self) -> float | None:
        """Kilowatt-hours of all accelerators: held ones by the flavor's watts, idle ones by its idleWatts."""
        watt_hours = self._charged(1)
        return None if watt_hours is None else watt_hours / 1000.0

    def _charged(self, what: int, idle: bool = True) -> float | None:
        hours = [(flavor, JOBS, (use.used + use.lost) / HOUR) for (_, flavor), use in self.account.uses.items()]
        if idle:
            hours += [(flavor, IDLE, room.idle / HOUR) for flavor, room in self.account.rooms.items()]
        sums = [charge(self.flavors[flavor], use, amount)[what] for flavor, use, amount in hours if amount]
        return None if None in sums else sum(filter(None, sums))


def tally(steps: Iterable[Step], told: Callable[[int], None] | None = None) -> Report:
    """Goes through all steps and keeps of each only who was done; told: how many were by now."""
    finished: list[Finished] = []
    account, seconds = Account(), 0.0
    left: Collection[Entry] = ()
    flavors: tuple[Flavor, ...] = ()
    history = History()
    for step in steps:
        flavors = step.world.snapshot.flavors
        finished += [_finished(done, flavors) for done in step.done if done.complete]
        account, seconds = step.world.account, step.world.now
        left = step.world.entries.values()
        history.add(seconds, account)
        if told is not None:
            told(len(finished))
    by_name = {flavor.name: flavor for flavor in flavors}
    overdue = sum(due < seconds for entry in left if (due := _due(entry.arrival)) is not None)
    return Report(tuple(finished), account, seconds, len(left), overdue, history.bins(), by_name)


def _finished(done: Done, flavors: tuple[Flavor, ...]) -> Finished:
    entry = done.entry
    best = entry.arrival.best_rate(flavors)
    return Finished(
        key=entry.arrival.job.key,
        came=entry.arrival.at,
        ended=done.at,
        alone=entry.arrival.work / best if best > 0 else 0.0,
        queued=entry.queued,
        restarts=entry.restarts,
        waited=(entry.started if entry.started is not None else done.at) - entry.arrival.at,
        due=_due(entry.arrival),
    )


def _due(arrival: Arrival) -> float | None:
    target = arrival.job.target
    return target.deadline if target is not None else None
