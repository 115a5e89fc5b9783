"""What there is of each flavor, and in which state: nodes, broken devices, what the vendors' labels say."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from apportion.model.eligibility import request_on
from apportion.model.flavors import Flavor, Node
from apportion.model.snapshot import Snapshot

Labels = Mapping[str, str]
Tally = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Out:
    """Nodes that take no new pods, by why."""

    why: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Health:
    """One flavor. accelerators: allocatable on all its nodes; usable: on those that take new pods; broken: devices
    that nodes have and do not offer. driver, runtime and memory: what labels say, and on how many nodes."""

    flavor: str
    resource: str
    nodes: int
    ready: int
    accelerators: int
    usable: int
    broken: int
    out: tuple[Out, ...] = ()
    driver: Tally = ()
    runtime: Tally = ()
    memory: Tally = ()


def health(snapshot: Snapshot) -> tuple[Health, ...]:
    """In the order of the snapshot's flavors."""
    by_flavor: dict[str, list[Node]] = defaultdict(list)
    for node in snapshot.nodes:
        if node.flavor is not None:
            by_flavor[node.flavor].append(node)
    return tuple(_of(flavor, by_flavor[flavor.name]) for flavor in snapshot.flavors)


def unusable(snapshot: Snapshot) -> tuple[Out, ...]:
    """Nodes that carry nothing that a job could use."""
    return _out(node for node in snapshot.nodes if node.flavor is None)


def _of(flavor: Flavor, nodes: list[Node]) -> Health:
    ready = [node for node in nodes if node.placeable]
    return Health(
        flavor=flavor.name,
        resource=flavor.resource,
        nodes=len(nodes),
        ready=len(ready),
        accelerators=sum(request_on(node.allocatable, flavor) for node in nodes),
        usable=sum(request_on(node.allocatable, flavor) for node in ready),
        broken=sum(node.broken for node in nodes),
        out=_out(node for node in nodes if not node.placeable),
        driver=_tally(nodes, driver),
        runtime=_tally(nodes, runtime),
        memory=_tally(nodes, memory),
    )


def _out(nodes: Iterable[Node]) -> tuple[Out, ...]:
    by_why: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        by_why[node.why_not or "carries no accelerator"].append(node.name)
    return tuple(Out(why, tuple(sorted(names))) for why, names in sorted(by_why.items()))


def _tally(nodes: Iterable[Node], read: Callable[[Labels], str]) -> Tally:
    """The values with the number of nodes, most first; nodes that do not say are left out."""
    found = Counter(read(node.labels) for node in nodes)
    found.pop("", None)
    return tuple(sorted(found.items(), key=lambda item: (-item[1], item[0])))


# NVIDIA's GPU feature discovery (the parts alone before 0.16), AMD's node labeller, Intel's GPU plugin.


def driver(labels: Labels) -> str:
    """Version of the accelerator's driver on a node; "" where no label says."""
    parts = (labels.get(f"nvidia.com/cuda.driver.{part}", "") for part in ("major", "minor", "rev"))
    return (
        labels.get("nvidia.com/cuda.driver-version.full")
        or ".".join(part for part in parts if part)
        or labels.get("amd.com/gpu.driver-version", "")
    )


def runtime(labels: Labels) -> str:
    """The newest CUDA that the node's driver runs."""
    parts = (labels.get(f"nvidia.com/cuda.runtime.{part}", "") for part in ("major", "minor"))
    return labels.get("nvidia.com/cuda.runtime-version.full") or ".".join(part for part in parts if part)


def memory(labels: Labels) -> str:
    """Memory of one accelerator, with its unit."""
    if mebibytes := labels.get("nvidia.com/gpu.memory"):
        return f"{mebibytes} MiB"
    return labels.get("amd.com/gpu.vram") or labels.get("beta.amd.com/gpu.vram") or ""
