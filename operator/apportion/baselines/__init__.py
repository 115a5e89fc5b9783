"""Rules that others share by, behind the optimizer's protocol: solve(snapshot, policy) -> Plan.

They keep what the optimizer keeps (promises, quotas, ceilings, nodes) and differ in whom they give what. None of them
raises; each plan carries the bound of the objective that the policy names, those of UNCERTIFIED none.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from apportion.baselines.rules import drf, fifo, greedy, max_min, static
from apportion.model.plan import Plan
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot


class Rule(Protocol):
    """certified: with a bound of the objective, which takes most of the time of a small plan; else it is infinite."""

    def __call__(self, snapshot: Snapshot, policy: Policy, certified: bool = True) -> Plan: ...


BASELINES: Mapping[str, Rule] = {
    "static": static,
    "fifo": fifo,
    "drf": drf,
    "max-min": max_min,
    "greedy": greedy,
}

UNCERTIFIED: Mapping[str, Callable[[Snapshot, Policy], Plan]] = {
    name: partial(rule, certified=False) for name, rule in BASELINES.items()
}
"""The same plans without a bound, for who plays many rounds and asks of none how good it was."""

__all__ = ["BASELINES", "UNCERTIFIED", "drf", "fifo", "greedy", "max_min", "static"]
