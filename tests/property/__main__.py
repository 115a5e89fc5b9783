"""python -m property 100000: so many decisions, judged as in test_episodes.py, on all cores; 1 where one is wrong."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import click

from property.episodes import ROUNDS, Tally, judged_episodes

EPISODES_AT_ONCE = 50
CASES_A_LINE = 10_000


@click.command()
@click.argument("cases", type=click.IntRange(min=1), default=100_000)
@click.option("--first", default=0, show_default=True, help="The first episode's seed.")
def main(cases: int, first: int) -> None:
    """Judge CASES decisions on small clusters."""
    total = Tally()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for tally in pool.map(judged_episodes, _parts(first, first - (-cases // ROUNDS))):
            before, total = total.cases, total.plus(tally)
            if before // CASES_A_LINE != total.cases // CASES_A_LINE:
                click.echo(str(total))
    click.echo(str(total))
    click.echo("\n".join(total.wrong))
    sys.exit(1 if total.wrong else 0)


def _parts(first: int, last: int) -> Iterator[range]:
    return (range(at, min(last, at + EPISODES_AT_ONCE)) for at in range(first, last, EPISODES_AT_ONCE))


if __name__ == "__main__":
    main()
