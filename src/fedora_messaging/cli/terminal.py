"""What commands show to people: tables, and no log lines between them."""

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
#: Colours of words that say how something is.
_STYLES: Final = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def log_to_stderr(level: int | None = logging.WARNING) -> None:
    """Keep log lines out of the answer, which is on standard output.

    Args:
        level: What matters enough to be shown; ``None`` leaves that to the configuration.
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
    """Show a table; yields what adds a row to it.

    A terminal gets the table at the end, as wide as the terminal is, in colours. A pipe or a file gets each
    row at once as a line, and no titles, so that other programs can read it.

    Args:
        *columns: Titles.
        between: What stands between the cells of such a line.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        yield lambda row: click.echo(between.join(printable(cell, _LONGEST) for cell in row))
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for title in columns:
        # Nothing is cut: an identifier is there to be copied.
        shown.add_column(title, overflow="fold")
    try:
        yield lambda row: shown.add_row(*(_cell(text) for text in row))
    finally:
        # What was found before something went wrong is of use, too.
        if shown.row_count:
            console.print(shown)


class Progress:
    """Shows how many of a number of things are done, on standard error if that is a terminal.

    Args:
        what: What is being done.
        total: How many there will be; ``None`` if nobody knows.
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
            # Drawn when something was done: a thread that draws would outlive an interrupt.
            self._bar = rich.progress.Progress(*columns, console=console, auto_refresh=False)
            self._task = self._bar.add_task(what, total=total)

    def advance(self) -> None:
        """One more is done."""
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
