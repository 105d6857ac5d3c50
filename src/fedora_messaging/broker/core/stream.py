"""A stream: a queue that keeps its messages, and that each consumer reads from an offset of its own."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from ...protocol.errors import NOT_IMPLEMENTED, PRECONDITION_FAILED, ChannelError, ConnectionError
from ...wire.errors import WireError
from ...wire.int64 import Int64
from ...wire.property_codec import edit_headers
from .consumer import BrokerConsumer
from .message import BrokerMessage, Entry, new_entry
from .queue import Queue
from .queue_arguments import read_age

OFFSET_HEADER: Final = "x-stream-offset"


class StreamConsumer(BrokerConsumer):
    """A consumer of a stream.

    Attributes:
        next_offset: Offset of the message that it gets next.
        wanted: Values of ``x-stream-filter-value`` that it wants; ``None`` for all messages.
        wants_unfiltered: Whether it also wants messages without such a value.
    """

    __slots__ = ("next_offset", "wanted", "wants_unfiltered")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.next_offset: int = 0
        self.wanted: frozenset[str] | None = None
        self.wants_unfiltered: bool = self.arguments.get("x-stream-match-unfiltered") is True
        wanted = self.arguments.get("x-stream-filter")
        if isinstance(wanted, str):
            self.wanted = frozenset({wanted})
        elif isinstance(wanted, list):
            self.wanted = frozenset(value for value in wanted if isinstance(value, str))

    def wants(self, message: BrokerMessage) -> bool:
        """Whether the filter of the consumer lets a message through."""
        if self.wanted is None:
            return True
        value = message.headers.get("x-stream-filter-value")
        message.forget_headers()
        return self.wants_unfiltered if value is None else isinstance(value, str) and value in self.wanted


class StreamQueue(Queue):
    """A queue of type ``stream``: append-only, on this one node.

    Offsets are counted from 0. Retention forgets whole segments, oldest first, when a new one begins.
    """

    make_consumer = StreamConsumer

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Messages by offset; the first one has the offset `_first`.
        self._log: list[Entry] = []
        self._times: list[float] = []
        self._first = 0
        # Offsets at which segments begin, and the bytes in each.
        self._segments: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._log)

    @property
    def ready_bytes(self) -> int:
        """Bytes of the bodies of all messages."""
        return sum(size for _, size in self._segments)

    # Messages in

    def enqueue(self, message: BrokerMessage) -> bool:
        """Append a message; a stream never refuses one."""
        entry = new_entry(message, self._first + len(self._log) + 1)
        entry.redelivered = False
        entry.stored = True  # whatever its delivery mode
        self._host.journal.message_added(self, entry)
        is_new_segment = self._append(entry, self._host.clock())
        self.counters.publish += 1
        if is_new_segment:
            self._retain()
        self.deliver()
        self._host.memory.make_room(message)
        return True

    def _append(self, entry: Entry, now: float) -> bool:
        """Append an entry; returns whether a segment begins with it."""
        self._host.memory.hold(entry.message)
        size = entry.message.size
        is_new_segment = not self._segments or self._segments[-1][1] >= self.arguments.segment_size
        if is_new_segment:
            self._segments.append((entry.position - 1, 0))
        start, have = self._segments[-1]
        self._segments[-1] = (start, have + size)
        self._log.append(entry)
        self._times.append(now)
        return is_new_segment

    def restore(self, entry: Entry) -> bool:
        """Put back a stored message when the broker starts, in order of offset."""
        if not self._log:
            self._first = entry.position - 1
        self._append(entry, self._host.clock())
        self._host.memory.make_room(entry.message)
        return True

    def _retain(self) -> None:
        """Forget the segments that are too many or too old; the newest one stays."""
        most, age = self.arguments.max_length_bytes, self.arguments.max_age
        while len(self._segments) > 1:
            end = self._segments[1][0]
            is_too_large = most is not None and self.ready_bytes > most
            is_too_old = age is not None and self._times[end - 1 - self._first] < self._host.clock() - age
            if not (is_too_large or is_too_old):
                return
            count = end - self._first
            for entry in self._log[:count]:
                self.forget(entry)
            del self._log[:count], self._times[:count], self._segments[0]
            self._first = end

    # Messages out

    def add_consumer(self, consumer: BrokerConsumer) -> None:
        """Add a consumer, at the offset that it asks for; there may be any number of them.

        Raises:
            ChannelError: 406 without a prefetch, or with an offset that is none.
            ConnectionError: 540 for a consumer that does not acknowledge.
        """
        assert isinstance(consumer, StreamConsumer)  # as make_consumer says
        what = f"stream queue '{self.name}' in vhost '{self._host.name}'"
        offset = consumer.arguments.get(OFFSET_HEADER, "next")
        if not isinstance(offset, float):  # RabbitMQ takes a fraction for a number at first
            consumer.next_offset = self._offset_for(offset)
        if not consumer.prefetch:
            raise ChannelError(PRECONDITION_FAILED, f"consumer prefetch count is not set for {what}")
        if consumer.no_ack:
            raise ConnectionError(NOT_IMPLEMENTED, f"automatic acknowledgement not supported by {what}")
        if isinstance(offset, float):
            self._offset_for(offset)  # refuses it
        if not self._host.profile.streams_filter:
            consumer.wanted = None
        self.consumers.add(consumer)

    def _offset_for(self, wanted: Any) -> int:
        end = self._first + len(self._log)
        if isinstance(wanted, datetime):
            return self._first + bisect_left(self._times, wanted.timestamp())
        if isinstance(wanted, int) and not isinstance(wanted, bool):
            return max(wanted, self._first)
        if wanted == "first":
            return self._first
        if wanted == "last":
            return max(end - 1, self._first)
        if wanted == "next":
            return end
        age = read_age(wanted) if isinstance(wanted, str) else None
        if age is None:
            shown = f'<<"{wanted}">>' if wanted else "<<>>"
            raise ChannelError(
                PRECONDITION_FAILED,
                f"invalid arg '{OFFSET_HEADER}' for queue '{self.name}' in vhost '{self._host.name}': "
                f"{{invalid_stream_offset_arg,{{longstr,{shown}}}}}",
            )
        return self._first + bisect_left(self._times, self._host.clock() - age)

    def deliver(self, fresh: Entry | None = None) -> None:
        """Send each consumer the messages from its offset on, as far as its prefetch goes."""
        for consumer in self.consumers:
            assert isinstance(consumer, StreamConsumer)  # as make_consumer says
            self._deliver_to(consumer)

    def _deliver_to(self, consumer: StreamConsumer) -> None:
        consumer.next_offset = max(consumer.next_offset, self._first)
        while consumer.next_offset < self._first + len(self._log) and consumer.can_take():
            entry = self._log[consumer.next_offset - self._first]
            if consumer.wants(entry.message):
                properties = _with_offset(entry, consumer.outlet.room)
                if len(properties) > consumer.outlet.room:
                    consumer.outlet.refuse(self.name, len(properties))
                    return
                consumer.unacked += 1
                self.unacked += 1
                self.unacked_bytes += entry.message.size
                self.counters.deliver += 1
                consumer.outlet.deliver(consumer, entry, properties)
            consumer.next_offset += 1

    def get(self, no_ack: bool, check: Callable[[Entry], None] | None = None) -> Entry | None:
        """Refuse ``basic.get``.

        Raises:
            ConnectionError: 540.
        """
        raise self._unsupported("basic.get")

    def peek(self) -> Entry | None:
        """Return the oldest message."""
        return self._log[0] if self._log else None

    # A consumer only moves on: its messages never come back

    def settle(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Let the consumer have another message."""
        self._returned(entry, consumer)
        self.counters.ack += 1

    def refuse(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Let the consumer have another message, in releases that take this for an acknowledgement.

        Raises:
            ConnectionError: 540 in the others.
        """
        if not self._host.profile.streams_take_nacks:
            self._returned(entry, consumer)
            raise self._unsupported("basic.nack and basic.reject")
        self.settle(entry, consumer)

    def discard(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Do as :meth:`refuse`."""
        self.refuse(entry, consumer)

    def release(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Do as :meth:`refuse`."""
        self.refuse(entry, consumer)

    def reject(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Do as :meth:`refuse`."""
        self.refuse(entry, consumer)

    def requeue(self, entry: Entry, consumer: BrokerConsumer | None) -> None:
        """Let the consumer have another message; it was on a channel that has ended."""
        self._returned(entry, consumer)

    # All of them

    def check_purge(self) -> None:
        """Refuse to purge.

        Raises:
            ConnectionError: 540.
        """
        raise self._unsupported("queue.purge")

    def drop_ready(self) -> Iterator[None]:
        """Drop all messages, step by step."""
        dropped = list(self._log)
        self._log.clear()
        self._times.clear()
        self._segments.clear()
        for entry in dropped:
            self.forget(entry)
            yield

    def on_time(self, when: float) -> None:
        """Do nothing: streams do not expire."""

    def reconfigure(self, arguments: Any) -> None:
        """Change how much the stream keeps, from its next segment on."""
        self.arguments = arguments

    def _unsupported(self, method: str) -> ConnectionError:
        return ConnectionError(
            NOT_IMPLEMENTED,
            f"{method} not supported by stream queues queue '{self.name}' in vhost '{self._host.name}'",
        )


def _with_offset(entry: Entry, room: int) -> bytes:
    """Return the properties of a message with its offset, if that can be added.

    Args:
        entry: The message.
        room: Most bytes of properties that can be sent.
    """
    properties = entry.message.properties
    offset: Mapping[str, Any] = {OFFSET_HEADER: Int64(entry.position - 1)}
    try:
        with_offset = edit_headers(properties, offset)
    except WireError:
        return properties  # nothing can be added to headers that do not decode
    return with_offset if len(with_offset) <= room else properties
