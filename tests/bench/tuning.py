"""The default policy on evidence: candidates on training seeds, the default against every baseline on others.

Seeds from TRAINING on choose, seeds from HELD_OUT on report: no seed is in both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from apportion.cli.playing import played
from apportion.cli.policy import PLAYED
from apportion.model.policy import Objective, Policy, Stability
from apportion.model.rounds import PROGRAM
from apportion.simulator import Contender, Course, Interval, Measuring, Mix, Setting, Trace, Trial, difference
from bench.bounding import least_mean_seconds, room_of, works
from bench.simulation import cluster

TRAINING, HELD_OUT = 1001, 1
DEFAULT = Policy()
CANDIDATES = {
    "default": DEFAULT,
    "p = -1": replace(DEFAULT, objective=Objective(exponent=-1.0)),
    "p = 0": replace(DEFAULT, objective=Objective(exponent=0.0)),
    "theta = 0.5": replace(DEFAULT, objective=Objective(size_exponent=0.5)),
    "B = 0.5": replace(DEFAULT, objective=Objective(admission_worth=0.5)),
    "B = 1": replace(DEFAULT, objective=Objective(admission_worth=1.0)),
    "H = 15 min": replace(DEFAULT, stability=Stability(expected_hold_seconds=900.0)),
    "H = 60 min": replace(DEFAULT, stability=Stability(expected_hold_seconds=3600.0)),
    "mu = 0.2": replace(DEFAULT, stability=Stability(change_margin=0.2)),
}


@dataclass(frozen=True)
class Scale:
    """nodes of 8 accelerators, of each of two flavors; jobs and hours of a trace."""

    nodes: int
    jobs: int
    hours: float
    round_seconds: float


@dataclass(frozen=True)
class Scene:
    """elastic: the part of the jobs that can be resized."""

    load: float
    elastic: float

    def __str__(self) -> str:
        return f"load {self.load:g}, {self.elastic:.0%} elastic"


SCENES = {str(scene): scene for load in (1.0, 1.5, 0.7) for elastic in (0.9, 0.3) for scene in [Scene(load, elastic)]}
BASELINES = tuple(name for name in PLAYED if name != PROGRAM)


def trace(scale: Scale, scene: Scene) -> Trace:
    return Trace("generated", mix=Mix(jobs=scale.jobs, hours=scale.hours, load=scene.load, elastic=scene.elastic))


def trials(scale: Scale, scene: Scene, contenders: Sequence[tuple[str, Policy, str]], seeds: range) -> list[Trial]:
    """contenders: name, policy, rule."""
    start = cluster(scale.nodes)
    setting = Setting(start, trace(scale, scene), Course(scale.round_seconds, measuring=Measuring()))
    runs = [(Contender(name, start, policy, PLAYED[rule]), seed) for seed in seeds for name, policy, rule in contenders]
    return list(played(setting, runs, scale.jobs, 2))


def by_seed(found: Sequence[Trial], name: str, metric: str) -> list[float]:
    return [one.values[metric] or 0.0 for one in found if one.policy == name]


def ratio(found: Sequence[Trial], name: str, other: str, metric: str) -> float:
    """Mean over the seeds of name's value over that of other."""
    pairs = zip(by_seed(found, name, metric), by_seed(found, other, metric), strict=True)
    return fmean(mine / theirs for mine, theirs in pairs if theirs)


def least(scale: Scale, scene: Scene, seeds: range) -> list[float]:
    """By seed, the mean JCT that no policy is below, in seconds."""
    start = cluster(scale.nodes)
    jobs = (works(trace(scale, scene).jobs(start, seed), start) for seed in seeds)
    return [least_mean_seconds(each, room_of(start)) for each in jobs]


def held_out_rows(scale: Scale, scene: Scene, against: Sequence[str], seeds: int) -> Iterator[tuple[str, ...]]:
    """The program against these baselines, and how far below each one could be at all."""
    names = (PROGRAM, *against)
    rules = [(name, DEFAULT, name) for name in names]
    held_out = range(HELD_OUT, HELD_OUT + seeds)
    found = trials(scale, scene, rules, held_out)
    lowest = least(scale, scene, held_out)
    for name in names:
        pairs = ("-", "-") if name == PROGRAM else (
            f"{ratio(found, PROGRAM, name, 'jctMean'):.2f}", f"{ratio(found, PROGRAM, name, 'jctP99'):.2f}",
        )  # fmt: skip
        possible = fmean(low / its for low, its in zip(lowest, by_seed(found, name, "jctMean"), strict=True))
        yield (
            name, *pairs, f"{possible:.2f}", f"{fmean(by_seed(found, name, 'jctMean')) / 3600:.2f}",
            f"{fmean(by_seed(found, name, 'restarts')):.2f}", f"{max(by_seed(found, name, 'longestWait')) / 3600:.1f}",
            f"{sum(by_seed(found, name, 'unfinished')):.0f}",
        )  # fmt: skip


def training_rows(scale: Scale, seeds: int) -> Iterator[tuple[str, ...]]:
    """Candidates against the default, over all scenes at load 1 and above together."""
    contenders = [(name, policy, PROGRAM) for name, policy in CANDIDATES.items()]
    scenes = [scene for scene in SCENES.values() if scene.load >= 1]
    all_of = [trials(scale, scene, contenders, range(TRAINING, TRAINING + seeds)) for scene in scenes]
    for name in CANDIDATES:
        jct = [_relative(found, name, "jctMean") for found in all_of]
        tail = [_relative(found, name, "jctP99") for found in all_of]
        restarts = [value for found in all_of for value in by_seed(found, name, "restarts")]
        waits = [value for found in all_of for value in by_seed(found, name, "longestWait")]
        yield (
            name, _said([one for some in jct for one in some]), _said([one for some in tail for one in some]),
            f"{fmean(restarts):.2f}", f"{max(waits) / 3600:.1f}",
        )  # fmt: skip


def _relative(found: Sequence[Trial], name: str, metric: str) -> list[float]:
    """By seed: relative to the default's."""
    pairs = zip(by_seed(found, name, metric), by_seed(found, "default", metric), strict=True)
    return [mine / theirs for mine, theirs in pairs if theirs]


def _said(ratios: Sequence[float]) -> str:
    found: Interval | None = difference([1.0] * len(ratios), ratios)
    if found is None or found.low is None or found.high is None:
        return f"{fmean(ratios):.3f}"
    return f"{1 + found.mean:.3f} [{1 + found.low:.3f}, {1 + found.high:.3f}]"
