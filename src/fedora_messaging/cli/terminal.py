"""Output of commands for people: tables, without log lines between them."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from ..printable import printable

if TYPE_CHECKING:
    from rich.text import Text

#: Longest cell, in characters.
_LONGEST: Final = 1000
#: Colours of words that tell the state of something.
_STYLES: Final = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def log_to_stderr(level: int | None = logging.WARNING) -> None:
    """Send log lines to standard error, so that standard output has only the answer.

    Args:
        level: Lowest level to show; ``None`` leaves that to the configuration.
    """
    if level is not None:
        logging.getLogger("fedora_messaging").setLevel(level)
    named = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    for logger in (logging.root, *named):
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                handler.setStream(sys.stderr)


def counted(number: int, what: str = "message") -> str:
    """Return a number with its noun: "1 message", "2 messages"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


@contextmanager
def table(*columns: str, between: str = "\t") -> Iterator[Callable[[Sequence[str]], None]]:
    """Show a table; yield a function that adds a row to it.

    A terminal gets the table at the end, in colours and as wide as the terminal. A pipe or a file gets each
    row at once as a line, without titles, so that other programs can read it.

    Args:
        *columns: Titles of the columns.
        between: Separator of the cells in such a line.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        yield lambda row: click.echo(between.join(printable(cell, _LONGEST) for cell in row))
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for title in columns:
        # Cells are folded, not cut, so that people can copy identifiers.
        shown.add_column(title, overflow="fold")
    try:
        yield lambda row: shown.add_row(*(_cell(text) for text in row))
    finally:
        # Rows that came before an error are useful, too.
        if shown.row_count:
            console.print(shown)


class Progress:
    """Shows on standard error, if that is a terminal, how many of a number of things are done.

    Args:
        what: Text that names the work.
        total: How many things there are; ``None`` if that is unknown.
    """

    def __init__(self, what: str, total: int | None) -> None:
        import rich.progress
        from rich.console import Console

        console = Console(stderr=True)
        self._bar: rich.progress.Progress | None = None
        if console.is_terminal:
            columns = [
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TimeElapsedColumn(),
            ]
            # We draw at each advance: a drawing thread would outlive an interrupt.
            self._bar = rich.progress.Progress(*columns, console=console, auto_refresh=False)
            self._task = self._bar.add_task(what, total=total)

    def advance(self) -> None:
        """Count one more as done."""
        if self._bar is not None:
            self._bar.start()
            self._bar.advance(self._task)
            self._bar.refresh()

    def finish(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.stop()


def _cell(text: str) -> "Text":
    from rich.text import Text

    return Text(printable(text, _LONGEST), _STYLES.get(text.strip(), ""))
