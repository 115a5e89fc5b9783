"""Fixtures of the tests of the sandbox, of the checker, and of commands on files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from unit.made_up_history import History
from unit.sandbox_world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def history() -> History:
    """One node of 8."""
    history = History()
    history.node("n0")
    return history


@pytest.fixture
def write(tmp_path: Path) -> Callable[[list[Any]], str]:
    def write(documents: list[Any]) -> str:
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)

    return write
