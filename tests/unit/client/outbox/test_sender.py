"""The sender of an outbox: who sends, what closing does, and what it tells of a database in trouble."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import WAIT, soon

from fedora_messaging.client.outbox import table
from fedora_messaging.client.outbox.sender import Outbox
from fedora_messaging.client.publishing.outgoing import Encoded, encode
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.config import DEFAULTS
from fedora_messaging.exceptions import OutboxError
from fedora_messaging.message import Message
from fedora_messaging.options import ConnectionOptions, OutboxOptions
from fedora_messaging.settings.to_options import connection_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from fedora_messaging.broker import Broker

NOBODY = ConnectionOptions("127.0.0.1", 1)


@pytest.fixture
def options(tmp_path: Path) -> OutboxOptions:
    """Where the outbox is."""
    return OutboxOptions(path=str(tmp_path / "outbox.db"))


@pytest.fixture
def somebody(embedded_broker: Broker) -> ConnectionOptions:
    """Where a broker is."""
    return connection_options(DEFAULTS, embedded_broker.amqp_url)


def run(main: Coroutine[object, object, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(WAIT):
            await main

    asyncio.run(limited())


@asynccontextmanager
async def sending(
    options: OutboxOptions, where: ConnectionOptions, grace: float = 0.0
) -> AsyncIterator[tuple[Outbox, Supervisor]]:
    """A process that has the outbox, and gives it so many seconds at its end."""
    outbox, supervisor = Outbox(options), Supervisor(where)
    outbox.start(supervisor)
    try:
        yield outbox, supervisor
    finally:
        await outbox.close(grace)
        await supervisor.close()


def encoded(number: int = 0) -> Encoded:
    return encode(Message(topic="nobody.listens", body={"number": number}), "amq.topic", False)


async def put(outbox: Outbox, *messages: Encoded) -> None:
    for message in messages:
        await asyncio.wrap_future(outbox.put(message))


def test_messages_are_sent_and_removed(options: OutboxOptions, somebody: ConnectionOptions) -> None:
    async def main() -> None:
        async with sending(options, somebody) as (outbox, supervisor):
            await put(outbox, encoded(1), encoded(2))
            await outbox.empty()
            assert (outbox.sending, outbox.trouble) == (True, "")
            assert await outbox.usage() == (0, 0, None)
            assert supervisor.publisher.published == 2

    run(main())


def test_nothing_connects_for_an_empty_outbox(options: OutboxOptions, somebody: ConnectionOptions) -> None:
    async def main() -> None:
        async with sending(options, somebody) as (outbox, supervisor):
            await soon(lambda: outbox.sending)
            await outbox.empty()
            assert not supervisor.connected
            await put(outbox, encoded())
            await outbox.empty()
            assert supervisor.connected

    run(main())


def test_starting_twice_sends_once(options: OutboxOptions, somebody: ConnectionOptions) -> None:
    async def main() -> None:
        async with sending(options, somebody) as (outbox, supervisor):
            before = asyncio.all_tasks()
            outbox.start(supervisor)
            assert asyncio.all_tasks() == before
            await put(outbox, encoded())
            await outbox.empty()
            assert supervisor.publisher.published == 1

    run(main())


def test_one_process_sends_and_another_takes_over(
    options: OutboxOptions, somebody: ConnectionOptions
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as process:
            first, first_supervisor = await process.enter_async_context(sending(options, somebody))
            await soon(lambda: first.sending)
            async with sending(options, somebody) as (second, second_supervisor):
                await put(second, encoded())
                # It returns when the other has sent the message.
                await second.empty()
                assert (first.sending, second.sending) == (True, False)
                assert first_supervisor.publisher.published == 1
                await process.aclose()
                await soon(lambda: second.sending)
                await put(second, encoded())
                await second.empty()
                assert second_supervisor.publisher.published == 1

    run(main())


def test_closing_gives_messages_time_to_be_sent(options: OutboxOptions, somebody: ConnectionOptions) -> None:
    async def main() -> None:
        async with sending(options, somebody, WAIT) as (outbox, supervisor):
            await soon(lambda: outbox.sending)
            await put(outbox, *map(encoded, range(20)))
        assert supervisor.publisher.published == 20

    run(main())


def test_closing_leaves_what_it_cannot_send(
    options: OutboxOptions, somebody: ConnectionOptions, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with sending(options, NOBODY) as (outbox, _supervisor):
            await soon(lambda: outbox.sending)
            await put(outbox, encoded())
        async with sending(options, somebody, WAIT) as (outbox, supervisor):
            await outbox.empty()
            assert supervisor.publisher.published == 1

    with caplog.at_level("INFO"):
        run(main())
    assert caplog.messages.count(f"Messages stay in the outbox {options.path}, to be sent later") == 1


def test_closing_an_empty_outbox_says_nothing_of_messages(
    options: OutboxOptions, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with sending(options, NOBODY) as (outbox, _supervisor):
            await soon(lambda: outbox.sending)

    with caplog.at_level("INFO"):
        run(main())
    assert not [line for line in caplog.messages if "stay in the outbox" in line]


def test_trouble_with_the_database_is_told_once(
    options: OutboxOptions, somebody: ConnectionOptions, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with closing(sqlite3.connect(str(options.path))) as database:
            database.execute(f"CREATE TABLE {table.NAME} (id)")
            async with sending(options, somebody) as (outbox, _supervisor):
                await soon(lambda: outbox.trouble)
                assert outbox.trouble == "no such column: exchange"
                with pytest.raises(OutboxError, match="^no such column: size$"):
                    await outbox.empty()
                with pytest.raises(OutboxError, match=r"cannot be used: no such column: size$"):
                    await put(outbox, encoded())
                database.execute(f"DROP TABLE {table.NAME}")
                for statement in table.CREATE["sqlite"]:
                    database.execute(statement)
                await soon(lambda: not outbox.trouble)
                await put(outbox, encoded())
                await outbox.empty()

    run(main())
    told = [text for text in caplog.messages if "wait" in text]
    assert told == [f"Messages in the outbox {options.path} wait: no such column: exchange"]
