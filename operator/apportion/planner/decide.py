"""One round: snapshot and policy in, decision out. Pure."""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from itertools import islice

from apportion.model.eligibility import current_grant
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import NOTHING, Allocation, Decision, Grant, Outcome, Plan, Resize, Status
from apportion.model.policy import Aim, Defragmentation, Mode, Policy
from apportion.model.snapshot import Snapshot, Terms, capped
from apportion.optimizer import solve, would_grow
from apportion.planner.accounting import capacity, queue_use
from apportion.planner.churn import Changes, Churn, beyond, fixed, held_steady
from apportion.planner.defragmentation import clearings, departed, with_clearing
from apportion.planner.entitled import entitled
from apportion.planner.explain import HOPELESS, UNSERVED, Reasons
from apportion.planner.fairness import fairness
from apportion.planner.favour import favoured
from apportion.planner.lending import Lending
from apportion.planner.lifecycle import State, soonest
from apportion.planner.loosening import keeps_waiting
from apportion.planner.outcomes import Round, outcome
from apportion.planner.provisioning import added, new_nodes, uses_more, with_all, with_coming, worthwhile
from apportion.planner.rehearsing import moves_in_vain, waves
from apportion.planner.spending import cap_use
from apportion.planner.standing import owed, standing
from apportion.planner.targets import aimed, frugal, look_again
from apportion.planner.terms import Rights, settle, takers
from apportion.planner.waves import blocked_moves, in_waves

WAITING_RECHECK_SECONDS = 60.0
MOST_CLEARINGS = 2  # that are planned on in one round
MOST_USELESS = 3  # plans whose moves are of no use


Solve = Callable[[Snapshot, Policy], Plan]


@dataclass(frozen=True)
class Wanted:
    """What a round wants, before it is carried out. `snapshot` carries the round's terms, and all nodes that may be
    added; `solved` is what the plan was made for, without the claims that came to nothing. `first` are the targets
    without nodes that may be added, if the plan uses them. `narrowed`: jobs that the search gave less freedom than
    their rights do; the plan's bound is that of the plans that are left."""

    snapshot: Snapshot
    solved: Snapshot
    states: Mapping[JobKey, State]
    taken: Mapping[JobKey, str]
    plan: Plan
    targets: Mapping[JobKey, Grant]
    churn: Churn
    first: Mapping[JobKey, Grant] | None = None
    narrowed: frozenset[JobKey] = frozenset()


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


@dataclass(frozen=True)
class Search:
    """What all plans of a round share."""

    policy: Policy
    rule: Solve
    rights: Rights
    states: Mapping[JobKey, State]
    churn: Churn
    before: Mapping[JobKey, Grant]

    def under(self, settled: Snapshot) -> Wanted:
        """The best plan under these rights; `settled` has the jobs' own terms."""
        rights = self.rights
        return self.best(replace(settled, terms=rights.terms, ceilings=(*rights.standing, *rights.claims)))

    def best(self, settled: Snapshot) -> Wanted:
        """Plan until nobody gives up what is its queue's own for another queue to borrow."""
        found, lending = self._feasible(settled), Lending(settled, self.before)
        if not lending.lenders(found.targets):
            return found
        rights = replace(
            self.rights, standing=lending.closed(self.rights.standing), claims=lending.closed(self.rights.claims)
        )
        closed = replace(settled, ceilings=lending.closed(settled.ceilings))
        alone = replace(self, rights=rights)._feasible(closed)
        lending = replace(lending, alone=alone.targets)
        while lenders := lending.lenders(found.targets):
            terms = lending.keeping(lenders)
            if terms == lending.snapshot.terms:
                return replace(alone, narrowed=frozenset(alone.targets))
            lending = replace(lending, snapshot=replace(lending.snapshot, terms=terms))
            found = self._feasible(lending.snapshot)
        return replace(found, narrowed=found.narrowed | _differing(settled.terms, lending.snapshot.terms))

    def _feasible(self, settled: Snapshot) -> Wanted:
        """Plan until no move waits for itself or is for nothing, and no budget is overdrawn.

        Where one set of moves after the other is of no use, nobody moves in this round: on a full cluster there are
        very many such sets.
        """
        useless, asked = 0, settled.terms
        while True:
            plan, solved = planned(settled, self.policy, self.rights, self.rule)
            targets = targets_of(settled, plan)
            if stays := blocked_moves(settled, self.before, targets) or moves_in_vain(settled, self.before, targets):
                useless += 1
                settled = without_moves(settled, stays if useless < MOST_USELESS else self._running)
            elif beyond_budget := beyond(self.churn, settled, Changes(self.before, targets)):
                settled = keeping(settled, beyond_budget, self.rights.yields)
            else:
                narrowed = _differing(asked, settled.terms)
                return Wanted(
                    settled, solved, self.states, self.rights.taken, plan, targets, self.churn, narrowed=narrowed
                )

    @property
    def _running(self) -> list[JobKey]:
        return [key for key, grant in self.before.items() if grant.replicas]


def _differing(before: Mapping[JobKey, Terms], after: Mapping[JobKey, Terms]) -> frozenset[JobKey]:
    return frozenset(key for key, terms in after.items() if terms != before[key])


