"""A consumer of a queue, and the interface of its channel that it uses."""

from bisect import insort
from collections import deque
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .message import Entry
    from .queue import Queue


class Outlet(Protocol):
    """The part of a channel that consumers use.

    Attributes:
        room: Most bytes of properties that it can send.
    """

    room: int

    def can_take(self) -> bool:
        """Whether anything may be delivered now: the socket is writable, the channel's limit not reached."""
        ...

    def deliver(self, consumer: "BrokerConsumer", entry: "Entry", properties: bytes) -> None:
        """Send a message with these properties.

        The message stays out until it is settled, unless the consumer is ``no_ack``.
        """
        ...

    def refuse(self, name: str, size: int) -> None:
        """Accept nothing any more, because a message has more bytes of properties than there is room for."""
        ...

    def consumer_cancelled(self, consumer: "BrokerConsumer") -> None:
        """Tell the client that the queue of a consumer is gone."""
        ...


class BrokerConsumer:
    """A subscription.

    Attributes:
        tag: Unique on its channel.
        queue: The queue that messages come from.
        outlet: The channel that they go to.
        no_ack: Whether messages count as settled when they are sent.
        exclusive: Whether no other consumer may use the queue.
        priority: Consumers with a higher priority are served first.
        prefetch: Most messages out at once; 0 means no limit.
        unacked: How many messages are out now.
        turn: Place in the order of its queue: who had a message last comes last.
    """

    __slots__ = (
        "arguments",
        "exclusive",
        "no_ack",
        "outlet",
        "prefetch",
        "priority",
        "queue",
        "tag",
        "turn",
        "unacked",
    )

    def __init__(
        self,
        tag: str,
        queue: "Queue",
        outlet: Outlet,
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        prefetch: int = 0,
        priority: int = 0,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.tag: str = tag
        self.queue: Queue = queue
        self.outlet: Outlet = outlet
        self.no_ack: bool = no_ack
        self.exclusive: bool = exclusive
        self.priority: int = priority
        self.prefetch: int = prefetch
        self.unacked: int = 0
        self.turn: int = 0
        self.arguments: dict[str, Any] = dict(arguments or {})

    def can_take(self) -> bool:
        """Whether a message may be delivered now."""
        if self.prefetch and self.unacked >= self.prefetch and not self.no_ack:
            return False
        return self.outlet.can_take()


class ConsumerSet:
    """The consumers of a queue: higher priority first, taking turns within a priority.

    A consumer that could not take a message is not asked again before :meth:`recall`, so that thousands of
    consumers with full windows cost nothing; it keeps its turn meanwhile.

    Attributes:
        single_active: Whether only one consumer, the active one, gets messages.

    Args:
        single_active: See there.
        by_priority: Whether a consumer of higher priority takes over from the active one, once that has
            settled all that it got.
    """

    __slots__ = ("_all", "_by_priority", "_heir", "_rings", "_turn", "single_active")

    def __init__(self, single_active: bool, *, by_priority: bool = False) -> None:
        self.single_active: bool = single_active
        self._by_priority = by_priority
        # The first one of those whose priority is higher than that of the active one, and the highest.
        self._heir: BrokerConsumer | None = None
        # In the order of their arrival; the value tells whether the consumer stands in its ring.
        self._all: dict[BrokerConsumer, bool] = {}
        # Those who may be able to take a message, by priority, highest first. Some may have left the set.
        self._rings: dict[int, deque[BrokerConsumer]] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[BrokerConsumer]:
        return iter(list(self._all))

    @property
    def active(self) -> BrokerConsumer | None:
        """The consumer that gets the messages of a single-active queue."""
        return next(iter(self._all), None)

    @property
    def has_exclusive(self) -> bool:
        """Whether a consumer wants no other beside itself; then it is the only one."""
        active = self.active
        return active is not None and active.exclusive

    def add(self, consumer: BrokerConsumer) -> None:
        """Add a consumer behind those of the same priority."""
        self._turn += 1
        consumer.turn = self._turn
        self._all[consumer] = False
        self.recall(consumer)
        if self._by_priority:
            self._choose_heir()

    def remove(self, consumer: BrokerConsumer) -> None:
        """Remove a consumer; the active one is followed by the one with the highest priority."""
        was_active = self.single_active and self.active is consumer
        del self._all[consumer]
        if was_active and self._all:
            self._activate(self._most_important())
        if self._by_priority:
            self._choose_heir()

    def _most_important(self) -> BrokerConsumer:
        return max(self._all, key=lambda other: other.priority)

    def _activate(self, consumer: BrokerConsumer) -> None:
        self._all = {consumer: self._all[consumer], **self._all}
        self._heir = None

    def _choose_heir(self) -> None:
        active = self.active
        heir = self._most_important() if active is not None else None
        self._heir = heir if heir is not active else None

    def recall(self, consumer: BrokerConsumer) -> None:
        """Ask a consumer again, because it may be able to take a message now."""
        if self._all.get(consumer) is not False:
            return
        self._all[consumer] = True
        ring = self._rings.get(consumer.priority)
        if not ring:
            self._rings[consumer.priority] = deque((consumer,))
            self._rings = dict(sorted(self._rings.items(), reverse=True))
        elif consumer.turn > ring[-1].turn:
            ring.append(consumer)
        else:
            insort(ring, consumer, key=attrgetter("turn"))

    def next(self) -> BrokerConsumer | None:
        """Return the consumer that gets the next message, and move it behind those of the same priority."""
        if self.single_active:
            active = self.active
            if self._heir is not None and active is not None:
                if active.unacked:
                    return None
                active = self._heir
                self._activate(active)
            return active if active is not None and active.can_take() else None
        while self._rings:
            priority, ring = next(iter(self._rings.items()))
            while ring:
                consumer = ring.popleft()
                if consumer not in self._all:
                    continue
                if consumer.can_take():
                    self._turn += 1
                    consumer.turn = self._turn
                    ring.append(consumer)
                    return consumer
                self._all[consumer] = False
            del self._rings[priority]
        return None
