"""Confirms, returns and closes in orders that real brokers seldom choose; and hostile brokers (P18)."""

from __future__ import annotations

import asyncio
import struct
import time
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import message, run
from tests.support.waiting import WAIT, soon

from fedora_messaging import aio
from fedora_messaging.exceptions import (
    ConnectionException,
    ExchangeNotFound,
    PublishException,
    PublishForbidden,
    PublishNacked,
    PublishTimeout,
)
from fedora_messaging.protocol.connection import Limits
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fedora_messaging.protocol.events import ContentReceived
    from fedora_messaging.wire.methods import Method


def silent(_link: ScriptedLink, _content: ContentReceived) -> None:
    """Confirm nothing."""


async def publish(bus: aio.Bus, *which: int, **arguments: Any) -> list[asyncio.Task[None]]:
    """Begin to publish, in this order."""
    tasks = []
    for number in which:
        tasks.append(asyncio.create_task(bus.publish(message("q", number), **arguments)))
        await asyncio.sleep(0)
    return tasks


async def outcomes(tasks: list[asyncio.Task[None]]) -> list[str]:
    """Names of what they raised, "" for those that were confirmed."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return ["" if error is None else type(error).__name__ for error in found]


# Confirms


@pytest.mark.parametrize(
    ("confirms", "expected"),
    [
        ([m.BasicAck(5, multiple=True)], ["", "", "", "", ""]),
        ([m.BasicAck(0, multiple=True)], ["", "", "", "", ""]),
        ([m.BasicAck(n) for n in (5, 3, 1, 2, 4)], ["", "", "", "", ""]),
        ([m.BasicAck(3), m.BasicAck(5, multiple=True)], ["", "", "", "", ""]),
        ([m.BasicNack(5, multiple=True)], ["PublishNacked"] * 5),
        ([m.BasicNack(2, multiple=True), m.BasicAck(5, multiple=True)], ["PublishNacked"] * 2 + [""] * 3),
        ([m.BasicNack(4), m.BasicAck(5, multiple=True)], ["", "", "", "PublishNacked", ""]),
        ([m.BasicAck(2), m.BasicNack(3, multiple=True), m.BasicAck(0, multiple=True)],
         ["PublishNacked", "", "PublishNacked", "", ""]),
    ],
    ids=["multiple", "all", "out of order", "gap", "nacks", "nacks first", "one nack", "mixed"],
)  # fmt: skip
def test_confirms(confirms: list[Method], expected: list[str]) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = silent
            tasks = await publish(bus, *range(5))
            await soon(lambda: len(broker.published) == 5)
            for confirm in confirms:
                broker.link.send(broker.published[0].channel, confirm)
            assert await outcomes(tasks) == expected

    run(main())


def test_channel_that_refuses_everything_is_replaced() -> None:
    """As RabbitMQ 3.10 refuses all that a channel has for a quorum queue whose leader had died at first.

    What is in flight on the old channel is confirmed there, or sent again if it is closed.
    """

    async def main() -> None:
        refusing: list[int] = []

        def on_publish(link: ScriptedLink, content: ContentReceived) -> None:
            refusing[:] = refusing or [content.channel]
            if content.body == b'{"number": 7}' and content.channel in refusing:
                return
            answer = m.BasicNack if content.channel in refusing else m.BasicAck
            link.send(content.channel, answer(link.tag(content.channel)))

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = on_publish
            with pytest.raises(PublishNacked):
                await bus.publish(message("q", 0))
            in_flight = await publish(bus, 7)
            refused = 0
            began = time.monotonic()
            while True:
                try:
                    await asyncio.wait_for(bus.publish(message("q", 1)), WAIT)
                    break
                except PublishNacked:
                    refused += 1
                    assert time.monotonic() - began < WAIT
            assert refused
            assert not in_flight[0].done()
            (old,) = refusing
            broker.link.send(old, m.BasicAck(2))
            await asyncio.wait_for(in_flight[0], WAIT)
            await soon(lambda: old not in broker.link._tags)  # it is closed

    run(main())


@pytest.mark.parametrize("end", ["channel", "connection"])
def test_what_is_in_flight_on_a_replaced_channel_is_not_lost(end: str) -> None:
    async def main() -> None:
        refusing: list[int] = []

        def on_publish(link: ScriptedLink, content: ContentReceived) -> None:
            refusing[:] = refusing or [content.channel]
            if content.channel not in refusing or link is not broker.links[0]:
                link.send(content.channel, m.BasicAck(link.tag(content.channel)))
            elif content.body != b'{"number": 7}':
                link.send(content.channel, m.BasicNack(link.tag(content.channel)))

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = on_publish
            (in_flight,) = await publish(bus, 7)
            while True:
                with suppress(PublishNacked):
                    await asyncio.wait_for(bus.publish(message("q", 1)), WAIT)
                    break
            if end == "channel":
                broker.link.close_channel(refusing[0], 541, "INTERNAL_ERROR")
            else:
                broker.link.abort()
            await asyncio.wait_for(in_flight, WAIT)
            await asyncio.wait_for(bus.publish(message("q", 2)), WAIT)

    run(main())


@pytest.mark.parametrize(
    "confirm", [m.BasicAck(9), m.BasicAck(9, multiple=True), m.BasicNack(7)], ids=["one", "multiple", "nack"]
)
def test_confirm_of_what_was_never_published(confirm: Method) -> None:
    """The broker has lost count: the connection is given up, and nobody is told a lie."""

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = silent
            tasks = await publish(bus, 0, 1)
            await soon(lambda: len(broker.published) == 2)
            channel = broker.published[0].channel
            broker.on_publish = ScriptedBroker().on_publish
            broker.link.send(channel, confirm)
            await soon(lambda: len(broker.links) == 2)
            assert await outcomes(tasks) == ["", ""]
            assert len(broker.published) == 4

    run(main())


def test_confirm_twice() -> None:
    """Harmless or fatal to the connection, but never a confirm for somebody else."""

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = silent
            tasks = await publish(bus, 0, 1)
            await soon(lambda: len(broker.published) == 2)
            for _ in range(2):
                broker.link.send(broker.published[0].channel, m.BasicAck(1))
            await broker.link.everything_read(broker.published[0].channel)
            # Were the second one taken for the other publish, this would be done as well.
            assert [task.done() for task in tasks] == [True, False]
            broker.on_publish = ScriptedBroker().on_publish
            broker.link.abort()
            assert await outcomes(tasks) == ["", ""]

    run(main())


def test_return_comes_before_the_confirm() -> None:
    async def main() -> None:
        def returning(link: ScriptedLink, content: ContentReceived) -> None:
            method = content.method
            assert isinstance(method, m.BasicPublish)
            if b"1" in (content.body or b""):
                back = m.BasicReturn(312, "NO_ROUTE", method.exchange, method.routing_key)
                assert content.body is not None
                link.machine.send_content(content.channel, back.encode(), content.properties, content.body)
            link.send(content.channel, m.BasicAck(link.tag(content.channel)))

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = returning
            tasks = await publish(bus, *range(4), mandatory=True)
            assert await outcomes(tasks) == ["", "PublishReturned", "", ""]

    run(main())


def test_unasked_methods_on_the_publishing_channel() -> None:
    """A return of something unknown, a delivery, a cancel, flow: nobody is confused."""

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            await bus.publish(message("q"))
            channel = broker.published[0].channel
            link = broker.link
            link.deliver(channel, m.BasicReturn(312, "NO_ROUTE", "x", "y"), b"{}", BasicProperties())
            link.deliver(channel, m.BasicDeliver("nobody", 1, False, "x", "y"), b"{}", BasicProperties())
            link.send(channel, m.BasicCancel("nobody"))
            link.send(channel, m.ChannelFlow(True))
            await bus.publish(message("q"))
            assert any(isinstance(method, m.ChannelFlowOk) for _, method in link.methods)

    run(main())


# Closes


def test_channel_closed_in_the_same_breath_as_it_was_opened() -> None:
    """confirm.select-ok and channel.close in one packet."""

    async def main() -> None:
        def closing(link: ScriptedLink, channel: int, method: Method) -> bool:
            if isinstance(method, m.ConfirmSelect) and not closed:
                closed.append(channel)
                link.machine.send_method(channel, m.ConfirmSelectOk())
                link.machine.close_channel(channel, 406, "canary")
                return True
            return False

        closed: list[int] = []
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = closing
            await bus.publish(message("q", 1), timeout=WAIT)
            await bus.publish(message("q", 2), timeout=WAIT)

    run(main())


def test_connection_closed_in_the_same_breath_as_its_channel_was_opened() -> None:
    """confirm.select-ok and connection.close in one packet: what waited goes out on the next connection."""

    async def main() -> None:
        def closing(link: ScriptedLink, channel: int, method: Method) -> bool:
            if isinstance(method, m.ConfirmSelect) and len(broker.links) == 1:
                link.machine.send_method(channel, m.ConfirmSelectOk())
                link.machine.close(320, "canary")
                return True
            return False

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = closing
            tasks = await publish(bus, 0, 1, 2, timeout=WAIT)
            assert await outcomes(tasks) == ["", "", ""]
            await bus.publish(message("q", 3), timeout=WAIT)

    run(main())


def test_confirms_that_are_refused_once() -> None:
    """The publish does not wait for the connection to end."""

    async def main() -> None:
        def closing(link: ScriptedLink, channel: int, method: Method) -> bool:
            if isinstance(method, m.ConfirmSelect) and not closed:
                closed.append(channel)
                link.machine.close_channel(channel, 504, "canary")
                return True
            return False

        closed: list[int] = []
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = closing
            await bus.publish(message("q", 1), timeout=WAIT)

    run(main())


@pytest.mark.parametrize(
    ("code", "error"),
    [(403, PublishForbidden), (404, ExchangeNotFound), (406, PublishException), (504, PublishException)],
)
def test_channel_that_is_closed_for_each_publish(code: int, error: type[Exception]) -> None:
    """P09: told after two attempts at the latest, whatever the reason."""

    async def main() -> None:
        def refuse(link: ScriptedLink, content: ContentReceived) -> None:
            link.close_channel(content.channel, code, "canary")

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = refuse
            with pytest.raises(error, match="canary") as caught:
                await bus.publish(message("q"), timeout=None)
            assert type(caught.value) is error
            assert len(broker.published) <= 2
            broker.on_publish = ScriptedBroker().on_publish
            await bus.publish(message("q"))

    run(main(), within=WAIT)


def test_transient_loss_of_the_channel_is_not_told() -> None:
    """The library publishes once more, on a new channel."""

    async def main() -> None:
        def once(link: ScriptedLink, content: ContentReceived) -> None:
            if len(broker.published) == 1:
                link.close_channel(content.channel, 406, "canary")
            else:
                link.send(content.channel, m.BasicAck(link.tag(content.channel)))

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = once
            await bus.publish(message("q"))
            assert len(broker.published) == 2

    run(main())


def test_connection_closed_for_each_publish() -> None:
    """P09: a publish that costs the connection every time, as a header that the broker chokes on does.

    It is not tried for ever at full speed; its deadline, or an error before, ends it.
    """

    async def main() -> None:
        def refuse(link: ScriptedLink, _content: ContentReceived) -> None:
            link.machine.close(541, "canary")

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = refuse
            begin = time.monotonic()
            with pytest.raises((PublishException, ConnectionException)):
                await bus.publish(message("q"), timeout=2)
            assert time.monotonic() - begin < WAIT
            assert len(broker.links) < 50

    run(main())


def test_partial_confirm_before_the_channel_closes() -> None:
    """What was confirmed stays so; of the rest only the guilty one fails."""

    async def main() -> None:
        def judge(link: ScriptedLink, content: ContentReceived) -> None:
            assert content.body is not None
            if b"3" in content.body:
                link.close_channel(content.channel, 404, "canary")
            elif link.tag(content.channel) <= 2 or len(broker.published) > 6:
                link.send(content.channel, m.BasicAck(link.tag(content.channel)))

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = judge
            tasks = await publish(bus, *range(6), timeout=WAIT)
            assert await outcomes(tasks) == ["", "", "", "ExchangeNotFound", "", ""]

    run(main())


# Blocked (P15)


def test_p15_blocked_connection() -> None:
    """P15: deadlines hold, waiting publishes go out when the alarm is over."""

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            await bus.publish(message("q", 0))
            link, channel = broker.link, broker.published[0].channel
            link.write(blocked("canary"))
            await link.everything_read(channel)
            with pytest.raises(PublishTimeout) as caught:
                await bus.publish(message("q", 1), timeout=0.1)
            assert not caught.value.sent
            assert caught.value.__notes__ == ["The broker blocks publishing: canary"]
            (task,) = await publish(bus, 2)
            await link.everything_read(channel)
            assert not task.done()
            assert len(broker.published) == 1
            link.write(frame(1, 0, struct.pack(">HH", 10, 61)))
            await task
            assert [content.body for content in broker.published] == [b'{"number": 0}', b'{"number": 2}']

    run(main())


def test_p15_blocked_too_long_gives_the_connection_up() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            async with aio.connect(f"{broker.url}?blocked_connection_timeout=0.2") as bus:
                await bus.publish(message("q", 0))
                link = broker.link
                link.write(blocked("canary"))
                await link.everything_read(broker.published[0].channel)
                await bus.publish(message("q", 1))
                assert len(broker.links) == 2

    run(main())


# Hostile brokers (P18)


def frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    """A frame, right or wrong."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def blocked(reason: str) -> bytes:
    """connection.blocked."""
    return frame(1, 0, struct.pack(">HHB", 10, 60, len(reason)) + reason.encode())


