"""What a job's pods and workload say of it, before anything is planned.

Each rule is a row of behaviour.md, "A TrainingJob's life". The result carries the job as the optimizer should see it (a
grant that did not place is given back first) and what must be said.
"""

from dataclasses import dataclass, replace

from apportion.model.eligibility import waiting_for_nodes
from apportion.model.jobs import Admission, Backoff, Block, Job, Pod, Workload
from apportion.model.snapshot import Terms

STABLE_READY_SECONDS = 30.0
FIRST_BACKOFF_SECONDS = 60.0
LONGEST_BACKOFF_SECONDS = 3600.0
REVERT_WINDOW_SECONDS = 600.0
MOST_REVERTS = 3
GAVE_BACK = ("PlacementFailed", "NodesNotProvided", "PodsRefused", "WorkloadRefused")
# The pods are somebody else's: they count as foreign, and the job holds nothing.
HANDS_OFF = ("WorkloadConflict", "WorkloadNotManaged")


@dataclass(frozen=True)
class State:
    """A job after its rules were applied.

    finished: "Succeeded" or "Failed", for the reason in `verdict`, which goes before all else that could be said.
    blocked: it cannot be decided on. degraded: it runs, but not as it should. touch: False where the workload must not
    be patched. stays: pods that do not come cost it no grant. recheck_at: when a rule may change by time alone.
    notices: one-time happenings worth an Event. steps: those of its object, where the job has one more for what it has.
    """

    job: Job
    finished: str = ""
    verdict: Block | None = None
    blocked: Block | None = None
    degraded: Block | None = None
    touch: bool = True
    stays: bool = False
    grows: bool = True
    barred: frozenset[str] = frozenset()
    recheck_at: float | None = None
    notices: tuple[Block, ...] = ()
    steps: tuple[int, ...] = ()

    @property
    def asks(self) -> Job:
        """The job once it has nothing: then no count is admissible but those of its object."""
        return replace(self.job, steps=self.steps) if self.steps else self.job


def assess(job: Job, now: float, in_grace: bool = False, stays: bool = False) -> State:
    """Apply the rules in their order: what ends a job, what blocks it, what degrades it.

    in_grace: much of its flavor vanished a moment ago; pods that find no room are waited for. stays: as in State.
    """
    job = forget_on_retry(job)
    ended = ended_as(job, now)
    if ended is not None:
        phase, verdict = ended
        return State(job, finished=phase, verdict=verdict)
    if job.block is not None:
        return State(job, blocked=job.block, touch=False)
    if job.suspended:
        return State(job, blocked=Block("Suspended", "spec.suspend is true"))
    state = State(job, stays=stays)
    state = state if in_grace else placement(state, now)
    state = refusals(state, now)
    state = failing(state, now)
    state = reverted(state, now)
    return with_barred(state, now)


def forget_on_retry(job: Job) -> Job:
    """A new value of apportion.dev/retry starts the job again; so does a new spec after a failure or in a back-off."""
    retried = bool(job.retried) and job.retried != job.memory.retried
    respecified = job.generation != job.observed_generation
    if respecified:
        # What was refused or could not be placed was another spec.
        job = replace(job, memory=replace(job.memory, backoff=()))
    if not (retried or (respecified and job.memory.phase == "Failed")):
        return job
    fresh = replace(
        job.memory, phase="", ready_restarts=0, reverts=(), backoff=(), retried=job.retried, queued_since=None
    )
    return replace(job, memory=fresh)


def ended_as(job: Job, now: float) -> tuple[str, Block] | None:
    if job.completed:
        return "Succeeded", Block("MarkedComplete", "the annotation apportion.dev/completed is true")
    if (job.memory.record.progress or 0.0) >= 1.0:
        return "Succeeded", Block("ProgressComplete", "its progress has reached 1")
    if job.memory.phase in ("Succeeded", "Failed"):
        said = next((c for c in job.memory.conditions if c.type == "Complete"), None)
        return job.memory.phase, Block(said.reason, said.message) if said else Block(job.memory.phase, "")
    if exited_zero(job):
        return "Succeeded", Block("ExitedZero", "the main container of every pod ended by itself with exit code 0")
    return None


def exited_zero(job: Job) -> bool:
    """Every current pod ended by itself with 0 after the last resize; nobody is judged while pods are leaving."""
    admission = job.admission
    if not job.complete_on_exit_zero or admission is None or admission.replicas == 0:
        return False
    if any(pod.terminating for pod in job.pods) or len(job.pods) != admission.replicas:
        return False
    return all(pod.exit_code == 0 and (pod.exited_at or 0.0) > admission.since for pod in job.pods)


