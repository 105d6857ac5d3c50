"""A queue: messages that are ready, messages that are out, and consumers."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from ...protocol.errors import ACCESS_REFUSED, RESOURCE_LOCKED, ChannelError
from .consumer import BrokerConsumer, ConsumerSet
from .counters import Counters
from .equivalence import locked
from .journal import Journal
from .memory import MemoryUse
from .message import BrokerMessage, Entry, counted_properties, new_entry
from .profile import Profile
from .queue_arguments import CLASSIC, QUORUM, REJECT_PUBLISH_DLX, QueueArguments
from .queue_timer import QueueTimer
from .ready_list import PriorityReadyList, ReadyList, ReturnsFirstList

if TYPE_CHECKING:
    from .policies import Policy

REJECTED = "rejected"
EXPIRED = "expired"
MAXLEN = "maxlen"
DELIVERY_LIMIT = "delivery_limit"
#: How many messages a queue lets expire before others have their turn.
_PORTION: Final = 200


class Host(Protocol):
    """The part of a virtual host that a queue uses."""

    name: str
    journal: Journal
    memory: MemoryUse
    profile: Profile

    def clock(self) -> float:
        """Seconds of the clock that measures the age of messages and queues."""
        ...

    def schedule(self, queue: "Queue", when: float) -> None:
        """Call :meth:`Queue.on_time` at this time."""
        ...

    def work_off(self, steps: Iterator[None]) -> None:
        """Do work that may take long; the last steps may be done after this returns."""
        ...

    def dead_letter(self, queue: "Queue", entry: Entry, reason: str) -> None:
        """Publish a message again that this queue refuses, if the queue has a dead-letter exchange.

        Never raises. :meth:`Queue.forget` follows: in this call, or, if the call happens while another dead
        letter is being published, after that one.
        """
        ...

    def remove_queue(self, queue: "Queue") -> None:
        """Remove a queue: it has lost its last consumer, or expired."""
        ...


class Queue:
    """A queue of one virtual host.

    Attributes:
        name: Name.
        durable: Whether it survives a restart, with its persistent messages.
        auto_delete: Whether it is deleted with its last consumer.
        owner: For an exclusive queue, the only connection that may use it; otherwise ``None``.
        declared: Arguments as declared.
        arguments: Their meaning, together with that of the policies.
        policy: The policy that applies, or ``None``.
        operator_policy: The operator policy that applies, or ``None``.
        counters: What has happened to its messages.
        consumers: The consumers, which get the messages.
        unacked: How many messages are out, that is, delivered and not settled yet.
        unacked_bytes: Bytes of their bodies.
        stored_id: Identity in the storage; ``None`` if it is not stored.
        delivered_position: Highest position that was ever sent to a consumer.
    """

    kind: ClassVar[str] = "queue"
    #: Makes a consumer; a subclass may need another kind.
    make_consumer: ClassVar[type[BrokerConsumer]] = BrokerConsumer

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
        self.declared: dict[str, Any] = dict(declared or {})
        self.arguments: QueueArguments = arguments or QueueArguments()
        self.policy: Policy | None = None
        self.operator_policy: Policy | None = None
        self.counters: Counters = Counters()
        self.consumers: ConsumerSet = ConsumerSet(
            self.arguments.single_active,
            by_priority=self.arguments.queue_type == QUORUM and host.profile.active_by_priority,
        )
        self.unacked: int = 0
        self.deleted = False
        self._holds = 0
        # The last message that has arrived meanwhile.
        self._fresh: Entry | None = None
        self.stored_id: int | None = None
        self.delivered_position: int = 0
        self._host = host
        self._ready = self._new_ready_list()
        self._ready_bytes = 0
        self.unacked_bytes: int = 0
        self._position = 0
        self._timer = QueueTimer(self.arguments.expires, host.clock, lambda when: host.schedule(self, when))

    def __len__(self) -> int:
        return len(self._ready)

    def _new_ready_list(self) -> ReadyList | PriorityReadyList | ReturnsFirstList:
        if self.arguments.queue_type == QUORUM:
            return ReturnsFirstList()
        return PriorityReadyList() if self.arguments.max_priority else ReadyList()

    @property
    def ready_bytes(self) -> int:
        """Bytes of the bodies of the messages that wait."""
        return self._ready_bytes

    def reconfigure(self, arguments: QueueArguments) -> None:
        """Change the meaning of the arguments, because policies have changed.

        Messages that are in the queue keep their time to live.
        """
        if arguments == self.arguments:
            return
        # A classic queue that begins to refuse is trimmed first.
        is_trimmed = not (arguments.refuses and (self.arguments.refuses or arguments.queue_type == QUORUM))
        self.arguments = arguments
        self._timer.change_expiry(arguments.expires)
        if is_trimmed:
            self._host.work_off(self._trim())

    @property
    def keeps(self) -> bool:
        """Whether the queue stores persistent messages."""
        return self.durable and self.owner is None

    @property
    def counts_deliveries(self) -> bool:
        """Whether deliveries say how often the message was delivered before."""
        return self.arguments.queue_type == QUORUM

    def check_access(self, owner: object) -> None:
        """Refuse a connection that does not own this exclusive queue.

        Raises:
            ChannelError: 405.
        """
        if self.owner is not None and self.owner is not owner:
            raise locked(self.name, self._host.name)

    # Messages in

    def enqueue(self, message: BrokerMessage) -> bool:
        """Add a message; returns False when the queue is full and refuses it."""
        entry = self._make_entry(message)
        arguments = self.arguments
        if arguments.refuses and arguments.is_full(len(self._ready), self._ready_bytes, message.size):
            if arguments.overflow == REJECT_PUBLISH_DLX:
                self._host.memory.hold(message)
                self._host.dead_letter(self, entry, MAXLEN)
            return False
        if self.keeps and message.persistent:
            entry.stored = True
            self._host.journal.message_added(self, entry)
        self._host.memory.hold(message)
        self._ready.append(entry)
        self._ready_bytes += message.size
        self.counters.publish += 1
        self.deliver(entry)
        if len(self._ready):  # the consumers did not take it
            self._host.memory.make_room(message)
        return True

    def resume(self, delivered_position: int) -> None:
        """Continue after the position that was reached before the broker's restart."""
        self.delivered_position = self._position = delivered_position

    def restore(self, entry: Entry) -> bool:
        """Put back a stored message when the broker starts, in order of position.

        Returns:
            False when it was delivered too often; then call :meth:`give_up` once all messages are back.
        """
        if entry.expires_at is not None:
            expiry = self.arguments.expiry_of(entry.message.scan, self._host.clock())
            if expiry is not None:
                # The wall clock may have been ahead when the message arrived.
                entry.expires_at = min(entry.expires_at, expiry)
        self._position = max(self._position, entry.position)
        self._host.memory.hold(entry.message)
        # A limit that allows no delivery at all is looked at when one has failed.
        if entry.returns and self.arguments.is_exhausted(entry.returns):
            return False
        self._ready.append(entry)
        self._ready_bytes += entry.message.size
        if entry.expires_at is not None:
            self._timer.ask_for(self._ready.peek())
        self._host.memory.make_room(entry.message)
        return True

    def give_up(self, entry: Entry) -> None:
        """Refuse a message that was delivered too often."""
        self._host.dead_letter(self, entry, DELIVERY_LIMIT)

    def _make_entry(self, message: BrokerMessage) -> Entry:
        self._position += 1
        expires_at = self.arguments.expiry_of(message.scan, self._host.clock())
        return new_entry(message, self._position, self.arguments.priority_of(message.scan), expires_at)

    def _drop_head(self) -> None:
        arguments = self.arguments
        # A queue that refuses messages never drops what it has accepted.
        if not arguments.refuses and arguments.is_exceeded(len(self._ready), self._ready_bytes):
            self._host.work_off(self._trim())

    def _trim(self) -> Iterator[None]:
        while self.arguments.is_exceeded(len(self._ready), self._ready_bytes):
            self._host.dead_letter(self, self._take_ready(), MAXLEN)
            yield
        self._timer.ask_for(self._ready.peek())

    # Messages out

    def deliver(self, fresh: Entry | None = None) -> None:
        """Send the messages that can be sent, then drop those above the limits.

        Args:
            fresh: A message that has just arrived; with a time to live of 0 it may be sent only now.
        """
        if self._holds:
            self._fresh = fresh or self._fresh
            return  # the last call of go_on() does it
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
            if entry is fresh and self.arguments.queue_type == CLASSIC:
                entry.redelivered = False  # RabbitMQ does not look at a dead letter that it need not store
            self._note_delivery(entry)
            if consumer.no_ack:
                self.counters.deliver_no_ack += 1
                self.forget(entry)
            else:
                self.counters.deliver += 1
                self.unacked += 1
                self.unacked_bytes += entry.message.size
                consumer.unacked += 1
            outlet.deliver(consumer, entry, properties)
        self._drop_head()
        self._timer.ask_for(self._ready.peek())

    def hold_back(self) -> None:
        """Deliver nothing until :meth:`go_on`: messages are coming back, and keep their order."""
        self._holds += 1

    def go_on(self) -> None:
        """End :meth:`hold_back`, and deliver."""
        self._holds -= 1
        if self.deleted or self._holds:
            return
        fresh, self._fresh = self._fresh, None
        if self.arguments.queue_type == CLASSIC:
            self._drop_head()  # what was given back to a full queue is dropped, not delivered again
        self.deliver(fresh)

    def properties(self, entry: Entry, room: int, *, got: bool = False) -> bytes:
        """Return the properties to send with a message; a quorum queue counts deliveries in them.

        Args:
            entry: The message.
            room: Most bytes of properties that can be sent; a count that does not fit is left out.
            got: Whether the message answers ``basic.get``: older releases count in each such answer.
        """
        if not self.counts_deliveries:
            return entry.message.properties
        with_acquisitions = self._host.profile.counts_acquisitions
        if not (entry.returns or (entry.acquisitions if with_acquisitions else got)):
            return entry.message.properties
        return counted_properties(entry, with_acquisitions, room)

    def check_get(self) -> None:
        """Check that single messages may be taken out.

        Raises:
            ChannelError: 405 if it is a quorum queue with a single active consumer.
        """
        if self.arguments.queue_type == QUORUM and self.arguments.single_active:
            raise ChannelError(
                RESOURCE_LOCKED,
                f"cannot obtain access to locked queue '{self.name}' in vhost '{self._host.name}'. "
                "basic.get operations are not supported by quorum queues with single active consumer",
            )

    def get(self, no_ack: bool, check: Callable[[Entry], None] | None = None) -> Entry | None:
        """Take the head for ``basic.get``.

        Args:
            no_ack: Whether the message counts as settled at once.
            check: Called with the head before it is taken; if it raises, the head stays.
        """
        self.touch()
        head = self._head()
        if head is None:
            self.counters.get_empty += 1
            return None
        if check is not None:
            check(head)
        entry = self._take_ready()
        if self.arguments.queue_type == CLASSIC:
            self._head()  # a classic queue drops expired messages before it tells how many it has
        self._note_delivery(entry)
        if no_ack:
            self.counters.get_no_ack += 1
            self.forget(entry)
        else:
            self.counters.get += 1
            self.unacked += 1
            self.unacked_bytes += entry.message.size
        self._timer.ask_for(self._ready.peek())
        return entry

    def _note_delivery(self, entry: Entry) -> None:
        if entry.redelivered:
            self.counters.redeliver += 1
        if entry.stored and (self.counts_deliveries or entry.position > self.delivered_position):
            self.delivered_position = max(self.delivered_position, entry.position)
            self._host.journal.delivered(self, entry)

    def _head(self, fresh: Entry | None = None) -> Entry | None:
        """Return the head, after removing expired messages before it."""
        for left in range(_PORTION, -1, -1):
            entry = self._ready.peek()
            if entry is None:
                return None
            if entry is fresh or entry.expires_at is None or entry.expires_at > self._host.clock():
                return entry
            if left:
                self._host.dead_letter(self, self._take_ready(), EXPIRED)
        return None  # the timer goes on with the others, after somebody else's turn

    def _take_ready(self) -> Entry:
        entry = self._ready.pop()
        self._ready_bytes -= entry.message.size
        return entry

    def forget(self, entry: Entry) -> None:
        """Note that a message has left the queue for good."""
        self._host.memory.release(entry.message)
        if entry.stored:
            entry.stored = False
            self._host.journal.message_removed(self, entry)

    # Messages that were out

    def settle(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Forget a message that was acknowledged."""
        self._returned(entry, consumer)
        self.counters.ack += 1
        self.forget(entry)

    def refuse(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Dead-letter a message that was rejected without requeue."""
        self._returned(entry, consumer)
        if self.deleted:
            self.forget(entry)
        else:
            self._host.dead_letter(self, entry, REJECTED)

    def release(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Put a message back that its consumer handed back in good order; see :meth:`requeue`."""
        has_failed = self._host.profile.nack_counts
        self._take_back(entry, consumer, has_failed=has_failed, handed_back=True)

    def discard(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Give up a message that its consumer returned with ``basic.nack``; see :meth:`refuse`."""
        if not self._host.profile.nack_counts:
            entry.returns -= 1  # refuse() counts a failure
        self.refuse(entry, consumer)

    def reject(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Put a message back that its consumer rejected; see :meth:`requeue`."""
        self._take_back(entry, consumer, has_failed=True, handed_back=True)

    def requeue(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Put a message back whose consumer is lost; call :meth:`deliver` after the last one.

        In a classic queue it gets its old position. In a quorum queue it comes before all that were not
        delivered, but older releases put what a consumer itself hands back behind all others.
        """
        self._take_back(entry, consumer, has_failed=True, handed_back=False)

    def _take_back(
        self, entry: Entry, consumer: BrokerConsumer | None, *, has_failed: bool, handed_back: bool
    ) -> None:
        self._returned(entry, consumer)
        if self.deleted:
            self.forget(entry)
            return
        entry.redelivered = True
        entry.returns += has_failed
        entry.acquisitions += 1
        if entry.stored and self.counts_deliveries and not has_failed:
            self._host.journal.returned(self, entry)
        if self.arguments.is_exhausted(entry.returns):
            self.give_up(entry)
            return
        at_end = handed_back and self._host.profile.quorum_requeues_at_end
        if at_end and self.arguments.queue_type == QUORUM:
            self._ready.append(entry)
        else:
            self._ready.give_back(entry)
        self._ready_bytes += entry.message.size

    def _returned(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        self.unacked -= 1
        self.unacked_bytes -= entry.message.size
        if consumer is not None:
            consumer.unacked -= 1
            self.consumers.recall(consumer)

    def peek(self) -> Entry | None:
        """Return the first message that waits, without taking it out."""
        return self._ready.peek()

    def check_purge(self) -> None:
        """Check that clients may have the messages dropped.

        Raises:
            ConnectionError: 540 for a stream.
        """

    def purge(self) -> int:
        """Drop all messages that wait; returns how many there were.

        The last of them may leave the memory and the storage after this returns.
        """
        count = len(self)
        self._host.work_off(self.drop_ready())
        return count

    def drop_ready(self) -> Iterator[None]:
        """Drop all messages that wait, step by step; none of them is delivered any more."""
        dropped, self._ready = self._ready, self._new_ready_list()
        self._ready_bytes = 0
        while dropped:
            self.forget(dropped.pop())
            yield

    # Consumers

    def add_consumer(self, consumer: BrokerConsumer) -> None:
        """Add a consumer; call :meth:`deliver` after telling the client.

        Raises:
            ChannelError: 403 because of an exclusive consumer.
        """
        is_taken = bool(self.consumers) and (consumer.exclusive or self.consumers.has_exclusive)
        is_taken = is_taken or (consumer.exclusive and self.arguments.single_active)
        # Quorum queues know no exclusive consumers.
        if is_taken and self.arguments.queue_type != QUORUM:
            raise ChannelError(
                ACCESS_REFUSED, f"queue '{self.name}' in vhost '{self._host.name}' in exclusive use"
            )
        self.consumers.add(consumer)

    def remove_consumer(self, consumer: BrokerConsumer) -> None:
        """Remove a consumer."""
        self.consumers.remove(consumer)
        self.consumer_left()

    def consumer_left(self) -> None:
        """React when a consumer has gone; an auto-delete queue is removed with its last one."""
        self.touch()
        if self.auto_delete and not self.consumers:
            self._host.remove_queue(self)
        else:
            self.deliver()

    # Time

    def touch(self) -> None:
        """Begin ``x-expires`` anew, because the queue was used."""
        self._timer.touch()

    def on_time(self, when: float) -> None:
        """Do the work that is due at a time; that may be long ago, and later work has its own call."""
        self._timer.came()
        if self.deleted:
            return
        for _ in range(_PORTION):
            head = self._ready.peek()
            if head is None or not _is_due(head, when):
                break
            self._host.dead_letter(self, self._take_ready(), EXPIRED)
        if not self.consumers and self._timer.is_unused(when):
            self._host.remove_queue(self)
            return
        if self.consumers:
            # Those behind the expired messages may be wanted.
            self.deliver()
        else:
            self._timer.ask_for(self._ready.peek())
            self._timer.ask_for_expiry()


def _is_due(entry: Entry, when: float) -> bool:
    return entry.expires_at is not None and entry.expires_at <= when
