"""decide() against a scheduler and an autoscaler of its own: nodes come late, some come, none comes.

No code of the planner judges: nodes, pods and grants are counted here.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.model.flavors import Provisionable
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer.staying import departing
from apportion.planner import decide
from builders import A100, GPU, H100, NOW, job, node, queue, quota, running, snapshot

PROFILE = settings(max_examples=25)
EACH = 8
TIMEOUT = 900.0
STEP = 30.0
QUEUES = (queue("a", quota(8), cohort="lab"), queue("b", quota(24, borrow=8), cohort="lab"))


@dataclass(frozen=True)
class Weather:
    """Nodes come `delay` rounds after they are asked for, and at most `comes` of them in all."""

    delay: int
    comes: int


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    there = tuple(node(f"h100-{i}") for i in range(draw(st.integers(0, 2))))
    most = draw(st.integers(0, 5))
    queues = draw(st.sampled_from(((), QUEUES)))
    jobs: list[Job] = []
    for index in range(draw(st.integers(1, 5))):
        low = draw(st.integers(1, 3))
        jobs.append(
            job(
                f"j{index}",
                low,
                low + draw(st.integers(0, 12)),
                draw(st.sampled_from((1, 2, 4, 8))),
                queue_name=draw(st.sampled_from(("a", "b"))) if queues else None,
                priority=draw(st.sampled_from((0, 0, 5))),
                created=NOW - 1000 - index,
                min_runtime_seconds=draw(st.sampled_from((0.0, 300.0))),
            )
        )
    if there and draw(st.booleans()):
        jobs[0] = running(job("j0", 1, 8, queue_name=jobs[0].queue_name), {"h100-0": draw(st.integers(1, 8))})
    offer = replace(H100, provisionable=Provisionable(most, EACH, TIMEOUT, least_yield=0.01))
    return snapshot(*jobs, on=there, flavors=(A100, offer), queues=queues)


def most_accelerators(world: Snapshot) -> int:
    offer = world.flavors[1].provisionable
    assert offer is not None
    return EACH * max(offer.max_nodes, len(world.nodes))


class Outside:
    """The scheduler and the autoscaler. Time passes between rounds; as in the operator, unchanged input is not decided
    again before it is due."""

    def __init__(self, world: Snapshot, weather: Weather, random: Random) -> None:
        self.world, self.weather, self.random = world, weather, random
        self.asked: list[int] = []
        self.resized: list[bool] = []
        self.seen: Snapshot | None = None
        self.due = math.inf

    def round(self) -> None:
        before, self.seen = self.seen, self.world
        news = before is None or self.world != replace(before, now=self.world.now)
        self.resized.append((news or self.world.now >= self.due) and self._decided())
        self.world = replace(self.world, now=self.world.now + STEP)
        self._bind()
        self._provision()

    def _decided(self) -> bool:
        """Whether anybody was resized."""
        decision = decide(self.world, Policy())
        self.due = math.inf if decision.recheck_after is None else self.world.now + decision.recheck_after
        jobs = []
        for outcome, one in zip(decision.outcomes, self.world.jobs, strict=True):
            wanted = outcome.granted.replicas
            # A ReplicaSet takes pods without a node first, then those that the actuator gives a deletion cost.
            bound = [pod for pod in one.pods if pod.node is not None]
            going = departing(bound, len(bound) - wanted)
            waiting = [pod for pod in one.pods if pod.node is None]
            kept = [*(pod for pod in bound if pod not in going), *waiting][:wanted]
            fresh = [self._pod(one) for _ in range(wanted - len(kept))]
            jobs.append(replace(one, pods=(*kept, *fresh), memory=outcome.memory))
        self.world = replace(self.world, jobs=tuple(jobs), round=decision.round)
        return any(outcome.granted != outcome.current for outcome in decision.outcomes)

    def _pod(self, one: Job) -> Pod:
        name = f"{one.key.name}-{self.random.random()}"
        return Pod(name, name, None, one.requests, self.world.now, phase="Pending")

    def _bind(self) -> None:
        free = Counter({each.name: each.allocatable[GPU] for each in self.world.nodes})
        for one in self.world.jobs:
            for pod in one.pods:
                if pod.node is not None:
                    free[pod.node] -= pod.requests[GPU]
        waiting = [pod for one in self.world.jobs for pod in one.pods if pod.node is None]
        self.random.shuffle(waiting)
        placed = {}
        for pod in waiting:
            able = sorted(name for name, count in free.items() if count >= pod.requests[GPU])
            if able:
                where = self.random.choice(able)
                free[where] -= pod.requests[GPU]
                placed[pod.uid] = replace(pod, node=where, phase="Running", ready=True, ready_since=self.world.now)
        jobs = tuple(replace(one, pods=tuple(placed.get(p.uid, p) for p in one.pods)) for one in self.world.jobs)
        self.world = replace(self.world, jobs=jobs)

    def _provision(self) -> None:
        """One more node a round while pods are Pending, as far as the limit and the weather go."""
        if not self.pending():
            self.asked.clear()
            return
        self.asked.append(len(self.asked))
        offer = self.world.flavors[1].provisionable
        assert offer is not None
        made = sum(1 for each in self.world.nodes if each.name.startswith("made"))
        able = min(offer.max_nodes - len(self.world.nodes), self.weather.comes - made)
        if len(self.asked) > self.weather.delay and able > 0:
            added = node(f"made-{made}", created=self.world.now)
            self.world = replace(
                self.world, nodes=tuple(sorted((*self.world.nodes, added), key=lambda each: each.name))
            )

    def pending(self) -> int:
        """Accelerators of pods that wait for a node."""
        return sum(pod.requests[GPU] for one in self.world.jobs for pod in one.pods if pod.node is None)


def check(world: Snapshot) -> None:
    used: Counter[str] = Counter()
    by_queue: Counter[str] = Counter()
    total = 0
    for one in world.jobs:
        count = one.admission.replicas if one.admission is not None else 0
        assert count == 0 or count in one.steps
        total += count * one.per_replica
        by_queue[one.queue_name or ""] += count * one.per_replica
        waits = sum(1 for pod in one.pods if pod.node is None)
        assert not waits or (one.admission is not None and one.admission.new_nodes), f"{one.key} waits for nothing"
        for pod in one.pods:
            used[pod.node or ""] += pod.requests[GPU] if pod.node else 0
    assert total <= most_accelerators(world), "more is granted than there may ever be"
    if world.queues:
        assert by_queue["a"] + by_queue["b"] <= 32
        assert by_queue["b"] <= 32


@PROFILE
@given(
    world=worlds(),
    weather=st.builds(Weather, delay=st.integers(0, 6), comes=st.sampled_from((0, 1, 2, 10))),
    seed=st.integers(0, 10**6),
)
def test_no_more_is_granted_than_may_come_and_nobody_else_waits(world: Snapshot, weather: Weather, seed: int) -> None:
    outside = Outside(world, weather, Random(seed))
    for _ in range(45):
        outside.round()
        check(outside.world)


@PROFILE
@given(world=worlds(), delay=st.integers(0, 6), seed=st.integers(0, 10**6))
def test_where_all_nodes_come_everybody_comes_to_rest(world: Snapshot, delay: int, seed: int) -> None:
    outside = Outside(world, Weather(delay, 10), Random(seed))
    for _ in range(40):
        outside.round()
    assert not outside.pending()
    assert not any(outside.resized[-6:])


@PROFILE
@given(world=worlds(), seed=st.integers(0, 10**6))
def test_where_no_node_comes_who_ran_before_runs_on(world: Snapshot, seed: int) -> None:
    before = {one.key for one in world.jobs if one.admission is not None}
    highest = max(one.priority for one in world.jobs)
    outside = Outside(replace(world, queues=()), Weather(0, 0), Random(seed))
    losses = Counter[JobKey]()
    for _ in range(45):
        ran = {one.key for one in outside.world.jobs if has_minimum(one)}
        outside.round()
        losses.update(one.key for one in outside.world.jobs if one.key in ran & before and not has_minimum(one))
    for one in outside.world.jobs:
        # To a higher class it may lose its place; it is not moved to and fro.
        assert losses[one.key] <= (one.priority < highest)


def has_minimum(one: Job) -> bool:
    return one.admission is not None and sum(1 for pod in one.pods if pod.node is not None) >= one.minimum


@PROFILE
@given(world=worlds())
def test_what_may_not_be_added_changes_no_decision(world: Snapshot) -> None:
    plain = replace(world, flavors=(A100, H100))
    none = replace(H100, provisionable=Provisionable(0, EACH))
    assert decide(plain, Policy()) == decide(replace(world, flavors=(A100, none)), Policy())
