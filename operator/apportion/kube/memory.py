"""status of a TrainingJob into the planner's memory and back. Reading is lenient: a forged status is no error."""

from typing import Any

from apportion.kube.raw import Raw, integer, mapping, mappings, number, seconds, text, timestamp
from apportion.model.jobs import Admission, Backoff, Condition, Displaced, Memory
from apportion.model.measured import HIGHEST_RATE, LOWEST_RATE, Observation, Record

LONGEST_MESSAGE = 2000


def read_memory(raw: Raw) -> Memory:
    status = mapping(raw, "status")
    return Memory(
        phase=text(status, "phase"),
        admission=read_admission(status),
        replicas=integer(status, "replicas"),
        restarts=max(0, integer(status, "restarts")),
        restarted_at=read_times(status, "restartedAt"),
        displaced=read_displaced(mapping(status, "displaced")),
        ready_restarts=max(0, integer(status, "readyRestarts")),
        reverts=read_times(status, "revertedAt"),
        retried=text(status, "retried"),
        queued_since=seconds(status, "queuedSince"),
        backoff=tuple(read_backoff(entry) for entry in mappings(status, "backoff")),
        conditions=tuple(read_condition(entry) for entry in mappings(status, "conditions")),
        message=text(status, "message"),
        record=read_record(mapping(status, "curve")),
        throughput=read_throughput(mapping(status, "throughput")),
    )


def listed(raw: Raw, key: str) -> list[Any]:
    value = raw.get(key)
    return value if isinstance(value, list) else []


def read_times(status: Raw, key: str) -> tuple[float, ...]:
    return tuple(at for entry in listed(status, key) if (at := seconds({"at": entry}, "at")) is not None)


def read_admission(status: Raw) -> Admission | None:
    raw = mapping(status, "admission")
    flavor, replicas = text(raw, "flavor"), integer(raw, "replicas")
    if not flavor or replicas <= 0:
        return None
    new_nodes = max(0, integer(raw, "newNodes"))
    return Admission(flavor, replicas, integer(raw, "round"), seconds(raw, "since") or 0.0, new_nodes)


def read_displaced(raw: Raw) -> Displaced | None:
    by, flavor, replicas = text(raw, "by"), text(raw, "flavor"), integer(raw, "replicas")
    if not by or not flavor or replicas <= 0:
        return None
    return Displaced(by, flavor, replicas, seconds(raw, "since") or 0.0)


def read_backoff(raw: Raw) -> Backoff:
    return Backoff(text(raw, "flavor"), integer(raw, "failures"), seconds(raw, "until") or 0.0)


def read_condition(raw: Raw) -> Condition:
    return Condition(
        text(raw, "type"),
        text(raw, "status") == "True",
        text(raw, "reason"),
        text(raw, "message"),
        seconds(raw, "lastTransitionTime") or 0.0,
    )


def read_record(raw: Raw) -> Record:
    found = []
    for entry in mappings(raw, "points"):
        replicas, flavor, rate = integer(entry, "replicas"), text(entry, "flavor"), number(entry, "rate")
        if replicas > 0 and flavor and LOWEST_RATE <= rate <= HIGHEST_RATE:
            found.append(Observation(replicas, flavor, rate, seconds(entry, "at") or 0.0))
    restart, progress = number(raw, "restartSeconds"), number(raw, "progress")
    return Record(
        points=tuple(found),
        restart_seconds=restart if "restartSeconds" in raw and restart >= 0 else None,
        progress=progress if "progress" in raw and 0 <= progress <= 1 else None,
        progress_at=seconds(raw, "progressAt") or 0.0,
    )


def read_throughput(raw: Raw) -> tuple[float, float] | None:
    return (number(raw, "expected"), number(raw, "observed")) if raw else None


def record_of(record: Record) -> dict[str, Any]:
    """What is empty is left out, so a job of which nothing was measured has no curve."""
    written: dict[str, Any] = {}
    if record.points:
        written["points"] = [
            {"replicas": p.replicas, "flavor": p.flavor, "rate": p.rate, "at": timestamp(p.at)} for p in record.points
        ]
    if record.restart_seconds is not None:
        written["restartSeconds"] = record.restart_seconds
    if record.progress is not None:
        written |= {"progress": record.progress, "progressAt": timestamp(record.progress_at)}
    return written


def status_of(memory: Memory, generation: int) -> dict[str, Any]:
    """The whole status as it is written; what is empty is left out."""
    status: dict[str, Any] = {
        "phase": memory.phase,
        "replicas": memory.replicas,
        "restarts": memory.restarts,
        "message": shortened(memory.message),
        "observedGeneration": generation,
        "conditions": [condition_of(condition, generation) for condition in memory.conditions],
    }
    if memory.admission is not None:
        status["admission"] = {
            "flavor": memory.admission.flavor,
            "replicas": memory.admission.replicas,
            "round": memory.admission.round,
            "since": timestamp(memory.admission.since),
        }
        if memory.admission.new_nodes:
            status["admission"]["newNodes"] = memory.admission.new_nodes
    if memory.queued_since is not None:
        status["queuedSince"] = timestamp(memory.queued_since)
    if memory.restarted_at:
        status["restartedAt"] = [timestamp(at) for at in memory.restarted_at]
    if memory.displaced is not None:
        given_up = memory.displaced
        status["displaced"] = {
            "by": given_up.by,
            "flavor": given_up.flavor,
            "replicas": given_up.replicas,
            "since": timestamp(given_up.since),
        }
    if memory.ready_restarts:
        status["readyRestarts"] = memory.ready_restarts
    if memory.reverts:
        status["revertedAt"] = [timestamp(at) for at in memory.reverts]
    if memory.retried:
        status["retried"] = memory.retried[:1024]
    if memory.throughput is not None:
        status["throughput"] = dict(zip(("expected", "observed"), memory.throughput, strict=True))
    if curve := record_of(memory.record):
        status["curve"] = curve
    if memory.backoff:
        status["backoff"] = [
            {"flavor": entry.flavor, "failures": entry.failures, "until": timestamp(entry.until)}
            for entry in memory.backoff
        ]
    return status


def condition_of(condition: Condition, generation: int) -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": "True" if condition.status else "False",
        "reason": condition.reason,
        "message": shortened(condition.message),
        "lastTransitionTime": timestamp(condition.since)[:19] + "Z",
        "observedGeneration": generation,
    }


def shortened(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 3] + "..."
