"""Numbers on the command line: every option of every command says what it expects, and takes nothing else."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from apportion.cli.main import cli
from apportion.cli.number import Number

FOREVER = 10**400


def options() -> Iterator[tuple[str, click.Option]]:
    for name, command in cli.commands.items():
        for option in command.params:
            if isinstance(option, click.Option):
                yield name, option


FLOATS = [
    pytest.param(name, option, id=f"{name} {option.opts[-1]}")
    for name, option in options()
    if isinstance(option.type, click.types.FloatParamType)
]
WHOLE = [
    pytest.param(name, option, id=f"{name} {option.opts[-1]}")
    for name, option in options()
    if isinstance(option.type, click.types.IntParamType)
]


def refused(name: str, option: click.Option, value: str) -> str:
    done = CliRunner().invoke(cli, [name, f"{option.opts[-1]}={value}"])
    assert done.exit_code == 2, done.output
    assert f"Invalid value for '{option.opts[-1]}'" in done.stderr
    return done.stderr


def test_there_are_such_options() -> None:
    assert {param.values[0] for param in FLOATS} == {"run", "top", "size", "trace", "simulate"}
    assert len(FLOATS) >= 19
    assert len(WHOLE) >= 10


@pytest.mark.parametrize(("name", "option"), FLOATS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "many", ""])
def test_what_is_no_finite_number_is_refused(name: str, option: click.Option, value: str) -> None:
    """NaN is within any range that only compares, and without an upper end infinity is."""
    assert isinstance(option.type, Number)
    assert f"expected a number from {option.type.least:.6g} to " in refused(name, option, value)


@pytest.mark.parametrize(("name", "option"), FLOATS)
def test_both_ends_of_a_range_belong_to_it(name: str, option: click.Option) -> None:
    assert isinstance(option.type, Number)
    for end in (option.type.least, option.type.most):
        assert option.type.convert(repr(end), option, None) == end
        beyond = end + (end - (option.type.least + option.type.most) / 2)
        assert "expected a number from" in refused(name, option, repr(beyond))


@pytest.mark.parametrize(("name", "option"), WHOLE)
@pytest.mark.parametrize("value", [str(FOREVER), str(-FOREVER), "nan", "1.5"])
def test_whole_numbers_have_two_ends(name: str, option: click.Option, value: str) -> None:
    refused(name, option, value)


def test_a_number_needs_finite_ends() -> None:
    with pytest.raises(ValueError, match="expected two finite ends"):
        Number(1, float("inf"))


@pytest.mark.parametrize("command", ["crds", "reference"])
def test_a_folder_that_cannot_be_made_is_named(command: str, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    done = CliRunner().invoke(cli, [command, "--output", str(taken / "inside")])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: --output {taken}/inside: expected a folder that can be written to: ")


def test_a_kubeconfig_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["sandbox", "--no-nodes", "--kubeconfig", str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: --kubeconfig {tmp_path}: expected a file that can be written to: ")
