"""How evenly things are shared: for people to judge, nothing is decided by it."""

import math
from collections.abc import Iterable, Mapping

from apportion.model.jobs import JobKey
from apportion.model.plan import Capacity, Fairness, Grant
from apportion.model.snapshot import Snapshot
from apportion.optimizer import Rates
from apportion.planner.queueing import usage


def fairness(snapshot: Snapshot, grants: Mapping[JobKey, Grant], capacities: Iterable[Capacity]) -> Fairness:
    """Of the grants. The snapshot carries the round's terms: jobs that can get nothing now are not counted."""
    have = {capacity.flavor: capacity.allocatable for capacity in capacities}
    shares = dict.fromkeys((queue.name for queue in snapshot.queues), 0.0)
    for (queue, flavor), count in usage(snapshot.jobs, grants).items():
        if queue in shares and have.get(flavor, 0) > 0:
            # What is on nodes that take no new pods is not in the whole.
            shares[queue] = max(shares[queue], min(1.0, count / have[flavor]))
    return Fairness(tuple(sorted(shares.items())), jain(_rates(snapshot, grants)))


def jain(amounts: Iterable[float]) -> float | None:
    """(sum x)^2 / (n sum x^2): 1 where all have as much, 1/n where one has all; None where nobody has anything."""
    amounts = list(amounts)
    squares = math.fsum(amount * amount for amount in amounts)
    return math.fsum(amounts) ** 2 / (len(amounts) * squares) if squares > 0 else None


def _rates(snapshot: Snapshot, grants: Mapping[JobKey, Grant]) -> Iterable[float]:
    """The rate of each job that runs or waits over that of its minimum; 0 for one that waits.

    An invalid job may run, but says no minimum to measure it by.
    """
    populated = frozenset(node.flavor for node in snapshot.nodes if node.flavor is not None)
    for job in snapshot.jobs:
        grant = grants[job.key]
        if grant.replicas and job.minimum > 0:
            rates = Rates(job, snapshot.flavors, populated)
            if rates.knows(grant.flavor):
                yield rates.base(grant.replicas) * rates.speed(grant.flavor)
        elif not grant.replicas and snapshot.terms[job.key].candidate:
            yield 0.0
