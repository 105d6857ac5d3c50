"""The nodes of a cluster: whose turn it is, and what another node knows of a queue."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker

from fedora_messaging.broker import AsyncBroker
from fedora_messaging.client.amqp.connection import Connection, Unreachable
from fedora_messaging.client.amqp.topology import declare
from fedora_messaging.client.nodes import Nodes
from fedora_messaging.options import ConnectionOptions, QueueOptions
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def nobody() -> Iterator[ConnectionOptions]:
    """A port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield at(bound.getsockname()[1])


def at(port: int) -> ConnectionOptions:
    return ConnectionOptions("127.0.0.1", port)


def nodes_of(first: ConnectionOptions, *others: ConnectionOptions) -> Nodes:
    return Nodes(first._replace(alternatives=others))


async def holding(stack: AsyncExitStack, messages: int, queue: str = "q") -> ConnectionOptions:
    """A node where this many messages wait in a queue."""
    broker = await stack.enter_async_context(AsyncBroker())
    connection = await Connection.open(at(broker.port))
    await declare(connection, QueueOptions(queue), [])
    channel = await connection.open_channel()
    for _ in range(messages):
        channel.send_content(m.BasicPublish("", queue).encode(), encode_properties(BasicProperties()), b"{}")
    await connection.close()
    return at(broker.port)


def test_each_node_is_dialled_before_any_is_dialled_again() -> None:
    async def main() -> None:
        async with AsyncBroker() as first, AsyncBroker() as second, AsyncBroker() as third:
            ports = [first.port, second.port, third.port]
            nodes = nodes_of(*map(at, ports))
            assert (len(nodes), nodes.present.port) == (3, first.port)
            dialled = []
            for _ in range(6):
                connection = await nodes.dial()
                assert connection.options is nodes.present
                dialled.append(connection.options.port)
                await connection.close()
            assert sorted(dialled[:3]) == sorted(ports)
            assert dialled[3:] == dialled[:3]

    asyncio.run(main())


def test_node_that_cannot_be_reached_has_had_its_turn(nobody: ConnectionOptions) -> None:
    async def main() -> None:
        async with AsyncBroker() as broker:
            nodes = nodes_of(nobody, at(broker.port))
            failures = []
            for _ in range(4):
                try:
                    connection = await nodes.dial()
                except Unreachable as error:
                    failures.append(error)
                    assert nodes.present.port == nobody.port
                else:
                    assert nodes.present.port == broker.port
                    await connection.close()
            assert len(failures) == 2
            assert str(failures[0]).startswith(f"cannot connect to amqp://127.0.0.1:{nobody.port}: ")

    asyncio.run(main())


def test_another_node_tells_how_many_messages_wait() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            here, there = await holding(stack, 1), await holding(stack, 3)
            assert await nodes_of(here, there).count_elsewhere("q") == 3
            nodes = nodes_of(here, there)
            # The others are those that are not dialled now.
            for _ in range(2):
                await (await nodes.dial()).close()
                assert await nodes.count_elsewhere("q") == (3 if nodes.present.port == here.port else 1)
            assert await nodes_of(here).count_elsewhere("q") == 0

    asyncio.run(main())


def test_nodes_that_cannot_tell_are_passed_over(nobody: ConnectionOptions) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            here, there = await holding(stack, 1), await holding(stack, 3)
            mute = [
                nobody,
                there._replace(vhost="/missing"),
                there._replace(client_properties={"when": object()}),
                await holding(stack, 5, "another"),
            ]
            # The nodes are asked in a random order.
            for _ in range(3):
                assert await nodes_of(here, *mute, there).count_elsewhere("q") == 3
            assert await nodes_of(here, *mute).count_elsewhere("q") == 0

    asyncio.run(main())


@pytest.mark.parametrize("refuses", [False, True])
def test_connection_to_the_other_node_is_closed(refuses: bool) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:

            def answer(link: object, channel: int, method: object) -> bool:
                if refuses and isinstance(method, m.QueueDeclare):
                    broker.link.close_channel(channel, 404, "NOT_FOUND - no queue 'q' in vhost '/'")
                    return True
                return False

            broker.on_method = answer
            other = at(int(broker.url.rpartition(":")[2]))
            assert await nodes_of(at(1), other).count_elsewhere("q") == 0
            await broker.link.gone.wait()
            [(_channel, asked)] = broker.link.methods
            assert isinstance(asked, m.QueueDeclare)
            assert (asked.queue, asked.passive) == ("q", True)
            assert broker.link.ended is not None
            assert broker.link.ended.reply_code == 200

    asyncio.run(main())
