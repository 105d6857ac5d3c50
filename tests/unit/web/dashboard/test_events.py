"""``/events``: what a client is sent, how it goes on where it was, and what is left when it is gone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx
import orjson
import pytest
from tests.support.sse import Event, EventReader
from tests.support.waiting import soon
from tests.unit.web.dashboard.sites import Clock, on_guarded_site, sign_in
from tests.unit.web.dashboard.support import NOON, archive_in, entry, run_quickly

from fedora_messaging.message import ERROR, INFO
from fedora_messaging.web.dashboard.dashboard import Dashboard
from fedora_messaging.web.dashboard.events import MOST_CLIENTS, event_id
from fedora_messaging.web.dashboard.feed import MOST_BEHIND
from fedora_messaging.web.dashboard.management import Management
from fedora_messaging.web.dashboard.settings import DashboardSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.unit.web.dashboard.sites import Site

    from fedora_messaging.archive.archive import Archive


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with archive_in(tmp_path) as made:
        yield made


@asynccontextmanager
async def site(archive: Archive, **settings: Any) -> AsyncIterator[Dashboard]:
    """The web application over an archive, without a broker."""
    client = httpx.AsyncClient(base_url="http://127.0.0.1:1/", trust_env=False)
    dashboard = Dashboard(Management(client, "no broker"), DashboardSettings(**settings), archive)
    try:
        yield dashboard
    finally:
        await dashboard.close()


class Gone(OSError):
    """The client has gone: what a server raises when it can no longer send."""


class Client:
    """A client of ``/events`` in place of a server and its socket.

    Args:
        dashboard: The application.
        query: Parameters, each a name and a value.
        last_id: Value of ``Last-Event-ID``.
        breaks_at: The number of the call of ``send`` that raises.
        leaves_at: The number of the call of ``send`` after which the client has gone.
        stops_at: The number of the call of ``send`` that never returns, as if the client did not read.
        reads: The client reads as often as this is released.
    """

    def __init__(
        self,
        dashboard: Dashboard,
        *query: tuple[str, str],
        last_id: str | None = None,
        breaks_at: int = -1,
        leaves_at: int = -1,
        stops_at: int = -1,
        reads: asyncio.Semaphore | None = None,
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.events: list[Event] = []
        self.sent = 0
        self._breaks_at, self._leaves_at, self._stops_at = breaks_at, leaves_at, stops_at
        self._reads = reads
        self._reader = EventReader(last_id or "")
        self._left = asyncio.Event()
        headers = [(b"host", b"localhost")]
        if last_id is not None:
            headers.append((b"last-event-id", last_id.encode("latin-1")))
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/events",
            "raw_path": b"/events",
            "query_string": urlencode(query).encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self.task = asyncio.ensure_future(dashboard.app(self._scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if not self.sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        number, self.sent = self.sent, self.sent + 1
        if number == self._breaks_at:
            raise Gone
        if number == self._stops_at:
            await asyncio.Event().wait()
        if self._reads is not None:
            await self._reads.acquire()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.events += self._reader.feed(message["body"])
        if number == self._leaves_at:
            self._left.set()

    @property
    def ids(self) -> list[str]:
        """Ids of the messages that the client has seen."""
        return [event.value["id"] for event in self.events if event.kind == "message"]

    @property
    def kinds(self) -> list[str]:
        """Kinds of the events."""
        return [event.kind for event in self.events]

    @property
    def last_id(self) -> str:
        """What a browser would come back with."""
        return self._reader.last_id

    async def until(self, *ids: str) -> None:
        """Wait for messages, and check that there were no others."""
        await soon(lambda: len(self.ids) >= len(ids))
        assert self.ids == [*ids]

    async def ready(self) -> None:
        """Wait until what is stored from now on will be seen."""
        await soon(lambda: "ready" in self.kinds)

    async def leave(self) -> None:
        """Close the connection, and wait until the application has noticed."""
        self._left.set()
        await self.task


def store(archive: Archive, *ids: str, **attributes: Any) -> None:
    archive.store([entry(id=id, **attributes) for id in ids])


# What is sent


def test_messages_as_they_pass(archive: Archive) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            store(archive, "old")
            client = Client(dashboard)
            await client.ready()
            assert client.status == 200
            assert client.headers["content-type"].partition(";")[0] == "text/event-stream"
            assert client.headers["cache-control"] == "no-store"
            archive.store(
                [
                    entry(
                        "org.example.thing.new",
                        id="new",
                        severity=ERROR,
                        summary="a thing",
                        app="things",
                        users=["ann"],
                        packages=["bash"],
                    )
                ]
            )
            await client.until("new")
            assert client.events[-1].value == {
                "id": "new",
                "topic": "org.example.thing.new",
                "sent": NOON,
                "severity": "error",
                "app": "things",
                "agent": "",
                "schema": "",
                "summary": "a thing",
                "users": ["ann"],
                "packages": ["bash"],
            }
            await client.leave()

    run_quickly(main())


@pytest.mark.parametrize(
    "odd", ["a\nb", "a\r\ndata: forged", "\n\nevent: gap\ndata: {}\n\n", "\u2028\x85\x0b"]
)
def test_line_ends_in_a_message_forge_no_event(archive: Archive, odd: str) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            client = Client(dashboard)
            await client.ready()
            archive.store([entry(odd, id=odd, summary=odd, users=[odd])])
            await client.until(odd)
            value = client.events[-1].value
            assert (value["topic"], value["summary"], value["users"]) == (odd, odd, [odd])
            assert client.kinds == ["ready", "message"]
            await client.leave()

    run_quickly(main())


def test_filters_hold_for_what_passes_and_for_what_was_missed(archive: Archive) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            begin = event_id(archive, 0)
            wanted: dict[str, Any] = {
                "topic": "a.b",
                "severity": ERROR,
                "app": "x",
                "users": ["u"],
                "packages": ["p"],
            }
            archive.store([entry(**wanted, id="old", word="needle")])
            archive.store([entry(**wanted | {"severity": INFO}, id="1", word="needle")])
            query = [
                *(("topic", "a.#"), ("topic", "z"), ("severity", "warning"), ("app", "x")),
                *(("user", "u"), ("package", "p"), ("text", "need*")),
            ]
            client = Client(dashboard, *query, last_id=begin)
            await client.until("old")
            for name, value in (("topic", "b"), ("app", "y"), ("users", ["v"]), ("packages", [])):
                archive.store([entry(**wanted | {name: value}, word="needle")])
            archive.store([entry(**wanted), entry(**wanted, id="new", word="needle")])
            await client.until("old", "new")
            await client.leave()

    run_quickly(main())


@pytest.mark.parametrize(
    ("name", "value"), [("severity", "fatal"), ("since", "yesterday"), ("until", "nan"), ("since", "1e300")]
)
def test_a_filter_that_means_nothing_is_refused(archive: Archive, name: str, value: str) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            client = Client(dashboard, (name, value))
            await client.task
            assert client.status == 400
            assert name in orjson.loads(client.body)["error"]
            assert dashboard.streams == 0

    run_quickly(main())


def test_who_may_not_look_is_told_to_log_in(archive: Archive) -> None:
    async def main() -> None:
        async with site(archive, sign_in=True) as dashboard:
            client = Client(dashboard)
            await client.task
            assert client.status == 401
            assert dashboard.streams == 0

    run_quickly(main())


# Going on where the client was


def test_a_client_goes_on_where_it_was(archive: Archive) -> None:
    """From the id of a message, from that of `ready`, and with the parameter that scripts can set."""

    async def main() -> None:
        async with site(archive) as dashboard:
            first, idle = Client(dashboard), Client(dashboard)
            await asyncio.gather(first.ready(), idle.ready())
            store(archive, "1", "2")
            await first.until("1", "2")
            await first.leave()
            store(archive, "3", "4")
            place = first.last_id
            for again in (Client(dashboard, last_id=place), Client(dashboard, ("last_event_id", place))):
                await again.until("3", "4")
                await again.leave()
            await idle.until("1", "2", "3", "4")
            await idle.leave()

    run_quickly(main())


def test_a_client_that_has_seen_nothing_goes_on_from_when_it_came(archive: Archive) -> None:
    """Also if the archive was empty then, and if the connection breaks again before the first message."""

    async def main() -> None:
        async with site(archive) as dashboard:
            first = Client(dashboard)
            await first.ready()
            await first.leave()
        store(archive, "1", "2")
        # Another process, such as after a restart.
        async with site(archive) as dashboard:
            second = Client(dashboard, last_id=first.last_id, leaves_at=1)
            await second.task
            assert second.kinds == ["ready"]
            third = Client(dashboard, last_id=second.last_id)
            await third.until("1", "2")
            await third.leave()

    run_quickly(main())


@pytest.mark.parametrize("breaks_at", range(2, 9))
def test_a_client_that_breaks_off_anywhere_has_no_gap_and_no_duplicate(
    archive: Archive, breaks_at: int
) -> None:
    async def main() -> None:
        store(archive, *"abcde")
        seen: list[str] = []
        place = event_id(archive, 0)
        async with site(archive) as dashboard:
            while len(seen) < 5:
                client = Client(dashboard, last_id=place, leaves_at=breaks_at)
                await _until_it_left_or_has(client, 5 - len(seen))
                assert client.ids
                seen += client.ids
                place = client.last_id
        assert seen == [*"abcde"]

    run_quickly(main())


async def _until_it_left_or_has(client: Client, number: int) -> None:
    await soon(lambda: client.task.done() or len(client.ids) == number)
    await client.leave()


WRONG_PLACES: Final = (
    *("x", "-", "--", "1", "7-x", "\xb2-\xb2", "' OR 1=1", "a" * 5000),
    *("{epoch}-", "{epoch}--1", "{epoch}-1.5", "{epoch}-+1", "{epoch}- 1", "{epoch}-1-1", "{epoch}-\xb2"),
    *("{epoch}-" + "9" * 19, "{epoch}-" + "9" * 4000, "{other}-1"),
)


@pytest.mark.parametrize("place", WRONG_PLACES, ids=range(len(WRONG_PLACES)))
def test_a_place_that_is_not_known_is_a_gap(archive: Archive, place: str) -> None:
    """Of another archive, or of none: the client is told, and then sees what comes."""

    async def main() -> None:
        store(archive, "old")
        last_id = place.format(epoch=f"{archive.epoch:x}", other=f"{archive.epoch + 1:x}")
        async with site(archive) as dashboard:
            client = Client(dashboard, last_id=last_id)
            await client.ready()
            assert client.status == 200
            assert client.kinds == ["gap", "ready"]
            assert "not sent again" in client.events[0].value["reason"]
            store(archive, "new")
            await client.until("new")
            await client.leave()

    run_quickly(main())


def test_an_empty_place_is_none(archive: Archive) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            client = Client(dashboard, ("last_event_id", ""), last_id="")
            await client.ready()
            assert client.kinds == ["ready"]
            await client.leave()

    run_quickly(main())


def test_a_place_of_the_future(archive: Archive) -> None:
    """After a backup was put back, the client goes on with what comes, and no longer tells that place."""

    async def main() -> None:
        store(archive, "1", "2")
        async with site(archive) as dashboard:
            client = Client(dashboard, last_id=event_id(archive, 10))
            await client.ready()
            assert client.last_id == event_id(archive, 2)
            store(archive, "new")
            await client.until("new")
            await client.leave()

    run_quickly(main())


# What is left of a client


async def nothing_left(dashboard: Dashboard) -> None:
    """Wait until the application follows nothing for anybody."""
    feed = await dashboard.feed()
    await soon(lambda: dashboard.streams == 0 and feed._readers == 0)


@pytest.mark.parametrize("how", ["breaks_at", "leaves_at"])
@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("place", [None, 0])
def test_a_client_that_goes_at_any_point_is_forgotten(
    archive: Archive, how: str, number: int, place: int | None
) -> None:
    """The server notices while it sends, or hears of it; both while old messages are sent and new ones."""

    async def main() -> None:
        async with site(archive) as dashboard:
            store(archive, *"abcd")
            last_id = None if place is None else event_id(archive, place)
            arguments: Any = {how: number}
            client = Client(dashboard, last_id=last_id, **arguments)
            await soon(lambda: client.task.done() or "ready" in client.kinds)
            store(archive, *"efgh")
            await asyncio.wait([client.task])
            if how == "breaks_at":
                with pytest.raises((Gone, ExceptionGroup)):
                    client.task.result()
            await nothing_left(dashboard)

    run_quickly(main())


@pytest.mark.parametrize("turns", range(0, 40, 3))
def test_a_client_that_is_cancelled_at_any_point_is_forgotten(archive: Archive, turns: int) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            store(archive, *"abcd")
            client = Client(dashboard, last_id=event_id(archive, 0))
            for _ in range(turns):
                await asyncio.sleep(0)
            client.task.cancel()
            await asyncio.wait([client.task])
            await nothing_left(dashboard)

    run_quickly(main())


@pytest.mark.parametrize("stops_at", [1, 2, 4])
def test_a_client_that_does_not_read_is_dropped_and_delays_nobody(
    archive: Archive, stops_at: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            slow = Client(dashboard, stops_at=stops_at)
            other = Client(dashboard)
            await other.ready()
            if stops_at > 1:
                await slow.ready()
            ids = [str(number) for number in range(50)]
            store(archive, *ids)
            await other.until(*ids)
            await slow.task
            assert "it has read nothing for" in caplog.text
            assert dashboard.streams == 1
            await other.leave()
            await nothing_left(dashboard)

    run_quickly(main())


def test_a_client_that_reads_too_slowly_is_told_why_it_is_dropped(archive: Archive) -> None:
    """It reads, but too little: others had thousands of messages meanwhile."""

    async def main() -> None:
        async with site(archive) as dashboard:
            reads = asyncio.Semaphore(0)
            slow, quick = Client(dashboard, reads=reads), Client(dashboard)
            await quick.ready()
            number = 0
            while number < 3 * MOST_BEHIND:
                # Within the time in which it must read.
                reads.release()
                store(archive, *(str(number + more) for more in range(500)))
                number += 500
                await soon(lambda: len(quick.ids) == number)  # noqa: B023
            for _ in range(number):
                reads.release()
            await slow.task
            assert slow.kinds[-1] == "dropped"
            assert f"more than {MOST_BEHIND} messages behind" in slow.events[-1].value["reason"]
            assert len(slow.ids) < number
            await quick.leave()
            again = Client(dashboard, last_id=slow.last_id)
            await soon(lambda: len(slow.ids) + len(again.ids) == number)
            assert slow.ids + again.ids == quick.ids
            await again.leave()

    # At ordinary speed, in which the client is in time.
    asyncio.run(main())


def test_clients_above_the_bound_are_told_to_come_back_later(archive: Archive) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            dashboard.streams = MOST_CLIENTS - 1
            last = Client(dashboard)
            await last.ready()
            refused = Client(dashboard)
            await refused.task
            assert refused.status == 503
            assert refused.headers["retry-after"] == "10"
            assert str(MOST_CLIENTS) in orjson.loads(refused.body)["error"]
            await last.leave()
            again = Client(dashboard)
            await again.ready()
            await again.leave()
            assert dashboard.streams == MOST_CLIENTS - 1

    run_quickly(main())


def test_clients_that_come_at_once_do_not_pass_the_bound(archive: Archive) -> None:
    """Whoever is let in counts from then on, not from the first event that it is sent."""

    async def main() -> None:
        async with site(archive) as dashboard:
            dashboard.streams = MOST_CLIENTS - 1
            clients = [Client(dashboard) for _ in range(5)]
            await soon(lambda: all(client.status for client in clients))
            assert sorted(client.status for client in clients) == [200, 503, 503, 503, 503]
            for client in clients:
                await client.leave()
            assert dashboard.streams == MOST_CLIENTS - 1

    run_quickly(main())


def test_the_end_of_the_server_is_told(archive: Archive) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            client = Client(dashboard)
            await client.ready()
        await client.task
        assert client.kinds == ["ready", "dropped"]
        assert client.events[-1].value == {"reason": "the server stops"}
        assert dashboard.streams == 0

    run_quickly(main())


def test_a_request_for_the_headers_only_opens_no_stream(archive: Archive) -> None:
    async def main() -> None:
        async with site(archive) as dashboard:
            transport = httpx.ASGITransport(dashboard.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                answer = await client.head("/events")
            assert answer.status_code == 200
            assert dashboard.streams == 0

    run_quickly(main())


def test_a_stream_ends_with_the_session(tmp_path: Path) -> None:
    """What passes later than half a minute after the broker has lost the user is not sent any more."""
    clock = Clock()

    async def test(site: Site, client: httpx.AsyncClient, dashboard: Dashboard) -> None:
        await site.add_user("anna", "monitoring", "%2F")
        await sign_in(client, "anna")
        archive = dashboard.archive
        assert archive is not None
        async with client.stream("GET", "/events") as stream:
            lines = stream.aiter_lines()

            async def store(topic: str) -> None:
                await asyncio.to_thread(archive.store, [entry(topic)])

            async def events() -> list[str]:
                """Return the next event or events that come together."""
                found = []
                async for line in lines:
                    if line.startswith(("event: ", "data: ")):
                        found.append(line)
                    elif not line and found:
                        break
                return found

            assert (await events())[0] == "event: ready"
            for number in range(2):
                await store(f"seen.{number}")
                assert f"seen.{number}" in (await events())[1]
                clock.now += 31
            await site.api("DELETE", "users/anna")
            clock.now += 31
            await store("not.seen")
            assert await events() == ["event: dropped", 'data: {"reason":"you are not signed in any more"}']
            assert await events() == []

    on_guarded_site(test, tmp_path, clock)
