"""A node that is separated from its cluster and goes on, as those of RabbitMQ 4.3 do (P02, P14)."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import message, run
from tests.support.waiting import soon

from fedora_messaging.client.group import ConsumerGroup
from fedora_messaging.client.publishing.outgoing import encode, outgoing
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.options import ConnectionOptions, ConsumerOptions, QosOptions, QueueOptions
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fedora_messaging.wire.methods import Method


def silent(*_event: object) -> None:
    """Confirm nothing."""


@asynccontextmanager
async def cluster(size: int) -> AsyncIterator[tuple[Supervisor, list[ScriptedBroker]]]:
    """Nodes, and a supervisor that knows them all."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(ScriptedBroker()) for _ in range(size)]
        ports = [int(node.url.rpartition(":")[2]) for node in nodes]
        first, *others = [ConnectionOptions(port=port, answer_timeout=0.2) for port in ports]
        supervisor = Supervisor(first._replace(alternatives=tuple(others)))
        try:
            yield supervisor, nodes
        finally:
            await supervisor.close()


async def used(nodes: list[ScriptedBroker]) -> ScriptedBroker:
    """The node that the supervisor has chosen."""
    await soon(lambda: [node for node in nodes if node.links])
    (node,) = (node for node in nodes if node.links)
    return node


def test_p14_publisher_leaves_a_node_that_confirms_nothing() -> None:
    async def main() -> None:
        async with cluster(2) as (supervisor, nodes):
            await supervisor.connection()
            separated = await used(nodes)
            separated.on_publish = silent
            outcomes: list[Exception | None] = []
            supervisor.submit(outgoing(encode(message("q"), "amq.topic", False), outcomes.append))
            await soon(lambda: outcomes)
            assert outcomes == [None]
            (other,) = (node for node in nodes if node is not separated)
            assert (len(separated.published), len(other.published)) == (1, 1)

    run(main())


def test_p14_publisher_that_knows_no_other_node_stays() -> None:
    """The broker is asked again and again whether it still reads."""

    async def main() -> None:
        async with cluster(1) as (supervisor, [node]):
            await supervisor.connection()
            node.on_publish = silent
            outcomes: list[Exception | None] = []
            supervisor.submit(outgoing(encode(message("q"), "amq.topic", False), outcomes.append))
            await soon(lambda: [type(one) for _, one in node.link.methods].count(m.ConfirmSelect) > 4)
            assert not outcomes
            assert len(node.links) == 1
            node.link.send(node.published[0].channel, m.BasicAck(1))
            await soon(lambda: outcomes == [None])

    run(main())


def counting(number: int) -> Callable[[ScriptedLink, int, Method], bool]:
    """Answer each look at a queue with this number of messages."""

    def answer(link: ScriptedLink, channel: int, method: Method) -> bool:
        if isinstance(method, m.QueueDeclare) and method.passive:
            link.send(channel, m.QueueDeclareOk(method.queue, number, 0))
            return True
        return False

    return answer


def consumed(node: ScriptedBroker) -> int:
    return sum(isinstance(method, m.BasicConsume) for link in node.links for _, method in link.methods)


async def consume(supervisor: Supervisor) -> ConsumerGroup:
    group = ConsumerGroup(
        supervisor,
        print,
        [(QueueOptions("q", durable=True), [])],
        QosOptions(),
        options=ConsumerOptions(watchdog=0.05),
    )
    await group.start()
    return group


def test_p02_consumer_leaves_a_node_that_does_not_know_what_waits() -> None:
    async def main() -> None:
        async with cluster(3) as (supervisor, nodes):
            for node in nodes:
                node.on_method = counting(7)
            await supervisor.connection()
            separated = await used(nodes)
            separated.on_method = counting(0)
            await consume(supervisor)
            assert consumed(separated) == 1
            await soon(lambda: [node for node in nodes if node is not separated and consumed(node)])
            # The node has heard of the subscription before the supervisor gets its answer.
            await soon(lambda: supervisor.reconnects >= 1)

    run(main())


@pytest.mark.parametrize("others", ["know of nothing", "are away"])
def test_p02_consumer_with_nothing_to_do_stays(others: str) -> None:
    async def main() -> None:
        async with cluster(3) as (supervisor, nodes):
            asked: list[ScriptedLink] = []

            def refuse(link: ScriptedLink) -> bool:
                asked.append(link)
                link.abort()
                return True

            for node in nodes:
                node.on_method = counting(0)
            await supervisor.connection()
            here = await used(nodes)
            await consume(supervisor)
            if others == "are away":
                for node in nodes:
                    if node is not here:
                        node.on_accept = refuse
            await soon(lambda: sum(len(node.links) for node in nodes if node is not here) > 6)
            assert (len(here.links), consumed(here), supervisor.reconnects) == (1, 1, 0)
            assert bool(asked) == (others == "are away")

    run(main())
