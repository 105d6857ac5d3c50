"""``fedora-messaging publish``."""

import difflib
import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO, cast

import click

from .. import api, config, exceptions
from ..message import get_class, schema_names
from ..printable import explained, printable
from ..settings.to_options import connection_options
from ..validation import json_body


@click.command()
@click.option("--exchange", help="Publish to this exchange instead of the configured one.")
@click.option("--topic", help="Publish one message with this topic instead of those in FILE.")
@click.option("--body", help='Body of that message, a JSON object; by default "{}".')
@click.option(
    "--header", "headers", multiple=True, metavar="KEY=VALUE", help="Header of that message; may be repeated."
)
@click.option("--schema", help="Name of that message's schema, as installed packages register it.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0, min_open=True),
    help="Seconds to wait for the broker, for each message; by default 30.",
)
@click.option("--all-or-nothing", is_flag=True, help="Publish nothing if a line of FILE is broken.")
@click.argument("file", required=False)
def publish(
    exchange: str | None,
    topic: str | None,
    body: str | None,
    headers: tuple[str, ...],
    schema: str | None,
    timeout: float | None,
    all_or_nothing: bool,
    file: str | None,
) -> None:
    """Publish the messages in FILE, one JSON object per line, or the one that --topic and --body describe.

    "-" reads standard input. If FILE has a broken line, the command first says so. Then it publishes only
    the lines before it, or none with --all-or-nothing.
    """
    if topic is not None:
        if file is not None:
            raise click.UsageError(
                f"Give either FILE or --topic, not both ({printable(file)!r} is taken for FILE; "
                "if it belongs to the body, quote that: --body '{...}')"
            )
        if "*" in topic or "#" in topic:
            click.echo("Warning: * and # mean something in bindings only, not in a topic", err=True)
        messages = iter([_described(topic, body, headers, schema)])
    elif body is not None or headers or schema is not None:
        raise click.UsageError("--body, --header and --schema describe a message: give its --topic, too")
    elif file is None:
        raise click.UsageError("Missing argument 'FILE', or the option --topic for a single message")
    else:
        messages = _messages(_opened(file), all_or_nothing)
    for message in messages:
        click.echo(f"Publishing message with topic {printable(message.topic)}")
        publish_or_exit(message, exchange, timeout)


def _opened(path: str) -> TextIO:
    context = click.get_current_context()
    (argument,) = (one for one in context.command.params if one.name == "file")
    return cast("TextIO", click.File("r", encoding="utf-8").convert(path, argument, context))


def _described(topic: str, body: str | None, headers: tuple[str, ...], schema: str | None) -> api.Message:
    """Make a message from the options."""
    try:
        content = json_body.decode_text("{}" if body is None else body)
    except ValueError as error:
        raise click.BadParameter(f"it is not JSON: {error}", param_hint="--body") from error
    if not isinstance(content, dict):
        raise click.BadParameter("it is JSON, but not an object in {}", param_hint="--body")
    pairs = [header.partition("=") for header in headers]
    for key, equals, _value in pairs:
        if not key or not equals:
            raise click.BadParameter(f"{key!r} is not of the form KEY=VALUE", param_hint="--header")
    return _class_of(schema)(topic=topic, body=content, headers={key: value for key, _equals, value in pairs})


def _class_of(schema: str | None) -> type[api.Message]:
    if schema is None:
        return api.Message
    known = schema_names()
    if schema not in known:
        close = difflib.get_close_matches(schema, known)
        hint = f"did you mean {' or '.join(close)}?" if close else "install the package that has it"
        raise click.BadParameter(f"there is no schema {printable(schema)!r}: {hint}", param_hint="--schema")
    return get_class(schema)


def _messages(file: TextIO, all_or_nothing: bool) -> Iterator[api.Message]:
    """Yield the messages in a file; if it can be read twice, first say which line is broken."""
    is_checked = file.seekable()
    if all_or_nothing and not is_checked:
        raise click.UsageError("--all-or-nothing needs a file, because a pipe can be read only once")
    if is_checked:
        begin = file.tell()
        try:
            for _message in _parsed(file):
                pass
        except click.ClickException as error:
            if all_or_nothing:
                raise
            # Version 3.9 published the lines before a broken one, and programs rely on it.
            click.echo(f"{error.message}; what stands before is published", err=True)
        file.seek(begin)
    yield from _parsed(file)


def _parsed(file: TextIO) -> Iterator[api.Message]:
    number = 0
    try:
        for number, line in enumerate(file, 1):  # noqa: B007 - the error below names the line
            yield from api.loads(line)
    except exceptions.ValidationError as error:
        raise click.UsageError(
            f"Unable to validate message: {error.summary} (line {number} of {printable(file.name)})"
        ) from error
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"{printable(file.name)} is not UTF-8 text: {error} (after line {number})"
        ) from error


def publish_or_exit(message: api.Message, exchange: str | None = None, timeout: float | None = None) -> None:
    """Publish a message; on failure print the reason and exit with the status for it."""
    try:
        with _failures_not_logged():
            if timeout is None:
                api.publish(message, exchange)
            else:
                api.publish(message, exchange, timeout)
    except (exceptions.PublishReturned, exceptions.PublishForbidden) as error:
        _fail(f"Unable to publish message: {explained(error)}", errno.EREMOTEIO)
    except exceptions.PublishTimeout as error:
        address = connection_options(config.conf).address
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


@contextmanager
def _failures_not_logged() -> Iterator[None]:
    """Silence the log line of a failed publish: the command itself reports the failure."""
    logger = logging.getLogger("fedora_messaging.api")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _refusal(message: api.Message, verdict: str, reason: object) -> str:
    return f"Message {printable(message.id)} {verdict}: {printable(reason)}"


def _fail(text: str, status: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(status)
