"""One subscription to a queue: a channel, the deliveries on it, and the answers to the broker."""

import asyncio
import time

from ...options import QosOptions
from ...protocol import events as ev
from ...wire import methods as m
from ..amqp.channel import Channel, ChannelUser
from .delivery import Raw
from .in_flight import InFlight
from .stream_position import StreamPosition
from .verdict import Action

#: Seconds for the broker to confirm that a channel is closed.
_CLOSE_TIMEOUT = 5.0


class Subscription:
    """A subscription, from before the broker knows of it until its channel is gone.

    Args:
        epoch: Number of the subscription among those of the consumer.
        channel: A channel that has no other user.
        qos: Prefetch.
        stream: Position of the consumer, if the queue is a stream.
        in_order: Whether each delivery is settled before the next one begins.

    Attributes:
        epoch: Number of the subscription among those of the consumer.
        in_flight: Deliveries that are not settled.
        canceled: Whether the broker canceled the subscription.
        is_over: Whether no more answers are sent; the broker delivers unacknowledged messages again.
    """

    def __init__(
        self, epoch: int, channel: Channel, qos: QosOptions, stream: StreamPosition | None, in_order: bool
    ) -> None:
        self.epoch = epoch
        self.in_flight: InFlight = InFlight(qos.prefetch_count)
        self.canceled = False
        self.is_over: bool = False
        self._channel: Channel | None = channel
        self._qos = qos
        self._stream = stream
        self._in_order = in_order
        self._loop = asyncio.get_running_loop()
        self._ack_due = 0

    async def begin(self, user: ChannelUser, consume: m.BasicConsume) -> None:
        """Subscribe; raises what :meth:`.Channel.call` does.

        Args:
            user: Gets everything that arrives on the channel; deliveries may arrive before this returns.
            consume: The request.
        """
        channel = self._channel
        assert channel is not None
        await channel.call(m.BasicQos(self._qos.prefetch_size, self._qos.prefetch_count), m.BasicQosOk)
        channel.user = user
        await channel.call(consume, m.BasicConsumeOk)

    def arrived(self, content: ev.ContentReceived, method: m.BasicDeliver, queue: str) -> Raw:
        """Note a delivery, and return it.

        Raises:
            ConnectionError: The broker must not deliver this.
        """
        self.in_flight.check(method, content.properties)
        self.in_flight.arrived(method.delivery_tag, time.monotonic())
        if self._stream is not None:
            self._stream.arrived(method.delivery_tag, content.properties)
        return Raw(
            self.epoch,
            method.delivery_tag,
            queue,
            method.exchange,
            method.routing_key,
            method.redelivered,
            content.properties,
            content.body,
        )

    def settle(self, tag: int, action: Action) -> None:
        """Tell the broker the outcome of a delivery, unless the subscription is over."""
        channel = self._channel
        if channel is None or self.is_over:
            return
        self.in_flight.settled(tag, time.monotonic())
        if self._stream is not None:
            self._stream.settled(tag)
        if action is Action.ACK:
            self._acknowledge(channel, tag)
            return
        self.send_ack()
        if action is Action.REQUEUE_ALL:
            channel.send(m.BasicNack(0, multiple=True, requeue=True))
        else:
            channel.send(m.BasicNack(tag, requeue=action is Action.REQUEUE))

    def _acknowledge(self, channel: Channel, tag: int) -> None:
        if not self._in_order:
            channel.send(m.BasicAck(tag))
            return
        # Messages are settled in order, so one acknowledgement covers all of one turn of the loop.
        if not self._ack_due:
            self._loop.call_soon(self.send_ack)
        self._ack_due = tag

    def send_ack(self) -> None:
        """Send the acknowledgement that is due."""
        tag, self._ack_due = self._ack_due, 0
        if tag and self._channel is not None:
            self._channel.send(m.BasicAck(tag, multiple=True))

    def lost(self) -> None:
        """Note that the channel is gone."""
        self.is_over = True
        self._channel = None

    def give_up(self) -> None:
        """Close the channel without waiting, and ignore what still arrives on it."""
        channel = self._channel
        self.lost()
        if channel is not None:
            channel.user = None
            channel.close_soon()

    def settle_no_more(self) -> None:
        """Send the acknowledgement that is due; deliveries can no longer be settled after that."""
        self.send_ack()
        self.is_over = True

    async def end(self) -> None:
        """Send the acknowledgement that is due, close the channel and wait for the broker's answer."""
        self.settle_no_more()
        channel, self._channel = self._channel, None
        if channel is not None and channel.is_open:
            channel.close_soon()
            await channel.wait_closed(_CLOSE_TIMEOUT)
            if channel.is_open:
                channel.connection.abort()  # a broker that does not answer this answers no other request
