"""apportion plan --what-if: two decisions side by side."""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from rich.console import Console
from rich.table import Table

from apportion.api.names import API_VERSION
from apportion.cli.changing import NotUnderstood, parsed
from apportion.cli.document import caps_document, grant_document, prices_document
from apportion.cli.source import Read, fail, submitted
from apportion.model.caps import Kind
from apportion.model.plan import Decision, Grant
from apportion.planner.changes import CannotChange, Change, SubmittedJob, applied
from apportion.planner.searching import Solve
from apportion.planner.whatif import ROUNDING, Comparison, Interval, WhatIf, what_if


def compared(got: Read, texts: Sequence[str], rule: Solve) -> WhatIf:
    """Understand the changes, one after the other, and decide both. What cannot be understood ends with code 2."""
    changes: list[Change] = []
    snapshot = got.snapshot
    for text in texts:

        def submit(path: str) -> list[Change]:
            return [SubmittedJob(job, path) for job in submitted(got, path)]

        try:
            found = parsed(text, snapshot, submit)
            snapshot = reduce(applied, found, snapshot)
        except (NotUnderstood, CannotChange) as error:
            fail(f"--what-if {text!r}: {error}")
        changes += found
    return what_if(got.snapshot, got.policy, changes, rule)


def effect(row: Comparison) -> str:
    """In one word what the change does to a job."""
    if not row.before.replicas and not row.after.replicas:
        return "waits"
    return {1: "gains", -1: "loses", 0: "moves"}[row.faster]


def what_if_document(found: WhatIf, texts: Sequence[str], warnings: Sequence[str]) -> dict[str, Any]:
    """kind WhatIf (docs/reference/decision.md)."""
    return {
        "apiVersion": API_VERSION,
        "kind": "WhatIf",
        "changes": list(texts),
        "jobs": [
            {
                "namespace": row.key.namespace,
                "name": row.key.name,
                "effect": effect(row),
                "before": grant_document(row.before),
                "after": grant_document(row.after),
                "message": message,
            }
            for row, message in zip(found.jobs, _messages(found), strict=True)
        ],
        "unchanged": _unchanged(found),
        "before": _side(found.before),
        "after": _side(found.after),
        "difference": {
            "low": _finite(found.difference.low),
            "high": _finite(found.difference.high),
            "comparable": found.difference.comparable,
            "determined": found.difference.determined,
        },
        "warnings": [*warnings, *found.after.warnings],
    }


def _side(decision: Decision) -> dict[str, Any]:
    plan = decision.plan
    return {
        "status": str(plan.status),
        "objective": plan.objective,
        "bound": plan.bound,
        "gap": _finite(plan.gap),
        "prices": prices_document(plan),
        "caps": caps_document(decision),
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _unchanged(found: WhatIf) -> int:
    return len(found.after.outcomes) - len(found.jobs)


def _messages(found: WhatIf) -> list[str]:
    said = {outcome.key: outcome.message for outcome in found.after.outcomes}
    return [said[row.key] for row in found.jobs]


def shown(grant: Grant) -> str:
    return f"{grant.replicas} {grant.flavor}" if grant.replicas else "-"


def print_what_if(found: WhatIf, texts: Sequence[str], warnings: Sequence[str]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for text in texts:
        console.print(f"what if: {text}", markup=False)
    console.print()
    if found.jobs:
        jobs = Table("JOB", "BEFORE", "AFTER", "EFFECT", "THEN", box=None, pad_edge=False)
        order = {"gains": 0, "loses": 1, "moves": 2, "waits": 3}
        rows = sorted(zip(found.jobs, _messages(found), strict=True), key=lambda row: order[effect(row[0])])
        for row, message in rows:
            jobs.add_row(str(row.key), shown(row.before), shown(row.after), effect(row), message)
        console.print(jobs)
    count = _unchanged(found)
    if count or not found.jobs:
        console.print(f"{count} {'other ' if found.jobs else ''}job{'s' * (count != 1)}: no difference")
    console.print()
    console.print(_prices(found))
    console.print()
    for name, decision in (("before", found.before), ("after", found.after)):
        plan = decision.plan
        console.print(f"{name + ':':<8}{plan.status}, value {plan.objective:.6g}, at most {plan.bound:.6g} is possible")
    console.print(difference_sentence(found.difference))
    for warning in (*warnings, *found.after.warnings):
        console.print(f"warning: {warning}", markup=False)


def _prices(found: WhatIf) -> Table:
    """What one more accelerator would be worth, of every flavor and queue that has a price in one of the two."""
    table = Table("ONE MORE", "WORTH BEFORE", "WORTH AFTER", box=None, pad_edge=False)
    before, after = _by_place(found.before), _by_place(found.after)
    for place in sorted({*before, *after}):
        table.add_row(_one_more(*place), *(f"{side.get(place, 0.0):.4g}" for side in (before, after)))
    if not table.row_count:
        table.add_row("(nothing is scarce)", "", "")
    return table


def _one_more(cap: str, queue: str, flavor: str) -> str:
    if cap:
        kind = Kind(cap)
        return f"{kind.unit} of the {kind.words} of {f'queue {queue}' if queue else 'the cluster'}"
    return f"{flavor} of quota of queue {queue}" if queue else flavor


def _by_place(decision: Decision) -> Mapping[tuple[str, str, str], float]:
    return {(price.cap or "", price.queue, price.flavor): price.price for price in decision.plan.prices}


def difference_sentence(difference: Interval) -> str:
    """[LB' - UB, UB' - LB] in words."""
    low, high = difference.low, difference.high
    if not (math.isfinite(low) and math.isfinite(high)):
        return "difference: undetermined; one of the two plans could not be made, or not all moves were open to both"
    if not difference.comparable:
        return "difference: not comparable; the change also changes what jobs are measured by (number, weight, minimum)"
    if max(abs(low), abs(high)) <= ROUNDING:
        return "difference: none; all jobs together are worth the same"
    if not difference.determined:
        return f"difference: undetermined; the best plans differ by something between {low:+.4g} and {high:+.4g}"
    more = "more" if low > 0 else "less"
    least, most = sorted((abs(low), abs(high)))
    about = f"{least:.4g}" if f"{least:.4g}" == f"{most:.4g}" else f"between {least:.4g} and {most:.4g}"
    return f"difference: all jobs together are worth {about} {more}"
