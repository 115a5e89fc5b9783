"""A decision is the same in every process: Python draws anew in each in what order a set of texts stands."""

import os
import subprocess
import sys
from dataclasses import replace
from random import Random

from apportion.model.flavors import Flavor
from apportion.model.jobs import FlavorChoice
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.planner import decide
from bench.instances import SIZES, instance
from builders import A100, GPU, H100, job, node, nodes, queue, quota, snapshot

DECIDES = """
from dataclasses import replace
from apportion.model.policy import Policy
from apportion.planner import decide
from bench.instances import SIZES, instance
from builders import job, nodes, queue, quota, snapshot

queues = [queue(name, quota(8), cohort="all") for name in ("one", "two", "three")]
alike = [job(f"{each.name}-{number}", 1, 4, queue_name=each.name) for each in queues for number in range(9)]
for asked in (instance(SIZES[0], 1, running=True), snapshot(*alike, on=nodes(2), queues=tuple(queues))):
    decision = decide(asked, Policy())
    print(replace(decision, plan=replace(decision.plan, seconds=0.0)))
"""


def decisions(seed_of_hashes: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed_of_hashes), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", DECIDES], env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_a_decision_does_not_depend_on_the_seed_of_hashes() -> None:
    first = decisions(1)
    assert first.count("Decision(") == 2
    assert decisions(2) == first


def test_a_decision_does_not_depend_on_the_order_in_which_things_are_listed() -> None:
    queues = tuple(
        queue(name, quota(8), quota(8, "a100"), quota(8, "l4"), cohort="all") for name in ("one", "two", "three")
    )
    alike = (job(f"{each.name}-{number}", 1, 4, queue_name=each.name) for each in queues for number in range(9))
    kept = tuple(node(f"l4-{number}", flavor="l4", placeable=False, why_not="cordoned") for number in range(3))
    told_why = job("told-why", queue_name="one", flavors=(FlavorChoice("l4"),))
    on, flavors = (*nodes(2), *nodes(1, flavor="a100"), *kept), (H100, A100, Flavor("l4", GPU))
    listed = snapshot(*alike, told_why, on=on, queues=queues, flavors=flavors)
    random = Random(1)

    def otherwise(world: Snapshot) -> Snapshot:
        named = {name: getattr(world, name) for name in ("jobs", "nodes", "queues", "flavors")}
        return replace(world, **{name: tuple(random.sample(ones, len(ones))) for name, ones in named.items()})

    for world in (listed, instance(SIZES[0], 1, running=True)):
        decisions = [decide(otherwise(world), Policy()) for _ in range(4)]
        assert len({repr((one.outcomes, one.resizes, one.queue_use)) for one in decisions}) == 1
