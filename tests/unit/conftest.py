"""Fixtures of the sandbox's tests."""

import pytest

from unit.sandbox_world import World


@pytest.fixture
def world() -> World:
    return World()
