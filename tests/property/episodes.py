"""Small clusters through some rounds of arrivals, ends and losses, and a judge that knows only behaviour.md.

An episode is drawn from its seed alone. Each of its rounds is one case: a snapshot, the decision about it, and a
scheduler of its own that binds the granted pods in a random order wherever they fit. Nothing of the planner or the
optimizer judges: pods, requests, grants and limits are counted here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from random import Random

from apportion.model.flavors import Node
from apportion.model.jobs import FlavorChoice, Job, Pod
from apportion.model.plan import Decision, Outcome
from apportion.model.policy import Defragmentation, Policy
from apportion.model.queues import Queue, Quota
from apportion.model.selection import ANY_NODE, NodeChoice, Requirement, Taint, Toleration
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from builders import A100, GPU, H100, NOW, job, node, snapshot

ROUNDS = 5
SIZES = ((1, 2, 4, 8), (1, 2, 3, 4, 6))
ZONES = ("east", "west")
RESERVED = Taint("reserved", "yes", "NoSchedule")
STEP_SECONDS = (30.0, 120.0, 600.0)
FLAVORS = (A100, H100)
H100_ALONE, H100_FIRST = (FlavorChoice("h100"),), (FlavorChoice("h100"), FlavorChoice("a100", 0.3))
POLICIES = (Policy(), Policy(defragmentation=Defragmentation.ENABLED))


@dataclass(frozen=True)
class Case:
    """lost: a node went, now or before, so that minimums may be lost for want of room alone."""

    seed: int
    number: int
    before: Snapshot
    decision: Decision
    lost: bool


def episode(seed: int) -> Iterator[tuple[Case, list[str]]]:
    """Its cases, each with what is wrong with it."""
    random = Random(f"episode {seed}")
    drawing = Drawing(random)
    world, lost = drawing.world(), False
    for number in range(ROUNDS):
        case = Case(seed, number, world, decide(world, POLICIES[seed % len(POLICIES)]), lost)
        wrong = judged(case)
        world, unbound = carried_out(case, random)
        yield case, wrong + unbound
        world, gone = drawing.later(world)
        lost = lost or gone


@dataclass(frozen=True)
class Tally:
    """What was judged: cases, how many jobs changed how in them, and a line for each rule that was broken."""

    cases: int = 0
    admitted: int = 0
    grown: int = 0
    shrunk: int = 0
    evicted: int = 0
    wrong: tuple[str, ...] = ()

    def plus(self, other: "Tally") -> "Tally":
        mine, theirs = astuple(self), astuple(other)
        return Tally(*(one + more for one, more in zip(mine, theirs, strict=True)))

    def __str__(self) -> str:
        return (
            f"{self.cases} decisions, {self.admitted} admissions, {self.grown} grown, {self.shrunk} shrunk, "
            f"{self.evicted} evicted: {len(self.wrong)} violations"
        )


def judged_episodes(seeds: Iterable[int]) -> Tally:
    total = Tally()
    for seed in seeds:
        for case, wrong in episode(seed):
            changes = [(outcome.current.replicas, outcome.granted.replicas) for outcome in case.decision.outcomes]
            total = total.plus(
                Tally(
                    cases=1,
                    admitted=sum(1 for had, has in changes if had == 0 < has),
                    grown=sum(1 for had, has in changes if 0 < had < has),
                    shrunk=sum(1 for had, has in changes if had > has > 0),
                    evicted=sum(1 for had, has in changes if had > has == 0),
                    wrong=tuple(f"episode {seed}, round {case.number}: {line}" for line in wrong),
                )
            )
    return total


class Drawing:
    """What the episode's cluster is, and what happens to it."""

    def __init__(self, random: Random) -> None:
        self._random, self._made = random, 0
        self._sizes = random.choice(SIZES)
        self._tight, self._zones = random.random() < 0.3, random.random() < 0.3
        self._queues = random.choice(((), self._two_queues(), self._two_queues()))

    def world(self) -> Snapshot:
        nodes = tuple(self._node(at) for at in range(self._random.randint(0, 5)))
        jobs = [self._job() for _ in range(self._random.randint(0, 8))]
        return snapshot(*jobs, on=nodes, queues=self._queues)

    def later(self, world: Snapshot) -> tuple[Snapshot, bool]:
        """Time passes; some leave, some come, a node may go. Second: whether one went."""
        random = self._random
        jobs = [one for one in world.jobs if random.random() < 0.9]
        jobs = [replace(one, suspended=random.random() < 0.05) for one in jobs]
        jobs += [self._job(world.now) for _ in range(random.choice((0, 0, 1, 3)))]
        nodes, gone = world.nodes, bool(world.nodes) and random.random() < 0.08
        if gone:
            out = random.choice(nodes).name
            nodes = tuple(one for one in nodes if one.name != out)
            jobs = [replace(one, pods=tuple(pod for pod in one.pods if pod.node != out)) for one in jobs]
        jobs.sort(key=lambda one: one.key)
        return replace(world, now=world.now + random.choice(STEP_SECONDS), nodes=nodes, jobs=tuple(jobs)), gone

    def _two_queues(self) -> tuple[Queue, ...]:
        draw = self._random
        cohort = draw.choice(("lab", "lab", ""))

        def quotas() -> tuple[Quota, ...]:
            limit, lend = draw.choice((None, 0, 4)), draw.choice((None, None, 2))
            return (Quota("h100", draw.choice((0, 4, 8, 16)), limit, lend), Quota("*", draw.choice((2, 8))))

        return tuple(Queue(name, cohort, draw.choice((1.0, 2.0)), quotas()) for name in ("a", "b"))

    def _node(self, at: int) -> Node:
        draw = self._random
        flavor, gpus = draw.choice(("h100", "h100", "a100")), draw.choice((4, 6, 8))
        lean = {"cpu": gpus * draw.choice((2_000, 4_000)), "memory": gpus * draw.choice((8, 16)) * 2**30}
        held = draw.choice((0, 0, 1, 2))
        return node(
            f"{flavor}-{at}", gpus, flavor,
            labels={"gpu": flavor, "zone": draw.choice(ZONES)},
            taints=(RESERVED,) if self._zones and draw.random() < 0.3 else (),
            allocatable=lean if self._tight else {},
            foreign={GPU: held, "cpu": 1000 * held, "pods": held} if held else {},
        )  # fmt: skip

    def _job(self, now: float = NOW) -> Job:
        draw = self._random
        self._made += 1
        each, low = draw.choice(self._sizes), draw.choice((1, 1, 1, 2, 3))
        cores, memory = each * draw.choice((1, 2, 4)), each * draw.choice((4, 8, 16))
        requests = {GPU: each, "cpu": 1000, "pods": 1}
        if self._tight:
            requests = {GPU: each, "cpu": 1000 * cores, "memory": memory * 2**30, "pods": 1}
        return job(
            f"j{self._made:02}", low, low + draw.choice((0, 1, 3, 8)), each,
            requests=requests,
            queue_name=draw.choice(("a", "b")) if self._queues else None,
            priority=draw.choice((0, 0, 0, 5)),
            preemptible=draw.random() < 0.85,
            created=now - draw.choice((0.0, 100.0, 5000.0)),
            flavors=draw.choice((None, None, H100_ALONE, H100_FIRST)),
            nodes=self._nodes(),
            restart_seconds=draw.choice((0.0, 60.0, 120.0)),
            min_runtime_seconds=draw.choice((0.0, 300.0)),
        )  # fmt: skip

    def _nodes(self) -> NodeChoice:
        if not self._zones:
            return ANY_NODE
        zones = (Requirement("zone", "In", (self._random.choice(ZONES),)),) if self._random.random() < 0.4 else ()
        bears = (Toleration("reserved", "Exists"),) if self._random.random() < 0.5 else ()
        return NodeChoice(requirements=zones, tolerations=bears)


