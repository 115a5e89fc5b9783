"""What an option is worth: u = w (B + U(x)) (optimizer.md, "Value of an option").

x is the option's rate over the reference rate, that of the job's minimum on the slowest flavor it accepts; U is concave
and 0 at the reference; B is what being admitted is worth; w the queue's weight divided among its active jobs.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from apportion.model.caps import LARGEST
from apportion.model.eligibility import accepts, current_grant, speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job
from apportion.model.policy import Aim, Objective, Stability
from apportion.model.snapshot import Snapshot, Terms

Floats = NDArray[np.float64]

SLOWEST = 0.01  # x below it is taken as it: U runs to minus infinity at 0
LEAST_CHANGE_FACTOR = 0.05
WAITING_DOUBLES_SECONDS = 3600.0  # a job that waited so long has twice the admission worth, and never more
WAITING_STEP_SECONDS = 60.0  # waiting counts by whole minutes: jobs applied together stay alike
ENOUGH_WITHIN = 1e-9  # of a goal: rounding of a curve
NO_TERMS = Terms()


def terms_of(snapshot: Snapshot, job: Job) -> Terms:
    return snapshot.terms.get(job.key, NO_TERMS)


def utility(x: Floats, exponent: float) -> Floats:
    """U(x) = (x^p - 1) / p, log x for p = 0, of each; x is at least `SLOWEST`."""
    x = np.maximum(x, SLOWEST)
    return np.log(x) if abs(exponent) < 1e-9 else (x**exponent - 1.0) / exponent


def after_change(rate: Floats, enough: Floats, counts_as: Floats, factor: Floats) -> Floats:
    """x by option: the rate, or what it counts as from `enough` on; `factor` is what a change leaves of it."""
    return np.asarray(np.where(_reached(rate, enough), counts_as, rate) * factor)


def outlay(cost: Floats, factor: Floats, rate: Floats, enough: Floats, missing: Floats) -> Floats:
    """By option, what MinCost counts for an hour of it: the money, more where a change would cost of it, and `missing`
    where the rate is not enough."""
    return np.asarray(cost / factor + np.where(_reached(rate, enough), 0.0, missing))


def _reached(rate: Floats, enough: Floats) -> NDArray[np.bool_]:
    return np.asarray(rate >= enough * (1 - ENOUGH_WITHIN))


def worth(objective: Objective, x: Floats, cost: Floats) -> Floats:
    """By option, what the objective wants much of for one job; cost is its `outlay`."""
    match objective.name:
        case Aim.MAX_THROUGHPUT:
            return np.maximum(x, SLOWEST)
        case Aim.MIN_COST:
            return -cost
        case Aim.PROPORTIONAL_FAIR | Aim.MAX_MIN_FAIR:
            return utility(x, objective.exponent)


def value(objective: Objective, worth: Floats, weight: Floats, admission: Floats) -> Floats:
    """u: `worth` in the sum over all jobs. Money is not weighted; admission (w B) counts beside a utility alone."""
    match objective.name:
        case Aim.MAX_THROUGHPUT:
            return weight * worth
        case Aim.MIN_COST:
            return worth
        case Aim.PROPORTIONAL_FAIR | Aim.MAX_MIN_FAIR:
            return admission + weight * worth


def costs(flavors: Iterable[Flavor]) -> tuple[dict[str, float], list[str]]:
    """By flavor, the money for an accelerator and hour that MinCost counts. Second: warnings.

    A flavor without a usable price counts as much as the dearest: nobody is moved to it for being unknown.
    """
    prices = {flavor.name: flavor.price_per_hour for flavor in flavors}
    usable = {
        name: price for name, price in prices.items() if price is not None and math.isfinite(price) and price >= 0
    }
    known = {name: min(price, LARGEST) for name, price in usable.items()}
    dearest = max(known.values(), default=1.0)
    warnings = [
        f"flavor {name}: no usable pricePerHour; MinCost counts {dearest:g}, "
        + ("the highest" if known else "as for all")
        for name in prices
        if name not in known
    ]
    return {name: known.get(name, dearest) for name in prices}, warnings


def admission_worth(job: Job, now: float, objective: Objective) -> float:
    """B: favour * worth * (accelerators of the minimum)^theta; without a grant it rises linearly to twice that."""
    size = float(max(1, job.minimum_accelerators))
    base: float = job.favour * objective.admission_worth * size**objective.size_exponent
    if current_grant(job).replicas:
        return base
    waited = now - job.waiting_since
    if not math.isfinite(waited) or waited <= 0:
        return base
    minutes = math.floor(min(waited, WAITING_DOUBLES_SECONDS) / WAITING_STEP_SECONDS)
    return base * (1.0 + minutes * WAITING_STEP_SECONDS / WAITING_DOUBLES_SECONDS)


def change_factor(job: Job, now: float, stability: Stability, terms: Terms) -> float:
    """What a change leaves of a running job's rate: f (1 - mu), f = max(0, (T - N S) / (T + S)) up to 1 - S / H.

    T is the job's age, so f is the share of its life that is work if it restarts now. The time since the last change
    in its place would lock a job in for N S seconds at whatever size it happens to have. 1 for a job that has no grant
    or is free to change; never below `LEAST_CHANGE_FACTOR`.
    """
    admission = job.admission
    if admission is None or admission.replicas <= 0 or terms.free_to_change:
        return 1.0
    age = max(0.0, now - job.created) if math.isfinite(now - job.created) else 0.0
    restart = max(0.0, job.restart_seconds) if math.isfinite(job.restart_seconds) else 0.0
    kept = 1.0
    if restart > 0:
        hold = max(stability.expected_hold_seconds, 1e-9)
        kept = min((age - job.memory.restarts * restart) / (age + restart), 1.0 - restart / hold)
    return max(LEAST_CHANGE_FACTOR, max(0.0, kept) * (1.0 - stability.change_margin))


def job_weights(snapshot: Snapshot) -> tuple[dict[str | None, float], list[str]]:
    """By queue (None: the jobs without one): the weight of one of its active jobs of favour 1; together they have the
    queue's. Second: warnings."""
    warnings = []
    weights: dict[str | None, float] = {None: 1.0}
    for queue in snapshot.queues:
        usable = math.isfinite(queue.weight) and queue.weight > 0
        if not usable:
            warnings.append(f"queue {queue.name}: weight {queue.weight} is not a positive number; 1 is used")
        weights[queue.name] = queue.weight if usable else 1.0
    active: dict[str | None, float] = {}
    for job in snapshot.jobs:
        if terms_of(snapshot, job).candidate:
            active[job.queue_name] = active.get(job.queue_name, 0.0) + job.favour
    return {name: weights.get(name, 1.0) / shares for name, shares in active.items()}, warnings


