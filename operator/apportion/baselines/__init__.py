"""Rules that others share by, behind the optimizer's protocol: solve(snapshot, policy) -> Plan.

They keep what the optimizer keeps (promises, quotas, ceilings, nodes) and differ in whom they give what. None of them
raises; each plan carries the bound of the objective that the policy names.
"""

from collections.abc import Callable, Mapping

from apportion.baselines.rules import drf, fifo, greedy, max_min, static
from apportion.model.plan import Plan
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot

BASELINES: Mapping[str, Callable[[Snapshot, Policy], Plan]] = {
    "static": static,
    "fifo": fifo,
    "drf": drf,
    "max-min": max_min,
    "greedy": greedy,
}

__all__ = ["BASELINES", "drf", "fifo", "greedy", "max_min", "static"]
