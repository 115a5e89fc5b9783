"""After the rehearsal a decision imports nothing more, and its solver runs: in a process of its own, as both last."""

import os
import subprocess
import sys

SCRIPT = """
import sys
from apportion.controller.rehearsal import rehearse
from apportion.model.policy import Policy
from apportion.optimizer.process import WORKER
from apportion.planner import decide
from builders import job, nodes, queue, quota, snapshot

decision = rehearse()
assert decision.plan.method == "highs", decision
worker, known = WORKER._process.pid, set(sys.modules)
after = decide(snapshot(job("a"), job("b", 2, 6), on=nodes(3), queues=(queue("default", quota(16)),)), Policy())
assert after.plan.method == "highs", after
assert WORKER._process.pid == worker
print(sorted(set(sys.modules) - known))
"""


def test_after_the_rehearsal_a_decision_imports_nothing_more() -> None:
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, env=paths)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
