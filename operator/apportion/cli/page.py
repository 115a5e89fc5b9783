"""An assessment as one HTML page that needs nothing else: no script, no address, charts as inline SVG."""

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from apportion.assessment import Assessment
from apportion.cli.assess_rows import (
    FLAVORS,
    GANGS,
    HOLDERS,
    JOBS,
    flavor_rows,
    gang_rows,
    holder_rows,
    job_rows,
    state_lines,
)
from apportion.cli.html import html_list, html_page, html_table
from apportion.cli.svg import Bars, stacked


def assessment_page(found: Assessment, warnings: Iterable[str], now: float) -> str:
    """Raises NoCharts where matplotlib is missing."""
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    parts = [
        f"<h1>Accelerators, {escape(at)}</h1>",
        html_table(FLAVORS, flavor_rows(found)),
        html_list(state_lines(found)),
        "<h2>Who holds them</h2>",
        *_holders(found),
        html_table(HOLDERS, holder_rows(found)),
        "<h2>Largest gang that fits now</h2>",
        "<p>EACH is the accelerators of one replica, CPU and MEMORY the most that a job of this size asks for each. "
        "STRANDED are free accelerators that replicas of this size cannot use.</p>",
        *_gangs(found),
        html_table(GANGS, gang_rows(found)),
        "<h2>Which job can use which flavor</h2>",
        html_table(JOBS, job_rows(found)),
        html_list([f"warning: {warning}" for warning in warnings]),
    ]
    return html_page(f"Apportion: accelerators, {at}", parts)


def _holders(found: Assessment) -> list[str]:
    """A bar for each flavor; jobs by queue."""
    names = [health.flavor for health in found.health if health.nodes]
    lengths: dict[str, list[float]] = {}
    for row in found.holdings:
        if row.flavor in names:
            part = row.use if row.key is None else f"queue {row.queue}" if row.queue else "jobs without a queue"
            lengths.setdefault(part, [0.0] * len(names))[names.index(row.flavor)] += row.accelerators
    order = sorted(lengths, key=lambda part: ({"others": 1, "idle": 2}.get(part, 0), part))
    if not names:
        return []
    return [stacked(Bars("Accelerators by holder", "accelerators", names, {part: lengths[part] for part in order}))]


def _gangs(found: Assessment) -> list[str]:
    """For each flavor with free accelerators: what gangs of each size could use of them."""
    charts = []
    for room in found.rooms:
        if room.accelerators:
            used = [float(gang.replicas * gang.size) for gang in room.gangs]
            stranded = [float(gang.stranded) for gang in room.gangs]
            sizes = [f"{gang.size} each" for gang in room.gangs]
            parts = {"usable": used, "stranded": stranded}
            charts.append(stacked(Bars(f"{room.flavor}: free, by replica size", "free accelerators", sizes, parts)))
    return charts
