"""Five hundred clients follow the messages of a bus: all that read see every message, once, in order.

How soon is printed (`-s`): it tells about the machine as much as about the server, so no test depends on it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.support.processes import Processes
from tests.support.rabbitmq import free_ports
from tests.support.waiting import soon
from tests.unit.web.dashboard.support import archive_in, entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.processes import Process

    from fedora_messaging.archive.archive import Archive

#: Clients that read, and those that do not.
READERS: Final = 480
SLEEPERS: Final = 20
#: Messages, and how many are stored together, how often.
MESSAGES: Final = 600
TOGETHER: Final = 10
PAUSE: Final = 0.3
#: Topic of messages that readers leave out, and a text for them: a few fill the buffers of the system.
BULKY: Final = "bulky"
BULK: Final = "x" * 500
#: Bytes that the system takes for a client that does not read.
ROOM: Final = 4096
#: Seconds for all of a test, with room for a machine that is busy.
PATIENCE: Final = 300.0
#: Megabytes of the server, with all its clients.
MEMORY: Final = 250

_ASK: Final = "GET /events{query} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"
_EVENT: Final = re.compile(rb"^id: ([0-9a-f]+-(\d+))\r\nevent: (\w+)\r\n", re.MULTILINE)


class Client:
    """A client of ``/events`` that knows its place.

    Args:
        port: Port of the server.
        stored: When each message was stored, by its place.
        query: Filters.
        awake: Set while the client reads more than the first event.
    """

    def __init__(
        self, port: int, stored: dict[int, float], query: str = "", awake: asyncio.Event | None = None
    ) -> None:
        self.seen: list[int] = []
        self.latest = 0.0
        self.connections = 0
        self.has_gap = False
        self.is_ready = asyncio.Event()
        self._place = b""
        self._query = query
        self._awake = awake
        self._port = port
        self._stored = stored

    async def follow(self) -> None:
        """Follow for ever, and come back when the connection ends."""
        while True:
            with suppress(OSError):
                await self._follow()
            # Nobody listens while the server starts.
            await asyncio.sleep(0.05)

    async def _follow(self) -> None:
        with socket.socket() as connection:
            room = 2**18
            if self._awake is not None and not self._awake.is_set():
                room = ROOM
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
            reader, writer = await asyncio.open_connection(sock=connection, limit=room)
            try:
                await self._read(reader, writer, room)
            finally:
                writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, room: int) -> None:
        self.connections += 1
        place = self._place.decode()
        more = f"Last-Event-ID: {place}\r\n" if place else ""
        writer.write(_ASK.format(query=self._query, more=more).encode())
        rest = b""
        while data := await reader.read(room):
            rest = self._take(rest + data)
            if self._awake is not None and self.is_ready.is_set():
                # The reader takes no more from the system meanwhile than fits into its room.
                await self._awake.wait()

    def _take(self, data: bytes) -> bytes:
        """Note which events there are; return what may be a part of one."""
        whole = data.rfind(b"\r\n\r\n") + 4
        if whole < 4:
            return data
        now = time.time()
        self.has_gap |= b"\nevent: gap" in data[:whole]
        for place, number, kind in _EVENT.findall(data[:whole]):
            self._place = place
            if kind == b"ready":
                self.is_ready.set()
            elif kind == b"message":
                seq = int(number)
                self.seen.append(seq)
                self.latest = max(self.latest, now - self._stored.get(seq, now))
        return data[whole:]


class Site:
    """``fedora-messaging dashboard`` over an archive; there is no broker.

    Args:
        processes: Starts it.
        location: The archive.
    """

    def __init__(self, processes: Processes, location: Path) -> None:
        self._processes = processes
        self._location = location
        (self.port,) = free_ports(1)
        self._process: Process | None = None

    def start(self) -> None:
        """Start it, on the same port as before."""
        self._process = self._processes.fedora_messaging(
            *("dashboard", "--management-url", "http://127.0.0.1:1", "--port", str(self.port)),
            *("--archive", self._location),
        )
        self._process.wait_for("^Dashboard on ")

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()

    def end(self) -> str:
        """End it in good order, and return all that it has written."""
        assert self._process is not None
        ended = self._process.terminate()
        assert ended.status == 0, ended.output
        return ended.output

    @property
    def connections(self) -> int:
        """Connections of clients that it has, and some more sockets that do not change."""
        assert self._process is not None
        return sum(_is_socket(file) for file in Path(f"/proc/{self._process.pid}/fd").iterdir())

    @property
    def memory(self) -> float:
        """Megabytes that it has had at most."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return int(kilobytes) / 1024


