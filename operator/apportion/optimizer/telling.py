"""The plan as it is told: allocations that were checked, value, bounds and prices."""

from dataclasses import dataclass, replace

from apportion.model.caps import Kind
from apportion.model.eligibility import current_grant
from apportion.model.jobs import JobKey
from apportion.model.plan import Allocation, Plan, Price, RowPrice, Status
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer.attempts import Attempt, admission_constant
from apportion.optimizer.check import violations
from apportion.optimizer.options import promised
from apportion.optimizer.solving import Solvers
from apportion.optimizer.value import terms_of


@dataclass(frozen=True)
class Proof:
    """No plan is worth more than `bound`, with admission, wherever pods are; none in which they stay where they are
    more than `staying`, if that is known. `market`: the attempt whose prices are told."""

    bound: float
    staying: float | None
    market: Attempt


def kept(snapshot: Snapshot, warning: str) -> Plan:
    """Everybody keeps what they have."""
    allocations = tuple(
        Allocation(job.key, grant.flavor, grant.replicas) if (grant := current_grant(job)).replicas else
        Allocation(job.key)
        for job in snapshot.jobs if terms_of(snapshot, job).candidate
    )  # fmt: skip
    return Plan(allocations, 0.0, 0.0, Status.KEPT, "kept", warnings=(warning,))


def told(snapshot: Snapshot, policy: Policy, solvers: Solvers, attempt: Attempt, proof: Proof) -> Plan:
    """The attempt as a plan; one that breaks its own rules changes nothing."""
    problem, best, assignment = attempt.problem, attempt.best, attempt.assignment
    by_key = _allocated(snapshot, attempt)
    allocations = tuple(by_key.values())
    wrong = violations(snapshot, allocations)
    if wrong:
        return kept(snapshot, f"the plan broke its own rules, nothing changes: {'; '.join(wrong[:5])}")
    # Admission worth of jobs that run anyway is a constant, and would only make the gap look smaller.
    constant = admission_constant(problem)
    value = float(problem.value @ assignment.x) - constant
    objective = value
    if not assignment.resolved:
        # What fewest moves gave up is told apart from what nodes could not hold.
        objective += max(0.0, min(attempt.moved, best.value - constant - value))
    whole = max(proof.bound - constant, objective)
    staying = whole if proof.staying is None else min(whole, max(proof.staying - constant, objective))
    plan = Plan(
        allocations, objective, whole, Status.FEASIBLE, solvers.used, bound_staying=staying,
        prices=_prices(proof.market), row_prices=_row_prices(proof.market),
        moves_cost=objective - value, unplaced=assignment.unplaced, short=_short(snapshot, by_key),
        warnings=(*problem.options.warnings, *solvers.warnings),
    )  # fmt: skip
    proved = attempt.proved and plan.gap_staying <= max(policy.solver.gap, 0.0) + 1e-9
    return replace(plan, status=Status.OPTIMAL if proved else Status.FEASIBLE)


def _allocated(snapshot: Snapshot, attempt: Attempt) -> dict[JobKey, Allocation]:
    """Of all candidates, in order."""
    columns, chosen = attempt.problem.options.columns, attempt.assignment.columns
    by_key: dict[JobKey, Allocation] = {}
    for job in snapshot.jobs:
        terms, grant = terms_of(snapshot, job), current_grant(job)
        if terms.candidate:
            stays = terms.pinned and grant.replicas
            by_key[job.key] = Allocation(job.key, grant.flavor, grant.replicas) if stays else Allocation(job.key)
    for key, column in chosen.items():
        if column >= 0:
            name = snapshot.flavors[int(columns.flavor[column])].name
            by_key[key] = Allocation(key, name, int(columns.replicas[column]))
    return by_key


def _short(snapshot: Snapshot, by_key: dict[JobKey, Allocation]) -> tuple[JobKey, ...]:
    """Jobs that had to run and lost."""
    terms = ((job, terms_of(snapshot, job)) for job in snapshot.jobs if job.key in by_key)
    return tuple(job.key for job, its in terms if not its.pinned and by_key[job.key].replicas < promised(job, its))


def _prices(market: Attempt) -> tuple[Price, ...]:
    """Per accelerator: rows of one flavor, or of one queue on it, add up. Then per unit of money and watt."""
    total: dict[tuple[str, str, str], float] = {}
    prices = market.best.prices
    for row, whose in market.problem.rows.priced:
        key = (whose.flavor, whose.queue, whose.cap or "")
        price = float(prices[row]) if row < len(prices) else 0.0
        total[key] = total.get(key, 0.0) + price / whose.per
    ordered = sorted(total.items(), key=lambda item: (item[0][2], *item[0]))
    return tuple(
        Price(flavor, price, queue, Kind(cap) if cap else None)
        for (flavor, queue, cap), price in ordered
        if price > 1e-12
    )


def _row_prices(market: Attempt) -> tuple[RowPrice, ...]:
    named = zip(market.problem.rows.names, market.best.prices.tolist(), strict=False)
    return tuple(RowPrice(name, price) for name, price in named if price > 1e-12)
