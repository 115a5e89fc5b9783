"""Room for a gang that fits by count but not by shape: who moves out of its way, at the least cost.

A move is done over rounds, as shrink, place, regrow: the pods on the gang's places leave, the gang is placed, and the
job gets as many pods elsewhere. Nobody is moved unless, wherever the scheduler puts the gang, all who moved find room
after it. Until then their minimums are promised as if they had them (terms.py), so whatever becomes of the gang, they
come back first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from apportion.model.eligibility import accepts, current_grant, free_now, request_on, speed
from apportion.model.jobs import Admission, Displaced, Job, JobKey
from apportion.model.plan import Clearing, Departure, Grant, Plan, Status
from apportion.model.policy import Aim, Policy
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import Appraisal
from apportion.planner.churn import Churn, remembered
from apportion.planner.clearing import Leave, Mover, Search
from apportion.planner.floors import Floors
from apportion.planner.waves import Eligibility


def clearings(snapshot: Snapshot, policy: Policy, targets: Mapping[JobKey, Grant], churn: Churn) -> Iterator[Clearing]:
    """For each gang that waits for shape alone the cheapest moves that make room for it, if they are worth it.

    snapshot: with the round's terms; targets: what everybody gets without moves. Highest class first, then who has
    waited longest. Only flavors where nothing else changes are looked at: what goes without moves goes first.
    """
    waiting = [job for job in snapshot.jobs if _waits(job, snapshot.terms[job.key], targets[job.key])]
    if not waiting:
        return
    resting = {flavor.name for flavor in snapshot.flavors if _rests(snapshot, targets, flavor.name)}
    floors = Floors(snapshot, {key: grant for key, grant in targets.items() if grant.replicas})
    eligibility, free = Eligibility(snapshot), free_now(snapshot)
    appraisal = Appraisal(snapshot, _by_utility(policy))
    unlike = len({_shape(gang) for gang in waiting})
    searched: dict[object, tuple[Leave, ...] | None] = {}
    for gang in sorted(waiting, key=lambda job: (-job.priority, job.waiting_since, job.key)):
        for flavor in sorted(snapshot.flavors, key=lambda flavor: (-speed(gang, flavor), flavor.name)):
            if flavor.name not in resting or flavor.name in snapshot.terms[gang.key].barred:
                continue
            grant, kind = Grant(flavor.name, gang.minimum), eligibility.kind(gang, flavor.name)
            if kind is None or not accepts(gang, flavor) or not floors.allows({gang.key: grant}):
                continue
            here = sum(request_on(free[name], flavor) for name in kind.nodes)
            if here < gang.minimum_accelerators:
                continue
            alike = (_shape(gang), kind)
            if alike not in searched:
                movers = _movers(snapshot, gang, flavor.name, eligibility)
                searched[alike] = Search(free, kind, gang.minimum, movers, unlike).cheapest()
            found = searched[alike]
            if found and _worth(appraisal, gang, grant, found) and _affords(churn, snapshot, targets, found):
                yield Clearing(gang.key, grant, tuple(leave.departure for leave in found))
                break


def _shape(gang: Job) -> object:
    """What decides who may move for it, and whether that helps: gangs of one shape are searched for once."""
    return gang.queue_name, gang.priority, gang.minimum, tuple(sorted(gang.requests.items()))


def _movers(snapshot: Snapshot, gang: Job, flavor: str, eligibility: Eligibility) -> list[Mover]:
    """Who may be moved for the gang on this flavor."""
    return [
        Mover(job, mine, {pod.name: pod for pod in job.pods})
        for job in snapshot.jobs
        if current_grant(job).flavor == flavor and _may_move(job, gang, snapshot.terms[job.key])
        if (mine := eligibility.kind(job, flavor)) and all(pod.node in mine.nodes for pod in job.pods)
    ]


def with_clearing(plan: Plan, solved: Snapshot, policy: Policy, clearing: Clearing) -> Plan:
    """The plan with the gang in it, charged with the restarts; `solved` is what it was made for."""
    appraisal, jobs = Appraisal(solved, policy), {job.key: job for job in solved.jobs}
    gain = appraisal.value(jobs[clearing.gang], clearing.grant)
    gain -= sum(_restart_loss(appraisal, jobs[departure.key]) for departure in clearing.departures)
    grant, objective = clearing.grant, plan.objective + gain
    allocations = tuple(
        replace(one, flavor=grant.flavor, replicas=grant.replicas) if one.key == clearing.gang else one
        for one in plan.allocations
    )
    staying = plan.bound if plan.bound_staying is None else plan.bound_staying
    moved = replace(
        plan, allocations=allocations, objective=objective, bound=max(plan.bound, objective),
        bound_staying=max(staying, objective), clearing=clearing,
    )  # fmt: skip
    proved = plan.status is Status.OPTIMAL and moved.gap_staying <= max(policy.solver.gap, plan.gap_staying)
    return moved if proved else replace(moved, status=Status.FEASIBLE)


def departed(snapshot: Snapshot, clearing: Clearing) -> Snapshot:
    """The snapshot once the pods that leave are gone."""
    leaves = {departure.key: departure for departure in clearing.departures}
    jobs = tuple(
        _without(job, leaves[job.key], str(clearing.gang), snapshot) if job.key in leaves else job
        for job in snapshot.jobs
    )
    return replace(snapshot, jobs=jobs)


def displaced(job: Job, gang: str, now: float) -> Displaced:
    """What is remembered of a job that makes room now."""
    grant = current_grant(job)
    return Displaced(gang, grant.flavor, grant.replicas, now)


def _without(job: Job, leave: Departure, gang: str, snapshot: Snapshot) -> Job:
    now, kept = snapshot.now, leave.stays
    memory = replace(
        job.memory,
        admission=Admission(kept.flavor, kept.replicas, snapshot.round, now) if kept.replicas else None,
        displaced=displaced(job, gang, now),
        restarts=job.memory.restarts + 1,
        restarted_at=remembered(job.memory.restarted_at, now),
    )
    return replace(job, memory=memory, pods=tuple(pod for pod in job.pods if pod.name not in leave.pods))


def _waits(job: Job, terms: Terms, target: Grant) -> bool:
    choice = terms.candidate and not terms.pinned and job.memory.displaced is None
    return choice and bool(job.steps) and not current_grant(job).replicas and not target.replicas


def _rests(snapshot: Snapshot, targets: Mapping[JobKey, Grant], flavor: str) -> bool:
    """Nobody gets or gives anything on the flavor, and no pod comes or goes."""
    here = {node.name for node in snapshot.nodes if node.flavor == flavor}
    for job in snapshot.jobs:
        grant, target = current_grant(job), targets[job.key]
        if flavor in (grant.flavor, target.flavor) or any(pod.node in here for pod in job.pods):
            still = all(pod.node is not None and not pod.terminating for pod in job.pods)
            if grant != target or not still or len(job.pods) != grant.replicas:
                return False
    return True


def _may_move(job: Job, gang: Job, terms: Terms) -> bool:
    """Whether the rules let it be restarted for the gang, and all of it runs: then the deletion cost alone decides who
    leaves. Nobody moves for a lower class of the same queue."""
    choice = terms.candidate and not terms.pinned and not terms.steady and terms.moves and terms.grows
    above = job.queue_name == gang.queue_name and job.priority > gang.priority
    if not choice or above or not job.preemptible or terms.keeps > job.minimum or job.memory.displaced is not None:
        return False
    return all(pod.ready and pod.phase == "Running" for pod in job.pods)


def _by_utility(policy: Policy) -> Policy:
    """Under every aim an admission is weighed against restarts as ProportionalFair does: others do not value it."""
    return replace(policy, objective=replace(policy.objective, name=Aim.PROPORTIONAL_FAIR))


def _worth(appraisal: Appraisal, gang: Job, grant: Grant, leaves: Sequence[Leave]) -> bool:
    """Does the gang gain more than the restarts lose, by the margin of any change?"""
    return appraisal.value(gang, grant) > sum(_restart_loss(appraisal, leave.mover.job) for leave in leaves)


def _restart_loss(appraisal: Appraisal, job: Job) -> float:
    """What the objective charges for a restart of a running job."""
    grant = current_grant(job)
    return appraisal.value(job, grant) - appraisal.value(job, grant, restarted=True)


def _affords(churn: Churn, snapshot: Snapshot, targets: Mapping[JobKey, Grant], leaves: Sequence[Leave]) -> bool:
    """Has the churn budget room for these restarts beside those of the plan? Who keeps some pods restarts twice."""
    changed = [job for job in snapshot.jobs if (had := current_grant(job)).replicas and targets[job.key] != had]
    moved = [leave.mover.job for leave in leaves]
    again = [leave.mover.job for leave in leaves if leave.departure.stays.replicas]
    return churn.affords([*changed, *moved, *again])
