"""One round: snapshot and policy in, decision out. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice

from apportion.model.eligibility import current_grant
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Decision, Grant, Outcome, Resize, Status
from apportion.model.policy import Aim, Defragmentation, Mode, Policy
from apportion.model.snapshot import Snapshot, capped
from apportion.optimizer import solve
from apportion.planner.accounting import capacity, queue_use
from apportion.planner.churn import Churn
from apportion.planner.defragmentation import clearings, departed, with_clearing
from apportion.planner.entitled import entitled
from apportion.planner.explain import HOPELESS, UNSERVED, Reasons
from apportion.planner.fairness import fairness
from apportion.planner.favour import favoured
from apportion.planner.lifecycle import State
from apportion.planner.outcomes import Round, outcome
from apportion.planner.provisioning import added, new_nodes, with_all, with_coming
from apportion.planner.searching import Search, Solve, Wanted, grown, loosened
from apportion.planner.spending import cap_use
from apportion.planner.standing import owed, standing
from apportion.planner.targets import aimed, frugal, look_again
from apportion.planner.terms import Rights, settle
from apportion.planner.waves import in_waves

WAITING_RECHECK_SECONDS = 60.0
MOST_CLEARINGS = 2  # that are planned on in one round


def decide(snapshot: Snapshot, policy: Policy, rule: Solve = solve) -> Decision:
    """Decide a whole round for all jobs; `rule` shares what may be shared, by default the integer program.

    Reads nothing but its arguments; `snapshot.now` is the time. The same snapshot and policy give the same decision,
    but for a solver that its time limit cut short; outcomes are sorted by job. Raises nothing for any jobs, nodes or
    queues: what cannot be decided is kept and explained.
    """
    snapshot = snapshot.in_order()
    return concluded(snapshot, policy, wanted(snapshot, policy, rule))


def wanted(snapshot: Snapshot, policy: Policy, rule: Solve = solve) -> Wanted:
    """The first half: who should have what in the end."""
    snapshot = aimed(snapshot)
    before = {job.key: current_grant(job) for job in snapshot.jobs}
    states, terms = standing(snapshot, policy)
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    jobs = tuple(frugal(states[job.key].job, flavors, snapshot.now) for job in snapshot.jobs)
    if policy.objective.name is Aim.MIN_COST:
        jobs = tuple(owed(job, asked, snapshot.flavors) for job, asked in zip(jobs, snapshot.jobs, strict=True))
    settled, _ = capped(favoured(replace(snapshot, jobs=jobs, terms=terms)), policy)
    churn = Churn(settled, policy.stability.churn)
    wide, settled = with_all(settled), with_coming(settled)
    more = added(settled, wide)
    rights = Rights(terms) if policy.mode is Mode.FREEZE else settle(settled, churn, more)
    search, found = loosened(Search(policy, rule, rights, states, churn, before), settled, more)
    if more:
        found = grown(search, found, wide)
    if policy.defragmentation is Defragmentation.ENABLED and rule is solve:
        found = with_moves(snapshot, policy, found)
    return found


def with_moves(snapshot: Snapshot, policy: Policy, found: Wanted) -> Wanted:
    """The plan with the cheapest moves that let one more gang in, where there are such and they keep what they promise:
    planned from where they lead, the gang has its place, and nobody has less than without them."""
    if found.plan.status is Status.KEPT or found.first is not None:
        return found
    granted = {job.key: current_grant(job) for job in snapshot.jobs}
    still = replace(policy, defragmentation=Defragmentation.DISABLED)
    possible = clearings(found.snapshot, policy, found.targets, found.churn)
    for clearing in islice(possible, MOST_CLEARINGS):
        if any(granted[departure.key] != found.targets[departure.key] for departure in clearing.departures):
            continue
        targets = {**found.targets, clearing.gang: clearing.grant}
        after = wanted(departed(snapshot, clearing), still).targets
        if all(_as_much(after[key], target) for key, target in targets.items()):
            return replace(found, plan=with_clearing(found.plan, found.solved, policy, clearing), targets=targets)
    return found


def _as_much(grant: Grant, target: Grant) -> bool:
    return grant.replicas >= target.replicas and (grant.flavor == target.flavor or not target.replicas)


def concluded(snapshot: Snapshot, policy: Policy, found: Wanted) -> Decision:
    """The second half: what is granted of it now, and what is said."""
    before = {job.key: current_grant(job) for job in snapshot.jobs}
    settled, states, plan, targets = found.snapshot, found.states, found.plan, found.targets
    departures = {departure.key: departure for departure in plan.clearing.departures} if plan.clearing else {}
    steps = {**targets, **{key: departure.stays for key, departure in departures.items()}}
    resizes = entitled(settled, before, in_waves(settled, before, steps, found.first).resizes)
    resizes = tuple(replace(one, leaving=departures[one.key].pods) if one.key in departures else one for one in resizes)
    granted = grants_of(settled, steps, resizes, policy)
    resizes = tuple(_given_back(one, granted[one.key]) for one in resizes)
    changes = any(granted[key] != before[key] for key in granted)
    number = snapshot.round + 1 if changes else snapshot.round
    # Claims that came to nothing held nobody back.
    reasons = Reasons(replace(settled, ceilings=found.solved.ceilings), plan, targets, found.churn)
    asked = {resize.key: resize.new_nodes for resize in resizes if resize.new_nodes}
    observing = policy.mode is Mode.OBSERVE
    round_ = Round(number, snapshot.now, reasons, found.taken, asked, observing, plan.clearing)
    outcomes = tuple(
        outcome(round_, states[key], before[key], targets[key], granted[key]) for key in (j.key for j in settled.jobs)
    )
    capacities = capacity(snapshot)
    return Decision(
        round=number,
        plan=plan,
        outcomes=outcomes,
        resizes=resizes,
        capacity=capacities,
        queue_use=queue_use(settled, granted, plan),
        new_nodes=new_nodes(settled, outcomes),
        cap_use=cap_use(settled, granted, plan),
        fairness=fairness(settled, granted, capacities),
        recheck_after=recheck(settled, states.values(), outcomes, found.churn),
        warnings=(*snapshot.warnings, *capped(snapshot, policy)[1], *plan.warnings),
    )


def _given_back(resize: Resize, granted: Grant) -> Resize:
    """A change that has to wait, of a job whose pods did not come: now it gives back what it was granted for them."""
    if resize.wave == 0 or granted == resize.current:
        return resize
    return Resize(resize.key, resize.current, granted)


def grants_of(
    snapshot: Snapshot, targets: Mapping[JobKey, Grant], resizes: Iterable[Resize], policy: Policy
) -> dict[JobKey, Grant]:
    """What is granted in this round: the target, unless its wave has not come."""
    granted = dict(targets)
    waiting = {resize.key for resize in resizes if resize.wave > 0}
    for job in snapshot.jobs:
        if job.key in waiting or policy.mode is Mode.OBSERVE:
            granted[job.key] = current_grant(job)
    return granted


def recheck(snapshot: Snapshot, states: Iterable[State], outcomes: Iterable[Outcome], churn: Churn) -> float | None:
    """Seconds until time alone may change something; None: only an event can."""
    times: list[float | None] = [*snapshot.grace.values()]
    waits = False
    for state, said in zip(states, outcomes, strict=True):
        has_nothing = snapshot.terms[said.key].candidate and not said.granted.replicas and said.reason not in HOPELESS
        waits = waits or has_nothing or said.granted != said.target or said.reason in UNSERVED
        times += [state.recheck_at, state.job.runs_until, unbound_until(state.job)]
        if not state.finished:
            times.append(look_again(state.job, snapshot.now))
        if snapshot.terms[said.key].steady:
            times.append(churn.free_at(state.job))
    if waits:
        times.append(snapshot.now + WAITING_RECHECK_SECONDS)
    # What was due by now is in this decision: where it changes nothing, only an event does.
    left = [at - snapshot.now for at in times if at is not None and at > snapshot.now]
    return max(1.0, min(left)) if left else None


def unbound_until(job: Job) -> float | None:
    waiting = [pod.created for pod in job.pods if pod.node is None and not pod.terminating]
    return min(waiting) + job.placement_timeout_seconds if waiting else None
