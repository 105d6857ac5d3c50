"""A virtual host: its exchanges, queues and bindings, and publishing messages through them."""

import base64
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ...logs import logger
from ...protocol.errors import (
    ACCESS_REFUSED,
    COMMAND_INVALID,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    ChannelError,
    ConnectionError,
)
from ...wire.frames import room_for_properties
from .bindings import DEFAULT_EXCHANGE, Bindings
from .churn import Churn
from .counters import Counters
from .dead_letters import DeadLetters
from .declarations import ExchangeDeclaration, QueueDeclaration
from .delayed_messages import DelayedMessages
from .equivalence import check_equivalent, check_same, locked, type_name
from .exchanges import TYPES, Binding, DelayedExchange, Destination, Exchange
from .exchanges.delayed import delay_of
from .journal import Journal
from .memory import MemoryUse, declared_size
from .message import BrokerMessage, Entry
from .policies import EXCHANGE, Policies, combine, override
from .profile import RABBITMQ_4, Profile
from .queue import Queue
from .queue_arguments import (
    CLASSIC,
    QUEUE_TYPES,
    QUORUM,
    STREAM,
    comparable,
    equivalent,
    interpret,
    read_arguments,
)
from .routing import find_queues, routing_keys, without_bcc
from .stream import StreamQueue

_log = logger(__name__)

_PREDECLARED = (
    (DEFAULT_EXCHANGE, "direct", False),
    ("amq.direct", "direct", False),
    ("amq.fanout", "fanout", False),
    ("amq.topic", "topic", False),
    ("amq.headers", "headers", False),
    ("amq.match", "headers", False),
    ("amq.rabbitmq.trace", "topic", True),
)


class Enqueued(NamedTuple):
    """What became of a message.

    Attributes:
        routed: Whether any queue was found.
        refused: Whether any queue refused it.
        stored: Whether the journal has a part in it, so that its confirm waits for the disk.
    """

    routed: bool
    refused: bool
    stored: bool


def all_at_once(steps: Iterator[None]) -> None:
    """Do all steps of some work."""
    for _ in steps:
        pass


