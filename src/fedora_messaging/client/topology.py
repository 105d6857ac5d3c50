"""Declaring queues and bindings."""

from collections.abc import Sequence
from typing import Any

from ..exceptions import BadDeclaration, ChannelClosed
from ..options import BindingOptions, QueueOptions
from ..wire import methods as m
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
    channel = await connection.open_channel()
    try:
        try:
            declared = await channel.call(_declaration(queue), m.QueueDeclareOk)
        except ChannelClosed as error:
            raise BadDeclaration("queue", _describe_queue(queue), error) from error
        for binding in bindings:
            try:
                await channel.call(_binding(declared.queue, binding), m.QueueBindOk)
            except ChannelClosed as error:
                raise BadDeclaration("binding", _describe_binding(declared.queue, binding), error) from error
        await channel.close()
    except BaseException:
        # Not waited for: whoever gives up on a broker that is stuck must get away.
        channel.close_soon()
        raise
    return declared.queue


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
