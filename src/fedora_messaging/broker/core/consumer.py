"""A consumer of a queue, and the interface of its channel that it uses."""

from collections.abc import Mapping
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
        self.tag = tag
        self.queue = queue
        self.outlet = outlet
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.priority = priority
        self.prefetch = prefetch
        self.unacked = 0
        self.arguments = dict(arguments or {})

    def can_take(self) -> bool:
        """Whether a message may be delivered now."""
        if self.prefetch and self.unacked >= self.prefetch and not self.no_ack:
            return False
        return self.outlet.can_take()


class ConsumerSet:
    """The consumers of a queue: higher priority first, taking turns within a priority."""

    __slots__ = ("_order", "single_active")

    def __init__(self, single_active: bool) -> None:
        self._order: list[BrokerConsumer] = []
        self.single_active = single_active

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Any:
        return iter(list(self._order))

    def add(self, consumer: BrokerConsumer) -> None:
        """Add a consumer behind those of the same priority."""
        place = len(self._order)
        # The active consumer of a single-active queue stays first until it leaves.
        first = 1 if self.single_active and self._order else 0
        while place > first and self._order[place - 1].priority < consumer.priority:
            place -= 1
        self._order.insert(place, consumer)

    def remove(self, consumer: BrokerConsumer) -> None:
        """Remove a consumer."""
        self._order.remove(consumer)

    def next(self) -> BrokerConsumer | None:
        """Return the consumer that gets the next message, and move it behind those of the same priority."""
        order = self._order
        if self.single_active:
            return order[0] if order and order[0].can_take() else None
        for place, consumer in enumerate(order):
            if consumer.can_take():
                self._to_the_end_of_its_priority(place, consumer)
                return consumer
        return None

    def _to_the_end_of_its_priority(self, place: int, consumer: BrokerConsumer) -> None:
        order = self._order
        last = place
        while last + 1 < len(order) and order[last + 1].priority == consumer.priority:
            last += 1
        if last != place:
            order.insert(last, order.pop(place))
