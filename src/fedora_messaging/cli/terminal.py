"""What commands show to people: tables, and no log lines between them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..display import printable

#: Longest cell, in characters.
_LONGEST: Final = 1000
#: Colours of words that say how something is.
_STYLES: Final = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def log_errors_only() -> None:
    """Keep log lines out of the answer: both go to standard output."""
    logging.getLogger("fedora_messaging").setLevel(logging.ERROR)


@contextmanager
def table(*columns: str, between: str = "\t") -> Iterator[Callable[[Sequence[str]], None]]:
    """Show a table; yields what adds a row to it.

    A terminal gets the table at the end, as wide as the terminal is, in colours. A pipe or a file gets each
    row at once as a line, and no titles, so that other programs can read it.

    Args:
        *columns: Titles.
        between: What stands between the cells of such a line.
    """
    console = Console()
    if not console.is_terminal:
        yield lambda row: click.echo(between.join(printable(cell, _LONGEST) for cell in row))
        return
    shown = Table(*columns, box=None, pad_edge=False, header_style="bold")
    try:
        yield lambda row: shown.add_row(*(_cell(text) for text in row))
    finally:
        # What was found before something went wrong is of use, too.
        console.print(shown)


def _cell(text: str) -> Text:
    return Text(printable(text, _LONGEST), _STYLES.get(text.strip(), ""))
