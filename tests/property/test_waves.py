"""Round after round, with a scheduler that takes pods in any order: every granted pod finds room, and there is an end.

The worlds are those that tests/controlplane/scheduling plays on the real scheduler.
"""

from math import prod

import pytest

from apportion.model.snapshot import Snapshot
from apportion.simulator import Choose, anywhere, least_allocated, most_allocated
from controlplane.scheduling.exact import best_of, value_of
from controlplane.scheduling.paper import Paper
from controlplane.scheduling.worlds import CHAINS, FAMILIES, Family, world
from property.brute_force import best

WORLDS = 10
MOST_PLANS = 1000
LEAST_SHARE = 0.99
# What once went on for ever: jobs shrank for others who then did not come, or would have changed places.
ONCE_ENDLESS = [
    ("zones and taints", 32),
    ("tight CPU and memory", 522),
    ("all of it", 512),
    ("all of it", 528),
    ("other sizes", 31),
]
SCORINGS = (least_allocated, most_allocated, anywhere)


def played(family: Family, seed: int, choose: Choose) -> Paper:
    paper = Paper(world(seed, family, "space", "any"), choose, seed)
    assert list(paper.waves()) == []
    paper.leave_and_come()
    assert list(paper.waves()) == []
    return paper


@pytest.mark.parametrize("choose", SCORINGS)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_granted_pod_finds_room_and_rounds_end(family: Family, choose: Choose) -> None:
    rounds = [played(family, seed, choose).rounds for seed in range(WORLDS)]
    # More than one round for both halves together: there were waves.
    assert sum(rounds) > 2 * WORLDS


@pytest.mark.parametrize("choose", SCORINGS)
@pytest.mark.parametrize(("name", "seed"), ONCE_ENDLESS)
def test_nobody_is_shrunk_again_and_again(name: str, seed: int, choose: Choose) -> None:
    family = next(family for family in FAMILIES if family.name == name)
    played(family, seed, choose)


def test_the_exact_search_agrees_with_trying_every_plan() -> None:
    tried = 0
    for family in FAMILIES:
        for seed in range(WORLDS):
            paper = Paper(world(seed, family, "space", "any"), anywhere)
            if prod(len(job.steps) * len(paper.snapshot.flavors) + 1 for job in paper.snapshot.jobs) > MOST_PLANS:
                continue
            every = best(paper.snapshot, paper.policy, lambda _: True)
            assert every is not None
            found = best_of(paper.snapshot, paper.policy)
            assert (found.admitted, found.value) == (
                sum(count > 0 for _, count in every.options),
                pytest.approx(every.value),
            )
            tried += 1
    assert tried > WORLDS


@pytest.mark.parametrize("choose", SCORINGS)
def test_a_divisor_chain_in_one_pool_reaches_the_best_wherever_pods_go(choose: Choose) -> None:
    got, wanted = 0.0, 0.0
    for seed in range(3 * WORLDS):
        paper = Paper(world(seed, CHAINS, "space", "any"), choose, seed)
        start: Snapshot = paper.snapshot
        assert list(paper.waves()) == []
        got += value_of(start, paper.policy, paper.grants()).value
        wanted += best_of(start, paper.policy).value
    assert got >= LEAST_SHARE * wanted
