"""The optimizer against brute force and against its own promises, on generated clusters."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apportion.model.curves import Points, Usl
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Admission, Job, JobKey, Memory, Pod
from apportion.model.plan import Plan, Status
from apportion.model.policy import Policy, SolverLimits, Stability
from apportion.model.queues import Queue, Quota
from apportion.model.resources import total
from apportion.model.selection import NodeChoice
from apportion.model.snapshot import Ceiling, Snapshot, Terms
from apportion.optimizer import place, solve, survivors, violations
from apportion.optimizer.repair import Assignment
from apportion.optimizer.solve import Effort, Round
from property.brute_force import best, job_value, packs

GPU = "nvidia.com/gpu"
NOW = 100_000.0
EXACT = Policy(solver=SolverLimits(gap=0.0), stability=Stability(fewest_moves_within=0.0))
GREEDY = replace(EXACT, solver=SolverLimits(gap=0.0, methods=("greedy",)))

QUICK = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck), database=None
)

CURVES = (Usl(1.0, 0.017), Usl(2.0, 0.19, 0.006), Usl(1.0, 0.0), Points(((1, 1.0), (3, 2.0), (4, 1.5))), Usl(1.0, 0.9))


@st.composite
def snapshots(
    draw: st.DrawFn, sizes: Sequence[int] = (1, 2, 4), flavors: int = 1, most_jobs: int = 4, tight_cpu: bool = False
) -> Snapshot:
    """A few nodes and jobs; what runs fits, and keeps its minimum."""
    catalog = tuple(Flavor(f"f{at}", GPU, speed=1.0 + 0.8 * at) for at in range(flavors))
    nodes = []
    for at in range(draw(st.integers(1, 3))):
        amounts = {GPU: draw(st.sampled_from((2, 4, 8))), "pods": 110, "cpu": 64_000}
        if tight_cpu:
            amounts["cpu"] = draw(st.sampled_from((3_000, 6_000, 9_000)))
        foreign = {GPU: draw(st.sampled_from((0, 0, 1, 3)))}
        nodes.append(Node(f"n{at}", f"f{at % flavors}", amounts, foreign))
    with_queues = draw(st.booleans())
    free = {n.name: {k: v - n.foreign.get(k, 0) for k, v in n.allocatable.items()} for n in nodes}
    jobs, terms = [], {}
    for at in range(draw(st.integers(1, most_jobs))):
        job = _job(draw, at, sizes, tight_cpu, with_queues)
        job = _running(draw, job, nodes, free)
        jobs.append(job)
        if job.admission is not None:
            promised = draw(st.sampled_from((job.minimum, job.minimum, 0, job.admission.replicas)))
            terms[job.key] = Terms(
                keeps=promised,
                grows=draw(st.sampled_from((True, True, False))),
                moves=draw(st.booleans()),
                free_to_change=draw(st.sampled_from((False, False, True))),
            )
    queues = ()
    if with_queues:
        held = sum(job.admission.replicas * job.per_replica for job in jobs if job.admission)
        queues = (
            Queue(
                "a", weight=draw(st.sampled_from((1.0, 3.0))), quotas=(Quota("*", max(held, draw(st.integers(2, 16)))),)
            ),
        )
    return Snapshot(NOW, tuple(nodes), catalog, tuple(jobs), queues, terms=terms)


def _job(draw: st.DrawFn, at: int, sizes: Sequence[int], tight_cpu: bool, with_queues: bool) -> Job:
    size = draw(st.sampled_from(sizes))
    minimum = draw(st.integers(1, 2))
    steps = tuple(sorted({minimum, *draw(st.lists(st.integers(minimum, 5), max_size=3))}))
    cpu = draw(st.sampled_from((500, 1_000, 2_000))) if tight_cpu else 1_000
    return Job(
        JobKey("ns", f"j{at}"),
        f"uid{at}",
        NOW - draw(st.sampled_from((0.0, 30.0, 700.0, 9_000.0))),
        steps,
        GPU,
        size,
        {GPU: size, "cpu": cpu, "pods": 1},
        queue_name="a" if with_queues else None,
        priority=draw(st.sampled_from((0, 0, 100))),
        curve=draw(st.sampled_from(CURVES)),
        restart_seconds=draw(st.sampled_from((0.0, 30.0, 120.0))),
    )


def _running(draw: st.DrawFn, job: Job, nodes: Sequence[Node], free: dict[str, dict[str, int]]) -> Job:
    """With a grant and bound pods, if that was drawn and there is room."""
    if not draw(st.booleans()):
        return job
    replicas = draw(st.sampled_from(job.steps))
    flavor = draw(st.sampled_from(sorted({node.flavor or "" for node in nodes})))
    left = {name: dict(amounts) for name, amounts in free.items()}
    pods = []
    for at in range(replicas):
        node = next(
            (
                n.name
                for n in nodes
                if n.flavor == flavor and all(left[n.name][k] >= v for k, v in job.requests.items())
            ),
            None,
        )
        if node is None:
            return job
        for key, amount in job.requests.items():
            left[node][key] -= amount
        pods.append(Pod(f"{job.key.name}-{at}", f"{job.uid}-{at}", node, job.requests, NOW - 500, ready=True))
    free.update(left)
    since = NOW - draw(st.sampled_from((10.0, 400.0, 5_000.0)))
    memory = Memory(admission=Admission(flavor, replicas, 1, since), restarts=draw(st.integers(0, 2)))
    return replace(job, pods=tuple(pods), memory=memory, created=min(job.created, since))


def chosen(snapshot: Snapshot, plan: Plan) -> list[tuple[Job, str, int]]:
    jobs = {job.key: job for job in snapshot.jobs}
    return [(jobs[a.key], a.flavor or "", a.replicas) for a in plan.allocations if a.replicas]


def within_quota(snapshot: Snapshot, chosen: Sequence[tuple[Job, str, int]]) -> bool:
    """Of one queue without a cohort."""
    for queue in snapshot.queues:
        for flavor in snapshot.flavors:
            used = sum(job.per_replica * count for job, name, count in chosen if name == flavor.name)
            if used > queue.quotas[0].nominal:
                return False
    return True


def value(snapshot: Snapshot, policy: Policy, plan: Plan) -> float:
    total = 0.0
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    for job, flavor, replicas in chosen(snapshot, plan):
        worth, growth = job_value(snapshot, policy, job, flavors[flavor], replicas)
        total += growth if snapshot.terms.get(job.key, Terms()).keeps else worth + growth
    return total


@QUICK
@given(snapshots())
def test_one_pool_of_a_divisor_chain_reaches_the_brute_force_optimum(snapshot: Snapshot) -> None:
    plan = solve(snapshot, EXACT)
    found = best(snapshot, EXACT, lambda picked: within_quota(snapshot, picked))
    assert found is not None
    assert plan.warnings == ()
    assert plan.bound >= found.value - 1e-6
    if not plan.unplaced:
        assert plan.objective == pytest.approx(found.value, abs=1e-5), (chosen(snapshot, plan), found)
        assert value(snapshot, EXACT, plan) == pytest.approx(plan.objective, abs=1e-6)


@QUICK
@given(snapshots(sizes=(1, 2, 3), flavors=2, most_jobs=3), st.sampled_from((EXACT, GREEDY)))
def test_the_bound_is_never_below_the_optimum(snapshot: Snapshot, policy: Policy) -> None:
    plan = solve(snapshot, policy)
    found = best(snapshot, policy, lambda picked: within_quota(snapshot, picked))
    if found is not None:
        assert plan.bound >= found.value - 1e-6
    assert plan.bound >= plan.objective


def staying(snapshot: Snapshot, picked: Sequence[tuple[Job, str, int]]) -> dict[JobKey, tuple[Pod, ...]]:
    """The pods that stay where they are."""
    found = {}
    for job, flavor, replicas in picked:
        if job.admission is not None and job.admission.flavor == flavor:
            found[job.key] = survivors(job, replicas, {node.name for node in snapshot.nodes})
    return {key: pods for key, pods in found.items() if pods}


def packs_around(snapshot: Snapshot, picked: Sequence[tuple[Job, str, int]]) -> bool:
    """New pods find room beside those that stay."""
    stays = staying(snapshot, picked)
    nodes = []
    for node in snapshot.nodes:
        here = [pod.requests for pods in stays.values() for pod in pods if pod.node == node.name]
        nodes.append(replace(node, foreign=total((node.foreign, *here))))
    around = replace(snapshot, nodes=tuple(nodes))
    return packs(around, [(job, flavor, count - len(stays.get(job.key, ()))) for job, flavor, count in picked])


@QUICK
@given(snapshots(sizes=(1, 2, 3), flavors=2, most_jobs=4), st.booleans())
def test_the_bound_of_plans_that_leave_the_same_pods_is_never_below_the_best_of_them(
    snapshot: Snapshot, stand: bool
) -> None:
    """Also around a poor plan: everybody keeps what they have."""
    round_ = Round(snapshot, EXACT)
    attempt = round_.attempted(round_.found, round_.limits, Effort(0.0, {}))
    if stand:
        columns = round_.found.columns
        current = {int(columns.group[at]): at for at in np.flatnonzero(columns.current).tolist()}
        kept = {job.key: current.get(at, -1) for at, group in enumerate(round_.found.groups) for job in group.members}
        counts = np.bincount([at for at in kept.values() if at >= 0], minlength=len(columns)).astype(float)
        attempt = replace(attempt, assignment=Assignment(kept, counts, (), resolved=False))
    plan = round_.plan_of(attempt, attempt.bound, attempt.bound_staying(round_.ground))
    stays = staying(snapshot, chosen(snapshot, plan))

    def allowed(picked: list[tuple[Job, str, int]]) -> bool:
        same = staying(snapshot, picked) == stays
        return same and within_quota(snapshot, picked) and packs_around(snapshot, picked)

    found = best(snapshot, EXACT, allowed)
    assert plan.bound_staying is not None
    if found is not None:
        assert plan.bound_staying >= found.value - 1e-6


@st.composite
def unlike_clusters(draw: st.DrawFn) -> Snapshot:
    """Sizes that are no chain, processors that bind first, zones that only some may use: rows of sums do not say it."""
    base = draw(snapshots(sizes=(1, 2, 3, 4, 6), tight_cpu=draw(st.booleans())))
    zone = {node.name: draw(st.sampled_from("ab")) for node in base.nodes}
    nodes = tuple(replace(node, labels={"zone": zone[node.name]}) for node in base.nodes)
    jobs = []
    for job in base.jobs:
        here = {zone[pod.node or ""] for pod in job.pods}
        wanted = draw(st.sampled_from((None, "a", "b")))
        fixed = wanted is None or (here and here != {wanted})
        jobs.append(job if fixed else replace(job, nodes=NodeChoice((("zone", str(wanted)),))))
    return replace(base, nodes=nodes, jobs=tuple(jobs), queues=())


@QUICK
@given(unlike_clusters())
def test_where_rows_do_not_say_what_packs_the_brute_force_optimum_is_reached_too(base: Snapshot) -> None:
    """With nothing running: then no choice of who stays where is left open."""
    jobs = tuple(replace(job, pods=(), memory=Memory()) for job in base.jobs)
    snapshot = replace(base, jobs=jobs, terms={})
    plan, found = solve(snapshot, EXACT), best(snapshot, EXACT, lambda picked: True)
    assert found is not None
    assert plan.status is Status.OPTIMAL
    assert plan.objective == pytest.approx(found.value, abs=1e-5), (chosen(snapshot, plan), found)
    assert plan.bound == pytest.approx(found.value, abs=1e-5)


@QUICK
@given(unlike_clusters(), st.sampled_from((0.0, 0.05)))
def test_beside_pods_that_stay_nothing_better_with_the_same_in_their_places_was_called_infeasible(
    snapshot: Snapshot, within: float
) -> None:
    plan = solve(snapshot, replace(EXACT, stability=Stability(fewest_moves_within=within)))
    stays = staying(snapshot, chosen(snapshot, plan))
    found = best(snapshot, EXACT, lambda picked: staying(snapshot, picked) == stays and packs_around(snapshot, picked))
    assert plan.bound_staying is not None
    assert plan.bound >= plan.bound_staying >= plan.objective
    if found is not None:
        given_up = within * abs(found.value)
        assert plan.objective == pytest.approx(found.value, abs=1e-5 + given_up), (chosen(snapshot, plan), found)
        assert value(snapshot, EXACT, plan) >= found.value - 1e-5 - 2 * given_up
        assert plan.bound_staying >= found.value - 1e-6


@QUICK
@given(snapshots(sizes=(1, 2, 3, 4, 6), flavors=2, tight_cpu=True), st.sampled_from((EXACT, GREEDY)))
def test_plans_pack_and_keep_every_rule(snapshot: Snapshot, policy: Policy) -> None:
    plan = solve(snapshot, policy)
    assert violations(snapshot, plan.allocations) == []
    assert not place(snapshot, plan.allocations).unplaced
    picked = chosen(snapshot, plan)
    assert packs(snapshot, picked)
    assert within_quota(snapshot, picked)
    for job, _, replicas in picked:
        assert replicas in job.steps
        assert replicas >= snapshot.terms.get(job.key, Terms()).keeps or job.key in plan.short
    assert value(snapshot, policy, plan) == pytest.approx(plan.objective - plan.moves_cost, abs=1e-6)
    assert solve(snapshot, policy) == plan


@st.composite
def shared_clusters(draw: st.DrawFn) -> Snapshot:
    """Two queues of a cohort with limits, two flavors, nothing or something running."""
    base = draw(snapshots(flavors=2, most_jobs=6))
    held = sum(job.admission.replicas * job.per_replica for job in base.jobs if job.admission)

    def quota() -> tuple[Quota, ...]:
        limits = st.sampled_from((None, None, 0, 2))
        return (Quota("*", draw(st.integers(0, 12)), draw(limits), draw(limits)),)

    queues = (Queue("a", "c", quotas=quota()), Queue("b", draw(st.sampled_from(("c", ""))), quotas=quota()))
    jobs = tuple(replace(job, queue_name=draw(st.sampled_from(("a", "b")))) for job in base.jobs)
    terms = {key: replace(value, borrows=draw(st.booleans())) for key, value in base.terms.items()}
    ceilings = (Ceiling("a", "f0", draw(st.integers(0, held + 4))),) if draw(st.booleans()) else ()
    return replace(base, queues=queues, jobs=jobs, terms=terms, ceilings=ceilings)


@QUICK
@given(shared_clusters(), st.sampled_from((EXACT, GREEDY)))
def test_queues_of_a_cohort_stay_within_what_is_theirs(snapshot: Snapshot, policy: Policy) -> None:
    plan = solve(snapshot, policy)
    assert plan.status is not Status.KEPT, plan.warnings
    assert violations(snapshot, plan.allocations) == []
    assert plan.objective <= plan.bound
    for key in plan.short:
        assert snapshot.terms[key].keeps > 0
    # Promises on the flavor where they run are never lost to a quota, only to nodes, and all these nodes are there.
    assert plan.short == ()


@QUICK
@given(snapshots(flavors=2, most_jobs=5), st.data())
def test_nothing_useful_stays_idle(snapshot: Snapshot, data: st.DataObject) -> None:
    """No job could be given its next step, on what is free and within its quota, at a gain."""
    plan = solve(snapshot, data.draw(st.sampled_from((EXACT, Policy(), GREEDY))))
    flavors = {flavor.name: flavor for flavor in snapshot.flavors}
    for allocation, job in zip(plan.allocations, snapshot.jobs, strict=True):
        terms = snapshot.terms.get(job.key, Terms())
        larger = [step for step in job.steps if step > allocation.replicas]
        if not allocation.replicas or not larger or not terms.grows:
            continue
        flavor = flavors[allocation.flavor or ""]
        before = sum(job_value(snapshot, EXACT, job, flavor, allocation.replicas))
        if sum(job_value(snapshot, EXACT, job, flavor, larger[0])) <= before + 1e-9:
            continue
        raised = [replace(a, replicas=larger[0]) if a.key == job.key else a for a in plan.allocations]
        assert violations(snapshot, raised) or place(snapshot, raised).unplaced


@QUICK
@given(snapshots(most_jobs=5), st.sampled_from((1.5, 4.0)))
def test_a_heavier_weight_never_lowers_a_queues_own_value(snapshot: Snapshot, times: float) -> None:
    half = len(snapshot.jobs) // 2
    queues = (Queue("a", "c", quotas=(Quota("*", 12),)), Queue("b", "c", quotas=(Quota("*", 12),)))
    jobs = tuple(replace(job, queue_name="a" if at < half else "b", pods=()) for at, job in enumerate(snapshot.jobs))
    jobs = tuple(replace(job, memory=Memory(), priority=0) for job in jobs)
    before = replace(snapshot, queues=queues, jobs=jobs, terms={})
    after = replace(before, queues=(replace(queues[0], weight=times), queues[1]))

    def own(plan: Plan) -> float:
        flavor = before.flavors[0]
        mine = [entry for entry in chosen(before, plan) if entry[0].queue_name == "a"]
        return sum(sum(job_value(before, EXACT, job, flavor, replicas)) for job, _, replicas in mine)

    light, heavy = solve(before, EXACT), solve(after, EXACT)
    if not light.unplaced and not heavy.unplaced:
        assert own(heavy) >= own(light) - 1e-6


@QUICK
@given(snapshots(sizes=(1, 3, 10**12), tight_cpu=True), st.data())
def test_nonsense_is_survived(snapshot: Snapshot, data: st.DataObject) -> None:
    odd = st.sampled_from((math.nan, math.inf, -math.inf, -1.0, 0.0, 1e300))
    jobs = tuple(
        replace(
            job,
            curve=Usl(data.draw(odd), data.draw(odd), 0.0),
            restart_seconds=data.draw(odd),
            created=data.draw(odd),
            steps=data.draw(st.sampled_from((job.steps, (), (0,), (3, 1), (10**18,)))),
        )
        for job in snapshot.jobs
    )
    queues = tuple(replace(queue, weight=data.draw(odd)) for queue in snapshot.queues)
    flavors = tuple(replace(flavor, speed=data.draw(odd)) for flavor in snapshot.flavors)
    hostile = replace(snapshot, jobs=jobs, queues=queues, flavors=flavors)
    plan = solve(hostile, EXACT)
    assert len(plan.allocations) == len(jobs)
    assert math.isfinite(plan.objective)
    assert plan.bound >= plan.objective
    if plan.status is not Status.KEPT:
        assert violations(hostile, plan.allocations) == []
