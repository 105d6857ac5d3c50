"""A memory alarm of the broker under test, at will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tests.support import rabbitmq
from tests.support.admin import close_quietly, connect
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingConnection
    from tests.conftest import BrokerUnderTest
    from tests.support.rabbitmq import RabbitNode

#: Limit of the embedded broker in tests that use an alarm.
MEMORY_LIMIT = 1_000_000
_BALLAST = "alarm.ballast"


class Alarm:
    """Raised by entering, over when left; either may also be asked for earlier.

    Args:
        broker: The broker; the embedded one has the limit above.
        node: RabbitMQ, if that is it.
    """

    def __init__(self, broker: BrokerUnderTest, node: RabbitNode | None) -> None:
        self._broker = broker
        self._node = node
        self._ballast: BlockingConnection | None = None

    def __enter__(self) -> Self:
        if self._node is not None:
            self._node.ctl("set_vm_memory_high_watermark", "absolute", "1000")
            return self
        # A connection that has published is blocked; so there is another one to empty the queue.
        self._ballast = connect(self._broker.url)
        channel = self._ballast.channel()
        channel.queue_declare(_BALLAST)
        # In parts: a large message that is not complete yet is more than such a broker lets wait.
        for _ in range(20):
            channel.basic_publish("", _BALLAST, bytes(MEMORY_LIMIT // 20))
        embedded = self._broker.embedded
        assert embedded is not None
        eventually(lambda: embedded.alarm == "low on memory")
        return self

    def end(self) -> None:
        """Memory is there again."""
        if self._node is not None:
            self._node.ctl("set_vm_memory_high_watermark", "absolute", str(rabbitmq.MEMORY_LIMIT))
            # Those who connect next are to know nothing of it.
            eventually(lambda: self._node is None or not self._alarms())
        elif self._ballast is not None:
            with connect(self._broker.url) as other:
                other.channel().queue_delete(_BALLAST)
            close_quietly(self._ballast)
            self._ballast = None

    def _alarms(self) -> bool:
        assert self._node is not None
        return "memory" in self._node.ctl("eval", "rabbit_alarm:get_alarms().")

    def __exit__(self, *exception: object) -> None:
        self.end()
