"""What came of a simulation, job by job and in all."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from apportion.model.flavors import Flavor
from apportion.model.jobs import JobKey
from apportion.simulator.play import Step
from apportion.simulator.world import Account, Done


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that is done. Times in seconds of the virtual clock.

    alone: how long the work would take at the best rate that the job could have in this cluster. queued: seconds
    without anything.
    """

    key: JobKey
    came: float
    ended: float
    alone: float
    queued: float
    restarts: int

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
    """`finished` holds one small value for each job; `seconds` is when the last decision was made."""

    finished: tuple[Finished, ...]
    account: Account
    seconds: float

    @property
    def mean_seconds(self) -> float:
        """Mean JCT."""
        return fmean(one.seconds for one in self.finished) if self.finished else 0.0

    @property
    def normalised_rate(self) -> float:
        return fmean(one.normalised_rate for one in self.finished) if self.finished else 0.0

    @property
    def restarts_a_job(self) -> float:
        return fmean(one.restarts for one in self.finished) if self.finished else 0.0

    @property
    def lost_share(self) -> float:
        """Accelerator-seconds that restarts took, of all that jobs held."""
        held = self.account.used + self.account.lost
        return self.account.lost / held if held else 0.0


def tally(steps: Iterable[Step]) -> Report:
    """Goes through all steps and keeps of each only who was done."""
    finished: list[Finished] = []
    account, seconds = Account(), 0.0
    for step in steps:
        flavors = step.world.snapshot.flavors
        finished += [_finished(done, flavors) for done in step.done if done.complete]
        account, seconds = step.world.account, step.world.now
    return Report(tuple(finished), account, seconds)


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
    )
