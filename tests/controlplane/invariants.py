"""What must hold at every instant, and what must hold when all is at rest.

A decision is made on what was known a moment before: room and quotas count as they were at any time within the last
`lag_seconds`. Everything else holds at once, at each single change.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from controlplane import quotas
from controlplane.history import (
    FLAVOR,
    OPERATOR,
    Change,
    Grant,
    Obj,
    World,
    condition,
    grant_of,
    is_ready,
    owner_of,
    requested,
    sizer_of,
    steps_of,
    uid,
)

LAG_SECONDS = 5.0
TOLD_CHANGES = 40
# Less than the operator waits for silence before a round.
PAUSE_SECONDS = 0.1
ENDED = ("Succeeded", "Failed")
# A job loses its minimum for others, or its room is kept for it: room that is free a moment later is no contradiction.
FOR_OTHERS = ("Preempted", "WaitingForRoom")

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The values that something had within the last seconds."""

    def __init__(self, seconds: float, first: Value) -> None:
        self._seconds = seconds
        self._values = deque([(float("-inf"), first)])

    def note(self, at: float, value: Value) -> None:
        if value != self._values[-1][1]:
            self._values.append((at, value))

    def within(self, now: float) -> list[Value]:
        """Oldest first; the last one is the present."""
        while len(self._values) > 1 and self._values[1][0] < now - self._seconds:
            self._values.popleft()
        return [value for _, value in self._values]


def flavor_of(deployment: Obj) -> str:
    """The flavor of its last decision."""
    return str(deployment["metadata"].get("annotations", {}).get(FLAVOR, ""))


def step_of(old: Grant, new: Grant) -> str:
    if not old.replicas or not new.replicas:
        return "admitted" if new.replicas else "evicted"
    if old.flavor != new.flavor:
        return "moved"
    return "grown" if new.replicas > old.replicas else "shrunk"


@dataclass(frozen=True)
class Violation:
    """What was broken, with the changes that led there."""

    what: str
    after: tuple[str, ...]

    def __str__(self) -> str:
        return "\n  ".join([self.what, *self.after])


