"""Declaring exchanges, queues and bindings."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from ...exceptions import BadDeclaration, ChannelClosed
from ...logs import logger
from ...options import BackoffOptions, BindingOptions, ExchangeOptions, QueueOptions
from ...protocol.errors import ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED
from ...wire import methods as m
from ..backoff import Backoff
from .channel import Channel
from .connection import Connection
from .permission_hints import BIND, DECLARE_EXCHANGE, DECLARE_QUEUE, name_permission

_log = logger(__name__)

#: Pauses between attempts to declare a queue that another client is declaring.
_LOCKED: Final = BackoffOptions(initial=0.1, factor=1.5, maximum=5.0)


async def declare(connection: Connection, queue: QueueOptions, bindings: Sequence[BindingOptions]) -> str:
    """Declare a queue and bind it, on a separate channel.

    Returns:
        The queue's name, which the broker chose if ``queue.name`` is empty.

    Raises:
        BadDeclaration: The broker refuses; ``reason`` is its :class:`ChannelClosed`.
        ConnectionException: The connection was lost meanwhile.
        NoFreeChannels: No channel is left.
    """
    try:
        async with _own_channel(connection) as channel:
            name = (await _declare_queue(channel, queue)).queue
            await _bind_all(channel, name, bindings)
        return name
    except BadDeclaration as error:
        if not (queue.passive and error.obj_type == "queue" and _is_code(error, ACCESS_REFUSED)):
            raise
    # Some brokers do not even let us ask (RabbitMQ 4.2.6 and 4.3.0, without the permission to configure).
    # Binding and consuming will show whether the queue exists.
    _log.info("The broker does not tell whether the queue %s exists; it is taken to", queue.name)
    async with _own_channel(connection) as channel:
        await _bind_all(channel, queue.name, bindings)
    return queue.name


async def ensure(connection: Connection, queue: QueueOptions) -> None:
    """Declare a queue only if none has its name, because an operator may have made it with other arguments.

    Raises what :func:`declare` does, if the queue has to be declared.
    """
    try:
        await declare(connection, queue._replace(passive=True), [])
    except BadDeclaration as error:
        if _is_code(error, RESOURCE_LOCKED):
            return  # it exists, and is exclusive to another connection; messages may still be published to it
        if not _is_code(error, NOT_FOUND):
            raise
        await declare(connection, queue, [])


async def declare_alone(connection: Connection, queue: QueueOptions) -> None:
    """Declare a queue under a lock, so that only one caller at a time does; raises what :func:`declare` does.

    When one client creates a quorum queue, RabbitMQ tells other clients that it exists before it has all its
    arguments. A message that is published to it at that time never expires, and neither do those after it.
    So this function holds an exclusive queue as a lock, which ends with the connection at the latest.
    """
    lock = f"{queue.name}.lock"
    channel = await _take(connection, lock)
    try:
        await declare(connection, queue, [])
    finally:
        if channel.is_open:
            # Do not wait for the answers, as in :func:`_own_channel`.
            channel.send(m.QueueDelete(lock, no_wait=True))
            channel.close_soon()


async def _take(connection: Connection, lock: str) -> Channel:
    backoff = Backoff(_LOCKED)
    while True:
        channel = await connection.open_channel()
        try:
            await _declare_queue(channel, QueueOptions(lock, exclusive=True))
        except BadDeclaration as error:
            if not _is_code(error, RESOURCE_LOCKED):
                raise
        except BaseException:
            channel.close_soon()
            raise
        else:
            return channel
        await asyncio.sleep(backoff.next() or 0.0)


async def count(connection: Connection, queue: str) -> int:
    """Return how many messages wait in a queue; raises what :func:`declare` does."""
    async with _own_channel(connection) as channel:
        return (await _declare_queue(channel, QueueOptions(queue, passive=True))).message_count


async def declare_exchange(connection: Connection, exchange: ExchangeOptions) -> None:
    """Declare an exchange, on a separate channel; raises what :func:`declare` does."""
    async with _own_channel(connection) as channel:
        request = m.ExchangeDeclare(
            exchange.name,
            exchange.type,
            passive=exchange.passive,
            durable=exchange.durable,
            auto_delete=exchange.auto_delete,
            arguments=dict(exchange.arguments),
        )
        try:
            await channel.call(request, m.ExchangeDeclareOk)
        except ChannelClosed as error:
            refusal = BadDeclaration("exchange", _describe_exchange(exchange), error)
            raise name_permission(refusal, error, DECLARE_EXCHANGE) from error


async def may_configure(connection: Connection, queue: str) -> bool:
    """Whether we may declare a queue of this name, which does not exist; this declares nothing.

    It asks for a queue with impossible arguments: brokers check permissions before they check arguments.

    Raises:
        ConnectionException: The connection was lost meanwhile.
        NoFreeChannels: No channel is left.
    """
    try:
        async with _own_channel(connection) as channel:
            await _declare_queue(channel, QueueOptions(queue, durable=True, arguments={"x-expires": -1}))
    except BadDeclaration as error:
        return not _is_code(error, ACCESS_REFUSED)
    return True


def missing(queue: QueueOptions, reason: ChannelClosed) -> BadDeclaration:
    """Make the error for a queue that turned out not to exist when we subscribed."""
    return BadDeclaration("queue", _describe_queue(queue), reason)


async def bind(connection: Connection, queue: str, binding: BindingOptions) -> None:
    """Bind a queue, on a separate channel; raises what :func:`declare` does."""
    async with _own_channel(connection) as channel:
        await _bind(channel, queue, binding)


@asynccontextmanager
async def _own_channel(connection: Connection) -> AsyncIterator[Channel]:
    channel = await connection.open_channel()
    try:
        yield channel
        await channel.close()
    except BaseException:
        # Do not wait for the answer: a caller that gives up on a stuck broker must get away.
        channel.close_soon()
        raise


def _is_code(error: BadDeclaration, reply_code: int) -> bool:
    return isinstance(error.reason, ChannelClosed) and error.reason.reply_code == reply_code


async def _declare_queue(channel: Channel, queue: QueueOptions) -> m.QueueDeclareOk:
    try:
        return await channel.call(_declaration(queue), m.QueueDeclareOk)
    except ChannelClosed as error:
        refusal = BadDeclaration("queue", _describe_queue(queue), error)
        raise name_permission(refusal, error, DECLARE_QUEUE) from error


async def _bind_all(channel: Channel, queue: str, bindings: Sequence[BindingOptions]) -> None:
    for binding in bindings:
        await _bind(channel, queue, binding)


async def _bind(channel: Channel, queue: str, binding: BindingOptions) -> None:
    try:
        await channel.call(_binding(queue, binding), m.QueueBindOk)
    except ChannelClosed as error:
        refusal = BadDeclaration("binding", _describe_binding(queue, binding), error)
        raise name_permission(refusal, error, BIND) from error


def _declaration(queue: QueueOptions) -> m.QueueDeclare:
    return m.QueueDeclare(
        queue.name,
        passive=queue.passive,
        durable=queue.durable,
        exclusive=queue.exclusive,
        auto_delete=queue.auto_delete,
        arguments=dict(queue.arguments),
    )


def _binding(queue: str, binding: BindingOptions) -> m.QueueBind:
    return m.QueueBind(queue, binding.exchange, binding.routing_key, arguments=dict(binding.arguments or {}))


def _describe_exchange(exchange: ExchangeOptions) -> dict[str, Any]:
    return {
        "exchange": exchange.name,
        "exchange_type": exchange.type,
        "passive": exchange.passive,
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "arguments": dict(exchange.arguments),
    }


def _describe_queue(queue: QueueOptions) -> dict[str, Any]:
    return {
        "queue": queue.name,
        "passive": queue.passive,
        "durable": queue.durable,
        "exclusive": queue.exclusive,
        "auto_delete": queue.auto_delete,
        "arguments": dict(queue.arguments),
    }


def _describe_binding(queue: str, binding: BindingOptions) -> dict[str, Any]:
    described: dict[str, Any] = {
        "queue": queue,
        "exchange": binding.exchange,
        "routing_key": binding.routing_key,
    }
    if binding.arguments is not None:
        described["arguments"] = dict(binding.arguments)
    return described
