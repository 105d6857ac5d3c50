"""What a broker says reaches the log harmless, and in measure."""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import message, plan, run
from tests.support.waiting import soon

from fedora_messaging import aio
from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.logs import LIMIT
from fedora_messaging.protocol.client_handshake import ClientMachine
from fedora_messaging.protocol.connection import Limits
from fedora_messaging.protocol.events import ConnectionEnded
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from fedora_messaging.wire.methods import Method

#: Clears the terminal, forges a line, turns the direction of writing round, and is no UTF-8.
EVIL = "\x1b[2J\r\n2026-01-01 CRITICAL forged \x9b31m\u202e\x00"
#: More than could be logged if each of these were a line.
MANY = 5000


def harmless(texts: list[str]) -> bool:
    return bool(texts) and all(text.isprintable() for text in texts)


def lines_with(texts: list[str], part: str) -> list[str]:
    return [text for text in texts if part in text]


def test_p22_flood_of_blocked_and_unblocked(caplog: pytest.LogCaptureFixture) -> None:
    """Each of them is a line at first, then few of them are."""
    broker = ScriptedBroker()

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus:
            await bus.publish(message("q"))
            [link] = broker.links
            for _ in range(MANY):
                link.machine.block(EVIL)
                link.machine.unblock()
            link.machine.block(EVIL)
            link.flush()
            await soon(lambda: bus._supervisor.blocked is not None or link.gone.is_set())
            await link.everything_read(1)
            assert not link.gone.is_set()
            assert bus._supervisor.blocked is not None
            assert bus._supervisor.blocked.isprintable()

    with caplog.at_level(logging.INFO):
        run(main())
    assert harmless(caplog.messages)
    blocked = lines_with(caplog.messages, "blocks publishing")
    assert 1 <= len(blocked) < MANY / 10
    assert "\\x1b[2J\\r\\n2026" in blocked[0]
    assert len(lines_with(caplog.messages, "takes publishes")) < MANY / 10


def test_p22_flood_of_returns(caplog: pytest.LogCaptureFixture) -> None:
    """Messages come back that nobody has sent."""
    broker = ScriptedBroker()

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus:
            await bus.publish(message("q"))
            [link] = broker.links
            for _ in range(MANY):
                link.machine.send_content(1, m.BasicReturn(312, EVIL, EVIL, EVIL).encode(), b"\0\0", b"?")
            link.flush()
            await link.everything_read(1)

    with caplog.at_level(logging.INFO):
        run(main())
    assert harmless(caplog.messages)
    assert LIMIT <= len(lines_with(caplog.messages, "returned a message")) < MANY / 10


@pytest.mark.parametrize("what", ["channel", "connection", "cancel", "queue name"])
def test_p22_reasons_and_names(what: str, caplog: pytest.LogCaptureFixture) -> None:
    broker = ScriptedBroker()
    told: list[bool] = []

    def on_method(link: ScriptedLink, channel: int, method: Method) -> bool:
        if isinstance(method, m.QueueDeclare) and what == "queue name":
            link.machine.send_method(channel, m.QueueDeclareOk(EVIL, 0, 0))
            return True
        if isinstance(method, m.BasicConsume) and not told:
            told.append(True)
            link.machine.send_method(channel, m.BasicConsumeOk(method.consumer_tag))
            if what == "channel":
                link.close_channel(channel, 404, EVIL)
            elif what == "connection":
                link.machine.close(320, EVIL)
            elif what == "cancel":
                link.send(channel, m.BasicCancel(EVIL))
        return False

    async def main() -> None:
        async def callback(_message: object) -> None:
            """Never called."""

        async with broker, aio.connect(broker.url) as bus:
            broker.on_method = on_method
            consuming = asyncio.create_task(
                bus.consume(callback, **plan("" if what == "queue name" else "q"))
            )
            await soon(lambda: bool(told))
            await asyncio.wait([consuming], timeout=0.2)
            consuming.cancel()
            await asyncio.wait([consuming])

    with caplog.at_level(logging.DEBUG, "fedora_messaging"):
        run(main())
    assert harmless([one.getMessage() for one in caplog.records if one.name.startswith("fedora_messaging")])


