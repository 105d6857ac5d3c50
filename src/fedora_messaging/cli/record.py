"""``fedora-messaging record``."""

from collections.abc import Sequence
from typing import TextIO

import click

from ..exceptions import HaltConsumer, ValidationError
from ..message import Message, dumps
from .consume import queue_options
from .seams import seam
from .terminal import Progress


class Recorder:
    """Writes messages to a file until a limit is reached.

    Args:
        limit: How many messages; ``None`` means no limit.
        file: Text file to write to.

    Attributes:
        counter: How many messages have been written.
    """

    def __init__(self, limit: int | None, file: TextIO) -> None:
        self.counter = 0
        self._limit = limit
        self._file = file
        self._progress = Progress("Recording messages", limit)

    def finish_progress(self) -> None:
        """Leave the terminal as it was, with the last state of the progress on it."""
        self._progress.finish()

    def collect_message(self, message: Message) -> None:
        """Write one message; it is in the file before it is acknowledged.

        Raises:
            HaltConsumer: The limit is reached (exit code 0), or the message cannot be written (1).
        """
        try:
            line = dumps(message)
        except (ValidationError, TypeError) as error:
            click.echo(f"Unable to save messages to file: {error}")
            raise HaltConsumer(exit_code=1, requeue=False) from error
        self._file.write(line)
        self._file.flush()
        self.counter += 1
        self._progress.advance()
        if self._limit is not None and self.counter >= self._limit:
            raise HaltConsumer(exit_code=0, requeue=False)


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many messages.")
@click.option("--app-name", default="recorder", show_default=True, help="Name shown by the broker.")
@queue_options
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True))
def record(
    limit: int | None,
    app_name: str,
    routing_key: Sequence[str],
    queue_name: str | None,
    exchange: str | None,
    file: TextIO,
) -> None:
    """Write the messages that come to FILE, one JSON object per line; "-" writes to standard output."""
    recorder = Recorder(limit, file)
    try:
        seam("_consume")(exchange, queue_name, routing_key, recorder.collect_message, app_name)
    finally:
        recorder.finish_progress()
