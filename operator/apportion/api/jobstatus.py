"""The status of a TrainingJob: what the operator says of it, and what it remembers."""

from typing import Annotated, Literal

from pydantic import Field

from apportion.api.base import Wire
from apportion.api.common import Condition
from apportion.api.scalars import (
    ByType,
    Count,
    FlavorName,
    Generation,
    Listed,
    Rate,
    Replicas,
    Sentence,
    Timestamp,
)


class Admission(Wire):
    """What was granted: the planner's memory."""

    flavor: FlavorName
    """The flavor that was granted."""
    replicas: Count
    """The replicas that were granted."""
    round: Count
    """The decision round that granted it."""
    since: Timestamp
    """When the job was admitted on this flavor."""
    new_nodes: Count = 0
    """How many nodes that did not exist yet its pods wait for at most; absent once all of them are bound."""


class Displaced(Wire):
    """What the job gave up so that a gang fits; it gets as much elsewhere once the gang has its place."""

    by: Annotated[str, Field(max_length=320)]
    """The gang, as namespace/name."""
    flavor: FlavorName
    """The flavor that it had."""
    replicas: Count
    """The replicas that it had."""
    since: Timestamp
    """When it made room."""


class Backoff(Wire):
    """A flavor where the job's pods could not be placed."""

    flavor: FlavorName
    """The flavor that is left out."""
    failures: Count
    """How often placement failed there; each failure doubles the wait."""
    until: Timestamp
    """Until when it is left out."""


class MeasuredPoint(Wire):
    """A rate that was measured."""

    replicas: Replicas
    """The number of replicas."""
    flavor: FlavorName
    """The flavor that they ran on."""
    rate: Rate
    """Work per second."""
    at: Timestamp
    """When it was seen last."""


class MeasuredCurve(Wire):
    """What was learned of the job while it ran. It outlasts the operator."""

    points: Annotated[Listed[MeasuredPoint], Field(max_length=16)] = ()
    """One rate for each size and flavor, oldest first."""
    restart_seconds: Rate | None = None
    """What a resize costs by measurement: seconds from it to the first good rate."""
    progress: Annotated[float, Field(ge=0, le=1)] | None = None
    """The part of the work that is done."""
    progress_at: Timestamp | None = None
    """When that was told."""


class Throughput(Wire):
    """How fast the job is at the size it has."""

    expected: Rate
    """By its curve: declared, or learned from all its sizes."""
    observed: Rate
    """As measured at this size."""


class TrainingJobStatus(Wire):
    """What the operator says and remembers of the job."""

    phase: (
        Literal["Pending", "Starting", "Running", "Resizing", "Suspended", "Succeeded", "Failed", "Invalid"] | None
    ) = None
    """Where the job is in its life."""
    admission: Admission | None = None
    """What was granted; absent: nothing."""
    replicas: Count = 0
    """Pods that are ready."""
    restarts: Count = 0
    """How often a change of size or flavor restarted the job."""
    restarted_at: Listed[Timestamp] = ()
    """When the operator restarted it, within the last hour before the latest time: what the churn budget counts."""
    displaced: Displaced | None = None
    """For whom the job gave up places; absent once it has as much again."""
    queued_since: Timestamp | None = None
    """Since when the job waits; an evicted job keeps its place."""
    message: Sentence = ""
    """What it has, and why not more, in one sentence."""
    backoff: Listed[Backoff] = ()
    """Flavors that are left out for a while."""
    reverted_at: Listed[Timestamp] = ()
    """When somebody undid a patch of the operator; after three times within ten minutes it stops."""
    ready_restarts: Count = 0
    """Container restarts of the worst pod when all pods were ready last; those since then count as failures."""
    retried: Annotated[str, Field(max_length=1024)] = ""
    """The value of the annotation apportion.dev/retry that was last obeyed."""
    throughput: Throughput | None = None
    """How fast it is now, in work per second; absent: not measured at this size."""
    curve: MeasuredCurve | None = None
    """What was learned of it."""
    observed_generation: Generation | None = None
    """The metadata.generation that this status was made from."""
    conditions: ByType[Condition] = ()
    """Admitted, Running, Degraded, Invalid, Complete, Measured, DeadlineAtRisk and ThroughputAtRisk."""