@pytest.mark.parametrize("what", ["mechanisms", "many mechanisms", "close"])
def test_p22_refusals(what: str, caplog: pytest.LogCaptureFixture) -> None:
    """Before anybody is logged in: the error and the log are one harmless line of some length."""

    def greet(link: ScriptedLink) -> bool:
        if what == "close":
            payload = m.ConnectionClose(403, EVIL, 0, 0).encode()
        else:
            offered = b"\x1b[2J \x1b]0;x\x07" if what == "mechanisms" else b"\x1bMECH " * 20_000
            payload = m.ConnectionStart(0, 9, {"product": EVIL}, offered, b"en_US").encode()
        link.write(struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce")
        return True

    async def main() -> None:
        async with ScriptedBroker() as broker:
            broker.on_accept = greet
            with pytest.raises(ConnectionException) as caught:
                async with aio.connect(broker.url, timeout=None):
                    raise AssertionError("connected")
            assert harmless([str(caught.value)])
            assert len(str(caught.value)) < 2000

    with caplog.at_level(logging.DEBUG, "fedora_messaging"):
        run(main())
    assert all(one.isprintable() and len(one) < 2000 for one in caplog.messages)


def test_p22_texts_of_errors_that_programs_see() -> None:
    """A program prints what it catches."""
    broker = ScriptedBroker()

    async def main() -> None:
        broker.on_publish = lambda link, content: link.close_channel(content.channel, 403, EVIL)
        async with broker, aio.connect(broker.url) as bus:
            with pytest.raises(Exception, match="forged") as caught:
                await bus.publish(message("q"))
            assert str(caught.value).isprintable()
            assert EVIL in caught.value.reason.reply_text  # type: ignore[attr-defined]

    run(main())


def test_p22_names_of_deliveries(caplog: pytest.LogCaptureFixture) -> None:
    """Routing key, exchange, message id, content type and schema of a message."""
    broker = ScriptedBroker()
    seen: list[object] = []
    kinds: list[dict[str, object]] = [
        {},
        {"fedora_messaging_schema": EVIL, "fedora_messaging_severity": 20},
        {"fedora_messaging_schema": "base.message", EVIL: EVIL},
    ]

    async def main() -> None:
        async def callback(one: object) -> None:
            seen.append(one)

        async with broker, aio.connect(broker.url) as bus:
            consuming = asyncio.create_task(bus.consume(callback, **plan("q")))
            await soon(lambda: any(isinstance(method, m.BasicConsume) for _, method in broker.link.methods))
            link = broker.link
            channel, consume = next(one for one in link.methods if isinstance(one[1], m.BasicConsume))
            assert isinstance(consume, m.BasicConsume)
            for number, body in enumerate((b"{}", b"{", EVIL.encode()), 1):
                for offset, headers in enumerate(kinds):
                    properties = BasicProperties(
                        headers=headers, message_id=EVIL, content_encoding=EVIL, content_type=EVIL
                    )
                    tag = 3 * number + offset - 2
                    deliver = m.BasicDeliver(consume.consumer_tag, tag, False, EVIL, EVIL)
                    link.deliver(channel, deliver, body, properties)
            await link.everything_read(channel)
            await soon(lambda: len([one for _, one in link.methods if isinstance(one, m.BasicNack)]) >= 1)
            consuming.cancel()
            await asyncio.wait([consuming])

    with caplog.at_level(logging.DEBUG, "fedora_messaging"):
        run(main())
    assert harmless([one.getMessage() for one in caplog.records if one.name.startswith("fedora_messaging")])


def test_close_text_of_the_machine_is_bounded() -> None:
    """What is told to the broker holds what it has sent, in a form that a short string holds."""
    machine = ClientMachine(now=0.0, limits=Limits(), username="u", password="p")
    payload = m.ConnectionStart(0, 9, {}, b"\x1b" * 100_000, b"en_US").encode()
    machine.receive_data(struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce", 0.0)
    [event] = machine.events()
    assert isinstance(event, ConnectionEnded)
    assert event.reply_text.isprintable()