def placement(state: State, now: float) -> State:
    """Granted pods that stay Pending too long give their grant back, and the flavor rests for a while."""
    job = state.job
    admission = job.admission
    waiting = [pod for pod in job.pods if pod.node is None and not pod.terminating and pod.phase == "Pending"]
    if admission is None or not waiting:
        return state
    expires = min(max(pod.created, admission.since) for pod in waiting) + job.placement_timeout_seconds
    if now < expires:
        return replace(state, recheck_at=soonest(state.recheck_at, expires))
    bound = sum(1 for pod in job.pods if pod.node is not None and not pod.terminating)
    said = next((pod.unschedulable for pod in waiting if pod.unschedulable), "no message from the scheduler")
    message = (
        f"{len(waiting)} of {admission.replicas} pods on {admission.flavor} stayed Pending for "
        f"{job.placement_timeout_seconds:.0f} s: {said}"
    )
    if admission.new_nodes:
        message = f"not all of {admission.new_nodes} new nodes came: {message}"
        return give_back(state, bound, Block("NodesNotProvided", message), now)
    return give_back(state, bound, Block("PlacementFailed", message), now)


def refusals(state: State, now: float) -> State:
    """The Deployment was refused, or a ResourceQuota or a webhook refuses its pods: only those that exist count."""
    job = state.job
    admission = job.admission
    if admission is None:
        return state
    existing = sum(1 for pod in job.pods if not pod.terminating)
    alive = min(existing, admission.replicas)
    if job.refusal:
        why = Block("WorkloadRefused", job.refusal)
        if not state.stays:
            return give_back(state, alive, why, now)
        # It keeps its grant, but its next write is as long in coming as that of any other job.
        memory = replace(job.memory, backoff=backed_off(job, admission.flavor, now))
        return replace(state, job=replace(job, memory=memory), degraded=why)
    said = job.memory.refused(admission.flavor, now)
    resting = Block(said.reason, said.message) if said is not None else None
    if resting is not None and state.stays:
        return replace(state, degraded=resting)
    if resting is not None and state.degraded is None and lacks_what_was_never_written(job.workload, admission):
        # It was to stay as it was, and is not any more: as if it were refused now.
        return give_back(state, alive, resting, now)
    if job.workload is None or not job.workload.refusal or existing >= admission.replicas:
        return state
    return give_back(state, existing, Block("PodsRefused", job.workload.refusal), now)


def lacks_what_was_never_written(workload: Workload | None, admission: Admission) -> bool:
    return workload is None or (workload.replicas < admission.replicas and workload.never_told(admission))


def give_back(state: State, alive: int, why: Block, now: float) -> State:
    """Reduce the grant to the largest step that `alive` pods fill, and leave its flavor out for a growing while.

    Who is to stay as it is would not get it again: it waits for its pods, and says so.
    """
    if state.stays:
        return replace(state, degraded=why)
    job = state.job
    admission = job.admission
    assert admission is not None
    kept = max((step for step in job.steps if step <= alive), default=0)
    reduced = Admission(admission.flavor, kept, admission.round, now) if kept else None
    memory = replace(job.memory, admission=reduced, backoff=backed_off(job, admission.flavor, now))
    return replace(state, job=replace(job, memory=memory), degraded=why)


def backed_off(job: Job, flavor: str, now: float) -> tuple[Backoff, ...]:
    """The job's back-offs after one more failure on `flavor`, by flavor."""
    before = next((entry for entry in job.memory.backoff if entry.flavor == flavor), None)
    failures = (before.failures if before else 0) + 1
    wait = min(FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 10), LONGEST_BACKOFF_SECONDS)
    others = (entry for entry in job.memory.backoff if entry.flavor != flavor)
    return tuple(sorted((*others, Backoff(flavor, failures, now + wait)), key=lambda e: e.flavor))


def with_barred(state: State, now: float) -> State:
    """Flavors in back-off are left out; a job that still runs on one stays, but does not grow there."""
    job = state.job
    if not job.memory.backoff:
        return state
    remembered = tuple(b for b in job.memory.backoff if now < b.until + LONGEST_BACKOFF_SECONDS)
    job = replace(job, memory=replace(job.memory, backoff=remembered))
    active = [entry for entry in remembered if now < entry.until]
    here = job.admission.flavor if job.admission else None
    recheck = state.recheck_at
    for entry in active:
        recheck = soonest(recheck, entry.until)
    degraded = state.degraded
    if degraded is None and active:
        said = next((c for c in job.memory.conditions if c.type == "Degraded" and c.status), None)
        if said is not None and said.reason in GAVE_BACK:
            degraded = Block(said.reason, said.message)
    return replace(
        state,
        job=job,
        degraded=degraded,
        grows=state.grows and all(entry.flavor != here for entry in active),
        barred=frozenset(entry.flavor for entry in active),
        recheck_at=recheck,
    )


