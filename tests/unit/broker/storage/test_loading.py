"""Reading the stored data: the virtual host is as it was, apart from what was out or has gone."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import new_vhost
from tests.unit.broker.storage.test_sqlite import Untroubled

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.broker.core.stream import StreamQueue
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.broker.storage.database_file import StorageError
from fedora_messaging.broker.storage.loading import load
from fedora_messaging.broker.storage.positions import FILE_NAME, DeliveredPositions
from fedora_messaging.broker.storage.sqlite import SqliteStore
from fedora_messaging.wire.fields import encode_table
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fedora_messaging.broker.core.message import Entry
    from fedora_messaging.broker.core.queue import Queue


@pytest.fixture
def positions(tmp_path: Path) -> Iterator[DeliveredPositions]:
    """The positions of the directory."""
    opened = DeliveredPositions(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def vhost() -> VirtualHost:
    """An empty virtual host."""
    return new_vhost()


def add_queue(
    connection: sqlite3.Connection, queue_id: int, name: str, delivered: int = 0, **rest: Any
) -> None:
    """Write a queue whose arguments are spelled with underscores."""
    arguments = {f"x-{argument.replace('_', '-')}": value for argument, value in rest.items()}
    connection.execute(
        "INSERT INTO queue VALUES (?, '/', ?, 0, ?, ?)", (queue_id, name, encode_table(arguments), delivered)
    )


def add_message(connection: sqlite3.Connection, stored_id: int, **properties: Any) -> None:
    """Write a message whose body is its number."""
    encoded = encode_properties(BasicProperties(delivery_mode=2, **properties))
    connection.execute(
        "INSERT INTO message VALUES (?, 'e', 'k', ?, ?)", (stored_id, encoded, str(stored_id).encode())
    )


def place(
    connection: sqlite3.Connection,
    queue_id: int,
    position: int,
    message_id: int,
    expires_at: float | None = None,
    deliveries: int = 0,
    acquisitions: int = 0,
    redelivered: bool = False,
) -> None:
    connection.execute(
        "INSERT INTO queue_message VALUES (?, ?, ?, ?, ?, ?, ?)",
        (queue_id, position, message_id, expires_at, deliveries, acquisitions, redelivered),
    )


def taken(queue: Queue) -> list[Entry]:
    """Take everything out of a queue."""
    found = []
    while (entry := queue.get(no_ack=True)) is not None:
        found.append(entry)
    return found


def bodies(queue: Queue) -> list[bytes]:
    return [entry.message.body for entry in taken(queue)]


def test_empty_file_adds_nothing(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    load(connection, positions, [vhost])
    assert vhost.queues == {}
    assert set(vhost.exchanges) == set(new_vhost().exchanges)


def test_exchanges(connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost) -> None:
    arguments = {"alternate-exchange": "amq.fanout", "own": [1, None]}
    connection.execute("INSERT INTO exchange VALUES ('/', 't', 'topic', 1, 0, ?)", (encode_table(arguments),))
    connection.execute("INSERT INTO exchange VALUES ('/', 'h', 'headers', 0, 1, ?)", (encode_table({}),))
    load(connection, positions, [vhost])
    found = [vhost.exchanges[name] for name in "th"]
    assert [(each.type, each.durable, each.auto_delete, each.internal) for each in found] == [
        ("topic", True, True, False),
        ("headers", True, False, True),
    ]
    assert found[0].arguments == arguments
    # A client may declare them again as they are.
    vhost.declare_exchange(ExchangeDeclaration("t", "topic", True, True, False, arguments))


def test_queue_takes_messages_again(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    add_queue(connection, 7, "q", max_length=5)
    load(connection, positions, [vhost])
    queue = vhost.queues["q"]
    assert (queue.stored_id, queue.durable, queue.auto_delete) == (7, True, False)
    declared = QueueDeclaration("q", durable=True, arguments={"x-max-length": 5})
    assert vhost.declare_queue(declared, owner=None) is queue
    message = new_message("", "q", b"\0\0", b"new")
    assert vhost.enqueue(vhost.exchanges[""], message) == (True, False, False)


def test_messages_keep_their_order_and_new_ones_come_behind(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    add_queue(connection, 1, "q")
    for stored_id, position in ((1, 9), (2, 4), (3, 6)):
        add_message(connection, stored_id)
        place(connection, 1, position, stored_id)
    load(connection, positions, [vhost])
    vhost.enqueue(vhost.exchanges[""], new_message("", "q", b"\0\0", b"new"))
    queue = vhost.queues["q"]
    entries = taken(queue)
    assert [entry.message.body for entry in entries] == [b"2", b"3", b"1", b"new"]
    assert [entry.position for entry in entries[:3]] == [4, 6, 9]
    assert entries[3].position > 9
    assert (entries[0].message.exchange, entries[0].message.routing_key) == ("e", "k")


def test_offsets_of_a_stream_go_on(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    """Its first messages have been forgotten before."""
    add_queue(connection, 1, "s", queue_type="stream")
    for stored_id, position in ((1, 41), (2, 42)):
        add_message(connection, stored_id)
        place(connection, 1, position, stored_id)
    load(connection, positions, [vhost])
    vhost.enqueue(vhost.exchanges[""], new_message("", "s", b"\0\0", b"new"))
    stream = vhost.queues["s"]
    assert isinstance(stream, StreamQueue)
    assert [(entry.position, entry.message.body, entry.redelivered) for entry in stream._log] == [
        (41, b"1", False),
        (42, b"2", False),
        (43, b"new", False),
    ]


def test_priorities_are_told_from_the_properties(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    add_queue(connection, 1, "q", max_priority=5)
    for stored_id, priority in ((1, 1), (2, 200), (3, None), (4, 5)):
        add_message(connection, stored_id, priority=priority)
        place(connection, 1, stored_id, stored_id)
    load(connection, positions, [vhost])
    assert bodies(vhost.queues["q"]) == [b"2", b"4", b"1", b"3"]


def test_message_of_several_queues_is_one(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    add_message(connection, 5)
    for queue_id, name in ((1, "a"), (2, "b")):
        add_queue(connection, queue_id, name)
        place(connection, queue_id, 1, 5)
    load(connection, positions, [vhost])
    first, second = (queue.get(no_ack=False) for queue in vhost.queues.values())
    assert first is not None
    assert second is not None
    assert first.message is second.message
    assert (first.message.stored_id, first.message.placements) == (5, 2)
    assert first.stored
    assert second.stored


def test_lifetimes_go_on(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    """The virtual host's clock stands at 1000 seconds."""
    add_queue(connection, 1, "q")
    for stored_id, expires_at in ((1, 999.0), (2, 1000.5), (3, None)):
        add_message(connection, stored_id)
        place(connection, 1, stored_id, stored_id, expires_at)
    load(connection, positions, [vhost])
    entries = taken(vhost.queues["q"])
    assert [(entry.message.body, entry.expires_at) for entry in entries] == [(b"2", 1000.5), (b"3", None)]