GREETINGS = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "another version": b"AMQP\x00\x01\x00\x00",
    "nothing but noise": b"\x00" * 64,
    "frame of 4 GB": struct.pack(">BHI", 1, 0, 0xFFFFFFFF),
    "frame of 2 MB": struct.pack(">BHI", 1, 0, 2_000_000) + b"x" * 2_000_000,
    "unknown frame type": frame(7, 0, b"canary"),
    "wrong frame end": frame(1, 0, struct.pack(">HH", 10, 10), b"\x00"),
    "empty method": frame(1, 0, b""),
    "unknown method": frame(1, 0, struct.pack(">HH", 99, 99)),
    "start cut short": frame(1, 0, struct.pack(">HHBB", 10, 10, 0, 9)),
    "start with nested tables": frame(
        1, 0, struct.pack(">HHBBI", 10, 10, 0, 9, 60_000) + b"\x01aF\x00\x00\xff\xff" * 8000
    ),
    "frame on a channel": frame(1, 1, struct.pack(">HH", 20, 11)),
    "open-ok at once": frame(1, 0, struct.pack(">HHB", 10, 41, 0)),
    "tune at once": frame(1, 0, struct.pack(">HHHIH", 10, 30, 0, 131072, 60)),
    "hangs up": b"",
}


@pytest.mark.parametrize("name", GREETINGS)
def test_p18_broken_greeting(name: str) -> None:
    """A ConnectionException at once, whatever the server says; nothing is gathered."""

    async def main() -> None:
        def greet(link: ScriptedLink) -> bool:
            link.write(GREETINGS[name])
            if not GREETINGS[name]:
                link.abort()
            return True

        async with ScriptedBroker() as broker:
            broker.on_accept = greet
            with pytest.raises(ConnectionException) as caught:
                async with aio.connect(broker.url, timeout=None):
                    raise AssertionError("connected")
            assert "handshake" in str(caught.value)

    run(main(), within=WAIT)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(channel_max=2047, frame_max=4096, heartbeat=0),
        Limits(channel_max=2047, frame_max=8191, heartbeat=0),
        Limits(channel_max=2047, frame_max=1, heartbeat=0),
    ],
    ids=lambda limits: str(limits.frame_max),
)
def test_p18_tiny_frame_max_is_refused(limits: Limits) -> None:
    """P18, P29."""

    async def main() -> None:
        async with ScriptedBroker(limits) as broker:
            with pytest.raises(ConnectionException, match="frame_max"):
                async with aio.connect(broker.url, timeout=None):
                    raise AssertionError("connected")

    run(main(), within=WAIT)