def loosened(search: Search, settled: Snapshot, more: Mapping[str, int]) -> tuple[Search, Wanted]:
    """The plan, and the search that found it. Where somebody may wait for no more than promises that cost nobody
    anything, it is made again without such; and that is taken if all have a place who had one, more have, and nobody
    takes anything back."""
    found = search.under(settled)
    if keeps_waiting(settled, found.targets, search.rights.costless):
        looser = replace(search, rights=settle(settled, search.churn, more, costless=False))
        other = looser.under(settled)
        if admitted(found) < admitted(other) and not disputed(settled, search.before, other):
            return looser, other
    return search, found


def admitted(found: Wanted) -> Set[JobKey]:
    return {key for key, target in found.targets.items() if target.replicas}


def disputed(settled: Snapshot, before: Mapping[JobKey, Grant], found: Wanted) -> bool:
    """Would somebody who waits take anything back while the plan is carried out, or in the end?"""
    return any(takers(replace(end, terms=settled.terms)) for end, _ in waves(found.snapshot, before, found.targets))


def grown(search: Search, found: Wanted, wide: Snapshot) -> Wanted:
    """The plan on all nodes that may be added, where somebody gets more by it; else the one on what there is.

    Either way the result carries these nodes: what was granted before may wait for them.
    """
    narrow = found.snapshot
    ceilings = (*search.rights.wider, *search.rights.claims)
    open_ = replace(narrow, nodes=wide.nodes, ceilings=ceilings)
    asked = worthwhile(open_, narrow, search.policy, found.targets)
    if asked is not None:
        rights = replace(search.rights, standing=search.rights.wider)
        more = replace(search, rights=rights).best(asked)
        if uses_more(narrow, found.targets, more.targets):
            # What limits the use of new nodes is nobody's lasting limit: reasons speak of the jobs as they are.
            said = {
                key: replace(t, barred=narrow.terms[key].barred, keeps=narrow.terms[key].keeps)
                for key, t in more.snapshot.terms.items()
            }
            return replace(more, snapshot=replace(more.snapshot, jobs=narrow.jobs, terms=said), first=found.targets)
    return replace(found, snapshot=open_)


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


def planned(snapshot: Snapshot, policy: Policy, rights: Rights, rule: Solve) -> tuple[Plan, Snapshot]:
    """Solve; where no job grows for which others are held back, nobody is held back. Second: what was solved."""
    if not rights.claims or not rights.growing:
        return rule(snapshot, policy), snapshot
    # Most claims come to nothing, and the relaxation mostly knows: a whole solve is saved.
    if rule is not solve or would_grow(snapshot, policy, rights.growing):
        plan = rule(snapshot, policy)
        targets = targets_of(snapshot, plan)
        if any(targets[key].replicas > have for key, have in rights.growing.items()):
            return plan, snapshot
    free = replace(snapshot, ceilings=rights.standing)
    return rule(free, policy), free


def without_moves(snapshot: Snapshot, keys: Iterable[JobKey]) -> Snapshot:
    """These jobs stay on the flavor where they are."""
    return replace(
        snapshot, terms={**snapshot.terms, **{key: replace(snapshot.terms[key], moves=False) for key in keys}}
    )


def keeping(snapshot: Snapshot, keys: Iterable[JobKey], yields: frozenset[JobKey]) -> Snapshot:
    """These jobs keep what they have, as far as there is room for it."""
    jobs = {job.key: job for job in snapshot.jobs}
    held = {key: fixed(held_steady(snapshot.terms[key], jobs[key], key in yields)) for key in keys}
    return replace(snapshot, terms={**snapshot.terms, **held})


def targets_of(snapshot: Snapshot, plan: Plan) -> dict[JobKey, Grant]:
    """What each job should end up with: the plan's, the current for pinned ones, nothing for the rest."""
    wanted: dict[JobKey, Allocation] = {allocation.key: allocation for allocation in plan.allocations}
    targets = {}
    for job in snapshot.jobs:
        terms = snapshot.terms[job.key]
        allocation = wanted.get(job.key)
        if not terms.candidate:
            targets[job.key] = NOTHING
        elif terms.pinned or plan.status is Status.KEPT or allocation is None:
            targets[job.key] = current_grant(job)
        elif allocation.flavor is None or allocation.replicas == 0:
            targets[job.key] = NOTHING
        else:
            targets[job.key] = Grant(allocation.flavor, allocation.replicas)
    return targets


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
    at: float | None = None
    waits = False
    for state, said in zip(states, outcomes, strict=True):
        at = soonest(at, state.recheck_at)
        has_nothing = snapshot.terms[said.key].candidate and not said.granted.replicas and said.reason not in HOPELESS
        waits = waits or has_nothing or said.granted != said.target or said.reason in UNSERVED
        if state.job.runs_until > snapshot.now:
            at = soonest(at, state.job.runs_until)
        at = soonest(at, unbound_until(state.job))
        if not state.finished:
            at = soonest(at, look_again(state.job, snapshot.now))
        if snapshot.terms[said.key].steady:
            at = soonest(at, churn.free_at(state.job))
    for flavor in sorted(snapshot.grace):
        if snapshot.grace[flavor] > snapshot.now:
            at = soonest(at, snapshot.grace[flavor])
    if waits:
        at = soonest(at, snapshot.now + WAITING_RECHECK_SECONDS)
    return None if at is None else max(1.0, at - snapshot.now)


def unbound_until(job: Job) -> float | None:
    waiting = [pod.created for pod in job.pods if pod.node is None and not pod.terminating]
    return min(waiting) + job.placement_timeout_seconds if waiting else None
