"""apportion replay: who decided what and why, whether it is decided again, what another policy would have decided."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from apportion.api.history import round_files, write_round
from apportion.baselines import BASELINES
from apportion.cli.main import cli
from apportion.model.plan import Grant
from apportion.model.policy import Objective, Policy, Shadow
from apportion.model.rounds import Round
from apportion.planner import decide
from apportion.planner.shadow import shadowed
from builders import NOW, job, nodes, running, snapshot

PLENTY = 10**9
SHADOWING = Policy(shadows=(Shadow("linear", Objective(exponent=1.0)),))


def ran(*words: str) -> Result:
    return CliRunner().invoke(cli, ["replay", *words])


def document(*words: str) -> Any:
    done = ran(*words, "-o", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def a_round(seconds: float, policy: Policy = SHADOWING) -> Round:
    """One job runs on 2 of 8 GPUs and could use 6, another waits for at most 4."""
    first = running(job("first", 2, 6), {"h100-0": 2})
    world = snapshot(first, job("second", 1, 4), on=nodes(1), now=NOW + seconds)
    return Round(world, policy, decide(world, policy), "program", "pod-a", "0.1.0", shadowed(world, policy))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Rounds at 0, 60 and 120 seconds."""
    for seconds in (0, 60, 120):
        write_round(tmp_path / "history", a_round(seconds), PLENTY)
    return str(tmp_path / "history")


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


def test_every_round_has_a_line_with_its_time_and_leader(folder: str) -> None:
    done = ran(folder)
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["TIME", "ROUND", "BY", "MODE", "JOBS", "CHANGED", "VALUE", "GAP", "METHOD"]
    assert [row[0] for row in rows[1:]] == ["1970-01-12T13:46:40Z", "1970-01-12T13:47:40Z", "1970-01-12T13:48:40Z"]
    assert {tuple(row[1:6]) for row in rows[1:]} == {("8", "pod-a", "Enforce", "2", "2")}


def test_a_time_shows_the_last_round_before_it_with_every_reason_and_the_shadows(folder: str) -> None:
    done = ran(folder, "--at", at(100))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "1970-01-12T13:47:40Z: round 8, decided by pod-a"
    assert "decided again: the same" in lines
    round_ = a_round(60)
    for outcome in round_.decision.outcomes:
        (line,) = (line for line in lines if line.startswith(str(outcome.key)))
        assert outcome.message in line
        assert f"{outcome.granted.replicas} h100" in line
    assert next(line for line in lines if line.startswith("JOB")).split() == [
        "JOB", "BEFORE", "GRANTED", "PLAN", "linear", "REASON", "MESSAGE"
    ]  # fmt: skip
    assert any(line.startswith("linear: value ") for line in lines)


def test_the_document_has_the_whole_decision_of_a_time(folder: str) -> None:
    (one,) = document(folder, "--at", at(60))["rounds"]
    assert one["decidedAgain"] == "same"
    assert one["decision"]["kind"] == "Decision"
    assert {row["name"]: row["to"]["replicas"] for row in one["changed"]} == {
        outcome.key.name: outcome.granted.replicas for outcome in a_round(60).decision.outcomes
    }
    every = document(folder)["rounds"]
    assert [round_["decidedAgain"] for round_ in every] == [None] * 3
    assert [round_["decision"] for round_ in every] == [None] * 3


def test_a_rule_is_set_beside_what_was_decided(folder: str) -> None:
    (one,) = document(folder, "--at", at(60), "--policy", "static")["rounds"]
    round_ = a_round(60)
    static = decide(round_.snapshot, round_.policy, BASELINES["static"])
    enforced = {outcome.key: outcome.target for outcome in round_.decision.outcomes}
    wanted = {o.key.name: o.target.replicas for o in static.outcomes if o.target != enforced[o.key]}
    assert {row["name"]: row["other"]["replicas"] for row in one["policy"]["differences"]} == wanted
    assert one["policy"]["accelerators"] == {"h100": 3}
    assert one["policy"]["value"] < one["objective"]
    whole = ran(folder, "--at", at(60), "--policy", "static").stdout.splitlines()
    # The job itself, before, granted, planned, the shadow's, the rule's.
    second = next(line.split() for line in whole if line.startswith("team/second"))
    assert second[:2] == ["team/second", "-"]
    assert second[-1 - len(round_.decision.outcomes[1].message.split()) - 2 :][:2] == ["1", "h100"]
    rows = [line.split() for line in ran(folder, "--policy", "STATIC").stdout.splitlines()]
    assert rows[0][-7:] == ["VALUE", "OF", "static", "JOBS", "THAT", "DIFFER", "RESTARTS"]
    assert {row[-2] for row in rows[1:]} == {str(len(wanted))}


@pytest.fixture
def policy_file(tmp_path: Path) -> Callable[..., str]:
    def write(**spec: Any) -> str:
        path = tmp_path / "other.yaml"
        meta = {"apiVersion": "apportion.dev/v1alpha1", "kind": "AllocationPolicy", "metadata": {"name": "default"}}
        path.write_text(yaml.safe_dump({**meta, "spec": spec}))
        return str(path)

    return write


