"""Who may take from whom, in the order of behaviour.md, as terms and ceilings for the optimizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from apportion.model.eligibility import current_grant, waiting_for_nodes
from apportion.model.flavors import Node
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import NOTHING
from apportion.model.snapshot import Ceiling, Snapshot, Terms
from apportion.planner.churn import Churn, fixed, held_steady, yielding
from apportion.planner.growth import Growth
from apportion.planner.ledger import Ledger
from apportion.planner.taking import make_room


@dataclass(frozen=True)
class Rights:
    """The round's terms.

    `standing` are the ceilings that always hold (`wider`: where nodes are added), `claims` those that make room for
    `growing`: running jobs for which others are held back, with the replicas that they have. `taken` says for each job
    that may lose its minimum who takes it, in words. `yields` has a surplus that a higher class asks for: no churn
    budget keeps it. `costless` are waiting jobs whose promise costs nobody anything.
    """

    terms: Mapping[JobKey, Terms]
    standing: tuple[Ceiling, ...] = ()
    wider: tuple[Ceiling, ...] = ()
    claims: tuple[Ceiling, ...] = ()
    taken: Mapping[JobKey, str] = field(default_factory=dict)
    growing: Mapping[JobKey, int] = field(default_factory=dict)
    yields: frozenset[JobKey] = frozenset()
    costless: frozenset[JobKey] = frozenset()


def protected(job: Job, terms: Terms, now: float) -> Terms:
    """Nobody loses a minimum to an equal; nothing at all within minRuntime of the last change, or while nodes come.

    Who stands aside for a gang has its minimum nevertheless; what it gets again was paid for when it went.
    """
    current, aside = current_grant(job), job.memory.displaced is not None
    if not terms.candidate or terms.pinned:
        return terms
    if current is NOTHING or current.replicas == 0:
        return replace(terms, keeps=job.minimum) if aside else terms
    keeps = job.minimum
    if now < job.runs_until or waiting_for_nodes(job):
        keeps = max(keeps, min(current.replicas, job.maximum))
    terms = replace(terms, keeps=keeps)
    return replace(terms, free_to_change=True, moves=False) if aside else terms


def settle(snapshot: Snapshot, churn: Churn, more: Mapping[str, int], costless: bool = True) -> Rights:
    """Start from each job's own terms, those of the snapshot; add what queues and classes may take, and who may not be
    restarted.

    more: by flavor, the accelerators of nodes that may be added to those of the snapshot. Nobody takes less for them.
    costless: are there promises that cost nobody anything?
    """
    terms = snapshot.terms
    yields = yielding(snapshot, terms) if churn.limits else frozenset()
    ledger = Ledger(
        snapshot, {job.key: _steadied(job, protected(job, terms[job.key], snapshot.now), churn, yields)
                   for job in snapshot.jobs}
    )  # fmt: skip
    made = make_room(ledger, costless)
    growth = Growth(ledger)
    growth.reclaim()
    standing, claims = tuple(growth.standing({})), tuple(growth.ceilings())
    wider = tuple(growth.standing(more)) if more else standing
    after = {key: fixed(settled) for key, settled in ledger.terms.items()} if churn.limits else ledger.terms
    nodes = {node.name: node for node in snapshot.nodes}
    # What is stronger than minRuntime takes from these; a right to grow where it is takes nothing from a job.
    taken_from = {key for key, settled in after.items() if settled.free_to_change and key not in growth.growing}
    after = {
        job.key: after[job.key] if job.key in taken_from else _left_alone(job, after[job.key], snapshot.now, nodes)
        for job in snapshot.jobs
    }
    return Rights(after, standing, wider, claims, ledger.taken, growth.growing, yields, made.costless)


def takers(snapshot: Snapshot) -> frozenset[JobKey]:
    """Waiting jobs that would take something from others in a round on this snapshot. Its terms are the jobs' own."""
    terms = {job.key: protected(job, snapshot.terms[job.key], snapshot.now) for job in snapshot.jobs}
    return make_room(Ledger(snapshot, terms)).takers


def _left_alone(job: Job, terms: Terms, now: float, nodes: Mapping[str, Node]) -> Terms:
    """Within minRuntime nobody changes the flavor, not even who has no more than the minimum, unless a node is missing
    under it. Else two jobs that need each other's room may move it to and fro in every round."""
    if job.admission is None or now >= job.runs_until:
        return terms
    bound = [nodes.get(pod.node) for pod in job.pods if pod.node is not None and not pod.terminating]
    if _under_way(job):
        # The old pods go before the new ones come: who has none has lost no node. Old ones may be on another flavor.
        here = job.admission.flavor
        whole = all(node is not None and (node.placeable or node.flavor != here) for node in bound)
    else:
        whole = sum(node is not None and node.placeable for node in bound) >= job.admission.replicas
    return replace(terms, moves=False) if whole else terms


def _under_way(job: Job) -> bool:
    """Have its pods never all been ready since what it has was granted?"""
    running = next((condition for condition in job.memory.conditions if condition.type == "Running"), None)
    if running is None or job.admission is None:
        return False
    return not running.status and running.since <= job.admission.since


def _steadied(job: Job, terms: Terms, churn: Churn, yields: frozenset[JobKey]) -> Terms:
    """Where not even this one restart fits into the budget, what the job has is a promise like that of minRuntime."""
    runs = terms.candidate and not terms.pinned and current_grant(job).replicas > 0
    if not runs or churn.spent_for(job) is None:
        return terms
    return held_steady(terms, job, job.key in yields)
