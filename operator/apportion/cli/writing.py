"""Files that a command writes. What cannot be written ends the program with code 2 and one line."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import click


def put(text: str, path: str, option: str = "-o") -> None:
    """To the file that the option names; "-" is standard output."""
    if path == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        _unwritable(f"{option} {path}", "file", error)


def filled(folder: str, write: Callable[[], Iterable[Path]]) -> None:
    """With files, which are named."""
    try:
        paths = list(write())
    except OSError as error:
        _unwritable(f"--output {folder}", "folder", error)
    for path in paths:
        click.echo(path)


def _unwritable(what: str, kind: str, error: OSError) -> NoReturn:
    click.echo(f"error: {what}: expected a {kind} that can be written to: {error.strerror}", err=True)
    sys.exit(2)
