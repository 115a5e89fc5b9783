"""What single options are worth, outside of any program."""

import numpy as np

from apportion.model.jobs import Job
from apportion.model.plan import Grant
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer.options import ROUNDING, UTILITIES
from apportion.optimizer.value import (
    Rates,
    admission_worth,
    change_factor,
    costs,
    job_weights,
    terms_of,
    value,
    worth,
)


class Appraisal:
    """u of one job's options, in the unit of the policy's objective, as the columns of a program have it."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        self._snapshot, self._policy = snapshot, policy
        self._weights, _ = job_weights(snapshot)
        self._prices, _ = costs(snapshot.flavors)
        self._populated = frozenset(node.flavor for node in snapshot.nodes if node.flavor is not None)

    def value(self, job: Job, grant: Grant, restarted: bool = False) -> float:
        """restarted: after what a change leaves of it. The flavor is one that the job accepts."""
        objective = self._policy.objective
        rates = Rates(job, self._snapshot.flavors, self._populated)
        rate = rates.base(grant.replicas) * rates.speed(grant.flavor)
        wanted, counts_as = rates.enough(grant.flavor)
        rate = counts_as if rate >= wanted * (1 - ROUNDING) else rate
        if restarted:
            terms = terms_of(self._snapshot, job)
            rate *= change_factor(job, self._snapshot.now, self._policy.stability, terms)
        weight = self._weights[job.queue_name]
        admission = weight * admission_worth(job, self._snapshot.now, objective)
        cost = grant.replicas * job.per_replica * self._prices[grant.flavor]
        gain = worth(objective, np.array([rate]), np.array([cost]))
        counted = admission if objective.name in UTILITIES else 0.0
        return float(value(objective, gain, np.array([weight]), np.array([counted]))[0])
