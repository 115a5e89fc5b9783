"""apportion assess: what there is, who holds it, what would fit, and which job can use what."""

import json
from collections.abc import Iterable
from typing import Any

import click

from apportion.api.names import API_VERSION
from apportion.assessment import Assessment, Compatibility, Health, Out, assess
from apportion.cli.source import Source, fail, read
from apportion.cli.tables import console, table
from apportion.planner.explain import shown

MOST_NAMES = 3


def assess_command(source: Source, output: str) -> None:
    got = read(source)
    found = assess(got.snapshot)
    warnings = (*got.warnings, *found.warnings)
    if output == "json":
        click.echo(json.dumps(assessment_document(found, warnings), indent=2, allow_nan=False))
    elif output == "html":
        from apportion.cli.page import assessment_page
        from apportion.cli.svg import NoCharts

        try:
            click.echo(assessment_page(found, warnings, got.snapshot.now), nl=False)
        except NoCharts as error:
            fail(str(error))
    else:
        _print(found, warnings)


def assessment_document(found: Assessment, warnings: Iterable[str]) -> dict[str, Any]:
    """kind Assessment (docs/assess.md): plain JSON values, flavors and jobs in name order."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Assessment",
        "flavors": [
            {
                "name": health.flavor,
                "resource": health.resource,
                "nodes": health.nodes,
                "readyNodes": health.ready,
                "accelerators": health.accelerators,
                "usable": health.usable,
                "broken": health.broken,
                "free": {"accelerators": room.accelerators, "cpuMillicores": room.cpu, "memoryBytes": room.memory},
                "notReady": _outs(health.out),
                "drivers": dict(health.driver),
                "runtimes": dict(health.runtime),
                "memories": dict(health.memory),
                "gangs": [
                    {
                        "acceleratorsPerReplica": gang.size,
                        "cpuMillicores": gang.cpu,
                        "memoryBytes": gang.memory,
                        "replicas": gang.replicas,
                        "byAcceleratorsAlone": gang.alone,
                        "binds": gang.binds or None,
                        "stranded": gang.stranded,
                    }
                    for gang in room.gangs
                ],
                "holders": [
                    {
                        "use": row.use,
                        "queue": row.queue or None,
                        "namespace": row.key.namespace if row.key else None,
                        "name": row.key.name if row.key else None,
                        "accelerators": row.accelerators,
                    }
                    for row in found.holdings
                    if row.flavor == health.flavor
                ],
            }
            for health, room in zip(found.health, found.rooms, strict=True)
        ],
        "unusableNodes": _outs(found.unusable),
        "jobs": [
            {
                "namespace": job.key.namespace,
                "name": job.key.name,
                "minReplicas": job.minimum,
                "acceleratorsPerReplica": job.per_replica,
                "blocked": job.blocked or None,
                "flavors": [
                    {
                        "name": fit.flavor,
                        "usable": fit.usable,
                        "why": fit.why or None,
                        "speed": fit.speed,
                        "fitsNow": fit.now,
                        "fitsEmpty": fit.most,
                    }
                    for fit in job.fits
                ],
            }
            for job in found.jobs
        ],
        "warnings": list(warnings),
    }


def _outs(outs: Iterable[Out]) -> list[dict[str, Any]]:
    return [{"why": out.why, "nodes": list(out.nodes)} for out in outs]


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


def _print(found: Assessment, warnings: Iterable[str]) -> None:
    out = console()
    for heads, rows in (
        (FLAVORS, flavor_rows(found)),
        (GANGS, gang_rows(found)),
        (HOLDERS, holder_rows(found)),
        (JOBS, job_rows(found)),
    ):
        if rows:
            out.print(table(heads, rows))
            out.print()
    for line in (*state_lines(found), *(f"warning: {warning}" for warning in warnings)):
        out.print(line, markup=False)
