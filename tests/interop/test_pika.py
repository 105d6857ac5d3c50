"""pika, blocking and event-driven, as a client of the embedded broker."""

from __future__ import annotations

import datetime
import decimal
import json
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pika
import pytest
from pika.exceptions import ChannelWrongStateError, NackError, UnroutableError

from fedora_messaging import api
from fedora_messaging.exceptions import HaltConsumer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from fedora_messaging.broker import Broker

MIB = 1024 * 1024
DEADLINE = 20.0

HEADERS: dict[str, Any] = {
    "text": "žluťoučký kůň",
    "empty": "",
    "true": True,
    "false": False,
    "small": 7,
    "negative": -7,
    "large": 2**62,
    "decimal": decimal.Decimal("12.34"),
    "time": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    "none": None,
    "list": [1, "two", [3, None], {"four": 5}],
    "table": {"deep": {"deeper": {"x": 1}}},
    "bytes": b"\x00\xff",
}


def parameters(broker: Broker, **settings: Any) -> pika.URLParameters:
    made = pika.URLParameters(broker.amqp_url)
    for setting, value in settings.items():
        setattr(made, setting, value)
    return made


@pytest.fixture
def connection(embedded_broker: Broker) -> Iterator[pika.BlockingConnection]:
    with pika.BlockingConnection(parameters(embedded_broker)) as made:
        yield made


@pytest.fixture
def channel(connection: pika.BlockingConnection) -> BlockingChannel:
    """A channel whose publishes are confirmed."""
    made = connection.channel()
    made.confirm_delivery()
    return made


@pytest.fixture
def queue(channel: BlockingChannel) -> Iterator[str]:
    name = f"pika.{uuid.uuid4().hex}"
    channel.queue_declare(name)
    yield name
    if channel.is_open:
        channel.queue_delete(name)


def get(channel: BlockingChannel, queue: str) -> tuple[Any, bytes]:
    """Properties and body of the message that is ready."""
    method, properties, body = channel.basic_get(queue, auto_ack=True)
    assert method is not None, "no message is ready"
    return properties, body


def consume(channel: BlockingChannel, queue: str, count: int) -> list[tuple[Any, Any, bytes]]:
    """Consume so many messages without acknowledging them."""
    found: list[tuple[Any, Any, bytes]] = []
    for delivery in channel.consume(queue, inactivity_timeout=DEADLINE):
        assert delivery[0] is not None, f"{len(found)} deliveries of {count}"
        found.append(delivery)
        if len(found) == count:
            break
    return found


# Publishing and consuming


def test_confirmed_publish(channel: BlockingChannel, queue: str) -> None:
    """`basic_publish` returns when the confirm has come, so the message is there."""
    for number in range(20):
        channel.basic_publish("", queue, str(number).encode())
    found = [get(channel, queue)[1] for _ in range(20)]
    assert found == [str(number).encode() for number in range(20)]


def test_nacked_publish(channel: BlockingChannel) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    channel.basic_publish("", queue, b"fits")
    with pytest.raises(NackError):
        channel.basic_publish("", queue, b"does not")


@pytest.mark.parametrize("body", [b"", b"lost", b"x" * MIB], ids=["empty", "small", "large"])
def test_returned_publish(channel: BlockingChannel, body: bytes) -> None:
    properties = pika.BasicProperties(message_id="m1", headers={"a": 1})
    with pytest.raises(UnroutableError) as caught:
        channel.basic_publish("amq.topic", "no.where", body, properties, mandatory=True)
    (returned,) = caught.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert (returned.method.exchange, returned.method.routing_key) == ("amq.topic", "no.where")
    assert (returned.properties.message_id, returned.properties.headers) == ("m1", {"a": 1})
    assert returned.body == body


def test_mandatory_publish_that_is_routed(channel: BlockingChannel, queue: str) -> None:
    channel.basic_publish("", queue, b"x", mandatory=True)
    assert get(channel, queue)[1] == b"x"


def test_acknowledged_messages_are_gone(channel: BlockingChannel, queue: str) -> None:
    for number in range(5):
        channel.basic_publish("", queue, str(number).encode())
    deliveries = consume(channel, queue, 5)
    assert [body for _, _, body in deliveries] == [b"0", b"1", b"2", b"3", b"4"]
    channel.basic_ack(deliveries[2][0].delivery_tag, multiple=True)
    channel.basic_reject(deliveries[3][0].delivery_tag, requeue=False)
    channel.basic_nack(deliveries[4][0].delivery_tag, requeue=True)
    channel.cancel()
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (body, method.redelivered) == (b"4", True)
    assert channel.basic_get(queue)[0] is None


