"""Routing: the way of a message from an exchange to queues."""

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from ...protocol.errors import PRECONDITION_FAILED, ChannelError
from ...wire.property_codec import edit_headers
from .equivalence import type_name
from .exchanges import Exchange
from .message import BrokerMessage, with_properties
from .queue import Queue


def find_queues(
    exchanges: Mapping[str, Exchange], exchange: Exchange, message: BrokerMessage, keys: list[str]
) -> Collection[Queue]:
    """Find the queues of a message.

    An exchange that has no destination for the message passes it to its alternate exchange, no matter how the
    message got there.

    Args:
        exchanges: All exchanges of the virtual host, by name.
        exchange: The exchange that the message was published to.
        message: The message; some exchanges look at its headers.
        keys: Its routing keys, see :func:`routing_keys`.
    """
    queues: dict[Queue, None] = {}
    visited: set[Exchange] = set()
    pending = [exchange]
    while pending:
        current = pending.pop()
        if current in visited:
            continue
        visited.add(current)
        is_dead_end = True
        for key in keys:
            for destination in current.destinations(key, message):
                is_dead_end = False
                if isinstance(destination, Queue):
                    queues[destination] = None
                else:
                    pending.append(destination)
        if is_dead_end and current.alternate is not None and current.alternate in exchanges:
            pending.append(exchanges[current.alternate])
    return queues


def routing_keys(message: BrokerMessage) -> list[str]:
    """Return the routing key of a message, and those in its headers ``CC`` and ``BCC``.

    Raises:
        ChannelError: 406 if one of these headers is not an array.
    """
    keys = [message.routing_key]
    if message.mentions(b"CC"):
        for header in ("CC", "BCC"):
            extra = message.headers.get(header)
            if extra is None:
                continue
            if not isinstance(extra, list):
                raise ChannelError(
                    PRECONDITION_FAILED,
                    f'invalid message: {{unacceptable_type_in_header,"{header}",{type_name(extra)}}}',
                )
            keys += [key for key in extra if isinstance(key, str)]
    return keys


def without_bcc(message: BrokerMessage) -> BrokerMessage:
    """Return the message without its header ``BCC``, as consumers get it."""
    properties = edit_headers(message.properties, {}, ("BCC",))
    told = with_properties(message, properties)
    told.past = replace(told.past, keys=tuple(routing_keys(message)))
    return told