def test_a_policy_of_a_file_decides_with_its_own_objective_and_the_speeds_of_its_flavors(
    folder: str, policy_file: Callable[..., str]
) -> None:
    (same,) = document(folder, "--at", at(0), "--policy", policy_file())["rounds"]
    assert (same["policy"]["name"], same["policy"]["differences"]) == ("other.yaml", [])
    frozen = policy_file(mode="Freeze")
    (one,) = document(folder, "--at", at(0), "--policy", frozen)["rounds"]
    assert {row["name"]: row["other"] for row in one["policy"]["differences"]} == {
        "first": {"flavor": "h100", "replicas": 2},
        "second": {"flavor": None, "replicas": 0},
    }


def test_flavors_of_the_other_policy_have_its_speeds_and_prices(
    tmp_path: Path, policy_file: Callable[..., str]
) -> None:
    """Half of the nodes are A100, recorded at half the speed: under the other policy they are the faster ones."""
    world = snapshot(job("one", 1, 4), on=(*nodes(1), *nodes(1, flavor="a100")))
    write_round(tmp_path / "history", Round(world, Policy(), decide(world, Policy())), PLENTY)
    fast = policy_file(flavors=[{"name": "a100", "resource": "nvidia.com/gpu", "speed": 3}])
    (one,) = document(str(tmp_path / "history"), "--policy", fast)["rounds"]
    (difference,) = one["policy"]["differences"]
    assert (difference["enforced"]["flavor"], difference["other"]["flavor"]) == ("h100", "a100")


def test_a_round_that_is_decided_otherwise_now_is_pointed_out_and_sets_the_code(folder: str) -> None:
    forged = a_round(30)
    outcomes = (replace(forged.decision.outcomes[0], target=Grant("h100", 1)), *forged.decision.outcomes[1:])
    write_round(Path(folder), replace(forged, decision=replace(forged.decision, outcomes=outcomes)), PLENTY)
    done = ran(folder, "--check")
    assert done.exit_code == 1
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["AGAIN", "same", "DIFFERS", "same", "same"]
    one = ran(folder, "--at", at(30))
    assert (one.exit_code, "decided again: another decision" in one.stdout) == (1, True)


def test_files_that_are_no_rounds_are_named_and_the_others_replayed(folder: str) -> None:
    _, second, _ = round_files(Path(folder))
    second.write_bytes(second.read_bytes()[:-30])
    (Path(folder) / "notes.txt").write_text("mine")
    done = ran(folder, "--check")
    assert done.exit_code == 2
    assert len(done.stdout.splitlines()) == 3
    errors = done.stderr.splitlines()
    assert [error.split(": ")[1] for error in errors] == [str(second), str(Path(folder) / "notes.txt")]
    torn = ran(folder, "--at", at(60))
    assert torn.exit_code == 2
    assert torn.stdout.startswith("1970-01-12T13:46:40Z")
    assert str(second) in torn.stderr


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "no folder": (("/nowhere",), "error: /nowhere: expected a folder with recorded rounds: No such file or directory"),
    "no time": (("FOLDER", "--at", "noon"), "error: --at 'noon': expected a time like 2026-12-01T08:00:00Z"),
    "too early": (
        ("FOLDER", "--at", "1970-01-01T00:00:00Z"),
        "error: expected a round at or before 1970-01-01T00:00:00Z",
    ),
    "no policy": (
        ("FOLDER", "--policy", "best"),
        "error: --policy: expected one of program, static, fifo, drf, max-min",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_asked_ends_with_one_line(case: str, folder: str) -> None:
    words, message = BAD[case]
    done = ran(*(word.replace("FOLDER", folder) for word in words))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


def test_an_empty_folder_and_a_file_of_another_kind_are_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    assert "expected recorded rounds, found none" in ran(str(tmp_path / "empty")).stderr
    queue = {"apiVersion": "apportion.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "red"}, "spec": {}}
    (tmp_path / "queue.yaml").write_text(yaml.safe_dump(queue))
    done = ran(folder, "--policy", str(tmp_path / "queue.yaml"))
    assert (done.exit_code, "expected one AllocationPolicy, found 0" in done.stderr) == (2, True)


def test_a_shadow_that_failed_is_told(tmp_path: Path) -> None:
    round_ = a_round(0)
    (result,) = round_.shadows
    failed = replace(result, comparison=replace(result.comparison, failure="TimeoutError: "))
    write_round(tmp_path / "history", replace(round_, shadows=(failed,)), PLENTY)
    done = ran(str(tmp_path / "history"), "--at", at(0))
    assert "linear: no plan: TimeoutError" in done.stdout


def names(value: object) -> set[str]:
    """Every field name; those of a decision have a page of their own, and accelerators are by flavor."""
    if isinstance(value, dict):
        apart = {"decision", "accelerators"}
        return {name for key, inner in value.items() for name in {key, *(() if key in apart else names(inner))}}
    return {name for item in value for name in names(item)} if isinstance(value, list) else set()


def test_the_documentation_names_every_field(folder: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ab.md").read_text(encoding="utf-8")
    found = names(document(folder, "--at", at(0), "--policy", "static"))
    assert {"differences", "changed", "decision"} <= found
    assert not {name for name in found if f"`{name}`" not in page and f"`{name}[]`" not in page}
