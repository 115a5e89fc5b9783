"""Two nodes with half of each held, and a gang that needs a whole one."""

from dataclasses import replace
from random import Random

from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Decision, Outcome
from apportion.model.policy import (
    Defragmentation,
    Policy,
)
from apportion.model.snapshot import Snapshot
from apportion.simulator import Scheduler, least_allocated, left
from builders import job, nodes, running, snapshot

OFF, ON = Policy(), Policy(defragmentation=Defragmentation.ENABLED)
GANG = JobKey("team", "gang")


def half(name: str, on: str, **fields: object) -> Job:
    """A job of one pod that holds half of a node."""
    return running(job(name, 1, 1, 4, **{"restart_seconds": 60.0, **fields}), {on: 1})


def halves(*more: Job, gang: Job | None = None, **fields: object) -> Snapshot:
    """Two nodes with half of each held, by `cheap` and `dear`, and a gang that needs a whole one."""
    cheap, dear = half("cheap", "h100-0", restart_seconds=30.0), half("dear", "h100-1")
    jobs = {one.key: one for one in (cheap, dear, gang or job("gang", 1, 1, 8), *more)}
    return snapshot(*jobs.values(), **{"on": nodes(2), **fields})


def said(decision: Decision, name: str) -> Outcome:
    return next(outcome for outcome in decision.outcomes if outcome.key.name == name)


def movers(decision: Decision) -> list[str]:
    return [departure.key.name for departure in decision.plan.clearing.departures] if decision.plan.clearing else []


def after(world: Snapshot, decision: Decision) -> Snapshot:
    """Five seconds later: pods that had to leave are gone, new ones run."""
    scheduler = Scheduler(least_allocated, Random(1))
    bound = scheduler.bind(scheduler.carry_out(world, decision))
    return replace(left(bound), now=world.now + 5.0)
