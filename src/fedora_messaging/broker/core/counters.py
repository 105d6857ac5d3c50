"""Counting what happens to messages, under the names of RabbitMQ's statistics."""

from typing import Final

_DELIVERIES: Final = ("deliver", "deliver_no_ack", "get", "get_no_ack", "get_empty", "ack", "redeliver")


class Counters:
    """Totals since the start of a queue, channel or virtual host.

    Attributes:
        publish: Messages published.
        confirm: Publishes confirmed.
        return_unroutable: Messages returned, because no queue was found for them.
        drop_unroutable: Messages discarded for that reason.
        deliver: Messages sent to consumers that acknowledge.
        deliver_no_ack: Messages sent to consumers that do not.
        get: Messages fetched with ``basic.get``, to be acknowledged.
        get_no_ack: Messages fetched that are not.
        get_empty: Fetches from an empty queue.
        ack: Messages acknowledged.
        redeliver: Of the messages sent or fetched those that had been before.
    """

    __slots__ = (
        "ack",
        "confirm",
        "deliver",
        "deliver_no_ack",
        "drop_unroutable",
        "get",
        "get_empty",
        "get_no_ack",
        "publish",
        "redeliver",
        "return_unroutable",
    )

    def __init__(self) -> None:
        self.publish: int = 0
        self.confirm: int = 0
        self.return_unroutable: int = 0
        self.drop_unroutable: int = 0
        self.deliver: int = 0
        self.deliver_no_ack: int = 0
        self.get: int = 0
        self.get_no_ack: int = 0
        self.get_empty: int = 0
        self.ack: int = 0
        self.redeliver: int = 0

    def add_publishing(self, other: "Counters") -> None:
        """Add what a channel has published; its deliveries count in the queues."""
        self.publish += other.publish
        self.confirm += other.confirm
        self.return_unroutable += other.return_unroutable
        self.drop_unroutable += other.drop_unroutable

    def add_deliveries(self, other: "Counters") -> None:
        """Add the deliveries from a queue; its publishes count in the channels."""
        for name in _DELIVERIES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
