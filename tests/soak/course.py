"""A soak: turn after turn people act and a fault strikes; then all must come to rest, with no rule broken till then."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from controlplane.history import Obj, is_ready, summary
from controlplane.scene import CHART_LEASE_SECONDS, Scene
from soak.kubelets import report_again
from soak.people import People
from soak.weather import Weather

ACTS_IN_A_TURN = (2, 5)
LONGEST_TO_REST_SECONDS = 150.0
QUIET_SECONDS = 1.0
LOOK_SECONDS = 0.2
# Of a kubelet between two reports.
KUBELETS_SECONDS = 10.0
TOLD_AFTER_SECONDS = 20.0
NODES_OF_A_FLAVOR = 6
Say = Callable[[str], None]


class Broken(Exception):
    """A rule was broken, or rest did not come. The message has the last changes.

    `saw`: all objects before the last round, as `apportion plan -f FILE --at TIME` takes them.
    """

    def __init__(self, told: str, saw: list[Obj]) -> None:
        super().__init__(told)
        self.saw = saw

    def keep(self, folder: Path) -> Path:
        """Write what was seen into a file there."""
        path = folder / "before-the-last-round.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": self.saw}, indent=1))
        return path


@dataclass
class Tally:
    """What happened. `rest_seconds`: of each turn, from the fault's end until all was at rest."""

    seed: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    rest_seconds: list[float] = field(default_factory=list)
    changes: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    violations: int = 0

    def lines(self) -> list[str]:
        rests = sorted(self.rest_seconds) or [0.0]
        return [
            f"seed {self.seed}: {self.seconds:.0f} s, {len(self.rest_seconds)} turns, {self.rounds} rounds with news, "
            f"{self.changes} changes observed, {self.violations} violations",
            f"at rest after {rests[len(rests) // 2]:.1f} s (median), {rests[-1]:.1f} s (longest)",
            f"faults ({self.faults.total()}): {_counts(self.faults)}",
            f"people ({self.acts.total()}): {_counts(self.acts)}",
            f"jobs: {_counts(self.steps)}",
        ]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counter.items())) or "nothing"


async def soak(scene: Scene, seconds: float, seed: int, say: Say) -> Tally:
    """Two operators, for at least so many seconds. Raises Broken after it has said what came before."""
    tally, rng, cluster = Tally(seed), Random(seed), scene.cluster
    nodes = await cluster.nodes(NODES_OF_A_FLAVOR, gpus=8)
    nodes += await cluster.nodes(NODES_OF_A_FLAVOR, gpus=8, product=scene.other)
    for _ in range(2):
        await scene.start(lease_seconds=CHART_LEASE_SECONDS)
    people, weather = People(scene, Random(rng.random())), Weather(scene, Random(rng.random()), nodes)
    began = time.monotonic()
    await people.settle_in()
    try:
        while time.monotonic() - began < seconds:
            await _turn(people, weather, tally, say)
    finally:
        tally.seconds = time.monotonic() - began
        checker = scene.observer.checker
        tally.changes, tally.steps, tally.rounds = scene.observer.changes, checker.steps, len(checker.rounds)
        tally.violations = len(checker.violations)
    return tally


async def _turn(people: People, weather: Weather, tally: Tally, say: Say) -> None:
    acts = asyncio.create_task(_acts(people, weather, tally))
    fault = await weather.strike()
    tally.faults[fault] += 1
    done = await acts
    struck = time.monotonic()
    wrong = await _rest(weather.scene, say)
    took = time.monotonic() - struck
    tally.rest_seconds.append(took)
    say(f"{fault}; meanwhile {', '.join(done)}; at rest after {took:.1f} s")
    if wrong:
        last = weather.scene.observer.checker.tail()
        told = "\n".join([*wrong, "--- not ready", *_unready(weather.scene), "--- last changes", *last])
        logs = "\n".join(f"--- operator\n{each.operator.log()[-3000:]}" for each in weather.scene.replicas)
        checker = weather.scene.observer.checker
        raise Broken(
            f"seed {tally.seed}, turn {len(tally.rest_seconds)}: {fault}\n{told}\n{logs}", checker.before_round
        )


async def _acts(people: People, weather: Weather, tally: Tally) -> list[str]:
    """People act at their own pace."""
    done = []
    for _ in range(people.rng.randint(*ACTS_IN_A_TURN)):
        await asyncio.sleep(people.rng.uniform(0.0, 1.5))
        async with weather.reachable:
            done.append(await people.act())
        tally.acts[done[-1]] += 1
    return done


async def _rest(scene: Scene, say: Say) -> list[str]:
    """Wait until all has been at rest for a moment; else what is still wrong. A violation is told at once."""
    began = quiet_since = time.monotonic()
    told = False
    while True:
        broken = await scene.observer.judge()
        wrong = broken or await scene.observer.at_rest()
        now = time.monotonic()
        quiet_since = now if wrong else quiet_since
        if broken or now - quiet_since >= QUIET_SECONDS or now - began > LONGEST_TO_REST_SECONDS:
            return wrong
        if wrong and not told and now - began > TOLD_AFTER_SECONDS:
            say(f"  not at rest after {TOLD_AFTER_SECONDS:.0f} s: {'; '.join(wrong)}")
            told = True
        if now - began > KUBELETS_SECONDS:
            await report_again(scene)
        await asyncio.sleep(LOOK_SECONDS)


def _unready(scene: Scene) -> list[str]:
    """Pods that are not ready, for a failure message."""
    pods = scene.observer.world.of("Pod").items()
    return [f"Pod {name} {summary('Pod', pod)} {pod.get('status')}" for name, pod in pods if not is_ready(pod)]
