"""The cluster as the operator knows it: facts by kind, kept current by events, frozen into a `Snapshot`.

One writer (the event loop). Objects are parsed once, when they come in; `snapshot` only joins facts.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from apportion.api import InvalidObject
from apportion.kube import facts, kinds
from apportion.kube.belonging import Belonging, Claim
from apportion.kube.facts import (
    AutoscalerFacts,
    DeploymentFacts,
    PriorityClassFacts,
)
from apportion.kube.jobs import JobFacts, Surroundings, job_facts, translate
from apportion.kube.kinds import Kind
from apportion.kube.nodes import landscape
from apportion.kube.policies import last_flavors, policy_of, queue_of
from apportion.kube.raw import Raw, integer, mapping, text, texts
from apportion.learning import informed
from apportion.model.jobs import Block, Job, JobKey
from apportion.model.measured import Record
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: identity, version, and what was read of it. `value` None: read, and of no consequence.

    `raw` is kept only of the few whose status is compared with it; thousands of objects live here.
    """

    uid: str
    version: int
    value: Any
    raw: Raw | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What was measured of the job with this uid since its status was written, and why it cannot be measured now."""

    uid: str
    record: Record
    trouble: Block | None = None


def _keep(raw: Raw) -> Raw:
    return {
        **raw,
        "metadata": {key: value for key, value in mapping(raw, "metadata").items() if key != "managedFields"},
    }


READERS: Mapping[str, Callable[[Raw], Any]] = {
    kinds.NODE.name: facts.node_facts,
    kinds.POD.name: facts.pod_facts,
    kinds.DEPLOYMENT.name: facts.deployment_facts,
    kinds.AUTOSCALER.name: facts.autoscaler_facts,
    kinds.PRIORITY_CLASS.name: facts.priority_class_facts,
    kinds.NAMESPACE.name: lambda raw: texts(raw, "metadata", "labels"),
    kinds.JOB.name: job_facts,
    kinds.QUEUE_KIND.name: queue_of,
    kinds.POLICY.name: policy_of,
}
KEEPS_RAW = frozenset({kinds.QUEUE_KIND.name, kinds.POLICY.name})


@dataclass
class Cluster:
    """Facts by kind and (namespace, name)."""

    entries: dict[str, dict[Key, Entry]] = field(default_factory=lambda: defaultdict(dict))
    rejected: dict[tuple[str, Key], str] = field(default_factory=dict)
    refusals: dict[JobKey, str] = field(default_factory=dict)
    """Of the last round: what the API server said to Deployments that it does not take."""
    observed: dict[JobKey, Observed] = field(default_factory=dict)
    """What is known of jobs beside the objects: what measures them has put it here."""

    def apply(self, kind: Kind, raw: Raw, deleted: bool = False) -> bool:
        """Take in one object. True if a decision could depend on the difference; our own status writes do not count.

        The same version comes up to three times: as the reply to a write, by the watch, and in each audit.
        """
        key = _key(kind, raw)
        known = self.entries[kind.name]
        old = known.get(key)
        uid, version = text(raw, "metadata", "uid"), _version(raw)
        if deleted:
            if old is None or (old.uid != uid and uid):
                return False
            del known[key]
            self.rejected.pop((kind.name, key), None)
            return True
        if old is not None and old.uid == uid and version and version <= old.version:
            return False
        try:
            value = READERS[kind.name](raw)
            self.rejected.pop((kind.name, key), None)
        except InvalidObject as invalid:
            self.rejected[kind.name, key] = str(invalid)
            value = old.value if old is not None else None
        known[key] = Entry(uid, version, value, _keep(raw) if kind.name in KEEPS_RAW else None)
        return old is None or old.uid != uid or matters(kind, old.value, value)

    async def replace_all(self, kind: Kind, pages: AsyncIterator[Iterable[Raw]]) -> bool:
        """Take in a whole LIST: what is not in it is gone. True if anything mattered.

        Page by page, as all objects at once would take more memory than what is kept of them. What an event brought
        in the meantime may be younger than the LIST: it stays.
        """
        known = self.entries[kind.name]
        unseen = dict(known)
        changed = False
        async for page in pages:
            for raw in page:
                unseen.pop(_key(kind, raw), None)
                changed = self.apply(kind, raw) or changed
        for key in [key for key, entry in unseen.items() if known.get(key) is entry]:
            del known[key]
            self.rejected.pop((kind.name, key), None)
            changed = True
        return changed

    def values(self, kind: Kind) -> list[Any]:
        return [entry.value for entry in self.entries[kind.name].values() if entry.value is not None]

    def raw(self, kind: Kind, namespace: str, name: str) -> Raw | None:
        entry = self.entries[kind.name].get((namespace, name))
        return entry.raw if entry is not None else None

    def policy(self) -> Policy:
        """The AllocationPolicy, or the defaults where there is none that can be read."""
        return next(iter(self.values(kinds.POLICY)), Policy())

    def deployment(self, job: JobFacts) -> DeploymentFacts | None:
        """The job's Deployment: the one it owns, or the one it names."""
        entry = self.entries[kinds.DEPLOYMENT.name].get((job.key.namespace, job.reference or job.key.name))
        found: DeploymentFacts | None = entry.value if entry is not None else None
        return found

    def snapshot(self, now: float, grace: Mapping[str, float] | None = None) -> Snapshot:
        """Join the facts. Pure in them: the same facts and time give an equal snapshot."""
        return _Join(self, self.policy()).snapshot(now, dict(grace or {}))


