"""A broker that lets the client in and throws it out, or sends more than it was asked for."""

from __future__ import annotations

import asyncio
import logging
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import message, plan, run
from tests.support.waiting import WAIT, soon

from fedora_messaging import aio
from fedora_messaging.client.amqp import connection as connection_module
from fedora_messaging.client.backoff import STEADY
from fedora_messaging.config import conf
from fedora_messaging.exceptions import BaseException as LibraryException
from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.protocol.connection import Limits
from fedora_messaging.settings.to_options import connection_options
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import HEARTBEAT_FRAME, METHOD, encode_method
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.protocol.events import ContentReceived
    from fedora_messaging.wire.methods import Method

#: Seconds in which attempts are counted. With half a second at first, twice as much each time and full
#: jitter, hardly ever more than this many follow.
SPAN = 1.5
FEW = 12
#: A delivery begins the delays anew: a quarter of a second on average.
SOME = 30


def consumed(broker: ScriptedBroker) -> list[tuple[int, m.BasicConsume]]:
    """The subscriptions over all connections."""
    found = [one for link in broker.links for one in link.methods]
    return [(channel, method) for channel, method in found if isinstance(method, m.BasicConsume)]


def deliver(link: ScriptedLink, channel: int, consume: m.BasicConsume, tag: int) -> None:
    sent = message("q", tag)
    assert isinstance(sent._properties, BasicProperties)
    method = m.BasicDeliver(consume.consumer_tag, tag, False, "", "q")
    link.deliver(channel, method, sent._encoded_body, sent._properties)


def close_channel(link: ScriptedLink, channel: int, _method: m.BasicConsume) -> None:
    link.close_channel(channel, 406, "PRECONDITION_FAILED - no")


def cancel(link: ScriptedLink, channel: int, method: m.BasicConsume) -> None:
    link.send(channel, m.BasicCancel(method.consumer_tag))


def cut(link: ScriptedLink, _channel: int, _method: m.BasicConsume) -> None:
    link.flush()
    link.close()


def deliver_and_cancel(link: ScriptedLink, channel: int, method: m.BasicConsume) -> None:
    """Many times, each of which could be asked about on a channel of its own."""
    deliver(link, channel, method, 1)
    for _ in range(500):
        link.send(channel, m.BasicCancel(method.consumer_tag))


@pytest.mark.parametrize("resubscribe", [False, True])
@pytest.mark.parametrize("then", [close_channel, cancel, cut, deliver_and_cancel])
def test_p09_subscription_that_is_ended_at_once(
    then: Callable[[ScriptedLink, int, m.BasicConsume], None], resubscribe: bool, settings: LazyConfig
) -> None:
    """It is made again ever more seldom, and not at the broker's speed."""
    settings["consumer"] = {"resubscribe": resubscribe, "stop_timeout": 0.1}
    broker = ScriptedBroker()
    opened: list[int] = []

    def on_method(link: ScriptedLink, channel: int, method: Method) -> bool:
        if isinstance(method, m.QueueDeclare):
            opened.append(channel)
        if not isinstance(method, m.BasicConsume):
            return False
        link.machine.send_method(channel, m.BasicConsumeOk(method.consumer_tag))
        then(link, channel, method)
        return True

    async def main() -> None:
        broker.on_method = on_method

        async def callback(_message: object) -> None:
            await asyncio.Event().wait()

        async with broker, aio.connect(broker.url) as bus:
            consuming = asyncio.create_task(bus.consume(callback, **plan("q")))
            await asyncio.wait([consuming], timeout=SPAN)
            most = SOME if then is deliver_and_cancel else FEW
            assert 1 <= len(consumed(broker)) <= most
            assert len(broker.links) <= most
            assert len(opened) <= 2 * most
            consuming.cancel()
            await asyncio.wait([consuming])

    run(main())


def test_p09_login_that_is_accepted_and_cut() -> None:
    broker = ScriptedBroker()

    def cut_after_open(link: ScriptedLink) -> bool:
        if link.machine.state.name == "OPEN":
            link.close()
        return False

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus:
            await soon(lambda: bus.connected)
            broker.link.abort()

            def accept(link: ScriptedLink) -> bool:
                asyncio.get_running_loop().call_soon(cut_after_open, link)
                return False

            broker.on_accept = accept
            await asyncio.sleep(SPAN)
            assert 2 <= len(broker.links) <= FEW
            # They get longer: so many in the first seconds are not as many in the next ones.
            backoff = bus._supervisor.backoff
            assert backoff._unproven is not None or backoff.ceiling > backoff.initial

    run(main())


def cut_it(link: ScriptedLink, _content: ContentReceived) -> None:
    link.abort()


