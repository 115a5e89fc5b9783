"""Changes that somebody thinks about, made to a snapshot: nothing else is touched, and nothing is decided here.

`str(change)` is the sentence with which the command line asks for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from apportion.model.flavors import Node
from apportion.model.jobs import MOST_STEPS, Job, JobKey, steps_between
from apportion.model.queues import ANY_FLAVOR, Queue, Quota
from apportion.model.snapshot import Snapshot

NAMED = ("kubernetes.io/hostname", "metadata.name")
"""Labels, and a field that counts like one, that say which node it is."""
LIMITS = ("nominalQuota", "borrowingLimit", "lendingLimit")

Setting = int | bool | str | tuple[int, ...]


class CannotChange(Exception):
    """The change does not go with the snapshot; the text names what was expected."""


@dataclass(frozen=True)
class QuotaChange:
    """One limit of a queue on one flavor, in accelerators; None takes a borrowing or lending limit away."""

    queue: str
    limit: str
    flavor: str
    amount: int | None

    def __str__(self) -> str:
        amount = "none" if self.amount is None else self.amount
        return f"queue {self.queue} {self.limit} {self.flavor}={amount}"


@dataclass(frozen=True)
class WeightChange:
    queue: str
    weight: float

    def __str__(self) -> str:
        return f"queue {self.queue} weight={self.weight:g}"


@dataclass(frozen=True)
class AddedNodes:
    """Empty nodes with the labels, taints and allocatable amounts of an existing one."""

    count: int
    like: str

    def __str__(self) -> str:
        return f"add {self.count} node{'s' * (self.count != 1)} like {self.like}"


@dataclass(frozen=True)
class DrainedNode:
    """As after `kubectl drain`: it takes no pods, and those on it are gone."""

    node: str

    def __str__(self) -> str:
        return f"drain {self.node}"


@dataclass(frozen=True)
class JobChange:
    """Fields of a TrainingJob's spec, all at once: a pair like minReplicas and maxReplicas need not hold in between."""

    key: JobKey
    settings: tuple[tuple[str, Setting], ...]

    def __str__(self) -> str:
        return f"tj/{self.key} " + " ".join(f"{name}={written(value)}" for name, value in self.settings)


@dataclass(frozen=True)
class SubmittedJob:
    """A new job; `source` is the file that it comes from."""

    job: Job
    source: str

    def __str__(self) -> str:
        return f"submit {self.source}"


Change = QuotaChange | WeightChange | AddedNodes | DrainedNode | JobChange | SubmittedJob


def applied(snapshot: Snapshot, change: Change) -> Snapshot:
    """The snapshot with the change made. Raises CannotChange."""
    match change:
        case QuotaChange():
            return _with_queue(snapshot, _quota_changed(snapshot, change))
        case WeightChange():
            return _with_queue(snapshot, replace(queue_named(snapshot, change.queue), weight=change.weight))
        case AddedNodes():
            return _nodes_added(snapshot, change)
        case DrainedNode():
            return _drained(snapshot, change)
        case JobChange():
            return _with_job(snapshot, _job_changed(snapshot, change))
        case SubmittedJob():
            if any(job.key == change.job.key for job in snapshot.jobs):
                raise CannotChange(f"expected a new job: there is a TrainingJob {str(change.job.key)!r} already")
            jobs = sorted((*snapshot.jobs, change.job), key=lambda job: job.key)
            return replace(snapshot, jobs=tuple(jobs))


def written(value: Setting) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" where a known name is near, else what there is if that is short."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there is {', '.join(names)}" if 0 < len(names) <= 6 else ""


def queue_named(snapshot: Snapshot, name: str) -> Queue:
    for queue in snapshot.queues:
        if queue.name == name:
            return queue
    raise CannotChange(f"there is no Queue {name!r}{nearest(name, (queue.name for queue in snapshot.queues))}")


def node_named(snapshot: Snapshot, name: str) -> Node:
    for node in snapshot.nodes:
        if node.name == name:
            return node
    raise CannotChange(f"there is no node {name!r}{nearest(name, (node.name for node in snapshot.nodes))}")


def job_named(snapshot: Snapshot, name: str) -> Job:
    """By NAME where only one namespace has it, or by NAMESPACE/NAME."""
    found = [job for job in snapshot.jobs if name in (job.key.name, str(job.key))]
    if len(found) == 1:
        return found[0]
    if found:
        places = " or ".join(f"tj/{job.key}" for job in found[:3])
        raise CannotChange(f"expected the namespace too, {places}: {len(found)} TrainingJobs are named {name!r}")
    known = {str(job.key) for job in snapshot.jobs} | (
        {job.key.name for job in snapshot.jobs} if "/" not in name else set()
    )
    raise CannotChange(f"there is no TrainingJob {name!r}{nearest(name, known)}")


def _with_queue(snapshot: Snapshot, changed: Queue) -> Snapshot:
    return replace(snapshot, queues=tuple(changed if q.name == changed.name else q for q in snapshot.queues))


def _with_job(snapshot: Snapshot, changed: Job) -> Snapshot:
    return replace(snapshot, jobs=tuple(changed if job.key == changed.key else job for job in snapshot.jobs))


