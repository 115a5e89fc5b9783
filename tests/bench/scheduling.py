"""Hundreds of saturated worlds on the real control plane: what its scheduler leaves Pending, and what runs at last."""

import statistics
from collections.abc import Iterator

from bench.plane import installed_plane
from controlplane.components import DEFAULT_SCHEDULER, PACKING_SCHEDULER
from controlplane.scheduling.rounds import Batch, Play, refused, share_of
from controlplane.scheduling.worlds import FAMILIES, worlds

SPACE = "default"
AT_ONCE = 40  # worlds side by side
SCORINGS = {DEFAULT_SCHEDULER: "LeastAllocated", PACKING_SCHEDULER: "MostAllocated"}
HALVES = ("first jobs", "some left, others came")
LEAST_SHARE = 0.99
Row = tuple[str, ...]


async def measure(count: int, first_seed: int) -> list[Play]:
    """So many worlds under each scoring, all on one control plane of its own."""
    drawn = [
        world
        for number, scheduler in enumerate(SCORINGS)
        for world in worlds(count, SPACE, scheduler, first_seed + number * count)
    ]
    batches = [drawn[at : at + AT_ONCE] for at in range(0, len(drawn), AT_ONCE)]
    async with installed_plane() as (_, api):
        return [play for batch in batches for play in await Batch(api, SPACE, batch).play()]


def rows(plays: list[Play]) -> Iterator[Row]:
    for scheduler, scoring in SCORINGS.items():
        for family in FAMILIES:
            mine = [play for play in plays if play.world.scheduler == scheduler and play.world.family is family]
            for number, half in enumerate(HALVES):
                yield _row(scoring, family.name, half, mine, number)


def _row(scoring: str, family: str, half: str, plays: list[Play], number: int) -> Row:
    plays = [play for play in plays if len(play.outcomes) > number]
    outcomes = [play.outcomes[number] for play in plays]
    shares = [outcome.share for outcome in outcomes]
    return (
        scoring,
        family,
        half,
        str(len(plays)),
        str(sum(play.rounds[number] for play in plays)),
        f"{share_of(outcomes):.2%}",
        f"{statistics.mean(shares):.2%}",
        f"{min(shares):.2%}",
        str(sum(share < LEAST_SHARE for share in shares)),
        str(sum(outcome.got.admitted < outcome.best.admitted for outcome in outcomes)),
    )


def totals(plays: list[Play]) -> Iterator[Row]:
    for scheduler, scoring in SCORINGS.items():
        mine = [play for play in plays if play.world.scheduler == scheduler]
        rounds = sum(sum(play.rounds) for play in mine)
        yield scoring, str(len(mine)), str(2 * len(mine)), str(rounds), str(len(list(refused(mine))))


def below(plays: list[Play]) -> Iterator[Row]:
    """The worlds of a divisor chain that miss the goal."""
    for play in plays:
        for half, outcome in zip(HALVES, play.outcomes, strict=False):
            if play.world.family is FAMILIES[0] and outcome.share < LEAST_SHARE:
                got, best = outcome.got, outcome.best
                yield (
                    play.world.name,
                    SCORINGS[play.world.scheduler],
                    half,
                    f"{got.value:.4f} of {best.value:.4f}",
                    f"{got.admitted} of {best.admitted}",
                )
