"""A queue: messages that are ready, messages that are out, and consumers."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from ...protocol.errors import ACCESS_REFUSED, ChannelError
from .consumer import BrokerConsumer, ConsumerSet
from .equivalence import locked
from .journal import Journal
from .memory import MemoryUse
from .message import BrokerMessage, Entry, counted_properties
from .queue_arguments import REJECT_PUBLISH_DLX, QueueArguments
from .queue_timer import QueueTimer
from .ready_list import PriorityReadyList, ReadyList

REJECTED = "rejected"
EXPIRED = "expired"
MAXLEN = "maxlen"
DELIVERY_LIMIT = "delivery_limit"


class Host(Protocol):
    """What a queue needs from its virtual host."""

    name: str
    journal: Journal
    memory: MemoryUse

    def clock(self) -> float:
        """Seconds of the clock by which messages and queues grow old."""
        ...

    def schedule(self, queue: "Queue", when: float) -> None:
        """Call :meth:`Queue.on_time` at this time."""
        ...

    def dead_letter(self, queue: "Queue", entry: Entry, reason: str) -> None:
        """Publish a message again that this queue refuses, if the queue has a dead-letter exchange.

        Never raises. :meth:`Queue.forget` follows: here, or when the dead letter is published that this one
        comes from.
        """
        ...

    def remove_queue(self, queue: "Queue") -> None:
        """The queue has no reason to exist any longer."""
        ...


class Queue:
    """A queue of one virtual host.

    Attributes:
        name: Name.
        durable: Survives a restart, with its persistent messages.
        auto_delete: Goes with its last consumer.
        owner: The connection that alone may use it (an exclusive queue), or ``None``.
        declared: Arguments as declared.
        arguments: Their meaning.
        consumers: Who gets the messages.
        unacked: How many messages are out.
        stored_id: Identity in the storage, ``None`` without.
        delivered_position: Highest position that was ever sent to a consumer.
    """

    kind: ClassVar = "queue"

    def __init__(
        self,
        host: Host,
        name: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        owner: object | None = None,
        declared: Mapping[str, Any] | None = None,
        arguments: QueueArguments | None = None,
    ) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.declared = dict(declared or {})
        self.arguments = arguments or QueueArguments()
        self.consumers = ConsumerSet(self.arguments.single_active)
        self.unacked = 0
        self.deleted = False
        self.stored_id: int | None = None
        self.delivered_position = 0
        self._host = host
        top = self.arguments.max_priority
        self._ready: ReadyList | PriorityReadyList = PriorityReadyList(top) if top else ReadyList()
        self._ready_bytes = 0
        self._position = 0
        self._timer = QueueTimer(self.arguments.expires, host.clock, lambda when: host.schedule(self, when))

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def keeps(self) -> bool:
        """Whether persistent messages are stored."""
        return self.durable and self.owner is None

    @property
    def counts_deliveries(self) -> bool:
        """Whether consumers are told how often a message was delivered before."""
        return self.arguments.queue_type == "quorum"

    def check_access(self, owner: object) -> None:
        """Refuse other connections than the owner of an exclusive queue.

        Raises:
            ChannelError: 405.
        """
        if self.owner is not None and self.owner is not owner:
            raise locked(self.name, self._host.name)

    # Messages in

    def publish(self, message: BrokerMessage) -> bool:
        """Take a message; returns False when the queue is full and refuses it."""
        entry = self._make_entry(message)
        arguments = self.arguments
        if arguments.refuses and arguments.is_full(len(self._ready), self._ready_bytes, len(message.body)):
            if arguments.overflow == REJECT_PUBLISH_DLX:
                self._host.memory.hold(message)
                self._host.dead_letter(self, entry, MAXLEN)
            return False
        if self.keeps and message.persistent:
            entry.stored = True
            self._host.journal.message_added(self, entry)
        self._host.memory.hold(message)
        self._ready.append(entry)
        self._ready_bytes += len(message.body)
        self.deliver(entry)
        return True

    def resume(self, delivered_position: int) -> None:
        """Go on after the position that was reached before the broker's restart."""
        self.delivered_position = self._position = delivered_position

    def restore(self, entry: Entry) -> bool:
        """Put back a stored message when the broker starts, in order of position.

        Returns:
            False when it was delivered too often: :meth:`give_up` it once all messages are back.
        """
        expiry = self.arguments.expiry_of(entry.message.scan, self._host.clock())
        if expiry is not None and entry.expires_at is not None:
            # The wall clock may have been ahead when the message came.
            entry.expires_at = min(entry.expires_at, expiry)
        self._position = max(self._position, entry.position)
        self._host.memory.hold(entry.message)
        if self.arguments.is_exhausted(entry.returns):
            return False
        self._ready.append(entry)
        self._ready_bytes += len(entry.message.body)
        self._timer.ask_for(self._ready.peek())
        return True

    def give_up(self, entry: Entry) -> None:
        """Refuse a message that was delivered too often."""
        self._host.dead_letter(self, entry, DELIVERY_LIMIT)

    def _make_entry(self, message: BrokerMessage) -> Entry:
        self._position += 1
        expires_at = self.arguments.expiry_of(message.scan, self._host.clock())
        return Entry(message, self._position, self.arguments.priority_of(message.scan), expires_at)

    def _drop_head(self) -> None:
        while self.arguments.is_exceeded(len(self._ready), self._ready_bytes):
            self._host.dead_letter(self, self._take_ready(), MAXLEN)

    # Messages out

    def deliver(self, fresh: Entry | None = None) -> None:
        """Send what can be sent, then drop what is too much.

        Args:
            fresh: Has just come: with a time to live of 0 it may be sent now, and only now.
        """
        while (entry := self._head(fresh)) is not None:
            consumer = self.consumers.next()
            if consumer is None:
                break
            outlet = consumer.outlet
            properties = self.properties(entry, outlet.room)
            if len(properties) > outlet.room:
                outlet.refuse(self.name, len(properties))
                continue
            self._take_ready()
            self._note_delivery(entry)
            if consumer.no_ack:
                self.forget(entry)
            else:
                self.unacked += 1
                consumer.unacked += 1
            outlet.deliver(consumer, entry, properties)
        self._drop_head()
        self._timer.ask_for(self._ready.peek())

    def properties(self, entry: Entry, room: int) -> bytes:
        """Return the properties to send with a message; a quorum queue counts deliveries in them.

        Args:
            entry: The message.
            room: Most bytes that can be sent: a count that does not fit beside the others is left out.
        """
        counts = entry.returns > 0 and self.counts_deliveries
        return counted_properties(entry, room) if counts else entry.message.properties

    def get(self, no_ack: bool, check: Callable[[Entry], None] | None = None) -> Entry | None:
        """Take the head for ``basic.get``.

        Args:
            no_ack: It counts as settled.
            check: Is called with the head before it is taken; if it raises, the head stays.
        """
        self.touch()
        head = self._head()
        if head is None:
            return None
        if check is not None:
            check(head)
        entry = self._take_ready()
        self._note_delivery(entry)
        if no_ack:
            self.forget(entry)
        else:
            self.unacked += 1
        self._timer.ask_for(self._ready.peek())
        return entry

    def _note_delivery(self, entry: Entry) -> None:
        if entry.stored and (self.counts_deliveries or entry.position > self.delivered_position):
            self.delivered_position = max(self.delivered_position, entry.position)
            self._host.journal.delivered(self, entry)

    def _head(self, fresh: Entry | None = None) -> Entry | None:
        """Return the head, after expiring what is due before it."""
        while (entry := self._ready.peek()) is not None:
            if entry is fresh or entry.expires_at is None or entry.expires_at > self._host.clock():
                return entry
            self._host.dead_letter(self, self._take_ready(), EXPIRED)
        return None

    def _take_ready(self) -> Entry:
        entry = self._ready.pop()
        self._ready_bytes -= len(entry.message.body)
        return entry

    def forget(self, entry: Entry) -> None:
        """A message has left the queue for good."""
        self._host.memory.release(entry.message)
        if entry.stored:
            entry.stored = False
            self._host.journal.message_removed(self, entry)

    # Messages that were out

    def settle(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """A message was acknowledged."""
        self._returned(consumer)
        self.forget(entry)

    def refuse(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """A message was rejected without requeue."""
        self._returned(consumer)
        if self.deleted:
            self.forget(entry)
        else:
            self._host.dead_letter(self, entry, REJECTED)

    def requeue(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """A message comes back, to its old position; call :meth:`deliver` after the last one."""
        self._returned(consumer)
        if self.deleted:
            self.forget(entry)
            return
        entry.redelivered = True
        entry.returns += 1
        if self.arguments.is_exhausted(entry.returns):
            self.give_up(entry)
            return
        self._ready.give_back(entry)
        self._ready_bytes += len(entry.message.body)

    def _returned(self, consumer: BrokerConsumer | None) -> None:
        self.unacked -= 1
        if consumer is not None:
            consumer.unacked -= 1

    def purge(self) -> int:
        """Throw away what is ready; returns how many."""
        count = len(self._ready)
        for _ in range(count):
            self.forget(self._take_ready())
        return count

    # Consumers

    def add_consumer(self, consumer: BrokerConsumer) -> None:
        """Add a consumer; call :meth:`deliver` when it has been told.

        Raises:
            ChannelError: 403 because of an exclusive consumer.
        """
        others = list(self.consumers)
        is_taken = bool(others) and (consumer.exclusive or others[0].exclusive)
        if is_taken or (consumer.exclusive and self.arguments.single_active):
            raise ChannelError(
                ACCESS_REFUSED, f"queue '{self.name}' in vhost '{self._host.name}' in exclusive use"
            )
        self.consumers.add(consumer)

    def remove_consumer(self, consumer: BrokerConsumer) -> None:
        """Remove a consumer."""
        self.consumers.remove(consumer)
        self.consumer_left()

    def consumer_left(self) -> None:
        """A consumer is gone; an auto-delete queue goes with its last one."""
        self.touch()
        if self.auto_delete and not self.consumers:
            self._host.remove_queue(self)
        else:
            self.deliver()

    # Time

    def touch(self) -> None:
        """The queue was used: its ``x-expires`` begins anew."""
        self._timer.touch()

    def on_time(self, when: float) -> None:
        """A time that was asked for has come; it may be long ago, and what was due later has its own turn."""
        self._timer.came()
        if self.deleted:
            return
        while (head := self._ready.peek()) is not None and _is_due(head, when):
            self._host.dead_letter(self, self._take_ready(), EXPIRED)
        if not self.consumers and self._timer.is_unused(when):
            self._host.remove_queue(self)
            return
        self._timer.ask_for(self._ready.peek())
        if not self.consumers:
            self._timer.ask_for_expiry()


def _is_due(entry: Entry, when: float) -> bool:
    return entry.expires_at is not None and entry.expires_at <= when
