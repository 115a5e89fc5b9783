"""apportion assess: what there is, who holds it, what would fit, and which job can use what."""

import json
from collections.abc import Iterable
from typing import Any

import click

from apportion.api.names import API_VERSION
from apportion.assessment import Assessment, Out, assess
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
from apportion.cli.page import assessment_page
from apportion.cli.source import Source, fail, read
from apportion.cli.svg import NoCharts
from apportion.cli.tables import console, table


def assess_command(source: Source, output: str) -> None:
    got = read(source)
    found = assess(got.snapshot)
    warnings = (*got.warnings, *found.warnings)
    if output == "json":
        click.echo(json.dumps(assessment_document(found, warnings), indent=2, allow_nan=False))
    elif output == "html":
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
