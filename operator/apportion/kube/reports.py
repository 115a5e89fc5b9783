"""Status of Queues and of the AllocationPolicy, and Events: what is told beside the jobs themselves."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from apportion.api.names import API_VERSION
from apportion.api.scalars import LARGEST
from apportion.kube import kinds
from apportion.kube.client import Api
from apportion.kube.cluster import Cluster
from apportion.kube.jobs import JobFacts
from apportion.kube.kinds import Kind
from apportion.kube.prices import PriceNews, rounded
from apportion.kube.raw import Raw, at, integer, mapping, mappings, timestamp
from apportion.model.plan import Decision, Outcome
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot

Patch = list[dict[str, Any]]
CAPS = ("budget", "power")
COUNTED = ("round", "mode", "pending", "admitted", "dominantShare", "observedGeneration")


def queue_statuses(snapshot: Snapshot, decision: Decision) -> dict[str, dict[str, Any]]:
    """By queue name."""
    queue_of = {job.key: job.queue_name or "default" for job in snapshot.jobs}
    ended = {"Succeeded", "Failed", "Suspended", "Invalid"}
    pending: Counter[str] = Counter()
    admitted: Counter[str] = Counter()
    for outcome in decision.outcomes:
        if outcome.granted.replicas:
            admitted[queue_of[outcome.key]] += 1
        elif outcome.memory.phase not in ended:
            pending[queue_of[outcome.key]] += 1
    statuses: dict[str, dict[str, Any]] = {}
    shares = dict(decision.fairness.dominant_shares)
    for queue in snapshot.queues:
        rows = [use for use in decision.queue_use if use.queue == queue.name]
        statuses[queue.name] = {
            "flavors": [
                {
                    "name": use.flavor,
                    "nominal": use.nominal,
                    "used": use.used,
                    "borrowed": use.borrowed,
                    "lent": use.lent,
                    "price": rounded(use.price),
                }
                for use in rows
            ],
            "pending": pending[queue.name],
            "admitted": admitted[queue.name],
            **caps(decision, queue.name),
            "dominantShare": round(shares.get(queue.name, 0.0), 3),
            "observedGeneration": queue.generation,
        }
    return statuses


def policy_status(policy: Policy, decision: Decision) -> dict[str, Any]:
    return {
        "round": decision.round,
        "objective": bounded(round(decision.plan.objective, 6)),
        "bound": bounded(round(decision.plan.bound, 6)),
        "gap": round(min(decision.plan.gap, 1e9), 6),
        "mode": str(policy.mode),
        "prices": [
            {"flavor": price.flavor, "price": rounded(price.price)}
            for price in decision.plan.prices
            if price.flavor and not price.queue and price.price >= 0
        ],
        **caps(decision, ""),
        **({} if decision.fairness.jain is None else {"jainIndex": round(decision.fairness.jain, 3)}),
        "observedGeneration": policy.generation,
    }


def bounded(number: float) -> float:
    """As far as the schema goes: what costs 1e15 an hour is dear enough, and a status that is refused says nothing."""
    return max(-LARGEST, min(LARGEST, number))


def caps(decision: Decision, queue: str) -> dict[str, Any]:
    """By the status's field, a queue's budget and power cap; queue "" has those of the cluster."""
    return {
        str(use.kind): {
            "limit": bounded(use.limit),
            "used": bounded(float(f"{use.used:.9g}")),
            "price": bounded(rounded(use.price)),
        }
        for use in decision.cap_use
        if use.queue == queue
    }


def quantities(status: Raw) -> Any:
    """The part of a queue's or policy's status of which every change is worth a write: counts, use, round, mode.

    The Jain index is none: it moves with every rate that is measured anew, and is told with what else is.
    """
    flavors = [{k: v for k, v in entry.items() if k != "price"} for entry in mappings(status, "flavors")]
    kept = {key: at(status, key) for key in COUNTED}
    used = {kind: {k: v for k, v in mapping(status, kind).items() if k != "price"} for kind in CAPS}
    return {**kept, **used, "flavors": flavors}


def replaced(raw: Raw, status: dict[str, Any], repriced: bool = False) -> Patch | None:
    """The patch of the whole status; None where nothing that counts differs and prices are not to be told."""
    old = mapping(raw, "status")
    if not repriced and quantities(old) == quantities(status):
        return None
    patch: Patch = [{"op": "test", "path": "/metadata/uid", "value": at(raw, "metadata", "uid")}]
    if integer(old, "round"):
        patch.append({"op": "test", "path": "/status/round", "value": integer(old, "round")})
    kept = {"conditions": old["conditions"]} if "conditions" in old else {}
    return [*patch, {"op": "add", "path": "/status", "value": {**kept, **status}}]


@dataclass
class Reports:
    """Writes what is new in the statuses of queues and policy. It remembers only how long prices have been unlike."""

    api: Api
    cluster: Cluster
    news: PriceNews = field(default_factory=PriceNews)

    async def write(self, snapshot: Snapshot, policy: Policy, decision: Decision) -> list[tuple[Kind, Any]]:
        """The replies, to be taken in. Raises Refused, Unreachable."""
        statuses = [(kinds.QUEUE_KIND, *one) for one in queue_statuses(snapshot, decision).items()]
        replies = []
        for kind, name, status in (*statuses, (kinds.POLICY, policy.name, policy_status(policy, decision))):
            raw = self.cluster.raw(kind, "", name)
            if raw is None:
                continue
            old = mapping(raw, "status")
            whose = f"{kind.name} {name}"
            patch = replaced(raw, status, self.news.is_told(whose, (old, status), snapshot, decision))
            if patch is not None:
                self.news.forget(whose)
                replies.append((kind, await self.api.patch(kind.path("", name, "status"), patch)))
        return replies


def transitions(decision: Decision, before: dict[Any, JobFacts]) -> Iterable[tuple[Outcome, str, str, str]]:
    """(outcome, type, reason, message) of every Event of the round."""
    for outcome in decision.outcomes:
        facts = before.get(outcome.key)
        if facts is None:
            continue
        for notice in outcome.notices:
            yield outcome, "Warning", notice.reason, notice.message
        if outcome.current != outcome.granted:
            yield outcome, "Normal", *_resized(outcome)
        known = {condition.type: condition for condition in facts.job.memory.conditions}
        for condition in outcome.memory.conditions:
            old = known.get(condition.type)
            newly = condition.status and (old is None or not old.status or old.reason != condition.reason)
            if newly and condition.type in ("Degraded", "Invalid", "DeadlineAtRisk", "ThroughputAtRisk"):
                yield outcome, "Warning", condition.reason, condition.message
            lost = condition.type == "Measured" and not condition.status and condition.reason != "NotYet"
            if lost and (old is None or old.reason != condition.reason):
                yield outcome, "Warning", condition.reason, condition.message
            if newly and condition.type == "Complete":
                failed = outcome.memory.phase == "Failed"
                yield outcome, "Warning" if failed else "Normal", condition.reason, condition.message
            refused = condition.type == "Admitted" and not condition.status
            if refused and (old is None or old.reason != condition.reason) and not outcome.current.replicas:
                yield outcome, "Normal", condition.reason, condition.message


def _resized(outcome: Outcome) -> tuple[str, str]:
    old, new = outcome.current, outcome.granted
    if not old.replicas:
        return "Admitted", f"admitted with {new.replicas} on {new.flavor}"
    if not new.replicas:
        return "Evicted", f"{old.replicas} on {old.flavor} are given back: {outcome.message}"
    if old.flavor != new.flavor:
        return "Moved", f"from {old.replicas} on {old.flavor} to {new.replicas} on {new.flavor}"
    kind = "Grown" if new.replicas > old.replicas else "Shrunk"
    return kind, f"from {old.replicas} to {new.replicas} on {new.flavor}"


def event(outcome: Outcome, facts: JobFacts, said: tuple[str, str, str], now: float) -> dict[str, Any]:
    type_, reason, message = said
    at_ = timestamp(now)[:19] + "Z"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{facts.key.name[:200]}.", "namespace": facts.key.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "TrainingJob",
            "namespace": facts.key.namespace,
            "name": facts.key.name,
            "uid": facts.job.uid,
        },
        "type": type_,
        "reason": reason,
        "message": message[:1000],
        "source": {"component": "apportion"},
        "reportingComponent": "apportion.dev/apportion",
        "reportingInstance": "apportion",
        "firstTimestamp": at_,
        "lastTimestamp": at_,
        "count": 1,
    }