def delivery(channel: int, size: int, *bodies: bytes) -> bytes:
    """basic.deliver with its content, right or wrong."""
    deliver = m.BasicDeliver("tag", 1, False, "x", "y").encode()
    head = struct.pack(">HHQ", 60, 0, size) + b"\x00\x00"
    return b"".join(
        [frame(1, channel, deliver), frame(2, channel, head), *[frame(3, channel, body) for body in bodies]]
    )


HOSTILITIES: dict[str, Callable[[int], bytes]] = {
    "frame above frame_max": lambda channel: frame(3, channel, b"x" * 131072),
    "frame of 4 GB": lambda channel: struct.pack(">BHI", 3, channel, 0xFFFFFFFF) + b"x" * 100_000,
    "wrong frame end": lambda channel: frame(1, channel, struct.pack(">HHQB", 60, 80, 1, 0), b"\xcd"),
    "unknown frame type": lambda channel: frame(9, channel, b""),
    "channel above channel_max": lambda _channel: frame(1, 60_000, struct.pack(">HH", 20, 11)),
    "channel that is not open": lambda _channel: frame(1, 1000, struct.pack(">HHQB", 60, 80, 1, 0)),
    "heartbeat on a channel": lambda channel: frame(8, channel, b""),
    "heartbeat with a payload": lambda _channel: frame(8, 0, b"canary"),
    "body before its header": lambda channel: frame(3, channel, b"canary"),
    "body longer than announced": lambda channel: delivery(channel, 1, b"canary"),
    "header of another class": lambda channel: (
        frame(1, channel, m.BasicDeliver("tag", 1, False, "x", "y").encode())
        + frame(2, channel, struct.pack(">HHQ", 50, 0, 1) + b"\x00\x00")
    ),
    "header cut short": lambda channel: (
        frame(1, channel, m.BasicDeliver("tag", 1, False, "x", "y").encode()) + frame(2, channel, b"\x00<")
    ),
    "answer to no question": lambda channel: frame(1, channel, struct.pack(">HH", 85, 11)),
    "request for a server": lambda channel: frame(1, channel, struct.pack(">HHB", 85, 10, 0)),
    "method cut short": lambda channel: frame(1, channel, struct.pack(">HHB", 60, 80, 0)),
    "second start": lambda _channel: frame(1, 0, struct.pack(">HHBB", 10, 10, 0, 9) + b"\x00" * 12),
}


