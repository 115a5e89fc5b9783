"""From samples to observations: which moments of a job's life say how fast it is, and what a resize cost.

A `Stay` is the time that a job spends at one size on one flavor. It is settled a while after all its pods became ready;
before that nothing is learned from it but when the first good rate came.
"""

import math
from dataclasses import dataclass, replace
from statistics import median

from apportion.model.jobs import Admission, Job
from apportion.model.measured import HIGHEST_RATE, LOWEST_RATE, Observation, Record

WINDOW = 5  # the rate of a stay is the median of so many samples: two wild ones among them change nothing
LEAST_SAMPLES = 3
MOST_SAMPLES = 64  # of the beginning of a stay, for what the resize cost
GOOD = 0.8  # of the settled rate: from here on the work goes on
MOST_POINTS = 16
WORTH_TELLING = 0.05
TOLD_AGAIN_SECONDS = 3600.0
PROGRESS_STEP = 0.01
RESTART_WEIGHT = 0.5
DIGITS = 4


@dataclass(frozen=True, slots=True)
class Sample:
    rate: float
    at: float


@dataclass(frozen=True, slots=True)
class Stay:
    """at: the grant it belongs to. ready: since when all its pods have been ready (None: they are not). resized: it
    began with a resize that was watched from the start, so that its cost can be told. first: the earliest samples of
    it, good or not; recent: the latest of the settled time."""

    at: Admission
    ready: float | None = None
    resized: bool = False
    first: tuple[Sample, ...] = ()
    recent: tuple[Sample, ...] = ()
    cost_told: bool = False

    def counted(self) -> "Stay":
        """Its resize has been told of: the beginning is of no more use."""
        return replace(self, first=(), cost_told=True)


def stay_of(job: Job, before: Stay | None) -> Stay | None:
    """Where the job is now; None: it has nothing. `before` is what this returned for it last (None: it is new here)."""
    admission = job.admission
    if admission is None or admission.replicas <= 0:
        return None
    ready = ready_since(job, admission)
    if before is None:
        return Stay(admission, ready)
    if before.at != admission:
        return Stay(admission, ready, resized=True)
    if ready != before.ready:
        # A pod fell out, or came back: what is seen now is another beginning, and nobody's resize.
        known = before.ready is None and before.resized
        return replace(before, ready=ready, resized=known, recent=())
    return before


def ready_since(job: Job, admission: Admission) -> float | None:
    """Since when exactly the granted pods have all been ready; not before the grant: those that stay are told of it."""
    if any(pod.terminating for pod in job.pods) or len(job.pods) != admission.replicas:
        return None
    since = [pod.ready_since if pod.ready_since is not None else pod.created for pod in job.pods if pod.ready]
    return max(admission.since, *since) if len(since) == admission.replicas else None


def refused(rate: float) -> str:
    """Why no rate can be this number; "" if one can."""
    if math.isnan(rate):
        return "is not a number"
    if rate < 0:
        return f"is {rate:g}, and a rate is never negative"
    if rate > HIGHEST_RATE:
        return f"is {rate:g}, and no rate is above {HIGHEST_RATE:g}"
    if 0 < rate < LOWEST_RATE:
        return f"is {rate:g}, and no rate is below {LOWEST_RATE:g}: choose another unit"
    return ""


def sampled(stay: Stay, rate: float, now: float, settle_seconds: float) -> Stay:
    """The stay with one more sample; a rate of 0 says that the work does not go on, and is no rate of this size."""
    if stay.ready is None:
        return stay
    sample = Sample(rate, now)
    first = (*stay.first, sample) if len(stay.first) < MOST_SAMPLES and not stay.cost_told else stay.first
    settled = rate > 0 and now >= stay.ready + settle_seconds
    return replace(stay, first=first, recent=(*stay.recent, sample)[-WINDOW:] if settled else stay.recent)


def observation(stay: Stay) -> Observation | None:
    """What the stay says by now; None: too little."""
    if len(stay.recent) < LEAST_SAMPLES:
        return None
    rate = median(sample.rate for sample in stay.recent)
    return Observation(stay.at.replicas, stay.at.flavor, rounded(rate), stay.recent[-1].at)


def restart_cost(stay: Stay, settled_rate: float) -> float | None:
    """Seconds from the resize to the first sample that came near the settled rate; None: it was not watched."""
    if not stay.resized or stay.cost_told:
        return None
    good = next((sample.at for sample in stay.first if sample.rate >= GOOD * settled_rate), None)
    return None if good is None else max(0.0, good - stay.at.since)


def noted(record: Record, seen: Observation) -> Record:
    """The record with the observation, or the same one where it says nothing new: status is not written for noise."""
    same = next((p for p in record.points if (p.replicas, p.flavor) == (seen.replicas, seen.flavor)), None)
    if same is not None:
        differs = abs(seen.rate - same.rate) > WORTH_TELLING * same.rate
        if not differs and seen.at - same.at < TOLD_AGAIN_SECONDS:
            return record
    others = [point for point in record.points if point is not same]
    kept = sorted((*others, seen), key=lambda point: (point.at, point.replicas, point.flavor))[-MOST_POINTS:]
    return replace(record, points=tuple(kept))


def with_restart(record: Record, seconds: float) -> Record:
    """Half of what was known, half of what was seen: one slow pull of an image is not for ever."""
    old = record.restart_seconds
    new = seconds if old is None else (1 - RESTART_WEIGHT) * old + RESTART_WEIGHT * seconds
    return replace(record, restart_seconds=round(new, 1))


def with_progress(record: Record, progress: float, now: float) -> Record:
    """In steps of a hundredth, and the end; backwards as well, as after a checkpoint was lost."""
    progress = min(1.0, progress)
    old = record.progress
    if old is not None and abs(progress - old) < PROGRESS_STEP and not progress == 1.0 > old:
        return record
    return replace(record, progress=round(progress, DIGITS), progress_at=now)


def rounded(number: float) -> float:
    """To four significant digits: what a status shows, and what two rounds agree on."""
    return float(f"{number:.{DIGITS}g}")
