"""The wire: the custom resources as pydantic models, and what is made from them (schemas, reference, dumps)."""

from apportion.api.allocationpolicy import AllocationPolicy
from apportion.api.parse import (
    InvalidObject,
    parse_allocation_policy,
    parse_queue,
    parse_training_job,
    unknown_fields,
)
from apportion.api.queue import Queue
from apportion.api.trainingjob import TrainingJob

__all__ = [
    "AllocationPolicy",
    "InvalidObject",
    "Queue",
    "TrainingJob",
    "parse_allocation_policy",
    "parse_queue",
    "parse_training_job",
    "unknown_fields",
]