def close_it(link: ScriptedLink, _content: ContentReceived) -> None:
    link.machine.close(541, "INTERNAL_ERROR")


def confirm_another(link: ScriptedLink, content: ContentReceived) -> None:
    """One that was never sent, behind the right one."""
    link.send(content.channel, m.BasicAck(link.tag(content.channel) + 1))


def confirm_and_break(link: ScriptedLink, content: ContentReceived) -> None:
    link.send(content.channel, m.BasicAck(link.tag(content.channel)))
    link.send(content.channel, m.BasicAck(link.tag(content.channel) + 1))


@pytest.mark.parametrize("then", [cut_it, close_it, confirm_another, confirm_and_break])
def test_p09_connection_that_ends_with_each_publish(
    then: Callable[[ScriptedLink, ContentReceived], None],
) -> None:
    broker = ScriptedBroker()

    async def main() -> None:
        broker.on_publish = then
        async with broker, aio.connect(broker.url) as bus:

            async def publish() -> None:
                while True:
                    with suppress(LibraryException):
                        await bus.publish(message("q"))

            publishing = asyncio.create_task(publish())
            await asyncio.sleep(SPAN)
            assert 1 <= len(broker.links) <= FEW
            publishing.cancel()
            await asyncio.wait([publishing])

    run(main())


@pytest.mark.parametrize("then", [close_channel, cancel])
def test_first_resubscription_waits_for_nothing(
    then: Callable[[ScriptedLink, int, m.BasicConsume], None], settings: LazyConfig
) -> None:
    settings["consumer"] = {"resubscribe": True}
    broker = ScriptedBroker()

    async def main() -> None:
        async def callback(_message: object) -> None:
            """Never called."""

        async with broker, aio.connect(broker.url) as bus:
            consuming = asyncio.create_task(bus.consume(callback, **plan("q")))
            await soon(lambda: bool(bus._supervisor.consumers))
            [consumer] = bus._supervisor.consumers
            consumer._resubscriber.backoff._jitter = lambda: 1e9  # whoever waits now waits for ever
            then(broker.link, *consumed(broker)[0])
            await soon(lambda: len(consumed(broker)) == 2)
            consuming.cancel()
            await asyncio.wait([consuming])

    run(main())


def refuse(link: ScriptedLink, channel: int, method: Method) -> bool:
    """Refuse every subscription, for a reason that ends no consumer."""
    if not isinstance(method, m.BasicConsume):
        return False
    link.close_channel(channel, 406, "PRECONDITION_FAILED - not like that")
    return True


async def idle(bus: aio.Bus) -> None:
    """Return when the client has had many turns to do what it still wants to do."""
    for _ in range(20):
        await bus.publish(message("q"))


async def ignored(_message: object) -> None:
    """A callback that is never called."""


def test_subscription_that_is_refused_at_first_is_not_tried_again() -> None:
    broker = ScriptedBroker()
    broker.on_method = refuse

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus:
            with pytest.raises(ConnectionException, match="not like that"):
                await bus.consume(ignored, **plan("q"))
            await idle(bus)
            assert len(consumed(broker)) == 1

    run(main())


def test_subscription_that_is_refused_later_is_tried_once_at_a_time() -> None:
    broker = ScriptedBroker()

    def answer(link: ScriptedLink, channel: int, method: Method) -> bool:
        """Take the first subscription, refuse the second, and say nothing of the others."""
        count = len(consumed(broker))
        if not isinstance(method, m.BasicConsume) or count == 1:
            return False
        return refuse(link, channel, method) if count == 2 else True

    broker.on_method = answer

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus:
            consuming = asyncio.create_task(bus.consume(ignored, **plan("q")))
            await soon(lambda: bool(bus._supervisor.consumers))
            [consumer] = bus._supervisor.consumers
            consumer._resubscriber.backoff._jitter = lambda: 0.0
            close_channel(broker.link, *consumed(broker)[0])
            await soon(lambda: len(consumed(broker)) == 3)
            await idle(bus)
            assert len(consumed(broker)) == 3
            consuming.cancel()
            await asyncio.wait([consuming])

    run(main())


@pytest.mark.parametrize("used", [False, True])
def test_connection_that_lasted_or_was_of_use_is_made_again_soon(used: bool) -> None:
    broker = ScriptedBroker()
    now = 0.0

    async def main() -> None:
        nonlocal now
        async with broker, aio.connect(broker.url) as bus:
            backoff = bus._supervisor.backoff
            backoff._clock, backoff._jitter = lambda: now, lambda: 0.0
            for number in range(1, 6):
                await bus.publish(message("q")) if used else await soon(lambda: bus.connected)
                assert len(broker.links) == number
                now += 0.0 if used else STEADY
                broker.link.abort()
                await soon(lambda: bus._supervisor.reconnects == number)  # noqa: B023 - awaited here
                assert backoff.attempts == 0
                assert backoff._unproven is not None
                # The delay was of the shortest kind, and the next is at most longer by one step.
                assert backoff._unproven[1] == backoff.initial * backoff.factor

    run(main())


