"""What a round's taking works with: who has what, what was promised, what would fit."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from apportion.model.eligibility import accepts, current_grant, eligible, request_on, room, speed, waiting_for_nodes
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant
from apportion.model.queues import Queue
from apportion.model.snapshot import Snapshot, Terms
from apportion.optimizer import claim_of, survivors
from apportion.planner.floors import Floors
from apportion.planner.queueing import Usage, cohort_members, nominal, proportional, usage


def holding(job: Job) -> Grant:
    """What the job has; of one that stands aside for a gang with nothing, the minimum that it is to get again."""
    grant, aside = current_grant(job), job.memory.displaced
    return grant if grant.replicas or aside is None else Grant(aside.flavor, job.minimum)


class Ledger:
    """Mutable while a round's rights are worked out, and gone with it.

    `used` counts what runs and what was promised; `reclaimed` what borrowers must give back; `taken` says for each job
    that may lose its minimum who takes it; `promised` are the waiting jobs that were promised theirs. `floors` answers
    what fits if everybody has but what they must, `present` what fits beside what everybody has. `standing` answers the
    first without the nodes that grants still wait for; None: there are none.
    """

    def __init__(self, snapshot: Snapshot, terms: dict[JobKey, Terms]) -> None:
        self.snapshot = snapshot
        self.terms = terms
        self.jobs = {job.key: job for job in snapshot.jobs}
        self.current = {job.key: holding(job) for job in snapshot.jobs if terms[job.key].candidate}
        self.queues = {queue.name: queue for queue in snapshot.queues}
        self.members = cohort_members(snapshot.queues)
        self.cohort = {queue.name: name for name, group in self.members.items() for queue in group}
        self.used: Usage = usage(self.jobs.values(), self.current)
        self.taken: dict[JobKey, str] = {}
        self.promised: set[JobKey] = set()
        self.reclaimed: Usage = defaultdict(int)
        self._room: dict[str, tuple[int, int]] = {}
        self._startable: dict[tuple[object, str], bool] = {}

    @cached_property
    def floors(self) -> Floors:
        return Floors(replace(self.snapshot, terms=self.terms), self._floor_grants())

    @cached_property
    def standing(self) -> Floors | None:
        there = tuple(node for node in self.snapshot.nodes if node.exists)
        if len(there) == len(self.snapshot.nodes):
            return None
        return Floors(replace(self.snapshot, nodes=there, terms=self.terms), self._floor_grants())

    @cached_property
    def present(self) -> Floors:
        running = {key: grant for key, grant in self.current.items() if grant.replicas}
        return Floors(replace(self.snapshot, terms=self.terms), running)

    def choices(self, job: Job) -> list[Flavor]:
        """Flavors that the job could start on, fastest first."""
        barred = self.terms[job.key].barred
        able = [
            flavor
            for flavor in self.snapshot.flavors
            if flavor.name not in barred and accepts(job, flavor) and self._has_nodes(job, flavor)
        ]
        return sorted(able, key=lambda flavor: (-speed(job, flavor), flavor.name))

    def _has_nodes(self, job: Job, flavor: Flavor) -> bool:
        if (job.nodes, flavor.name) not in self._startable:
            self._startable[job.nodes, flavor.name] = bool(eligible(job, flavor, self.snapshot.nodes))
        return self._startable[job.nodes, flavor.name]

    def within_nominal(self, job: Job, queue: str, flavor: Flavor) -> bool:
        known = self.queues.get(queue)
        need = job.minimum_accelerators
        return known is not None and self.used[queue, flavor.name] + need <= nominal(known, flavor.name)

    def borrowed(self, queue: Queue, flavor: str) -> int:
        return self.used[queue.name, flavor] - nominal(queue, flavor) - self.reclaimed[queue.name, flavor]

    def running_in(self, queue: str | None, flavor: str) -> list[Job]:
        """Jobs that could give something: lowest class first, then the youngest grant."""
        running = [
            self.jobs[key]
            for key, grant in self.current.items()
            if grant.replicas and grant.flavor == flavor and self.jobs[key].queue_name == queue
            if not self.terms[key].pinned and key not in self.taken
        ]
        return sorted(running, key=lambda job: (job.priority, -job.waiting_since, job.key))

    def past_min_runtime(self, job: Job) -> bool:
        """While nodes come, a grant is protected as within minRuntime."""
        return job.admission is not None and self.snapshot.now >= job.runs_until and not waiting_for_nodes(job)

    def surplus(self, borrowers: Sequence[Queue], flavor: Flavor) -> dict[JobKey, Grant]:
        """Borrowers' jobs at their minimums: a reclaim is stronger than minRuntime."""
        return {
            job.key: Grant(flavor.name, job.minimum)
            for queue in borrowers
            for job in self.running_in(queue.name, flavor.name)
            if self.current[job.key].replicas > job.minimum
        }

    def take(self, changes: Mapping[JobKey, Grant]) -> None:
        for floors in (self.floors, self.standing, self.present):
            if floors is not None:
                floors.take(changes)

    def makes_room(self, changes: Mapping[JobKey, Grant]) -> bool:
        """Would these changes, of which some take from others, fit? They have to fit on nodes that exist: others give
        up nothing for somebody who would wait for nodes that may never come."""
        return self.floors.fits(changes) and (self.standing is None or self.standing.fits(changes))

    def divide(self, amount: int, flavor: Flavor, borrowers: Sequence[Queue]) -> None:
        """What the borrowers must give back of one flavor, in proportion to what each has borrowed.

        What is free, or unused quota of the cohort, is taken first.
        """
        if not borrowers:
            return
        members = self.members[self.cohort[borrowers[0].name]]
        unused = sum(nominal(queue, flavor.name) - self.used[queue.name, flavor.name] for queue in members)
        need = max(0, amount - max(0, min(unused, self.unoccupied(flavor))))
        borrowed = {queue.name: max(0, self.borrowed(queue, flavor.name)) for queue in borrowers}
        for name, cut in proportional(need, borrowed).items():
            self.reclaimed[name, flavor.name] += cut

    def unoccupied(self, flavor: Flavor) -> int:
        """Accelerators of the flavor, on nodes that take new pods, that no job has or was promised."""
        if flavor.name not in self._room:
            self._room[flavor.name] = self._free_and_bound(flavor)
        free, bound = self._room[flavor.name]
        return free + bound - sum(count for (_, name), count in self.used.items() if name == flavor.name)

    def _free_and_bound(self, flavor: Flavor) -> tuple[int, int]:
        """What pods leave free on nodes that take new ones, and what they have in all, on other nodes as well."""
        nodes = {node.name for node in self.snapshot.nodes if node.flavor == flavor.name}
        held: dict[str | None, int] = defaultdict(int)
        bound = 0
        for key, grant in self.current.items():
            if grant.replicas and grant.flavor == flavor.name:
                staying = survivors(self.jobs[key], grant.replicas, nodes)
                bound += len(staying) * self.jobs[key].per_replica
                for pod in staying:
                    held[pod.node] += request_on(claim_of(self.jobs[key], pod), flavor)
        free = {name: request_on(left, flavor) for name, left in room(self.snapshot).items() if name in nodes}
        return sum(max(0, left - held[name]) for name, left in free.items()), bound

    def _floor_grants(self) -> dict[JobKey, Grant]:
        floors = {}
        for key, grant in self.current.items():
            terms = self.terms[key]
            if grant.replicas:
                kept = grant.replicas if terms.pinned else min(grant.replicas, terms.keeps)
                floors[key] = Grant(grant.flavor, kept)
        return floors

    def release(self, keys: Iterable[JobKey]) -> None:
        """From now on these jobs are held to their minimums alone: a reclaim is stronger than minRuntime."""
        for key in keys:
            self.terms[key] = replace(self.terms[key], keeps=self.jobs[key].minimum, free_to_change=True)
