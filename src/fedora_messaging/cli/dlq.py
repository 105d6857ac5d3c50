"""``fedora-messaging dlq``: looks after messages that could not be processed."""

import asyncio
import base64
import datetime
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from .. import config, table_json
from ..archive.topics import topic_fits
from ..client.consuming.history import History
from ..client.policy.dead_letters import DeadLetters, Letter
from ..exceptions import BadDeclaration, ConfigurationException, ConnectionException, PermissionException
from ..exceptions import BaseException as LibraryException
from ..printable import explained, printable
from ..settings.to_options import connection_options
from ..validation import json_body
from .terminal import counted, log_to_stderr, table

#: Column titles of the tables that `list` and `purge` show.
_COLUMNS: Final = ("id", "topic", "reason", "attempts", "time", "error")
#: Seconds to wait for the broker to accept the connection.
_TIMEOUT: Final = 30.0


@dataclass(frozen=True)
class Filter:
    """Conditions that choose messages; ``None`` matches all."""

    message_id: str | None
    topic: str | None
    reason: str | None
    limit: int | None

    def matches(self, letter: Letter) -> bool:
        """Return whether a message meets all conditions."""
        history = letter.history
        topic, reason = (history.topic, history.reason) if history else (letter.raw.routing_key, "")
        return (
            self.message_id in (None, letter.properties.message_id)
            and (self.topic is None or topic_fits(self.topic, topic))
            and self.reason in (None, reason)
        )


def _filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--limit", type=click.IntRange(min=1), help="At most so many messages."),
        click.option("--reason", help="Only messages with this reason, such as exhausted, failed, invalid."),
        click.option("--topic", help='Only messages whose topic matches, for example "org.fedoraproject.#".'),
        click.option("--id", "message_id", help="Only the message with this id."),
        click.argument("queue"),
    ):
        command = option(command)
    return command


def _dry_run(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--dry-run", is_flag=True, help="Only say what would be done.")(command)


@click.group()
def dlq() -> None:
    """Look after dead-letter queues, which hold messages that could not be processed."""


@dlq.command("list")
@_filtered
def list_(queue: str, **filters: Any) -> None:
    """Show one line for each message in QUEUE: id, topic, reason, attempts, time, error."""
    with table(*_COLUMNS) as show_row:

        async def work(_letters: DeadLetters, letter: Letter) -> None:
            show_row(_cells(letter))

        number = _for_each(queue, Filter(**filters), work)
    click.echo(counted(number), err=True)


@dlq.command()
@_filtered
def show(queue: str, **filters: Any) -> None:
    """Show the messages in QUEUE in full, one JSON object per line."""

    async def work(_letters: DeadLetters, letter: Letter) -> None:
        click.echo(json.dumps(_in_full(letter)))

    _for_each(queue, Filter(**filters), work)


@dlq.command()
@_filtered
@_dry_run
@click.option("--to", "target", help="Queue to put the messages into, instead of the one they came from.")
def replay(queue: str, dry_run: bool, target: str | None, **filters: Any) -> None:
    """Put the messages in QUEUE back where they came from, to be processed again."""

    async def work(letters: DeadLetters, letter: Letter) -> None:
        history = letter.history or History("", letter.raw.exchange, letter.raw.routing_key)
        if target is not None:
            history = history._replace(queue=target)
        if not history.queue:
            raise click.ClickException(
                f"Message {_id(letter)} does not say which queue it came from: give one with --to"
            )
        if not dry_run:
            await letters.replay(letter, history)
        click.echo(f"{'would put' if dry_run else 'put'} {_id(letter)} into {printable(history.queue)}")

    number = _for_each(queue, Filter(**filters), work)
    click.echo(f"{counted(number)} {'would be ' if dry_run else ''}replayed", err=True)


@dlq.command()
@_filtered
@_dry_run
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(queue: str, dry_run: bool, yes: bool, **filters: Any) -> None:
    """Remove messages from QUEUE for good."""
    chosen = Filter(**filters)
    if not yes and not dry_run:
        _confirm_purge(queue, chosen)
    with table(*_COLUMNS) as show_row:

        async def work(letters: DeadLetters, letter: Letter) -> None:
            if not dry_run:
                letters.remove(letter)
            show_row(_cells(letter))

        number = _for_each(queue, chosen, work)
    click.echo(f"{counted(number)} {'would be ' if dry_run else ''}removed", err=True)


def _confirm_purge(queue: str, chosen: Filter) -> None:
    """Ask for confirmation, and say how many messages would be removed."""

    async def count_only(_letters: DeadLetters, _letter: Letter) -> None:
        """Leave the message where it is."""

    number = _for_each(queue, chosen, count_only)
    click.confirm(f"Remove {counted(number)} from the queue {printable(queue)} for good?", abort=True)


def _for_each(queue: str, filter_: Filter, work: Callable[[DeadLetters, Letter], Awaitable[None]]) -> int:
    """Call ``work`` with each message that the filter chooses; return how many there were."""
    log_to_stderr()
    try:
        options = connection_options(config.conf)
        return asyncio.run(_walk(options, queue, filter_, work))
    except TimeoutError as error:
        raise click.ClickException(
            f"No broker answered at {options.address} within {_TIMEOUT:g} s; is amqp_url right?"
        ) from error
    except BadDeclaration as error:
        raise click.ClickException(f"A queue cannot be read or written: {printable(error.reason)}") from error
    except PermissionException as error:
        raise click.ClickException(
            f"The broker does not let us read the queue {printable(queue)}: {printable(error.reason)}"
        ) from error
    except ConnectionException as error:
        raise click.ClickException(printable(error.reason)) from error
    except (ConfigurationException, LibraryException) as error:
        raise click.ClickException(explained(error)) from error


async def _walk(
    options: Any, queue: str, filter_: Filter, work: Callable[[DeadLetters, Letter], Awaitable[None]]
) -> int:
    number = 0
    async with DeadLetters.open(options, queue, _TIMEOUT) as letters:
        async for letter in letters.letters():
            if filter_.limit is not None and number >= filter_.limit:
                break
            if filter_.matches(letter):
                await work(letters, letter)
                number += 1
    return number


def _id(letter: Letter) -> str:
    return printable(letter.properties.message_id or "(without id)")


def _cells(letter: Letter) -> tuple[str, ...]:
    history = letter.history
    if history is None:
        return (_id(letter), letter.raw.routing_key, "", "", "", "")
    when = _time(history.last) if history.last else ""
    return (_id(letter), history.topic, history.reason, str(history.attempts), when, history.error)


def _time(seconds: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def _in_full(letter: Letter) -> dict[str, Any]:
    body = letter.raw.body or b""
    headers, header_types = table_json.to_json(letter.properties.headers)
    shown: dict[str, Any] = {
        "id": letter.properties.message_id,
        "history": letter.history.as_table() if letter.history else None,
        "headers": headers,
    }
    if header_types:
        shown["header_types"] = header_types
    try:
        shown["body"] = json_body.decode(body, "utf-8")
    except ValueError:
        shown["body_base64"] = base64.b64encode(body).decode()
    return shown
