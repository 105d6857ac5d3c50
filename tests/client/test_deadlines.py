"""A broker that sends heartbeats and answers nothing: it is given up, and the next connection serves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import message, run, soon

from fedora_messaging.client.group import ConsumerGroup
from fedora_messaging.client.publisher import encode, outgoing
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.options import ConnectionOptions, QosOptions, QueueOptions
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
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
