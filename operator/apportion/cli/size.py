"""apportion size: the cheapest number of replicas that is fast enough, min T(R) subject to P(R) >= C.

T(R) = f + g R is what R replicas cost, P(R) = h(R) R / n their performance: formulas, or a job's own curve.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from apportion.cli.formula import Formula, NotAFormula
from apportion.cli.source import Source, fail, read
from apportion.model.curves import Learned
from apportion.model.eligibility import accepts, current_grant, speed
from apportion.model.flavors import Flavor
from apportion.model.jobs import Job, JobKey
from apportion.model.snapshot import Snapshot

SAME = 1e-9
PLOT_WIDTH, PLOT_HEIGHT = 76, 16
FEWEST_SHOWN = 10


@dataclass(frozen=True)
class Asked:
    """As given on the command line; None: not given."""

    fixed: str
    per_replica: str | None
    speedup: str | None
    normaliser: str | None
    threshold: float | None
    max_replicas: int
    exactly: bool
    png: str | None
    job: str | None
    namespace: str
    flavor: str | None


@dataclass(frozen=True)
class Size:
    """R, T(R), P(R)."""

    replicas: int
    cost: float
    performance: float

    def __str__(self) -> str:
        return f"R = {self.replicas}, T = {self.cost:.12g}"


@dataclass(frozen=True)
class Model:
    """Both functions, the sizes that are a choice, the threshold of P, and a remark."""

    cost: Callable[[int], float]
    performance: Callable[[int], float]
    sizes: Sequence[int]
    threshold: float
    remark: str = ""


def size_command(asked: Asked, source: Source) -> None:
    try:
        model = of_job(asked, source) if asked.job is not None else of_formulas(asked)
        sizes = [Size(count, model.cost(count), model.performance(count)) for count in model.sizes]
    except NotAFormula as error:
        fail(str(error))
    best = cheapest(sizes, model.threshold, asked.exactly)
    for line in said(sizes, best, model, asked.exactly):
        click.echo(line)
    shown = [size for size in sizes if size.replicas <= max(2 * (best or sizes[-1]).replicas, FEWEST_SHOWN)]
    click.echo(plot(shown, model.threshold))
    if asked.png is not None:
        picture(shown, model.threshold, asked.png)
    sys.exit(0 if best is not None else 1)


def of_formulas(asked: Asked) -> Model:
    if asked.speedup is None or asked.threshold is None:
        fail("expected --speedup and --threshold, or --job")
    fixed, each = Formula("--fixed", asked.fixed), Formula("--per-replica", asked.per_replica or "1")
    speedup, normaliser = Formula("--speedup", asked.speedup), Formula("--normaliser", asked.normaliser or "1")

    def performance(count: int) -> float:
        over = normaliser(count)
        if over <= 0:
            raise NotAFormula(f"--normaliser {normaliser.text!r}: expected more than 0, not {over:g} at R = {count}")
        return speedup(count) * count / over

    sizes = range(1, asked.max_replicas + 1)
    return Model(lambda count: fixed(count) + each(count) * count, performance, sizes, asked.threshold)


def of_job(asked: Asked, source: Source) -> Model:
    """P is the rate in the job's own unit, and the threshold is the rate to reach."""
    if asked.speedup is not None or asked.normaliser is not None:
        fail("expected either --job or --speedup and --normaliser: a job has its own curve")
    snapshot = read(source).snapshot
    job = _job(snapshot, asked)
    flavor = _flavor(snapshot, job, asked.flavor)
    threshold = asked.threshold
    if threshold is None and job.target is not None:
        threshold = job.target.throughput
    if threshold is None:
        fail(f"{job.key} has no target.throughput: expected --threshold, work per second")
    curve, remark = job.curve, ""
    if isinstance(curve, Learned):
        remark = f"Beyond {curve.reach} replicas too far from what was measured: the operator measures before it grows."
        curve = replace(curve, reach=2**31)
    elif not job.declared:
        fail(f"{job.key} has no curve: nothing is declared, and nothing was measured so far")
    price = 1.0 if flavor.price_per_hour is None else flavor.price_per_hour * job.per_replica
    fixed, each = Formula("--fixed", asked.fixed), Formula("--per-replica", asked.per_replica or repr(price))
    return Model(
        lambda count: fixed(count) + each(count) * count,
        lambda count: curve.at(count) * speed(job, flavor),
        job.steps,
        threshold,
        remark,
    )


