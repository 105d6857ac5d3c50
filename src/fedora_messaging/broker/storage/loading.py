"""Reading the stored data when the broker starts."""

import sqlite3
from collections.abc import Iterable
from typing import Any

from ...protocol.errors import ChannelError, ConnectionError
from ...wire.fields import decode_table
from ..core.declarations import QueueDeclaration
from ..core.delayed_messages import EXCHANGE_ARGUMENT, DelayedMessages
from ..core.exchanges import TYPES
from ..core.message import BrokerMessage, Entry, Past, new_entry, restored_message
from ..core.queue import Queue
from ..core.queue_arguments import QueueArguments, read_arguments
from ..core.vhost import VirtualHost, queue_class
from .database_file import StorageError
from .names import read_name, stored_name
from .positions import DeliveredPositions


def load(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhosts: Iterable[VirtualHost]
) -> None:
    """Fill virtual hosts with the stored exchanges, queues, bindings and messages."""
    queues: dict[int, Queue] = {}
    for vhost in vhosts:
        _load_exchanges(connection, vhost)
        queues |= _load_queues(connection, positions, vhost)
        _load_bindings(connection, vhost)
    _load_messages(connection, queues)


def _load_exchanges(connection: sqlite3.Connection, vhost: VirtualHost) -> None:
    rows = connection.execute(
        "SELECT name, type, auto_delete, internal, arguments FROM exchange WHERE vhost = ?",
        (stored_name(vhost.name),),
    )
    for name, kind, auto_delete, internal, arguments in rows:
        exchange = TYPES[kind](
            read_name(name),
            True,
            bool(auto_delete),
            bool(internal),
            decode_table(arguments)[0],
            vhost.profile,
        )
        vhost.restore_exchange(exchange)


def _load_queues(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> dict[int, Queue]:
    queues: dict[int, Queue] = {}
    rows = connection.execute(
        "SELECT id, name, auto_delete, arguments, delivered_position FROM queue WHERE vhost = ?",
        (stored_name(vhost.name),),
    )
    for queue_id, name, auto_delete, encoded, delivered_position in rows:
        declared = QueueDeclaration(
            read_name(name),
            durable=True,
            auto_delete=bool(auto_delete),
            arguments=decode_table(encoded)[0],
        )
        if EXCHANGE_ARGUMENT in declared.arguments:
            exchange = declared.arguments[EXCHANGE_ARGUMENT]
            waiting = vhost.delayed[exchange] = DelayedMessages(vhost, exchange, True)
            waiting.stored_id = queue_id
            queues[queue_id] = waiting
            continue
        arguments = _read_arguments(declared, vhost)
        queue = queue_class(arguments.queue_type)(
            vhost,
            declared.name,
            durable=True,
            auto_delete=declared.auto_delete,
            declared=declared.arguments,
            arguments=arguments,
        )
        queue.stored_id = queue_id
        queue.resume(max(delivered_position, positions.read(queue_id)))
        vhost.restore_queue(queue)
        queues[queue_id] = queue
    return queues


def _read_arguments(declared: QueueDeclaration, vhost: VirtualHost) -> QueueArguments:
    try:
        return read_arguments(declared, vhost.name, vhost.profile)
    except (ChannelError, ConnectionError) as error:
        raise _other_profile("queue", error, vhost) from error


def _other_profile(what: str, error: ChannelError | ConnectionError, vhost: VirtualHost) -> StorageError:
    return StorageError(
        f"{error.explanation}: the {what} was declared with another profile than {vhost.profile.name}. "
        f"Use that profile, or delete the {what} with it first."
    )


def _load_bindings(connection: sqlite3.Connection, vhost: VirtualHost) -> None:
    rows = connection.execute(
        # In the order in which they were made, which a consistent-hash exchange keeps.
        "SELECT source, kind, destination, routing_key, arguments FROM binding WHERE vhost = ? "
        "ORDER BY rowid",
        (stored_name(vhost.name),),
    )
    for source, kind, destination, routing_key, arguments in rows:
        exchange = vhost.exchanges.get(read_name(source))
        registry: Any = vhost.queues if kind == Queue.kind else vhost.exchanges
        target = registry.get(read_name(destination))
        if exchange is not None and target is not None:
            try:
                vhost.restore_binding(exchange, target, read_name(routing_key), decode_table(arguments)[0])
            except ChannelError as error:
                raise _other_profile("binding", error, vhost) from error


def _load_messages(connection: sqlite3.Connection, queues: dict[int, Queue]) -> None:
    messages: dict[int, BrokerMessage] = {}
    exhausted: list[tuple[Queue, Entry]] = []
    rows = connection.execute(
        "SELECT queue_id, position, message_id, expires_at, deliveries, acquisitions, redelivered, "
        "exchange, routing_key, properties, body, instr(properties, x'782d6465617468') "  # "x-death"
        "FROM queue_message JOIN message ON message.id = message_id ORDER BY queue_id, position"
    )
    for (
        queue_id,
        position,
        message_id,
        expires_at,
        returns,
        acquisitions,
        redelivered,
        exchange,
        key,
        properties,
        body,
        may_have_died,
    ) in rows:
        queue = queues.get(queue_id)
        if queue is None:
            continue
        message = messages.get(message_id)
        if message is None:
            if not (isinstance(properties, bytes) and isinstance(body, bytes)):
                raise TypeError(f"properties or body of message {message_id} are no bytes")
            message = restored_message(read_name(exchange), read_name(key), properties, body)
            # What a publisher wrote into x-death cannot be told from what the broker did, so both count.
            if may_have_died and message.mentions(b"x-death"):
                message.past = Past(died=True)
            messages[message_id] = message
            message.stored_id = message_id
        message.placements += 1
        # Most queues know no priorities: then nobody need read the properties now.
        priority = queue.arguments.priority_of(message.scan) if queue.arguments.max_priority else 0
        entry = new_entry(message, position, priority, expires_at)
        entry.stored = True
        entry.returns, entry.acquisitions = returns, acquisitions
        entry.redelivered = bool(redelivered) or position <= queue.delivered_position
        if not queue.restore(entry):
            exhausted.append((queue, entry))
    for queue, entry in exhausted:
        queue.give_up(entry)
