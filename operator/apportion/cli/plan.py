"""apportion plan: what the operator would decide."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from apportion.baselines import BASELINES
from apportion.cli.document import decision_document
from apportion.cli.source import Read, Source, read
from apportion.cli.whatif import compared, print_what_if, shown, what_if_document
from apportion.model.plan import Decision
from apportion.optimizer import solve
from apportion.planner import decide


@dataclass(frozen=True)
class Asked:
    """How to plan and print: `rule` is the name of a baseline, `changes` are what-ifs in the user's words."""

    output: str
    rule: str | None = None
    changes: tuple[str, ...] = ()


def plan_command(source: Source, asked: Asked) -> None:
    got = read(source)
    rule = solve if asked.rule is None else BASELINES[asked.rule]
    if asked.changes:
        found = compared(got, asked.changes, rule)
        if asked.output == "table":
            print_what_if(found, asked.changes, got.warnings)
        else:
            _print(what_if_document(found, asked.changes, got.warnings), asked.output)
        return
    decision = decide(got.snapshot, got.policy, rule)
    if asked.output == "table":
        _table(got, decision)
    else:
        _print(decision_document(got.snapshot, decision, got.warnings), asked.output)


def sharing_lines(decision: Decision) -> Iterator[str]:
    """What budgets and power caps allow and what is used, and how evenly things are shared."""
    for use in decision.cap_use:
        whose = f"queue {use.queue}" if use.queue else "the cluster"
        yield f"{use.kind.words} of {whose}: {use.used:.6g} of {use.limit:.6g} {use.kind.unit}"
    fairness = decision.fairness
    if fairness.dominant_shares:
        shares = ", ".join(f"{queue} {share:.0%}" for queue, share in fairness.dominant_shares)
        yield f"dominant share by queue: {shares}"
    if fairness.jain is not None:
        yield f"Jain index of the normalised rates of all jobs that run or wait: {fairness.jain:.2f}"


def _print(document: dict[str, Any], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        click.echo(yaml.safe_dump(document, sort_keys=False), nl=False)


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
    for new in decision.new_nodes:
        console.print(
            f"would be provisioned: up to {new.nodes} node{'s' * (new.nodes != 1)} of {new.accelerators_per_node} "
            f"{new.flavor}, of {new.most} that may be added"
        )
    for line in sharing_lines(decision):
        console.print(line, markup=False)
    console.print(
        f"{plan.status}: objective {plan.objective:.6g}, bound {plan.bound:.6g}, gap {plan.gap:.2%}, "
        f"{plan.method}, {plan.seconds:.2f} s"
    )
    if got.ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in got.ignored.items())
        console.print(f"ignored: {kinds}")
    for warning in (*got.warnings, *decision.warnings):
        console.print(f"warning: {warning}", markup=False)
