"""Fixed pieces of work without network: ``python -m benchmarks.workers.fixed_work NAME TIMES``.

They do the same each time, so what they cost can be compared between versions. ``benchmarks.instructions``
counts the processor's instructions; ``--seconds`` prints the time of one, in microseconds.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.broker.storage.sqlite import SqliteStore
from fedora_messaging.client.consuming.delivery import Raw, receive
from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.client.publishing.outgoing import encode
from fedora_messaging.message import Message
from fedora_messaging.protocol.client_handshake import ClientMachine
from fedora_messaging.protocol.events import ContentReceived, LoginRequested, OpenRequested
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import encode_content
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties

from .common import load_message

#: A piece of work, made ready; call it to do it once.
Work = Callable[[], object]

_BINDINGS: Final = 1000
_FRAME_MAX: Final = 131_072
_MESSAGE: Final = load_message()


def _message() -> Message:
    return Message(body=_MESSAGE["body"], topic=_MESSAGE["rk"], headers=_MESSAGE["headers"])


def _opened() -> tuple[ClientMachine, ServerMachine]:
    """Return both ends of a connection with a channel."""
    client, server = ClientMachine(now=0.0), ServerMachine(now=0.0)

    def talk() -> None:
        while (sent := client.data_to_send(0.0)) or (answered := server.data_to_send(0.0)):
            if sent:
                server.receive_data(sent, 0.0)
            else:
                client.receive_data(answered, 0.0)
            for event in server.events():
                if isinstance(event, LoginRequested):
                    server.accept_login()
                elif isinstance(event, OpenRequested):
                    server.accept_open()

    talk()
    client.open_channel(1)
    talk()
    client.events()
    return client, server


def _encode(_directory: Path) -> Work:
    """Properties, method and frames of a message."""
    properties = _message()._properties
    body = _message()._encoded_body

    def work() -> bytes:
        method = m.BasicPublish("amq.topic", "org.example.key").encode()
        return encode_content(1, method, encode_properties(properties), body, _FRAME_MAX)

    return work


def _decode(_directory: Path) -> Work:
    """Frames of a delivery, its method and properties."""
    client, _ = _opened()
    delivery = _delivery(1)

    def work() -> BasicProperties:
        client.receive_data(delivery, 0.0)
        (event,) = client.events()
        assert isinstance(event, ContentReceived)
        return decode_properties(event.properties)

    return work


def _delivery(tag: int) -> bytes:
    encoded = encode(_message(), "amq.topic", mandatory=False)
    method = m.BasicDeliver("consumer", tag, False, "amq.topic", encoded.routing_key).encode()
    return encode_content(1, method, encoded.properties, encoded.body, _FRAME_MAX)


def _publish(_directory: Path) -> Work:
    """A message from its making to the bytes for the socket, and its confirm."""
    client, server = _opened()
    server.send_method(1, m.BasicAck(1))
    confirm = server.data_to_send(0.0)

    def work() -> None:
        encoded = encode(_message(), "amq.topic", mandatory=False)
        client.send_content(1, encoded.method, encoded.properties, encoded.body)
        client.data_to_send(0.0)
        client.receive_data(confirm, 0.0)
        client.events()

    return work


def _consume(_directory: Path) -> Work:
    """A delivery from the bytes of the socket to a checked message, and its acknowledgement."""
    client, _ = _opened()
    delivery, stats = _delivery(1), ConsumerStats()

    def work() -> None:
        client.receive_data(delivery, 0.0)
        (event,) = client.events()
        assert isinstance(event, ContentReceived)
        method = event.method
        assert isinstance(method, m.BasicDeliver)
        raw = Raw(
            0,
            method.delivery_tag,
            "queue",
            method.exchange,
            method.routing_key,
            method.redelivered,
            event.properties,
            event.body,
        )
        assert isinstance(receive(raw, stats), Message)
        client.send_method(1, m.BasicAck(1))
        client.data_to_send(0.0)

    return work


def _never(*_arguments: object) -> None:
    """Schedule nothing: no message here has a time to live."""


def _route(_directory: Path) -> Work:
    """A message through a topic exchange with many bindings into two queues, and out of them."""
    vhost = VirtualHost("/", lambda: 1000.0, NoJournal(), _never)
    topic = vhost.exchange("amq.topic")
    queues = [vhost.declare_queue(QueueDeclaration(f"q{number}"), owner=None) for number in range(10)]
    for number in range(_BINDINGS):
        vhost.bind("amq.topic", queues[number % 8], f"org.example.*.{number}.#", {})
    for queue in queues[8:]:
        vhost.bind("amq.topic", queue, "org.#", {})
    encoded = encode(_message(), "amq.topic", mandatory=False)

    def work() -> None:
        vhost.enqueue(topic, new_message("amq.topic", "org.example.key", encoded.properties, encoded.body))
        for queue in queues[8:]:
            assert queue.get(no_ack=True) is not None

    return work


class _Untroubled:
    """Who would be told of trouble with the storage."""

    def storage_changed(self) -> None:
        raise AssertionError

    def storage_failed(self, why: str) -> None:
        raise AssertionError(why)


def _store(directory: Path) -> Work:
    """Twenty persistent messages into a durable queue's file."""
    store = SqliteStore(directory, asyncio.new_event_loop(), _Untroubled())
    vhost = VirtualHost("/", lambda: 1000.0, store.journal_of("/"), _never)
    queue = vhost.declare_queue(QueueDeclaration("q", durable=True), owner=None)
    encoded = encode(_message(), "amq.topic", mandatory=False)

    def work() -> None:
        for _ in range(20):
            queue.enqueue(new_message("", "q", encoded.properties, encoded.body))
        store._write_once()

    return work


#: Pieces of work by name: what makes each ready in an empty directory.
WORKS: Final = {
    "encode": _encode,
    "decode": _decode,
    "publish": _publish,
    "consume": _consume,
    "route": _route,
    "store": _store,
}


def main() -> None:
    """Do the work that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers.fixed_work", description=__doc__)
    parser.add_argument("name", choices=WORKS)
    parser.add_argument("times", type=int)
    parser.add_argument("--seconds", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = WORKS[arguments.name](Path(directory))
        work()  # the first time, modules are imported and schemas are compiled
        began = time.process_time()
        for _ in range(arguments.times):
            work()
        if arguments.seconds:
            sys.stdout.write(f"{1e6 * (time.process_time() - began) / arguments.times:.2f}\n")


if __name__ == "__main__":
    main()
