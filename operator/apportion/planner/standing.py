"""Where each job stands when a round begins: what it has, in which queue, and what the policy's mode leaves of it."""

from collections.abc import Iterable
from dataclasses import replace

from apportion.model.eligibility import accepts, current_grant
from apportion.model.flavors import Flavor
from apportion.model.jobs import Admission, Block, Enough, Job, JobKey
from apportion.model.policy import Mode, Policy
from apportion.model.snapshot import Snapshot, Terms
from apportion.planner.lifecycle import State, assess, base_terms
from apportion.planner.provisioning import patient
from apportion.planner.queueing import stand_in
from apportion.planner.targets import expected


def adopted(job: Job, snapshot: Snapshot) -> Job:
    """A Deployment that ran before its TrainingJob came: its bound pods count as granted, so that nothing restarts."""
    workload = job.workload
    if job.block is not None or job.admission is not None or workload is None:
        return job
    if workload.decision is not None or workload.owned:
        return job
    flavor_of = {node.name: node.flavor for node in snapshot.nodes}
    bound = [pod for pod in job.pods if pod.node is not None and not pod.terminating]
    flavors = {flavor_of.get(pod.node or "") for pod in bound}
    replicas = max((step for step in job.steps if step <= len(bound)), default=0)
    flavor = next(iter(flavors), None)
    if len(flavors) != 1 or flavor is None or replicas == 0:
        return job
    since = min(pod.created for pod in bound)
    return replace(job, memory=replace(job.memory, admission=Admission(flavor, replicas, snapshot.round, since)))


def outgrown(job: Job) -> Job:
    """A job whose minimum was raised above what it has keeps that, and gets its minimum as any job grows: within its
    quota and the caps, and from nobody who need not give."""
    have = current_grant(job).replicas
    return replace(job, steps=(have, *job.steps)) if 0 < have < job.minimum else job


def owed(job: Job, asked: Job, flavors: Iterable[Flavor]) -> Job:
    """Under MinCost nobody grows but to reach a target: the minimum that its owner asks for is one to who has less."""
    if job.enough or job.minimum >= asked.minimum:
        return job
    goals = ((flavor.name, expected(job, flavor, asked.minimum)) for flavor in flavors if accepts(job, flavor))
    return replace(job, enough=tuple(Enough(name, rate, rate) for name, rate in goals if rate > 0))


def standing(snapshot: Snapshot, policy: Policy) -> tuple[dict[JobKey, State], dict[JobKey, Terms]]:
    """By job its state in its queue, and its terms before anybody takes anything.

    Where nobody may be admitted again, or nothing is patched, nobody gives a grant back.
    """
    queues = {queue.name: queue for queue in snapshot.queues}
    states: dict[JobKey, State] = {}
    terms: dict[JobKey, Terms] = {}
    for asked in snapshot.jobs:
        queue = stand_in(asked, queues)
        stays = policy.mode is not Mode.ENFORCE or asked.held or isinstance(queue, Block)
        job = outgrown(adopted(patient(asked, snapshot.flavors), snapshot))
        state = assess(job, snapshot.now, in_grace(snapshot, asked), stays)
        if job.steps != asked.steps:
            state = replace(state, steps=asked.steps)
        if isinstance(queue, Block):
            state = without_queue(state, queue)
        else:
            state = in_queue(state, queue.name if queue else None)
        if policy.mode is Mode.FREEZE:
            state = frozen(state)
        states[asked.key], terms[asked.key] = state, _terms(snapshot, asked, state)
    return states, terms


def _terms(snapshot: Snapshot, asked: Job, state: State) -> Terms:
    terms = base_terms(state)
    if terms.candidate and current_grant(state.job).replicas and in_grace(snapshot, state.job):
        terms = replace(terms, pinned=True)
    if terms.candidate and state.job.steps != asked.steps:
        # Its owner asked for the restart.
        terms = replace(terms, free_to_change=True)
    return terms


def in_queue(state: State, name: str | None) -> State:
    return state if state.job.queue_name == name else replace(state, job=replace(state.job, queue_name=name))


def without_queue(state: State, why: Block) -> State:
    """A running job keeps what it has and is Degraded; a waiting one is not admitted."""
    if state.finished or state.blocked is not None:
        return state
    if current_grant(state.job).replicas:
        return replace(state, degraded=state.degraded or why, job=replace(state.job, held=True))
    return replace(state, blocked=why)


def frozen(state: State) -> State:
    """Mode Freeze: what runs is kept, nothing is admitted; what ended or is suspended still gives its room back."""
    if state.finished or state.blocked is not None:
        return state
    if (grant := current_grant(state.job)).replicas:
        said = Block(
            "Frozen", f"{grant.replicas} on {grant.flavor}: the AllocationPolicy's mode is Freeze, so it stays"
        )
        return replace(state, verdict=said if state.degraded is None else None, job=replace(state.job, held=True))
    return replace(state, blocked=Block("Frozen", "the AllocationPolicy's mode is Freeze: nothing is admitted"))


def in_grace(snapshot: Snapshot, job: Job) -> bool:
    """Much of its flavor vanished a moment ago: nobody on it is shrunk before the grace is over."""
    return snapshot.now < snapshot.grace.get(current_grant(job).flavor, 0.0)
