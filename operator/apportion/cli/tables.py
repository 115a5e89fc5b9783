"""Tables on the terminal, and whole lines where the output goes into a file or a pipe."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

WHOLE_LINES = 1000


def console() -> Console:
    """As wide as the terminal; elsewhere so wide that no cell is cut or wrapped."""
    found = Console(soft_wrap=True, highlight=False)
    return found if found.is_terminal else Console(soft_wrap=True, highlight=False, width=WHOLE_LINES)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    made = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        made.add_row(*row)
    return made
