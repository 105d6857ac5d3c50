"""Messages of an archive, one after the other, at the speed at which they were sent or another one."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Final

import click

from ..archive.archive import Archive
from ..archive.query import Query
from ..exceptions import ValidationError
from ..message import Message, load_message
from ..printable import printable
from .terminal import Progress

#: More than any archive has.
_ALL: Final = 2**62


def each_message(archive: Archive, query: Query) -> Iterator[tuple[float, Message]]:
    """Yield the messages that a query asks for, each with the time at which it was sent, the oldest first.

    What the archive could not read as a message is left out, and named on standard error.
    """
    for one in archive.each(query):
        try:
            if not one.is_message:
                raise ValidationError("it is no message")
            yield one.sent, load_message(json.loads(one.record))
        except ValidationError as error:
            click.echo(f"{printable(one.id)} is left out: {error.summary}", err=True)


def at_pace(
    messages: Iterator[tuple[float, Message]],
    speed: float | None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Message]:
    """Yield messages with the time between them that there was, divided by ``speed``.

    Without a speed there is none.
    """
    begun = first = None
    for sent, message in messages:
        if speed is not None:
            if first is None or begun is None:
                first, begun = sent, clock()
            wait = begun + (sent - first) / speed - clock()
            if wait > 0:
                sleep(wait)
        yield message


def for_each(
    archive: Archive,
    query: Query,
    speed: float | None,
    dry_run: bool,
    what: str,
    work: Callable[[Message], None],
) -> int:
    """Do something with each message, and show how far it is; return how many there were.

    Args:
        archive: The archive.
        query: Which messages.
        speed: How many times faster than they were sent; ``None`` for as fast as possible.
        dry_run: Only print them.
        what: Name of the work.
        work: What to do.
    """
    progress = Progress(what, archive.count(query, most=_ALL))
    number = 0
    try:
        for message in at_pace(each_message(archive, query), None if dry_run else speed):
            if dry_run:
                click.echo(
                    f"{printable(message.id)}  {printable(message.topic)}  {printable(message.summary)}"
                )
            else:
                work(message)
            number += 1
            progress.advance()
    finally:
        progress.finish()
    return number


speed_option = click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    help="Keep the time between messages, divided by this; without it there is none.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say which messages these are.")
