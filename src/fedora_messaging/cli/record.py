"""``fedora-messaging record``."""

import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import click

from ..archive.archive import Archive
from ..archive.database import ArchiveError
from ..archive.entry import entry_of
from ..exceptions import HaltConsumer, ValidationError
from ..message import Message, dumps, loads
from ..printable import explained, printable
from .archive_options import opened, other_archive_option
from .consume import queue_options
from .seams import seam
from .terminal import Progress, log_to_stderr


class TextFile(Protocol):
    """An object that a recorder can write to, such as a text file."""

    def write(self, text: str, /) -> Any:
        """Write text."""
        ...

    def flush(self) -> Any:
        """Pass on buffered text."""
        ...


class Recorder:
    """Writes messages to a file until a limit is reached.

    Args:
        limit: How many messages; ``None`` means no limit.
        file: Text file to write to.

    Attributes:
        counter: How many messages have been written.
    """

    def __init__(self, limit: int | None, file: TextFile) -> None:
        self.counter: int = 0
        self._limit = limit
        self._file = file
        self._progress = Progress("Recording messages", limit)
        # With a concurrency above 1, messages come in several threads.
        self._turn = threading.Lock()

    def finish_progress(self) -> None:
        """Show the final progress and release the terminal."""
        self._progress.finish()

    def collect_message(self, message: Message) -> None:
        """Write one message to the file; it is acknowledged only afterwards.

        Raises:
            HaltConsumer: The limit is reached (exit code 0), or the message cannot be written (1); then it
                goes back to the queue.
        """
        with self._turn:
            if self._is_complete():
                raise HaltConsumer(exit_code=0, requeue=True)
            self._write(message)
            self.counter += 1
            self._progress.advance()
            if self._is_complete():
                raise HaltConsumer(exit_code=0, requeue=False)

    def _is_complete(self) -> bool:
        return self._limit is not None and self.counter >= self._limit

    def _write(self, message: Message) -> None:
        try:
            self._file.write(dumps(message))
            self._file.flush()
        except (ValidationError, ArchiveError, TypeError, ValueError, OSError) as error:
            click.echo(f"Unable to save messages to file: {explained(error)}")
            # Version 3.9 acknowledges an invalid message, and invalid ones never come from a queue.
            requeue = not isinstance(error, ValidationError)
            reason = "the message goes back to its queue" if requeue else "the message is not valid"
            raise HaltConsumer(1, reason, requeue) from error


class _Lines:
    """Writes lines without buffering them.

    If a line does not fit on the disk, its beginning is removed from a regular file. So the file stays
    readable, and can be appended to when there is room again.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def write(self, text: str) -> None:
        """Write a line."""
        rest = memoryview(text.encode("utf-8"))
        begin = self._raw.seek(0, os.SEEK_END) if self._raw.seekable() else None
        try:
            while rest:
                written = self._raw.write(rest)
                # A non-blocking pipe returns None, despite the declared type.
                if cast("int | None", written) is None:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                rest = rest[written:]
        except OSError:
            if begin is not None:
                with suppress(OSError):
                    self._raw.truncate(begin)
                    self._raw.seek(begin)
            raise

    def flush(self) -> None:
        """Do nothing: there is no buffer."""


class _ArchiveLines:
    """Stores each line in an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def write(self, text: str) -> None:
        """Store the message of a line."""
        self._archive.store([entry_of(message, time.time()) for message in loads(text)])

    def flush(self) -> None:
        """Do nothing: what is stored is on disk."""


def _open(path: str, append: bool, force: bool) -> BinaryIO:
    """Open the file to append lines; called before the first message is taken from a queue.

    Raises:
        click.UsageError: The file is not empty, and no option allows changing it.
        click.FileError: The file cannot be written.
    """
    try:
        file = Path(path).open("ab", buffering=0)
        status = os.fstat(file.fileno())
        # Devices, pipes and empty files have no content to lose.
        if stat.S_ISREG(status.st_mode) and status.st_size:
            if force:
                file.truncate(0)
            elif not append:
                file.close()
                raise click.UsageError(
                    f"{printable(path)} is not empty: --append adds to it, --force overwrites it"
                )
            elif not _ends_with_a_line(path):
                file.write(b"\n")
    except OSError as error:
        raise click.FileError(printable(path), hint=str(error.strerror)) from error
    return file


def _ends_with_a_line(path: str) -> bool:
    with Path(path).open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many messages.")
@click.option("--append", is_flag=True, help="Add to FILE if it is not empty.")
@click.option("--force", is_flag=True, help="Overwrite FILE if it is not empty.")
@click.option("--app-name", default="recorder", show_default=True, help="Name shown by the broker.")
@queue_options
@other_archive_option
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), required=False)
def record(
    limit: int | None,
    append: bool,
    force: bool,
    app_name: str,
    routing_key: Sequence[str],
    queue_name: str | None,
    exchange: str | None,
    location: str | None,
    file: str | None,
) -> None:
    """Write incoming messages to FILE, one JSON object per line; "-" writes to standard output.

    A FILE that is not empty is left alone, unless --append or --force is given. With --archive and no FILE,
    the messages go into that archive.
    """
    if (file is None) == (location is None):
        raise click.UsageError("Give either FILE or --archive")
    if append and force:
        raise click.UsageError("--append keeps what FILE has, --force does not: give one of them")
    with ExitStack() as stack:
        if file is None:
            lines: TextFile = _ArchiveLines(stack.enter_context(opened(location, create=True)))
        elif file == "-":
            raw: BinaryIO = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
            # Standard output must contain nothing but messages.
            log_to_stderr(level=None)
            stack.enter_context(redirect_stdout(sys.stderr))
            lines = _Lines(raw)
        else:
            lines = _Lines(stack.enter_context(_open(file, append, force)))
        recorder = Recorder(limit, lines)
        stack.callback(recorder.finish_progress)
        seam("_consume")(exchange, queue_name, routing_key, recorder.collect_message, app_name)
