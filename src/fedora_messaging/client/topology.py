"""Declaring exchanges, queues and bindings."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..exceptions import BadDeclaration, ChannelClosed
from ..options import BindingOptions, ExchangeOptions, QueueOptions
from ..wire import methods as m
from .channel import Channel
from .connection import Connection


async def declare(connection: Connection, queue: QueueOptions, bindings: Sequence[BindingOptions]) -> str:
    """Declare a queue and bind it, on a channel of their own.

    Returns:
        The queue's name, which the broker chose if ``queue.name`` is empty.

    Raises:
        BadDeclaration: The broker refuses; ``reason`` is its :class:`ChannelClosed`.
        ConnectionException: The connection was lost meanwhile.
        NoFreeChannels: There is no channel left.
    """
    async with _own_channel(connection) as channel:
        name = (await _declare_queue(channel, queue)).queue
        for binding in bindings:
            await _bind(channel, name, binding)
    return name


async def count(connection: Connection, queue: str) -> int:
    """Return how many messages wait in a queue; raises what :func:`declare` does."""
    async with _own_channel(connection) as channel:
        return (await _declare_queue(channel, QueueOptions(queue, passive=True))).message_count


async def declare_exchange(connection: Connection, exchange: ExchangeOptions) -> None:
    """Declare an exchange, on a channel of its own; raises what :func:`declare` does."""
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
            raise BadDeclaration("exchange", _describe_exchange(exchange), error) from error


async def bind(connection: Connection, queue: str, binding: BindingOptions) -> None:
    """Bind a queue, on a channel of its own; raises what :func:`declare` does."""
    async with _own_channel(connection) as channel:
        await _bind(channel, queue, binding)


@asynccontextmanager
async def _own_channel(connection: Connection) -> AsyncIterator[Channel]:
    channel = await connection.open_channel()
    try:
        yield channel
        await channel.close()
    except BaseException:
        # Not waited for: whoever gives up on a broker that is stuck must get away.
        channel.close_soon()
        raise


async def _declare_queue(channel: Channel, queue: QueueOptions) -> m.QueueDeclareOk:
    try:
        return await channel.call(_declaration(queue), m.QueueDeclareOk)
    except ChannelClosed as error:
        raise BadDeclaration("queue", _describe_queue(queue), error) from error


async def _bind(channel: Channel, queue: str, binding: BindingOptions) -> None:
    try:
        await channel.call(_binding(queue, binding), m.QueueBindOk)
    except ChannelClosed as error:
        raise BadDeclaration("binding", _describe_binding(queue, binding), error) from error


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
