"""Throughput curves from observations. Pure: the time is in the observations, and what was learned in the record."""

from apportion.learning.following import (
    Stay,
    noted,
    observation,
    refused,
    restart_cost,
    rounded,
    sampled,
    stay_of,
    with_progress,
    with_restart,
)
from apportion.learning.knowing import informed

__all__ = [
    "Stay",
    "informed",
    "noted",
    "observation",
    "refused",
    "restart_cost",
    "rounded",
    "sampled",
    "stay_of",
    "with_progress",
    "with_restart",
]
