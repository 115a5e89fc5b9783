"""The plan of a round: solve, look at what carrying it out would come to, and solve again without what is of no use."""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace

from apportion.model.eligibility import current_grant
from apportion.model.jobs import JobKey
from apportion.model.plan import NOTHING, Allocation, Grant, Plan, Status
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import solve, would_grow
from apportion.planner.churn import Changes, Churn, beyond, fixed, held_steady
from apportion.planner.lending import Lending
from apportion.planner.lifecycle import State
from apportion.planner.loosening import keeps_waiting
from apportion.planner.provisioning import uses_more, worthwhile
from apportion.planner.rehearsing import moves_in_vain, waves
from apportion.planner.terms import Rights, settle, takers
from apportion.planner.waves import blocked_moves, moving

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
            if stays := self._useless(settled, targets):
                useless += 1
                settled = without_moves(settled, stays if useless < MOST_USELESS else self._running)
            elif beyond_budget := beyond(self.churn, settled, Changes(self.before, targets)):
                settled = keeping(settled, beyond_budget, self.rights.yields)
            else:
                narrowed = _differing(asked, settled.terms)
                return Wanted(
                    settled, solved, self.states, self.rights.taken, plan, targets, self.churn, narrowed=narrowed
                )

    def _useless(self, settled: Snapshot, targets: Mapping[JobKey, Grant]) -> Set[JobKey]:
        """Who shall not move in the next plan; nobody: all moves of these targets are of use.

        Where some wait for each other only those may move who do not: full clusters have very many such circles, and
        who else would move in their place is mostly part of another one.
        """
        if not (blocked := blocked_moves(settled, self.before, targets)):
            return moves_in_vain(settled, self.before, targets)
        return self._running - moving(self.before, targets).keys() | blocked

    @property
    def _running(self) -> Set[JobKey]:
        return {key for key, grant in self.before.items() if grant.replicas}


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
