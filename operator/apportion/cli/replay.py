"""apportion replay: what recorded rounds decided and why, whether they decide the same again, and what others would."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from apportion.api.history import UnreadableRound, file_time, read_round, round_files
from apportion.api.names import API_VERSION
from apportion.baselines import BASELINES
from apportion.cli.document import decision_document, grant_document
from apportion.cli.policy import Other, other_policy
from apportion.cli.source import fail, moment
from apportion.cli.tables import console, table
from apportion.cli.whatif import shown
from apportion.model.plan import Decision, Outcome
from apportion.model.rounds import PROGRAM, Comparison, Round
from apportion.optimizer import solve
from apportion.planner import decide
from apportion.planner.decide import wanted
from apportion.planner.searching import Solve
from apportion.planner.shadow import compared

ROUNDS = ("TIME", "ROUND", "BY", "MODE", "JOBS", "CHANGED", "VALUE", "GAP", "METHOD")
COMPARED = ("VALUE OF {}", "JOBS THAT DIFFER", "RESTARTS")


@dataclass(frozen=True)
class Asked:
    """As given on the command line. check: decide each round again, and say whether the decision is the same."""

    at_time: str | None = None
    policy: str | None = None
    check: bool = False
    output: str = "table"


@dataclass(frozen=True)
class Replayed:
    """A round with what was asked of it; None: not asked."""

    round: Round
    same: bool | None = None
    other: Comparison | None = None


def replay_command(folder: str, asked: Asked) -> None:
    """Rounds that cannot be read are named on standard error; the others are replayed all the same, and the code is 2
    in the end. It is 1 where a round does not decide the same again."""
    files = _files(folder)
    other = None if asked.policy is None else other_policy(asked.policy)
    broken: list[UnreadableRound] = []
    if asked.at_time is not None:
        replayed = [_replayed(_round_at(files, moment("--at", asked.at_time), broken), other, True)]
    else:
        replayed = [_replayed(round_, other, asked.check) for round_ in _rounds(files, broken)]
    _say(broken)
    name = other.name if other else ""
    if asked.output == "json":
        click.echo(json.dumps(_document(replayed, asked), indent=2, allow_nan=False))
    elif asked.at_time is not None:
        _print_one(replayed[0], name)
    else:
        _print_all(replayed, name)
    differs = any(one.same is False for one in replayed)
    if broken or differs:
        sys.exit(2 if broken else 1)


def _files(folder: str) -> list[Path]:
    try:
        found = round_files(Path(folder))
    except OSError as error:
        fail(f"{folder}: expected a folder with recorded rounds: {error.strerror}")
    if not found:
        fail(f"{folder}: expected recorded rounds, found none")
    return found


def _rounds(files: list[Path], broken: list[UnreadableRound]) -> Iterator[Round]:
    for path in files:
        try:
            yield read_round(path)
        except UnreadableRound as error:
            broken.append(error)


def _round_at(files: list[Path], at: float, broken: list[UnreadableRound]) -> Round:
    """The last one at or before the time that can be read."""
    before = [path for path in files if path.name <= file_time(at) + "~"]
    for found in _rounds(before[::-1], broken):
        return found
    _say(broken)
    fail(f"expected a round at or before {_time(at)}; the first file is {files[0].name}")


def _say(broken: list[UnreadableRound]) -> None:
    for error in broken:
        click.echo(f"error: {error}", err=True)


def _replayed(round_: Round, other: Other | None, check: bool) -> Replayed:
    rule: Solve = solve if round_.rule == PROGRAM else BASELINES.get(round_.rule, solve)
    same = decide(round_.snapshot, round_.policy, rule) == round_.decision if check else None
    if other is None:
        return Replayed(round_, same)
    snapshot, policy = other.applied(round_.snapshot, round_.policy)
    enforced = wanted(round_.snapshot, round_.policy, rule)
    ask = partial(decide, replace(snapshot, prices={}), policy, other.rule)
    return Replayed(round_, same, compared(other.name, round_.policy, enforced, ask))


def _time(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _changed(decision: Decision) -> list[Outcome]:
    return [outcome for outcome in decision.outcomes if outcome.granted != outcome.current]


def _row(one: Replayed, extra: bool) -> tuple[str, ...]:
    round_, decision = one.round, one.round.decision
    row: tuple[str, ...] = (
        _time(round_.snapshot.now),
        str(decision.round),
        round_.leader or "-",
        str(round_.policy.mode),
        str(len(decision.outcomes)),
        str(len(_changed(decision))),
        f"{decision.plan.objective:.6g}",
        f"{decision.plan.gap:.2%}",
        decision.plan.method,
    )
    if one.same is not None:
        row += ("same" if one.same else "DIFFERS",)
    if extra and one.other is not None:
        row += _compared_cells(one.other)
    return row


def _compared_cells(other: Comparison) -> tuple[str, ...]:
    if other.failure:
        return ("-", "-", other.failure)
    return _value(other.value), str(len(other.differences)), str(other.restarts)


def _value(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _print_all(replayed: list[Replayed], name: str) -> None:
    heads: tuple[str, ...] = ROUNDS
    if any(one.same is not None for one in replayed):
        heads += ("AGAIN",)
    if name:
        heads += tuple(head.format(name) for head in COMPARED)
    console().print(table(heads, [_row(one, bool(name)) for one in replayed]))


def _print_one(one: Replayed, name: str) -> None:
    """Who decided what and why; beside it what each shadow and the other policy would have."""
    out, round_, decision = console(), one.round, one.round.decision
    others = [result.comparison for result in round_.shadows] + ([one.other] if one.other else [])
    told = [other for other in others if not other.failure]
    grants = [{difference.key: difference.other for difference in other.differences} for other in told]
    heads = ("JOB", "BEFORE", "GRANTED", "PLAN", *(other.name for other in told), "REASON", "MESSAGE")
    rows = [
        (
            str(outcome.key),
            shown(outcome.current),
            shown(outcome.granted),
            shown(outcome.target),
            *(shown(mine.get(outcome.key, outcome.target)) for mine in grants),
            outcome.reason,
            outcome.message,
        )
        for outcome in decision.outcomes
    ]
    plan = decision.plan
    by = f" by {round_.leader}" if round_.leader else ""
    out.print(f"{_time(round_.snapshot.now)}: round {decision.round}, decided{by}", markup=False)
    out.print(f"policy {round_.policy.name}, mode {round_.policy.mode}, {round_.rule}, Apportion {round_.written_by}")
    out.print(f"{plan.status}: value {plan.objective:.6g}, at most {plan.bound:.6g}, gap {plan.gap:.2%}, {plan.method}")
    out.print("decided again: " + ("the same" if one.same else "another decision"))
    out.print()
    out.print(table(heads, rows))
    for other in others:
        _print_other(out, other)


def _print_other(out: Console, other: Comparison) -> None:
    if other.failure:
        out.print(f"{other.name}: no plan: {other.failure}", markup=False)
        return
    given = ", ".join(f"{count} {flavor}" for flavor, count in other.accelerators) or "nothing"
    out.print(
        f"{other.name}: value {_value(other.value)} by the enforcing objective, {len(other.differences)} jobs differ, "
        f"{other.restarts} restarts, {given}",
        markup=False,
    )


def _document(replayed: list[Replayed], asked: Asked) -> dict[str, Any]:
    """kind Replay (docs/ab.md)."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Replay",
        "rounds": [_round_document(one, asked.at_time is not None) for one in replayed],
    }


