"""Fixtures of the tests of the sandbox and of the checker."""

import pytest

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
