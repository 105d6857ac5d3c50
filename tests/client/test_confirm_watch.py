"""Noticing that a broker confirms nothing any more, whatever channel a publish is on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import message, run
from tests.support.waiting import soon

from fedora_messaging.client.amqp.connection import Connection
from fedora_messaging.client.publishing import publisher
from fedora_messaging.client.publishing.confirm_watch import ConfirmWatch
from fedora_messaging.client.publishing.outgoing import Outgoing, encode, outgoing
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.exceptions import PublishNacked
from fedora_messaging.options import ConnectionOptions
from fedora_messaging.protocol.confirms import AwaitedConfirms
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    import pytest

    from fedora_messaging.protocol.events import ContentReceived


def options(broker: ScriptedBroker) -> ConnectionOptions:
    return ConnectionOptions(port=int(broker.url.rpartition(":")[2]), answer_timeout=0.1)


def publish(outcomes: list[Exception | None]) -> Outgoing:
    return outgoing(encode(message("q"), "amq.topic", False), outcomes.append)


def questions(link: ScriptedLink, channel: int) -> int:
    """How often a channel was put into confirm mode, which is the watch's question, too."""
    return [(number, type(method)) for number, method in link.methods].count((channel, m.ConfirmSelect))


def test_broker_is_asked_until_the_channel_is_closed() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            connection = await Connection.open(options(broker))
            channels = [await connection.open_channel() for _ in range(2)]
            for channel in channels:
                awaited: AwaitedConfirms[Outgoing] = AwaitedConfirms()
                awaited.sent(publish([]))
                ConfirmWatch(channel, awaited, has_other_nodes=False).look_later()
            await soon(lambda: questions(broker.link, 1) > 2)
            await channels[0].close()
            asked, elsewhere = questions(broker.link, 1), questions(broker.link, 2)
            # Both watches would look twice in the same time.
            await soon(lambda: questions(broker.link, 2) > elsewhere + 1)
            assert questions(broker.link, 1) == asked
            await connection.close()

    run(main())


def test_node_that_answers_and_confirms_nothing_is_left_if_there_are_others() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            connection = await Connection.open(options(broker))
            channel = await connection.open_channel()
            awaited: AwaitedConfirms[Outgoing] = AwaitedConfirms()
            awaited.sent(publish([]))
            ConfirmWatch(channel, awaited, has_other_nodes=True).look_later()
            await connection.closed
            assert questions(broker.link, 1) == 1

    run(main())


def test_publish_on_a_channel_that_was_replaced_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal makes the publisher go on over another channel; an older publish stays on the first."""
    monkeypatch.setattr(publisher, "_REOPEN_DELAY", 0.0)

    def refuse_second(link: ScriptedLink, content: ContentReceived) -> None:
        if link.tag(content.channel) == 2:
            link.send(content.channel, m.BasicNack(2))

    async def main() -> None:
        async with ScriptedBroker() as broker:
            broker.on_publish = refuse_second
            supervisor = Supervisor(options(broker))
            await supervisor.connection()
            oldest: list[Exception | None] = []
            refused: list[Exception | None] = []
            supervisor.submit(publish(oldest))
            supervisor.submit(publish(refused))
            await soon(lambda: refused)
            assert isinstance(refused[0], PublishNacked)
            asked = questions(broker.link, 1)
            await soon(lambda: questions(broker.link, 1) > asked + 1)
            assert not oldest
            broker.link.send(1, m.BasicAck(1))
            await soon(lambda: oldest == [None])
            await supervisor.close()

    run(main())