class VirtualHost:
    """A namespace of exchanges and queues.

    Args:
        name: Name, such as ``/``.
        clock: Returns the time in seconds since 1970; measures durations.
        journal: Gets all durable changes.
        schedule: Calls a queue's ``on_time`` at a given time.
        memory: Counts the memory that messages take.
        work_off: Does work that may take long; it may return before all steps are done.
        wall: Returns the time to stamp messages with; by default ``clock``.
        room: Most bytes of properties that a dead letter may have.
        profile: The release of RabbitMQ to imitate.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        journal: Journal,
        schedule: Callable[[Queue, float], None],
        memory: MemoryUse | None = None,
        work_off: Callable[[Iterator[None]], None] = all_at_once,
        wall: Callable[[], float] | None = None,
        room: int = room_for_properties(131072),
        profile: Profile = RABBITMQ_4,
    ) -> None:
        self.name = name
        self.clock = clock
        self.journal = journal
        self.schedule = schedule
        self.work_off = work_off
        self.memory: MemoryUse = memory or MemoryUse()
        self.profile = profile
        self.default_queue_type = CLASSIC
        self.description = ""
        self.tags: tuple[str, ...] = ()
        self.is_protected = False
        #: ``max-connections`` and ``max-queues``; a negative number is no limit.
        self.limits: dict[str, int] = {}
        #: Messages that wait for their delayed exchange, by its name.
        self.delayed: dict[str, DelayedMessages] = {}
        self.policies: Policies = Policies()
        #: What happened to messages of queues and channels that are gone.
        self.past: Counters = Counters()
        #: Counts the queues that come and go.
        self.churn: Churn = Churn()
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, Exchange] = {
            name: TYPES[kind](name, durable=True, internal=internal, profile=profile)
            for name, kind, internal in _PREDECLARED
        }
        self.memory.declare(sum(declared_size(exchange.arguments) for exchange in self.exchanges.values()))
        self._exclusive: dict[object, dict[Queue, None]] = {}
        self._bindings = Bindings(self.exchanges, journal, self.memory, self._drop_delayed)
        self._dead_letters = DeadLetters(self.exchanges, wall or clock, room, profile)

    # Exchanges

    def exchange(self, name: str) -> Exchange:
        """Return an exchange.

        Raises:
            ChannelError: 404.
        """
        try:
            return self.exchanges[name]
        except KeyError:
            raise ChannelError(NOT_FOUND, f"no exchange '{name}' in vhost '{self.name}'") from None

    def declare_exchange(self, declared: ExchangeDeclaration) -> None:
        """Add an exchange, or compare the declaration with the one that exists.

        Raises:
            ChannelError: 403 or 406.
        """
        name = declared.name
        self.refuse_default(name)
        if declared.type not in TYPES:
            code = self.profile.unknown_exchange_type
            error = ConnectionError if code == COMMAND_INVALID else ChannelError
            raise error(code, f"unknown exchange type '{declared.type}'")
        alternate = declared.arguments.get("alternate-exchange")
        if alternate is not None and not isinstance(alternate, str):
            raise ChannelError(
                PRECONDITION_FAILED,
                f"invalid type '{type_name(alternate)}' for arg 'alternate-exchange' in exchange '{name}' in "
                f"vhost '{self.name}'",
            )
        existing = self.exchanges.get(name)
        if existing is not None:
            self._check_same_exchange(existing, declared)
            return
        if name.startswith("amq."):
            raise ChannelError(ACCESS_REFUSED, f"exchange name '{name}' contains reserved prefix 'amq.*'")
        self.memory.check_room(declared_size(declared.arguments))
        make = TYPES[declared.type]
        self.add_exchange(
            make(
                name,
                declared.durable,
                declared.auto_delete,
                declared.internal,
                declared.arguments,
                self.profile,
            )
        )

    def add_exchange(self, exchange: Exchange) -> None:
        """Add a new exchange."""
        if exchange.durable:
            self.journal.exchange_added(exchange)
        self.restore_exchange(exchange)

    def restore_exchange(self, exchange: Exchange) -> None:
        """Add an exchange that the storage has already."""
        self.memory.declare(declared_size(exchange.arguments))
        self.exchanges[exchange.name] = exchange
        self._apply_to_exchange(exchange)

    def _check_same_exchange(self, existing: Exchange, declared: ExchangeDeclaration) -> None:
        what = f"exchange '{existing.name}' in vhost '{self.name}'"
        pairs: tuple[tuple[str, Any, Any], ...] = (
            ("type", existing.type, declared.type),
            ("durable", existing.durable, declared.durable),
            ("auto_delete", existing.auto_delete, declared.auto_delete),
            ("internal", existing.internal, declared.internal),
        )
        check_same(what, pairs)
        check_equivalent(("alternate-exchange",), what, existing.arguments, declared.arguments)

    def refuse_default(self, name: str) -> None:
        """Refuse to change the default exchange.

        Raises:
            ChannelError: 403.
        """
        if name == DEFAULT_EXCHANGE:
            raise ChannelError(ACCESS_REFUSED, "operation not permitted on the default exchange")

    def refuse_deletion(self, name: str) -> None:
        """Refuse to delete an exchange of the broker's own.

        Raises:
            ChannelError: 403.
        """
        self.refuse_default(name)
        if name.startswith("amq.") and name in self.exchanges:
            raise ChannelError(
                ACCESS_REFUSED,
                f"deletion of system exchange '{name}' in vhost '{self.name}' not allowed",
            )

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Delete an exchange; do nothing if it does not exist.

        Raises:
            ChannelError: 403 or 406.
        """
        self.refuse_deletion(name)
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise ChannelError(PRECONDITION_FAILED, f"exchange '{name}' in vhost '{self.name}' in use")
        self._bindings.remove_exchange(exchange)

    def _drop_delayed(self, exchange: str) -> None:
        waiting = self.delayed.pop(exchange, None)
        if waiting is None:
            return
        waiting.deleted = True
        waiting.purge()
        if waiting.keeps:
            self.journal.queue_removed(waiting)

    # Queues

    def queue(self, name: str) -> Queue:
        """Return a queue.

        Raises:
            ChannelError: 404.
        """
        try:
            return self.queues[name]
        except KeyError:
            raise ChannelError(NOT_FOUND, f"no queue '{name}' in vhost '{self.name}'") from None

    def declare_queue(self, declared: QueueDeclaration, owner: object, chosen: str | None = None) -> Queue:
        """Add a queue, or compare the declaration with the one that exists.

        Args:
            declared: The declaration.
            owner: The connection that declares the queue.
            chosen: The name that the broker chose, if the declaration leaves it to the broker.

        Raises:
            ChannelError: 403, 405 or 406.
        """
        name = declared.name
        if name.startswith("amq."):
            raise ChannelError(ACCESS_REFUSED, f"queue name '{name}' contains reserved prefix 'amq.*'")
        if declared.exclusive:
            declared = replace(declared, durable=False)  # it ends with its connection anyway
        existing = self.queues.get(chosen or name)
        if existing is not None:
            self._check_owner(existing, declared, owner)
            self._check_same_queue(existing, self._with_type(declared))
            existing.touch()
            self.churn.queue_declared += 1
            return existing
        if 0 <= self.limits.get("max-queues", -1) <= len(self.queues):
            raise ChannelError(
                PRECONDITION_FAILED,
                f"cannot declare queue '{chosen or name}': queue limit in vhost '{self.name}' "
                f"({self.limits['max-queues']}) is reached",
            )
        declared = self._with_type(declared)
        arguments = read_arguments(replace(declared, name=chosen or name), self.name, self.profile)
        self.memory.check_room(2 * declared_size(declared.arguments))
        queue = queue_class(arguments.queue_type)(
            self,
            chosen or name,
            durable=declared.durable,
            auto_delete=declared.auto_delete,
            owner=owner if declared.exclusive else None,
            declared=declared.arguments,
            arguments=arguments,
        )
        self.add_queue(queue)
        self.churn.queue_declared += 1
        self.churn.queue_created += 1
        return queue

    def choose_name(self, declared: QueueDeclaration) -> str:
        """Choose the name of a queue whose declaration leaves it to the broker.

        Raises:
            ChannelError: 406 for a type whose queues need a name.
        """
        kind = self._with_type(declared).arguments.get("x-queue-type", CLASSIC)
        if self.profile.names_default_type and isinstance(kind, str) and kind not in QUEUE_TYPES:
            raise ChannelError(PRECONDITION_FAILED, f"unknown queue type '{kind}'")
        if kind in (QUORUM, STREAM):
            raise ChannelError(
                PRECONDITION_FAILED, f"Cannot declare a server-named queue for type rabbit_{kind}_queue"
            )
        return generated_name("amq.gen-")

    def _with_type(self, declared: QueueDeclaration) -> QueueDeclaration:
        """Add the type to a declaration that leaves it to the virtual host."""
        is_plain = declared.durable and not declared.exclusive and not declared.auto_delete
        kind = self.default_queue_type if is_plain else CLASSIC
        if "x-queue-type" in declared.arguments:
            is_default = declared.arguments["x-queue-type"] == ""
            if not (is_default and self.profile.names_default_type):
                return declared
        elif kind == CLASSIC and not self.profile.names_default_type:
            return declared
        return replace(declared, arguments={**declared.arguments, "x-queue-type": kind})

    def add_queue(self, queue: Queue) -> None:
        """Add a new queue and bind it to the default exchange."""
        if queue.keeps:
            self.journal.queue_added(queue)
        self.restore_queue(queue)

    def restore_queue(self, queue: Queue) -> None:
        """Add a queue that the storage has already."""
        self.memory.declare(declared_size(queue.declared))
        self.queues[queue.name] = queue
        if queue.owner is not None:
            self._exclusive.setdefault(queue.owner, {})[queue] = None
        self._bindings.restore(self.exchanges[DEFAULT_EXCHANGE], queue, queue.name, {})
        self._apply_to_queue(queue)
        queue.touch()

    def _check_owner(self, existing: Queue, declared: QueueDeclaration, owner: object) -> None:
        existing.check_access(owner)
        if declared.exclusive != (existing.owner is not None):
            raise locked(existing.name, self.name)

    def _check_same_queue(self, existing: Queue, declared: QueueDeclaration) -> None:
        what = f"queue '{existing.name}' in vhost '{self.name}'"
        pairs = (
            ("durable", existing.durable, declared.durable),
            ("auto_delete", existing.auto_delete, declared.auto_delete),
        )
        check_same(what, pairs)
        names = equivalent(existing.arguments.queue_type, self.profile)
        current, received = (
            comparable(arguments, self.profile) for arguments in (existing.declared, declared.arguments)
        )
        check_equivalent(names, what, current, received)

    def delete_queue(self, name: str, owner: object, *, if_unused: bool, if_empty: bool) -> int:
        """Delete a queue, if it exists; returns how many ready messages it had.

        Raises:
            ChannelError: 405 or 406.
            ConnectionError: 540 for a condition of a quorum queue.
        """
        queue = self.queues.get(name)
        if queue is None:
            return 0
        queue.check_access(owner)
        what = f"queue '{queue.name}' in vhost '{self.name}'"
        if isinstance(queue, StreamQueue):
            if_unused = if_empty = False  # RabbitMQ ignores them
        if queue.arguments.queue_type == QUORUM and (if_unused or if_empty):
            flag = "if-unused" if if_unused else "if-empty"
            raise ConnectionError(
                NOT_IMPLEMENTED,
                f"cannot delete {what}. queue.delete operations with {flag} flag set are not supported by "
                "quorum queues",
            )
        if if_unused and queue.consumers:
            raise ChannelError(PRECONDITION_FAILED, f"{what} in use")
        if if_empty and len(queue):
            raise ChannelError(PRECONDITION_FAILED, f"{what} not empty")
        count = 0 if isinstance(queue, StreamQueue) else len(queue)
        self.remove_queue(queue)
        return count

    def remove_queue(self, queue: Queue) -> None:
        """Remove a queue with its bindings and messages, and tell its consumers."""
        if queue.deleted:
            return
        queue.deleted = True
        del self.queues[queue.name]
        if queue.owner in self._exclusive:
            self._exclusive[queue.owner].pop(queue, None)
        self.past.add_deliveries(queue.counters)
        self.churn.queue_deleted += 1
        self.memory.remove(declared_size(queue.declared))
        # Messages that are out are forgotten when they come back.
        queue.purge()
        if queue.keeps:
            self.journal.queue_removed(queue)
        self._bindings.remove_all_to(queue)
        for consumer in queue.consumers:
            consumer.outlet.consumer_cancelled(consumer)

    def connection_ended(self, owner: object) -> None:
        """Delete the exclusive queues of a connection."""
        self.work_off(self._remove_exclusive(owner))

    def _remove_exclusive(self, owner: object) -> Iterator[None]:
        for queue in self._exclusive.pop(owner, ()):
            self.remove_queue(queue)
            yield

    def clear(self) -> None:
        """Remove everything, because the virtual host is deleted."""
        for queue in list(self.queues.values()):
            self.remove_queue(queue)
        for exchange in list(self.exchanges.values()):
            if exchange.name in self.exchanges:  # it may have gone with its last binding
                self._bindings.remove_exchange(exchange)

    # Policies

    def policies_changed(self) -> None:
        """Apply the policies anew to everything."""
        for exchange in self.exchanges.values():
            self._apply_to_exchange(exchange)
        for queue in list(self.queues.values()):
            self._apply_to_queue(queue)

    def _apply_to_exchange(self, exchange: Exchange) -> None:
        exchange.apply(self.policies.find(EXCHANGE, exchange.name)[0])

    def _apply_to_queue(self, queue: Queue) -> None:
        queue_type = queue.arguments.queue_type
        queue.policy, queue.operator_policy = self.policies.find(queue_type, queue.name)
        settings = combine(queue.policy, queue.operator_policy)
        arguments = override(queue.declared, settings, queue_type) if settings else queue.declared
        queue.reconfigure(interpret(arguments, queue_type, self.profile))

    # Bindings

    def bindings_to(self, destination: Destination) -> list[Binding]:
        """Return the bindings to a queue or exchange."""
        return self._bindings.to(destination)

    def restore_binding(
        self, source: Exchange, destination: Destination, routing_key: str, arguments: Mapping[str, Any]
    ) -> None:
        """Add a binding that the storage has already."""
        self._bindings.restore(source, destination, routing_key, arguments)

    def bind(
        self,
        source: str,
        destination: Destination,
        routing_key: str,
        arguments: Mapping[str, Any],
    ) -> None:
        """Bind a queue or exchange to an exchange.

        Raises:
            ChannelError: 403, 404 or 406.
        """
        self.refuse_default(source)
        self._bindings.add(self.exchange(source), destination, routing_key, arguments)

    def unbind(
        self,
        source: str,
        destination: Destination,
        routing_key: str,
        arguments: Mapping[str, Any],
        owner: object = None,
    ) -> None:
        """Undo a binding; do nothing if it does not exist.

        Raises:
            ChannelError: 403 or 405.
        """
        self.refuse_default(source)
        exchange = self.exchanges.get(source)
        if exchange is None or not exchange.is_bound(destination, routing_key, arguments):
            return
        if isinstance(destination, Queue):
            destination.check_access(owner)
        self._bindings.remove(exchange, destination, routing_key, arguments)

    # Messages

    def destinations(self, exchange: Exchange, message: BrokerMessage) -> tuple[str, ...]:
        """Return the names of the queues that a message would be routed into.

        Raises:
            ChannelError: 406 for a CC or BCC header that is not an array.
        """
        keys = routing_keys(message)
        if exchange.name == DEFAULT_EXCHANGE and not self.profile.finds_queues_at_once:
            return tuple(dict.fromkeys(keys))
        return tuple(queue.name for queue in find_queues(self.exchanges, exchange, message, keys))

    def enqueue(
        self, exchange: Exchange, message: BrokerMessage, names: tuple[str, ...] | None = None
    ) -> Enqueued:
        """Route a message into queues.

        Args:
            exchange: Where it was published.
            message: The message.
            names: What :meth:`destinations` has returned, if it was routed before.

        Raises:
            ChannelError: 406 for a CC or BCC header that is not an array.
        """
        if isinstance(exchange, DelayedExchange) and (delay := delay_of(message)):
            return self._delay(exchange, message, delay)
        keys = routing_keys(message)
        if message.mentions(b"BCC") and "BCC" in message.headers:
            message = without_bcc(message)
        queues: Collection[Queue]
        if names is None:
            queues = find_queues(self.exchanges, exchange, message, keys)
        else:
            queues = [self.queues[name] for name in names if name in self.queues]
        message.forget_headers()
        exchange.publish_in += 1
        exchange.publish_out += len(queues)
        exchange.unroutable += not queues
        refused = False
        for queue in queues:
            if not queue.enqueue(message):
                refused = True
        return Enqueued(bool(queues), refused, message.placements > 0)

    def _delay(self, exchange: Exchange, message: BrokerMessage, delay: int) -> Enqueued:
        routing_keys(message)  # a mistake in them is told now
        exchange.publish_in += 1
        waiting = self.delayed.get(exchange.name)
        if waiting is None:
            waiting = DelayedMessages(self, exchange.name, exchange.durable)
            if waiting.keeps:
                self.journal.queue_added(waiting)
            self.delayed[exchange.name] = waiting
        waiting.hold(message, delay)
        # Whether any queue gets it is not known yet.
        return Enqueued(False, False, message.placements > 0)

    def route_delayed(self, exchange: str, message: BrokerMessage) -> None:
        """Route a message that has waited; if the exchange is gone, so is the message."""
        found = self.exchanges.get(exchange)
        if found is None:
            return
        keys = routing_keys(message)
        if "BCC" in message.headers:
            message = without_bcc(message)
        queues = find_queues(self.exchanges, found, message, keys)
        found.unroutable += not queues
        for queue in queues:
            found.publish_out += 1
            queue.enqueue(message)
        message.forget_headers()

    def dead_letter(self, queue: Queue, entry: Entry, reason: str) -> None:
        """Publish a message that a queue refuses to its dead-letter exchange, if it has one that exists."""
        self._dead_letters.add(queue, entry, reason)


def queue_class(queue_type: str) -> type[Queue]:
    """Return the class for a type of queues."""
    return StreamQueue if queue_type == STREAM else Queue


def generated_name(prefix: str) -> str:
    """Make a name that cannot be guessed: the prefix and 22 URL-safe characters."""
    return prefix + base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
