"""What a supervisor counts and remembers, and whom it tells what when the broker is away or refuses."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import message, run
from tests.support.waiting import soon

from fedora_messaging.client.amqp.connection import Connection, HandshakeCut
from fedora_messaging.client.consuming.consumer import Consumer
from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.client.nodes import Nodes
from fedora_messaging.client.publishing.outgoing import encode, outgoing
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.client.supervisor_state import SupervisorState
from fedora_messaging.exceptions import (
    BadDeclaration,
    ConfigurationException,
    ConnectionClosed,
    ConnectionException,
    HaltConsumer,
)
from fedora_messaging.options import ConnectionOptions, ConsumerOptions, QosOptions, QueueOptions
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.client.consuming.delivery import Raw
    from fedora_messaging.client.publishing.outgoing import Outgoing
    from fedora_messaging.wire.methods import Method

STOPPING = "there is no connection, and the consumers are being stopped"


class Idle:
    """A runner for a consumer that gets no messages; it ends when it may."""

    in_order = True

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.may_end.set()

    def start(self) -> None:
        """Nothing to do."""

    def put(self, raw: Raw) -> None:
        """Nothing to do."""

    def halt(self) -> None:
        """Nothing to do."""

    async def finish(self) -> None:
        """Return when it may end."""
        await self.may_end.wait()

    def abandon(self) -> None:
        """Nothing to do."""


def consumer_of(queue: str, runner: Idle | None = None) -> Consumer:
    held, options = runner or Idle(), ConsumerOptions(watchdog=0.0)
    return Consumer(lambda _consumer: held, QueueOptions(queue), [], QosOptions(), options)


def at(broker: ScriptedBroker) -> ConnectionOptions:
    return ConnectionOptions("127.0.0.1", int(broker.url.rpartition(":")[2]))


def supervisor_of(*brokers: ScriptedBroker, pause: float = 0.0) -> Supervisor:
    """A supervisor that is about to connect to one of these; between attempts it waits so long."""
    first, *others = map(at, brokers)
    supervisor = Supervisor(first._replace(alternatives=tuple(others)))
    supervisor.backoff.initial = supervisor.backoff.ceiling = supervisor.backoff.maximum = pause
    supervisor.backoff._jitter = lambda: 1.0
    return supervisor


def publish(outcomes: list[Exception | None]) -> Outgoing:
    return outgoing(encode(message("q"), "amq.topic", False), outcomes.append)


def refuse(link: ScriptedLink) -> bool:
    """Hang up on whoever connects."""
    link.abort()
    return True


async def close(supervisor: Supervisor, *asked: asyncio.Future[Any]) -> None:
    """Close it, and let those that wait for it end."""
    await supervisor.close()
    await asyncio.gather(*asked, return_exceptions=True)


# Consumers


def test_living_consumer_of_a_queue() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = supervisor_of(broker)
            first, second = consumer_of("q"), consumer_of("q")
            assert supervisor.consumer_of("q") is None
            for consumer in (first, second):
                await supervisor.consume(consumer)
            assert supervisor.consumer_of("q") is first
            assert supervisor.consumer_of("another") is None
            await first.stop()
            assert (supervisor.consumer_of("q"), supervisor.consumers) == (second, [second])
            await second.stop()
            assert (supervisor.consumer_of("q"), supervisor.consumers) == (None, [])
            await close(supervisor)

    run(main())


def test_consumer_that_is_ending_is_nobodys() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor, runner = supervisor_of(broker), Idle()
            consumer = consumer_of("q", runner)
            await supervisor.consume(consumer)
            runner.may_end.clear()
            stopping = asyncio.ensure_future(consumer.stop())
            await soon(lambda: not consumer.running)
            assert (supervisor.consumer_of("q"), supervisor.consumers) == (None, [consumer])
            runner.may_end.set()
            await stopping
            assert supervisor.consumers == []
            await close(supervisor)

    run(main())


def test_counters_of_ended_consumers_add_up() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = supervisor_of(broker)
            first, second, third = consumer_of("a"), consumer_of("b"), consumer_of("c")
            first.stats.processed, second.stats.processed, third.stats.processed = 2, 3, 100
            second.stats.invalid_kinds["json"] = 1
            for consumer in (first, second, third):
                await supervisor.consume(consumer)
            assert supervisor.ended_stats == ConsumerStats()
            await first.stop()
            await second.stop()
            await soon(lambda: supervisor.consumers == [third])
            assert supervisor.ended_stats.processed == 5
            assert supervisor.ended_stats.invalid_kinds == {"json": 1}
            await close(supervisor)
            assert supervisor.ended_stats.processed == 105

    run(main())


def test_error_of_the_last_consumer_that_failed_is_kept_until_the_next_one_starts() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = supervisor_of(broker)
            for error, kept in (
                (HaltConsumer(), None),
                (ZeroDivisionError("first"), "first"),
                (ZeroDivisionError("second"), "second"),
            ):
                consumer = consumer_of("q")
                await supervisor.consume(consumer)
                assert supervisor.ended_by is None
                consumer.fail(error)
                await soon(lambda: not supervisor.consumers)
                assert (str(supervisor.ended_by) if supervisor.ended_by else None) == kept
                assert consumer.result.exception() is error
            await supervisor.consume(consumer_of("q"))
            assert supervisor.ended_by is None
            await close(supervisor)
            assert supervisor.ended_by is None

    run(main())


def test_consumer_that_is_refused_is_not_kept() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:

            def refuse_queue(link: ScriptedLink, channel: int, method: Method) -> bool:
                if isinstance(method, m.QueueDeclare):
                    link.close_channel(channel, 405, "locked")
                return isinstance(method, m.QueueDeclare)

            broker.on_method = refuse_queue
            supervisor = supervisor_of(broker)
            with pytest.raises(BadDeclaration, match="locked"):
                await supervisor.consume(consumer_of("q"))
            assert (supervisor.consumers, supervisor.connected) == ([], True)
            await close(supervisor)

    run(main())


def test_consumer_that_begins_while_the_client_is_closed_is_stopped() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            asked: list[int] = []

            def keep(_link: ScriptedLink, channel: int, method: Method) -> bool:
                if isinstance(method, m.BasicConsume):
                    asked.append(channel)
                return isinstance(method, m.BasicConsume)

            broker.on_method = keep
            broker.on_publish = lambda _link, _content: None
            supervisor, outcomes = supervisor_of(broker), list[Exception | None]()
            consumer = consumer_of("q")
            consuming = asyncio.ensure_future(supervisor.consume(consumer))
            await soon(lambda: asked)
            # The close waits for the confirm, and so for the consumer that is about to begin.
            supervisor.submit(publish(outcomes))
            await soon(lambda: broker.published)
            closing = asyncio.ensure_future(supervisor.close())
            await soon(lambda: supervisor.state is SupervisorState.CLOSING)
            broker.link.send(asked[0], m.BasicConsumeOk(consumer.tag))
            with pytest.raises(ConnectionException, match="^the client is closed$"):
                await consuming
            assert (supervisor.consumers, consumer.running, consumer.result.done()) == ([], False, True)
            broker.link.send(broker.published[0].channel, m.BasicAck(1))
            await closing
            assert outcomes == [None]

    run(main())


@pytest.mark.parametrize("nodes", [1, 2])
def test_consumer_can_ask_another_node_if_there_is_one(nodes: int) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor, consumer = supervisor_of(*[broker] * nodes), consumer_of("q")
            await supervisor.consume(consumer)
            expected = supervisor.nodes.count_elsewhere if nodes == 2 else None
            assert consumer.ask_elsewhere == expected
            await close(supervisor)

    run(main())


def test_close_that_is_cancelled_gives_the_messages_back() -> None:
    """A callback does not end, and the caller waits no longer: the connection is cut."""

    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor, runner = supervisor_of(broker), Idle()
            await supervisor.consume(consumer_of("q", runner))
            runner.may_end.clear()
            closing = asyncio.ensure_future(supervisor.close())
            await soon(lambda: not supervisor.consumers[0].running)
            assert supervisor.connected
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            await asyncio.wait_for(broker.link.gone.wait(), 10)
            assert broker.link.ended is None
            with pytest.raises(ConnectionException, match="^the client is closed$"):
                await supervisor.connection()
            runner.may_end.set()
            await close(supervisor)
            assert supervisor.state is SupervisorState.CLOSED

    run(main())


# Connections


def test_first_connection_is_no_reconnect() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = supervisor_of(broker)
            assert (supervisor.reconnects, supervisor.connected) == (0, False)
            for number in range(3):
                connection = await supervisor.connection()
                assert (supervisor.reconnects, supervisor.connected) == (number, True)
                broker.link.abort()
                await connection.closed
                assert not supervisor.connected
            await close(supervisor)

    run(main())


def test_attempts_that_fail_are_no_reconnects() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            attempts: list[ScriptedLink] = []

            def refuse_twice(link: ScriptedLink) -> bool:
                if link not in attempts:
                    attempts.append(link)
                return len(attempts) in (2, 3) and refuse(link)

            broker.on_accept = refuse_twice
            supervisor = supervisor_of(broker)
            connection = await supervisor.connection()
            broker.link.abort()
            await connection.closed
            # The network has a fault: whoever waits gets the next connection, and no error.
            assert await supervisor.connection() is not connection
            assert (len(attempts), supervisor.reconnects, supervisor.trouble) == (4, 1, "")
            await close(supervisor)

    run(main())


def test_first_connection_that_is_cut_may_be_to_no_broker() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            broker.on_accept = refuse
            supervisor, outcomes = supervisor_of(broker, pause=600.0), list[Exception | None]()
            supervisor.submit(publish(outcomes))
            with pytest.raises(HandshakeCut, match="the network connection was lost") as caught:
                await supervisor.connection()
            assert outcomes == [caught.value]
            assert supervisor.trouble == str(caught.value)
            assert supervisor.state is SupervisorState.CONNECTING
            await close(supervisor)

    run(main())


def closed_with(code: int) -> Callable[[ScriptedLink], None]:
    def end(link: ScriptedLink) -> None:
        link.machine.close(code, "so it is")
        link.flush()

    return end


@pytest.mark.parametrize(
    "end",
    [ScriptedLink.abort, *map(closed_with, (200, 320, 506, 541))],
    ids=["lost", "200", "320", "506", "541"],
)
def test_work_is_done_again_with_the_next_connection(end: Callable[[ScriptedLink], None]) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = supervisor_of(broker)
            used: list[Connection] = []

            async def work(connection: Connection) -> str:
                used.append(connection)
                if len(used) < 3:
                    end(broker.link)
                    await connection.closed
                    raise ConnectionException("lost")
                return "done"

            assert await supervisor.with_connection(work) == "done"
            assert len(set(used)) == 3
            assert supervisor.reconnects == 2
            await close(supervisor)

    run(main())


@pytest.mark.parametrize("code", [403, 501, 503, 530, 540])
def test_work_that_the_broker_ends_the_connection_for_is_not_done_again(code: int) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = supervisor_of(broker)
            used: list[Connection] = []

            async def work(connection: Connection) -> None:
                used.append(connection)
                closed_with(code)(broker.link)
                end = await connection.closed
                raise ConnectionException(str(end), reason=end)

            with pytest.raises(ConnectionException) as caught:
                await supervisor.with_connection(work)
            assert isinstance(caught.value.reason, ConnectionClosed)
            assert (caught.value.reason.reply_code, len(used)) == (code, 1)
            await close(supervisor)

    run(main())


@pytest.mark.parametrize("error", [ConnectionException("no"), ZeroDivisionError("no")], ids=repr)
def test_work_that_fails_although_there_is_a_connection(error: Exception) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = supervisor_of(broker)
            used: list[Connection] = []

            async def work(connection: Connection) -> None:
                used.append(connection)
                raise error

            with pytest.raises(type(error)) as caught:
                await supervisor.with_connection(work)
            assert caught.value is error
            assert (used, supervisor.connected) == ([await supervisor.connection()], True)
            await close(supervisor)

    run(main())


# Refusals


def test_no_caller_is_told_before_every_node_has_refused() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            brokers = [await stack.enter_async_context(ScriptedBroker()) for _ in range(2)]
            for broker in brokers:
                broker.on_accept = refuse
            supervisor, outcomes = supervisor_of(*brokers, pause=600.0), list[Exception | None]()
            supervisor.backoff._jitter = iter([0.0, 1.0]).__next__
            supervisor.submit(publish(outcomes))
            with pytest.raises(HandshakeCut):
                await supervisor.connection()
            assert [len(broker.links) for broker in brokers] == [1, 1]
            assert len(outcomes) == 1
            assert isinstance(outcomes[0], HandshakeCut)
            await close(supervisor)

    run(main())


def test_refusal_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A caller that waits reports the error itself."""
    text = 'Configuration error: "client_properties" or "amqp_url" cannot be sent: '

    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = Supervisor(at(broker)._replace(client_properties={"when": object()}))
            supervisor.backoff._jitter = lambda: 0.0
            supervisor.stop_trying()
            supervisor.start()
            await soon(lambda: supervisor.state is SupervisorState.GIVEN_UP)
            assert supervisor.trouble.startswith(text)
            await close(supervisor)
            waited_for = Supervisor(at(broker)._replace(client_properties={"when": object()}))
            waited_for.stop_trying()
            with pytest.raises(ConfigurationException, match=f"^{text}"):
                await waited_for.connection()
            await close(waited_for)

    run(main())
    assert len([one for one in caplog.messages if one.startswith(text)]) == 1


