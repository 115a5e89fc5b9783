"""Decisions into requests: status first, then the Deployment, each fenced; nothing for an unchanged job.

Level-based: what is written follows from the decision and the objects as they are, never from what was sent before.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from apportion.api.names import DECISION
from apportion.kube import kinds, render
from apportion.kube.client import Api, Refused, Unreachable
from apportion.kube.cluster import Cluster, priority_class_exists
from apportion.kube.facts import DELETION_COST, DeploymentFacts, without_pins
from apportion.kube.jobs import JobFacts
from apportion.kube.memory import status_of
from apportion.kube.raw import fingerprint, mapping
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job
from apportion.model.plan import Decision, Outcome, Resize
from apportion.model.snapshot import Snapshot

CONCURRENCY = 16
LOWEST_COST = -(2**31)  # of the annotation, an int32


@dataclass(frozen=True)
class Done:
    """What one job's actuation came to.

    lost: a precondition failed or an object is gone; the next round mends it. refused: the Deployment as it should be
    is none that the API server takes, and would not be the next time.
    """

    outcome: Outcome
    wrote_workload: bool = False
    lost: str = ""
    refused: str = ""


@dataclass
class Actuator:
    """Writes through `api`; `leads` is asked before each request; `written` hears each reply that changed an object."""

    api: Api
    cluster: Cluster
    leads: Callable[[], bool]
    written: Callable[[kinds.Kind, Any], None]

    async def carry_out(self, snapshot: Snapshot, decision: Decision) -> list[Done]:
        """All shrinks before any grow, then what is only told; in each group up to sixteen requests at a time."""
        jobs = {job.key: job for job in snapshot.jobs}
        flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        leaving = {resize.key: resize for resize in decision.resizes if resize.leaving}
        changes = [
            _Change(
                outcome,
                jobs[outcome.key],
                flavors.get(outcome.granted.flavor),
                leaving.get(outcome.key),
                snapshot.now,
            )
            for outcome in decision.outcomes
        ]
        moving, staying = [], []
        for change in changes:
            facts = self._facts(change)
            if facts is not None and self._workload_work(change, facts) is not None:
                moving.append(change)
            elif facts is not None and self._status_differs(change, facts):
                staying.append(change)
        first = [change for change in moving if change.gives_room]
        rest = [change for change in moving if not change.gives_room]
        # What is only told waits: it keeps no job from running, and the API server takes so many writes a second.
        return [*await self._all(first), *await self._all(rest), *await self._gathered(self._tell, staying)]

    async def _all(self, work: list["_Change"]) -> list[Done]:
        """First every status, then the Deployments: one written early starts pods, whose news delays the others."""
        told = await self._gathered(self._tell, work)
        moved = await self._gathered(
            self._move, [change for change, done in zip(work, told, strict=True) if not done.lost]
        )
        by_key = {done.outcome.key: done for done in told}
        return list((by_key | {done.outcome.key: done for done in moved}).values())

    async def _gathered(self, write: Callable[["_Change"], Awaitable[Done]], work: list["_Change"]) -> list[Done]:
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(change: _Change) -> Done:
            async with gate:
                try:
                    return await write(change)
                except (Refused, Unreachable) as error:
                    return Done(change.outcome, lost=str(error))

        return list(await asyncio.gather(*map(one, work)))

    def _facts(self, change: "_Change") -> JobFacts | None:
        entry = self.cluster.entries[kinds.JOB.name].get(change.outcome.key)
        facts: JobFacts | None = entry.value if entry is not None else None
        return facts if facts is not None and facts.job.uid == change.job.uid else None

    async def _tell(self, change: "_Change") -> Done:
        facts = self._facts(change)
        if facts is None or not self.leads():
            return Done(change.outcome, lost="not written: gone, or led by another")
        if not self._status_differs(change, facts):
            return Done(change.outcome)
        await self._write_status(change, facts)
        return Done(change.outcome)

    async def _move(self, change: "_Change") -> Done:
        facts = self._facts(change)
        work = self._workload_work(change, facts) if facts is not None and self.leads() else None
        if work is None:
            return Done(change.outcome)
        try:
            await work()
        except Refused as refused:
            if not _is_final(refused):
                raise
            return Done(change.outcome, refused=str(refused))
        return Done(change.outcome, wrote_workload=True)

    def _status_differs(self, change: "_Change", facts: JobFacts) -> bool:
        return facts.told != fingerprint(status_of(change.outcome.memory, change.job.generation))

    async def _write_status(self, change: "_Change", facts: JobFacts) -> None:
        status = status_of(change.outcome.memory, change.job.generation)
        path = kinds.JOB.path(facts.key.namespace, facts.key.name, "status")
        reply = await self.api.patch(path, render.status_patch(facts.job.uid, facts.fence, status))
        self.written(kinds.JOB, reply)

    def _workload_work(self, change: "_Change", facts: JobFacts) -> Callable[[], Awaitable[None]] | None:
        """The one request that brings the Deployment closer to what is granted; None: it is there."""
        if not change.outcome.touch or facts.error:
            return None
        job = replace(change.job, memory=change.outcome.memory)
        deployment = self.cluster.deployment(facts)
        if deployment is None:
            return self._creation(change, job, facts)
        if job.admission is None:
            if deployment.workload.replicas == 0:
                return self._fenced(deployment, change)
            return self._sized(deployment, 0, change)
        if change.flavor is None:
            return None
        if render.needs_repin(deployment, job):
            if change.rests:
                return None
            return self._repinned(deployment, job, facts, change)
        has = deployment.workload.replicas
        if has == job.admission.replicas:
            # What was granted anew is fenced at once: a patch for what was granted before may be under way.
            return None if change.rests and not change.is_new else self._fenced(deployment, change)
        # Room that others wait for is given back at once, and what somebody else changed is put back.
        if change.rests and has < job.admission.replicas and deployment.workload.never_told(job.admission):
            return None
        return self._sized(deployment, job.admission.replicas, change, render.decision_of(job))

    def _creation(self, change: "_Change", job: Job, facts: JobFacts) -> Callable[[], Awaitable[None]] | None:
        template, flavor = facts.template, change.flavor
        if template is None or job.admission is None or flavor is None or change.rests:
            return None

        async def create() -> None:
            manifest = render.owned_deployment(template.parsed(), job, flavor, self._priority_class())
            reply = await self.api.create(kinds.DEPLOYMENT.path(job.key.namespace), manifest)
            self.written(kinds.DEPLOYMENT, reply)

        return create

    def _sized(
        self, deployment: DeploymentFacts, replicas: int, change: "_Change", said: dict[str, str] | None = None
    ) -> Callable[[], Awaitable[None]]:
        async def size() -> None:
            await self._mark_leaving(deployment, change)
            await self._patch(deployment, render.resize(deployment, replicas, said or {}))

        return size

    def _fenced(self, deployment: DeploymentFacts, change: "_Change") -> Callable[[], Awaitable[None]] | None:
        """It has its size; but a grant in between was decided and never carried out. The patch for that may still be
        under way from a leader that was stopped, and would pass its tests: so the decision is written alone."""
        newest = change.outcome.memory.admission or change.job.admission
        if newest is None or deployment.workload.decision is None or not deployment.workload.never_told(newest):
            return None
        patch = render.resize(deployment, deployment.workload.replicas, {DECISION: str(newest.round)})
        return lambda: self._patch(deployment, patch)

    def _repinned(
        self, deployment: DeploymentFacts, job: Job, facts: JobFacts, change: "_Change"
    ) -> Callable[[], Awaitable[None]] | None:
        """Referenced, or to become larger: to 0, and when all pods are gone, pinned and raised. Else one patch.

        Of a Deployment whose template and count change together the controller takes the count first, and starts pods
        of the old template: on the old flavor, in room that is no more theirs.
        """
        flavor, has = change.flavor, deployment.workload.replicas
        assert flavor is not None
        assert job.admission is not None
        template = facts.template
        if has > 0 and (template is None or has < job.admission.replicas):
            return lambda: self._patch(deployment, render.resize(deployment, 0, render.decision_of(job)))
        if has == 0 and change.job.pods:
            return None
        if template is not None:
            patch = render.repin_owned(deployment, template.parsed(), job, flavor, self._priority_class())
            return lambda: self._patch(deployment, patch)
        clean = without_pins(mapping(deployment.template, "spec"), deployment.workload)
        return lambda: self._patch(deployment, render.repin_referenced(deployment, clean, job, flavor))

    async def _patch(self, deployment: DeploymentFacts, patch: render.Patch) -> None:
        path = kinds.DEPLOYMENT.path(deployment.namespace, deployment.workload.name)
        self.written(kinds.DEPLOYMENT, await self.api.patch(path, patch))

    async def _mark_leaving(self, deployment: DeploymentFacts, change: "_Change") -> None:
        """Before a shrink, the pods that should go get a lower deletion cost than all that stay."""
        if change.leaving is None:
            return
        pods = {pod.name: pod for pod in change.job.pods}
        staying = [pod.deletion_cost for name, pod in pods.items() if name not in change.leaving.leaving]
        below = max(LOWEST_COST, min(0, *staying) - 1) if staying else -1
        for name in change.leaving.leaving:
            pod = pods.get(name)
            if pod is None or pod.deletion_cost <= below:
                continue
            path = kinds.POD.path(deployment.namespace, name)
            body = {"metadata": {"annotations": {DELETION_COST: str(below)}}}
            query = {"fieldManager": "apportion"}
            await self.api.request("PATCH", path, query, body, "application/merge-patch+json")

    def _priority_class(self) -> str | None:
        name = render.TRAINING_PRIORITY_CLASS
        return name if priority_class_exists(self.cluster, name) else None


@dataclass(frozen=True)
class _Change:
    """One job's part of a decision."""

    outcome: Outcome
    job: Job
    flavor: Flavor | None
    leaving: Resize | None
    now: float

    @property
    def rests(self) -> bool:
        """Its Deployment was refused a while ago: asked again when the back-off of its flavor is over."""
        return self.outcome.memory.refused(self.outcome.granted.flavor, self.now) is not None

    @property
    def is_new(self) -> bool:
        return self.outcome.granted != self.outcome.current

    @property
    def gives_room(self) -> bool:
        before, after = self.outcome.current, self.outcome.granted
        return after.replicas < before.replicas or (before.flavor != after.flavor and before.replicas > 0)


def _is_final(refused: Refused) -> bool:
    """Would the same write be refused again? A failed `test` of a patch is a 422 as well, but judges no object."""
    return refused.code in (400, 403, 413) or (refused.code == 422 and " is invalid: " in refused.message)
