"""``fedora-messaging publish``."""

import errno
import sys
from collections.abc import Iterator
from typing import NoReturn, TextIO

import click

from .. import api, config, exceptions
from ..display import explained, printable


@click.command()
@click.option("--exchange", help="Publish to this exchange, instead of the configured one.")
@click.argument("file", type=click.File("r", encoding="utf-8"))
def publish(exchange: str | None, file: TextIO) -> None:
    """Publish the messages in FILE, one JSON object per line; "-" reads standard input."""
    for line in _lines(file):
        try:
            messages = api.loads(line)
        except exceptions.ValidationError as error:
            raise click.UsageError(f"Unable to validate message: {error.summary}") from error
        for message in messages:
            click.echo(f"Publishing message with topic {printable(message.topic)}")
            publish_or_exit(message, exchange)


def _lines(file: TextIO) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file.name} is not UTF-8 text: {error}") from error


def publish_or_exit(message: api.Message, exchange: str | None = None) -> None:
    """Publish; a failure is explained, and ends the process with the status for it."""
    try:
        api.publish(message, exchange)
    except (exceptions.PublishReturned, exceptions.PublishForbidden) as error:
        _fail(f"Unable to publish message: {explained(error)}", errno.EREMOTEIO)
    except exceptions.PublishTimeout as error:
        address = config.connection_options(config.conf).address
        _fail(
            f"Unable to connect to the message broker: {explained(error)} (broker: {address}; "
            "`fedora-messaging broker` starts a local one)",
            errno.ECONNREFUSED,
        )
    except exceptions.PublishException as error:
        _fail(f"A general publish exception occurred: {explained(error)}", 1)
    except (exceptions.BaseException, ValueError, TypeError) as error:
        raise click.ClickException(_refusal(message, "cannot be published", error)) from error
    except Exception as error:
        from jsonschema.exceptions import ValidationError

        if not isinstance(error, ValidationError):
            raise
        raise click.ClickException(_refusal(message, "is not valid", error.message)) from error


def _refusal(message: api.Message, verdict: str, reason: object) -> str:
    return f"Message {printable(message.id)} {verdict}: {printable(reason)}"


def _fail(text: str, status: int) -> NoReturn:
    click.echo(text)
    sys.exit(status)
