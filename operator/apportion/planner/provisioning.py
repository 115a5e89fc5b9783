"""Nodes that an autoscaler would add: seen as if they were there, as far as what they would do is worth their price.

A round is planned twice. First on what exists and on the nodes that earlier grants wait for; that says who takes from
whom. Then, if somebody would still have more, also on the nodes that may be added, where nobody gets more by them than
is worth it. A grant that needs such nodes is made like any other: its pods are Pending, and that is what the
autoscaler acts on. All that is remembered is the number of nodes in status.admission.

Worth it: for its money and after the wait, an accelerator of a new node must do at least least_yield of the work that
one of the job's minimum does. That is, step by step from 0 replicas,

    (more work / more replicas) / (work of the minimum / minimum) * (its work per price / the best work per price)
    * hold / (hold + timeout)  >=  least_yield

with the best of the flavors that the job accepts and that have a price, and hold the time for which a change is
expected to last. Prices of 0 and prices that nobody gave are no yardstick.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from apportion.model.eligibility import accepts, current_grant, request_on, speed, waiting_for_nodes
from apportion.model.flavors import Flavor, Node, Provisionable
from apportion.model.jobs import Job, JobKey
from apportion.model.plan import Grant, NewNodes, Outcome
from apportion.model.policy import Policy
from apportion.model.resources import CPU, MEMORY, PODS, times_fitting
from apportion.model.snapshot import Snapshot
from apportion.planner.changes import NAMED
from apportion.planner.rates import rate_on

STARTING = ("is not ready", "is starting")
PLENTY = 2**50
"""Of cpu and memory on a node of which nothing is known but its accelerators."""
PODS_PER_NODE = 110
ROUNDING = 1e-9


def patient(job: Job, flavors: Iterable[Flavor]) -> Job:
    """A job that waits for new nodes waits as long as the flavor says, if that is longer."""
    if not waiting_for_nodes(job):
        return job
    assert job.admission is not None
    for flavor in flavors:
        if flavor.name == job.admission.flavor and flavor.provisionable is not None:
            most = max(job.placement_timeout_seconds, flavor.provisionable.timeout_seconds)
            return replace(job, placement_timeout_seconds=most)
    return job


def with_coming(snapshot: Snapshot) -> Snapshot:
    """With the nodes that grants of earlier rounds wait for."""
    counts = Counter[str]()
    for job in snapshot.jobs:
        if missing := waiting_for_nodes(job):
            assert job.admission is not None
            counts[job.admission.flavor] += min(job.admission.new_nodes, missing)
    return _with_new(snapshot, counts)


def with_all(snapshot: Snapshot) -> Snapshot:
    """With all nodes that may be added, as far as jobs could use them."""
    counts = Counter[str]()
    for flavor in snapshot.flavors:
        if flavor.provisionable is not None:
            each = flavor.provisionable.accelerators_per_node
            able = (job for job in snapshot.jobs if accepts(job, flavor))
            counts[flavor.name] = sum(-(-job.maximum // max(1, each // job.per_replica)) for job in able)
            # A grant that was made under a larger maximum keeps its nodes.
            counts[flavor.name] += sum(map(waiting_for_nodes, snapshot.jobs))
    return _with_new(snapshot, counts)


def added(narrow: Snapshot, wide: Snapshot) -> dict[str, int]:
    """Accelerators by flavor of the nodes that only the second has."""
    there = {node.name for node in narrow.nodes}
    flavors = {flavor.name: flavor for flavor in wide.flavors}
    more = Counter[str]()
    for node in wide.nodes:
        if node.name not in there and node.flavor is not None:
            more[node.flavor] += request_on(node.allocatable, flavors[node.flavor])
    return dict(more)


def _with_new(snapshot: Snapshot, counts: Mapping[str, int]) -> Snapshot:
    new = [
        node
        for flavor in snapshot.flavors
        if flavor.provisionable is not None
        for node in _new_nodes(snapshot, flavor, flavor.provisionable, counts.get(flavor.name, 0))
    ]
    if not new:
        return snapshot
    return replace(snapshot, nodes=tuple(sorted((*snapshot.nodes, *new), key=lambda node: node.name)))


def _new_nodes(snapshot: Snapshot, flavor: Flavor, offer: Provisionable, wanted: int) -> list[Node]:
    """At most `wanted`, of the shape of the first that exists with as many accelerators, or of a guessed one.

    A node that has just been made and is not ready yet is one of them still: its pods wait for it.
    """
    since = snapshot.now - offer.timeout_seconds
    mine = [node for node in snapshot.nodes if node.flavor == flavor.name]
    there = [node for node in mine if not (node.why_not in STARTING and not node.placeable and node.created > since)]
    like = next((n for n in mine if request_on(n.allocatable, flavor) == offer.accelerators_per_node), None)
    guessed = {CPU: PLENTY, MEMORY: PLENTY, PODS: PODS_PER_NODE}
    allocatable = like.allocatable if like else {**guessed, flavor.resource: offer.accelerators_per_node * flavor.unit}
    labels = {key: value for key, value in (like.labels if like else {}).items() if key not in NAMED}
    return [
        Node(
            # No node of Kubernetes has a colon in its name.
            name=f"new:{flavor.name}:{number}",
            flavor=flavor.name,
            allocatable=allocatable,
            labels={**labels, **dict(flavor.node_selector)},
            taints=like.taints if like else (),
            exists=False,
        )
        for number in range(min(wanted, max(0, offer.max_nodes - len(there))))
    ]


def worthwhile(wide: Snapshot, narrow: Snapshot, policy: Policy, targets: Mapping[JobKey, Grant]) -> Snapshot | None:
    """`wide` with jobs and terms such that no new node is used where that is not worth it; None: nobody would have one.

    targets: what everybody gets of what there is, in `narrow`. Nobody gets less by this, and whoever runs does not move
    onto nodes that do not exist: it would stop and wait for them.
    """
    offered = {flavor.name: flavor for flavor in wide.flavors if flavor.name in added(narrow, wide)}
    hold = policy.stability.expected_hold_seconds
    jobs, terms, wanted = [], dict(wide.terms), False
    for job in wide.jobs:
        own, target = wide.terms[job.key], targets[job.key]
        if own.candidate and not own.pinned:
            own = terms[job.key] = replace(own, keeps=target.replicas)
        able = [flavor for name, flavor in offered.items() if name not in own.barred and accepts(job, flavor)]
        if not able or not own.candidate or own.pinned:
            jobs.append(job)
            continue
        here = {current_grant(job).flavor, target.flavor}
        runs_here = current_grant(job).replicas > 0 and target.flavor == current_grant(job).flavor
        most = {flavor.name: most_on_new(job, flavor, wide.flavors, hold) for flavor in able}
        idle = {name for name, count in most.items() if not count and name not in here}
        terms[job.key] = replace(own, barred=own.barred | idle, moves=own.moves and not runs_here)
        useful = [count for name, count in most.items() if name == target.flavor or not target.replicas]
        if own.grows and max(useful, default=0) > target.replicas:
            wanted = True
        limit = max(*most.values(), target.replicas, current_grant(job).replicas)
        jobs.append(replace(job, steps=tuple(step for step in job.steps if step <= limit) or job.steps[:1]))
    return replace(wide, jobs=tuple(jobs), terms=terms) if wanted else None


def most_on_new(job: Job, flavor: Flavor, flavors: Iterable[Flavor], hold: float) -> int:
    """The most replicas, all on new nodes, of which each step is worth its price and the wait; 0: none is."""
    offer = flavor.provisionable
    if offer is None or not job.steps or not job.minimum:
        return 0
    priced = [_per_price(job, other) for other in flavors if accepts(job, other)]
    best, mine = max((each for each in priced if each), default=0.0), _per_price(job, flavor)
    factor = (mine / best if mine else 1.0) * hold / (hold + offer.timeout_seconds)
    whole = rate_on(job, flavor, job.minimum) / job.minimum
    most, before, had = 0, 0.0, 0
    for step in job.steps:
        rate = rate_on(job, flavor, step)
        if (rate - before) / (step - had) / whole * factor < offer.least_yield - ROUNDING:
            break
        most, before, had = step, rate, step
    return most


def _per_price(job: Job, flavor: Flavor) -> float:
    return speed(job, flavor) / flavor.price_per_hour if flavor.price_per_hour else 0.0


def uses_more(snapshot: Snapshot, before: Mapping[JobKey, Grant], after: Mapping[JobKey, Grant]) -> bool:
    """Does the second plan use more accelerators of a flavor that may be provisioned than the first?"""
    names = {flavor.name for flavor in snapshot.flavors if flavor.provisionable is not None}
    change = Counter[str]()
    for job in snapshot.jobs:
        change[after[job.key].flavor] += after[job.key].replicas * job.per_replica
        change[before[job.key].flavor] -= before[job.key].replicas * job.per_replica
    return any(change[name] > 0 for name in names)


def slots_of_new(snapshot: Snapshot, job: Job, flavor: str) -> int:
    """Pods of the job on one new node of the flavor."""
    new = (node for node in snapshot.nodes if node.flavor == flavor and not node.exists)
    return max((times_fitting(node.allocatable, job.requests) for node in new), default=0)


def new_nodes(snapshot: Snapshot, outcomes: Iterable[Outcome]) -> tuple[NewNodes, ...]:
    """What the grants wait for, by flavor; `snapshot` has all nodes that may be added."""
    asked = Counter[str]()
    for outcome in outcomes:
        admission = outcome.memory.admission
        if admission is not None:
            asked[admission.flavor] += admission.new_nodes
    found = []
    for flavor in snapshot.flavors:
        offer, most = flavor.provisionable, sum(1 for n in snapshot.nodes if n.flavor == flavor.name and not n.exists)
        if offer is not None and (count := min(asked[flavor.name], most)):
            found.append(NewNodes(flavor.name, count, offer.accelerators_per_node, most))
    return tuple(found)
