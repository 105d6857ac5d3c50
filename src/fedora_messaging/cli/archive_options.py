"""Options of the commands that read an archive: where it is, and which messages."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from ..archive.archive import Archive
from ..archive.database import ArchiveError
from ..archive.location import VARIABLE, default_location, open_archive
from ..archive.query import Query
from ..printable import printable
from . import units

Command = Callable[..., Any]


_FORMS = "a file, or postgresql://user:password@host/database"
_SECRETS = (
    "Other users of this machine can read command lines: a password is safer in "
    f"${VARIABLE}, which `archive` and `tail` read."
)


def archive_option(command: Command) -> Command:
    """Add ``--archive`` to a command that needs one."""
    return click.option(
        "--archive",
        "location",
        metavar="LOCATION",
        help=f"The archive: {_FORMS}; by default ${VARIABLE}, or a file of yours. {_SECRETS}",
    )(command)


def other_archive_option(command: Command) -> Command:
    """Add ``--archive`` to a command that does something else without it."""
    return click.option(
        "--archive", "location", metavar="LOCATION", help=f"Use this archive: {_FORMS}. {_SECRETS}"
    )(command)


def selection_options(command: Command) -> Command:
    """Add the options that choose messages of an archive; the command gets them as ``query``."""

    @functools.wraps(command)
    def selecting(
        *args: Any,
        since: float | None,
        until: float | None,
        topics: tuple[str, ...],
        users: tuple[str, ...],
        packages: tuple[str, ...],
        text: str,
        **kwargs: Any,
    ) -> Any:
        query = Query(
            since=since,
            until=until,
            topics=topics,
            users=users,
            packages=packages,
            text=text,
            newest_first=False,
        )
        return command(*args, query=query, **kwargs)

    for option in (
        click.option(
            "--text", default="", help='Only messages with these words; "in a row", begin*, -without.'
        ),
        click.option("--package", "packages", multiple=True, help="Only messages that name this package."),
        click.option("--user", "users", multiple=True, help="Only messages that name this user."),
        click.option("--topic", "topics", multiple=True, help="Only topics that fit this pattern."),
        click.option("--until", callback=units.moment, help="Sent before this time."),
        click.option(
            "--since",
            callback=units.moment,
            help="Sent at this time or later: how long ago (2h, 7d), a time of day or a date.",
        ),
    ):
        selecting = option(selecting)
    return selecting


@contextmanager
def opened(location: str | None, create: bool = False) -> Iterator[Archive]:
    """Open an archive for a command.

    Raises:
        click.ClickException: It cannot be opened, or fails later.
    """
    try:
        archive = open_archive(location or default_location(), create)
        try:
            yield archive
        finally:
            archive.close()
    except ArchiveError as error:
        raise click.ClickException(printable(error)) from error
