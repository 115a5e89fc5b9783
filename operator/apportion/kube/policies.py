"""Queue and AllocationPolicy objects into the model."""

from collections.abc import Sequence

from apportion.api import parse_allocation_policy, parse_queue
from apportion.api.allocationpolicy import ChurnBudget as WireChurnBudget
from apportion.api.allocationpolicy import Objective as WireObjective
from apportion.api.allocationpolicy import Prometheus as WirePrometheus
from apportion.api.allocationpolicy import Provisionable as WireProvisionable
from apportion.api.common import LabelSelector
from apportion.kube.flavors import tolerated
from apportion.kube.raw import Raw
from apportion.model.flavors import Flavor, Provisionable
from apportion.model.policy import (
    Aim,
    ChurnBudget,
    Defragmentation,
    Mode,
    Objective,
    Policy,
    Prometheus,
    QueueChurn,
    Shadow,
    SolverLimits,
    Stability,
)
from apportion.model.queues import Queue, Quota
from apportion.model.selection import Requirement, Toleration


def queue_of(raw: Raw) -> Queue:
    """Raises InvalidObject."""
    queue = parse_queue({key: value for key, value in raw.items() if key != "status"})
    spec = queue.spec
    return Queue(
        name=queue.metadata.name,
        cohort=spec.cohort or "",
        weight=float(spec.weight),
        quotas=tuple(Quota(q.name, q.nominal_quota, q.borrowing_limit, q.lending_limit) for q in spec.flavors),
        namespaces=None if spec.namespace_selector is None else selector(spec.namespace_selector),
        allowed_priority_classes=(
            None if spec.allowed_priority_classes is None else tuple(spec.allowed_priority_classes)
        ),
        budget_per_hour=None if spec.budget is None else _number(spec.budget.per_hour),
        power_cap_watts=_number(spec.power_cap_watts),
        uid=queue.metadata.uid,
        generation=queue.metadata.generation,
    )


def selector(labels: LabelSelector) -> tuple[Requirement, ...]:
    exact = [Requirement(key, "In", (value,)) for key, value in sorted(labels.match_labels.items())]
    rules = [Requirement(e.key, e.operator, tuple(e.values)) for e in labels.match_expressions]
    return (*exact, *rules)


def policy_of(raw: Raw) -> Policy:
    """Raises InvalidObject."""
    policy = parse_allocation_policy({key: value for key, value in raw.items() if key != "status"})
    spec = policy.spec
    return Policy(
        name=policy.metadata.name,
        mode=Mode(spec.mode),
        objective=objective_of(spec.objective),
        stability=Stability(
            float(spec.stability.change_margin),
            float(spec.stability.expected_hold_seconds),
            float(spec.stability.fewest_moves_within),
            churn_budget(spec.stability.churn_budget),
        ),
        defragmentation=Defragmentation(spec.defragmentation),
        flavors=tuple(
            Flavor(
                name=flavor.name,
                resource=flavor.resource or "",
                node_selector=tuple(sorted(flavor.node_selector.items())),
                tolerations=tuple(
                    Toleration(t.key or "", t.operator, t.value or "", t.effect or "") for t in flavor.tolerations
                ),
                speed=1.0 if flavor.speed is None else float(flavor.speed),
                price_per_hour=_number(flavor.price_per_hour),
                watts=_number(flavor.watts),
                idle_watts=_number(flavor.idle_watts),
                provisionable=provisionable(flavor.provisionable),
            )
            for flavor in spec.flavors
        ),
        budget_per_hour=None if spec.budget is None else _number(spec.budget.per_hour),
        power_cap_watts=_number(spec.power_cap_watts),
        solver=SolverLimits(float(spec.solver.time_limit_seconds), float(spec.solver.gap)),
        prometheus=None if (found := spec.metrics_source.prometheus) is None else _prometheus(found),
        shadows=tuple(Shadow(shadow.name, objective_of(shadow.objective)) for shadow in spec.shadow),
        uid=policy.metadata.uid,
        generation=policy.metadata.generation,
    )


def provisionable(spec: WireProvisionable | None) -> Provisionable | None:
    if spec is None:
        return None
    timeout, least = float(spec.provisioning_timeout_seconds), float(spec.least_yield)
    return Provisionable(spec.max_nodes, spec.accelerators_per_node, timeout, least)


def objective_of(spec: WireObjective) -> Objective:
    return Objective(float(spec.exponent), float(spec.admission_worth), float(spec.size_exponent), Aim(spec.name))


def churn_budget(spec: WireChurnBudget) -> ChurnBudget:
    limit = spec.restart_seconds_per_hour
    queues = tuple(QueueChurn(entry.name, float(entry.restart_seconds_per_hour)) for entry in spec.queues)
    return ChurnBudget(None if limit is None else float(limit), queues)


def _prometheus(spec: WirePrometheus) -> Prometheus:
    return Prometheus(spec.url.rstrip("/"), spec.bearer_token_file or "")


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def last_flavors(flavors: Sequence[Flavor], catalog: Sequence[Flavor]) -> tuple[Flavor, ...]:
    """Discovered and catalog flavors that nodes carry, in name order, and catalog entries that no node carries yet."""
    by_name = {flavor.name: tolerated(flavor) for flavor in catalog if flavor.resource}
    by_name.update({flavor.name: flavor for flavor in flavors})
    return tuple(by_name[name] for name in sorted(by_name))
