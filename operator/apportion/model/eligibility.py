"""Which nodes a job may use, and what there is room for on them."""

from collections.abc import Iterable

from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job
from apportion.model.plan import NOTHING, Grant
from apportion.model.resources import Amounts, minus
from apportion.model.snapshot import Snapshot


def current_grant(job: Job) -> Grant:
    """What the job was granted last; NOTHING if nothing."""
    admission = job.admission
    if admission is None or admission.replicas <= 0:
        return NOTHING
    return Grant(admission.flavor, admission.replicas)


def waiting_for_nodes(job: Job) -> int:
    """Replicas that were granted in the hope of new nodes and have no node yet."""
    if job.admission is None or not job.admission.new_nodes:
        return 0
    bound = sum(1 for pod in job.pods if pod.node is not None and not pod.terminating)
    return max(0, job.admission.replicas - bound)


def accepts(job: Job, flavor: Flavor) -> bool:
    """The job's allow-list and resource allow the flavor at all."""
    if flavor.resource != job.resource:
        return False
    return job.flavors is None or any(choice.name == flavor.name for choice in job.flavors)


def selects(job: Job, flavor: Flavor, node: Node) -> bool:
    """The pod, pinned to the flavor, may by labels and taints use this node (whether or not it is placeable now)."""
    return (
        node.flavor == flavor.name
        and job.nodes.labels_match(node.labels)
        and job.nodes.untolerated(node.taints, flavor.tolerations) is None
    )


def eligible(job: Job, flavor: Flavor, nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The placeable nodes where the job's pods could go if it were pinned to the flavor."""
    if not accepts(job, flavor):
        return ()
    return tuple(node for node in nodes if node.placeable and selects(job, flavor, node))


def speed(job: Job, flavor: Flavor) -> float:
    """The job's own relative speed of the flavor if it declares one, else the flavor's."""
    for choice in job.flavors or ():
        if choice.name == flavor.name and choice.speed is not None:
            return choice.speed
    return flavor.speed


def room(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """By placeable node: what foreign pods leave, as if no job ran; what the program divides."""
    return {node.name: minus(node.allocatable, node.foreign) for node in snapshot.nodes if node.placeable}


def free_now(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """By placeable node: what no existing pod holds at this moment; terminating pods still hold theirs."""
    free = room(snapshot)
    for job in snapshot.jobs:
        for pod in job.pods:
            if pod.node in free:
                free[pod.node] = minus(free[pod.node], pod.requests)
    return free


def accelerators(job: Job, replicas: int) -> int:
    return job.per_replica * replicas


def request_on(amounts: Amounts, flavor: Flavor) -> int:
    """How many accelerators of the flavor an amount holds, rounded down (cpu: whole cores)."""
    return max(0, amounts.get(flavor.resource, 0)) // flavor.unit
