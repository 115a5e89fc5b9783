"""apportion explain where it takes long: a sign of life on a terminal, and an end of trying."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from apportion.cli import explain
from apportion.cli.explain import explanation
from apportion.cli.main import cli
from apportion.cli.source import Source, read
from apportion.model.plan import Status
from apportion.model.policy import Policy
from apportion.model.snapshot import Snapshot
from apportion.planner import worth
from apportion.planner.decide import concluded, wanted
from apportion.planner.searching import Wanted
from builders import job, nodes, snapshot
from unit.terminal import Terminal

SMALL = str(Path(__file__).parents[2] / "docs" / "examples" / "small-cluster.yaml")
NONE_HELPS = ("tj/llama-sft", "-n", "research", "-f", SMALL)


def test_a_terminal_shows_what_is_being_done_and_then_only_the_answer() -> None:
    terminal = Terminal("explain", *NONE_HELPS)
    try:
        begun = terminal.shows("planning")
        tried = terminal.shows("changes tried", begun)
        terminal.shows(r"more with: none of \d+ changes that were tried; try", tried)
        assert terminal.process.wait(20) == 0
    finally:
        terminal.process.kill()
        terminal.reader.join(20)
    cleared = terminal.text.rindex("\x1b[2K")
    assert terminal.text.index("TrainingJob research/llama-sft") > cleared


def test_what_is_no_terminal_gets_the_answer_alone() -> None:
    done = CliRunner().invoke(cli, ["explain", *NONE_HELPS])
    assert done.stderr == ""
    assert done.stdout.startswith("TrainingJob research/llama-sft: ")


@pytest.mark.parametrize("most", [1, 3])
def test_who_has_no_time_for_more_changes_says_how_many_were_left(most: int) -> None:
    got = read(Source((SMALL,), None, None, None))
    found = wanted(got.snapshot, got.policy)
    decision = concluded(got.snapshot, got.policy, found)
    outcome = next(one for one in decision.outcomes if one.key.name == "llama-sft")
    asked: list[tuple[int, int]] = []

    def go_on(made: int, tries: int) -> bool:
        asked.append((made, tries))
        return made < most

    (said,) = [line for line in explanation(got, found, decision, outcome, go_on) if "more with" in line]
    assert [made for made, _ in asked] == list(range(most + 1))
    tries = asked[0][1]
    assert tries > most
    first = 'not "[^"]+" alone' if most == 1 else f"none of {most} changes that were tried"
    assert re.fullmatch(
        f"  more with: {first}; after 30 s there was no time for {tries - most} more; try several together with "
        "plan --what-if",
        said,
    )


def test_at_least_one_change_is_tried_and_none_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "PATIENCE_SECONDS", 0.0)
    done = CliRunner().invoke(cli, ["explain", *NONE_HELPS])
    assert re.search(r'more with: not "[^"]+" alone; after 0 s there was no time for \d+ more; try', done.stdout)


def test_what_was_cut_short_is_not_solved_again_for_a_gap_of_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the time does not suffice for the policy's gap, it does even less for none: two thirds of it are saved."""
    world = snapshot(job("one", 1, 16), on=nodes(1))
    found = wanted(world, Policy())
    cut_short = replace(found, plan=replace(found.plan, status=Status.FEASIBLE, bound=found.plan.bound + 9))
    gaps = []

    def solved(changed: Snapshot, policy: Policy) -> Wanted:
        gaps.append(policy.solver.gap)
        return wanted(changed, policy)

    monkeypatch.setattr(worth, "wanted", solved)
    search = worth.one_change(world, Policy(), cut_short, world.jobs[0].key)
    assert search.remedy is not None
    assert not search.remedy.certain
    assert gaps == [Policy().solver.gap] * len(search.tried)


def test_a_job_that_is_not_there_is_an_error() -> None:
    done = CliRunner().invoke(cli, ["explain", "tj/nobody", "-n", "research", "-f", SMALL])
    assert done.exit_code == 2
    assert done.stderr == "error: there is no TrainingJob 'nobody' in namespace 'research'\n"
