"""``fedora-messaging reconsume``."""

import asyncio
import inspect
import sys
import uuid
from collections.abc import Callable
from typing import Any

import click

from .. import config
from ..exceptions import Drop, HaltConsumer, Nack
from ..frontends.consuming import check_callback
from ..message import Message
from ..printable import explained, printable
from .callbacks import load_callback
from .datagrepper import datagrepper_option
from .seams import seam


@click.command()
@click.option("--callback", help='What to call with the message: "my_package.module:callable_object".')
@click.option(
    "--callback-file", help='The same from a file: "path/to/file.py:callable_object". Wins over --callback.'
)
@datagrepper_option
@click.argument("message_id", type=click.UUID)
def reconsume(
    message_id: uuid.UUID, callback: str | None, callback_file: str | None, datagrepper_url: str
) -> None:
    """Call a callback with the archived message MESSAGE_ID."""
    try:
        checked = check_callback(load_callback(callback, callback_file))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    message = seam("_get_message")(str(message_id), datagrepper_url)
    if message is None:
        return
    config.conf["topic_prefix"] = ""
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