@pytest.mark.parametrize("name", HOSTILITIES)
def test_p18_broken_protocol_costs_the_connection_only(name: str) -> None:
    """The client says so, dials again, and repeats what was in flight."""

    async def main() -> None:
        def spoil(link: ScriptedLink, content: ContentReceived) -> None:
            if link is broker.links[0]:
                link.write(HOSTILITIES[name](content.channel))
            else:
                link.send(content.channel, m.BasicAck(link.tag(content.channel)))

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = spoil
            await bus.publish(message("q"), timeout=WAIT)
            assert len(broker.links) == 2

    run(main())


def test_p18_announced_sizes_cost_nothing() -> None:
    """A body of exabytes is announced, and begins to come: nothing is set aside, nothing is gathered."""

    async def main() -> int:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = silent
            tasks = await publish(bus, 0)
            await soon(lambda: broker.published)
            link, channel = broker.link, broker.published[0].channel
            piece = frame(3, channel, b"x" * 100_000)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            link.write(delivery(channel, 2**63))
            for _ in range(100):
                link.write(piece)
                await soon(lambda: not link.unsent)
            broker.on_publish = ScriptedBroker().on_publish
            # The answer to this comes when all has been read.
            link.machine.close(320, "canary")
            link.flush()
            await link.gone.wait()
            peak = tracemalloc.get_traced_memory()[1] - before
            assert link.ended is not None
            await asyncio.gather(*tasks)
            return peak

    tracemalloc.start()
    try:
        assert run(main()) < 3_000_000
    finally:
        tracemalloc.stop()


