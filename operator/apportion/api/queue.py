"""Queue: whose accelerators they are, and who may borrow them."""

from typing import Annotated

from pydantic import Field

from apportion.api.base import Path, Rule, Wire
from apportion.api.common import Budget, CapUse, Condition, LabelSelector, Metadata
from apportion.api.scalars import (
    Accelerators,
    ByType,
    CapWatts,
    Count,
    Generation,
    NamedList,
    ObjectName,
    Reported,
    SetOf,
)

QuotaName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")]


def _lends_too_much(quota: "Quota") -> Path | None:
    return ("lendingLimit",) if quota.lending_limit is not None and quota.lending_limit > quota.nominal_quota else None


class Quota(Wire):
    """A queue's share of one flavor, in accelerators."""

    name: QuotaName
    """The flavor, or "*" for every flavor that the queue does not list, each by itself."""
    nominal_quota: Accelerators
    """What is the queue's own."""
    borrowing_limit: Accelerators | None = None
    """The most that it may use beyond its own, of what others of its cohort leave. Absent: unlimited."""
    lending_limit: Accelerators | None = None
    """The most of its own that others of its cohort may use. Absent: unlimited."""

    rules = (
        Rule(
            "!has(self.lendingLimit) || self.lendingLimit <= self.nominalQuota",
            "lendingLimit must not be above nominalQuota",
            _lends_too_much,
        ),
    )


class QueueSpec(Wire):
    """Quotas, and who may use them."""

    cohort: ObjectName | None = None
    """Queues of one cohort lend to each other what they do not use. Absent: the queue neither lends nor borrows."""
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    """The queue's share of what is divided by value, divided among its active jobs."""
    namespace_selector: LabelSelector | None = None
    """Namespaces whose jobs may use the queue. Absent: all."""
    allowed_priority_classes: SetOf[ObjectName] | None = None
    """Priority classes that its jobs may name. Absent: all."""
    flavors: NamedList[Quota] = ()
    """Quotas by flavor. A flavor that is neither listed nor meant by "*" cannot be used from this queue."""
    budget: Budget | None = None
    """Money for the queue's jobs together. Absent: no limit but the AllocationPolicy's. What must keep running keeps
    running even if it costs more."""
    power_cap_watts: CapWatts | None = None
    """The most that the queue's granted accelerators may draw together, in watts. Absent: no limit but the
    AllocationPolicy's. What must keep running keeps running even if it draws more."""


class QuotaUse(Wire):
    """How much of one flavor the queue uses, in accelerators."""

    name: QuotaName
    """The flavor."""
    nominal: Count
    """The queue's own."""
    used: Count
    """What its jobs were granted."""
    borrowed: Count = 0
    """What it uses beyond its own."""
    lent: Count = 0
    """What others use of its own."""
    price: Annotated[float, Field(ge=0, le=1e15)] = 0.0
    """Shadow price: what one more accelerator of quota would be worth, in the objective's unit."""


class QueueStatus(Wire):
    """What the queue's jobs use."""

    flavors: Reported[QuotaUse] = ()
    """Use by flavor."""
    pending: Count = 0
    """Jobs that wait."""
    admitted: Count = 0
    """Jobs that were granted something."""
    budget: CapUse | None = None
    """Money per hour of the queue's jobs, where spec.budget is set."""
    power: CapUse | None = None
    """Watts of the queue's jobs, where spec.powerCapWatts is set."""
    dominant_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The greatest part of all accelerators of one flavor that the queue's jobs were granted."""
    observed_generation: Generation | None = None
    """The metadata.generation that this status was made from."""
    conditions: ByType[Condition] = ()
    """Standard conditions."""


class Queue(Wire):
    """A team's quotas by accelerator flavor, and who may use and borrow them."""

    metadata: Metadata
    spec: QueueSpec
    """Quotas, and who may use them."""
    status: QueueStatus = QueueStatus()
    """What the queue's jobs use."""
