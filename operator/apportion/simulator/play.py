"""The virtual clock: when a decision is due, what it sees, what becomes of it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType

from apportion.model.plan import Decision, Plan
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import solve
from apportion.planner import decide
from apportion.simulator.arrivals import Arrival, Noise, errors, told
from apportion.simulator.failures import Failures, Outage, outages, struck
from apportion.simulator.measuring import Measuring, Observer
from apportion.simulator.scheduling import Scheduler, any_leaving, left
from apportion.simulator.world import Done, Entry, World, first_end, passed, settled

Watch = Callable[[Snapshot], Mapping[str, float]]


@dataclass(frozen=True)
class Course:
    """How time goes, in seconds. Decisions fall on whole multiples of `every`.

    follow: when the room that a change sets free is looked at. noise: of the measured rates of all sizes; measuring:
    how a size is learned where a job is; None: of rates is known what the job's spec says. seed: of both and of
    failures, whose draws depend on it, the job or node, and the time alone. until: its end. patience: it ends too when
    nobody comes any more and nobody has had anything for so long.
    """

    every: float = 60.0
    follow: float = 5.0
    noise: Noise | None = None
    measuring: Measuring | None = None
    failures: Failures | None = None
    seed: int = 0
    until: float = math.inf
    patience: float = 7200.0


@dataclass(frozen=True)
class Rules:
    """What is tried: a policy and the rule that shares (by default the integer program).

    watch: sees every snapshot, and says for which flavors there is a grace, and until when.
    """

    policy: Policy
    share: Callable[[Snapshot, Policy], Plan] = solve
    watch: Watch | None = None


DEFAULT_COURSE = Course()


@dataclass(frozen=True)
class Step:
    """A decision, the world right after it, and who was done since the last one."""

    decision: Decision
    world: World
    done: tuple[Done, ...]


def play(
    start: Snapshot, arrivals: Iterable[Arrival], rules: Rules, scheduler: Scheduler, course: Course = DEFAULT_COURSE
) -> Iterator[Step]:
    """Decisions from `start.now` until nothing is left to happen, or the course ends.

    `arrivals` rise in time; `start` has nodes, flavors and queues, and no jobs. Each decision sees the snapshot that
    the controller would build: what the last one wrote as memory, the pods that came of it, the measured curves.
    Unchanged input is not decided again before Decision.recheck_after, as in the controller. Only the jobs that
    have come and are not done are held. Raises ValueError for arrivals that go back in time.
    """
    return _Play(World(start), iter(arrivals), rules, scheduler, course).steps()


class _Play:
    def __init__(
        self, world: World, arrivals: Iterator[Arrival], rules: Rules, scheduler: Scheduler, course: Course
    ) -> None:
        self.world, self._rules, self._scheduler, self._course = world, rules, scheduler, course
        self._arrivals = arrivals
        self._coming = next(arrivals, None)
        self._measured = -math.inf
        self._observer = Observer(course.measuring, course.seed) if course.measuring is not None else None
        names = [node.name for node in world.snapshot.nodes if node.placeable]
        self._outages = outages(names, course.failures, course.seed) if course.failures is not None else iter(())
        self._outage: Outage | None = next(self._outages, None)
        self._held = world.now

    def _tick(self, at: float) -> float:
        """The first round at or after `at`."""
        every = self._course.every
        return at if math.isinf(at) else math.ceil(at / every - 1e-9) * every

    def _due(self, step: Step) -> float:
        """When the next decision is due, unless somebody is done or a node fails before."""
        now = self.world.now
        waves = [resize.wave for resize in step.decision.resizes]
        if any_leaving(self.world.snapshot) or (0 in waves and max(waves) > 0):
            return now + self._course.follow
        due = self._tick(max(self._next_arrival(), now + 1e-6))
        if self._course.noise is not None and self.world.entries:
            due = min(due, self._tick(now + 1e-6))
        if self._observer is not None:
            due = min(due, self._tick(max(self._observer.next(self.world), now + 1e-6)))
        if step.decision.recheck_after is not None:
            due = min(due, self._tick(now + step.decision.recheck_after))
        return due

    def steps(self) -> Iterator[Step]:
        due = self._tick(max(self.world.now, self._next_arrival()))
        while (done := self._pass(min(due, self._course.until))) is not None:
            self._read(done)
            step = self._decide(done)
            yield step
            if self.world.now >= self._course.until or self._in_vain():
                return
            due = self._due(step)

    def _in_vain(self) -> bool:
        """Nobody comes any more, and those who wait have had nothing for long."""
        if self._coming is not None or self._is_held():
            self._held = self.world.now
        return self.world.now - self._held > self._course.patience

    def _is_held(self) -> bool:
        return any(entry.held for entry in self.world.entries.values())

    def _next_arrival(self) -> float:
        return self._coming.at if self._coming is not None else math.inf

    def _pass(self, due: float) -> tuple[Done, ...] | None:
        """Time passes until `due`, or until the round after somebody is done or a node fails before; None: nothing
        happens any more."""
        done: list[Done] = []
        while True:
            due = min(due, max(self.world.now, self._tick(first_end(self.world))))
            outage = self._outage
            if math.isinf(due) and (outage is None or not self.world.entries):
                return None
            held, stop = self._is_held(), due if outage is None else min(due, max(self.world.now, outage.at))
            self.world, gone = passed(self.world, stop)
            done += gone
            if held:
                self._held = stop
            if outage is None or outage.at > due:
                return tuple(done)
            assert self._course.failures is not None
            self.world = struck(self.world, outage, self._scheduler, self._course.failures.checkpoint)
            self._outage = next(self._outages, None)
            due = min(due, self._tick(self.world.now))

    def _read(self, done: tuple[Done, ...]) -> None:
        """What the controller reads now: pods that left are gone, jobs have come, rates were measured."""
        if self._observer is not None:
            self._observer.left(done)
        world = replace(self.world, snapshot=left(self.world.snapshot))
        entries, jobs = dict(world.entries), {job.key: job for job in world.snapshot.jobs}
        while self._coming is not None and self._coming.at <= world.now:
            came, self._coming = self._coming, next(self._arrivals, None)
            if self._coming is not None and self._coming.at < came.at:
                raise ValueError(f"{self._coming.job.key} comes at {self._coming.at}, before {came.job.key}")
            if came.job.key in entries:
                raise ValueError(f"{came.job.key} comes at {came.at}, and is there already")
            entries[came.job.key] = Entry(came, queued=world.now - came.at)
            jobs[came.job.key] = replace(came.job, created=came.at, observed_generation=came.job.generation)
        noise = self._course.noise
        if noise is not None and self._tick(world.now) > self._measured:
            self._measured = self._tick(world.now)
            for key, entry in entries.items():
                random = Random(f"{self._course.seed} {key} {self._measured}")
                # A job that has just come was measured as often before.
                draws = 1 if entry.recent else noise.window
                recent = (*entry.recent, *(errors(entry.arrival, noise, random) for _ in range(draws)))[-noise.window :]
                entries[key] = replace(entry, recent=recent)
                jobs[key] = told(entry.arrival, jobs[key], recent)
        snapshot = replace(world.snapshot, jobs=tuple(jobs[key] for key in sorted(jobs)))
        self.world = replace(world, snapshot=self._scheduler.bind(snapshot), entries=MappingProxyType(entries))

    def _decide(self, done: tuple[Done, ...]) -> Step:
        snapshot = self.world.snapshot
        if self._observer is not None:
            snapshot = self._observer.learned(self.world)
        if self._rules.watch is not None:
            snapshot = replace(snapshot, grace=self._rules.watch(snapshot))
        decision = decide(snapshot, self._rules.policy, self._rules.share)
        snapshot = self._scheduler.bind(self._scheduler.carry_out(snapshot, decision))
        account = self.world.account
        changes = sum(resize.wave == 0 for resize in decision.resizes)
        account = replace(account, decisions=account.decisions + 1, resizes=account.resizes + changes)
        self.world = settled(replace(self.world, snapshot=snapshot, account=account))
        return Step(decision, self.world, done)
