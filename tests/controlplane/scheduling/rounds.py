"""Many worlds side by side on one control plane: rounds of the operator until nothing changes, bound by kube-scheduler.

No operator runs. Here too the objects are listed, read, decided on and written by its own code, for each world by
itself; what an operator would add is the time between two rounds.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic, time
from typing import Any

from apportion.kube.actuator import Actuator
from apportion.kube.client import Api
from apportion.kube.cluster import Cluster
from apportion.kube.kinds import DEPLOYMENT, EVENT, JOB, NODE, POD, PRIORITY_CLASS, WATCHED, Kind
from apportion.kube.raw import integer, mapping, mappings, text
from apportion.model.eligibility import current_grant
from apportion.model.jobs import JobKey
from apportion.model.plan import Grant
from apportion.model.snapshot import Snapshot, Terms
from apportion.planner import decide
from controlplane.nodes import create_nodes, remove_nodes, until_ready
from controlplane.scheduling.exact import Best, best_of, value_of
from controlplane.scheduling.worlds import World
from integration.manifests import REPLICA_SET
from integration.waiting import until

READ = (PRIORITY_CLASS, NODE, DEPLOYMENT, REPLICA_SET, POD, JOB)
AT_ONCE = 16
MOST_ROUNDS = 30
SETTLE_SECONDS = 120.0
LOOK_SECONDS = 0.2
OF_WORLD = re.compile(r"(w\d+)-")

Objects = Mapping[Kind, list[Any]]


@dataclass(frozen=True)
class Outcome:
    """What runs when nothing changes any more, and the best that could."""

    got: Best
    best: Best

    @property
    def reached(self) -> float:
        """Where fewer jobs run than could, the others may have grown beyond the best: that counts for nothing."""
        return min(self.got.value, self.best.value)

    @property
    def share(self) -> float:
        return self.reached / self.best.value if self.best.value > 0 else 1.0


@dataclass
class Play:
    """One world in play. `outcomes` and `rounds`: of the first jobs, then after some left and others came."""

    world: World
    api: Api
    cluster: Cluster = field(default_factory=Cluster)
    outcomes: list[Outcome] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    objects: Objects = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._actuator = Actuator(self.api, self.cluster, lambda: True, self._wrote)

    async def see(self, objects: Objects) -> None:
        """All objects of this world as they are now."""
        self.objects = objects
        for kind, found in objects.items():
            if kind in WATCHED:
                await self.cluster.replace_all(kind, _page(found))
        for pod in objects[POD]:
            for condition in mappings(pod, "status", "conditions"):
                if condition.get("reason") == "Unschedulable":
                    self.trouble(f"pod {text(pod, 'metadata', 'name')} is Pending: {text(condition, 'message')}")

    def trouble(self, what: str) -> None:
        if what not in self.troubles:
            self.troubles.append(what)

    @property
    def settled(self) -> bool:
        """All nodes are seen, every Deployment has the pods that it should have, every pod runs or was refused, and
        nobody leaves."""
        if len(self.objects[NODE]) < len(self.world.nodes):
            return False
        jobs = {text(job, "metadata", "name") for job in self.objects[JOB]}
        sets = {text(one, "metadata", "uid"): _owner(one) for one in self.objects[REPLICA_SET]}
        counts: dict[str, int] = {}
        for pod in self.objects[POD]:
            deployment = sets.get(_owner(pod), "") if _owner(pod) else "-"
            if not deployment or text(pod, "metadata", "deletionTimestamp") or not _judged(pod):
                return False
            counts[deployment] = counts.get(deployment, 0) + 1
        names = {text(one, "metadata", "name") for one in self.objects[DEPLOYMENT]}
        return names <= jobs and all(_complete(one, counts) for one in self.objects[DEPLOYMENT])

    def snapshot(self) -> Snapshot:
        return self.cluster.snapshot(time())

    async def round(self) -> bool:
        """Decide and carry out; whether anything was granted or taken."""
        snapshot = self.snapshot()
        decision = await asyncio.to_thread(decide, snapshot, self.cluster.policy())
        done = await self._actuator.carry_out(snapshot, decision)
        for one in done:
            if one.lost or one.refused:
                self.trouble(f"{one.outcome.key}: {one.lost or one.refused}")
        waiting = [resize for resize in decision.resizes if resize.wave > 0]
        if waiting and len(waiting) == len(decision.resizes):
            self.trouble(f"nothing is on its way, and still there wait {waiting}")
        self.rounds[-1] += bool(decision.resizes)
        return len(waiting) < len(decision.resizes)

    def running(self) -> dict[JobKey, Grant]:
        """By job: the pods that are bound and run."""
        counts = {job.key: sum(pod.ready and not pod.terminating for pod in job.pods) for job in self.snapshot().jobs}
        flavors = {job.key: current_grant(job).flavor for job in self.snapshot().jobs}
        return {key: Grant(flavors[key], count) for key, count in counts.items() if count}

    def _wrote(self, kind: Kind, reply: Any) -> None:
        self.cluster.apply(kind, reply)

    def told(self) -> str:
        """For the message of a failure."""
        world = self.world
        lines = [f"{world.name}, {world.family.name}, {world.scheduler}, after {self.rounds} rounds", *self.troubles]
        snapshot = self.snapshot()
        lines += [f"  node {n.name}: {dict(n.allocatable)} less {dict(n.foreign)} {n.taints}" for n in snapshot.nodes]
        for job in snapshot.jobs:
            where = ", ".join(sorted(pod.node or "nowhere" for pod in job.pods))
            lines.append(f"  {job.key.name}: {job.steps} of {dict(job.requests)}: {current_grant(job)} on {where}")
        return "\n".join(lines)


class Batch:
    """Worlds that are played together, in one namespace."""

    def __init__(self, api: Api, namespace: str, worlds: Iterable[World]) -> None:
        self._api, self._namespace = api, namespace
        self.plays = {world.name: Play(world, api) for world in worlds}

    async def play(self) -> list[Play]:
        """Both halves of every world. Leaves the namespace empty. Raises Failed, kube.client.Refused."""
        worlds = [play.world for play in self.plays.values()]
        nodes = [node for world in worlds for node in world.nodes]
        names = [node["metadata"]["name"] for node in nodes]
        await create_nodes(self._api, nodes)
        await until_ready(self._api, names)
        await self._create(POD, [pod for world in worlds for pod in world.foreign])
        await self._create(JOB, [job for world in worlds for job in world.jobs])
        await self._waves()
        await self._delete(JOB, [name for world in worlds for name in world.leaving])
        await self._create(JOB, [job for world in worlds for job in world.arriving])
        await self._waves()
        await self._find_refusals()
        await self._clear(names)
        return list(self.plays.values())

    async def _waves(self) -> None:
        """Until no world changes any more. Where something went wrong, that is the outcome."""
        active = [play for play in self.plays.values() if not play.troubles]
        for play in active:
            play.rounds.append(0)
        await self._settle(active)
        first = {play.world.name: _protected(play.snapshot()) for play in active}
        for _ in range(MOST_ROUNDS):
            active = [play for play in active if await play.round()]
            if not active:
                break
            await self._settle(active)
            active = [play for play in active if not play.troubles]
        for play in active:
            play.trouble(f"still changes after {MOST_ROUNDS} rounds")
        for play in self.plays.values():
            if play.troubles:
                continue
            policy, start = play.cluster.policy(), first[play.world.name]
            got = value_of(start, policy, play.running())
            play.outcomes.append(Outcome(got, await asyncio.to_thread(best_of, start, policy)))

    async def _settle(self, plays: Sequence[Play]) -> None:
        deadline = monotonic() + SETTLE_SECONDS
        while True:
            await self._look()
            waiting = [play for play in plays if not play.settled]
            if not waiting:
                return
            if monotonic() > deadline:
                for play in waiting:
                    play.trouble(f"does not settle within {SETTLE_SECONDS:.0f} s")
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        seen: dict[str, dict[Kind, list[Any]]] = {name: {kind: [] for kind in READ} for name in self.plays}
        for kind in READ:
            async for page in self._api.pages(kind, (self._namespace,)):
                for raw in page:
                    for name in [_world_of(raw)] if kind is not PRIORITY_CLASS else seen:
                        if name in seen:
                            seen[name][kind].append(raw)
        for name, objects in seen.items():
            await self.plays[name].see(objects)

    async def _find_refusals(self) -> None:
        """What the scheduler has said on the way, also of pods that were bound later."""
        query = {"fieldSelector": "reason=FailedScheduling"}
        for event in (await self._api.get(EVENT.path(self._namespace), query))["items"]:
            pod = text(event, "involvedObject", "name")
            name = _world_of({"metadata": {"name": pod}})
            if name in self.plays:
                self.plays[name].trouble(f"pod {pod} was refused: {text(event, 'message')}")

    async def _clear(self, nodes: Iterable[str]) -> None:
        await self._delete(JOB, [text(job, "metadata", "name") for job in await self._left(JOB)])
        await self._delete(POD, [text(pod, "metadata", "name") for pod in await self._left(POD) if not _owner(pod)])

        async def empty() -> bool:
            return not await self._left(POD)

        await until(empty, "all pods are gone", SETTLE_SECONDS)
        await remove_nodes(self._api, nodes)

    async def _left(self, kind: Kind) -> list[Any]:
        return [raw async for page in self._api.pages(kind, (self._namespace,)) for raw in page]

    async def _create(self, kind: Kind, manifests: Sequence[Any]) -> None:
        await _together(lambda manifest: self._api.create(kind.path(self._namespace), manifest), manifests)

    async def _delete(self, kind: Kind, names: Sequence[str]) -> None:
        await _together(lambda name: self._api.request("DELETE", kind.path(self._namespace, name)), names)


async def _together(act: Callable[[Any], Awaitable[Any]], what: Iterable[Any]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(each: Any) -> None:
        async with gate:
            await act(each)

    await asyncio.gather(*map(one, what))


def _protected(snapshot: Snapshot) -> Snapshot:
    """The terms that hold where nobody has a queue or a class: what runs keeps its minimum."""
    running = (job for job in snapshot.jobs if current_grant(job).replicas)
    return replace(snapshot, terms={job.key: Terms(keeps=job.minimum) for job in running})


async def _page(found: list[Any]) -> Any:
    yield found


def _world_of(raw: Any) -> str:
    match = OF_WORLD.match(text(raw, "metadata", "name"))
    return match.group(1) if match else ""


def _owner(raw: Any) -> str:
    """uid or, of a ReplicaSet, name of the controlling owner."""
    for owner in mappings(raw, "metadata", "ownerReferences"):
        return text(owner, "name") if text(owner, "kind") == "Deployment" else text(owner, "uid")
    return ""


def _judged(pod: Any) -> bool:
    """It runs, or the scheduler has looked at it and found no room."""
    conditions = {text(one, "type"): one for one in mappings(pod, "status", "conditions")}
    refused = text(conditions.get("PodScheduled", {}), "reason") == "Unschedulable"
    return refused or text(conditions.get("Ready", {}), "status") == "True"


def _complete(deployment: Any, counts: Mapping[str, int]) -> bool:
    wanted = integer(deployment, "spec", "replicas")
    status = mapping(deployment, "status")
    seen = integer(status, "observedGeneration") >= integer(deployment, "metadata", "generation")
    has = counts.get(text(deployment, "metadata", "name"), 0)
    return seen and integer(status, "updatedReplicas") == wanted == has


def share_of(outcomes: Iterable[Outcome]) -> float:
    """Of the value of all of them together."""
    all_ = list(outcomes)
    return sum(one.reached for one in all_) / sum(one.best.value for one in all_)


def refused(plays: Iterable[Play]) -> Iterator[str]:
    """A text for each world in which something went wrong."""
    return (play.told() for play in plays if play.troubles)
