"""The broker's server: what its connections share, how it ends, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from tests.tls.pki import Authority
from tests.unit.broker.support import Client, MemoryServer, SlowJournal, publish

from fedora_messaging import __version__
from fedora_messaging.broker.accounts import Accounts, Permissions
from fedora_messaging.broker.alarms import ResourceLimits
from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.broker.server import BrokerError, Server
from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.protocol.connection import Limits
from fedora_messaging.transport.tls import ServerTLSOptions
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import PROTOCOL_HEADER
from fedora_messaging.wire.methods import decode_method

if TYPE_CHECKING:
    from pathlib import Path

    from fedora_messaging.wire.methods import Method

BLOCKING: dict[str, Any] = {"capabilities": {"connection.blocked": True}}


def texts(client: Client) -> list[str]:
    """Return what the broker says in the closes that it sends."""
    return [one.method.reply_text for one in client.told() if isinstance(one.method, m.ConnectionClose)]


def ended(client: Client) -> bool:
    """Let the client answer a close; returns whether the connection is gone then."""
    client.send(m.ConnectionCloseOk(), channel=0)
    return client.pipe.is_closing()


# What connections get


def tuning(server: MemoryServer) -> m.ConnectionTune:
    client = Client(server)
    client.feed(PROTOCOL_HEADER)
    (told,) = client.send(m.ConnectionStartOk({}, "PLAIN", b"\0guest\0guest", "en_US"), channel=0)
    assert isinstance(told.method, m.ConnectionTune)
    return told.method


def test_limits_that_are_offered(loop: asyncio.AbstractEventLoop) -> None:
    assert repr(tuning(MemoryServer(loop))) == repr(m.ConnectionTune(2047, 131072, 60))
    own = Limits(channel_max=7, frame_max=9000, heartbeat=5)
    assert repr(tuning(MemoryServer(loop, limits=own))) == repr(m.ConnectionTune(7, 9000, 5))


@pytest.mark.parametrize(
    ("profile", "frame_min", "max_body"),
    [(RABBITMQ_3, 4096, 128 * 1024 * 1024), (RABBITMQ_4, 8192, 16 * 1024 * 1024)],
)
def test_limits_of_a_profile(profile: Profile, frame_min: int, max_body: int) -> None:
    assert Server(profile=profile).limits == Limits(2047, 131072, 60, max_body, frame_min)
    own = Limits(channel_max=7, frame_max=9000, heartbeat=5, frame_min=5000, max_body=1 << 40)
    assert Server(profile=profile, limits=own).limits is own


@pytest.mark.parametrize(("profile", "version"), [(RABBITMQ_3, "3.10.8"), (RABBITMQ_4, "4.3.6")])
def test_server_says_what_it_is(profile: Profile, version: str) -> None:
    async def first_words() -> Method:
        server = Server(profile=profile)
        await server.start(port=0)
        assert server.port > 0
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(PROTOCOL_HEADER)
        head = await reader.readexactly(7)
        payload = await reader.readexactly(int.from_bytes(head[3:], "big"))
        writer.close()
        await writer.wait_closed()
        await server.stop()
        return decode_method(payload)

    start = asyncio.run(first_words())
    assert isinstance(start, m.ConnectionStart)
    assert start.mechanisms == b"PLAIN AMQPLAIN"
    properties = start.server_properties
    assert (properties["product"], properties["version"]) == ("RabbitMQ", version)
    assert properties["platform"] == f"fedora-messaging {__version__}"
    assert properties["capabilities"]["publisher_confirms"] is True
    assert set(properties["capabilities"].values()) == {True}


def test_default_account_is_guest(loop: asyncio.AbstractEventLoop) -> None:
    assert Server().accounts.user("guest") is not None
    own = Accounts(guest=False)
    own.add_user("bird", "word")
    own.set_permissions("bird", "/", Permissions())
    server = MemoryServer(loop, accounts=own)
    assert server.accounts is own
    assert Client(server).login("bird", "word").session.user.name == "bird"


# Ends


def test_connections_of_a_name_are_closed(server: MemoryServer) -> None:
    first, second = (Client(server, connection_name=name).login() for name in ("first", "second"))
    nameless = Client(server).login()
    assert server.close_connections("test", "none") == 0
    assert server.close_connections("enough", "second") == 1
    assert [texts(client) for client in (first, second, nameless)] == [
        [],
        ["CONNECTION_FORCED - enough"],
        [],
    ]
    assert ended(second)
    assert server.sessions == {first.session, nameless.session}


def test_all_connections_are_closed(server: MemoryServer) -> None:
    """One that has not logged in yet is cut: it could not understand why."""
    clients = [Client(server).login() for _ in range(2)]
    early = Client(server)
    assert server.close_connections("enough") == 3
    assert [texts(client) for client in clients] == [["CONNECTION_FORCED - enough"]] * 2
    assert early.pipe.is_closing()
    assert server.sessions == {client.session for client in clients}


def test_stop_says_goodbye_and_waits_for_the_answers(
    server: MemoryServer, loop: asyncio.AbstractEventLoop
) -> None:
    client = Client(server).login()
    stopping = loop.create_task(server.stop())
    assert texts(client) == ["CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"]
    assert not stopping.done()
    assert ended(client)
    loop.run_until_complete(stopping)
    assert server.sessions == set()


def test_stop_without_connections(server: MemoryServer, loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(server.stop())
    loop.run_until_complete(server.stop())


def test_server_without_storage_cannot_fail_to_store(server: MemoryServer, client: Client) -> None:
    server.storage_failed("test")
    assert server.failure is None
    assert not server.failed.is_set()
    assert not server.journal_is_behind
    assert client.told() == []


def test_failed_storage_ends_the_server_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        server = Server(data=tmp_path)
        await server.start(port=0)
        server.storage_failed("first")
        server.storage_failed("second")
        assert server.failure == "first"
        await asyncio.wait_for(server.failed.wait(), 1)
        await server.stop()

    with pytest.raises(BrokerError, match="^first$"):
        asyncio.run(run())
    assert [one.getMessage() for one in caplog.records if one.levelname == "CRITICAL"] == [
        "The broker ends. first"
    ]


# Alarms


def declare(client: Client) -> None:
    client.session.vhost.declare_queue(QueueDeclaration("q"), owner=None)


def test_memory_that_is_full_blocks_publishers_alone(loop: asyncio.AbstractEventLoop) -> None:
    server = MemoryServer(loop, resources=ResourceLimits(memory=10_000))
    publisher, reader = (Client(server, **BLOCKING).login() for _ in range(2))
    declare(publisher)
    assert publisher.feed(publish("", "q", b"x" * 2000)) == []
    assert server.alarms.reason is None
    (told,) = publisher.feed(publish("", "q", b"x" * 9000))
    assert repr(told.method) == repr(m.ConnectionBlocked("low on memory"))
    assert (publisher.pipe.reads, reader.pipe.reads) == (False, True)
    assert reader.told() == []


def test_client_that_knows_no_blocking_is_not_read_from(loop: asyncio.AbstractEventLoop) -> None:
    server = MemoryServer(loop, resources=ResourceLimits(memory=1000))
    client = Client(server).login()
    declare(client)
    assert client.feed(publish("", "q", b"x" * 2000)) == []
    assert not client.pipe.reads


# Starting


@pytest.mark.parametrize("inside", [False, True])
def test_data_directory_that_is_a_file(tmp_path: Path, inside: bool) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    directory = path / "data" if inside else path
    with pytest.raises(BrokerError, match=f"^The data directory {directory} cannot be created: "):
        asyncio.run(Server(data=directory).start(port=0))
    assert path.read_text() == "mine"


def test_directory_that_vanished_before_the_start(tmp_path: Path) -> None:
    """It is made anew."""

    async def run() -> None:
        server = Server(data=tmp_path / "data")
        shutil.rmtree(tmp_path)
        await server.start(port=0)
        await server.stop()

    asyncio.run(run())
    assert (tmp_path / "data" / "broker.sqlite").exists()


def test_journal_that_is_slow_confirms_nothing_when_the_server_stops(
    loop: asyncio.AbstractEventLoop,
) -> None:
    journal = SlowJournal()
    server = MemoryServer(loop, journal)
    client = Client(server).login()
    client.session.vhost.declare_queue(QueueDeclaration("q", durable=True), owner=None)
    client.ask(m.ConfirmSelect())
    assert client.feed(publish("", "q", delivery_mode=2)) == []
    stopping = loop.create_task(server.stop())
    told = [one.method.name for one in client.told()]
    journal.catch_up()
    told += [one.method.name for one in client.told()]
    assert told == ["connection.close"]
    assert ended(client)
    loop.run_until_complete(stopping)


# What is stored, and TLS files


def test_stored_means_that_it_is_found_after_a_crash(tmp_path: Path) -> None:
    async def run() -> None:
        server = Server(data=tmp_path / "used")
        await server.start(port=0)
        for number in range(20):
            server.administration.set_user(f"user {number}", None)
            await server.stored()
            shutil.copytree(tmp_path / "used", tmp_path / f"{number}")
        await server.stop()

    asyncio.run(run())

    async def names(directory: Path) -> set[str]:
        server = Server(data=directory)
        server.open(asyncio.get_running_loop())
        found = {user.name for user in server.accounts}
        await server.stop()
        return found

    for number in range(20):
        expected = {"guest", *(f"user {each}" for each in range(number + 1))}
        assert asyncio.run(names(tmp_path / f"{number}")) == expected


def test_nothing_has_to_be_stored_without_a_directory(
    server: MemoryServer, loop: asyncio.AbstractEventLoop
) -> None:
    server.administration.set_user("bob", None)
    loop.run_until_complete(server.stored())


def test_tls_files_are_read_again(tmp_path: Path) -> None:
    """For connections from now on. With files that are wrong, the old ones stay in use."""
    authority = Authority(tmp_path / "ca")
    current = tmp_path / "current.crt", tmp_path / "current.key"

    def use(name: str) -> None:
        identity = authority.issue(name, "127.0.0.1", f"{name}.example")
        shutil.copy(identity.certfile, current[0])
        shutil.copy(identity.keyfile, current[1])

    async def name_of(port: int) -> str:
        context = ssl.create_default_context(cafile=authority.ca_cert)
        _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        found: Any = writer.get_extra_info("peercert")
        writer.transport.abort()
        return str(found["subjectAltName"][1][1])

    async def run() -> list[str]:
        use("one")
        server = Server()
        tls = ServerTLSOptions(str(current[0]), str(current[1]), None)
        await server.start(port=0, tls=tls)
        names = [await name_of(server.port)]
        use("two")
        names.append(await name_of(server.port))
        server.reload_tls()
        names.append(await name_of(server.port))
        current[1].write_text("no key")
        with pytest.raises(ConfigurationException, match="current"):
            server.reload_tls()
        names.append(await name_of(server.port))
        await server.stop()
        return names

    assert asyncio.run(run()) == [f"{name}.example" for name in ("one", "one", "two", "two")]


def test_reading_tls_files_again_without_tls_does_nothing(server: MemoryServer) -> None:
    server.reload_tls()
