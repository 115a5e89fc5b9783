"""Why a job waits, and why it does not have its next step: a reason and a sentence with the numbers."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from apportion.model.eligibility import accepts, current_grant, eligible, request_on, room, selects
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Block, Job, JobKey
from apportion.model.plan import Allocation, Grant, Plan
from apportion.model.queues import Queue
from apportion.model.resources import Amounts, minus, times_fitting
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import place
from apportion.planner.accounting import holders
from apportion.planner.churn import Churn
from apportion.planner.queueing import cohort_members, usage
from apportion.planner.spending import Spending

DEFAULT_TERMS = Terms()
MOST_RULES = 5  # in a message
UNSERVED = ("NoCapacity", "QuotaExceeded", "BudgetExceeded", "PowerCapped", "NotWorthIt")
"""Reasons of jobs that would take more if they could."""
HOPELESS = ("NoCompatibleFlavor", "GangTooLarge")
"""Reasons of jobs that wait for another cluster: time alone brings them nothing."""


class Reasons:
    """Explains one round. `targets` are what the plan wants, `snapshot` carries the round's terms."""

    def __init__(self, snapshot: Snapshot, plan: Plan, targets: Mapping[JobKey, Grant], churn: Churn) -> None:
        self.snapshot = snapshot
        self.churn = churn
        self.targets = targets
        self.flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self.queues = {queue.name: queue for queue in snapshot.queues}
        self.cohorts = {q.name: group for group in cohort_members(snapshot.queues).values() for q in group}
        self.used = usage(snapshot.jobs, targets)
        self.used_by_never_borrowing = usage((job for job in snapshot.jobs if not job.preemptible), targets)
        self.spending = Spending(snapshot, targets)
        self._members: dict[object, tuple[Node, ...]] = {}
        self._slots: dict[object, int] = {}
        self._free: dict[object, int] = {}

    @cached_property
    def free(self) -> dict[str, dict[str, int]]:
        """By placeable node, what is left once everybody has the target."""
        return free_after(self.snapshot, self.targets)

    def waiting(self, job: Job) -> Block:
        """Why the job has nothing: the first of impossible, forbidden by quota or cap, resting, no room."""
        able = [flavor for flavor in self.snapshot.flavors if accepts(job, flavor)]
        if not able:
            return Block("NoCompatibleFlavor", self._no_flavor(job))
        reachable = [flavor for flavor in able if self._eligible(job, flavor)]
        if not reachable:
            return Block("NoCompatibleFlavor", self._no_node(job, able))
        large = [self._too_large(job, flavor) for flavor in reachable]
        possible = [flavor for flavor, why in zip(reachable, large, strict=True) if why is None]
        if not possible:
            return Block("GangTooLarge", next(why for why in large if why is not None))
        quota = [self._never_within_quota(job, flavor) for flavor in possible]
        possible = [flavor for flavor, why in zip(possible, quota, strict=True) if why is None]
        if not possible:
            return Block("QuotaExceeded", next(why for why in quota if why is not None))
        capped = [self.spending.never(job, flavor) for flavor in possible]
        possible = [flavor for flavor, why in zip(possible, capped, strict=True) if why is None]
        if not possible:
            return next(why for why in capped if why is not None)
        return self._no_room(job, possible)

    def next_step(self, job: Job) -> Block:
        """Why a running job does not have its next step."""
        target = self.targets[job.key]
        step = next((step for step in job.steps if step > target.replicas), None)
        have = f"{target.replicas} of at most {job.maximum}"
        if job.held and target.replicas != job.maximum:
            return Block("Held", f"{have}: the annotation apportion.dev/hold keeps it as it is")
        if step is None:
            return Block("AtMaximum", f"{have} on {target.flavor}")
        terms = self.snapshot.terms.get(job.key, DEFAULT_TERMS)
        if self._steady(job):
            return Block("ChurnBudgetSpent", f"{have}: {self.churn.why(job)}")
        if terms.pinned or not terms.grows:
            return Block("NotGrown", f"{have}: not changed for the moment")
        flavor = self.flavors.get(target.flavor)
        if flavor is None:
            return Block("FlavorGone", f"{have}: flavor {target.flavor} is not in the cluster any more")
        more = (step - target.replicas) * job.per_replica
        need = f"{have}: the next step ({step}) needs {more} more {target.flavor}"
        quota = self._quota_short(job, flavor, more)
        if quota is not None:
            return Block("QuotaExceeded", f"{need}; {quota}")
        capped = self.spending.short(job, flavor, more)
        if capped is not None:
            return Block(capped.reason, f"{need}; {capped.message}")
        if self._slots_left(job, flavor) < step - target.replicas:
            return Block("NoCapacity", f"{need}; {self._room_short(job, flavor, more)}")
        return Block("NotWorthIt", f"{need}; that would earn less than the restart costs, or than others gain by it")

    def patience(self, job: Job, flavor: str) -> float:
        """Seconds that its pods may wait for new nodes."""
        known = self.flavors.get(flavor)
        offer = known.provisionable if known is not None else None
        return max(job.placement_timeout_seconds, offer.timeout_seconds if offer is not None else 0.0)

    def _no_flavor(self, job: Job) -> str:
        wanted = ", ".join(choice.name for choice in job.flavors or ()) or "any flavor"
        there = ", ".join(f.name for f in self.snapshot.flavors if f.resource == job.resource)
        if not there:
            return f"needs {job.resource}; {self._not_counted(job.resource)}"
        return f"wants {wanted} with {job.resource}; the cluster has {there}"

    def _not_counted(self, resource: str) -> str:
        """Of a resource that no flavor has: a node may offer it all the same."""
        node = next((node for node in self.snapshot.nodes if node.allocatable.get(resource, 0) > 0), None)
        if node is None:
            return "no node of the cluster offers it"
        if node.flavor is None:
            return f"node {node.name} offers it, but {node.why_not}"
        return f"node {node.name} offers it, but counts as {node.flavor}: name a flavor for it in the AllocationPolicy"

    def _no_node(self, job: Job, able: Sequence[Flavor]) -> str:
        """All flavors exist; no placeable node of them takes the pod."""
        names = {flavor.name for flavor in able}
        nodes = [node for node in self.snapshot.nodes if node.flavor in names]
        if not nodes:
            return f"no node carries {', '.join(f.name for f in able)} now"
        matching = [node for node in nodes if job.nodes.labels_match(node.labels)]
        if not matching:
            rules = [f"{key}={value}" for key, value in job.nodes.selector]
            rules += [str(requirement) for requirement in job.nodes.requirements]
            rules += [str(r) for terms in job.nodes.alternatives for r in terms]
            shown, more = rules[:MOST_RULES], len(rules) - MOST_RULES
            shown += [f"{more} more"] * (more > 0)
            return f"none of {len(nodes)} nodes with {_carried(nodes)} matches {'; '.join(shown)}"
        tolerating = [node for node in matching if any(selects(job, f, node) for f in able if f.name == node.flavor)]
        if not tolerating:
            first = matching[0]
            taint = job.nodes.untolerated(first.taints, self.flavors[first.flavor or ""].tolerations)
            return f"the taint {taint} of the nodes with {_carried(matching)} is not tolerated"
        node = tolerating[0]
        there = f"none of {len(tolerating)} nodes with {_carried(tolerating)} is placeable"
        return f"{there} (node {node.name}: {node.why_not})"

    def _eligible(self, job: Job, flavor: Flavor) -> tuple[Node, ...]:
        question = (flavor.name, job.nodes, accepts(job, flavor))
        if question not in self._members:
            self._members[question] = eligible(job, flavor, self.snapshot.nodes)
        return self._members[question]

    def _too_large(self, job: Job, flavor: Flavor) -> str | None:
        """On an empty cluster the gang would not fit: one pod on no node, or the minimum not on all."""
        nodes = self._eligible(job, flavor)
        question = ("empty", flavor.name, job.nodes, accepts(job, flavor), tuple(sorted(job.requests.items())))
        if question not in self._slots:
            self._slots[question] = sum(times_fitting(node.allocatable, job.requests) for node in nodes)
        slots = self._slots[question]
        if slots >= job.minimum:
            return None
        if slots:
            return (
                f"needs {job.minimum} replicas of {job.per_replica} {flavor.name} at once; "
                f"the empty cluster has room for {slots}"
            )
        return self._one_node_short(job, flavor, nodes)

    def _one_node_short(self, job: Job, flavor: Flavor, nodes: Sequence[Node]) -> str:
        names = sorted(job.requests, key=lambda name: (name != flavor.resource, name))
        for name in names:
            amount, largest = job.requests[name], max(node.allocatable.get(name, 0) for node in nodes)
            if amount > largest:
                have = shown(name, largest)
                return f"needs {shown(name, amount)} {name} on one node; the largest with {flavor.name} has {have}"
        return f"needs {self._one(job, flavor)} on one node; no node with {flavor.name} has them together"

    def _queue(self, job: Job) -> Queue | None:
        return self.queues.get(job.queue_name) if job.queue_name is not None else None

    def _never_within_quota(self, job: Job, flavor: Flavor) -> str | None:
        queue = self._queue(job)
        if queue is None:
            return None
        quota = queue.quota(flavor.name)
        if quota is None:
            return f"queue {queue.name} lists no quota for {flavor.name}"
        need = job.minimum_accelerators
        most = self._most(queue, flavor.name) if job.preemptible else quota.nominal
        if need <= most:
            return None
        return f"needs {need} {flavor.name}; queue {queue.name} may use at most {most}"

    def _most(self, queue: Queue, flavor: str) -> int:
        """Nominal quota and what the cohort could lend at best."""
        quota = queue.quota(flavor)
        if quota is None:
            return 0
        lendable = 0
        for other in self.cohorts[queue.name]:
            theirs = other.quota(flavor)
            if theirs is not None and other.name != queue.name:
                limit = theirs.nominal if theirs.lending_limit is None else theirs.lending_limit
                lendable += min(theirs.nominal, limit)
        if quota.borrowing_limit is not None:
            lendable = min(lendable, quota.borrowing_limit)
        return quota.nominal + lendable

    def _quota_short(self, job: Job, flavor: Flavor, more: int) -> str | None:
        """Which quota refuses `more` accelerators now, in words; None: none does."""
        queue = self._queue(job)
        if queue is None:
            return None
        used = self.used.get((queue.name, flavor.name), 0)
        quota = queue.quota(flavor.name)
        nominal = quota.nominal if quota else 0
        most = self._most(queue, flavor.name)
        if not job.preemptible:
            own = self.used_by_never_borrowing.get((queue.name, flavor.name), 0)
            if own + more > nominal:
                return f"non-preemptible jobs never borrow; those of queue {queue.name} hold {own} of its {nominal}"
        if used + more > most:
            beyond = f" and may borrow {most - nominal}" if most > nominal else ""
            return f"queue {queue.name} holds {used} of its {nominal}{beyond}"
        group = self.cohorts[queue.name]
        reserved = held = 0
        for other in group:
            theirs = other.quota(flavor.name)
            share = theirs.nominal if theirs else 0
            use = self.used.get((other.name, flavor.name), 0)
            kept = 0 if theirs is None or theirs.lending_limit is None else max(0, share - theirs.lending_limit)
            held += use if other.name == queue.name else max(use, kept)
            reserved += share
        if held + more > reserved:
            return f"cohort {queue.cohort} holds {held} of its {reserved}"
        return None

    def _no_room(self, job: Job, possible: Sequence[Flavor]) -> Block:
        terms = self.snapshot.terms.get(job.key, DEFAULT_TERMS)
        open_ = [flavor for flavor in possible if flavor.name not in terms.barred]
        if not open_:
            names = ", ".join(flavor.name for flavor in possible)
            return Block("BackingOff", f"its pods could not be placed on {names}; tried again after the back-off")
        need = job.minimum_accelerators
        said: list[str] = []
        reason = "NoCapacity"
        if (kept := self._kept_by_churn(job, open_, need)) is not None:
            return kept
        for flavor in open_[:3]:
            quota, capped = self._quota_short(job, flavor, need), self.spending.short(job, flavor, need)
            if quota is not None:
                why = Block("QuotaExceeded", quota)
            else:
                why = capped or Block("NoCapacity", self._room_short(job, flavor, need))
            reason = reason if said else why.reason
            said.append(f"needs {need} {flavor.name}; {why.message}")
        return Block(reason, "; or ".join(said))

    def _steady(self, job: Job) -> bool:
        return self.snapshot.terms.get(job.key, DEFAULT_TERMS).steady

    def _kept_by_churn(self, job: Job, open_: Sequence[Flavor], need: int) -> Block | None:
        """Room that others have beyond their minimums, and may keep since the churn budget is spent."""
        for flavor in open_:
            surplus = sum(
                (current_grant(other).replicas - other.minimum) * other.per_replica
                for other in self.snapshot.jobs
                if self._steady(other) and current_grant(other).flavor == flavor.name
            )
            if surplus >= need and self._quota_short(job, flavor, need) is None:
                return Block(
                    "ChurnBudgetSpent",
                    f"needs {need} {flavor.name}; jobs have {surplus} beyond their minimums, and keep them until the "
                    "churn budget has room for restarts again",
                )
        return None

    def _room_short(self, job: Job, flavor: Flavor, more: int) -> str:
        """How much is free where the job may go, and who holds the rest."""
        question = (flavor.name, job.nodes, accepts(job, flavor))
        if question not in self._free:
            nodes = self._eligible(job, flavor)
            self._free[question] = sum(request_on(self.free[node.name], flavor) for node in nodes)
        free = self._free[question]
        if free >= more:
            if self._slots_left(job, flavor) * job.per_replica < more:
                return f"{free} are free, but not whole: a replica needs {self._one(job, flavor)} on one node"
            owned = self._held_back(job, flavor, more)
            return f"{free} are free, " + ("and kept for queues that own them" if owned else "and left in this round")
        held = holders(self.snapshot.jobs, self.targets, flavor.name)[:2]
        whose = ", ".join(f"{name} holds {count}" for name, count in held)
        return f"{free} are free" + (f"; {whose}" if whose else "")

    def _held_back(self, job: Job, flavor: Flavor, more: int) -> bool:
        """Whether its queue would borrow what another takes back in this round."""
        used = self.used.get((job.queue_name or "", flavor.name), 0)
        return any(
            used + more > ceiling.accelerators
            for ceiling in self.snapshot.ceilings
            if (ceiling.queue, ceiling.flavor) == (job.queue_name, flavor.name)
        )

    def _one(self, job: Job, flavor: Flavor) -> str:
        others = [name for name in ("cpu", "memory") if job.requests.get(name) and name != flavor.resource]
        parts = [f"{job.per_replica} {flavor.name}"]
        parts += [f"{shown(name, job.requests[name])} {name}" for name in others]
        return " with ".join((parts[0], " and ".join(parts[1:]))) if others else parts[0]

    def _slots_left(self, job: Job, flavor: Flavor) -> int:
        question = (flavor.name, job.nodes, accepts(job, flavor), tuple(sorted(job.requests.items())))
        if question not in self._slots:
            nodes = self._eligible(job, flavor)
            self._slots[question] = sum(times_fitting(self.free[node.name], job.requests) for node in nodes)
        return self._slots[question]


def _carried(nodes: Sequence[Node]) -> str:
    return ", ".join(sorted({node.flavor for node in nodes if node.flavor}))


def free_after(snapshot: Snapshot, targets: Mapping[JobKey, Grant]) -> dict[str, dict[str, int]]:
    """By placeable node, what is left once everybody has the target, as placed on paper."""
    free = room(snapshot)
    jobs = {job.key: job for job in snapshot.jobs}
    allocations = [Allocation(key, g.flavor, g.replicas) for key, g in targets.items() if g.replicas]
    for key, nodes in place(snapshot, allocations).placed.items():
        for node, count in nodes.items():
            if node in free:
                request: Amounts = {name: amount * count for name, amount in jobs[key].requests.items()}
                free[node] = minus(free[node], request)
    # What does not exist is not free.
    return free | {node.name: {} for node in snapshot.nodes if not node.exists}


def shown(resource: str, amount: int) -> str:
    """An amount as people write it: cores, GiB, pieces."""
    if resource == "cpu":
        return f"{amount / 1000:g}"
    if resource in ("memory", "ephemeral-storage"):
        return f"{amount / 2**30:.3g}Gi"
    return str(amount)
