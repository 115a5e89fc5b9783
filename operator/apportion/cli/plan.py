"""apportion plan: what the operator would decide."""

import json

import click
import yaml
from rich.console import Console
from rich.table import Table

from apportion.baselines import BASELINES
from apportion.cli.document import decision_document
from apportion.cli.source import Read, Source, read
from apportion.model.plan import Decision, Grant
from apportion.planner import decide


def plan_command(source: Source, output: str, rule: str | None) -> None:
    got = read(source)
    decision = decide(got.snapshot, got.policy) if rule is None else decide(got.snapshot, got.policy, BASELINES[rule])
    if output == "table":
        _table(got, decision)
        return
    document = decision_document(got.snapshot, decision, got.warnings)
    if output == "json":
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        click.echo(yaml.safe_dump(document, sort_keys=False), nl=False)


def shown(grant: Grant) -> str:
    return f"{grant.replicas} {grant.flavor}" if grant.replicas else "-"


def _table(got: Read, decision: Decision) -> None:
    console = Console(soft_wrap=True, highlight=False)
    plan = decision.plan
    jobs = Table("JOB", "NOW", "PLAN", "WAVE", "REASON", "MESSAGE", box=None, pad_edge=False)
    waves = {resize.key: str(resize.wave) for resize in decision.resizes}
    for outcome in decision.outcomes:
        wave = waves.get(outcome.key, "")
        row = (str(outcome.key), shown(outcome.current), shown(outcome.target), wave, outcome.reason, outcome.message)
        jobs.add_row(*row)
    capacity = Table("FLAVOR", "RESOURCE", "ALLOCATABLE", "OTHERS USE", "FREE", box=None, pad_edge=False)
    for row_ in decision.capacity:
        numbers = (row_.allocatable, row_.others_use, row_.free)
        capacity.add_row(row_.flavor, row_.resource, *map(str, numbers))
    console.print(jobs)
    console.print()
    console.print(capacity)
    console.print()
    console.print(
        f"{plan.status}: objective {plan.objective:.6g}, bound {plan.bound:.6g}, gap {plan.gap:.2%}, "
        f"{plan.method}, {plan.seconds:.2f} s"
    )
    if got.ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in got.ignored.items())
        console.print(f"ignored: {kinds}")
    for warning in (*got.warnings, *decision.warnings):
        console.print(f"warning: {warning}", markup=False)
