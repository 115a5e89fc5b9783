"""A decision as a stable document (docs/reference/decision.md)."""

import math
from typing import Any

from apportion.api.names import API_VERSION
from apportion.model.plan import Decision, Grant, Plan
from apportion.model.snapshot import Snapshot


def decision_document(snapshot: Snapshot, decision: Decision, warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    """kind Decision: plain JSON values, lists in name order, the same for the same decision but for solveSeconds."""
    plan = decision.plan
    return {
        "apiVersion": API_VERSION,
        "kind": "Decision",
        "status": str(plan.status),
        "method": plan.method,
        "round": decision.round,
        "objective": plan.objective,
        "bound": plan.bound,
        "gap": plan.gap if math.isfinite(plan.gap) else None,
        "allocations": [
            {
                "namespace": outcome.key.namespace,
                "name": outcome.key.name,
                "flavor": outcome.target.flavor or None,
                "replicas": outcome.target.replicas,
                "current": grant_document(outcome.current),
                "reason": outcome.reason,
                "message": outcome.message,
            }
            for outcome in decision.outcomes
        ],
        "resizes": [
            {
                "namespace": resize.key.namespace,
                "name": resize.key.name,
                "kind": resize.kind,
                "from": grant_document(resize.current),
                "to": grant_document(resize.target),
                "wave": resize.wave,
            }
            for resize in decision.resizes
        ],
        "capacity": [
            {
                "flavor": capacity.flavor,
                "resource": capacity.resource,
                "allocatable": capacity.allocatable,
                "othersUse": capacity.others_use,
                "free": capacity.free,
            }
            for capacity in decision.capacity
        ],
        "newNodes": [
            {
                "flavor": new.flavor,
                "nodes": new.nodes,
                "acceleratorsPerNode": new.accelerators_per_node,
                "most": new.most,
            }
            for new in decision.new_nodes
        ],
        "queues": [
            {
                "queue": use.queue,
                "flavor": use.flavor,
                "nominal": use.nominal,
                "used": use.used,
                "borrowed": use.borrowed,
                "lent": use.lent,
            }
            for use in decision.queue_use
        ],
        "caps": caps_document(decision),
        "fairness": {
            "jain": decision.fairness.jain,
            "dominantShares": [{"queue": queue, "share": share} for queue, share in decision.fairness.dominant_shares],
        },
        "prices": prices_document(plan),
        "solveSeconds": plan.seconds,
        "warnings": [*warnings, *decision.warnings],
    }


def prices_document(plan: Plan) -> list[dict[str, Any]]:
    """Of accelerators; what money and power are worth stands beside their limits."""
    return [
        {"flavor": price.flavor, "queue": price.queue or None, "price": price.price}
        for price in plan.prices
        if price.cap is None
    ]


def caps_document(decision: Decision) -> list[dict[str, Any]]:
    return [
        {
            "cap": str(use.kind),
            "queue": use.queue or None,
            "limit": use.limit,
            "used": use.used,
            "price": use.price,
        }
        for use in decision.cap_use
    ]


def grant_document(grant: Grant) -> dict[str, Any]:
    return {"flavor": grant.flavor or None, "replicas": grant.replicas}