class Checker:
    """Sees changes in the order of their revisions."""

    def __init__(self, lag_seconds: float = LAG_SECONDS) -> None:
        self.world = World()
        self.violations: list[Violation] = []
        self.steps: Counter[str] = Counter()
        """How often a job was admitted, grown, shrunk, moved or lost everything."""
        self.rounds: set[int] = set()
        """Those that changed a grant."""
        self.before_round: list[Obj] = []
        """All objects as they were before the first grant of the newest round, or of the first that broke a rule: it
        saw them so, or nearly so."""
        self._granted_at = float("-inf")
        self._told: deque[Change] = deque(maxlen=TOLD_CHANGES)
        self._room = Recent[dict[str, int]](lag_seconds, {})
        self._queues = Recent[quotas.Queues](lag_seconds, {})

    def see(self, change: Change) -> None:
        self._keep(change)
        before = self.world.apply(change)
        self._told.append(change)
        if change.kind in ("Node", "Pod"):
            self._room.note(change.at, self.world.room())
        if change.kind == "Queue":
            self._queues.note(change.at, {name: queue["spec"] for name, queue in self.world.of("Queue").items()})
        if change.obj is None or change.listed:
            return
        if change.kind == "TrainingJob":
            self._say(change, self._of_job(before, change.obj, change.at))
        if change.kind == "Deployment":
            self._say(change, self._of_deployment(before, change.obj, change.at))

    def _keep(self, change: Change) -> None:
        """The grants of one round are written together, and between two rounds is a pause."""
        known = self.world.of(change.kind).get(change.name)
        if (
            change.kind != "TrainingJob"
            or change.obj is None
            or known is None
            or grant_of(known) == grant_of(change.obj)
        ):
            return
        if change.at - self._granted_at > PAUSE_SECONDS and not self.violations:
            self.before_round = list(self.world.dump())
        self._granted_at = change.at

    def tail(self) -> list[str]:
        """The last changes."""
        return [str(change) for change in self._told]

    def _say(self, change: Change, broken: Iterable[str]) -> None:
        for what in broken:
            self.violations.append(Violation(f"{change.kind} {change.name}: {what}", tuple(self.tail())))

    # --- at every instant --------------------------------------------------------------------------------------------

    def _of_job(self, before: Obj, job: Obj, now: float) -> Iterator[str]:
        old, new = grant_of(before) if before is not None else Grant(), grant_of(job)
        if new == old:
            return
        self.steps[step_of(old, new)] += 1
        self.rounds.add(job.get("status", {}).get("admission", {}).get("round", 0))
        spec = self.world.spec_decided_on(job)
        if 0 < new.replicas < spec.get("minReplicas", 1):
            yield f"granted {new.replicas}, below the gang of {spec['minReplicas']}"
        elif new.replicas and new.replicas not in steps_of(spec):
            yield f"granted {new.replicas}, which is none of its steps {steps_of(spec)}"
        if new.replicas < old.replicas:
            yield from self._unexplained(job, old, new, now)

    def _unexplained(self, job: Obj, old: Grant, new: Grant, now: float) -> Iterator[str]:
        """Whoever loses something is told why, and nobody loses everything where there is room for it."""
        admitted = condition(job, "Admitted")
        reason = admitted.get("reason", "")
        if not job.get("status", {}).get("message") or not reason:
            yield f"lost {old.replicas - new.replicas} replicas, and its status does not say why"
        if new.replicas:
            return
        spec = self.world.spec_decided_on(job)
        if admitted.get("status") != "False":
            yield "has nothing, and its status does not say that it is not admitted"
        if self._may_be_at_zero(job, spec) or reason in FOR_OTHERS:
            return
        least = spec.get("minReplicas", 1) * self.world.accelerators(job)
        held = quotas.uses(self.world)
        total = sum(use.accelerators for use in held if use.flavor == old.flavor)
        room = min(room.get(old.flavor, 0) for room in self._room.within(now))
        mine = quotas.Use(spec.get("queueName", quotas.DEFAULT), old.flavor, least, not spec.get("preemptible", True))
        fits = not any(quotas.breach(q, [*held, mine], mine.queue, old.flavor) for q in self._queues.within(now))
        if total + least <= room and fits:
            yield f"lost all its replicas ({reason}), though {room - total} {old.flavor} are free and it needs {least}"

    @staticmethod
    def _may_be_at_zero(job: Obj, spec: Obj) -> bool:
        """Suspended, ended, being deleted, or something is wrong with it."""
        return (
            bool(spec.get("suspend"))
            or job.get("status", {}).get("phase") in ENDED
            or "deletionTimestamp" in job["metadata"]
            or any(condition(job, kind).get("status") == "True" for kind in ("Degraded", "Invalid"))
        )

    def _of_deployment(self, before: Obj, deployment: Obj, now: float) -> Iterator[str]:
        """The operator sizes a Deployment to what the job's status says at that very instant."""
        replicas = deployment["spec"].get("replicas", 1)
        had = (before["spec"].get("replicas", 1), flavor_of(before)) if before is not None else (0, "")
        job = self.world.job_of(deployment)
        if had == (replicas, flavor_of(deployment)) or sizer_of(deployment) != OPERATOR or job is None:
            return
        grant = grant_of(job)
        if replicas == 0:
            if grant.replicas and not self._moves(before, grant):
                yield f"sized to 0, while its job is granted {grant.replicas} on {grant.flavor}"
            return
        if grant != Grant(flavor_of(deployment), replicas):
            yield f"sized to {replicas}, while its job is granted {grant.replicas} on {grant.flavor or 'nothing'}"
        if replicas > had[0] or flavor_of(deployment) != had[1]:
            yield from self._passed_limits(job, grant, now)

    def _passed_limits(self, job: Obj, grant: Grant, now: float) -> Iterator[str]:
        """Pods that start must find room and quota, whatever others were granted.

        Not at each status: those of one round follow each other, and only then Deployments are sized.
        """
        held = quotas.uses(self.world)
        total = sum(use.accelerators for use in held if use.flavor == grant.flavor)
        room = max(room.get(grant.flavor, 0) for room in self._room.within(now))
        if total > room:
            yield f"{total} {grant.flavor} are granted, {room} exist"
        queue = self.world.spec_decided_on(job).get("queueName", quotas.DEFAULT)
        broken = [quotas.breach(queues, held, queue, grant.flavor) for queues in self._queues.within(now)]
        if all(broken):
            yield broken[-1]

    @staticmethod
    def _moves(before: Obj, grant: Grant) -> bool:
        """A Deployment may go through 0 to another flavor: a referenced one always does."""
        template = (before or {}).get("spec", {}).get("template", {}).get("metadata", {})
        return bool(template.get("annotations", {}).get(FLAVOR) != grant.flavor)

    # --- at rest -----------------------------------------------------------------------------------------------------

    def at_rest(self) -> list[str]:
        """What is not as it should be when nothing changes any more."""
        rules: tuple[Callable[[], Iterator[str]], ...] = (self._unsettled, self._overdrawn, self._orphans, self._idle)
        return [what for rule in rules for what in rule()]

    def _unsettled(self) -> Iterator[str]:
        """Each job has as many ready pods as it was granted, and its Deployment says so."""
        for name, job in self.world.of("TrainingJob").items():
            grant, deployment = grant_of(job), self.world.deployment_of(job)
            size = deployment["spec"].get("replicas", 1) if deployment is not None else 0
            ready = sum(1 for pod in self._pods(deployment) if is_ready(pod)) if deployment is not None else 0
            if size != grant.replicas:
                yield f"TrainingJob {name}: granted {grant.replicas}, its Deployment has {size}"
            elif ready != grant.replicas:
                yield f"TrainingJob {name}: granted {grant.replicas}, {ready} pods are ready"
            if job.get("status", {}).get("observedGeneration") != job["metadata"]["generation"]:
                yield f"TrainingJob {name}: its status is of an older spec"

    def _pods(self, deployment: Obj) -> Iterator[Obj]:
        """Those of its ReplicaSets: an older Deployment of its name may have left others behind."""
        for pod in self.world.of("Pod").values():
            made_by = owner_of(pod)
            replica_set = self.world.of("ReplicaSet").get(made_by["name"]) if made_by is not None else None
            above = owner_of(replica_set) if replica_set is not None else None
            if above is not None and above["uid"] == uid(deployment):
                yield pod

    def _overdrawn(self) -> Iterator[str]:
        room, held = self.world.room(), quotas.uses(self.world)
        queues = {name: queue["spec"] for name, queue in self.world.of("Queue").items()}
        for flavor in sorted({use.flavor for use in held}):
            total = sum(use.accelerators for use in held if use.flavor == flavor)
            if total > room.get(flavor, 0):
                yield f"{total} {flavor} are granted, {room.get(flavor, 0)} exist"
            for queue in sorted({use.queue for use in held if use.flavor == flavor}):
                what = quotas.breach(queues, held, queue, flavor)
                if what and self._has_surplus(queues, queue, flavor):
                    yield what

    def _has_surplus(self, queues: quotas.Queues, name: str, flavor: str) -> bool:
        """Of a queue beyond its own quota: a job above its minimum. Minimums outlast a quota that was cut."""
        queue = queues.get(name)
        own = (quotas.quota(queue, flavor) or {}).get("nominalQuota", 0) if queue is not None else 0
        used, surplus = 0, False
        for job, grant in self.world.granted():
            if grant.flavor == flavor and job["spec"].get("queueName", quotas.DEFAULT) == name:
                used += grant.replicas * self.world.accelerators(job)
                surplus = surplus or grant.replicas > job["spec"].get("minReplicas", 1)
        return surplus and used > own

    def _orphans(self) -> Iterator[str]:
        jobs = {uid(job) for job in self.world.of("TrainingJob").values()}
        for name, deployment in self.world.of("Deployment").items():
            owner = owner_of(deployment)
            if owner is not None and owner["uid"] not in jobs:
                yield f"Deployment {name}: its job is gone"

    def _idle(self) -> Iterator[str]:
        """Nothing is at zero that would fit: a single job's pods are alike, so what fits is a matter of counting."""
        queues = {name: queue["spec"] for name, queue in self.world.of("Queue").items()}
        held = quotas.uses(self.world)
        for name, job in self.world.of("TrainingJob").items():
            template = job["spec"].get("template")
            if grant_of(job).replicas or template is None or self._may_be_at_zero(job, job["spec"]):
                continue
            each, least = requested(template["spec"]), job["spec"].get("minReplicas", 1)
            queue, firm = job["spec"].get("queueName", quotas.DEFAULT), not job["spec"].get("preemptible", True)
            for flavor in self.world.room():
                fits = sum(max(0, free) // each for free in self.world.free(flavor)) >= least
                mine = quotas.Use(queue, flavor, each * least, firm)
                if fits and not quotas.breach(queues, [*held, mine], queue, flavor):
                    yield f"TrainingJob {name}: waits, though {least} pods of {each} {flavor} would fit"
