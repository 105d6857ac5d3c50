"""Declaring and binding at a real broker, and what its refusals become."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.support.waiting import soon
from tests.unit.client import support

from fedora_messaging.broker import AsyncBroker, Permissions
from fedora_messaging.client.amqp.connection import Connection
from fedora_messaging.client.amqp.topology import (
    bind,
    count,
    declare,
    declare_alone,
    declare_exchange,
    ensure,
    may_configure,
    missing,
)
from fedora_messaging.exceptions import BadDeclaration, ChannelClosed, ConnectionException, NoFreeChannels
from fedora_messaging.options import BindingOptions, ConnectionOptions, ExchangeOptions, QueueOptions
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from fedora_messaging.wire.methods import Method

PLAIN = encode_properties(BasicProperties())


@asynccontextmanager
async def connected(channel_max: int = 2047) -> AsyncIterator[Connection]:
    """A connection to a new broker; whatever its user does, it leaves no channel open."""
    async with AsyncBroker() as broker:
        connection = await Connection.open(ConnectionOptions(port=broker.port, channel_max=channel_max))
        yield connection
        assert connection.machine.free_channel() == 1
        await connection.close()


@asynccontextmanager
async def one_more(connection: Connection) -> AsyncIterator[Connection]:
    """Another connection to the same broker."""
    other = await Connection.open(connection.options)
    yield other
    await other.close()


async def publish(connection: Connection, exchange: str, *routing_keys: str) -> None:
    channel = await connection.open_channel()
    for key in routing_keys:
        channel.send_content(m.BasicPublish(exchange, key).encode(), PLAIN, b"{}")
    await channel.close()


async def refused(asked: Awaitable[object]) -> tuple[BadDeclaration, ChannelClosed]:
    """What the broker said of a request that it refused."""
    with pytest.raises(BadDeclaration) as caught:
        await asked
    assert isinstance(caught.value.reason, ChannelClosed)
    assert caught.value.__cause__ is caught.value.reason
    return caught.value, caught.value.reason


def test_queue_is_declared_and_bound() -> None:
    async def main() -> None:
        async with connected() as connection:
            bindings = [BindingOptions("amq.topic", "a.#"), BindingOptions("amq.direct", "b")]
            assert await declare(connection, QueueOptions("q"), bindings) == "q"
            await publish(connection, "amq.topic", "a.1", "a.2", "b")
            await publish(connection, "amq.direct", "b", "a.1")
            assert await count(connection, "q") == 3
            await bind(connection, "q", BindingOptions("amq.direct", "a.1"))
            await publish(connection, "amq.direct", "a.1")
            assert await count(connection, "q") == 4

    asyncio.run(main())


def test_binding_has_its_arguments() -> None:
    async def main() -> None:
        async with connected() as connection:
            arguments = {"x-match": "all", "kind": "wanted"}
            await declare(connection, QueueOptions("q"), [BindingOptions("amq.headers", "", arguments)])
            channel = await connection.open_channel()
            for kind in ("wanted", "other", "wanted"):
                properties = encode_properties(BasicProperties(headers={"kind": kind}))
                channel.send_content(m.BasicPublish("amq.headers", "").encode(), properties, b"{}")
            await channel.close()
            assert await count(connection, "q") == 2

    asyncio.run(main())


def test_broker_chooses_the_name_of_a_queue_without_one() -> None:
    async def main() -> None:
        async with connected() as connection:
            binding = BindingOptions("amq.topic", "#")
            names = [await declare(connection, QueueOptions(exclusive=True), [binding]) for _ in range(2)]
            assert names[0] != names[1]
            assert all(name.startswith("amq.gen-") for name in names)
            await publish(connection, "amq.topic", "x")
            assert [await count(connection, name) for name in names] == [1, 1]

    asyncio.run(main())


def test_queue_that_is_declared_otherwise() -> None:
    async def main() -> None:
        async with connected() as connection:
            await declare(connection, QueueOptions("q"), [])
            other = QueueOptions("q", durable=True, auto_delete=True, arguments={"x-max-length": 5})
            error, answer = await refused(declare(connection, other, []))
            assert (error.obj_type, answer.reply_code) == ("queue", 406)
            assert error.description == {
                "queue": "q",
                "passive": False,
                "durable": True,
                "exclusive": False,
                "auto_delete": True,
                "arguments": {"x-max-length": 5},
            }
            assert answer.reply_text.startswith("PRECONDITION_FAILED - inequivalent arg")
            assert str(error) == (
                f"Unable to declare the queue object ({error.description}) because (406) {answer.reply_text}"
            )

    asyncio.run(main())


@pytest.mark.parametrize("arguments", [None, {}, {"a": 1}])
def test_exchange_to_bind_to_that_does_not_exist(arguments: dict[str, int] | None) -> None:
    async def main() -> None:
        async with connected() as connection:
            binding = BindingOptions("missing", "a.b", arguments)
            error, answer = await refused(declare(connection, QueueOptions("q"), [binding]))
            assert error.obj_type == "binding"
            described = {"queue": "q", "exchange": "missing", "routing_key": "a.b"}
            # No arguments were asked for, which is not the same as none.
            assert error.description == (
                described if arguments is None else {**described, "arguments": arguments}
            )
            assert (answer.reply_code, answer.reply_text) == (
                404,
                "NOT_FOUND - no exchange 'missing' in vhost '/'",
            )
            # The queue is there nevertheless.
            assert await count(connection, "q") == 0

    asyncio.run(main())


def test_passive_declaration_makes_no_queue() -> None:
    async def main() -> None:
        async with connected() as connection:
            for _ in range(2):
                passive = QueueOptions("q", passive=True)
                error, answer = await refused(declare(connection, passive, []))
                assert (error.obj_type, answer.reply_code) == ("queue", 404)
            await declare(connection, QueueOptions("q", arguments={"x-max-length": 5}), [])
            assert await declare(connection, passive, [BindingOptions("amq.topic", "a")]) == "q"
            await publish(connection, "amq.topic", "a")
            assert await count(connection, "q") == 1

    asyncio.run(main())


def test_messages_of_a_queue_that_is_not_there_are_not_counted() -> None:
    async def main() -> None:
        async with connected() as connection:
            error, answer = await refused(count(connection, "q"))
            assert (error.obj_type, error.description["queue"], error.description["passive"]) == (
                "queue",
                "q",
                True,
            )
            assert (answer.reply_code, answer.reply_text) == (404, "NOT_FOUND - no queue 'q' in vhost '/'")

    asyncio.run(main())


def test_queue_of_an_operator_is_left_as_it_is() -> None:
    async def main() -> None:
        async with connected() as connection:
            ours = QueueOptions("q", durable=True, arguments={"x-max-length": 5})
            await declare(connection, QueueOptions("q"), [])
            await ensure(connection, ours)
            _error, answer = await refused(declare(connection, ours, []))
            assert answer.reply_code == 406
            # One that is missing is declared as we want it.
            await ensure(connection, ours._replace(name="other"))
            assert await declare(connection, ours._replace(name="other"), []) == "other"

    asyncio.run(main())


def test_exclusive_queue_of_another_connection_is_there() -> None:
    async def main() -> None:
        async with connected() as connection, one_more(connection) as other:
            await declare(other, QueueOptions("q", exclusive=True), [])
            await ensure(connection, QueueOptions("q"))
            _error, answer = await refused(count(connection, "q"))
            assert answer.reply_code == 405

    asyncio.run(main())


def test_queue_that_we_may_not_declare_is_not_ensured() -> None:
    """RabbitMQ 3.10 lets everybody ask for a queue; later releases tell strangers nothing."""

    async def main() -> None:
        async with restricted() as connection:
            await ensure(connection, QueueOptions("other"))
        async with restricted("3") as connection:
            error, answer = await refused(ensure(connection, QueueOptions("other")))
            assert (error.obj_type, answer.reply_code) == ("queue", 403)
            assert error.description["passive"] is False
            await ensure(connection, QueueOptions("ours"))

    asyncio.run(main())


@asynccontextmanager
async def restricted(profile: str = "4") -> AsyncIterator[Connection]:
    """The connection of a user who may configure what is called "ours", and nothing else."""
    async with AsyncBroker(profile=profile) as broker:
        broker.accounts.add_user("bird", "canary")
        broker.accounts.set_permissions("bird", "/", Permissions("^ours$", "", ""))
        options = ConnectionOptions(port=broker.port, username="bird", password="canary")
        connection = await Connection.open(options)
        yield connection
        await connection.close()


def test_permission_to_declare_is_found_out_without_declaring() -> None:
    async def main() -> None:
        async with restricted() as connection:
            assert await may_configure(connection, "ours") is True
            assert await may_configure(connection, "other") is False
            _error, answer = await refused(count(connection, "ours"))
            assert answer.reply_code == 404

    asyncio.run(main())


def test_refused_exchange_names_the_permission() -> None:
    async def main() -> None:
        async with restricted() as connection:
            error, answer = await refused(declare_exchange(connection, ExchangeOptions("e", "topic")))
            assert answer.reply_code == 403
            assert error.__notes__ == ['declaring an exchange needs the permission "configure" on it']

    asyncio.run(main())


def test_exchange_is_declared_and_used() -> None:
    async def main() -> None:
        async with connected() as connection:
            exchange = ExchangeOptions("e", "direct", durable=True, arguments={"alternate-exchange": "f"})
            await declare_exchange(connection, exchange)
            await declare_exchange(connection, exchange._replace(passive=True))
            await declare(connection, QueueOptions("q"), [BindingOptions("e", "a")])
            await publish(connection, "e", "a", "b")
            assert await count(connection, "q") == 1

    asyncio.run(main())


def test_exchange_that_is_declared_otherwise() -> None:
    async def main() -> None:
        async with connected() as connection:
            await declare_exchange(connection, ExchangeOptions("e", "direct"))
            other = ExchangeOptions("e", "topic", auto_delete=True, arguments={"alternate-exchange": "f"})
            error, answer = await refused(declare_exchange(connection, other))
            assert (error.obj_type, answer.reply_code) == ("exchange", 406)
            assert error.description == {
                "exchange": "e",
                "exchange_type": "topic",
                "passive": False,
                "durable": False,
                "auto_delete": True,
                "arguments": {"alternate-exchange": "f"},
            }
            assert not hasattr(error, "__notes__")

    asyncio.run(main())


def test_error_for_a_queue_that_turned_out_not_to_exist() -> None:
    reason = ChannelClosed(404, "NOT_FOUND - no queue 'q' in vhost '/'")
    error = missing(QueueOptions("q", passive=True), reason)
    assert (error.obj_type, error.reason) == ("queue", reason)
    assert (error.description["queue"], error.description["passive"]) == ("q", True)


def test_queue_is_declared_when_the_lock_is_free() -> None:
    async def main() -> None:
        async with connected() as connection:
            async with one_more(connection) as other:
                await declare(other, QueueOptions("q.lock", exclusive=True), [])
                declaring = asyncio.create_task(declare_alone(connection, QueueOptions("q")))
                # By the third answer on this connection, the first attempt has been answered, too.
                for _ in range(3):
                    _error, answer = await refused(count(connection, "q"))
                    assert answer.reply_code == 404
                assert not declaring.done()
            await declaring
            assert await count(connection, "q") == 0
            _error, answer = await refused(count(connection, "q.lock"))
            assert answer.reply_code == 404

    asyncio.run(main())


def test_lock_is_given_back_after_a_refusal() -> None:
    async def main() -> None:
        async with connected() as connection:
            await declare(connection, QueueOptions("q"), [])
            error, answer = await refused(declare_alone(connection, QueueOptions("q", durable=True)))
            assert (error.description["queue"], answer.reply_code) == ("q", 406)
            _error, answer = await refused(count(connection, "q.lock"))
            assert answer.reply_code == 404

    asyncio.run(main())


def test_lock_that_cannot_be_taken_for_another_reason() -> None:
    """Whoever may not configure the lock is told, and does not wait for it."""

    async def main() -> None:
        async with restricted() as connection:
            error, answer = await refused(declare_alone(connection, QueueOptions("ours")))
            assert (error.description["queue"], answer.reply_code) == ("ours.lock", 403)

    asyncio.run(main())


def test_nothing_is_declared_without_a_channel_or_a_connection() -> None:
    async def main() -> None:
        async with connected(channel_max=1) as connection:
            channel = await connection.open_channel()
            for asked in (
                declare(connection, QueueOptions("q"), []),
                declare_exchange(connection, ExchangeOptions("e", "topic")),
                may_configure(connection, "q"),
            ):
                with pytest.raises(NoFreeChannels, match="all 1 channels of the connection are in use"):
                    await asked
            await channel.close()
            await declare(connection, QueueOptions("q"), [])
            await connection.close()
            with pytest.raises(ConnectionException, match="the connection is closed"):
                await count(connection, "q")

    asyncio.run(main())


# What the embedded broker does not do


def stuck_at(queue: str) -> ScriptedBroker:
    """A broker that never answers a declaration of this queue."""
    broker = ScriptedBroker()
    broker.on_method = lambda _link, _channel, method: (
        isinstance(method, m.QueueDeclare) and method.queue == queue
    )
    return broker


def asked_of(broker: ScriptedBroker) -> list[str]:
    """The queues that were declared or deleted."""
    return [
        f"{method.name} {method.queue}"
        for _channel, method in broker.link.methods
        if isinstance(method, m.QueueDeclare | m.QueueDelete)
    ]


def test_caller_that_gives_up_leaves_no_channel_and_no_lock() -> None:
    """It does not wait for the broker, which may be stuck."""

    async def main() -> None:
        for stuck, asked in (
            ("q.lock", ["queue.declare q.lock"]),
            ("q", ["queue.declare q.lock", "queue.declare q", "queue.delete q.lock"]),
        ):
            broker = stuck_at(stuck)
            connection = await support.connected(broker)
            declaring = asyncio.create_task(declare_alone(connection, QueueOptions("q")))
            await soon(lambda: f"queue.declare {stuck}" in asked_of(broker))  # noqa: B023
            declaring.cancel()
            await asyncio.wait([declaring])
            assert declaring.cancelled()
            await soon(lambda: connection.machine.free_channel() == 1)  # noqa: B023
            assert asked_of(broker) == asked
            await connection.close()

    support.run(main())


def test_lock_ends_with_the_connection() -> None:
    async def main() -> None:
        broker = stuck_at("q")
        connection = await support.connected(broker)
        declaring = asyncio.create_task(declare_alone(connection, QueueOptions("q")))
        await soon(lambda: "queue.declare q" in asked_of(broker))
        broker.link.abort()
        with pytest.raises(ConnectionException, match="^the connection was lost"):
            await declaring
        assert asked_of(broker) == ["queue.declare q.lock", "queue.declare q"]

    support.run(main())


def test_lock_that_the_broker_takes_away_needs_no_release() -> None:
    async def main() -> None:
        broker = ScriptedBroker()

        def take_away(link: ScriptedLink, channel: int, method: Method) -> bool:
            if isinstance(method, m.QueueDeclare) and method.queue == "q":
                link.close_channel(1, 406, "PRECONDITION_FAILED - test")
            return False

        broker.on_method = take_away
        connection = await support.connected(broker)
        await declare_alone(connection, QueueOptions("q"))
        assert asked_of(broker) == ["queue.declare q.lock", "queue.declare q"]
        assert connection.machine.free_channel() == 1
        await connection.close()

    support.run(main())


@pytest.mark.parametrize("code", [403, 406, 541])
def test_refusals_to_look_at_a_queue(code: int) -> None:
    """Only if there is none is it declared."""

    async def main() -> None:
        def refuse(link: ScriptedLink, channel: int, method: Method) -> bool:
            if isinstance(method, m.QueueDeclare):
                link.close_channel(channel, code, "no")
                return True
            return False

        broker = ScriptedBroker()
        broker.on_method = refuse
        connection = await support.connected(broker)
        if code != 403:
            _error, answer = await refused(ensure(connection, QueueOptions("q")))
            assert answer.reply_code == code
        else:
            # Some brokers tell nobody without the permission to configure; it is taken to be there.
            await ensure(connection, QueueOptions("q"))
        assert asked_of(broker) == ["queue.declare q"]
        assert await may_configure(connection, "q") == (code != 403)
        await connection.close()

    support.run(main())


def test_broker_that_takes_impossible_arguments_lets_us_declare() -> None:
    async def main() -> None:
        broker = ScriptedBroker()
        connection = await support.connected(broker)
        assert await may_configure(connection, "q") is True
        await connection.close()

    support.run(main())
