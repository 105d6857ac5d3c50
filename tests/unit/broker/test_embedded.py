"""A broker inside a program: in its event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import threading
from typing import TYPE_CHECKING

import httpx
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


@pytest.mark.parametrize("keeps", [True, False])
def test_broker_may_be_started_again(tmp_path: Path, keeps: bool) -> None:
    """It finds what it has stored, and nothing else."""
    broker = Broker(data=tmp_path if keeps else None)
    for number in range(3):
        with broker:
            connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare("transient")
            channel.basic_publish("", "transient", b"x")
            assert channel.queue_declare("transient").method.message_count == 1
            found = channel.queue_declare("q", durable=True).method.message_count
            assert found == (number if keeps else 0)
            channel.basic_publish("", "q", b"x", pika.BasicProperties(delivery_mode=2))
            connection.close()


def test_broker_that_failed_may_be_started_again(tmp_path: Path) -> None:
    broker = Broker(data=tmp_path / "data")
    with pytest.raises(BrokerError, match="was deleted or replaced"), broker:
        connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
        shutil.rmtree(tmp_path / "data")
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker):
            connection.process_data_events(WAIT)
    with broker:
        pika.BlockingConnection(pika.URLParameters(broker.amqp_url)).close()


# Definitions and the management API


TOPOLOGY = {
    "users": [{"name": "bob", "password": "secret", "tags": ["administrator"]}],
    "vhosts": [{"name": "v"}],
    "permissions": [{"user": "bob", "vhost": "v", "configure": ".*", "write": ".*", "read": ".*"}],
    "queues": [{"name": "q", "vhost": "v", "durable": True}],
}


def url_of(broker: Broker, user: str, vhost: str = "v") -> str:
    return broker.amqp_url.replace("amqp://", f"amqp://{user}:secret@") + f"/{vhost}"


def test_definitions_are_there_from_the_start(tmp_path: Path) -> None:
    """At each start, so that what was deleted meanwhile comes back."""
    for deletes in (True, False):
        with Broker(definitions=TOPOLOGY, data=tmp_path) as broker:
            connection = pika.BlockingConnection(pika.URLParameters(url_of(broker, "bob")))
            connection.channel().queue_declare("q", passive=True)
            if deletes:
                connection.channel().queue_delete("q")
            connection.close()
            broker.accounts.remove_user("bob")


def test_users_of_the_program_win_over_definitions() -> None:
    accounts = Accounts(guest=False)
    accounts.add_user("bob", "mine")
    with Broker(definitions=TOPOLOGY, accounts=accounts) as broker:
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            pika.BlockingConnection(pika.URLParameters(url_of(broker, "bob")))
        parameters = pika.URLParameters(url_of(broker, "bob").replace("secret", "mine"))
        pika.BlockingConnection(parameters).close()


def test_wrong_definitions_end_the_start(
    tmp_path: Path, threads: Callable[[], list[threading.Thread]]
) -> None:
    """In one line; port and data directory are free again."""
    wrong = {"policies": [{"vhost": "/", "name": "p\x1b", "pattern": "", "definition": {"foo": 1}}]}
    with pytest.raises(BrokerError) as caught:
        Broker(definitions=wrong, data=tmp_path).start()
    assert str(caught.value) == (
        'The definitions are wrong: Validation failed [{<<"foo">>,1}] are not recognised policy settings '
        '(policies: vhost "/", name "p\\x1b")'
    )
    assert threads() == []
    with Broker(data=tmp_path):
        pass


def test_management_api_is_served_while_the_broker_runs() -> None:
    with Broker() as quiet:
        assert quiet.management_url is None
    with Broker(http_port=0) as broker:
        assert broker.management_url is not None
        answer = httpx.get(f"{broker.management_url}/api/whoami", auth=("guest", "guest"))
        assert answer.json()["name"] == "guest"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{broker.management_url}/api/whoami")


def test_port_of_the_management_api_that_is_in_use(
    tmp_path: Path, threads: Callable[[], list[threading.Thread]]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        broker = Broker(http_port=port, data=tmp_path)
        with pytest.raises(BrokerError, match=f"127.0.0.1:{port} is in use already"):
            broker.start()
        assert threads() == []
    with broker:
        assert broker.management_url == f"http://127.0.0.1:{port}"


def test_what_the_management_api_defines_survives_a_restart(tmp_path: Path) -> None:
    with Broker(http_port=0, data=tmp_path) as broker:
        with httpx.Client(base_url=f"{broker.management_url}/api/", auth=("guest", "guest")) as http:
            for path, body in (
                ("vhosts/v", {"description": "for tests"}),
                ("users/bob", {"password": "secret", "tags": "monitoring"}),
                ("permissions/v/bob", {"configure": "a", "write": "b", "read": "c"}),
                ("topic-permissions/v/bob", {"exchange": "amq.topic", "write": "w", "read": "r"}),
                ("policies/v/p", {"pattern": "", "definition": {"max-length": 1}}),
                ("operator-policies/v/o", {"pattern": "", "definition": {"max-length": 1}}),
                ("vhost-limits/v/max-queues", {"value": 5}),
                ("user-limits/bob/max-channels", {"value": 6}),
                ("global-parameters/cluster_name", {"value": "test bus"}),
                ("users/guest", {"password": "changed", "tags": "administrator"}),
            ):
                assert http.put(path, json=body).status_code in (201, 204)
            exported = http.get("definitions", auth=("guest", "changed")).json()
    with Broker(http_port=0, data=tmp_path) as broker:
        found = httpx.get(f"{broker.management_url}/api/definitions", auth=("guest", "changed")).json()
    assert found == exported
    assert {user["name"] for user in found["users"]} == {"guest", "bob"}
    assert len(found["parameters"]) == 2
