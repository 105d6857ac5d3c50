"""A broker inside a program: in its event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import threading
from typing import TYPE_CHECKING

import pika
import pytest
from tests.behaviour.peer import WAIT

from fedora_messaging.broker import AsyncBroker, Broker, BrokerError
from fedora_messaging.broker.accounts import Accounts
from fedora_messaging.transport.tls import ServerTLSOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def threads() -> Callable[[], list[threading.Thread]]:
    """Returns the threads of brokers that the test has started."""
    before = threading.enumerate()
    return lambda: [
        thread for thread in threading.enumerate() if thread.name == "broker" and thread not in before
    ]


# Before the start


@pytest.mark.parametrize("kind", [AsyncBroker, Broker])
def test_broker_that_has_not_started(kind: type[AsyncBroker | Broker]) -> None:
    accounts = Accounts(guest=False)
    broker = kind(accounts=accounts)
    assert broker.accounts is accounts
    assert broker.port == 0
    assert broker.alarm is None
    assert broker.close_connections("test") == 0
    assert broker.amqp_url == "amqp://127.0.0.1:0"


@pytest.mark.parametrize("kind", [AsyncBroker, Broker])
def test_url(kind: type[AsyncBroker | Broker]) -> None:
    """An IPv6 address needs brackets in it, and TLS its own scheme."""
    assert kind("broker.example").amqp_url == "amqp://broker.example:0"
    assert kind("::1").amqp_url == "amqp://[::1]:0"
    tls = ServerTLSOptions(certfile="cert.pem", keyfile="key.pem")
    assert kind("::1", tls=tls).amqp_url == "amqps://[::1]:0"


def test_stopping_what_does_not_run(threads: Callable[[], list[threading.Thread]]) -> None:
    broker = Broker()
    broker.stop()
    broker.start()
    broker.stop()
    broker.stop()
    assert threads() == []


# Running


def test_accounts_may_be_changed_while_it_runs() -> None:
    with Broker() as broker:
        broker.accounts.remove_user("guest")
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            pika.BlockingConnection(pika.URLParameters(broker.amqp_url))


def test_connections_are_closed_from_another_thread() -> None:
    with Broker() as broker:
        connections = []
        for name in ("one", "two"):
            parameters = pika.URLParameters(broker.amqp_url)
            parameters.client_properties = {"connection_name": name}
            connections.append(pika.BlockingConnection(parameters))
        assert broker.close_connections("enough", "two") == 1
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="CONNECTION_FORCED - enough"):
            connections[1].process_data_events(WAIT)
        connections[0].channel().queue_declare("q")
        connections[0].close()


def test_thread_ends_with_the_block(threads: Callable[[], list[threading.Thread]]) -> None:
    with Broker() as broker:
        (thread,) = threads()
        assert thread.daemon
        address = ("127.0.0.1", broker.port)
    assert threads() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address).close()


# Failing


def test_start_that_fails_ends_the_thread_and_may_be_repeated(
    tmp_path: Path, threads: Callable[[], list[threading.Thread]]
) -> None:
    """The error is raised where the program calls, and not a second time."""
    data = tmp_path / "data"
    data.write_text("in the way")
    broker = Broker(data=data)
    for _ in range(2):
        with pytest.raises(BrokerError, match=f"^The data directory {data} cannot be created: "):
            broker.start()
        assert threads() == []
    broker.stop()
    data.unlink()
    with broker:
        assert broker.port > 0


def test_block_is_not_entered_when_the_start_fails(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    entered = []

    async def use() -> None:
        async with AsyncBroker(data=str(tmp_path / "data")):
            entered.append(True)

    with pytest.raises(BrokerError):
        asyncio.run(use())
    assert entered == []


def test_error_in_the_block_stops_the_broker() -> None:
    with pytest.raises(LookupError, match="^mine$"), Broker() as broker:
        raise LookupError("mine")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port)).close()


def test_error_in_the_block_stops_the_broker_of_the_loop() -> None:
    async def use() -> int:
        with pytest.raises(LookupError, match="^mine$"):
            async with AsyncBroker() as broker:
                raise LookupError("mine")
        return broker.port

    port = asyncio.run(use())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


def test_program_learns_that_its_broker_can_store_nothing_any_more(tmp_path: Path) -> None:
    async def use() -> str:
        async with AsyncBroker(data=tmp_path) as broker:
            (tmp_path / "broker.sqlite").unlink()
            return await broker.failed()

    with pytest.raises(BrokerError, match="was deleted or replaced"):
        asyncio.run(use())


def test_leaving_a_broker_tells_that_it_had_failed(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="was deleted or replaced"), Broker(data=tmp_path) as broker:
        connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
        shutil.rmtree(tmp_path)
        why = r"^INTERNAL_ERROR - the broker can store nothing any more: The data file in .* was deleted"
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
            connection.process_data_events(WAIT)
        assert closed.value.reply_code == 541
        assert re.match(why, closed.value.reply_text)
