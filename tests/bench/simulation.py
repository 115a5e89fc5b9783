"""How long a day takes in the simulator."""

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from apportion.cli.policy import PLAYED
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.simulator import Contender, Course, Measuring, Mix, Setting, Trace, trial
from builders import A100, H100, nodes, snapshot

PRICED = (
    replace(A100, speed=1.0, price_per_hour=2.0, watts=400.0, idle_watts=50.0),
    replace(H100, speed=2.2, price_per_hour=4.0, watts=700.0, idle_watts=70.0),
)


@dataclass(frozen=True)
class Case:
    """nodes: of 8 accelerators, of each of two flavors. every: seconds of a round. goal: seconds for a policy."""

    name: str
    nodes: int
    jobs: int
    every: float
    goal: float


SMALL = Case("160 jobs on 64 accelerators", 4, 160, 60.0, 60.0)
LARGE = Case("10,000 jobs on 2,000 accelerators", 125, 10_000, 300.0, 600.0)
CASES = {"small": SMALL, "large": LARGE}


def cluster(count: int) -> Snapshot:
    """Half H100, half A100, empty."""
    return snapshot(on=(*nodes(count), *nodes(count, flavor="a100")), now=0.0, round=0, flavors=PRICED)


def rows(case: Case, rules: tuple[str, ...], seed: int) -> Iterator[tuple[str, ...]]:
    """CPU seconds are of this process; the solver has one of its own."""
    start = cluster(case.nodes)
    setting = Setting(start, Trace("generated", mix=Mix(jobs=case.jobs)), Course(case.every, measuring=Measuring()))
    for rule in rules:
        wall, busy = time.perf_counter(), time.process_time()
        found = trial(setting, Contender(rule, start, Policy(), PLAYED[rule]), seed)
        took, worked = time.perf_counter() - wall, time.process_time() - busy
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        yield (
            case.name, rule, str(found.decisions), f"{took:.0f}", f"{worked:.0f}", f"{case.goal:.0f}",
            f"{1000 * took / found.decisions:.0f}", f"{peak:.0f}", str(len(found.seconds)),
        )  # fmt: skip