# --- the outside world ------------------------------------------------------------------------------------------------


def may_hold(one: Job, flavor: str, where: Node) -> bool:
    zones = [rule.values for rule in one.nodes.requirements]
    if where.flavor != flavor or any(where.labels["zone"] not in values for values in zones):
        return False
    return not where.taints or bool(one.nodes.tolerations)


def carried_out(case: Case, random: Random) -> tuple[Snapshot, list[str]]:
    """Grants become pods; those that must go are gone; the others are bound in a random order to any node with room.

    Room is what was free before anybody left: nobody waits for a pod that is still terminating.
    """
    jobs, waiting, new = [], [], set()
    leaving = {resize.key: set(resize.leaving) for resize in case.decision.resizes}
    for outcome, one in zip(case.decision.outcomes, case.before.jobs, strict=True):
        here = list(one.pods) if outcome.granted.flavor == outcome.current.flavor else []
        here.sort(key=lambda pod: (pod.node is None, pod.name in leaving.get(one.key, set()), random.random()))
        pods = [*here[: outcome.granted.replicas]]
        while len(pods) < outcome.granted.replicas:
            pods.append(Pod(name := f"{one.key.name}-{random.random()}", name, None, one.requests, case.before.now))
        waiting += [(one, outcome.granted.flavor, pod) for pod in pods if pod.node is None]
        if outcome.granted.flavor != outcome.current.flavor or outcome.granted.replicas > outcome.current.replicas:
            new.add(one.key)
        jobs.append(replace(one, pods=tuple(pods), memory=outcome.memory, observed_generation=one.generation))
    room = free(case.before)
    placed, wrong = {}, []
    random.shuffle(waiting)
    for one, flavor, pod in waiting:
        able = [where for where in case.before.nodes if may_hold(one, flavor, where) and fits(pod, room[where.name])]
        if able:
            where = random.choice(able)
            room[where.name].subtract(pod.requests)
            placed[pod.uid] = replace(pod, node=where.name, phase="Running", ready=True, ready_since=case.before.now)
        elif one.key in new:
            wrong.append(f"{one.key.name}: a pod that is granted now finds no node on {flavor}")
    bound = tuple(replace(one, pods=tuple(placed.get(pod.uid, pod) for pod in one.pods)) for one in jobs)
    return replace(case.before, jobs=bound, round=case.decision.round), wrong