class FaultyNodes(Nodes):
    """Nodes whose first attempt has a fault."""

    def __init__(self, options: ConnectionOptions, fault: Exception) -> None:
        super().__init__(options)
        self._faults = [fault]

    async def dial(self) -> Connection:
        """Fail once."""
        if self._faults:
            raise self._faults.pop()
        return await super().dial()


def test_fault_of_ours_does_not_end_the_attempts(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor, fault = supervisor_of(broker), ZeroDivisionError("a fault")
            supervisor.nodes = FaultyNodes(at(broker), fault)
            with pytest.raises(ConnectionException) as caught:
                await supervisor.connection()
            assert (str(caught.value), caught.value.reason) == ("a fault", fault)
            assert supervisor.trouble == "a fault"
            assert caplog.messages == ["Connecting failed in an unexpected way; trying again"]
            await supervisor.connection()
            assert (supervisor.trouble, supervisor.reconnects) == ("", 0)
            await close(supervisor)

    run(main())


# Giving up


def test_no_further_attempt_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever waits learns it, and whoever comes later."""

    async def main() -> None:
        async with ScriptedBroker() as broker:
            broker.on_accept = refuse
            supervisor, outcomes = supervisor_of(broker, pause=600.0), list[Exception | None]()
            with pytest.raises(HandshakeCut):
                await supervisor.connection()
            await soon(lambda: supervisor._sleeping is not None)
            waiting = asyncio.ensure_future(supervisor.connection())
            supervisor.submit(publish(outcomes))
            await asyncio.sleep(0)
            supervisor.stop_trying()
            with pytest.raises(ConnectionException) as caught:
                await waiting
            text = f"connecting to {supervisor.nodes.present.address} was given up after 1 attempt"
            assert str(caught.value) == text
            supervisor.submit(publish(outcomes))
            assert outcomes == [caught.value, caught.value]
            with pytest.raises(ConnectionException) as again:
                await supervisor.connection()
            assert again.value is caught.value
            assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == [text]
            assert (supervisor.state, len(broker.links)) == (SupervisorState.GIVEN_UP, 1)
            await close(supervisor)

    run(main())


def test_connection_that_is_there_is_used_to_its_end() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor, outcomes = supervisor_of(broker), list[Exception | None]()
            connection = await supervisor.connection()
            supervisor.stop_trying()
            supervisor.submit(publish(outcomes))
            await soon(lambda: outcomes)
            assert outcomes == [None]
            assert await supervisor.connection() is connection
            broker.link.abort()
            await soon(lambda: supervisor.state is SupervisorState.GIVEN_UP)
            assert len(broker.links) == 1
            await close(supervisor)

    run(main())


# Draining and closing


def test_publishes_go_on_while_consumers_are_stopped_and_fail_without_a_connection() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor, outcomes = supervisor_of(broker), list[Exception | None]()
            connection = await supervisor.connection()
            drainers = [object(), object()]
            supervisor.submit(publish(outcomes))
            for drainer in drainers:
                supervisor.drain(drainer)
            supervisor.submit(publish(outcomes))
            await soon(lambda: len(outcomes) == 2)
            assert outcomes == [None, None]
            broker.on_publish = lambda _link, _content: None
            broker.on_accept = lambda link: len(broker.links) > 1
            supervisor.submit(publish(outcomes))
            await soon(lambda: len(broker.published) == 3)
            broker.link.abort()
            await connection.closed
            await soon(lambda: len(outcomes) == 3)
            assert str(outcomes[2]) == "the connection was lost while the consumers were being stopped"
            supervisor.drained(drainers[0])
            supervisor.submit(publish(outcomes))
            assert str(outcomes[3]) == STOPPING
            with pytest.raises(ConnectionException, match=f"^{STOPPING}$"):
                await supervisor.connection()
            supervisor.drained(drainers[1])
            supervisor.drained(drainers[1])
            supervisor.submit(publish(outcomes))
            assert len(outcomes) == 4
            await close(supervisor)
            assert str(outcomes[4]) == "the client is closed"

    run(main())


@pytest.mark.parametrize(("why", "text"), [((), STOPPING), (("enough",), "enough")], ids=["", "enough"])
def test_publishes_that_wait_fail_when_consumers_are_stopped(why: tuple[str, ...], text: str) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            broker.on_accept = lambda _link: True
            supervisor, outcomes = supervisor_of(broker), list[Exception | None]()
            supervisor.submit(publish(outcomes))
            assert outcomes == []
            supervisor.drain(supervisor, *why)
            assert [str(one) for one in outcomes] == [text]
            await soon(lambda: broker.links)
            broker.link.abort()
            await close(supervisor)

    run(main())


def test_publish_after_the_close_fails_at_once() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor, outcomes = supervisor_of(broker), list[Exception | None]()
            await supervisor.connection()
            await supervisor.close()
            supervisor.submit(publish(outcomes))
            assert [str(one) for one in outcomes] == ["the client is closed"]
            with pytest.raises(ConnectionException, match="^the client is closed$"):
                await supervisor.consume(consumer_of("q"))
            assert (supervisor.consumers, len(broker.links)) == ([], 1)

    run(main())


class Sender:
    """Stands where an outbox does, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def start(self, supervisor: Supervisor) -> None:
        """Note whom it sends with."""
        self.told.append(supervisor)

    async def close(self, grace: float) -> None:
        """Note how long it may take."""
        self.told.append(grace)


@pytest.mark.parametrize(("connects", "grace"), [(True, 5.0), (False, 0.0)])
def test_outbox_has_time_to_send_only_while_there_is_a_connection(connects: bool, grace: float) -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor, sender = supervisor_of(broker), Sender()
            supervisor.attach_sender(sender)
            assert sender.told == [supervisor]
            if connects:
                await supervisor.connection()
            await close(supervisor)
            assert sender.told == [supervisor, grace]

    run(main())


def test_what_the_connection_tells() -> None:
    async def main() -> None:
        async with ScriptedBroker() as broker:
            supervisor = supervisor_of(broker)
            assert (supervisor.blocked, supervisor.sending) == (None, None)
            await supervisor.connection()
            broker.link.machine.block("low on memory")
            broker.link.flush()
            await soon(lambda: supervisor.blocked)
            assert supervisor.blocked == "low on memory"
            broker.link.abort()
            await soon(lambda: supervisor.reconnects == 1)
            assert supervisor.blocked is None
            await close(supervisor)

    run(main())