def _job(snapshot: Snapshot, asked: Asked) -> Job:
    assert asked.job is not None
    prefix, slash, name = asked.job.rpartition("/")
    if slash and prefix.lower() not in ("tj", "trainingjob"):
        fail(f"--job {asked.job!r}: expected tj/NAME")
    found = next((job for job in snapshot.jobs if job.key == JobKey(asked.namespace, name)), None)
    if found is None or not found.steps:
        fail(f"there is no valid TrainingJob {name!r} in namespace {asked.namespace!r}")
    return found


def _flavor(snapshot: Snapshot, job: Job, name: str | None) -> Flavor:
    """The one that is named, the one where the job runs, or the first that it accepts."""
    able = [flavor for flavor in snapshot.flavors if accepts(job, flavor)]
    wanted = name or current_grant(job).flavor
    found = next((flavor for flavor in able if flavor.name == wanted), None)
    if name is not None and found is None:
        there = ", ".join(flavor.name for flavor in able) or "none"
        fail(f"--flavor {name!r}: expected one that {job.key} accepts: {there}")
    if not able:
        fail(f"{job.key} accepts no flavor of the cluster")
    return found or able[0]


def cheapest(sizes: Sequence[Size], threshold: float, exactly: bool) -> Size | None:
    """The least T among those that are fast enough; of equal ones the fewest replicas."""
    slack = SAME * max(1.0, abs(threshold))
    enough = [
        size
        for size in sizes
        if (abs(size.performance - threshold) <= slack if exactly else size.performance >= threshold - slack)
    ]
    return min(enough, key=lambda size: (size.cost, size.replicas), default=None)


def said(sizes: Sequence[Size], best: Size | None, model: Model, exactly: bool) -> list[str]:
    lines = []
    if best is not None:
        lines += [str(best), f"P({best.replicas}) = {best.performance:.6g}, the threshold is {model.threshold:g}"]
    elif exactly:
        lines.append(f"No whole number of replicas has P = {model.threshold:g}; one rarely exists. The neighbours:")
        lines += [f"{size}, P = {size.performance:.6g}" for size in neighbours(sizes, model.threshold)]
    else:
        most = max(sizes, key=lambda size: size.performance)
        lines.append(
            f"No number of replicas up to {sizes[-1].replicas} reaches P = {model.threshold:g}: "
            f"the most is {most.performance:.6g}, at R = {most.replicas}"
        )
    return [*lines, model.remark] if model.remark else lines


def neighbours(sizes: Sequence[Size], threshold: float) -> list[Size]:
    """The closest from below and from above."""
    below = [size for size in sizes if size.performance < threshold]
    above = [size for size in sizes if size.performance > threshold]
    nearest = [max(below, key=lambda size: size.performance, default=None)]
    nearest.append(min(above, key=lambda size: size.performance, default=None))
    return [size for size in nearest if size is not None]


def plot(sizes: Sequence[Size], threshold: float) -> str:
    """T on the left and P on the right over R, as text; click takes the colours away where there is no terminal."""
    from plotext import figure

    figure.clear()
    counts = [size.replicas for size in sizes]
    for label, side, values in (
        ("T", "left", [size.cost for size in sizes]),
        ("P", "right", [size.performance for size in sizes]),
        (f"P = {threshold:g}", "right", [threshold] * len(sizes)),
    ):
        figure.draw(figure.signal(counts, values, yside=side).label(label).lines())
    figure.plot_size(PLOT_WIDTH, PLOT_HEIGHT)
    figure.label("R", "x")
    return str(figure.build().string()).rstrip("\n")


def picture(sizes: Sequence[Size], threshold: float, path: str) -> None:
    """The same as a PNG file."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        fail("--png needs matplotlib: pip install 'apportion[charts]'")
    counts = [size.replicas for size in sizes]
    drawing = Figure(figsize=(7, 4), layout="constrained")
    left: Any = drawing.add_subplot(xlabel="R (replicas)", ylabel="T (cost)")
    right: Any = left.twinx()
    left.plot(counts, [size.cost for size in sizes], color="tab:blue", label="T")
    right.plot(counts, [size.performance for size in sizes], color="tab:orange", label="P")
    right.axhline(threshold, color="tab:gray", linestyle="--", label=f"P = {threshold:g}")
    right.set_ylabel("P (performance)")
    drawing.legend(loc="outside upper center", ncols=3)
    try:
        with Path(path).open("wb") as file:
            drawing.savefig(file, format="png", dpi=150)
    except OSError as error:
        fail(f"--png {path}: {error.strerror}")
    click.echo(f"wrote {path}")
