"""What README.md tells a reader to type works: its make targets, its commands, its files."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from apportion.cli.main import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", README, flags=re.M | re.S)
LINES = [line for block in BLOCKS for line in block.splitlines()]
TYPED = re.compile(r"(apportion|make|helm|kubectl|docker) ")
COMMANDS = [line for line in LINES if TYPED.match(line)]
INLINE = re.findall(r"`((?:apportion|make) [^`]+)`", README)


def ours() -> list[str]:
    return [line for line in [*COMMANDS, *INLINE] if line.startswith("apportion ")]


def test_quick_start_is_exactly_two_commands() -> None:
    section = README.split("## Quick start")[1].split("\n## ")[0]
    typed = [
        line for block in re.findall(r"^```\n(.*?)^```", section, flags=re.M | re.S) for line in block.splitlines()
    ]
    assert typed == ["make demo", "make test"]


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_target_exists_and_sets_up_by_itself(line: str) -> None:
    rules = re.findall(r"^([a-z]+):(.*)$", (ROOT / "Makefile").read_text(), flags=re.M)
    needs = {target: set(after.split()) for target, after in rules}
    first = line.split()[1]
    assert first in needs

    def reaches_setup(target: str) -> bool:
        return target == "setup" or any(reaches_setup(needed) for needed in needs.get(target, ()))

    assert reaches_setup(first)


@pytest.mark.parametrize("line", ours())
def test_command_is_one_that_the_program_understands(line: str) -> None:
    """Each command is known and its options parse; --help stands in for the run."""
    words = [word for word in shlex.split(line)[1:] if word not in ("...", "COMMAND")]
    assert words[0] in cli.commands
    command = cli.commands[words[0]]
    if len(words) > 1:
        parsed = command.make_context(words[0], list(words[1:]), resilient_parsing=False)
        assert parsed.command is command
    assert CliRunner().invoke(cli, [words[0], "--help"]).exit_code == 0


@pytest.mark.parametrize("line", [line for line in ours() if "docs/examples" in line])
def test_command_on_an_example_file_runs_as_printed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(cli, shlex.split(line)[1:], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    if line.startswith("apportion simulate"):
        assert re.search(r"^mean JCT .* \[\S+, \S+\]", done.output, flags=re.M)
    elif "--policy" in line:
        assert f", {shlex.split(line)[-1]}, " in done.output, "the rule is named"
    elif line.startswith("apportion plan"):
        shown = [" ".join(row.split()) for row in README.splitlines() if row.startswith(("product/", "research/"))]
        assert [row for row in shown if "h100 " in row]
        got = [" ".join(row.split()) for row in done.output.splitlines()]
        assert [row for row in shown if row not in got] == []


@pytest.mark.parametrize("line", [line for line in COMMANDS if not line.startswith(("make", "apportion"))])
def test_files_that_commands_name_exist(line: str) -> None:
    for word in shlex.split(line):
        if word.startswith(("./", "manifests/", "docs/")):
            assert (ROOT / word).exists(), word


def test_table_names_every_command() -> None:
    section = README.split("## Commands")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `apportion ([a-z]+)`", section, flags=re.M)
    assert sorted(listed) == sorted(name for name, command in cli.commands.items() if not command.hidden)