# What was out


@pytest.mark.parametrize(("committed", "noted"), [(2, 0), (0, 2), (2, 1), (1, 2)])
def test_further_of_both_positions_counts(
    connection: sqlite3.Connection,
    positions: DeliveredPositions,
    vhost: VirtualHost,
    committed: int,
    noted: int,
) -> None:
    add_queue(connection, 1, "q", committed)
    positions.write(1, noted)
    for stored_id in (1, 2, 3):
        add_message(connection, stored_id)
        place(connection, 1, stored_id, stored_id)
    load(connection, positions, [vhost])
    assert [entry.redelivered for entry in taken(vhost.queues["q"])] == [True, True, False]


def test_damaged_positions_cost_no_message(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost, tmp_path: Path
) -> None:
    add_queue(connection, 1, "q", 1)
    for stored_id in (1, 2):
        add_message(connection, stored_id)
        place(connection, 1, stored_id, stored_id)
    (tmp_path / FILE_NAME).write_bytes(b"\xff" * 80)
    load(connection, positions, [vhost])
    vhost.enqueue(vhost.exchanges[""], new_message("", "q", b"\0\0", b"new"))
    entries = taken(vhost.queues["q"])
    assert [(entry.message.body, entry.redelivered) for entry in entries] == [
        (b"1", True),
        (b"2", False),
        (b"new", False),
    ]


def test_message_beyond_its_limit_is_given_up(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    """As if the broker had been killed during the last delivery; the queue of dead letters may come later."""
    dying: dict[str, Any] = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}
    add_queue(connection, 1, "q", queue_type="quorum", delivery_limit=2, **dying)
    add_queue(connection, 2, "dead")
    for stored_id, deliveries in ((1, 3), (2, 2), (3, 0)):
        add_message(connection, stored_id)
        place(connection, 1, stored_id, stored_id, deliveries=deliveries)
    load(connection, positions, [vhost])
    left = taken(vhost.queues["q"])
    assert [(entry.message.body, entry.returns) for entry in left] == [(b"2", 2), (b"3", 0)]
    (dead,) = taken(vhost.queues["dead"])
    assert dead.message.body == b"1"
    assert dead.message.headers["x-death"][0]["reason"] == "delivery_limit"