def test_p09_publish_channel_that_is_closed_while_the_broker_blocks() -> None:
    """What waits needs a channel; no message is to blame for its end."""
    broker = ScriptedBroker()
    selected: list[int] = []

    def on_method(link: ScriptedLink, channel: int, method: Method) -> bool:
        if not isinstance(method, m.ConfirmSelect):
            return False
        selected.append(channel)
        link.machine.send_method(channel, m.ConfirmSelectOk())
        link.machine.block("no memory")
        asyncio.get_running_loop().call_later(0.01, link.close_channel, channel, 541, "INTERNAL_ERROR")
        return True

    async def main() -> None:
        broker.on_method = on_method
        async with broker, aio.connect(broker.url) as bus:
            publishing = asyncio.create_task(bus.publish(message("q")))
            await asyncio.sleep(SPAN)
            assert 1 <= len(selected) <= FEW
            publishing.cancel()
            await asyncio.wait([publishing])
            # Blocked, nothing could be sent.
            assert not broker.published

    run(main())


@pytest.mark.parametrize("repeated", [False, True])
def test_p18_more_deliveries_than_the_prefetch(
    repeated: bool, caplog: pytest.LogCaptureFixture, settings: LazyConfig
) -> None:
    """The broker is told, and nothing more is kept."""
    settings["qos"] = {"prefetch_size": 0, "prefetch_count": 10}
    broker = ScriptedBroker()

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus, bus.subscribe(queue="q", auto_ack=False):
            link = broker.link
            channel, consume = consumed(broker)[0]
            for tag in range(1, 1001):
                deliver(link, channel, consume, 1 if repeated else tag)
            await soon(lambda: link.ended)
            assert link.ended is not None
            assert (link.ended.reply_code, link.ended.by_peer) == (530, True)
            # It asks again, and goes on.
            await soon(lambda: len(consumed(broker)) == 2)

    with caplog.at_level(logging.ERROR):
        run(main())
    [told] = [one for one in caplog.messages if "broke the protocol" in one]
    assert ("tag 1 was used again" if repeated else "the prefetch of 10") in told


def test_p18_broker_that_asks_and_does_not_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers are not kept for it without bound."""
    bound = 1_000_000
    monkeypatch.setattr(connection_module, "_OWED", bound)
    broker = ScriptedBroker()

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus:
            await bus.publish(message("q"))
            link = broker.link
            assert link._transport is not None
            link._transport.pause_reading()
            connection = bus._supervisor._connection
            assert connection is not None
            # More than the systems on both sides buffer of the answers.
            questions = encode_method(1, m.ChannelFlow(True).encode()) * 10_000
            sent = 0
            while not connection.broken:
                assert sent < 100 * bound, "everything is kept"
                link.write(questions)
                sent += len(questions)
                await soon(lambda: link.unsent == 0 or connection.broken)
            assert connection._link is not None
            assert connection._link.owed < 2 * bound
            connection.abort()
            await connection.closed
            # It publishes over another connection.
            await bus.publish(message("q"))

    with caplog.at_level(logging.ERROR):
        run(main())
    assert any("of our answers were not read" in one for one in caplog.messages)


def test_p36_heartbeats_in_a_damaged_frame_are_no_progress() -> None:
    """The answer never comes: what follows is taken for the rest of a frame whose length is wrong."""
    broker = ScriptedBroker(Limits(channel_max=2047, frame_max=131072, heartbeat=1))

    def damage(link: ScriptedLink, channel: int, method: Method) -> bool:
        if link is not broker.links[0] or not isinstance(method, m.ConfirmSelect):
            return False
        link.write(struct.pack(">BHI", METHOD, channel, 100_000))
        asyncio.get_running_loop().call_later(0.3, beat, link)
        return True

    def beat(link: ScriptedLink) -> None:
        if not link.gone.is_set():
            link.write(HEARTBEAT_FRAME)
            asyncio.get_running_loop().call_later(0.5, beat, link)

    broker.on_method = damage

    async def main() -> None:
        async with broker:
            options = connection_options(conf, broker.url)._replace(answer_timeout=2.0)
            async with aio.Bus(options, WAIT) as bus:
                await bus.publish(message("q"), timeout=WAIT)
        assert len(broker.links) == 2

    run(main())
