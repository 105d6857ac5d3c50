"""Starting a broker on what a crash has left, and what clients find then."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.faults.storage.promises import Item
from tests.faults.storage.traffic import IN_ORDER, LATER, STREAM, message, somewhere
from tests.faults.storage.witness import Witness

from fedora_messaging.broker.alarms import ResourceLimits
from fedora_messaging.broker.core.profile import RABBITMQ_4, Profile
from fedora_messaging.broker.definitions import export_definitions
from fedora_messaging.broker.server import BrokerError, Server
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.storage.promises import Promises
    from tests.faults.storage.traffic import Traffic

FILE: Final = "broker.sqlite"


def start(directory: Path, loop: asyncio.AbstractEventLoop, profile: Profile = RABBITMQ_4) -> Server:
    """Start a broker that listens nowhere.

    Raises:
        BrokerError: It refuses to start.
    """
    server = Server(data=directory, resources=ResourceLimits(memory=0, disk=0), profile=profile)
    server.open(loop)
    return server


@dataclass
class Found:
    """What clients find after a restart.

    Attributes:
        items: Everything that is there.
        orders: The messages of each queue, in order.
        marked: Messages that are marked as redelivered.
        complaints: What is wrong whatever was promised.
    """

    items: set[Item] = field(default_factory=set)
    orders: dict[str, list[int]] = field(default_factory=dict)
    marked: set[Item] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)


class _Look:
    """Looks at everything in a broker that has just started."""

    def __init__(self, server: Server, bodies: dict[int, bytes]) -> None:
        self.found = Found()
        self._server = server
        self._bodies = bodies
        self._vhost = server.vhosts["/"]
        self._witness = Witness(server).login(1, 2)

    def look(self) -> Found:
        self._look_at_definitions()
        for name in self._vhost.queues:
            if name == STREAM:
                self._read_stream()
            else:
                self._empty(name)
        for waiting in self._vhost.delayed.values():
            for _, _, entry in sorted(waiting._waiting):
                self._note(LATER, entry.message.body, False)
        self._witness.leave()
        return self.found

    def _look_at_definitions(self) -> None:
        found: dict[str, Any] = export_definitions(self._server, self._vhost)
        items = self.found.items
        items |= {Item("queue", queue["name"]) for queue in found["queues"]}
        items |= {Item("exchange", exchange["name"]) for exchange in found["exchanges"]}
        items |= {Item("policy", policy["name"]) for policy in found["policies"]}
        items |= {
            Item("binding", f"{binding['source']} {binding['destination']} {binding['routing_key']}")
            for binding in found["bindings"]
        }

    def _empty(self, queue: str) -> None:
        count = self._witness.ask(m.QueueDeclare(queue, passive=True), m.QueueDeclareOk)
        assert isinstance(count.method, m.QueueDeclareOk)
        self._witness.send(*[m.BasicGet(queue)] * (count.method.message_count + 1))
        for heard in self._witness.take():
            if isinstance(heard.method, m.BasicGetOk):
                self._note(queue, heard.body, heard.method.redelivered)

    def _read_stream(self) -> None:
        self._witness.ask(m.BasicQos(0, 60_000, False), m.BasicQosOk, 2)
        consume = m.BasicConsume(STREAM, arguments={"x-stream-offset": "first"})
        self._witness.ask(consume, m.BasicConsumeOk, 2)
        count = len(self._vhost.queues[STREAM])
        self._witness.wait_until(lambda: len(self._witness.pipe.heard) >= count)
        for heard in self._witness.take():
            self._note(STREAM, heard.body, False)

    def _note(self, queue: str, body: bytes, redelivered: bool) -> None:
        number = int(body.split(b" ", 1)[0] or 0)
        item = message(queue, number)
        if self._bodies.get(number) != body:
            self.found.complaints.append(f"changed: {item} has {len(body)} bytes")
        if item in self.found.items:
            self.found.complaints.append(f"twice in a queue: {item}")
        self.found.items |= {item, somewhere(number)}
        self.found.orders.setdefault(queue, []).append(number)
        if redelivered:
            self.found.marked.add(item)


class Restart:
    """Starts a broker on a directory after a crash, and compares it with what was promised.

    Args:
        loop: An event loop that does not run.
        promises: What was promised.
        traffic: What was published.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, promises: Promises, traffic: Traffic) -> None:
        self._loop = loop
        self._promises = promises
        self._traffic = traffic

    def complaints(self, directory: Path, at: int, *, power_lost: bool) -> Iterator[str]:
        """Start, and yield what is wrong.

        Args:
            directory: What the crash has left.
            at: After how many operations it came.
            power_lost: Whether only what was synced has to be there.
        """
        try:
            found = self.look(directory)
        except BrokerError as error:
            yield f"does not start: {error}"
            return
        yield from found.complaints
        yield from self._promises.broken(found.items, at)
        for queue in IN_ORDER:
            order = found.orders.get(queue, [])
            there = set(order)
            if order != [number for number in self._traffic.arrivals[queue] if number in there]:
                yield f"out of order: {queue} {order}"
        for item in found.items - found.marked:
            if item.kind == "message" and self._promises.must_be_marked(item, at, power_lost=power_lost):
                yield f"not marked as redelivered: {item}"
        yield from _damage(directory / FILE)

    def look(self, directory: Path) -> Found:
        """Start a broker, and stop it in good order; returns what was in it.

        Raises:
            BrokerError: It refuses to start.
        """
        server = start(directory, self._loop)
        try:
            return _Look(server, self._traffic.bodies).look()
        finally:
            self._loop.run_until_complete(server.stop())


def _damage(file: Path) -> Iterator[str]:
    """Yield what is wrong with a file that a broker has closed."""
    with closing(sqlite3.connect(file)) as database:
        ((verdict,),) = database.execute("PRAGMA integrity_check(1)").fetchall()
        if verdict != "ok":
            yield f"damaged: {verdict}"
        checks = {
            "bodies without a queue": "SELECT count(*) FROM message WHERE id NOT IN "
            "(SELECT message_id FROM queue_message)",
            "messages without a body": "SELECT count(*) FROM queue_message WHERE message_id NOT IN "
            "(SELECT id FROM message)",
            "messages without a queue": "SELECT count(*) FROM queue_message WHERE queue_id NOT IN "
            "(SELECT id FROM queue)",
        }
        for what, query in checks.items():
            ((count,),) = database.execute(query).fetchall()
            if count:
                yield f"{count} {what}"
