"""2,000 decisions, each judged by what behaviour.md promises; `make soak` judges 100,000 (property/__main__.py)."""

import pytest

from property.episodes import ROUNDS, judged_episodes

CASES, PARTS = 2_000, 8


@pytest.mark.parametrize("part", range(PARTS))
def test_no_decision_breaks_a_rule(part: int) -> None:
    each = CASES // ROUNDS // PARTS
    tally = judged_episodes(range(part * each, (part + 1) * each))
    assert tally.wrong == ()
    assert tally.cases == CASES // PARTS
    # A judge of decisions that never change anything would say little.
    assert min(tally.admitted, tally.grown, tally.shrunk) > 0
