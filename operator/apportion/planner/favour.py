"""Who goes first among jobs that tell how much there is to do: those with less of it left.

That is what brings the mean completion time down (Berg, Vesilo and Harchol-Balter, heSRPT, 2020, for jobs that run in
parallel: the less is left, the larger the share). A job gains by it only from others of its own queue, only if another
one tells its work too, and never more than `MOST` times the usual weight: who tells less than the truth gains little.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean

from apportion.model.eligibility import accepts, current_grant
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.snapshot import Snapshot
from apportion.planner.targets import carried, expected, is_known, work_left

DOUBLINGS = 2
MOST = 2.0**DOUBLINGS
STEP = 2.0  # times the work is half the weight; coarse, as every change of a weight may cost somebody a restart
PATIENCE_SECONDS = 24 * 3600.0  # who waited so long has the most: nobody waits for ever


def favoured(snapshot: Snapshot) -> Snapshot:
    """The jobs, standing in their queues, with their weights over those of others there."""
    flavors = carried(snapshot)
    left: dict[str | None, dict[JobKey, int]] = {}
    for job in snapshot.jobs:
        if snapshot.terms[job.key].candidate and (seconds := seconds_left(job, flavors)) is not None:
            # In accelerator-seconds, what others cannot have meanwhile: a large gang holds up more of them.
            held = math.log(seconds, STEP) + math.log(max(1, job.minimum_accelerators), STEP)
            left.setdefault(job.queue_name, {})[job.key] = round(held)
    if not left:
        return snapshot
    # A whole number too: whoever comes or goes changes nothing between the others.
    usual = {queue: round(fmean(logs.values())) for queue, logs in left.items()}
    jobs = []
    for job in snapshot.jobs:
        if job.queue_name in usual:
            steps = usual[job.queue_name] - left[job.queue_name].get(job.key, usual[job.queue_name])
            job = replace(job, favour=_risen(2.0 ** min(max(steps, -DOUBLINGS), DOUBLINGS), job, snapshot.now))
        jobs.append(job)
    return replace(snapshot, jobs=tuple(jobs))


def _risen(favour: float, job: Job, now: float) -> float:
    """It rises to the most while the job waits for its first replicas, by steps as those of work."""
    waited = now - job.waiting_since
    if current_grant(job).replicas or not waited > 0:
        return favour
    return favour * 2.0 ** math.floor(math.log2(MOST / favour) * min(1.0, waited / PATIENCE_SECONDS))


def seconds_left(job: Job, flavors: Iterable[Flavor]) -> float | None:
    """At the job's minimum on the slowest flavor that it accepts; None: it has not told its work, or its rate is not
    known."""
    left = work_left(job)
    if left <= 0 or not is_known(job):
        return None
    rates = [expected(job, flavor, job.minimum) for flavor in flavors if accepts(job, flavor)]
    slowest = min((rate for rate in rates if rate > 0), default=0.0)
    seconds = left / slowest if slowest else math.inf
    return seconds if 0 < seconds < math.inf else None
