"""The journal of a virtual host: rows of its own in the file that all virtual hosts share."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.broker.server import Server
from fedora_messaging.broker.storage.vhost_journal import VhostJournal
from fedora_messaging.exceptions import EncodingError
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fedora_messaging.broker.core.vhost import VirtualHost

QUEUES = "SELECT vhost, name FROM queue ORDER BY vhost, name"
EXCHANGES = "SELECT vhost, name, type, auto_delete, internal FROM exchange ORDER BY vhost, name"
BINDINGS = (
    "SELECT vhost, source, kind, destination, routing_key FROM binding "
    "ORDER BY vhost, source, kind, destination, routing_key"
)
COUNTS = "SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM queue_message)"


def run(data: Path, *uses: Callable[[VirtualHost, VirtualHost], Any]) -> None:
    """Start a broker with the virtual hosts a and b, and do something in them."""

    async def start() -> None:
        server = Server(data=data)
        server.open(asyncio.get_running_loop())
        for name in ("a", "b"):
            server.administration.set_vhost(name)
        for use in uses:
            use(server.vhosts["a"], server.vhosts["b"])
        await server.stop()

    asyncio.run(start())


def rows(data: Path, query: str) -> list[Any]:
    """Return what is in the data file."""
    connection = sqlite3.connect(data / "broker.sqlite")
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def fill(vhost: VirtualHost, _other: VirtualHost) -> None:
    """Make something of each kind, and put a message into the queue."""
    vhost.declare_exchange(ExchangeDeclaration("e", "topic", durable=True))
    vhost.declare_exchange(ExchangeDeclaration("f", "fanout", True, True, True, {"x": 1}))
    vhost.declare_queue(QueueDeclaration("q", durable=True), None)
    vhost.bind("e", vhost.queue("q"), "k", {})
    vhost.bind("e", vhost.exchange("f"), "k", {})
    properties = encode_properties(BasicProperties(delivery_mode=2))
    vhost.queue("q").enqueue(new_message("", "q", properties, b"x"))


def fill_both(one: VirtualHost, other: VirtualHost) -> None:
    """Make the same things in both."""
    fill(one, other)
    fill(other, one)


def test_each_virtual_host_has_rows_of_its_own(tmp_path: Path) -> None:
    run(tmp_path, fill_both)
    assert rows(tmp_path, QUEUES) == [("a", "q"), ("b", "q")]
    for name in ("a", "b"):
        assert rows(tmp_path, f"{EXCHANGES.replace('ORDER', f'WHERE vhost = {name!r} ORDER')}") == [
            (name, "e", "topic", 0, 0),
            (name, "f", "fanout", 1, 1),
        ]
        assert rows(tmp_path, f"{BINDINGS.replace('ORDER', f'WHERE vhost = {name!r} ORDER')}") == [
            (name, "e", "exchange", "f", "k"),
            (name, "e", "queue", "q", "k"),
        ]
    assert rows(tmp_path, COUNTS) == [(2, 2)]


@pytest.mark.parametrize("fresh", [False, True])
def test_deleting_touches_no_other_virtual_host(tmp_path: Path, fresh: bool) -> None:
    """Whether the things were made since the start, or found there."""

    def delete(one: VirtualHost, _other: VirtualHost) -> None:
        one.delete_exchange("e", if_unused=False)
        one.delete_queue("q", None, if_unused=False, if_empty=False)

    if fresh:
        run(tmp_path, fill_both, delete)
    else:
        run(tmp_path, fill_both)
        run(tmp_path, delete)
    assert rows(tmp_path, QUEUES) == [("b", "q")]
    # The exchange f deletes itself with its last binding.
    assert [row[:2] for row in rows(tmp_path, EXCHANGES)] == [("a", "f"), ("b", "e"), ("b", "f")]
    assert {row[0] for row in rows(tmp_path, BINDINGS)} == {"b"}
    assert rows(tmp_path, COUNTS) == [(1, 1)]


def test_unbinding_touches_no_other_virtual_host(tmp_path: Path) -> None:
    run(
        tmp_path,
        fill_both,
        lambda one, _other: one.unbind("e", one.queue("q"), "k", {}),
    )
    assert [row[:4] for row in rows(tmp_path, BINDINGS) if row[2] == "queue"] == [("b", "e", "queue", "q")]


def test_cleared_virtual_host_leaves_no_rows(tmp_path: Path) -> None:
    run(tmp_path, fill_both, lambda one, _other: one.clear())
    for query in (QUEUES, EXCHANGES, BINDINGS):
        assert {row[0] for row in rows(tmp_path, query)} == {"b"}
    assert rows(tmp_path, COUNTS) == [(1, 1)]


def test_what_is_not_durable_has_no_rows(tmp_path: Path) -> None:
    def make(one: VirtualHost, _other: VirtualHost) -> None:
        one.declare_exchange(ExchangeDeclaration("e", "topic"))
        one.declare_exchange(ExchangeDeclaration("d", "topic", durable=True))
        one.declare_queue(QueueDeclaration("q"), None)
        one.declare_queue(QueueDeclaration("own", durable=True, exclusive=True), object())
        one.bind("d", one.queue("q"), "k", {})

    run(tmp_path, make)
    assert rows(tmp_path, QUEUES) == []
    assert rows(tmp_path, BINDINGS) == []
    assert [row[:2] for row in rows(tmp_path, EXCHANGES)] == [("a", "d")]


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    """Also that of the virtual host."""

    async def start(make: bool) -> Any:
        server = Server(data=tmp_path)
        server.open(asyncio.get_running_loop())
        if make:
            server.administration.set_vhost("v\udcff")
            vhost = server.vhosts["v\udcff"]
            vhost.declare_queue(QueueDeclaration("q\udcfe", durable=True), None)
            vhost.bind("amq.topic", vhost.queue("q\udcfe"), "k\udcfd", {})
        found = server.vhosts["v\udcff"]
        names = (
            list(found.queues),
            [each.routing_key for each in found.exchanges["amq.topic"].bindings.values()],
        )
        await server.stop()
        return names

    for make in (True, False):
        assert asyncio.run(start(make)) == (["q\udcfe"], ["k\udcfd"])
    assert rows(tmp_path, QUEUES) == [(b"v\xff", b"q\xfe")]


def test_arguments_that_cannot_be_stored_leave_no_row(tmp_path: Path) -> None:
    """The queue gets no identity then."""

    class Store:
        done: list[str] = []

        def do(self, statement: str, *_values: Any) -> None:
            self.done.append(statement)

        def new_queue_id(self) -> int:
            raise AssertionError

        message_added = message_removed = delivered = returned = when_durable = do

    async def declare() -> None:
        server = Server()
        server.open(asyncio.get_running_loop())
        vhost = server.vhosts["/"]
        queue = vhost.declare_queue(QueueDeclaration("q", arguments={"x-own": 1}), None)
        queue.declared["x-own"] = object()
        store: Any = Store()
        with pytest.raises(EncodingError, match="x-own"):
            VhostJournal(store, "/").queue_added(queue)
        assert (store.done, queue.stored_id) == ([], None)
        await server.stop()

    asyncio.run(declare())
