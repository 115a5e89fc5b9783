"""What single options are worth, outside of any program."""

import numpy as np

from apportion.model.jobs import Job
from apportion.model.plan import Grant
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer.value import (
    Rates,
    admission_worth,
    after_change,
    change_factor,
    costs,
    job_weights,
    outlay,
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
        terms = terms_of(self._snapshot, job)
        factor = change_factor(job, self._snapshot.now, self._policy.stability, terms) if restarted else 1.0
        rates = Rates(job, self._snapshot.flavors, self._populated)
        rate = np.array([rates.base(grant.replicas) * rates.speed(grant.flavor)])
        enough, counts_as = (np.array([each]) for each in rates.enough(grant.flavor))
        cost = np.array([grant.replicas * job.per_replica * self._prices[grant.flavor]])
        changed, missing = np.array([factor]), np.array([rates.missing(self._prices)])
        money = outlay(cost, changed, rate, enough, missing)
        gain = worth(objective, after_change(rate, enough, counts_as, changed), money)
        usual = self._weights[job.queue_name]
        admission = usual * admission_worth(job, self._snapshot.now, objective)
        return float(value(objective, gain, np.array([usual * job.favour]), np.array([admission]))[0])
