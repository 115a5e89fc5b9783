"""make soak: ten minutes of faults on a real control plane of its own; SOAK="2 --seed 7" is two of them again."""

import asyncio
import logging
import secrets
import sys
import tempfile
from pathlib import Path

import click

from controlplane.plane import Plane
from controlplane.scene import scene_on
from soak.course import Broken, Tally, soak

# Requests that a fault broke off are no news.
logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


def say(line: str) -> None:
    print(line, flush=True)


@click.command()
@click.argument("minutes", type=click.FloatRange(min=0), default=10.0)
@click.option("--seed", type=int, help="The same people and the same weather again. Default: another each time.")
def main(minutes: float, seed: int | None) -> None:
    """Two operators on a real control plane, people and faults for so many MINUTES (10)."""
    chosen = secrets.randbelow(10**6) if seed is None else seed
    say(f"seed {chosen}, {minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="apportion-soak-") as folder, Plane(Path(folder) / "plane") as plane:
        try:
            tally = asyncio.run(_play(plane, Path(folder), minutes * 60, chosen))
        except Broken as broken:
            path = broken.keep(Path(tempfile.mkdtemp(prefix="apportion-soak-")))
            sys.exit(f"{broken}\nbefore the last round: {path}\nagain: make soak SOAK='{minutes:g} --seed {chosen}'")
    say("\n".join(tally.lines()))


async def _play(plane: Plane, folder: Path, seconds: float, seed: int) -> Tally:
    async with scene_on(plane, folder) as scene:
        return await soak(scene, seconds, seed, say)


main()
