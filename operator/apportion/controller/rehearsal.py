"""The first decision of a process takes 0.4 s longer than any other: it imports what it needs, and starts a solver."""

import logging

from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Decision
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import warm
from apportion.planner import decide

log = logging.getLogger("apportion")

RESOURCE = "nvidia.com/gpu"
FLAVOR = Flavor("rehearsal", RESOURCE, ())
NODE = Node("rehearsal", FLAVOR.name, {RESOURCE: 1, "pods": 1})
JOB = Job(JobKey("rehearsal", "job"), "uid", 0.0, (1,), RESOURCE, 1, {RESOURCE: 1, "pods": 1})


def rehearse() -> Decision | None:
    """Decide about one job and one node, before the replica is ready: not when a burst waits or a leader is gone."""
    try:
        warm()
        return decide(Snapshot(1.0, (NODE,), (FLAVOR,), (JOB,)), Policy())
    except Exception:
        # A real decision that fails says so, and is tried again.
        log.exception("the rehearsal of a decision failed")
        return None
