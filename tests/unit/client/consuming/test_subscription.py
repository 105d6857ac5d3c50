"""A subscription: what is asked of the broker, what arrives, and what the broker is told of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.unit.client.support import connected, run

from fedora_messaging.client.consuming.stream_position import OFFSET, StreamPosition
from fedora_messaging.client.consuming.subscription import Subscription
from fedora_messaging.client.consuming.verdict import Action
from fedora_messaging.exceptions import ChannelClosed
from fedora_messaging.options import QosOptions
from fedora_messaging.protocol.errors import ConnectionError as PeerConnectionError
from fedora_messaging.protocol.events import ContentReceived
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fedora_messaging.client.amqp.channel import Channel
    from fedora_messaging.client.consuming.delivery import Raw
    from fedora_messaging.exceptions import AMQPError
    from fedora_messaging.wire.methods import Method

CONSUME = m.BasicConsume("q", "ours", no_ack=False)


class Stage:
    """A subscription on a channel of its own, its user, and a broker that answers.

    Attributes:
        raws: What has arrived.
        ends: How the channel ended.
    """

    def __init__(self, broker: ScriptedBroker, channel: Channel, in_order: bool, position: Any) -> None:
        self.broker = broker
        self.channel = channel
        self.raws: list[Raw] = []
        self.ends: list[AMQPError] = []
        self.subscription = Subscription(4, channel, QosOptions(3, 0), position, in_order)

    # The user of the channel

    def on_content(self, content: ContentReceived) -> None:
        assert isinstance(content.method, m.BasicDeliver)
        self.raws.append(self.subscription.arrived(content, content.method, "q"))

    def on_method(self, method: Method) -> None:
        """Nothing to do."""

    def on_channel_closed(self, error: AMQPError) -> None:
        self.ends.append(error)

    def on_writable(self) -> None:
        """Nothing to do."""

    # What tests do

    async def deliver(self, *tags: int, **headers: int) -> None:
        """Have deliveries arrive."""
        for tag in tags:
            method = m.BasicDeliver("ours", tag, tag == 2, "e", "k")
            self.broker.link.deliver(1, method, b"body", BasicProperties(headers=dict(headers) or None))
        await self.broker.link.everything_read(1)
        self.told()

    def told(self) -> list[str]:
        """What the broker was told since the last call, as far as it has arrived there."""
        methods = [method for _channel, method in self.broker.link.methods]
        self.broker.link.methods.clear()
        return [outcome(method) for method in methods if not isinstance(method, m.ChannelFlowOk)]

    async def heard(self) -> list[str]:
        """What the broker was told since the last call."""
        # The acknowledgement of a turn of the loop leaves behind all other calls of that turn.
        await asyncio.sleep(0)
        await self.broker.link.everything_read(1)
        return self.told()


def outcome(method: Method) -> str:
    if isinstance(method, m.BasicAck):
        return f"ack {method.delivery_tag}{' and all before' if method.multiple else ''}"
    if isinstance(method, m.BasicNack):
        many = " and all before" if method.multiple else ""
        return f"nack {method.delivery_tag}{many}{' requeue' if method.requeue else ''}"
    return type(method).__name__


def on_stage(
    act: Callable[[Stage], Awaitable[None]], in_order: bool = True, position: StreamPosition | None = None
) -> None:
    """Subscribe, and let a test act."""

    async def main() -> None:
        broker = ScriptedBroker()
        channel = await (await connected(broker)).open_channel()
        stage = Stage(broker, channel, in_order, position)
        await stage.subscription.begin(stage, CONSUME)
        stage.told()
        await act(stage)
        await channel.connection.close()

    run(main())


def test_prefetch_comes_before_the_subscription() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        channel = await (await connected(broker)).open_channel()
        stage = Stage(broker, channel, True, None)
        await stage.subscription.begin(stage, CONSUME)
        (_, qos), (_, consume) = broker.link.methods
        assert isinstance(qos, m.BasicQos)
        assert (qos.prefetch_size, qos.prefetch_count, qos.global_) == (0, 3, False)
        assert isinstance(consume, m.BasicConsume)
        assert (consume.queue, consume.consumer_tag, consume.no_ack) == ("q", "ours", False)
        assert (stage.subscription.canceled, stage.subscription.is_over) == (False, False)
        await channel.connection.close()

    run(main())


def test_delivery_may_come_before_the_broker_has_confirmed_the_subscription() -> None:
    async def main() -> None:
        broker = ScriptedBroker()

        def hasty(link: ScriptedLink, channel: int, method: Method) -> bool:
            if isinstance(method, m.BasicConsume):
                link.deliver(channel, m.BasicDeliver("ours", 1, False, "e", "k"), b"", BasicProperties())
            return False

        broker.on_method = hasty
        channel = await (await connected(broker)).open_channel()
        stage = Stage(broker, channel, True, None)
        await stage.subscription.begin(stage, CONSUME)
        assert [raw.tag for raw in stage.raws] == [1]
        await channel.connection.close()

    run(main())


@pytest.mark.parametrize("refused", [m.BasicQos, m.BasicConsume])
def test_refused_subscription(refused: type[Method]) -> None:
    async def main() -> None:
        broker = ScriptedBroker()

        def refuse(link: ScriptedLink, channel: int, method: Method) -> bool:
            if isinstance(method, refused):
                link.close_channel(channel, 403, "ACCESS_REFUSED - no")
                return True
            return False

        broker.on_method = refuse
        channel = await (await connected(broker)).open_channel()
        stage = Stage(broker, channel, True, None)
        with pytest.raises(ChannelClosed, match="ACCESS_REFUSED - no"):
            await stage.subscription.begin(stage, CONSUME)
        assert isinstance(broker.link.methods[-1][1], refused)
        await channel.connection.close()

    run(main())


def test_deliveries_belong_to_their_subscription() -> None:
    async def act(stage: Stage) -> None:
        await stage.deliver(1, 2)
        assert [(raw.epoch, raw.tag, raw.redelivered) for raw in stage.raws] == [(4, 1, False), (4, 2, True)]
        raw = stage.raws[0]
        assert (raw.queue, raw.exchange, raw.routing_key, raw.body) == ("q", "e", "k", b"body")
        assert len(stage.subscription.in_flight) == 2

    on_stage(act)


@pytest.mark.parametrize(
    ("tag", "why"), [(5, "more deliveries than the prefetch of 3"), (4, "delivery tag 4 was used again")]
)
def test_delivery_that_the_broker_must_not_send_is_not_kept(tag: int, why: str) -> None:
    async def act(stage: Stage) -> None:
        await stage.deliver(1, 3, 4)
        method = m.BasicDeliver("ours", tag, False, "e", "k")
        with pytest.raises(PeerConnectionError, match=why):
            stage.subscription.arrived(ContentReceived(1, method, b"\x00\x00", b""), method, "q")
        assert len(stage.subscription.in_flight) == 3

    on_stage(act)


def test_acknowledgements_of_one_turn_are_one() -> None:
    async def act(stage: Stage) -> None:
        await stage.deliver(1, 2, 3)
        for tag in (1, 2):
            stage.subscription.settle(tag, Action.ACK)
        assert await stage.heard() == ["ack 2 and all before"]
        assert len(stage.subscription.in_flight) == 1
        stage.subscription.settle(3, Action.ACK)
        assert await stage.heard() == ["ack 3 and all before"]
        # There is none for nothing.
        stage.subscription.send_ack()
        assert await stage.heard() == []

    on_stage(act)


def test_deliveries_that_are_settled_in_any_order_are_acknowledged_one_by_one() -> None:
    async def act(stage: Stage) -> None:
        await stage.deliver(1, 2, 3)
        for tag in (3, 1):
            stage.subscription.settle(tag, Action.ACK)
        assert await stage.heard() == ["ack 3", "ack 1"]

    on_stage(act, in_order=False)


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (Action.REQUEUE, "nack 3 requeue"),
        (Action.REFUSE, "nack 3"),
        (Action.REQUEUE_ALL, "nack 0 and all before requeue"),
    ],
)
@pytest.mark.parametrize("in_order", [False, True])
def test_refusals_leave_behind_the_acknowledgements_before_them(
    action: Action, told: str, in_order: bool
) -> None:
    """A refusal of all that is out would put back what is processed."""

    async def act(stage: Stage) -> None:
        await stage.deliver(1, 2, 3)
        for tag in (1, 2):
            stage.subscription.settle(tag, Action.ACK)
        stage.subscription.settle(3, action)
        before = ["ack 2 and all before"] if in_order else ["ack 1", "ack 2"]
        assert await stage.heard() == [*before, told]
        assert len(stage.subscription.in_flight) == 0

    on_stage(act, in_order)


def test_position_in_a_stream_follows_the_deliveries() -> None:
    position = StreamPosition({OFFSET: "first"})

    async def act(stage: Stage) -> None:
        await stage.deliver(1, **{OFFSET: 7})
        await stage.deliver(2, **{OFFSET: 8})
        stage.subscription.settle(1, Action.ACK)
        assert position.arguments() == {OFFSET: 8}

    on_stage(act, position=position)


def test_settled_delivery_of_a_stream_does_not_come_again() -> None:
    position = StreamPosition({OFFSET: "first"})

    async def act(stage: Stage) -> None:
        await stage.deliver(1, **{OFFSET: 7})
        stage.subscription.settle(1, Action.REFUSE)
        assert position.arguments() == {OFFSET: 8}

    on_stage(act, position=position)


def test_nothing_is_told_once_the_channel_is_lost() -> None:
    async def act(stage: Stage) -> None:
        await stage.deliver(1, 2)
        stage.subscription.settle(1, Action.ACK)
        stage.subscription.lost()
        stage.subscription.settle(2, Action.REQUEUE_ALL)
        assert stage.subscription.is_over
        assert await stage.heard() == []
        # What is not settled stays unsettled.
        assert len(stage.subscription.in_flight) == 1
        await stage.subscription.end()
        assert stage.channel.is_open

    on_stage(act)


def test_subscription_that_is_given_up_hears_nothing_more() -> None:
    async def act(stage: Stage) -> None:
        await stage.deliver(1)
        stage.broker.link.deliver(1, m.BasicDeliver("ours", 2, False, "e", "k"), b"", BasicProperties())
        stage.subscription.give_up()
        await stage.channel.wait_closed(1.0)
        assert (stage.channel.is_open, stage.channel.user, stage.ends) == (False, None, [])
        stage.subscription.settle(1, Action.ACK)
        # Once is enough.
        stage.subscription.give_up()
        assert ([raw.tag for raw in stage.raws], stage.told()) == ([1], [])

    on_stage(act)


def test_what_is_due_is_told_before_nothing_more_is() -> None:
    async def act(stage: Stage) -> None:
        await stage.deliver(1, 2)
        stage.subscription.settle(1, Action.ACK)
        stage.subscription.settle_no_more()
        stage.subscription.settle(2, Action.ACK)
        assert await stage.heard() == ["ack 1 and all before"]
        # The channel stays for those who close it.
        assert (stage.subscription.is_over, stage.channel.is_open) == (True, True)

    on_stage(act)


def test_what_is_due_is_told_before_the_channel_is_closed() -> None:
    async def act(stage: Stage) -> None:
        await stage.deliver(1, 2)
        stage.subscription.settle(1, Action.ACK)
        await stage.subscription.end()
        assert stage.told() == ["ack 1 and all before"]
        assert (stage.channel.is_open, stage.ends) == (False, [])
        stage.subscription.settle(2, Action.ACK)
        await stage.subscription.end()
        assert stage.told() == []
        assert not stage.channel.connection.closed.done()

    on_stage(act)


def test_broker_that_does_not_close_the_channel_is_left() -> None:
    async def act(stage: Stage) -> None:
        stage.broker.on_accept = lambda _link: True
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await stage.subscription.end()
        assert 5.0 <= loop.time() - begin < 7.0
        await stage.channel.connection.closed
        assert not stage.channel.is_open

    on_stage(act)
