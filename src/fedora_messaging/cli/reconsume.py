"""``fedora-messaging reconsume``."""

import asyncio
import inspect
import sys
import uuid
from collections.abc import Callable
from typing import Any

import click

from .. import config
from ..archive.query import Query
from ..exceptions import Drop, HaltConsumer, Nack
from ..frontends.consuming import check_callback
from ..message import Message
from ..printable import explained, printable
from .archive_options import opened, other_archive_option, selection_options
from .archived import dry_run_option, for_each, speed_option
from .callbacks import load_callback
from .datagrepper import datagrepper_option
from .replay import load_archived
from .seams import seam
from .terminal import counted


@click.command()
@click.option("--callback", help='What to call with the message: "my_package.module:callable_object".')
@click.option(
    "--callback-file", help='The same from a file: "path/to/file.py:callable_object". Wins over --callback.'
)
@datagrepper_option
@other_archive_option
@selection_options
@speed_option
@dry_run_option
@click.argument("message_id", type=click.UUID, required=False)
def reconsume(
    message_id: uuid.UUID | None,
    callback: str | None,
    callback_file: str | None,
    datagrepper_url: str,
    location: str | None,
    query: Query,
    speed: float | None,
    dry_run: bool,
) -> None:
    """Call a callback with the archived message MESSAGE_ID.

    Without --archive it comes from Datagrepper. With --archive, MESSAGE_ID may be left out: then the callback
    gets all messages that the options choose, the oldest first.
    """
    try:
        checked = check_callback(load_callback(callback, callback_file))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    config.conf["topic_prefix"] = ""
    if message_id is None:
        if location is None:
            raise click.UsageError(
                "Missing argument 'MESSAGE_ID', or the option --archive for several messages"
            )
        with opened(location) as archive:
            number = for_each(
                archive, query, speed, dry_run, "Consuming messages", lambda message: _call(checked, message)
            )
        click.echo(f"{counted(number)} {'would be ' if dry_run else ''}consumed", err=True)
        return
    message = (
        load_archived(location, str(message_id))
        if location
        else seam("_get_message")(str(message_id), datagrepper_url)
    )
    if message is None:
        return
    if dry_run:
        click.echo(f"Would call the callback with {message_id}, whose topic is {printable(message.topic)}")
        return
    _call(checked, message)


def _call(callback: Callable[[Message], Any], message: Message) -> None:
    try:
        result = callback(message)
        if inspect.isawaitable(result):
            asyncio.run(_await(result))
    except HaltConsumer as error:
        click.echo(f"The callback asked to halt: {printable(error.reason)}", err=True)
        sys.exit(error.exit_code or 1)
    except (Nack, Drop) as error:
        raise click.ClickException(f"The callback refused the message: {type(error).__name__}") from error
    except Exception as error:
        raise click.ClickException(
            f"The callback raised {type(error).__name__}: {explained(error)}"
        ) from error


async def _await(result: Any) -> None:
    await result
