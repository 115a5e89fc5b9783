"""Small model values for tests: say what matters, default the rest."""

from dataclasses import replace
from typing import Any

from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Admission, Job, JobKey, Memory, Pod
from apportion.model.queues import Queue, Quota
from apportion.model.snapshot import Snapshot

NOW = 1_000_000.0
GPU = "nvidia.com/gpu"
H100 = Flavor("h100", GPU, (("gpu", "h100"),))
A100 = Flavor("a100", GPU, (("gpu", "a100"),), speed=0.5)
LONG_AGO = NOW - 100_000


def node(name: str, gpus: int = 8, flavor: str | None = "h100", **fields: Any) -> Node:
    allocatable = {GPU: gpus, "cpu": 64_000, "memory": 2**39, "pods": 110, **fields.pop("allocatable", {})}
    return Node(name, flavor, allocatable, **{"labels": {"gpu": flavor or ""}, **fields})


def nodes(count: int, gpus: int = 8, flavor: str = "h100") -> tuple[Node, ...]:
    return tuple(node(f"{flavor}-{index}", gpus, flavor) for index in range(count))


def job(name: str, low: int = 1, high: int = 4, each: int = 1, **fields: Any) -> Job:
    """A job of `low` to `high` replicas with `each` GPUs; minRuntime and restarts cost nothing unless said."""
    return Job(
        **{
            "key": JobKey("team", name),
            "uid": f"uid-{name}",
            "created": LONG_AGO,
            "steps": tuple(range(low, high + 1)),
            "resource": GPU,
            "per_replica": each,
            "requests": {GPU: each, "cpu": 1000, "pods": 1},
            "observed_generation": 1,
            "restart_seconds": 0.0,
            "min_runtime_seconds": 0.0,
            **fields,
        }
    )


def running(base: Job, on: dict[str, int], flavor: str = "h100", since: float = LONG_AGO, **memory: Any) -> Job:
    """The job with a grant whose pods are bound: node name -> pods, ready for long."""
    pods = [
        Pod(f"{base.key.name}-{where}-{index}", f"pod-{base.key.name}-{where}-{index}", where, base.requests, since,
            ready=True, ready_since=since)
        for where, count in on.items()
        for index in range(count)
    ]  # fmt: skip
    granted = Admission(flavor, len(pods), 1, since)
    return replace(base, pods=tuple(pods), memory=Memory(phase="Running", admission=granted, **memory))


def quota(nominal: int, flavor: str = "h100", borrow: int | None = None, lend: int | None = None) -> Quota:
    return Quota(flavor, nominal, borrow, lend)


def queue(name: str, *quotas: Quota, cohort: str = "", **fields: Any) -> Queue:
    return Queue(name, cohort=cohort, quotas=quotas, **fields)


def snapshot(*jobs: Job, on: tuple[Node, ...] = (), **fields: Any) -> Snapshot:
    return Snapshot(
        **{
            "now": NOW,
            "nodes": on,
            "flavors": (A100, H100),
            "jobs": tuple(sorted(jobs, key=lambda job: job.key)),
            "round": 7,
            **fields,
        }
    )