class Rates:
    """The rates of one job, relative to its reference; `warning` where its curve or its speeds cannot be used."""

    def __init__(self, job: Job, flavors: Iterable[Flavor], populated: frozenset[str]) -> None:
        self.warning = ""
        self._job = job
        accepted = [flavor for flavor in flavors if accepts(job, flavor)]
        self.flavors = [flavor for flavor in accepted if flavor.name in populated] or accepted
        self._speeds: Mapping[str, float] = {flavor.name: self._speed(flavor) for flavor in accepted}
        slowest = min((self._speeds[flavor.name] for flavor in self.flavors), default=1.0)
        least = _at(job, job.minimum)
        self._counts = not _usable(least)
        if self._counts:
            self.warning = f"{job.key}: its curve gives no positive rate at its minimum; replicas are counted instead"
        self._reference = slowest * (job.minimum if self._counts else least)

    def _speed(self, flavor: Flavor) -> float:
        relative = speed(self._job, flavor)
        if _usable(relative):
            return relative
        self.warning = f"{self._job.key}: speed {relative} of flavor {flavor.name} is not a positive number; 1 is used"
        return 1.0

    def base(self, replicas: int) -> float:
        """The job's rate at so many replicas on a flavor of speed 1 over the reference; 0 where it is not usable."""
        return self.bases((replicas,))[0]

    def bases(self, counts: Iterable[int]) -> list[float]:
        """`base` of each count."""
        rates = [float(count) if self._counts else _at(self._job, count) for count in counts]
        return [x if _usable(x := rate / self._reference) else 0.0 for rate in rates]

    def knows(self, flavor: str) -> bool:
        """Whether the job accepts a flavor of this name."""
        return flavor in self._speeds

    def speed(self, flavor: str) -> float:
        return self._speeds[flavor]

    def enough(self, flavor: str) -> tuple[float, float]:
        """The rate over the reference from which on the job has all it wants there, and what it then counts as."""
        for goal in () if self._counts else self._job.enough:
            if goal.flavor == flavor:
                return goal.rate / self._reference, goal.counts_as / self._reference
        return math.inf, math.inf

    def missing(self, prices: Mapping[str, float]) -> float:
        """What MinCost adds where the job's target is missed that it could reach: the most that the job could cost, so
        that reaching it is always worth its money. prices: by flavor, for an accelerator and hour."""
        if self._counts or not self._job.enough:
            return 0.0
        dearest = max((prices[flavor.name] for flavor in self.flavors), default=0.0)
        return self._job.maximum * self._job.per_replica * dearest


def _at(job: Job, replicas: int) -> float:
    try:
        return float(job.curve.at(replicas))
    except (ArithmeticError, IndexError, ValueError):
        return 0.0


def _usable(number: float) -> bool:
    return math.isfinite(number) and number > 0
