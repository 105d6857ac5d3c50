"""Users who may not do everything: what still works, and which permission is missing (P31)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import Consuming, message, plan, queue_settings, run
from tests.support.management import SECRET
from tests.support.waiting import eventually, soon

from fedora_messaging import aio, api
from fedora_messaging.exceptions import BadDeclaration, PermissionException, PublishForbidden
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import BrokerUnderTest
    from tests.support.admin import Admin
    from tests.support.management import Management

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.message import Message
    from fedora_messaging.wire.methods import Method

    Log = Callable[[str, str, str], None]


@pytest.fixture
def log_in(broker: BrokerUnderTest, management: Management, settings: LazyConfig) -> Iterator[Log]:
    """Have `api` use a user with these permissions."""

    def log_in(configure: str, write: str, read: str) -> None:
        parts = urlsplit(broker.url)
        login = f"{management.user(configure, write, read)}:{SECRET}@{parts.hostname}:{parts.port}"
        settings["amqp_url"] = urlunsplit(parts._replace(netloc=login))

    yield log_in
    api.close()


def passive(queue: str) -> dict[str, Any]:
    return {"queues": {queue: {**queue_settings(), "passive": True}}, "bindings": []}


def refused(kind: type[PermissionException], **arguments: Any) -> PermissionException:
    with pytest.raises(kind) as caught:
        api.consume(print, **arguments)
    return caught.value


def test_p31_reading_is_enough_where_an_administrator_declares(
    broker: BrokerUnderTest, admin: Admin, queue: str, log_in: Log
) -> None:
    log_in("^$", "^$", ".*")
    admin.publish(queue, message(queue, 1)._encoded_body)
    received: list[Message] = []
    with Consuming(received.append, **passive(queue)):
        eventually(lambda: received)


def test_p40_a_dead_letter_queue_that_we_may_not_declare_is_told_at_start(
    broker: BrokerUnderTest,
    queue: str,
    log_in: Log,
    settings: LazyConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_in(f"^{queue}$", ".*", ".*")
    settings["consumer"] = {"dead_letter": {"queue": f"{queue}.dead"}}
    with Consuming(print, **plan(queue)):
        eventually(lambda: "is not there, and we cannot declare it" in caplog.text)
    assert f"{queue}.dead" in caplog.text


def test_p31_errors_name_the_permission(
    broker: BrokerUnderTest, admin: Admin, queue: str, log_in: Log
) -> None:
    log_in("^$", ".*", ".*")
    error = refused(BadDeclaration, **plan(queue))
    assert error.obj_type == "queue"
    assert error.__notes__ == [
        'declaring a queue needs the permission "configure" on it; where an administrator declares queues, '
        "set passive_declares = true"
    ]
    api.close()
    log_in(".*", "^$", ".*")
    error = refused(BadDeclaration, **plan(queue))
    assert error.obj_type == "binding"
    assert error.__notes__ == [
        'binding needs the permissions "write" on the queue and "read" on the exchange'
    ]
    with pytest.raises(PublishForbidden) as forbidden:
        api.publish(message(queue))
    assert forbidden.value.__notes__[0].startswith('publishing needs the permission "write" on the exchange')
    api.close()
    log_in(".*", ".*", "^$")
    error = refused(PermissionException, bindings=[], queues={queue: queue_settings()})
    assert not isinstance(error, BadDeclaration)
    assert error.__notes__ == ['consuming needs the permission "read" on the queue']


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_p31_other_refusals_blame_no_permission(
    broker: BrokerUnderTest, admin: Admin, queue: str, service: None
) -> None:
    error = refused(BadDeclaration, **plan(queue, **{"x-max-length": 5}))
    assert not hasattr(error, "__notes__")


# RabbitMQ 4.2.6 and 4.3.0


def refuse_passive_declares(link: ScriptedLink, channel: int, method: Method) -> bool:
    if isinstance(method, m.QueueDeclare) and method.passive:
        link.close_channel(
            channel, 403, "ACCESS_REFUSED - configure access to queue 'q' refused for user 'u'"
        )
        return True
    return False


@pytest.mark.parametrize(
    "bindings", [[], [{"exchange": "amq.topic", "queue": "q", "routing_keys": ["a", "b"]}]]
)
def test_p31_broker_that_lets_nobody_ask(settings: LazyConfig, bindings: list[Any]) -> None:
    """The queue is taken to be there, bound, and consumed."""

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = refuse_passive_declares
            consuming = asyncio.ensure_future(bus.consume(print, bindings, passive("q")["queues"]))
            await soon(lambda: m.BasicConsume in kinds(broker.link))
            consuming.cancel()
            await asyncio.wait([consuming])
            assert kinds(broker.link).count(m.QueueBind) == 2 * len(bindings)
            assert len(broker.links) == 1

    run(main())


def test_p31_queue_that_is_not_there_after_all(settings: LazyConfig) -> None:
    def refuse(link: ScriptedLink, channel: int, method: Method) -> bool:
        if isinstance(method, m.BasicConsume):
            link.close_channel(channel, 404, "NOT_FOUND - no queue 'q' in vhost '/'")
            return True
        return refuse_passive_declares(link, channel, method)

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = refuse
            with pytest.raises(BadDeclaration, match="no queue 'q'"):
                await bus.consume(print, [], passive("q")["queues"])

    run(main())


def kinds(link: ScriptedLink) -> list[type[Method]]:
    return [type(method) for _, method in link.methods]