def failing(state: State, now: float) -> State:
    """Crash loops: not grown; after failureLimit restarts without becoming ready: Failed."""
    job = state.job
    pods = [pod for pod in job.pods if not pod.terminating]
    worst = max((pod.restarts for pod in pods), default=0)
    baseline = min(job.memory.ready_restarts, worst)
    if pods and all(stably_ready(pod, now) for pod in pods):
        baseline = worst
    if baseline != job.memory.ready_restarts:
        job = replace(job, memory=replace(job.memory, ready_restarts=baseline))
        state = replace(state, job=job)
    if worst <= baseline or not any(crashing(pod) for pod in pods):
        return state
    failures = worst - baseline
    message = f"{failures} restarts without becoming ready (limit {job.failure_limit})"
    if failures >= job.failure_limit:
        return replace(state, finished="Failed", verdict=Block("FailureLimit", message))
    recheck = soonest(state.recheck_at, now + STABLE_READY_SECONDS)
    return replace(state, degraded=state.degraded or Block("WorkloadFailing", message), grows=False, recheck_at=recheck)


def crashing(pod: Pod) -> bool:
    return pod.waiting_reason == "CrashLoopBackOff" or (pod.exit_code is not None and pod.exit_code != 0)


def stably_ready(pod: Pod, now: float) -> bool:
    """Without a readiness probe a crashing container is Ready for a moment at each start: that does not count."""
    return pod.ready and (pod.restarts == 0 or (pod.ready_since or now) + STABLE_READY_SECONDS <= now)


def reverted(state: State, now: float) -> State:
    """Replicas or flavor that differ from what we last wrote: put back, and after three times in ten minutes left."""
    job = state.job
    workload, admission, memory = job.workload, job.admission, job.memory
    if workload is None or admission is None:
        return state
    recent = tuple(
        at for at in memory.reverts if len(memory.reverts) >= MOST_REVERTS or now - at < REVERT_WINDOW_SECONDS
    )
    change = what_changed(job)
    if change is None:
        return replace(
            state, job=replace(job, memory=replace(memory, reverts=() if len(recent) >= MOST_REVERTS else recent))
        )
    if len(recent) < MOST_REVERTS:
        recent = (*recent, now)
        notice = (Block("ReplicasReverted", change),)
        state = replace(state, notices=notice)
    job = replace(job, memory=replace(memory, reverts=recent))
    if len(recent) < MOST_REVERTS:
        return replace(state, job=job)
    who = workload.editor or "an unknown field manager"
    message = f"{change}; last written by {who}; not put back any more after {MOST_REVERTS} times"
    return replace(state, job=job, degraded=Block("FieldConflict", message), touch=False)


def what_changed(job: Job) -> str | None:
    """In words, what somebody else wrote over our last patch of this grant; None: nothing."""
    workload, admission = job.workload, job.admission
    if workload is None or admission is None or workload.never_told(admission):
        return None
    if workload.granted is not None and workload.replicas != workload.granted:
        return f"replicas of Deployment {workload.name} were changed from {workload.granted} to {workload.replicas}"
    if workload.granted and workload.flavor is not None and workload.flavor != admission.flavor:
        return f"the flavor {admission.flavor} was taken off the template of Deployment {workload.name}"
    return None


def soonest(left: float | None, right: float | None) -> float | None:
    return right if left is None else left if right is None else min(left, right)


def base_terms(state: State) -> Terms:
    """The terms that follow from the job alone, before queues and neighbours are looked at."""
    job = state.job
    running = job.admission is not None and job.admission.replicas > 0
    if state.finished or (state.blocked is not None and state.blocked.reason == "Suspended"):
        return Terms(candidate=False)
    if state.blocked is not None and state.blocked.reason in HANDS_OFF:
        return Terms(candidate=False)
    if state.blocked is not None or job.held or not state.touch:
        return Terms(candidate=running, pinned=running)
    here = job.admission.flavor if job.admission is not None else ""
    settled = not waiting_for_nodes(job)
    return Terms(grows=state.grows and settled, moves=settled, barred=state.barred - {here}, borrows=job.preemptible)
