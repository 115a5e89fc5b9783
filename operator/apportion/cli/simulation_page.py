"""A comparison of policies as one HTML page with charts."""

from collections.abc import Iterator, Sequence
from html import escape

from apportion.cli.html import html_list, html_page, html_table
from apportion.cli.results import rows_of
from apportion.cli.svg import Bands, Lines, areas, curves
from apportion.simulator import Bins, Trial

HOUR = 3600.0
MOST_POINTS = 400
NO_QUEUE = "jobs without a queue"


def simulation_page(trials: Sequence[Trial], names: Sequence[str], trace: str) -> str:
    """Charts over time are of the first seed. Raises NoCharts where matplotlib is missing."""
    heads, rows = rows_of(trials, names)
    first = min(one.seed for one in trials)
    shown = [one for one in trials if one.seed == first]
    seeds = len({one.seed for one in trials})
    return html_page(
        "Apportion: simulation",
        [
            "<h1>Policies compared</h1>",
            f"<p>Trace {escape(trace)}, {seeds} seed{'s' * (seeds != 1)}. Means over the seeds; in brackets a 95 % "
            "bootstrap interval of the difference, each pair of the same seed.</p>",
            html_table(heads, rows),
            "<h2>Job completion times</h2>",
            curves(Lines("Share of jobs done within, all seeds", "hours", "share", _shares(trials, names), True, 1.0)),
            f"<h2>Over time, seed {first}</h2>",
            curves(Lines("Accelerators that work", "hours", "share", _utilisation(shown), top=1.0)),
            *_bands(shown),
            "<h2>Accelerator-hours</h2>",
            html_table(("POLICY", "SEED", "QUEUE", "FLAVOR", "USED", "LOST", "IDLE"), _uses(trials)),
            html_list(["lost: held by jobs that start again, and worked in vain before a node failed"]),
        ],
    )


def _shares(trials: Sequence[Trial], names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for name in names:
        times = sorted(seconds for one in trials if one.policy == name for seconds in one.seconds)
        points = [((at + 1) / len(times), max(seconds, 1.0) / HOUR) for at, seconds in enumerate(times)]
        kept = points[:: max(1, len(points) // MOST_POINTS)] + points[-1:]
        found[name] = [(hours, share) for share, hours in kept]
    return found


def _hours(bins: Bins, count: int) -> list[float]:
    return [(at + 0.5) * bins.width / HOUR for at in range(count)]


def _utilisation(shown: Sequence[Trial]) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for one in shown:
        whole = one.history.means.get(("capacity", ""), ())
        used = [0.0] * len(whole)
        for (what, _), means in one.history.means.items():
            if what == "used":
                used = [a + b for a, b in zip(used, [*means, *[0.0] * len(used)], strict=False)]
        shares = [work / there if there else 0.0 for work, there in zip(used, whole, strict=True)]
        found[one.policy] = list(zip(_hours(one.history, len(shares)), shares, strict=True))
    return found


def _bands(shown: Sequence[Trial]) -> Iterator[str]:
    """Who held what: work of each queue, and what restarts took of all."""
    for one in shown:
        whole = one.history.means.get(("capacity", ""), ())
        parts: dict[str, list[float]] = {}
        for (what, queue), means in one.history.means.items():
            name = {"used": queue or NO_QUEUE, "lost": "restarting"}.get(what)
            if name is not None:
                before = parts.get(name, [0.0] * len(whole))
                parts[name] = [a + b for a, b in zip(before, [*means, *[0.0] * len(whole)], strict=False)]
        order = {name: parts[name] for name in sorted(parts, key=lambda name: (name == "restarting", name))}
        at = _hours(one.history, len(whole))
        title = f"Accelerators by queue: {one.policy}"
        if order:
            yield areas(Bands(title, "hours", "accelerators", at, order, ("all there are", whole)))


def _uses(trials: Sequence[Trial]) -> Iterator[tuple[str, ...]]:
    for one in trials:
        for use in one.uses:
            idle = not (use.used or use.lost)
            numbers = ("", "", f"{use.idle:.1f}") if idle else (f"{use.used:.1f}", f"{use.lost:.1f}", "")
            yield (one.policy, str(one.seed), "-" if idle else use.queue or NO_QUEUE, use.flavor, *numbers)