def test_deliveries_before_the_start_are_told(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    add_queue(connection, 1, "q", queue_type="quorum")
    add_message(connection, 1)
    place(connection, 1, 1, 1, deliveries=2, acquisitions=3, redelivered=True)
    load(connection, positions, [vhost])
    (entry,) = taken(vhost.queues["q"])
    assert entry.redelivered
    headers = decode_properties(vhost.queues["q"].properties(entry, 1000)).headers
    assert headers == {"x-acquired-count": 3, "x-delivery-count": 2}


# What another profile has stored


def test_queue_that_the_profile_does_not_permit(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    add_queue(connection, 1, "q", queue_version=1)
    with pytest.raises(StorageError) as caught:
        load(connection, positions, [vhost])
    assert str(caught.value) == (
        "invalid arg 'x-queue-version' for queue 'q' in vhost '/': \"unsupported queue version '1'\": the "
        "queue was declared with another profile than 4. Use that profile, or delete the queue with it first."
    )
    old = new_vhost(RABBITMQ_3)
    load(connection, positions, [old])
    assert list(old.queues) == ["q"]


def test_queue_whose_argument_ends_connections(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    add_queue(connection, 1, "q", queue_master_locator="min-masters")
    with pytest.raises(StorageError, match="^Feature `queue_master_locator` is deprecated.*: the queue was"):
        load(connection, positions, [vhost])


def test_binding_that_the_profile_does_not_permit(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    none = encode_table({})
    add_queue(connection, 1, "q")
    connection.execute("INSERT INTO exchange VALUES ('/', 't', 'topic', 0, 0, ?)", (none,))
    for source in ("amq.topic", "t"):
        connection.execute("INSERT INTO binding VALUES ('/', ?, 'queue', 'q', '#.#.#', ?)", (source, none))
    with pytest.raises(StorageError) as caught:
        load(connection, positions, [vhost])
    assert str(caught.value) == (
        "Topic binding key '#.#.#' uses 3 '#' wildcards, at most 2 are allowed: the binding was declared "
        "with another profile than 4. Use that profile, or delete the binding with it first."
    )
    old = new_vhost(RABBITMQ_3)
    load(connection, positions, [old])
    assert [len(old.exchanges[source].bindings) for source in ("amq.topic", "t")] == [1, 1]


# What has gone


def test_what_belongs_to_nothing_is_left_out(
    connection: sqlite3.Connection, positions: DeliveredPositions, vhost: VirtualHost
) -> None:
    """Bindings without one of their ends, messages without a queue, and another virtual host."""
    none = encode_table({})
    add_queue(connection, 1, "q")
    connection.execute("INSERT INTO queue VALUES (2, 'other', 'other', 0, ?, 0)", (none,))
    connection.execute("INSERT INTO exchange VALUES ('other', 'e', 'fanout', 0, 0, ?)", (none,))
    for source, kind, destination in (
        ("gone", "queue", "q"),
        ("amq.fanout", "queue", "gone"),
        ("amq.fanout", "exchange", "q"),
        ("amq.fanout", "queue", "q"),
        ("amq.fanout", "exchange", "amq.topic"),
    ):
        connection.execute(
            "INSERT INTO binding VALUES ('/', ?, ?, ?, 'k', ?)", (source, kind, destination, none)
        )
    add_message(connection, 1)
    place(connection, 2, 1, 1)
    load(connection, positions, [vhost])
    assert list(vhost.queues) == ["q"]
    assert "e" not in vhost.exchanges
    bound = vhost.exchanges["amq.fanout"].bindings.values()
    assert {(each.destination.kind, each.destination.name, each.routing_key) for each in bound} == {
        ("queue", "q", "k"),
        ("exchange", "amq.topic", "k"),
    }
    assert len(vhost.queues["q"]) == 0


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("INSERT INTO exchange VALUES ('/', 'e', 'x-none', 0, 0, x'00000000')", KeyError),
        ("INSERT INTO queue VALUES (1, '/', 'q', 0, x'0000000301615A', 0)", Exception),
        ("DROP TABLE binding", sqlite3.OperationalError),
    ],
)
def test_damage_is_an_error(
    connection: sqlite3.Connection,
    positions: DeliveredPositions,
    vhost: VirtualHost,
    statement: str,
    error: type[Exception],
) -> None:
    """The caller tells the operator of it."""
    connection.execute(statement)
    with pytest.raises(error):
        load(connection, positions, [vhost])


# Through the journal


@contextlib.contextmanager
def stored(directory: Path) -> Iterator[VirtualHost]:
    """A virtual host with all that the directory holds; what is done in the block is stored."""
    loop = asyncio.new_event_loop()
    store = SqliteStore(directory, loop, Untroubled())
    vhost = VirtualHost("/", lambda: 1000.0, store.journal_of("/"), lambda *_: None)
    store.load([vhost])
    store.start()
    yield vhost
    store.close()
    loop.close()


def test_message_that_was_given_up_at_the_start_stays_given_up(tmp_path: Path) -> None:
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 2,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    }
    with stored(tmp_path) as vhost:
        vhost.declare_queue(QueueDeclaration("q", durable=True, arguments=arguments), owner=None)
        vhost.declare_queue(QueueDeclaration("dead", durable=True), owner=None)
        properties = encode_properties(BasicProperties(delivery_mode=2))
        vhost.enqueue(vhost.exchanges[""], new_message("", "q", properties, b"x"))
    file = sqlite3.connect(tmp_path / "broker.sqlite")
    file.execute("UPDATE queue_message SET deliveries = 3")
    file.commit()
    file.close()
    for _ in range(2):
        with stored(tmp_path) as vhost:
            assert {name: len(queue) for name, queue in vhost.queues.items()} == {"q": 0, "dead": 1}
    with stored(tmp_path) as vhost:
        assert bodies(vhost.queues["dead"]) == [b"x"]
    with stored(tmp_path) as vhost:
        assert bodies(vhost.queues["dead"]) == []


@pytest.mark.parametrize("name", ["ä €", "\udcff", "a\0b"])
def test_names_of_any_bytes_are_found_again(tmp_path: Path, name: str) -> None:
    exchange, queue, key = f"e {name}", f"q {name}", f"k {name}"
    arguments = {"a": name.encode("utf-8", "surrogateescape")}
    with stored(tmp_path) as vhost:
        vhost.declare_exchange(ExchangeDeclaration(exchange, durable=True))
        made = vhost.declare_queue(QueueDeclaration(queue, durable=True), owner=None)
        vhost.bind(exchange, made, key, arguments)
        properties = encode_properties(BasicProperties(delivery_mode=2))
        vhost.enqueue(vhost.exchanges[exchange], new_message(exchange, key, properties, b"first"))
    with stored(tmp_path) as vhost:
        vhost.enqueue(vhost.exchanges[exchange], new_message(exchange, key, b"\0\0", b"second"))
        entries = taken(vhost.queues[queue])
        assert [entry.message.body for entry in entries] == [b"first", b"second"]
        assert [(each.message.exchange, each.message.routing_key) for each in entries] == [
            (exchange, key)
        ] * 2
        vhost.unbind(exchange, vhost.queues[queue], key, arguments)
        vhost.delete_exchange(exchange, if_unused=True)
        vhost.delete_queue(queue, None, if_unused=True, if_empty=True)
    with stored(tmp_path) as vhost:
        assert (vhost.queues, exchange in vhost.exchanges) == ({}, False)


def test_loading_stores_nothing_again(connection: sqlite3.Connection, positions: DeliveredPositions) -> None:
    """The journal of the virtual host hears of nothing that the file has already."""

    class Silent(NoJournal):
        def queue_added(self, queue: Queue) -> None:
            raise AssertionError(queue)

        def message_added(self, queue: Queue, entry: Entry) -> None:
            raise AssertionError(entry)

        def binding_added(self, binding: Any) -> None:
            raise AssertionError(binding)

        def exchange_added(self, exchange: Any) -> None:
            raise AssertionError(exchange)

    connection.execute("INSERT INTO exchange VALUES ('/', 'e', 'fanout', 0, 0, ?)", (encode_table({}),))
    add_queue(connection, 1, "q")
    connection.execute("INSERT INTO binding VALUES ('/', 'e', 'queue', 'q', '', ?)", (encode_table({}),))
    add_message(connection, 1)
    place(connection, 1, 1, 1)
    vhost = VirtualHost("/", lambda: 1000.0, Silent(), lambda *_: None)
    load(connection, positions, [vhost])
    assert (len(vhost.queues["q"]), len(vhost.exchanges["e"].bindings)) == (1, 1)