def _is_socket(file: Path) -> bool:
    try:
        return str(file.readlink()).startswith("socket:")
    except FileNotFoundError:  # closed meanwhile
        return False


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with archive_in(tmp_path) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, archive: Archive) -> Iterator[Site]:
    with Processes(tmp_path) as processes:
        made = Site(processes, tmp_path / "archive.db")
        made.start()
        yield made


async def store(archive: Archive, stored: dict[int, float], number: int, pause: float) -> None:
    """Store some messages together, the last of them bulky, again and again, until there is a number."""
    while len(stored) < number:
        together = [entry() for _ in range(TOGETHER - 1)]
        together.append(entry(BULKY, packages=[f"{BULK[:-2]}{n}" for n in range(10, 90)]))
        await asyncio.to_thread(archive.store, together)
        stored |= dict.fromkeys(range(len(stored) + 1, len(stored) + 1 + TOGETHER), time.time())
        await asyncio.sleep(pause)


async def until_all_have(clients: Sequence[Client], messages: Sequence[int]) -> None:
    """Wait until each client has seen as many messages; more of them would be some seen twice."""
    await soon(lambda: all(len(client.seen) >= len(messages) for client in clients), PATIENCE)


def check(clients: Sequence[Client], messages: Sequence[int]) -> None:
    """Check that each has seen each message once, in the order of storing."""
    wrong = [client.seen for client in clients if client.seen != messages]
    assert not wrong, f"{len(wrong)} clients have seen other messages, such as {wrong[0]}"
    assert not any(client.has_gap for client in clients)


@pytest.mark.timeout(PATIENCE + 100)
def test_all_that_read_see_every_message(archive: Archive, site: Site) -> None:
    """Clients that do not read are dropped, delay nobody, and see all when they come back and read."""

    async def main() -> None:
        stored: dict[int, float] = {}
        all_of_them = [*range(1, MESSAGES + 1)]
        read = [seq for seq in all_of_them if seq % TOGETHER]
        # They leave out what fills the buffers of the others.
        readers = [Client(site.port, stored, "?topic=org.%23") for _ in range(READERS)]
        awake = asyncio.Event()
        sleepers = [Client(site.port, stored, awake=awake) for _ in range(SLEEPERS)]
        async with asyncio.TaskGroup() as tasks:
            follows = [tasks.create_task(client.follow()) for client in readers]
            await asyncio.gather(*(client.is_ready.wait() for client in readers))
            connections = site.connections
            follows += [tasks.create_task(client.follow()) for client in sleepers]
            await asyncio.gather(*(client.is_ready.wait() for client in sleepers))
            assert site.connections == connections + SLEEPERS
            begin = site.memory
            await store(archive, stored, MESSAGES, PAUSE)
            await until_all_have(readers, read)
            print(
                f"\n{len(read)} messages, {READERS} clients that read, {SLEEPERS} that do not: the last one "
                f"has each after at most {max(client.latest for client in readers):.2f} s; "
                f"{begin:.0f} MB with all clients, then at most {site.memory:.0f} MB"
            )
            await soon(lambda: site.connections == connections, PATIENCE)
            assert {client.connections for client in (*readers, *sleepers)} == {1}
            awake.set()
            await until_all_have(sleepers, all_of_them)
            assert {client.connections for client in sleepers} == {2}
            for follow in follows:
                follow.cancel()
        check(readers, read)
        check(sleepers, all_of_them)
        assert site.memory < MEMORY

    asyncio.run(main())
    assert "Traceback" not in site.end()


@pytest.mark.timeout(PATIENCE + 100)
def test_no_gap_and_no_duplicate_when_the_server_is_killed(archive: Archive, site: Site) -> None:
    """Messages are stored before, while and after it is gone; some clients see only what comes then."""
    number = 600
    messages = [*range(1, number + 1)]

    async def main() -> None:
        stored: dict[int, float] = {}
        clients = [Client(site.port, stored) for _ in range(100)]
        async with asyncio.TaskGroup() as tasks:
            follows = [tasks.create_task(client.follow()) for client in clients]
            await asyncio.gather(*(client.is_ready.wait() for client in clients))
            # Before the first message.
            site.kill()
            storing = tasks.create_task(store(archive, stored, number, 0.05))
            for part in (1, 2, 3):
                await asyncio.to_thread(site.start)
                await until_all_have(clients[:1], messages[: part * number // 5])
                site.kill()
            await asyncio.to_thread(site.start)
            await storing
            await until_all_have(clients, messages)
            for follow in follows:
                follow.cancel()
        check(clients, messages)
        # Most were connected each time.
        print(f"\nconnections of each client: {sorted(client.connections for client in clients)[::33]}")
        assert max(client.connections for client in clients) == 5

    asyncio.run(main())
    assert "Traceback" not in site.end()
