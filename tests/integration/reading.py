"""A TrainingJob's status in the words in which tests expect it."""

from typing import Any


def condition(obj: Any, kind: str) -> Any:
    return next((c for c in obj.get("status", {}).get("conditions") or () if c["type"] == kind), {})


def seen_of(job: Any) -> dict[str, Any]:
    """A job's status in the words of `Cluster.expect`."""
    status = job.get("status", {})
    admission = status.get("admission", {})

    def holds(kind: str, value: str = "True", what: str = "reason") -> Any:
        found = condition(job, kind)
        return found.get(what) if found.get("status") == value else None

    return {
        "phase": status.get("phase"),
        "granted": admission.get("replicas", 0) if status else None,
        "flavor": admission.get("flavor"),
        "ready": status.get("replicas", 0),
        "refused": holds("Admitted", "False"),
        "degraded": holds("Degraded"),
        "complete": holds("Complete"),
        "invalid": holds("Invalid", what="message"),
        "says": status.get("message", ""),
        "generation": status.get("observedGeneration") == job["metadata"].get("generation"),
    }


def matches(found: Any, wanted: Any, key: str) -> bool:
    if key in ("says", "invalid") and wanted is not None:
        parts = [wanted] if isinstance(wanted, str) else wanted
        return found is not None and all(part in found for part in parts)
    return bool(found == wanted)
