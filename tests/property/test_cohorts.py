"""Who borrows in a cohort of queues on two flavors, against all assignments there are.

Nobody is kept waiting for the sake of a job that could as well be on another flavor, and nobody borrows what an owner
who waits would take back at once.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from random import Random

from apportion.model.jobs import FlavorChoice, Job
from apportion.model.plan import Grant
from apportion.model.policy import Aim, Objective, Policy
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from builders import A100, H100, NOW, job, node, queue, quota, running, snapshot

FLAVORS = ("a100", "h100")
ROOM = 8

Assignment = Mapping[str, str | None]
"""The flavor of each job, by name."""


def cohort(random: Random) -> Snapshot:
    """One node of each flavor, as fast; jobs of one replica each, of which none runs."""
    limits = (None, None, 0, 4)
    queues = tuple(
        queue(name, *(quota(random.choice((0, 2, 4, 8)), flavor, random.choice(limits)) for flavor in FLAVORS),
              cohort="lab")
        for name in ("blue", "red", "white")[: random.randint(2, 3)]
    )  # fmt: skip
    jobs = [
        job(
            f"j{at}",
            1,
            1,
            random.choice((1, 2, 3, 4, 6, 8)),
            queue_name=random.choice(queues).name,
            flavors=random.choice((None, None, *((FlavorChoice(flavor),) for flavor in FLAVORS))),
            created=NOW - random.choice((10.0, 1000.0, 100_000.0)),
        )
        for at in range(random.randint(2, 4))
    ]
    on = tuple(node(f"{flavor}-0", ROOM, flavor) for flavor in FLAVORS)
    return snapshot(*jobs, on=on, queues=queues, flavors=(replace(A100, speed=1.0), H100))


def accepted(one: Job) -> tuple[str, ...]:
    return FLAVORS if one.flavors is None else tuple(choice.name for choice in one.flavors)


def assignments(world: Snapshot) -> Iterator[Assignment]:
    names = [one.key.name for one in world.jobs]
    for flavors in product(*((None, *accepted(one)) for one in world.jobs)):
        yield dict(zip(names, flavors, strict=True))


class Books:
    """What an assignment comes to, by sums."""

    def __init__(self, world: Snapshot, assignment: Assignment) -> None:
        self.world, self.assignment = world, assignment
        self.nominal = {
            (q.name, f): (found.nominal if (found := q.quota(f)) else 0) for q in world.queues for f in FLAVORS
        }
        self.used = Counter[tuple[str | None, str]]()
        for one in world.jobs:
            if flavor := assignment[one.key.name]:
                self.used[one.queue_name, flavor] += one.per_replica

    def total(self, flavor: str) -> int:
        return sum(count for (_, name), count in self.used.items() if name == flavor)

    def allowed(self) -> bool:
        """Within the nodes, the cohort's quota, and what each queue may borrow."""
        for flavor in FLAVORS:
            own = sum(self.nominal[q.name, flavor] for q in self.world.queues)
            if self.total(flavor) > min(ROOM, own):
                return False
        for one in self.world.queues:
            for flavor in FLAVORS:
                found = one.quota(flavor)
                limit = found.borrowing_limit if found else 0
                if limit is not None and self.used[one.name, flavor] > self.nominal[one.name, flavor] + limit:
                    return False
        return True

    def peaceful(self) -> bool:
        """Nobody who waits could have its place within its queue's own quota if all who borrow on the flavor went."""
        for one in self.world.jobs:
            if self.assignment[one.key.name] is None:
                for flavor in accepted(one):
                    if self._could_take(one, flavor):
                        return False
        return True

    def _could_take(self, one: Job, flavor: str) -> bool:
        if self.used[one.queue_name, flavor] + one.per_replica > self.nominal[str(one.queue_name), flavor]:
            return False
        borrowers = {q.name for q in self.world.queues if self.used[q.name, flavor] > self.nominal[q.name, flavor]}
        theirs = sum(count for (name, on), count in self.used.items() if on == flavor and name in borrowers)
        return bool(borrowers) and self.total(flavor) - theirs + one.per_replica <= ROOM


def carried_out(world: Snapshot, targets: Mapping[str, Grant]) -> Snapshot:
    jobs = (
        running(one, {f"{grant.flavor}-0": grant.replicas}, grant.flavor, NOW) if grant.replicas else one
        for one, grant in ((one, targets[one.key.name]) for one in world.jobs)
    )
    return replace(world, jobs=tuple(jobs), now=NOW + 600)


def targets_of(world: Snapshot, policy: Policy) -> dict[str, Grant]:
    return {outcome.key.name: outcome.target for outcome in decide(world, policy).outcomes}


def test_no_more_could_be_admitted_in_peace_and_nobody_takes_anything_back() -> None:
    for seed in range(400):
        world, policy = cohort(Random(seed)), Policy(objective=Objective(name=list(Aim)[seed % len(Aim)]))
        targets = targets_of(world, policy)
        chosen = {name: grant.flavor or None for name, grant in targets.items()}
        assert Books(world, chosen).allowed(), seed
        admitted = {name for name, flavor in chosen.items() if flavor}
        for other in assignments(world):
            if admitted < {name for name, flavor in other.items() if flavor}:
                books = Books(world, other)
                assert not (books.allowed() and books.peaceful()), (seed, chosen, other)
        assert targets_of(carried_out(world, targets), policy) == targets, seed


def test_nobody_loses_a_promise_to_a_plan_without_promises() -> None:
    """j0 and j2 of one queue are equals, and only one of them has room: the older."""
    assert targets_of(cohort(Random(462)), Policy())["j0"].replicas == 1
