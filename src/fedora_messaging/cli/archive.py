"""``fedora-messaging archive``: keeps the messages of a bus."""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TextIO

import click

from .. import config
from ..archive.archive import Archive
from ..archive.database import ArchiveError
from ..archive.entry import Entry, entry_of
from ..archive.query import Query
from ..archive.recorder import Recorder
from ..client.supervisor import Supervisor
from ..exceptions import (
    BadDeclaration,
    ConfigurationException,
    ConsumerCanceled,
    PermissionException,
    ValidationError,
)
from ..exceptions import BaseException as LibraryException
from ..logs import CLI, logger
from ..message import loads
from ..options import BindingOptions, ConnectionOptions, QueueOptions
from ..printable import explained, printable
from ..settings.to_options import connection_options
from . import units
from .archive_options import Command, archive_option, opened, selection_options
from .running import EXIT_BAD_DECLARATION, EXIT_CANCELED, EXIT_CONNECTION_REFUSED, EXIT_PERMISSION
from .terminal import Progress, counted

_log = logger(CLI)

#: Seconds between two times of deleting what is too old or too much.
_PRUNE_INTERVAL: Final = 3600.0
#: Lines of a file that are stored together.
_BATCH: Final = 500


@click.group()
def archive() -> None:
    """Keep the messages of a bus, to search them and to publish them again."""


def _retention(command: Command) -> Command:
    command = click.option(
        "--max-size",
        metavar="SIZE",
        callback=units.size,
        help="Delete the oldest above this size, as in 10G.",
    )(command)
    return click.option(
        "--keep", metavar="TIME", callback=units.duration, help="Delete what is older than this, as in 90d."
    )(command)


@archive.command()
@archive_option
@click.option("--queue-name", default="archive", show_default=True, help="The queue to consume, durable.")
@click.option(
    "--exchange", help="Bind to this exchange, instead of the one that is configured to publish to."
)
@_retention
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
def run(
    location: str | None,
    queue_name: str,
    exchange: str | None,
    keep: float | None,
    max_size: int | None,
    patterns: Sequence[str],
) -> None:
    """Store each message whose topic fits a PATTERN, without one all, until a signal comes.

    A message is acknowledged when it is on disk. Its queue keeps what is published while this command does
    not run.
    """
    where = exchange or config.conf["publish_exchange"]
    bindings = [BindingOptions(where, pattern) for pattern in patterns or ("#",)]
    try:
        options = connection_options(config.conf)
    except ConfigurationException as error:
        raise click.ClickException(str(error)) from error
    with opened(location, create=True) as store:
        queue = QueueOptions(name=queue_name, durable=True)
        sys.exit(asyncio.run(_record(store, options, queue, bindings, keep, max_size)))


async def _record(
    store: Archive,
    options: ConnectionOptions,
    queue: QueueOptions,
    bindings: Sequence[BindingOptions],
    keep: float | None,
    max_size: int | None,
) -> int:
    """Record until a signal comes; return the exit status."""
    supervisor = Supervisor(options)
    stored = 0

    def count(new: int) -> None:
        nonlocal stored
        stored += new

    recorder = Recorder(supervisor, store, queue, bindings, count)
    loop = asyncio.get_running_loop()
    recording = asyncio.create_task(recorder.run())
    stopping: list[asyncio.Task[None]] = []

    def stop() -> None:
        if not stopping:
            stopping.append(loop.create_task(recorder.stop()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    pruning = asyncio.create_task(_prune_regularly(store, keep, max_size))
    click.echo(f"Archiving {printable(queue.name)} into {printable(store.name)}")
    try:
        await recording
    except LibraryException as error:
        return _explain(error)
    finally:
        pruning.cancel()
        with suppress(asyncio.CancelledError):
            await pruning
        await asyncio.gather(*stopping)
        await supervisor.close()
    click.echo(f"Stored {counted(stored, 'new message')}.")
    return 0


def _explain(error: LibraryException) -> int:
    click.echo(f"Error: {explained(error)}", err=True)
    if isinstance(error, BadDeclaration):
        return EXIT_BAD_DECLARATION
    if isinstance(error, PermissionException):
        return EXIT_PERMISSION
    return EXIT_CANCELED if isinstance(error, ConsumerCanceled) else EXIT_CONNECTION_REFUSED


async def _prune_regularly(store: Archive, keep: float | None, max_size: int | None) -> None:
    if keep is None and max_size is None:
        return
    while True:
        try:
            deleted = await asyncio.to_thread(_prune, store, keep, max_size)
        except ArchiveError as error:
            _log.error("Nothing was deleted: %s", printable(error))
        else:
            _log.info("%s deleted", counted(deleted, "old message"))
        await asyncio.sleep(_PRUNE_INTERVAL)


def _prune(store: Archive, keep: float | None, max_size: int | None) -> int:
    return store.prune(None if keep is None else time.time() - keep, max_size)


@archive.command()
@archive_option
@_retention
def prune(location: str | None, keep: float | None, max_size: int | None) -> None:
    """Delete the oldest messages."""
    if keep is None and max_size is None:
        raise click.UsageError("Give --keep TIME or --max-size SIZE, or both")
    with opened(location) as store:
        deleted = _prune(store, keep, max_size)
        left = store.outline().messages
    click.echo(f"Deleted {counted(deleted)}; {left} are left.")


@archive.command(name="import")
@archive_option
@click.argument("file", type=click.File("r", encoding="utf-8"))
def import_(location: str | None, file: TextIO) -> None:
    """Store the messages in FILE, one JSON object per line as `record` writes them; "-" is standard input."""
    progress = Progress("Importing messages", None)
    number = new = 0
    with opened(location, create=True) as store:
        entries: list[Entry] = []
        try:
            for number, line in enumerate(file, 1):  # noqa: B007 - the errors below name the line
                entries += [entry_of(message, time.time()) for message in loads(line)]
                progress.advance()
                if len(entries) >= _BATCH:
                    new += store.store(entries)
                    entries = []
        except ValidationError as error:
            raise click.ClickException(
                f"Line {number} of {printable(file.name)} is no message: {error.summary}; the lines before "
                "it are stored"
            ) from error
        except UnicodeDecodeError as error:
            raise click.ClickException(
                f"{printable(file.name)} is not UTF-8 text: {error} (after line {number})"
            ) from error
        finally:
            progress.finish()
            new += store.store(entries)
    click.echo(f"Stored {counted(new, 'new message')} of {number}.")


@archive.command()
@archive_option
@selection_options
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True))
def export(
    location: str | None,
    query: Query,
    file: TextIO,
) -> None:
    """Write messages to FILE, the oldest first, as `record` writes them; "-" is standard output."""
    written = unreadable = 0
    with opened(location) as store:
        for message in store.each(query):
            if not message.is_message:
                unreadable += 1
                continue
            file.write(message.record + "\n")
            written += 1
    click.echo(f"Wrote {counted(written)}.", err=True)
    if unreadable:
        click.echo(f"Left out what is no message: {unreadable}.", err=True)