def test_unacknowledged_messages_return(
    embedded_broker: Broker, channel: BlockingChannel, queue: str
) -> None:
    for number in range(3):
        channel.basic_publish("", queue, str(number).encode())
    with pika.BlockingConnection(parameters(embedded_broker)) as other:
        consume(other.channel(), queue, 3)
    deliveries = consume(channel, queue, 3)
    assert [body for _, _, body in deliveries] == [b"0", b"1", b"2"]
    assert all(method.redelivered for method, _, _ in deliveries)


def test_server_named_queues(connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
    first, second = (channel.queue_declare("", exclusive=True).method.queue for _ in range(2))
    assert first != second
    for name in (first, second):
        channel.queue_bind(name, "amq.fanout")
    channel.basic_publish("amq.fanout", "", b"both")
    assert [get(channel, name)[1] for name in (first, second)] == [b"both", b"both"]


@pytest.mark.parametrize(
    ("kind", "binding", "arguments", "hits", "misses"),
    [
        ("direct", "a.b", None, ["a.b"], ["a", "a.b.c", ""]),
        ("fanout", "", None, ["", "anything"], []),
        ("topic", "*.b.#", None, ["a.b", "a.b.c.d"], ["b", "a.c"]),
        ("headers", "", {"x-match": "all", "h": "yes"}, ["with header"], []),
    ],
)
def test_exchange_types(
    channel: BlockingChannel,
    queue: str,
    kind: str,
    binding: str,
    arguments: dict[str, Any] | None,
    hits: list[str],
    misses: list[str],
) -> None:
    exchange = f"pika.{uuid.uuid4().hex}"
    channel.exchange_declare(exchange, kind, auto_delete=True)
    channel.queue_bind(queue, exchange, binding, arguments)
    for key in hits:
        channel.basic_publish(exchange, key, b"hit", pika.BasicProperties(headers={"h": "yes"}), True)
    for key in misses:
        with pytest.raises(UnroutableError):
            channel.basic_publish(exchange, key, b"miss", mandatory=True)
    assert [get(channel, queue)[1] for _ in hits] == [b"hit"] * len(hits)


def test_header_types(channel: BlockingChannel, queue: str) -> None:
    channel.basic_publish("", queue, b"", pika.BasicProperties(headers=HEADERS))
    assert get(channel, queue)[0].headers == HEADERS


def test_all_properties(channel: BlockingChannel, queue: str) -> None:
    sent = pika.BasicProperties(
        content_type="text/plain",
        content_encoding="utf-8",
        headers={},
        delivery_mode=1,
        priority=9,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        timestamp=1_700_000_000,
        type="t",
        user_id="guest",
        app_id="a",
        cluster_id="l",
    )
    channel.basic_publish("", queue, b"", sent)
    assert get(channel, queue)[0] == sent


@pytest.mark.parametrize("frame_max", [8192, 131072])
@pytest.mark.parametrize("size", [0, 1, 8184, 8185, 131064, 131065, MIB])
def test_body_sizes(embedded_broker: Broker, frame_max: int, size: int) -> None:
    """Around the largest payload of a frame, and far above it."""
    body = bytes(number % 251 for number in range(size))
    with pika.BlockingConnection(parameters(embedded_broker, frame_max=frame_max)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, body)
        assert get(channel, queue)[1] == body


def test_many_channels(connection: pika.BlockingConnection) -> None:
    """They are independent of each other, and their numbers can be used again."""
    for _ in range(2):
        channels = [connection.channel() for _ in range(300)]
        queues = [channel.queue_declare("", exclusive=True).method.queue for channel in channels]
        for number, channel in enumerate(channels):
            channel.basic_publish("", queues[number], str(number).encode())
        found = [get(channel, queue)[1] for channel, queue in zip(channels, queues, strict=True)]
        assert found == [str(number).encode() for number in range(300)]
        for channel in channels:
            channel.close()


def test_error_of_one_channel_spares_the_others(
    connection: pika.BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    other = connection.channel()
    other.basic_publish("no.such", "", b"")
    channel.basic_publish("", queue, b"x")
    assert get(channel, queue)[1] == b"x"
    with pytest.raises(ChannelWrongStateError):
        other.basic_publish("", queue, b"y")
    assert connection.channel().is_open


def test_transaction(connection: pika.BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    transacted = connection.channel()
    transacted.tx_select()
    transacted.basic_publish("", queue, b"given up")
    transacted.tx_rollback()
    transacted.basic_publish("", queue, b"meant")
    transacted.tx_commit()
    assert get(channel, queue)[1] == b"meant"
    assert channel.basic_get(queue)[0] is None


def test_direct_reply_to(embedded_broker: Broker, channel: BlockingChannel, queue: str) -> None:
    """A question and its answer, as in pika's documentation."""
    answers: list[bytes] = []
    asking = channel.connection.channel()
    asking.basic_consume(
        "amq.rabbitmq.reply-to", lambda _c, _m, _p, body: answers.append(body), auto_ack=True
    )
    asking.basic_publish("", queue, b"2 + 2", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
    with pika.BlockingConnection(parameters(embedded_broker)) as server:
        serving = server.channel()
        ((method, properties, _),) = consume(serving, queue, 1)
        serving.basic_publish("", properties.reply_to, b"4")
        serving.basic_ack(method.delivery_tag)
    channel.connection.process_data_events(time_limit=0)
    asking.queue_declare("", exclusive=True)
    assert answers == [b"4"]


def test_publishing_threads(embedded_broker: Broker, channel: BlockingChannel, queue: str) -> None:
    """Connections at the same time, each keeping its order."""

    def publish(name: str) -> None:
        with pika.BlockingConnection(parameters(embedded_broker)) as connection:
            own = connection.channel()
            own.confirm_delivery()
            for number in range(50):
                own.basic_publish("", queue, f"{name} {number}".encode())

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [body.decode().split() for _, _, body in consume(channel, queue, 200)]
    for name in "abcd":
        assert [number for who, number in found if who == name] == [str(n) for n in range(50)]


# Our library on the other side


def test_the_library_publishes(library: None, channel: BlockingChannel, queue: str) -> None:
    channel.queue_bind(queue, "amq.topic", "pika.#")
    message = api.Message(topic="pika.hello", body={"text": "Dobrý den"}, severity=30, headers={"mine": 1})
    api.publish(message)
    method, properties, body = channel.basic_get(queue, auto_ack=True)
    assert (method.exchange, method.routing_key) == ("amq.topic", "pika.hello")
    assert json.loads(body) == {"text": "Dobrý den"}
    assert properties.content_type == "application/json"
    assert properties.content_encoding == "utf-8"
    assert properties.delivery_mode == 2
    assert properties.message_id == message.id
    assert properties.headers.pop("sent-at")
    assert properties.headers == {
        "mine": 1,
        "fedora_messaging_schema": "base.message",
        "fedora_messaging_schema_package": "fedora_messaging",
        "fedora_messaging_severity": 30,
        "priority": 0,
    }


def consume_one(queue: str) -> api.Message:
    """Consume a message with the library."""
    found: list[api.Message] = []

    def callback(message: api.Message) -> None:
        found.append(message)
        raise HaltConsumer

    settings = {"durable": False, "auto_delete": False, "exclusive": False, "arguments": {}}
    with pytest.raises(HaltConsumer):
        api.consume(callback, bindings=[], queues={queue: settings})  # type: ignore[dict-item]
    (message,) = found
    return message


def test_the_library_consumes(library: None, channel: BlockingChannel, queue: str) -> None:
    properties = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        message_id="11111111-2222-3333-4444-555555555555",
        delivery_mode=2,
        headers={
            "fedora_messaging_schema": "base.message",
            "fedora_messaging_severity": 40,
            "sent-at": "2026-01-02T03:04:05+00:00",
        },
    )
    channel.queue_bind(queue, "amq.topic", "pika.#")
    channel.basic_publish("amq.topic", "pika.hello", '{"text": "Dobrý den"}'.encode(), properties)
    message = consume_one(queue)
    assert (message.topic, message.queue, message.severity) == ("pika.hello", queue, 40)
    assert message.body == {"text": "Dobrý den"}
    assert message.id == "11111111-2222-3333-4444-555555555555"
    assert message._headers == properties.headers
    assert channel.basic_get(queue)[0] is None


def test_the_library_consumes_foreign_headers(library: None, channel: BlockingChannel, queue: str) -> None:
    """Whatever types pika has written."""
    headers = {**HEADERS, "fedora_messaging_schema": "base.message", "fedora_messaging_severity": 20}
    channel.basic_publish("", queue, b"{}", pika.BasicProperties(headers=headers, content_encoding="utf-8"))
    found = consume_one(queue)._headers
    # The library tells a time from a number by its type, pika by a zone it adds.
    assert {name: value for name, value in found.items() if name != "time"} == {
        name: value for name, value in headers.items() if name != "time"
    }


def test_a_library_message_forwarded_by_pika_stays_equal(
    library: None, channel: BlockingChannel, queue: str
) -> None:
    channel.queue_bind(queue, "amq.topic", "pika.forward")
    sent = api.Message(topic="pika.forward", body={"n": [1, 2.5, None, "ž"]}, headers={"deep": {"a": [1]}})
    sent.priority = 4
    api.publish(sent)
    properties, body = get(channel, queue)
    channel.basic_publish("amq.topic", "pika.forward", body, properties)
    received = consume_one(queue)
    assert received == sent
    assert (received.id, received.priority) == (sent.id, 4)


# SelectConnection


class Script:
    """Runs a scenario of callbacks on a `SelectConnection`, until `done` or a deadline.

    Args:
        broker: To connect to.
        begin: Called with the first channel.
    """

    def __init__(self, broker: Broker, begin: Callable[[Any], None]) -> None:
        self.failure: object = None
        self.finished = False
        self._begin = begin
        self.connection = pika.SelectConnection(
            parameters(broker),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_open_error_callback=lambda _connection, error: self._stop(error),
            on_close_callback=lambda _connection, reason: self._closed(reason),
        )
        self.connection.ioloop.call_later(DEADLINE, lambda: self._stop("deadline"))

    def _opened(self, channel: Any) -> None:
        channel.add_on_close_callback(lambda _channel, reason: self._channel_closed(reason))
        self._begin(channel)

    def _channel_closed(self, reason: Any) -> None:
        if not self.finished:
            self._stop(reason)

    def _closed(self, reason: Any) -> None:
        self._stop(None if self.finished else reason)

    def _stop(self, failure: object) -> None:
        self.failure = failure
        self.connection.ioloop.stop()

    def done(self) -> None:
        """Close everything in good order."""
        self.finished = True
        self.connection.close()

    def run(self) -> None:
        """Run to the end."""
        self.connection.ioloop.start()
        self.connection.ioloop.close()
        assert self.failure is None, self.failure
        assert self.finished
        assert self.connection.is_closed


def test_select_connection(embedded_broker: Broker) -> None:
    """Publish with confirms, consume with acknowledgements, all pipelined."""
    count = 200
    confirmed: set[int] = set()
    received: list[bytes] = []

    def begin(channel: Any) -> None:
        channel.confirm_delivery(on_confirm)
        channel.basic_qos(prefetch_count=7)
        channel.queue_declare("", exclusive=True, callback=lambda frame: declared(channel, frame))

    def on_confirm(frame: Any) -> None:
        tag, seen = frame.method.delivery_tag, len(confirmed)
        assert frame.method.NAME == "Basic.Ack"
        confirmed.update(range(1, tag + 1) if frame.method.multiple else (tag,))
        assert len(confirmed) > seen
        finish()

    def declared(channel: Any, frame: Any) -> None:
        queue = frame.method.queue
        channel.basic_consume(queue, on_message)
        for number in range(count):
            channel.basic_publish("", queue, str(number).encode())

    def on_message(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        received.append(body)
        channel.basic_ack(method.delivery_tag)
        finish()

    def finish() -> None:
        if len(confirmed) == count and len(received) == count:
            script.done()

    script = Script(embedded_broker, begin)
    script.run()
    assert confirmed == set(range(1, count + 1))
    assert received == [str(number).encode() for number in range(count)]


def test_select_connection_gets_returns_before_confirms(embedded_broker: Broker) -> None:
    events: list[str] = []

    def begin(channel: Any) -> None:
        channel.add_on_return_callback(lambda _channel, method, _properties, body: returned(method, body))
        channel.confirm_delivery(on_confirm)
        channel.basic_publish("amq.direct", "no.where", b"x" * MIB, mandatory=True)

    def returned(method: Any, body: bytes) -> None:
        events.append(f"{method.reply_code} {len(body)}")

    def on_confirm(frame: Any) -> None:
        events.append(frame.method.NAME)
        script.done()

    script = Script(embedded_broker, begin)
    script.run()
    assert events == [f"312 {MIB}", "Basic.Ack"]


def test_select_connection_is_told_of_a_deleted_queue(embedded_broker: Broker) -> None:
    """It has announced that it understands the broker's basic.cancel."""
    cancelled: list[str] = []

    def begin(channel: Any) -> None:
        channel.add_on_cancel_callback(on_cancel)
        channel.queue_declare("", callback=lambda frame: declared(channel, frame.method.queue))

    def declared(channel: Any, queue: str) -> None:
        channel.basic_consume(
            queue,
            lambda *_: None,
            consumer_tag="mine",
            callback=lambda _frame: channel.queue_delete(queue),
        )

    def on_cancel(frame: Any) -> None:
        cancelled.append(frame.method.consumer_tag)
        script.done()

    script = Script(embedded_broker, begin)
    script.run()
    assert cancelled == ["mine"]


def test_select_connection_with_many_channels(embedded_broker: Broker) -> None:
    """All opened in one burst."""
    count = 200
    opened: list[Any] = []
    closed: list[Any] = []

    def begin(channel: Any) -> None:
        for _ in range(count):
            channel.connection.channel(on_open_callback=on_open)

    def on_open(channel: Any) -> None:
        opened.append(channel)
        if len(opened) == count:
            for each in opened:
                each.add_on_close_callback(on_close)
                each.close()

    def on_close(channel: Any, _reason: Any) -> None:
        closed.append(channel)
        if len(closed) == count:
            script.done()

    script = Script(embedded_broker, begin)
    script.run()
    assert len({channel.channel_number for channel in closed}) == count
