"""What is kept of the cluster is not looked at again by Python's collector of cycles, and no cycle is lost for ever."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from apportion.config import Settings
from apportion.controller.app import Operator
from apportion.controller.garbage import collect_seldom, set_aside
from apportion.controller.sight import Sight


class Knot:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def watched() -> set[int]:
    return {id(one) for one in gc.get_objects()}


def test_what_is_kept_is_not_looked_at_any_more() -> None:
    kept = Knot()
    assert id(kept) in watched()
    set_aside()
    assert id(kept) not in watched()


def test_what_was_set_aside_and_is_no_more_needed_is_collected_the_next_time() -> None:
    knot = Knot()
    gone = weakref.ref(knot)
    set_aside()
    del knot
    gc.collect()
    assert gone() is not None, "it was set aside"
    set_aside()
    assert gone() is None


def test_new_objects_are_collected_seldom() -> None:
    collect_seldom()
    begun: list[int] = []

    def count(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            begun.append(info["generation"])

    gc.callbacks.append(count)
    try:
        made = [Knot() for _ in range(5_000)]
    finally:
        gc.callbacks.remove(count)
    assert len(made) == 5_000
    assert len(begun) <= 2


async def test_the_operator_sets_aside_what_it_knows_when_everything_is_watched() -> None:
    sight, kept = Sight(), Knot()
    begins = asyncio.create_task(Operator(Settings(), asyncio.Event())._begin(sight))
    await asyncio.sleep(0)
    assert id(kept) in watched()
    sight.whole.set()
    await begins
    assert id(kept) not in watched()
