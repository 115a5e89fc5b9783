"""Short ways to write snapshots for the optimizer's tests."""

from collections.abc import Mapping
from dataclasses import replace

from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Admission, Job, JobKey, Memory, Pod
from apportion.model.plan import Plan
from apportion.model.policy import Policy, SolverLimits, Stability
from apportion.model.snapshot import Snapshot, Terms

GPU = "nvidia.com/gpu"
NOW = 1_000_000.0
EXACT = Policy(solver=SolverLimits(gap=0.0), stability=Stability(fewest_moves_within=0.0))


def node(name: str, gpus: int = 8, flavor: str = "h100", **more: object) -> Node:
    """A node with plenty of cpu and memory unless `allocatable` says otherwise."""
    amounts = {GPU: gpus, "cpu": 256_000, "memory": 2**41, "pods": 110}
    amounts.update(more.pop("allocatable", {}))  # type: ignore[call-overload]
    return Node(name, flavor, amounts, **more)  # type: ignore[arg-type]


def job(name: str, least: int = 1, most: int = 1, size: int = 1, **more: object) -> Job:
    """A waiting job in namespace ns with the steps least..most; `requests` adds to its accelerators and its pod."""
    requests = {GPU: size, "pods": 1}
    requests.update(more.pop("requests", {}))  # type: ignore[call-overload]
    fields: dict[str, object] = {"created": NOW, "steps": tuple(range(least, most + 1)), **more}
    return Job(JobKey("ns", name), f"uid-{name}", resource=GPU, per_replica=size, requests=requests, **fields)  # type: ignore[arg-type]


def running(waiting: Job, where: Mapping[str, int], flavor: str = "h100", age: float = 86_400.0, **more: object) -> Job:
    """The job with a grant of as many replicas as it has pods on these nodes, for so many seconds: as old as it is."""
    pods = tuple(
        Pod(f"{waiting.key.name}-{name}-{at}", f"uid-{name}-{at}", name, waiting.requests, NOW - age, ready=True)
        for name, count in where.items()
        for at in range(count)
    )
    memory = Memory(admission=Admission(flavor, len(pods), 1, NOW - age), **more)  # type: ignore[arg-type]
    return replace(waiting, pods=pods, memory=memory, created=NOW - age)


def snapshot(nodes: list[Node], jobs: list[Job], **more: object) -> Snapshot:
    """With the flavors h100 and a100 (half as fast), as far as nodes carry them, unless `flavors` are given."""
    speeds = {"h100": 2.0, "a100": 1.0}
    named = sorted({node.flavor or "" for node in nodes} | {"h100"})
    fields: dict[str, object] = {"flavors": tuple(Flavor(name, GPU, speed=speeds[name]) for name in named), **more}
    return Snapshot(NOW, tuple(nodes), jobs=tuple(sorted(jobs, key=lambda job: job.key)), **fields)  # type: ignore[arg-type]


def under(base: Snapshot, **terms: Terms) -> Snapshot:
    """With these terms, by job name."""
    return replace(base, terms={JobKey("ns", name): value for name, value in terms.items()})


def granted(plan: Plan) -> dict[str, int]:
    return {allocation.key.name: allocation.replicas for allocation in plan.allocations}


def flavors(plan: Plan) -> dict[str, str | None]:
    return {allocation.key.name: allocation.flavor for allocation in plan.allocations}
