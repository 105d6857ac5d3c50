"""``fedora-messaging outbox``: messages that wait for the broker."""

import asyncio
import json
import logging
import time
from typing import Any, Final

import click

from .. import config
from ..client.outbox.sender import Outbox
from ..client.outbox.store import OutboxStore
from ..client.outbox.table import Failure, Usage
from ..client.supervisor import Supervisor
from ..exceptions import ConfigurationException, OutboxError
from ..options import OutboxOptions
from ..printable import printable
from ..settings.to_options import connection_options, outbox_options
from .terminal import counted, log_to_stderr, table

#: Failures that `status` shows.
_SHOWN: Final = 20


@click.group()
def outbox() -> None:
    """Look after the outbox: messages that wait for the broker."""


@outbox.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def status(as_json: bool) -> None:
    """Show what is in the outbox, whether a process sends it, and what the broker refuses."""
    try:
        store = OutboxStore(_options(), lambda: None)
        try:
            usage, failures = store.usage().result(), store.failures(_SHOWN).result()
            idle = store.lock().result()
        finally:
            store.close().result()
    except (ConfigurationException, OutboxError) as error:
        raise click.ClickException(str(error)) from error
    found = _as_dict(store.name, usage, sending=not idle, failures=failures)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _show(found)


@outbox.command()
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="Give up after this many seconds.",
)
def flush(timeout: float) -> None:
    """Send the messages in the outbox, or wait for the process that sends them, until it is empty."""
    try:
        left, trouble = asyncio.run(_flush(_options(), timeout))
    except (ConfigurationException, OutboxError) as error:
        raise click.ClickException(str(error)) from error
    if left:
        raise click.ClickException(
            f"{counted(left)} still in the outbox after {timeout:g} s: {printable(trouble)}"
        )
    click.echo("The outbox is empty.")


async def _flush(options: OutboxOptions, timeout: float) -> tuple[int, str]:
    """Return how many messages are left, and why they are."""
    supervisor = Supervisor(connection_options(config.conf))
    sender = Outbox(options)
    supervisor.attach_sender(sender)
    try:
        async with asyncio.timeout(timeout):
            await sender.empty()
    except TimeoutError:
        pass  # the number of messages left shows that time ran out
    try:
        left = (await sender.usage()).messages
        return left, supervisor.trouble or sender.trouble or "see `fedora-messaging outbox status`"
    finally:
        await supervisor.close()


def _options() -> OutboxOptions:
    log_to_stderr(logging.ERROR)
    options = outbox_options(config.conf)
    if options is None:
        raise ConfigurationException('there is no outbox: write [outbox] with the "path" of a file')
    return options


def _as_dict(name: str, usage: Usage, *, sending: bool, failures: list[Failure]) -> dict[str, Any]:
    return {
        "outbox": name,
        "messages": usage.messages,
        "bytes": usage.bytes,
        "oldest": None if usage.oldest is None else max(0.0, time.time() - usage.oldest),
        "sending": sending,
        "failures": [
            {**one.topic._asdict(), "attempts": one.attempts, "error": one.error} for one in failures
        ],
    }


def _show(found: dict[str, Any]) -> None:
    click.echo(f"outbox    {printable(found['outbox'])}")
    click.echo(f"messages  {found['messages']}")
    click.echo(f"bytes     {found['bytes']}")
    if found["oldest"] is not None:
        click.echo(f"oldest    {found['oldest']:.1f} s")
    click.echo(f"sender    {'a process sends' if found['sending'] else 'no process sends'}")
    if not found["failures"]:
        return
    with table("", "exchange and topic", "attempts", "error") as show_row:
        for failure in found["failures"]:
            topic = f"{failure['exchange'] or '(default exchange)'} {failure['routing_key']}"
            show_row(("refused", topic, f"{failure['attempts']} times", failure["error"]))
