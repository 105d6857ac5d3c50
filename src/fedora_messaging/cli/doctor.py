"""``fedora-messaging doctor``: what is wrong with a configuration, or will be."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import click

from .. import config
from ..client.connection import Connection
from ..client.topology import count
from ..consumer_settings import consumer_options
from ..display import explained, printable
from ..exceptions import BadDeclaration, ChannelClosed, ConfigurationException
from ..exceptions import BaseException as LibraryException
from ..options import ConnectionOptions
from ..protocol.errors import NOT_FOUND
from ..publisher_settings import outbox_options
from .callbacks import load_callback

#: Seconds for a node to let us in.
_TIMEOUT: Final = 10.0

OK: Final = "ok"
WARNING: Final = "warning"
FAILURE: Final = "failure"


class Finding(NamedTuple):
    """A line of the answer: ``ok``, ``warning`` or ``failure``, and a text."""

    kind: str
    text: str


@click.command()
def doctor() -> None:
    """Look for what is wrong with the configuration and the way to the broker.

    Nothing is changed anywhere. Exits with 1 if anything fails; warnings are what works today.
    """
    # Logs go to standard output, where only the findings are to be.
    logging.getLogger("fedora_messaging").setLevel(logging.CRITICAL)
    findings = [*_settings(config.conf), *_newer_rabbitmq(config.conf["queues"]), *asyncio.run(_brokers())]
    for kind, text in findings:
        click.echo(f"{kind:8} {printable(text, 1000)}")
    if any(kind == FAILURE for kind, _text in findings):
        raise SystemExit(1)


def _settings(conf: Mapping[str, Any]) -> Iterator[Finding]:
    """Look at what is read when it is used."""
    checks: dict[str, Callable[[], object]] = {
        "qos": lambda: config.qos_options(conf),
        "consumer": lambda: consumer_options(conf),
        "outbox": lambda: outbox_options(conf),
        "queues": lambda: [config.queue_options(name, one, False) for name, one in conf["queues"].items()],
        "bindings": lambda: [config.binding_options(conf["bindings"], name) for name in conf["queues"]],
    }
    for name, check in checks.items():
        try:
            check()
        except (ConfigurationException, TypeError) as error:
            yield Finding(FAILURE, str(error))
        else:
            yield Finding(OK, f"[{name}] is valid")
    if conf["callback"]:
        try:
            load_callback(None, None)
        except click.ClickException as error:
            yield Finding(FAILURE, error.message)
        else:
            yield Finding(OK, f"the callback {conf['callback']} can be imported")
    bound = {binding.get("queue", "") for binding in conf["bindings"]}
    for name in sorted(bound - set(conf["queues"])):
        yield Finding(
            WARNING, f"a binding names the queue {name!r}, which [queues] does not: it has no effect"
        )


def _newer_rabbitmq(queues: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Look for what RabbitMQ 4.3 refuses; `fedora-messaging broker --strict` does, too."""
    for name, settings in queues.items():
        what = f"the queue {name!r}" if name else "the queue that the broker names"
        if not settings["durable"] and not settings["exclusive"]:
            yield Finding(
                WARNING,
                f"{what} is neither durable nor exclusive, which RabbitMQ 4.3 refuses: set durable = true, "
                "and x-expires in its arguments if it is to go when nobody uses it",
            )
        for argument in ("x-queue-mode", "x-queue-master-locator"):
            if argument in (settings["arguments"] or {}):
                yield Finding(
                    WARNING, f"{what} has the argument {argument}, which RabbitMQ 4.3 refuses: remove it"
                )


async def _brokers() -> list[Finding]:
    try:
        options = config.connection_options(config.conf)
    except ConfigurationException as error:
        return [Finding(FAILURE, str(error))]
    findings = []
    for node in (options, *options.alternatives):
        findings += [finding async for finding in _broker(replace(node, connect_timeout=_TIMEOUT))]
    return findings


async def _broker(options: ConnectionOptions) -> AsyncIterator[Finding]:
    """Connect to a node, and look whether its queues are there."""
    try:
        connection = await Connection.open(options)
    except (LibraryException, OSError) as error:
        yield Finding(FAILURE, str(error))
        return
    try:
        server = connection.machine.server_properties
        version = f"{server.get('product', 'a broker')} {server.get('version', '')}"
        yield Finding(OK, f"{options.address} is {version.strip()} and lets us in")
        for name, settings in config.conf["queues"].items():
            if name:
                passive = bool(settings.get("passive", config.conf["passive_declares"]))
                yield await _queue(connection, name, passive)
    except LibraryException as error:
        yield Finding(FAILURE, f"{options.address}: {error}")
    finally:
        await connection.close()


async def _queue(connection: Connection, name: str, passive: bool) -> Finding:
    try:
        number = await count(connection, name)
    except BadDeclaration as error:
        is_missing = isinstance(error.reason, ChannelClosed) and error.reason.reply_code == NOT_FOUND
        if is_missing and not passive:
            return Finding(OK, f"the queue {name} is not there, and will be declared")
        if is_missing:
            return Finding(FAILURE, f"the queue {name} is not there, and is not to be declared (passive)")
        return Finding(WARNING, f"the queue {name} cannot be looked at: {explained(error)}")
    return Finding(OK, f"the queue {name} is there, with {number} messages")
