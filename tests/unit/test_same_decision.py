"""A decision is the same in every process: Python draws anew in each in what order a set of texts stands."""

import os
import subprocess
import sys

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