def free(world: Snapshot) -> dict[str, Counter[str]]:
    room = {one.name: Counter(one.allocatable) for one in world.nodes}
    for one in world.nodes:
        room[one.name].subtract(one.foreign)
    for one in world.jobs:
        for pod in one.pods:
            if pod.node is not None:
                room[pod.node].subtract(pod.requests)
    return room


def fits(pod: Pod, room: Counter[str]) -> bool:
    return all(room[name] >= amount for name, amount in pod.requests.items())


# --- the judge --------------------------------------------------------------------------------------------------------


def judged(case: Case) -> list[str]:
    """Grants outside their steps and flavors, quotas that are passed, minimums that were taken without a right."""
    wrong: list[str] = []
    for outcome, one in zip(case.decision.outcomes, case.before.jobs, strict=True):
        grant, name = outcome.granted, one.key.name
        if outcome.key != one.key:
            wrong.append(f"{name}: no outcome")
        if not grant.replicas:
            continue
        if grant.replicas not in one.steps:
            wrong.append(f"{name}: {grant.replicas} replicas are none of {one.steps}")
        if one.flavors is not None and grant.flavor not in {choice.name for choice in one.flavors}:
            wrong.append(f"{name}: does not accept {grant.flavor}")
        if one.suspended:
            wrong.append(f"{name}: is suspended, and has {grant.replicas}")
    return wrong + quotas_passed(case) + wrongly_taken(case) + not_back(case)


def uses(case: Case, after: bool, firm: bool = False) -> Counter[tuple[str, str]]:
    """Accelerators by queue and flavor; firm: of jobs that may not be preempted."""
    used: Counter[tuple[str, str]] = Counter()
    for outcome, one in zip(case.decision.outcomes, case.before.jobs, strict=True):
        grant = outcome.granted if after else outcome.current
        if grant.replicas and not (firm and one.preemptible):
            used[one.queue_name or "", grant.flavor] += grant.replicas * one.per_replica
    return used