def _round_document(one: Replayed, whole: bool) -> dict[str, Any]:
    round_, plan = one.round, one.round.decision.plan
    return {
        "time": _time(round_.snapshot.now),
        "round": round_.decision.round,
        "leader": round_.leader or None,
        "mode": str(round_.policy.mode),
        "rule": round_.rule,
        "writtenBy": round_.written_by or None,
        "changed": [
            {
                "namespace": outcome.key.namespace,
                "name": outcome.key.name,
                "from": grant_document(outcome.current),
                "to": grant_document(outcome.granted),
                "reason": outcome.reason,
                "message": outcome.message,
            }
            for outcome in _changed(round_.decision)
        ],
        "objective": plan.objective,
        "decidedAgain": None if one.same is None else "same" if one.same else "differs",
        "shadows": [_comparison_document(result.comparison) for result in round_.shadows],
        "policy": None if one.other is None else _comparison_document(one.other),
        "decision": decision_document(round_.snapshot, round_.decision) if whole else None,
    }


def _comparison_document(other: Comparison) -> dict[str, Any]:
    return {
        "name": other.name,
        "failure": other.failure or None,
        "value": other.value,
        "gap": other.gap if other.gap < float("inf") else None,
        "accelerators": dict(other.accelerators),
        "restarts": other.restarts,
        "differences": [
            {
                "namespace": difference.key.namespace,
                "name": difference.key.name,
                "enforced": grant_document(difference.enforced),
                "other": grant_document(difference.other),
            }
            for difference in other.differences
        ],
    }
