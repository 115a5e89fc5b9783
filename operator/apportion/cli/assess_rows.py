"""An assessment as rows of text, for the terminal and for the page."""

from collections.abc import Iterable

from apportion.assessment import Assessment, Compatibility, Health, Out
from apportion.planner.explain import shown

MOST_NAMES = 3


def flavor_rows(found: Assessment) -> list[tuple[str, ...]]:
    """FLAVOR, RESOURCE, NODES, READY, ACCELERATORS, USABLE, FREE, BROKEN, DRIVER, MEMORY."""
    return [
        (
            health.flavor,
            health.resource,
            str(health.nodes),
            str(health.ready),
            str(health.accelerators),
            str(health.usable),
            str(room.accelerators),
            str(health.broken),
            said(health.driver),
            said(health.memory),
        )
        for health, room in zip(found.health, found.rooms, strict=True)
    ]


FLAVORS = ("FLAVOR", "RESOURCE", "NODES", "READY", "ACCELERATORS", "USABLE", "FREE", "BROKEN", "DRIVER", "MEMORY")
GANGS = ("FLAVOR", "EACH", "CPU", "MEMORY", "GANG", "BY ACCELERATORS", "BINDS", "STRANDED")
HOLDERS = ("FLAVOR", "HOLDER", "QUEUE", "ACCELERATORS")
JOBS = ("JOB", "FLAVOR", "SPEED", "FITS NOW", "FITS EMPTY", "WHY NOT")


def said(tally: Iterable[tuple[str, int]]) -> str:
    """One value, or all with the number of nodes that say it."""
    values = list(tally)
    if len(values) == 1:
        return values[0][0]
    return ", ".join(f"{value} ({count})" for value, count in values)


def gang_rows(found: Assessment) -> list[tuple[str, ...]]:
    return [
        (
            gang.flavor,
            str(gang.size),
            shown("cpu", gang.cpu) if gang.cpu else "-",
            shown("memory", gang.memory) if gang.memory else "-",
            str(gang.replicas),
            str(gang.alone),
            gang.binds or "-",
            str(gang.stranded),
        )
        for room in found.rooms
        for gang in room.gangs
    ]


def holder_rows(found: Assessment) -> list[tuple[str, ...]]:
    names = {"others": "pods of others", "idle": "nobody"}
    return [
        (row.flavor, str(row.key) if row.key else names[row.use], row.queue or "-", f"{row.accelerators:g}")
        for row in found.holdings
    ]


def job_rows(found: Assessment) -> list[tuple[str, ...]]:
    return [row for job in found.jobs for row in _job_rows(job)]


def _job_rows(job: Compatibility) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (
            str(job.key),
            fit.flavor,
            f"{fit.speed:g}" if fit.usable else "-",
            str(fit.now) if fit.usable else "-",
            str(fit.most) if fit.usable else "-",
            fit.why or "-",
        )
        for fit in job.fits
    ]
    return [*rows, (str(job.key), "(any)", "-", "-", "-", job.blocked)] if job.blocked else rows


def state_lines(found: Assessment) -> list[str]:
    """One sentence for each reason why nodes are out, and for labels that differ inside a flavor."""
    lines = [f"{health.flavor}: {_out_words(out)}" for health in found.health for out in health.out]
    lines += [f"no flavor: {_out_words(out)}" for out in found.unusable]
    return lines + [line for health in found.health for line in _mixed(health)]


def _out_words(out: Out) -> str:
    names = ", ".join(out.nodes[:MOST_NAMES]) + (", ..." if len(out.nodes) > MOST_NAMES else "")
    return f"{len(out.nodes)} node{'s' * (len(out.nodes) != 1)} ({names}): {out.why}"


def _mixed(health: Health) -> list[str]:
    named = (("drivers", health.driver), ("CUDA runtimes", health.runtime), ("memory sizes", health.memory))
    return [f"{health.flavor}: nodes have different {what}: {said(tally)}" for what, tally in named if len(tally) > 1]
