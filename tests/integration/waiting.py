"""Waiting for something to become true, with a failure that tells how things stand."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.05


async def until(
    holds: Callable[[], Any],
    what: str,
    seconds: float = PATIENCE_SECONDS,
    told: Callable[[], Any] | None = None,
    every: float = LOOK_SECONDS,
) -> Any:
    """Wait until `holds()`, which may be a coroutine function, is true, and return its value; else fail with `told`."""
    deadline = time.monotonic() + seconds
    while True:
        value = holds()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            more = told() if told is not None else ""
            if asyncio.iscoroutine(more):
                more = await more
            pytest.fail(f"not within {seconds:.0f} s: {what}\n{more}", pytrace=False)
        await asyncio.sleep(every)
