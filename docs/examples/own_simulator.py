"""A simulator of one's own around decide(): six jobs, two nodes of eight GPUs, a round a minute.

The rules of the game: a granted replica is a Pod, bound to a node, until another decision takes it away; what
`outcome.memory` holds goes back into the job unchanged.
"""

from dataclasses import replace

from apportion.model.curves import Usl
from apportion.model.flavors import Flavor, Node
from apportion.model.jobs import Job, JobKey, Pod
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.planner import decide

GPU = "nvidia.com/gpu"
EACH = {GPU: 1, "cpu": 4000, "memory": 16 * 2**30, "pods": 1}  # of a replica; cpu in thousandths, memory in bytes
ROOM = {GPU: 8, "cpu": 96_000, "memory": 2**40, "pods": 110}
WORK = 4 * 3600.0  # of each job, in seconds of one replica
CURVE = Usl(rate=1.0, sigma=0.05)  # X(R) = R / (1 + 0.05 (R - 1))


def arrives(number: int, now: float) -> Job:
    return Job(
        key=JobKey("team", f"job-{number}"), uid=f"uid-{number}", created=now, steps=(1, 2, 4, 8), resource=GPU,
        per_replica=1, requests=EACH, curve=CURVE, declared=True, restart_seconds=60.0, min_runtime_seconds=300.0,
        observed_generation=1,
    )  # fmt: skip


def carried_out(job: Job, replicas: int, snapshot: Snapshot) -> Job:
    """The job with so many pods, new ones on the first node with room. A real cluster takes a moment for it."""
    pods = list(job.pods[:replicas])
    used = {node.name: 0 for node in snapshot.nodes}
    for pod in (*pods, *(pod for other in snapshot.jobs if other.key != job.key for pod in other.pods)):
        used[pod.node or ""] += pod.requests[GPU]
    while len(pods) < replicas:
        where = next(node.name for node in snapshot.nodes if used[node.name] < node.allocatable[GPU])
        used[where] += 1
        name = f"{job.key.name}-{snapshot.round}-{len(pods)}"
        pods.append(Pod(name, name, where, EACH, snapshot.now, ready=True, ready_since=snapshot.now))
    return replace(job, pods=tuple(pods))


def main() -> None:
    flavor = Flavor("h100", GPU)
    world = Snapshot(0.0, nodes=(Node("n1", "h100", ROOM), Node("n2", "h100", ROOM)), flavors=(flavor,))
    left: dict[JobKey, float] = {}
    came = 0
    while came < 6 or left:
        if came < 6 and world.now >= 900.0 * came:
            job = arrives(came, world.now)
            left[job.key] = WORK
            world = replace(world, jobs=tuple(sorted((*world.jobs, job), key=lambda job: job.key)))
            came += 1

        decision = decide(world, Policy())

        world = replace(world, round=decision.round)
        # Those that get less first: what grows in this round fits into what is free now.
        for one in sorted(decision.outcomes, key=lambda one: one.granted.replicas - one.current.replicas):
            job = next(job for job in world.jobs if job.key == one.key)
            job = carried_out(replace(job, memory=one.memory), one.granted.replicas, world)
            world = replace(world, jobs=tuple(job if other.key == job.key else other for other in world.jobs))
            if one.granted != one.current:
                print(f"{world.now / 60:5.0f} min  {one.key.name}  {one.current.replicas} -> {one.granted.replicas}")

        for job in world.jobs:
            running = len(job.pods)
            left[job.key] -= 60.0 * CURVE.at(running) if running else 0.0
        world = replace(world, now=world.now + 60.0, jobs=tuple(job for job in world.jobs if left[job.key] > 0))
        left = {key: seconds for key, seconds in left.items() if seconds > 0}
    print(f"{world.now / 60:5.0f} min  all done")


if __name__ == "__main__":
    main()
