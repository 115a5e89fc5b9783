"""Quotas of queues and cohorts as a user counts them: who uses how much of what, and which limit that passes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.history import Obj, World

Queues = Mapping[str, Any]
"""Specs by name."""
DEFAULT = "default"


@dataclass(frozen=True)
class Use:
    """What one job holds of one flavor; `firm`: of a job that may not borrow."""

    queue: str
    flavor: str
    accelerators: int
    firm: bool


def uses(world: World) -> list[Use]:
    found = []
    for job, grant in world.granted():
        spec = world.spec_decided_on(job)
        held = grant.replicas * world.accelerators(job)
        found.append(Use(spec.get("queueName", DEFAULT), grant.flavor, held, not spec.get("preemptible", True)))
    return found


def quota(queue: Obj, flavor: str) -> Obj:
    """The entry for a flavor, else the one of "*"; None: the queue cannot use it."""
    entries = {entry["name"]: entry for entry in queue.get("flavors", [])}
    return entries.get(flavor) or entries.get("*")


def breach(queues: Queues, held: Iterable[Use], name: str, flavor: str) -> str:
    """Which limit the use of a queue, or of its cohort, passes; "" if none. Without any queue there are no quotas."""
    if not queues:
        return ""
    if name not in queues:
        return f"there is no queue {name}"
    mine = quota(queues[name], flavor)
    if mine is None:
        return f"queue {name} has no quota of {flavor}"
    held = [use for use in held if use.flavor == flavor]
    used = {each: sum(use.accelerators for use in held if use.queue == each) for each in queues}
    firm = sum(use.accelerators for use in held if use.queue == name and use.firm)
    nominal = mine["nominalQuota"]
    if firm > nominal:
        return f"queue {name}: jobs that may not borrow hold {firm} of {nominal} {flavor}"
    cohort = queues[name].get("cohort")
    borrows = mine.get("borrowingLimit") if cohort else 0
    if borrows is not None and used[name] > nominal + borrows:
        return f"queue {name} uses {used[name]} of {nominal} + {borrows} {flavor}"
    members = {each: entry for each, spec in queues.items() if cohort and spec.get("cohort") == cohort
               if (entry := quota(spec, flavor)) is not None}  # fmt: skip
    owned = sum(entry["nominalQuota"] for entry in members.values())
    # What a queue does not lend counts as used, by whomever.
    kept = {each: entry["nominalQuota"] - entry.get("lendingLimit", entry["nominalQuota"])
            for each, entry in members.items()}  # fmt: skip
    taken = sum(max(used[each], kept[each]) for each in members)
    return f"cohort {cohort} uses {taken} of {owned} {flavor}" if taken > owned else ""
