"""A channel: answers go to those who asked, everything else to its user, and its end to both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.support.waiting import soon
from tests.unit.client.support import connected, run

from fedora_messaging.exceptions import ChannelClosed, ConnectionClosed, ConnectionException, EncodingError
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from fedora_messaging.client.amqp.channel import Channel
    from fedora_messaging.exceptions import AMQPError
    from fedora_messaging.protocol.events import ContentReceived
    from fedora_messaging.wire.methods import Method

PLAIN = encode_properties(BasicProperties())


class User:
    """Keeps what a channel tells it."""

    def __init__(self) -> None:
        self.contents: list[ContentReceived] = []
        self.methods: list[Method] = []
        self.ends: list[AMQPError] = []
        self.writable = 0

    def on_content(self, content: ContentReceived) -> None:
        self.contents.append(content)

    def on_method(self, method: Method) -> None:
        self.methods.append(method)

    def on_channel_closed(self, error: AMQPError) -> None:
        self.ends.append(error)

    def on_writable(self) -> None:
        self.writable += 1


def mute(_link: ScriptedLink, _channel: int, _method: Method) -> bool:
    """Answer nothing."""
    return True


async def opened(broker: ScriptedBroker) -> tuple[Channel, User]:
    """An open channel and its user."""
    channel = await (await connected(broker)).open_channel()
    channel.user = user = User()
    return channel, user


async def asked(channel: Channel, *queues: str) -> list[asyncio.Task[m.QueueDeclareOk]]:
    """Declare queues, one after the other, without waiting for the requests to leave."""
    tasks = [asyncio.create_task(channel.call(m.QueueDeclare(queue), m.QueueDeclareOk)) for queue in queues]
    await asyncio.sleep(0)
    return tasks


def kinds(broker: ScriptedBroker) -> list[type[Method]]:
    return [type(method) for _channel, method in broker.link.methods]


def test_each_request_gets_its_own_answer() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        channel, user = await opened(broker)
        assert (channel.number, channel.is_open, channel.opened.done()) == (1, True, True)
        tasks = await asked(channel, "a", "b", "c")
        assert [answer.queue for answer in await asyncio.gather(*tasks)] == ["a", "b", "c"]
        assert (user.methods, user.contents) == ([], [])
        await channel.connection.close()

    run(main())


def test_caller_that_has_gone_gets_no_answer_of_another() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        channel, _user = await opened(broker)
        gone, stays = await asked(channel, "a", "b")
        gone.cancel()
        assert (await stays).queue == "b"
        assert gone.cancelled()
        await channel.connection.close()

    run(main())


def test_request_that_cannot_be_sent_waits_for_no_answer() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        channel, _user = await opened(broker)
        with pytest.raises(EncodingError):
            await channel.call(m.QueueDeclare("q" * 256), m.QueueDeclareOk)
        answer = await channel.call(m.QueueDeclare("q" * 255), m.QueueDeclareOk)
        assert answer.queue == "q" * 255
        await channel.connection.close()

    run(main())


def test_user_gets_all_that_nobody_asked_for() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        channel, user = await opened(broker)
        broker.link.deliver(1, m.BasicDeliver("c", 5, False, "e", "k"), b"body", BasicProperties())
        broker.link.send(1, m.BasicAck(3, True))
        broker.link.send(1, m.BasicNack(4))
        broker.link.send(1, m.BasicCancel("c"))
        # A question of the broker, which the channel answers by itself.
        await broker.link.everything_read(1)
        assert kinds(broker) == [m.ChannelFlowOk]
        [content] = user.contents
        assert isinstance(content.method, m.BasicDeliver)
        assert (content.method.delivery_tag, content.body) == (5, b"body")
        ack, nack, cancel = user.methods
        assert isinstance(ack, m.BasicAck)
        assert (ack.delivery_tag, ack.multiple) == (3, True)
        assert isinstance(nack, m.BasicNack)
        assert nack.delivery_tag == 4
        assert isinstance(cancel, m.BasicCancel)
        assert cancel.consumer_tag == "c"
        channel.on_writable()
        assert user.writable == 1
        await channel.connection.close()

    run(main())


def test_what_comes_for_a_channel_without_user_is_dropped() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        channel, user = await opened(broker)
        channel.user = None
        broker.link.deliver(1, m.BasicDeliver("c", 5, False, "e", "k"), b"body", BasicProperties())
        broker.link.send(1, m.BasicAck(3))
        await broker.link.everything_read(1)
        channel.on_writable()
        assert channel.is_open
        broker.link.close_channel(1, 406, "PRECONDITION_FAILED - test")
        await channel.wait_closed(1.0)
        assert not channel.is_open
        assert (user.contents, user.methods, user.ends, user.writable) == ([], [], [], 0)
        await channel.connection.close()

    run(main())


def test_contents_are_sent_behind_earlier_requests() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        order: list[str] = []

        def on_method(_link: ScriptedLink, _channel: int, method: Method) -> bool:
            order.append(type(method).__name__)
            return False

        broker.on_method = on_method
        broker.on_publish = lambda _link, content: order.append(repr(content.body))
        channel, _user = await opened(broker)
        tasks = await asked(channel, "a")
        channel.send_content(m.BasicPublish("", "a").encode(), PLAIN, b"one")
        channel.send(m.BasicAck(1))
        await asyncio.gather(*tasks, *await asked(channel, "b"))
        assert order == ["QueueDeclare", "b'one'", "BasicAck", "QueueDeclare"]
        await channel.connection.close()

    run(main())


def test_properties_larger_than_a_frame() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        channel, _user = await opened(broker)
        properties = encode_properties(BasicProperties(headers={"a": "x" * 131072}))
        with pytest.raises(EncodingError):
            channel.send_content(m.BasicPublish("", "a").encode(), properties, b"")
        assert (await channel.call(m.QueueDeclare("q"), m.QueueDeclareOk)).queue == "q"
        assert broker.published == []
        await channel.connection.close()

    run(main())


def test_broker_closes_the_channel() -> None:
    """All who wait are told, each by an error of its own, and the connection stays."""

    async def main() -> None:
        broker = ScriptedBroker()
        broker.on_method = mute
        channel, user = await opened(broker)
        tasks = await asked(channel, "a", "b")
        await soon(lambda: len(kinds(broker)) == 2)
        broker.link.close_channel(1, 404, "NOT_FOUND - no queue")
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in errors] == [ChannelClosed, ChannelClosed]
        assert [str(error) for error in errors] == ["(404) NOT_FOUND - no queue"] * 2
        assert errors[0] is not errors[1]
        [end] = user.ends
        assert isinstance(end, ChannelClosed)
        assert (end.reply_code, end.reply_text, channel.is_open) == (404, "NOT_FOUND - no queue", False)
        # Nothing more is sent, and nobody waits.
        with pytest.raises(ChannelClosed, match="no queue"):
            await channel.call(m.QueueDeclare("c"), m.QueueDeclareOk)
        await channel.close()
        await channel.wait_closed(1.0)
        broker.on_method = lambda _link, _channel, _method: False
        another = await channel.connection.open_channel()
        assert (await another.call(m.QueueDeclare("d"), m.QueueDeclareOk)).queue == "d"
        assert kinds(broker) == [m.QueueDeclare] * 3
        assert len(user.ends) == 1
        await channel.connection.close()

    run(main())


def test_connection_is_lost() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        broker.on_method = mute
        channel, user = await opened(broker)
        tasks = await asked(channel, "a", "b")
        broker.link.abort()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        text = "the connection was lost: the network connection was lost: closed by the peer"
        assert [(type(error), str(error)) for error in errors] == [(ConnectionException, text)] * 2
        [end] = user.ends
        assert isinstance(end, ConnectionClosed)
        assert (end.reply_code, channel.is_open) == (0, False)
        assert [error.reason for error in errors if isinstance(error, ConnectionException)] == [end, end]
        with pytest.raises(ConnectionException, match="^the connection was lost"):
            await channel.call(m.QueueDeclare("c"), m.QueueDeclareOk)
        await channel.close()

    run(main())


def test_text_of_the_broker_is_printable() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        broker.on_method = mute
        channel, user = await opened(broker)
        [task] = await asked(channel, "a")
        broker.link.machine.close(320, "bye\x1b[31m")
        broker.link.flush()
        with pytest.raises(ConnectionException) as caught:
            await task
        assert str(caught.value) == r"the connection was lost: CONNECTION_FORCED - bye\x1b[31m"
        assert [end.reply_code for end in user.ends] == [320]

    run(main())


def test_we_close_the_channel() -> None:
    """Its user knows that already; a caller that still waits does not."""

    async def main() -> None:
        broker = ScriptedBroker()
        broker.on_method = mute
        channel, user = await opened(broker)
        [waiting] = await asked(channel, "a")
        await channel.close()
        assert (channel.is_open, user.ends) == (False, [])
        with pytest.raises(ChannelClosed) as caught:
            await waiting
        assert caught.value.reply_code == 200
        with pytest.raises(ChannelClosed):
            await channel.call(m.QueueDeclare("c"), m.QueueDeclareOk)
        channel.close_soon()
        await channel.close()
        # Its number is free again.
        assert (await channel.connection.open_channel()).number == 1
        await channel.connection.close()

    run(main())


def test_caller_that_gives_up_closing_leaves_it_to_the_broker() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        channel, _user = await opened(broker)
        closing = asyncio.create_task(channel.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await channel.wait_closed(1.0)
        assert not channel.is_open
        await channel.connection.close()

    run(main())


def test_broker_that_does_not_close_the_channel() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        channel, user = await opened(broker)
        broker.on_accept = lambda _link: True
        loop = asyncio.get_running_loop()
        channel.close_soon()
        begin = loop.time()
        await channel.wait_closed(2.0)
        assert 2.0 <= loop.time() - begin < 3.0
        assert (channel.is_open, user.ends) == (True, [])
        channel.connection.abort()
        await channel.connection.closed
        assert not channel.is_open
        assert len(user.ends) == 1

    run(main())


def test_connection_that_is_lost_while_the_channel_is_opened() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        connection = await connected(broker)
        broker.on_accept = lambda _link: True
        opening = asyncio.create_task(connection.open_channel())
        await asyncio.sleep(0)
        broker.link.abort()
        with pytest.raises(ConnectionException, match="^the connection was lost"):
            await opening

    run(main())
