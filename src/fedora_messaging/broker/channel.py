"""A channel of the broker: AMQP's class basic, and deliveries to the channel's consumers."""

import struct
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from ..protocol.errors import (
    CONTENT_TOO_LARGE,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    ChannelError,
    ConnectionError,
)
from ..wire import methods as m
from ..wire.fields import encode_shortstr
from ..wire.frames import room_for_properties
from ..wire.methods import Method
from .accounts import READ
from .answers import Answers
from .core.consumer import BrokerConsumer
from .core.counters import Counters
from .core.memory import declared_size
from .core.message import BrokerMessage, Entry
from .core.queue import Queue
from .core.queue_arguments import QUORUM, STREAM, check_consumer
from .core.vhost import VirtualHost, generated_name
from .publishing import Publishing
from .reply_to import REPLY_TO, ReplyConsumer
from .transaction import Outcome, Transaction
from .unacked import Unacked, UnackedDeliveries

if TYPE_CHECKING:
    from .session import Session

_DELIVER: Final = struct.pack(">HH", *m.BasicDeliver.key)
_TAG_AND_FLAG = struct.Struct(">QB")


class BrokerChannel:
    """One channel of one session; also the outlet of its consumers.

    Attributes:
        session: The connection.
        number: Channel number.
        last_queue: Name of the queue declared last; an empty name in a method stands for it.
        consumers: Consumers by tag.
        room: Most bytes of properties that fit into a frame of the connection.
        prefetch: Most messages out at each new consumer; 0 for any number.
        channel_prefetch: Most messages out at all consumers together; 0 for any number.
        counters: What happened to messages on it.
        publishing: Carries out ``basic.publish``.
        transaction: Methods held back until ``tx.commit``, on a transactional channel.
        unacked: Deliveries that are out, that is, not settled yet.
        closed: Whether the channel has ended.
    """

    def __init__(self, session: "Session", number: int) -> None:
        self.session = session
        self.number = number
        self.vhost: VirtualHost = session.vhost
        self.room: int = room_for_properties(session.machine.frame_max)
        self.last_queue: str | None = None
        self.consumers: dict[str, BrokerConsumer] = {}
        # Tags of consumers that are gone, of which the client will be told.
        self._cancelled: list[str] = []
        self.reply_consumer: ReplyConsumer | None = None
        self.transaction: Transaction | None = None
        self.counters: Counters = Counters()
        self.publishing: Publishing = Publishing(self)
        self._encoded_tags: dict[str, bytes] = {}
        self.prefetch: int = 0
        self.channel_prefetch: int = 0
        self._delivery_tag = 0
        self._delivered_last: Queue | None = None
        self.unacked: UnackedDeliveries = UnackedDeliveries()
        self._answers = Answers(self._send, session.vhost.journal, session.resume_delivery)
        self.closed: bool = False
        self._refused = False

    # Answers

    def reply(self, method: Method) -> None:
        """Send an answer, after those that wait for the disk."""
        self._answers.add(method)

    def reply_when_durable(self, method: Method | None) -> None:
        """Send an answer once everything so far is safe on disk; the channel sends nothing before that."""
        self._answers.add_when_durable(method)

    def _send(self, answer: Method) -> None:
        if self.closed:
            return
        self.session.machine.send_method(self.number, answer)
        self.session.flush_soon()

    def send_content(self, method: bytes, properties: bytes, body: bytes) -> None:
        """Send a message; it is written at the end of this turn of the loop."""
        if self.closed:
            return
        self.session.machine.send_content(self.number, method, properties, body)
        self.session.flush_soon()

    # Consuming

    def set_prefetch(self, method: m.BasicQos) -> None:
        """Carry out ``basic.qos``."""
        if method.prefetch_size:
            raise ConnectionError(NOT_IMPLEMENTED, f"prefetch_size!=0 ({method.prefetch_size})")
        before = self.channel_prefetch
        if method.global_ and self.vhost.profile.has_channel_prefetch:
            self.channel_prefetch = method.prefetch_count
        else:
            self.prefetch = method.prefetch_count
            self.channel_prefetch = 0  # in RabbitMQ, the later call counts
        self.reply(m.BasicQosOk())
        if self.channel_prefetch != before:
            for queue in self.recall_consumers():
                queue.deliver()

    def resolve(self, name: str) -> str:
        """Return a queue's name; for ``""`` that of the queue declared last.

        Raises:
            ChannelError: 404 when no queue was declared.
        """
        if name:
            return name
        if self.last_queue is None:
            raise ChannelError(NOT_FOUND, "no previously declared queue")
        return self.last_queue

    def usable_queue(self, name: str) -> Queue:
        """Return a queue that this connection may use and read.

        Raises:
            ChannelError: 403, 404 or 405.
        """
        name = self.resolve(name)
        self.session.permissions.require(READ, "queue", name)
        queue = self.vhost.queue(name)
        queue.check_access(self.session)
        return queue

    def consume(self, method: m.BasicConsume) -> None:
        """Carry out ``basic.consume``.

        Raises:
            ChannelError: 403, 404, 405 or 406.
            ConnectionError: 530 for a tag in use; 540 for a quorum queue, if the channel has a limit.
        """
        self._tell_cancelled()
        name = self.resolve(method.queue)
        tag = method.consumer_tag or generated_name("amq.ctag-")
        if tag in self.consumers:
            raise ConnectionError(NOT_ALLOWED, f"attempt to reuse consumer tag '{tag}'")
        if name == REPLY_TO:
            self.reply_consumer = self.session.replies.subscribe(self, tag, method)
            self._answer_consume(method, tag)
            return
        queue = self.usable_queue(name)
        kind = queue.arguments.queue_type
        # A stream looks at the consumer's own limit first.
        if self.channel_prefetch and (kind == QUORUM or (kind == STREAM and self.prefetch)):
            what = f"queue '{queue.name}' in vhost '{self.vhost.name}'"
            raise ConnectionError(NOT_IMPLEMENTED, f"{what} does not support global qos")
        priority = check_consumer(
            queue.arguments.queue_type,
            f"queue '{queue.name}' in vhost '{self.vhost.name}'",
            method.arguments,
            self.vhost.profile,
        )
        self.vhost.memory.check_room(declared_size(method.arguments))
        consumer = queue.make_consumer(
            tag,
            queue,
            self,
            no_ack=method.no_ack,
            exclusive=method.exclusive,
            prefetch=self.prefetch,
            priority=priority,
            arguments=method.arguments,
        )
        queue.add_consumer(consumer)
        self.vhost.memory.declare(declared_size(consumer.arguments))
        self.consumers[tag] = consumer
        self._encoded_tags[tag] = _DELIVER + encode_shortstr(tag)
        self._answer_consume(method, tag)
        queue.deliver()

    def _answer_consume(self, method: m.BasicConsume, tag: str) -> None:
        if not method.no_wait:
            self.reply(m.BasicConsumeOk(tag))

    def cancel(self, method: m.BasicCancel) -> None:
        """Carry out ``basic.cancel``; deliveries that are out stay out."""
        self._tell_cancelled()
        consumer = self.consumers.get(method.consumer_tag)
        if consumer is not None:
            self._forget(consumer)
            consumer.queue.remove_consumer(consumer)
        elif self.reply_consumer is not None and self.reply_consumer.tag == method.consumer_tag:
            self.session.replies.unsubscribe(self)
        if not method.no_wait:
            self.reply(m.BasicCancelOk(method.consumer_tag))

    def get(self, method: m.BasicGet) -> None:
        """Carry out ``basic.get``."""
        queue = self.usable_queue(method.queue)
        queue.check_get()

        def check(head: Entry) -> None:
            self.check_room(_first_of(queue.name), queue.properties(head, self.room, got=True))

        entry = queue.get(method.no_ack, check)
        if entry is None:
            self.counters.get_empty += 1
            self.reply(m.BasicGetEmpty())
            return
        self._delivery_tag += 1
        if not method.no_ack:
            self.unacked.add(self._delivery_tag, entry, queue, None)
        if method.no_ack:
            self.counters.get_no_ack += 1
        else:
            self.counters.get += 1
        if entry.redelivered:
            self.counters.redeliver += 1
        message = entry.message
        answer = m.BasicGetOk(
            self._delivery_tag, entry.redelivered, message.exchange, message.routing_key, len(queue)
        )
        properties = queue.properties(entry, self.room, got=True)
        self._answers.add_content(partial(self.send_content, answer.encode(), properties, message.body))

    # The outlet of the consumers

    def can_take(self) -> bool:
        """Whether anything may be delivered now."""
        if self._answers.waiting or self._refused or not self.session.can_send():
            return False
        return not self.channel_prefetch or self.unacked.at_consumers < self.channel_prefetch

    def check_room(self, what: str, properties: bytes) -> None:
        """Check that the properties of a message fit into a frame of the connection.

        Raises:
            ChannelError: 311.
        """
        if len(properties) > self.room:
            raise self._too_large(what, len(properties))

    def _too_large(self, what: str, size: int) -> ChannelError:
        return ChannelError(
            CONTENT_TOO_LARGE,
            f"frame_max {self.session.machine.frame_max} of this connection is too small for the "
            f"{size} bytes of properties of {what}",
        )

    def refuse(self, name: str, size: int) -> None:
        """Close the channel, because a message of a queue does not fit into a frame of the connection."""
        self._refused = True
        self.session.fail_soon(self, self._too_large(_first_of(name), size), m.BasicDeliver)

    def deliver(self, consumer: BrokerConsumer, entry: Entry, properties: bytes) -> None:
        """Send ``basic.deliver``."""
        self._delivery_tag += 1
        self._delivered_last = consumer.queue
        tag = self._delivery_tag
        if consumer.no_ack:
            self.counters.deliver_no_ack += 1
        else:
            self.counters.deliver += 1
            self.unacked.add(tag, entry, consumer.queue, consumer)
        if entry.redelivered:
            self.counters.redeliver += 1
        message = entry.message
        self.send_content(
            self._encoded_tags[consumer.tag] + _TAG_AND_FLAG.pack(tag, entry.redelivered) + message.address,
            properties,
            message.body,
        )

    def deliver_reply(self, tag: str, message: BrokerMessage) -> None:
        """Send a direct reply, which is never acknowledged."""
        if not self.session.can_reply():
            return
        if len(message.properties) > self.room:
            self.refuse(REPLY_TO, len(message.properties))
            return
        self._delivery_tag += 1
        method = m.BasicDeliver(tag, self._delivery_tag, False, message.exchange, message.routing_key)
        self._answers.add_content(
            partial(self.send_content, method.encode(), message.properties, message.body)
        )

    def consumer_cancelled(self, consumer: BrokerConsumer) -> None:
        """Tell the client that the queue of a consumer is gone."""
        self._forget(consumer)
        if self.session.client_wants_cancel:
            # If a method on this connection removed the queue, the answer to that comes first.
            if not self._cancelled:
                self.session.call_soon(self._tell_cancelled)
            self._cancelled.append(consumer.tag)

    def _tell_cancelled(self) -> None:
        """Tell the client which consumers are gone, before their tags can mean anything else."""
        tags, self._cancelled = self._cancelled, []
        for tag in tags:
            self.reply(m.BasicCancel(tag, no_wait=True))

    def _forget(self, consumer: BrokerConsumer) -> None:
        if self.consumers.pop(consumer.tag, None) is not None:
            del self._encoded_tags[consumer.tag]
            self.vhost.memory.remove(declared_size(consumer.arguments))

    # Acknowledgements

    def ack(self, method: m.BasicAck) -> Iterator[None]:
        """Carry out ``basic.ack``."""
        return self._answered(method.delivery_tag, method.multiple, Queue.settle)

    def nack(self, method: m.BasicNack) -> Iterator[None]:
        """Carry out ``basic.nack``."""
        outcome = Queue.release if method.requeue else Queue.discard
        return self._answered(method.delivery_tag, method.multiple, outcome)

    def reject(self, method: m.BasicReject) -> Iterator[None]:
        """Carry out ``basic.reject``."""
        outcome = Queue.reject if method.requeue else Queue.refuse
        return self._answered(method.delivery_tag, False, outcome)

    def recover(self, method: m.BasicRecover | m.BasicRecoverAsync) -> Iterator[None]:
        """Carry out ``basic.recover`` and ``recover-async``."""
        if not method.requeue:
            raise ConnectionError(NOT_IMPLEMENTED, "requeue=false")
        yield from self.finish(self.unacked.take_all(), Queue.release)
        if isinstance(method, m.BasicRecover):
            self.reply(m.BasicRecoverOk())

    def _answered(
        self,
        tag: int,
        multiple: bool,
        outcome: Outcome,
    ) -> Iterator[None]:
        taken = self.unacked.take(tag, multiple)
        if outcome is Queue.settle:
            self.counters.ack += len(taken)
        if self.transaction is not None:
            self.transaction.hold_acks(taken, outcome)
            return iter(())
        return self.finish(taken, outcome)

    def undo(self, transaction: Transaction) -> None:
        """Drop the publishes of a transaction; messages acknowledged in it are out again."""
        for _ in transaction.take_publishes():
            pass
        for taken, _outcome in transaction.take_acks():
            self.unacked.give_back(taken)

    def finish(self, taken: dict[int, Unacked], outcome: Outcome) -> Iterator[None]:
        """Give the outcome of deliveries to their queues, step by step, and then let these deliver more.

        Raises:
            ConnectionError: 540 if a queue refuses the outcome; the others have got theirs.
        """
        groups: Iterable[Iterable[Unacked]] = [taken.values()]
        if outcome in (Queue.release, Queue.reject):
            # As in RabbitMQ, a queue gets back the messages of one consumer after those of another.
            groups = _by_consumer(taken)
        refusal: ConnectionError | None = None
        for group in groups:
            refusal = (yield from self._finish(group, outcome)) or refusal
        if refusal is not None:
            raise refusal

    def _finish(
        self, taken: Iterable[Unacked], outcome: Outcome
    ) -> Generator[None, None, ConnectionError | None]:
        queues: dict[Queue, None] = {}
        refusal: ConnectionError | None = None
        try:
            for entry, queue, consumer, _since in taken:
                if queue not in queues:
                    queue.hold_back()
                    queues[queue] = None
                if consumer is not None:
                    self.unacked.at_consumers -= 1
                # By name, because a stream has outcomes of its own.
                try:
                    getattr(queue, outcome.__name__)(entry, consumer)
                except ConnectionError as error:
                    refusal = error
                yield
        finally:
            # Whatever happened: a queue that is held back is deaf.
            self._let_go(queues)
        return refusal

    def _let_go(self, queues: dict[Queue, None]) -> None:
        # Whichever queue has room now in a channel with a limit, all of them wait for it.
        waiting = {**self.recall_consumers(), **queues} if self.channel_prefetch else queues
        for queue in waiting:
            if queue in queues:
                queue.go_on()
            elif not queue.deleted:
                queue.deliver()

    def cancel_late(self, consumer: BrokerConsumer) -> None:
        """Cancel a consumer that has not settled a delivery in time; its queue gets back what it has."""
        consumer.queue.consumers.remove(consumer)
        self.consumer_cancelled(consumer)
        self.vhost.work_off(self.finish(self.unacked.take_late(consumer), Queue.release))
        consumer.queue.consumer_left()

    def recall_consumers(self) -> dict[Queue, None]:
        """Have the queues of all consumers ask them again whether they can take a message.

        Returns:
            The queues; the one that has delivered last comes last.
        """
        queues: dict[Queue, None] = {}
        for consumer in self.consumers.values():
            consumer.queue.consumers.recall(consumer)
            queues[consumer.queue] = None
        last = self._delivered_last
        if last not in queues:
            return queues
        places = list(queues)
        start = places.index(last) + 1
        return dict.fromkeys(places[start:] + places[:start])

    # The end

    def close(self) -> None:
        """End the channel: remove its consumers, and put unacknowledged messages back."""
        self.closed = True
        self._cancelled.clear()
        self.vhost.past.add_publishing(self.counters)
        self._answers.close()
        self.session.replies.unsubscribe(self)
        if self.transaction is not None:
            self.undo(self.transaction)
        consumers = list(self.consumers.values())
        for consumer in consumers:
            self._forget(consumer)
            # Do this before the messages go back; otherwise they would be delivered to this channel again.
            consumer.queue.consumers.remove(consumer)
        for consumer in consumers:
            # A queue that goes with its last consumer takes along what is out, without dead-lettering it.
            if consumer.queue.auto_delete and not consumer.queue.consumers and not consumer.queue.deleted:
                consumer.queue.consumer_left()
        self.vhost.work_off(self.finish(self.unacked.take_all(), Queue.requeue))
        for consumer in consumers:
            if not consumer.queue.deleted:
                consumer.queue.consumer_left()


def _by_consumer(taken: dict[int, Unacked]) -> list[list[Unacked]]:
    """Return deliveries by queue and consumer, in the order of their names; ``basic.get`` comes first."""
    groups: dict[tuple[str, str], list[Unacked]] = {}
    for one in taken.values():
        groups.setdefault((one.queue.name, one.consumer.tag if one.consumer else ""), []).append(one)
    return [group for _, group in sorted(groups.items(), key=itemgetter(0))]


def _first_of(queue: str) -> str:
    return f"the first message of queue '{queue}'"
