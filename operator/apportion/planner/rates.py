"""How fast a job works with so many replicas on a flavor, whatever its curve is like."""

import math

from apportion.model.eligibility import speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job


def rate_on(job: Job, flavor: Flavor, replicas: int) -> float:
    """Its curve times the flavor's speed; replicas where it has no curve that can be used."""
    try:
        found = float(job.curve.at(replicas)) * speed(job, flavor)
    except (ArithmeticError, IndexError, ValueError):
        found = math.nan
    return found if math.isfinite(found) and found > 0 else float(replicas)
