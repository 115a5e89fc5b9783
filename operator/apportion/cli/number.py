"""Numbers as options of the command line: always between two ends, so that neither NaN nor infinity gets through."""

import math
from typing import Any

import click

DAY = 86_400.0
LARGEST = 1e15
SEED = click.IntRange(-(2**63), 2**63 - 1)


class Number(click.FloatRange):
    """From `least` to `most`. click's own range lets NaN through, which is not less than anything and not more, and
    without an upper end infinity too."""

    def __init__(self, least: float, most: float) -> None:
        if not (math.isfinite(least) and math.isfinite(most)):
            raise ValueError(f"expected two finite ends, not {least:g} and {most:g}")
        super().__init__(least, most)
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not self.least <= number <= self.most:
            self.fail(f"expected a number from {self.least:.6g} to {self.most:.6g}, not {value!r}", param, ctx)
        return number
