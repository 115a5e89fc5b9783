"""Plans where pods of many kinds contend for several resources: who is admitted, and how near the bound is."""

import statistics
import time
from collections.abc import Iterator

from apportion.model.policy import Policy
from apportion.optimizer import solve, warm
from optimizer_builders import granted
from property.test_crowded import crowded

NODES = (4, 16, 64, 128)
Row = tuple[str, ...]


def rows(seeds: int) -> Iterator[Row]:
    warm()
    for nodes in NODES:
        jobs, admitted, gaps, seconds = 0, 0, [], []
        for seed in range(seeds):
            world = crowded(seed, nodes // 2)
            started = time.perf_counter()
            plan = solve(world, Policy())
            seconds.append(time.perf_counter() - started)
            gaps.append(plan.gap)
            jobs += len(world.jobs)
            admitted += sum(replicas > 0 for replicas in granted(plan).values())
        yield (
            str(nodes), str(jobs), str(admitted), f"{statistics.median(gaps):.1%} ({max(gaps):.1%})",
            f"{statistics.median(seconds):.2f} ({max(seconds):.2f})",
        )  # fmt: skip