def _key(kind: Kind, raw: Raw) -> Key:
    return text(raw, "metadata", "namespace") if kind.namespaced else "", text(raw, "metadata", "name")


def _version(raw: Raw) -> int:
    """resourceVersion as a number: only for telling older from newer of one uid, as Kubernetes 1.35 allows."""
    version = text(raw, "metadata", "resourceVersion")
    return int(version) if version.isdecimal() else 0


def _round(decision: str | None) -> int:
    """A decision that a Deployment carries: no round has its number again, or a stale patch could pass its test."""
    return int(decision) if decision is not None and decision.isdecimal() and len(decision) < 16 else 0


def matters(kind: Kind, old: Any, new: Any) -> bool:
    """Could a decision differ? A TrainingJob's or policy's own status is ours; the rest of the facts counts."""
    if isinstance(old, JobFacts) and isinstance(new, JobFacts):
        return _asks(old) != _asks(new)
    if isinstance(old, DeploymentFacts) and isinstance(new, DeploymentFacts):
        # What its controller counts changes with its pods, which are news themselves.
        return replace(old, resource_version="", counted=None) != replace(new, resource_version="", counted=None)
    return bool(old != new)


def _asks(facts: JobFacts) -> tuple[object, ...]:
    job = facts.job
    return job.generation, job.held, job.completed, job.retried, facts.error, facts.deleting, job.admission


def _claim(job: JobFacts, deployment: DeploymentFacts | None) -> Claim | None:
    """None: the job has no Deployment that it may touch."""
    if deployment is None:
        # Somebody deleted what we had made: pods that are left may well be taken over by the Deployment to come.
        return Claim(None, job.job.created) if job.template is not None and job.job.admission is not None else None
    if deployment.workload.owned:
        return Claim(deployment, job.job.created)
    return Claim(deployment) if deployment.managed else None


