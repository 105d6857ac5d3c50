"""Checks of ``fedora-messaging doctor`` that ask each broker of ``amqp_url``."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from ..client.amqp.connection import Connection
from ..client.amqp.topology import count, declare, declare_exchange, may_configure
from ..exceptions import BadDeclaration, ChannelClosed, ConfigurationException
from ..exceptions import BaseException as LibraryException
from ..options import ConnectionOptions, ConsumerOptions, ExchangeOptions, QueueOptions
from ..printable import explained
from ..protocol.errors import NOT_FOUND, PRECONDITION_FAILED
from ..settings.to_options import connection_options, consumer_options, queue_options
from .doctor_settings import FAILURE, OK, WARNING, Finding, certificate_end
from .terminal import counted

#: Seconds to wait for a node to accept the connection.
_TIMEOUT: Final = 10.0


async def ask_brokers(conf: Mapping[str, Any]) -> list[Finding]:
    """Connect to each node and check that configured exchanges and queues exist; this changes nothing."""
    try:
        options = connection_options(conf)
    except ConfigurationException as error:
        return [Finding(FAILURE, str(error))]
    findings = []
    for node in (options, *options.alternatives):
        findings += [finding async for finding in _node(conf, node._replace(connect_timeout=_TIMEOUT))]
    return findings


async def _node(conf: Mapping[str, Any], options: ConnectionOptions) -> AsyncIterator[Finding]:
    try:
        connection = await Connection.open(options)
    except (LibraryException, OSError) as error:
        yield Finding(FAILURE, str(error))
        return
    try:
        yield Finding(
            OK, f"{options.address} is {_kind(connection.machine.server_properties)} and lets us in"
        )
        if (end := connection.certificate_end) is not None:
            yield certificate_end(f"the certificate of {options.address}", end)
        async for finding in _topology(conf, connection):
            yield finding
    except LibraryException as error:
        yield Finding(FAILURE, f"{options.address}: {error}")
    finally:
        await connection.close()


async def _topology(conf: Mapping[str, Any], connection: Connection) -> AsyncIterator[Finding]:
    consumed = [
        binding["exchange"] for binding in conf["bindings"] if binding.get("queue", "") in conf["queues"]
    ]
    uses = {exchange: f"the exchange {exchange!r} of a binding" for exchange in consumed}
    uses[conf["publish_exchange"]] = f'"publish_exchange", {conf["publish_exchange"]!r},'
    for exchange, what in uses.items():
        # The default exchange, whose name is empty, always exists, and brokers refuse to say so.
        if exchange:
            yield await _exchange(connection, exchange, what)
    try:
        policy = consumer_options(conf)
    except ConfigurationException:
        policy = ConsumerOptions()  # the checks of the settings report this error
    for name, settings in conf["queues"].items():
        try:
            queue = queue_options(name, settings, conf["passive_declares"])
        except TypeError:
            continue  # the checks of the settings report this error
        if name:
            yield await _queue(connection, queue)
            async for finding in _helpers(connection, queue, policy):
                yield finding
    if policy.dead_letter is not None:
        yield await _dead_letters(connection, policy.dead_letter)


async def _helpers(
    connection: Connection, queue: QueueOptions, policy: ConsumerOptions
) -> AsyncIterator[Finding]:
    """Check the exchange, queues and permissions for messages that are refused or tried again."""
    exchange = queue.arguments.get("x-dead-letter-exchange")
    if isinstance(exchange, str) and exchange:
        finding = await _exchange(
            connection, exchange, f"the dead-letter exchange {exchange!r} of {queue.name}"
        )
        # The queue works without it, but refused messages are lost.
        yield finding if finding.kind == OK else Finding(WARNING, finding.text)
    # No real delay queue has this name, because a delay is never 0.
    if policy.retry is not None and not await may_configure(connection, f"{queue.name}.retry.0"):
        yield Finding(
            FAILURE,
            f"messages of the queue {queue.name} cannot be tried again, because we may not declare "
            "the queues in which they wait: give this user the permissions "
            f'"configure" and "write" for {queue.name}.retry.*',
        )


async def _dead_letters(connection: Connection, name: str) -> Finding:
    # Messages can be kept in it with whatever arguments it was declared.
    finding, _ = await _look_for_queue(connection, f"the dead-letter queue {name}", name)
    return finding


async def _exchange(connection: Connection, name: str, what: str) -> Finding:
    try:
        await declare_exchange(connection, ExchangeOptions(name, "topic", passive=True))
    except BadDeclaration as error:
        if _is_code(error, NOT_FOUND):
            return Finding(FAILURE, f"{what} is not there: declare it, or correct its name")
        return Finding(WARNING, f"{what} cannot be looked at: {explained(error)}")
    return Finding(OK, f"{what} is there")


async def _queue(connection: Connection, queue: QueueOptions) -> Finding:
    finding, is_there = await _look_for_queue(
        connection, f"the queue {queue.name}", queue.name, passive=queue.passive
    )
    if not is_there or queue.passive:
        return finding
    try:
        # The queue exists, so this declaration only compares its properties.
        await declare(connection, queue, [])
    except BadDeclaration as error:
        if _is_code(error, PRECONDITION_FAILED):
            return Finding(
                FAILURE,
                f"the queue {queue.name} is there with other properties: {explained(error.reason)}. "
                "Write those it has into the configuration, or delete it",
            )
        return Finding(FAILURE, f"the queue {queue.name} is there, but cannot be used: {explained(error)}")
    return finding


async def _look_for_queue(
    connection: Connection, what: str, name: str, *, passive: bool = False
) -> tuple[Finding, bool]:
    """Return a finding about a queue, and whether the queue exists."""
    try:
        number = await count(connection, name)
    except BadDeclaration as error:
        if not _is_code(error, NOT_FOUND):
            return Finding(WARNING, f"{what} cannot be looked at: {explained(error)}"), False
        if passive:
            return Finding(FAILURE, f"{what} is not there, and is not to be declared (passive)"), False
        if not await may_configure(connection, name):
            advice = 'have somebody declare it, or give this user the permission "configure" for it'
            return Finding(FAILURE, f"{what} is not there, and we may not declare it: {advice}"), False
        return Finding(OK, f"{what} is not there, and will be declared"), False
    return Finding(OK, f"{what} is there, with {counted(number)}"), True


def _is_code(error: BadDeclaration, reply_code: int) -> bool:
    return isinstance(error.reason, ChannelClosed) and error.reason.reply_code == reply_code


def _kind(server: Mapping[str, Any]) -> str:
    version = f"{server.get('product', 'a broker')} {server.get('version', '')}".strip()
    # It says that it is RabbitMQ, because clients choose by that what they ask for.
    is_ours = str(server.get("platform", "")).startswith("fedora-messaging ")
    return f"the embedded broker, which imitates {version}," if is_ours else version
