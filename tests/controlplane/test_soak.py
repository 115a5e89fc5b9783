"""Two minutes of random faults; `make soak` is longer. A failure prints the seed, the turns and the last changes."""

import pytest

from controlplane.scene import Scene
from soak.course import Broken, soak

SECONDS = 120.0
SEED = 1


async def test_random_faults_for_two_minutes_break_no_rule(scene: Scene) -> None:
    try:
        tally = await soak(scene, SECONDS, SEED, print)
    except Broken as broken:
        path = broken.keep(scene.cluster.plane.folder)
        pytest.fail(f"{broken}\nbefore the last round: {path}", pytrace=False)
    print("\n".join(tally.lines()))
    assert tally.violations == 0
    assert tally.faults.total() >= 5
    assert tally.steps.total() > 0