class _Join:
    """One snapshot in the making."""

    def __init__(self, cluster: Cluster, policy: Policy) -> None:
        self.cluster = cluster
        self.policy = policy
        self.classes = {found.name: found for found in cluster.values(kinds.PRIORITY_CLASS)}
        self.warnings = tuple(cluster.rejected.values())

    def snapshot(self, now: float, grace: dict[str, float]) -> Snapshot:
        jobs, belonging = self.jobs()
        pods = ((pod, belonging.is_foreign(pod)) for pod in self.cluster.values(kinds.POD))
        found = landscape(self.cluster.values(kinds.NODE), pods, self.policy.flavors)
        flavors = last_flavors(found.flavors, self.policy.flavors)
        rounds = [job.admission.round for job in jobs if job.admission is not None]
        rounds += [_round(job.workload.decision) for job in jobs if job.workload is not None]
        status = self.policy_status()
        return Snapshot(
            now=now,
            nodes=found.nodes,
            flavors=flavors,
            jobs=informed(jobs, flavors, found.nodes),
            queues=tuple(sorted(self.cluster.values(kinds.QUEUE_KIND), key=lambda queue: queue.name)),
            round=max([*rounds, integer(status, "round")], default=0),
            grace=grace,
            warnings=(*self.warnings, *found.warnings),
        )

    def policy_status(self) -> Raw:
        raw = self.cluster.raw(kinds.POLICY, "", self.policy.name)
        return mapping(raw, "status")

    def jobs(self) -> tuple[list[Job], Belonging]:
        """All jobs in name order, and which pods belong to which of them."""
        facts_of: list[JobFacts] = sorted(
            (job for job in self.cluster.values(kinds.JOB) if not job.deleting), key=lambda job: job.key
        )
        conflicts = self.conflicts(facts_of)
        deployments = {job.key: self.cluster.deployment(job) for job in facts_of}
        claims = ((job.key, _claim(job, deployments[job.key])) for job in facts_of if job.key not in conflicts)
        belonging = Belonging(self.cluster.values(kinds.POD), {key: claim for key, claim in claims if claim})
        jobs = []
        for job in facts_of:
            found = deployments[job.key]
            around = Surroundings(
                deployment=found,
                pods=belonging.by_job.get(job.key, ()),
                namespace_labels=self.namespace(job.key.namespace),
                priority_classes=self.classes,
                catalog=self.policy.flavors,
                conflict=conflicts.get(job.key),
            )
            refusal = self.cluster.refusals.get(job.key, "")
            jobs.append(self.measured(replace(translate(job, around), refusal=refusal)))
        return jobs, belonging

    def measured(self, job: Job) -> Job:
        """With what is known of its rates by now, rather than with what its status said."""
        seen = self.cluster.observed.get(job.key)
        if seen is None or seen.uid != job.uid:
            return job
        return replace(job, memory=replace(job.memory, record=seen.record), unmeasured=seen.trouble)

    def namespace(self, name: str) -> Mapping[str, str]:
        entry = self.cluster.entries[kinds.NAMESPACE.name].get(("", name))
        return entry.value if entry is not None else {"kubernetes.io/metadata.name": name}

    def conflicts(self, jobs: list[JobFacts]) -> dict[JobKey, Block]:
        """Jobs that keep their hands off: a second job on one Deployment, an autoscaler on it, another's object."""
        found: dict[JobKey, Block] = {}
        scaled: dict[Key, AutoscalerFacts] = {
            (a.namespace, a.deployment): a for a in self.cluster.values(kinds.AUTOSCALER)
        }
        first: dict[Key, JobFacts] = {}
        for job in sorted(jobs, key=lambda job: (job.job.created, job.key)):
            if job.error:
                continue
            deployment = self.cluster.deployment(job)
            name = job.reference or job.key.name
            target = (job.key.namespace, name)
            if target in first:
                message = f"Deployment {name!r} belongs to the older TrainingJob {first[target].key.name!r}"
                found[job.key] = Block("WorkloadConflict", message)
                continue
            if not job.reference and deployment is not None and deployment.job_uid != job.job.uid:
                message = f"Deployment {name!r} exists and was not created for this job"
                found[job.key] = Block("WorkloadConflict", message)
                continue
            if job.reference and deployment is not None and deployment.job_uid:
                message = f"Deployment {name!r} is owned by another TrainingJob"
                found[job.key] = Block("WorkloadConflict", message)
                continue
            first[target] = job
            if target in scaled:
                message = f"HorizontalPodAutoscaler {scaled[target].name!r} drives the replicas of Deployment {name!r}"
                found[job.key] = Block("WorkloadConflict", message)
        return found


def priority_class_exists(cluster: Cluster, name: str) -> bool:
    return any(isinstance(c, PriorityClassFacts) and c.name == name for c in cluster.values(kinds.PRIORITY_CLASS))