def _quota_changed(snapshot: Snapshot, change: QuotaChange) -> Queue:
    """A flavor that only "*" meant so far becomes an entry of its own with the limits of "*"."""
    queue = queue_named(snapshot, change.queue)
    listed = {quota.flavor for quota in queue.quotas}
    known = listed | {flavor.name for flavor in snapshot.flavors} | {ANY_FLAVOR}
    if change.flavor not in known:
        raise CannotChange(f"there is no flavor {change.flavor!r}{nearest(change.flavor, known - {ANY_FLAVOR})}")
    old = queue.quota(change.flavor) or Quota(change.flavor, 0)
    new = replace(old, flavor=change.flavor)
    match change.limit:
        case "borrowingLimit":
            new = replace(new, borrowing_limit=change.amount)
        case "lendingLimit":
            new = replace(new, lending_limit=change.amount)
        case _ if change.amount is not None:
            new = replace(new, nominal=change.amount)
    if new.lending_limit is not None and new.lending_limit > new.nominal:
        raise CannotChange(
            f"expected a lendingLimit of at most the nominalQuota: queue {queue.name} would lend {new.lending_limit} "
            f"of {new.nominal} {change.flavor}"
        )
    others = tuple(quota for quota in queue.quotas if quota.flavor != change.flavor)
    return replace(queue, quotas=(*others, new))


def _nodes_added(snapshot: Snapshot, change: AddedNodes) -> Snapshot:
    like = node_named(snapshot, change.like)
    if like.flavor is None:
        raise CannotChange(f"expected a node that jobs can use: {like.name} has nothing for them ({like.why_not})")
    taken = {node.name for node in snapshot.nodes}
    added: list[Node] = []
    number = 0
    while len(added) < change.count:
        number += 1
        name = f"{like.name}-added-{number}"
        if name not in taken:
            labels = {key: name if key in NAMED else value for key, value in like.labels.items()}
            added.append(replace(like, name=name, labels=labels, foreign={}, placeable=True, why_not="", uid=""))
    return replace(snapshot, nodes=tuple(sorted((*snapshot.nodes, *added), key=lambda node: node.name)))


def _drained(snapshot: Snapshot, change: DrainedNode) -> Snapshot:
    gone = replace(node_named(snapshot, change.node), placeable=False, why_not="is cordoned", foreign={})
    nodes = tuple(gone if node.name == gone.name else node for node in snapshot.nodes)
    jobs = tuple(replace(job, pods=tuple(pod for pod in job.pods if pod.node != gone.name)) for job in snapshot.jobs)
    return replace(snapshot, nodes=nodes, jobs=jobs)


def _job_changed(snapshot: Snapshot, change: JobChange) -> Job:
    """A spec that changed is a new generation, as in the API server: a failed job starts again, a back-off ends."""
    job = job_named(snapshot, str(change.key))
    if not job.steps:
        raise CannotChange(
            f"expected a valid TrainingJob: {job.key} is Invalid ({job.block.message if job.block else ''})"
        )
    settings = dict(change.settings)
    listed = job.listed or "replicaSteps" in settings
    job = replace(job, generation=job.generation + 1, steps=_steps(job, settings), listed=listed)
    for name, value in settings.items():
        match name, value:
            case "suspend", bool():
                job = replace(job, suspended=value)
            case "preemptible", bool():
                job = replace(job, preemptible=value)
            case "queueName", str():
                job = replace(job, queue_name=queue_named(snapshot, value).name)
            case "minRuntimeSeconds", int():
                job = replace(job, min_runtime_seconds=float(value))
            case "restartSeconds", int():
                job = replace(job, restart_seconds=float(value))
    return job


def _steps(job: Job, settings: dict[str, Setting]) -> tuple[int, ...]:
    """The admissible counts under a new minimum, maximum or list of steps.

    A job without a list has every number between. A list stays as it is until it is changed too: other ends alone add
    no step to it, and the API server refuses ends that leave one of its steps outside. The ends follow a new list.
    """
    low, high, steps = settings.get("minReplicas"), settings.get("maxReplicas"), settings.get("replicaSteps")
    given: Sequence[int] = steps if isinstance(steps, tuple) else job.steps
    least = low if isinstance(low, int) else given[0]
    most = high if isinstance(high, int) else given[-1]
    if least > most:
        raise CannotChange(f"expected minReplicas not above maxReplicas: {job.key} would have {least} and {most}")
    inside = [step for step in given if least <= step <= most]
    if isinstance(steps, tuple):
        if len(steps) > MOST_STEPS:
            raise CannotChange(f"expected at most {MOST_STEPS} replicaSteps: {job.key} would have {len(steps)}")
        if len(inside) < len(steps):
            raise CannotChange(
                f"expected replicaSteps between minReplicas and maxReplicas: {job.key} would have {written(steps)} "
                f"with {least} and {most}"
            )
        return steps
    if not job.listed:
        return steps_between(least, most)
    if (least, most) != (given[0], given[-1]):
        raise CannotChange(
            f"expected replicaSteps too: {job.key} has the steps {written(tuple(given))}, and keeps them; for example "
            f"replicaSteps={written(tuple(sorted({least, *inside, most})))}"
        )
    return job.steps
