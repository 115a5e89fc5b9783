"""would_grow: the relaxation that says whether anybody need be held back."""

from dataclasses import replace

import pytest

from apportion.model.jobs import JobKey
from apportion.model.policy import Policy
from apportion.model.snapshot import Ceiling, Snapshot, Terms
from apportion.optimizer import would_grow
from builders import job, node, queue, quota, running, snapshot

OWNER, OTHER = JobKey("team", "owner"), JobKey("team", "other")


def pair(gpus: int, weight: float = 1.0) -> Snapshot:
    """Two jobs with two of at most four replicas each, both promised what they have."""
    owner = running(job("owner", 2, 4, queue_name="mine"), {"n": 2})
    other = running(job("other", 2, 4, queue_name="yours"), {"n": 2})
    queues = (queue("mine", quota(4), cohort="lab", weight=weight), queue("yours", quota(4), cohort="lab"))
    terms = {key: Terms(keeps=2, free_to_change=True) for key in (OWNER, OTHER)}
    return snapshot(owner, other, on=(node("n", gpus),), queues=queues, terms=terms)


def test_a_job_grows_where_there_is_room() -> None:
    assert would_grow(pair(8), Policy(), [OWNER])


@pytest.mark.parametrize("weight", [1.0, 1000.0])
def test_a_job_does_not_grow_on_what_is_promised_to_another(weight: float) -> None:
    assert not would_grow(pair(4, weight), Policy(), [OWNER])


def test_only_the_jobs_asked_for_count() -> None:
    room = replace(pair(8), ceilings=(Ceiling("mine", "h100", 2),))
    assert not would_grow(room, Policy(), [OWNER])
    assert would_grow(room, Policy(), [OTHER])


def test_room_that_comes_free_only_by_two_together_counts() -> None:
    asks = running(job("asks", 1, 2, 8, queue_name="mine"), {"m": 1})
    others = [running(job(name, 1, 4, queue_name="yours"), {"n": 4}) for name in ("one", "two")]
    terms = {asks.key: Terms(keeps=1, free_to_change=True)}
    queues = (queue("mine", quota(16), cohort="lab", weight=1000.0), queue("yours", quota(8), cohort="lab"))
    world = snapshot(asks, *others, on=(node("n"), node("m")), queues=queues, terms=terms)
    assert would_grow(world, Policy(), [asks.key])
