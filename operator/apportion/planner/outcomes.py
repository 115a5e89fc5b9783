"""What is said of each job after a round: phase, conditions, message, and the memory for the next round."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from apportion.model.eligibility import waiting_for_nodes
from apportion.model.jobs import Admission, Block, Condition, Displaced, Job, JobKey
from apportion.model.plan import Clearing, Grant, Outcome
from apportion.planner.churn import remembered
from apportion.planner.defragmentation import displaced
from apportion.planner.explain import Reasons
from apportion.planner.lifecycle import State
from apportion.planner.targets import at_risk, throughput

MOST_NAMED = 3
SHOWN_ALWAYS = ("Admitted", "Running")


@dataclass(frozen=True)
class Round:
    """What all outcomes of a round share. `observing`: decide and explain, grant nothing.

    new_nodes: how many nodes that do not exist the grants of this round need. clearing: who moves for which gang.
    """

    number: int
    now: float
    reasons: Reasons
    taken: Mapping[JobKey, str]
    new_nodes: Mapping[JobKey, int]
    observing: bool = False
    clearing: Clearing | None = None

    def makes_room(self, key: JobKey) -> bool:
        """Does the job give up places in this round?"""
        departures = () if self.clearing is None or self.observing else self.clearing.departures
        return any(departure.key == key for departure in departures)


def outcome(round_: Round, state: State, before: Grant, target: Grant, granted: Grant) -> Outcome:
    """`before` is what the API server says was granted, `target` what the plan wants, `granted` what is granted now."""
    job = state.job
    admission = _admission(round_, job, before, granted)
    changed = granted != before
    restarted = changed and before.replicas > 0 and not state.finished and state.blocked is None
    why = _why(round_, state, before, target, granted)
    ready = sum(1 for pod in job.pods if pod.ready and not pod.terminating)
    phase = _phase(state, granted, ready, changed)
    memory = replace(
        job.memory,
        phase=phase,
        admission=admission,
        replicas=ready,
        restarts=job.memory.restarts + (1 if restarted else 0),
        restarted_at=remembered(job.memory.restarted_at, round_.now) if restarted else job.memory.restarted_at,
        displaced=_displaced(round_, state, target, granted),
        queued_since=job.memory.queued_since if job.memory.queued_since is not None else _queued(job, round_.now),
        message=why.message,
        conditions=_conditions(round_, state, why, phase, granted),
        throughput=throughput(job, granted, round_.reasons.flavors),
    )
    notices = (*state.notices, *job.warnings) if job.memory.phase == "" else state.notices
    return Outcome(job.key, target, granted, before, why.reason, memory, touch=_touch(round_, state), notices=notices)


def _displaced(round_: Round, state: State, target: Grant, granted: Grant) -> Displaced | None:
    """Remembered from when it makes room until it has all that the plan wants for it, or somebody with a right took
    its place."""
    job = state.job
    if round_.clearing is not None and round_.makes_room(job.key):
        return displaced(job, str(round_.clearing.gang), round_.now)
    ended = state.finished or state.blocked is not None or job.key in round_.taken
    return None if ended or (granted.replicas and granted == target) else job.memory.displaced


def _aside(job: Job, by: str, target: Grant, granted: Grant) -> Block:
    """A job that made room: what it has meanwhile, and what comes."""
    has = f"has {granted.replicas} on {granted.flavor}, and" if granted.replicas else "has nothing now, and"
    gets = f"gets {target.replicas} on {target.flavor} once that one has its place"
    if not target.replicas:
        gets = f"gets at least its minimum of {job.minimum} as soon as there is room"
    return Block("MovedToMakeRoom", f"moved to make room for {by}: {has} {gets}")


def _touch(round_: Round, state: State) -> bool:
    return state.touch and not round_.observing


def _queued(job: Job, now: float) -> float:
    """A job queues from its creation; one that was started again, from then."""
    return now if job.memory.retried else job.created


def _admission(round_: Round, job: Job, before: Grant, granted: Grant) -> Admission | None:
    if granted.replicas == 0:
        return None
    old = job.admission
    waits = old is not None and old.flavor == granted.flavor and waiting_for_nodes(job) > 0
    still = old.new_nodes if old is not None and waits else 0
    if granted == before:
        return old if old is None or old.new_nodes == still else replace(old, new_nodes=still)
    asked = max(still, round_.new_nodes.get(job.key, 0))
    return Admission(granted.flavor, granted.replicas, round_.number, round_.now, asked)


def _why(round_: Round, state: State, before: Grant, target: Grant, granted: Grant) -> Block:
    """The one sentence for `kubectl get tj -o wide`."""
    job = state.job
    if state.verdict is not None:
        return state.verdict
    if state.blocked is not None:
        return state.blocked
    if round_.observing and target != granted:
        wish = f"{target.replicas} on {target.flavor}" if target.replicas else "nothing"
        return Block("Observed", f"has {granted.replicas}; would get {wish} if the policy's mode were Enforce")
    if state.degraded is not None:
        return state.degraded
    aside = _displaced(round_, state, target, granted)
    if aside is not None and (granted.replicas == 0 or granted != target):
        return _aside(job, aside.by, target, granted)
    if granted.replicas == 0:
        if job.held:
            return Block("Held", "the annotation apportion.dev/hold keeps it at 0")
        if round_.clearing is not None and job.key == round_.clearing.gang:
            return _cleared_for(round_.clearing)
        if target.replicas:
            return Block(
                "WaitingForRoom", f"gets {target.replicas} on {target.flavor} as soon as the room for all comes free"
            )
        if before.replicas and job.key in round_.taken:
            return Block("Preempted", f"{round_.taken[job.key]}; it keeps its place in the queue")
        return round_.reasons.waiting(state.asks)
    if (coming := _for_nodes(round_, job, before, granted)) is not None:
        return coming
    if target.replicas > granted.replicas or target.flavor != granted.flavor:
        return Block(
            "WaitingForRoom",
            f"{granted.replicas} on {granted.flavor}; gets {target.replicas} on {target.flavor} "
            "as soon as the room for all comes free",
        )
    if (
        any(goal.flavor == granted.flavor for goal in job.enough)
        and at_risk(job, granted, round_.reasons.flavors, round_.now) is None
    ):
        return Block("TargetReached", f"{granted.replicas} on {granted.flavor} reach the job's target")
    return round_.reasons.next_step(job)


def _cleared_for(clearing: Clearing) -> Block:
    """Whom the gang waits for, and what that costs."""
    names = sorted(str(departure.key) for departure in clearing.departures)
    who = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} others" if len(names) > MOST_NAMED else "")
    grant = clearing.grant
    return Block(
        "WaitingForRoom",
        f"gets {grant.replicas} on {grant.flavor} once {who} made room; "
        f"the restarts cost {clearing.cost:g} accelerator-seconds",
    )


def _for_nodes(round_: Round, job: Job, before: Grant, granted: Grant) -> Block | None:
    """How many pods wait for how many new nodes, and how long they may; None: no pod does."""
    admission = _admission(round_, job, before, granted)
    if admission is None or not admission.new_nodes:
        return None
    missing = waiting_for_nodes(replace(job, memory=replace(job.memory, admission=admission)))
    if not missing:
        return None
    nodes = f"{admission.new_nodes} new node{'s' * (admission.new_nodes != 1)}"
    until = round_.reasons.patience(job, granted.flavor)
    return Block(
        "WaitingForNodes",
        f"{missing} of {granted.replicas} pods wait for up to {nodes} with {granted.flavor}; "
        f"given back if they do not come within {until:.0f} s",
    )


def _phase(state: State, granted: Grant, ready: int, changed: bool) -> str:
    if state.finished:
        return state.finished
    if state.blocked is not None:
        if state.blocked.reason == "Suspended":
            return "Suspended"
        if state.blocked.reason == "Invalid":
            return "Invalid"
    if granted.replicas == 0:
        return "Pending"
    leaving = any(pod.terminating for pod in state.job.pods)
    extra = sum(1 for pod in state.job.pods if not pod.terminating) > granted.replicas
    if not changed and ready >= granted.replicas and not leaving and not extra:
        return "Running"
    ran = state.job.memory.phase in ("Running", "Resizing")
    return "Resizing" if ran else "Starting"


def _conditions(round_: Round, state: State, why: Block, phase: str, granted: Grant) -> tuple[Condition, ...]:
    admitted = granted.replicas > 0
    running = phase == "Running"
    wanted: dict[str, tuple[bool, str, str]] = {
        "Admitted": (admitted, *_admitted(state, why, granted)),
        "Running": (running, *_running(why, granted, phase)),
        "Degraded": _degraded(state, granted),
        "Invalid": _invalid(state),
        "Complete": _complete(state),
        "Measured": _measured(state),
        "DeadlineAtRisk": _at_risk(round_, state, granted, by_deadline=True),
        "ThroughputAtRisk": _at_risk(round_, state, granted, by_deadline=False),
    }
    known = {condition.type: condition for condition in state.job.memory.conditions}
    result = []
    for type_, (status, reason, message) in wanted.items():
        old = known.get(type_)
        shown = type_ in SHOWN_ALWAYS or (type_ == "Measured" and state.job.unmeasured is not None)
        if not status and old is None and not shown:
            continue
        since = old.since if old is not None and old.status == status else round_.now
        result.append(Condition(type_, status, reason, message, since))
    return tuple(result)


def _admitted(state: State, why: Block, granted: Grant) -> tuple[str, str]:
    if granted.replicas:
        return "Admitted", f"{granted.replicas} on {granted.flavor}"
    return why.reason, why.message


def _running(why: Block, granted: Grant, phase: str) -> tuple[str, str]:
    if phase == "Running":
        return "AllPodsReady", f"{granted.replicas} pods are ready"
    if granted.replicas and why.reason == "WaitingForNodes":
        return why.reason, why.message
    if granted.replicas:
        return "PodsNotReady", f"not all of {granted.replicas} pods are ready"
    return "NotAdmitted", "no replicas are granted"


def _degraded(state: State, granted: Grant) -> tuple[bool, str, str]:
    if state.finished:
        return False, "Ended", "the job has ended"
    if state.degraded is not None:
        return True, state.degraded.reason, state.degraded.message
    if state.blocked is not None and granted.replicas and state.blocked.reason != "Suspended":
        return True, state.blocked.reason, state.blocked.message
    return False, "AsExpected", "nothing is wrong"


def _invalid(state: State) -> tuple[bool, str, str]:
    if state.blocked is not None and state.blocked.reason == "Invalid":
        return True, "InvalidSpec", state.blocked.message
    return False, "Valid", "the spec can be used"


def _measured(state: State) -> tuple[bool, str, str]:
    """Shown where the job says how it is measured: allocation goes on by what is known."""
    if state.job.unmeasured is not None:
        return False, state.job.unmeasured.reason, state.job.unmeasured.message
    if not state.job.memory.record.points:
        return False, "NotYet", "no rate was measured so far"
    return True, "AsAsked", "its rate is measured"


def _at_risk(round_: Round, state: State, granted: Grant, by_deadline: bool) -> tuple[bool, str, str]:
    target = state.job.target
    if target is None or (target.deadline is not None) != by_deadline:
        return False, "NoTarget", "the job has no such target"
    if state.finished:
        return False, "Ended", "the job has ended"
    risk = at_risk(state.job, granted, round_.reasons.flavors, round_.now)
    if risk is None:
        return False, "OnTarget", "the target is within reach"
    return True, risk.reason, risk.message


def _complete(state: State) -> tuple[bool, str, str]:
    if state.finished and state.verdict is not None:
        return True, state.verdict.reason, state.verdict.message
    return False, "NotComplete", "the job has not ended"
