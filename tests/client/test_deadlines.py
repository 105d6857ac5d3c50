"""A broker that sends heartbeats and answers nothing: it is given up, and the next connection serves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import message, run
from tests.support.waiting import soon

from fedora_messaging.client.group import ConsumerGroup
from fedora_messaging.client.publishing.outgoing import encode, outgoing
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.options import ConnectionOptions, QosOptions, QueueOptions
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from fedora_messaging.protocol.events import ContentReceived
    from fedora_messaging.wire.methods import Method


def options(broker: ScriptedBroker) -> ConnectionOptions:
    return ConnectionOptions(port=int(broker.url.rpartition(":")[2]), answer_timeout=0.2)


def ignore_on_the_first_connection(broker: ScriptedBroker, kind: type[Method]) -> None:
    def ignore(link: ScriptedLink, _channel: int, method: Method) -> bool:
        return link is broker.links[0] and isinstance(method, kind)

    broker.on_method = ignore


@pytest.mark.parametrize("kind", [m.QueueDeclare, m.BasicQos, m.BasicConsume])
def test_p02_broker_that_does_not_answer_a_consumer(kind: type[Method]) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            ignore_on_the_first_connection(broker, kind)
            supervisor = Supervisor(options(broker))
            group = ConsumerGroup(supervisor, print, [(QueueOptions("q"), [])], QosOptions())
            try:
                await group.start()
                assert group.consumers[0].connected
                assert len(broker.links) == 2
                assert broker.links[0].gone.is_set()
            finally:
                await supervisor.close()

    run(main())


def test_p14_broker_that_opens_no_channel_for_publishing() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            ignore_on_the_first_connection(broker, m.ConfirmSelect)
            supervisor = Supervisor(options(broker))
            outcomes: list[Exception | None] = []
            try:
                supervisor.submit(outgoing(encode(message("q"), "amq.topic", False), outcomes.append))
                await soon(lambda: outcomes)
            finally:
                await supervisor.close()
            assert outcomes == [None]
            assert [len(link.published) for link in broker.links] == [0, 1]

    run(main())


def test_p14_broker_that_confirms_nothing_and_does_not_read() -> None:
    """Whoever still waits for a confirm gets it over the next connection."""

    async def main() -> None:
        async with ScriptedBroker() as broker:
            confirm = broker.on_publish

            def confirm_on_the_second_connection(link: ScriptedLink, content: ContentReceived) -> None:
                if link is not broker.links[0]:
                    confirm(link, content)

            def ignore_what_follows(link: ScriptedLink, _channel: int, _method: Method) -> bool:
                return link is broker.links[0] and bool(link.published)

            broker.on_publish = confirm_on_the_second_connection
            broker.on_method = ignore_what_follows
            supervisor = Supervisor(options(broker))
            outcomes: list[Exception | None] = []
            given_up = outgoing(encode(message("q", 1), "amq.topic", False), outcomes.append)
            try:
                supervisor.submit(given_up)
                await soon(lambda: broker.published)
                given_up.abandon()
                supervisor.submit(outgoing(encode(message("q", 2), "amq.topic", False), outcomes.append))
                await soon(lambda: outcomes)
            finally:
                await supervisor.close()
            assert outcomes[0] is None
            assert [len(link.published) for link in broker.links] == [2, 1]

    run(main())


def test_p14_broker_that_confirms_late_keeps_the_connection() -> None:
    """It is asked whether it reads, and answers."""

    async def main() -> None:
        async with ScriptedBroker() as broker:
            held: list[tuple[ScriptedLink, ContentReceived]] = []
            confirm = broker.on_publish
            broker.on_publish = lambda link, content: held.append((link, content))
            supervisor = Supervisor(options(broker))
            outcomes: list[Exception | None] = []
            try:
                supervisor.submit(outgoing(encode(message("q"), "amq.topic", False), outcomes.append))
                await soon(lambda: held)
                methods = broker.link.methods
                await soon(lambda: [type(one) for _, one in methods].count(m.ConfirmSelect) == 3)
                confirm(*held[0])
                await soon(lambda: outcomes)
            finally:
                await supervisor.close()
            assert outcomes == [None]
            assert len(broker.links) == 1

    run(main())


def test_p15_answers_of_a_broker_that_blocks_are_waited_for() -> None:
    """RabbitMQ reads nothing from a connection that it blocks."""

    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = Supervisor(options(broker))
            group = ConsumerGroup(supervisor, print, [(QueueOptions("q"), [])], QosOptions())
            await supervisor.connection()
            broker.link.machine.block("low on memory")
            broker.link.flush()
            await soon(lambda: supervisor.blocked)
            broker.on_method = lambda _link, _channel, method: isinstance(method, m.QueueDeclare)
            starting = asyncio.create_task(group.start())
            try:
                await soon(lambda: [one for _, one in broker.link.methods if isinstance(one, m.QueueDeclare)])
                timeout = options(broker).answer_timeout
                assert not (await asyncio.wait([starting], timeout=3 * timeout))[0]
                broker.on_method = lambda _link, _channel, _method: False
                broker.link.machine.unblock()
                broker.link.send(1, m.QueueDeclareOk("q", 0, 0))
                await starting
            finally:
                await supervisor.close()
            assert len(broker.links) == 1

    run(main())


def test_p15_closing_a_connection_that_answers_nothing() -> None:
    """It ends nevertheless, and so does who waits for a confirm."""

    async def main() -> None:
        async with ScriptedBroker() as broker:
            broker.on_publish = lambda _link, _content: None
            supervisor = Supervisor(options(broker))
            outcomes: list[Exception | None] = []
            supervisor.submit(outgoing(encode(message("q"), "amq.topic", False), outcomes.append))
            await soon(lambda: broker.published)
            await asyncio.wait_for(supervisor.close(), 15)
            assert [str(error) for error in outcomes] == ["the client is closed"]

    run(main())
