"""What a round was decided from, what was decided, and what other policies would have decided."""

from dataclasses import dataclass

from apportion.model.jobs import JobKey
from apportion.model.plan import Decision, Grant
from apportion.model.policy import Objective, Policy
from apportion.model.snapshot import Snapshot

PROGRAM = "program"
"""The rule of the integer program; others are named as `apportion plan --policy` names them."""


@dataclass(frozen=True)
class Difference:
    """A job that another policy would have given something else."""

    key: JobKey
    enforced: Grant
    other: Grant


@dataclass(frozen=True)
class Comparison:
    """What another policy would have decided from the same snapshot.

    value: what its plan is worth by the enforcing policy's objective, in the terms of Plan.objective; None where that
    cannot be told, as the other's grants are no choices under the enforcing policy. gap: of its own plan by its own
    objective. accelerators: what it would have given in all, by flavor. restarts: running jobs that it would have
    changed. failure: why there is no such plan ("": there is).
    """

    name: str
    value: float | None = None
    gap: float = 0.0
    accelerators: tuple[tuple[str, int], ...] = ()
    differences: tuple[Difference, ...] = ()
    restarts: int = 0
    failure: str = ""


@dataclass(frozen=True)
class ShadowResult:
    """One of the policy's shadows, and how it compares."""

    objective: Objective
    comparison: Comparison


@dataclass(frozen=True)
class Round:
    """One round as it is recorded: all that the decision read, and what came of it.

    leader: the replica that decided, as it stands in the Lease. written_by: the version of Apportion.
    """

    snapshot: Snapshot
    policy: Policy
    decision: Decision
    rule: str = PROGRAM
    leader: str = ""
    written_by: str = ""
    shadows: tuple[ShadowResult, ...] = ()