def test_p18_delivery_of_nobody() -> None:
    """A delivery with a wrong consumer tag, or before consume-ok, harms nobody."""

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:

            def eager(link: ScriptedLink, channel: int, method: Method) -> bool:
                if not isinstance(method, m.BasicConsume):
                    return False
                right = BasicProperties(content_encoding="utf-8", headers={"fedora_messaging_severity": 20})
                for tag in (method.consumer_tag, "nobody"):
                    link.machine.send_content(
                        channel,
                        m.BasicDeliver(tag, 1 if tag != "nobody" else 2, False, "x", "topic").encode(),
                        encode_properties(right),
                        b'{"number": 1}',
                    )
                link.machine.send_method(channel, m.BasicConsumeOk(method.consumer_tag))
                return True

            broker.on_method = eager
            async with bus.subscribe(queue="q") as subscription:
                first = await anext(subscription)
                assert first.message.body == {"number": 1}
                await first.ack()
            acks = [method for _, method in broker.link.methods if isinstance(method, m.BasicAck)]
            assert [ack.delivery_tag for ack in acks] == [1]

    run(main())


def test_p18_broker_that_answers_nothing_more() -> None:
    """Heartbeats of 1 s: a broker that accepts everything and says nothing is given up."""

    async def main() -> None:
        async with ScriptedBroker(Limits(channel_max=2047, frame_max=131072, heartbeat=1)) as broker:
            async with aio.connect(broker.url) as bus:
                broker.on_publish = lambda link, content: (
                    link.send(content.channel, m.BasicAck(link.tag(content.channel)))
                    if link is not broker.links[0]
                    else None
                )
                await bus.publish(message("q"), timeout=WAIT)
                assert len(broker.links) == 2

    run(main())


def test_p18_declare_that_is_never_answered() -> None:
    """Nor does it hold up closing."""

    async def main() -> None:
        def mute(_link: ScriptedLink, _channel: int, method: Method) -> bool:
            return isinstance(method, m.QueueDeclare)

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = mute
            waiting: Coroutine[Any, Any, aio.Delivery] = bus.subscribe(queue="q").__anext__()
            task = asyncio.create_task(waiting)
            await soon(lambda: any(isinstance(method, m.QueueDeclare) for _, method in broker.link.methods))
            await bus.close()
            with pytest.raises((ConnectionException, StopAsyncIteration)):
                await asyncio.wait_for(task, WAIT)

    run(main(), within=2 * WAIT)
