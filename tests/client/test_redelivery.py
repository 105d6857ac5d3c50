"""Delay queues, as a broker is asked for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.client.scripted import ScriptedBroker
from tests.client.support import run

from fedora_messaging.client.consuming.delivery import Raw
from fedora_messaging.client.policy.redelivery import Redelivery, _other_name
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.options import ConnectionOptions, QueueOptions, RetryOptions
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from tests.client.scripted import ScriptedLink

    from fedora_messaging.wire.methods import Method


def test_p40_other_names_of_delay_queues() -> None:
    """They fit, and tell apart what has other arguments."""
    short = QueueOptions("q.retry.50", arguments={"x-message-ttl": 50})
    long = QueueOptions("q" * 250, arguments={"x-message-ttl": 50})
    names = [_other_name(queue) for queue in (short, short._replace(arguments={"x-message-ttl": 60}), long)]
    assert len(set(names)) == 3
    assert names[0].startswith("q.retry.50.")
    assert names[2].startswith("retry.50.")
    assert max(map(len, names)) <= 250


def test_delay_queues_of_quorum_queues_are_declared_by_one_client_at_a_time() -> None:
    """RabbitMQ tells others of a quorum queue before it has all its arguments, and messages expire."""

    async def main() -> None:
        refused = 0

        def on_method(link: ScriptedLink, channel: int, method: Method) -> bool:
            nonlocal refused
            if not (isinstance(method, m.QueueDeclare) and method.queue == "q.retry.50.lock"):
                return False
            assert method.exclusive
            if refused < 2:
                refused += 1
                link.close_channel(channel, 405, "RESOURCE_LOCKED - cannot obtain exclusive access")
                return True
            return False

        async with ScriptedBroker() as broker:
            broker.on_method = on_method
            supervisor = Supervisor(ConnectionOptions(port=int(broker.url.rpartition(":")[2])))
            redelivery = Redelivery(supervisor, True, lambda parts: parts[0])
            raw = Raw(0, 1, "q", "amq.topic", "t", False, encode_properties(BasicProperties()), b"{}")
            retry = RetryOptions(attempts=5, delay=0.1, max_delay=1.0, on=())
            try:
                await asyncio.gather(*[redelivery.retry(raw, raw.history, retry) for _ in range(3)])
            finally:
                await supervisor.close()
            asked = [
                (type(method), method.queue)
                for _channel, method in broker.link.methods
                if isinstance(method, m.QueueDeclare | m.QueueDelete)
            ]
            assert asked == [
                *[(m.QueueDeclare, "q.retry.50.lock")] * 3,
                (m.QueueDeclare, "q.retry.50"),
                (m.QueueDelete, "q.retry.50.lock"),
            ]
            assert len(broker.published) == 3

    run(main())
