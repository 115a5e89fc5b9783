"""One function for each rule."""

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush

from apportion.model.eligibility import current_grant, request_on
from apportion.model.jobs import Job
from apportion.model.plan import Plan
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.optimizer import Filling, Offer, kept

_Rule = Callable[[Filling], None]


def static(snapshot: Snapshot, policy: Policy, certified: bool = True) -> Plan:
    """Everybody at the minimum, in the order of arrival; nobody ever grows."""
    return _made("static", _admit, snapshot, policy, certified)


def fifo(snapshot: Snapshot, policy: Policy, certified: bool = True) -> Plan:
    """First come, first served, with backfill: the most that fits now, kept until the end.

    Who is behind a job that does not fit may go ahead of it; running jobs are never resized.
    """

    def go(filling: Filling) -> None:
        for job in filling.jobs:
            have = current_grant(job).replicas
            if have:
                _take_first(filling, job, [offer for offer in filling.next(job) if offer.replicas == have])
        for job in _by_arrival(filling):
            if filling.now(job) is None:
                offers = list(filling.next(job))
                _take_first(filling, job, sorted(offers, key=lambda offer: (-offer.replicas, -offer.value)))

    return _made("fifo", go, snapshot, policy, certified)


def drf(snapshot: Snapshot, policy: Policy, certified: bool = True) -> Plan:
    """Dominant Resource Fairness (Ghodsi et al., NSDI 2011), with flavors as the resources.

    The queue with the least dominant share over its weight takes the next step: a waiting job's minimum, else a
    replica step of the job that has the fewest accelerators. Jobs without a queue are their namespace's.
    """

    def go(filling: Filling) -> None:
        totals = _totals(snapshot)
        weights = {queue.name: max(queue.weight, 1e-9) for queue in snapshot.queues}
        jobs: dict[str, list[Job]] = {}
        for job in _by_arrival(filling):
            jobs.setdefault(job.queue_name or f"namespace {job.key.namespace}", []).append(job)

        used: dict[str, dict[str, float]] = {user: dict.fromkeys(totals, 0.0) for user in jobs}
        for user, members in jobs.items():
            for have in filter(None, map(filling.now, members)):
                used[user][have.flavor] += have.accelerators

        def share(user: str) -> float:
            dominant = max((count / totals[name] for name, count in used[user].items()), default=0.0)
            return dominant / weights.get(user, 1.0)

        def fewest(user: str) -> list[tuple[float, int]]:
            found = [(_accelerators(filling.now(job)), number) for number, job in enumerate(jobs[user])]
            heapify(found)
            return found

        open_ = {user: fewest(user) for user in jobs}
        queue = [(share(user), user) for user in open_]
        heapify(queue)
        while queue:
            _, user = heappop(queue)
            before, number = heappop(open_[user])
            job = jobs[user][number]
            if _take_first(filling, job, _smallest(filling, job)):
                after = filling.now(job)
                assert after is not None
                used[user][after.flavor] += after.accelerators - before
                heappush(open_[user], (after.accelerators, number))
            if open_[user]:
                heappush(queue, (share(user), user))

    return _made("drf", go, snapshot, policy, certified)


def max_min(snapshot: Snapshot, policy: Policy, certified: bool = True) -> Plan:
    """The slowest first: after the minimums, in the order of arrival, whoever has the least rate over its reference."""

    def go(filling: Filling) -> None:
        _admit(filling)
        running = [(have.rate, number) for number, job in enumerate(filling.jobs) if (have := filling.now(job))]
        heapify(running)
        while running:
            _, number = heappop(running)
            job = filling.jobs[number]
            if _take_first(filling, job, _smallest(filling, job)):
                have = filling.now(job)
                assert have is not None
                heappush(running, (have.rate, number))

    return _made("max-min", go, snapshot, policy, certified)


def greedy(snapshot: Snapshot, policy: Policy, certified: bool = True) -> Plan:
    """The step that is worth most per accelerator, as long as one fits: the optimizer's own fallback without a
    program."""
    return _made("greedy marginal", Filling.fill, snapshot, policy, certified)


def _made(name: str, go: _Rule, snapshot: Snapshot, policy: Policy, certified: bool) -> Plan:
    try:
        filling = Filling(snapshot, policy)
        go(filling)
        return filling.plan(name, certified)
    except Exception as problem:
        return kept(snapshot, f"no plan could be made: {type(problem).__name__}: {problem}")


def _admit(filling: Filling) -> None:
    for job in _by_arrival(filling):
        if filling.now(job) is None:
            _take_first(filling, job, _smallest(filling, job))


def _by_arrival(filling: Filling) -> list[Job]:
    """Higher classes first, then who has waited longest."""
    return sorted(filling.jobs, key=lambda job: (-job.priority, job.waiting_since, job.key))


def _smallest(filling: Filling, job: Job) -> list[Offer]:
    """The next step, on each flavor where it could be taken; the best first."""
    offers = list(filling.next(job))
    least = min((offer.replicas for offer in offers), default=0)
    return [offer for offer in offers if offer.replicas == least]


def _take_first(filling: Filling, job: Job, offers: Iterable[Offer]) -> bool:
    return any(filling.take(job, offer) for offer in offers)


def _accelerators(have: Offer | None) -> float:
    return have.accelerators if have else 0.0


def _totals(snapshot: Snapshot) -> dict[str, float]:
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    totals = dict.fromkeys(flavors, 1e-9)
    for node in snapshot.nodes:
        if node.flavor in flavors:
            totals[node.flavor] += request_on(node.allocatable, flavors[node.flavor])
    return totals