def share_of(queue: Queue, flavor: str) -> Quota:
    return next((share for share in queue.quotas if share.flavor == flavor), queue.quotas[-1])


def quotas_passed(case: Case) -> list[str]:
    wrong = []
    used, firm = uses(case, after=True), uses(case, after=True, firm=True)
    for flavor in (each.name for each in FLAVORS if case.before.queues):
        taken = nominal = 0
        for queue in case.before.queues:
            share, has = share_of(queue, flavor), used[queue.name, flavor]
            most = share.borrowing_limit if queue.cohort else 0
            if most is not None and has > share.nominal + most:
                wrong.append(f"queue {queue.name} uses {has} of {share.nominal} + {most} {flavor}")
            if firm[queue.name, flavor] > share.nominal:
                wrong.append(f"queue {queue.name}: {firm[queue.name, flavor]} of {share.nominal} {flavor} are firm")
            lends = share.nominal if share.lending_limit is None else share.lending_limit
            taken += max(has, share.nominal - lends)
            nominal += share.nominal
        if case.before.queues[0].cohort and taken > nominal:
            wrong.append(f"the cohort uses {taken} of {nominal} {flavor}")
    return wrong


def wrongly_taken(case: Case) -> list[str]:
    """Minimums that running jobs lost although nobody with a right to it gains, and shrinks before minRuntime is over.

    A right: a higher class of the same queue, or a queue of the cohort that stays within its nominal quota, from one
    that is above its own.
    """
    if case.lost:
        return []
    wrong = []
    used = uses(case, after=False)
    for outcome, one in zip(case.decision.outcomes, case.before.jobs, strict=True):
        grant = outcome.current
        if one.suspended or not grant.replicas or len(one.pods) < grant.replicas:
            continue
        borrows = bool(one.queue_name) and used[one.queue_name or "", grant.flavor] > nominal_of(
            case, one, grant.flavor
        )
        if not outcome.granted.replicas and not makes_room(outcome, one):
            if not one.preemptible:
                wrong.append(f"{one.key.name}: is not preemptible, and lost its minimum")
            elif not borrows and not any(above(one, other, case) for other in gaining(case)):
                wrong.append(f"{one.key.name}: lost its minimum to nobody who may take it")
        assert one.admission is not None
        young = case.before.now - one.admission.since < one.min_runtime_seconds
        if young and outcome.granted != grant and outcome.granted.replicas < grant.replicas and not borrows:
            wrong.append(f"{one.key.name}: {grant} -> {outcome.granted} before its minRuntime is over")
    return wrong


def makes_room(outcome: Outcome, one: Job) -> bool:
    """Does a job that may be moved stand aside for a gang, and come back?"""
    return outcome.memory.displaced is not None and one.preemptible and outcome.target.replicas >= one.minimum


def not_back(case: Case) -> list[str]:
    """Jobs that stood aside and are not to have their minimum again, although nobody with a right to it gains."""
    if case.lost:
        return []
    return [
        f"{one.key.name}: stood aside, and does not come back"
        for outcome, one in zip(case.decision.outcomes, case.before.jobs, strict=True)
        if one.memory.displaced is not None and not one.suspended
        if outcome.target.replicas < one.minimum and not any(above(one, other, case) for other in gaining(case))
    ]


def nominal_of(case: Case, one: Job, flavor: str) -> int:
    return share_of(next(queue for queue in case.before.queues if queue.name == one.queue_name), flavor).nominal


def gaining(case: Case) -> list[Job]:
    """Those who have more, or are meant to, by this round."""
    return [
        one
        for outcome, one in zip(case.decision.outcomes, case.before.jobs, strict=True)
        if outcome.target != outcome.current and outcome.target.replicas > 0
    ]


def above(one: Job, other: Job, case: Case) -> bool:
    return other.queue_name == one.queue_name and other.priority > one.priority
