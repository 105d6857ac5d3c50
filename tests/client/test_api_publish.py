"""`api.publish`: blocking, thread-safe, on one connection that is made at the first use."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.client.support import message, plan
from tests.support.proxy import CHANNEL_OPEN, CONFIRM_SELECT, DOWN, START_OK, UP, Proxy
from tests.support.waiting import WAIT, eventually

from fedora_messaging import aio, api
from fedora_messaging.exceptions import (
    ConfigurationException,
    ConnectionException,
    EncodingError,
    ExchangeNotFound,
    HaltConsumer,
    PublishException,
    PublishForbidden,
    PublishNacked,
    PublishReturned,
    PublishTimeout,
)
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

    from fedora_messaging import config

NOBODY = "amqp://user:canary-password@127.0.0.1:1"


@pytest.fixture
def offline(settings: config.LazyConfig) -> Iterator[None]:
    """`api` is set up for a broker that is not there."""
    settings["amqp_url"] = NOBODY
    yield
    api.close()


class Publishing:
    """A publish in a thread; a context manager that waits for its end.

    Attributes:
        error: What it raised.
    """

    def __init__(self, one: Message, **arguments: Any) -> None:
        self.error: BaseException | None = None
        self._one = one
        self._arguments = arguments
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            api.publish(self._one, **self._arguments)
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Publishing:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def ended(self) -> BaseException | None:
        self._thread.join(2 * WAIT)
        assert not self._thread.is_alive(), "api.publish did not return"
        return self.error


def test_publish_returns_when_the_broker_has_it(
    broker: Broker, admin: Admin, queue: str, service: None
) -> None:
    assert api.publish(message(queue, 7)) is None  # type: ignore[func-returns-value]
    assert admin.take(queue) == [b'{"number": 7}']


def test_one_connection_and_one_channel_for_all(
    broker: Broker, proxy: Proxy, proxied_service: None, queue: str
) -> None:
    assert proxy.accepted == 0
    for number in range(20):
        api.publish(message(queue, number))
    assert (proxy.accepted, proxy.count(CHANNEL_OPEN), proxy.count(CONFIRM_SELECT)) == (1, 1, 1)


def test_what_is_sent(broker: Broker, admin: Admin, queue: str, service: None) -> None:
    """The broker gets body, key and properties as version 3.9 sent them."""
    sent = Message(topic=f"{queue}.test", body={"ä": "é"}, headers={"canary": 5}, severity=api.SEVERITIES[3])
    api.publish(sent)
    method, properties, body = admin.channel.basic_get(queue, auto_ack=True)
    assert body == b'{"\\u00e4": "\\u00e9"}'
    assert method.exchange == "amq.topic"
    assert method.routing_key == f"{queue}.test"
    assert properties.content_type == "application/json"
    assert properties.content_encoding == "utf-8"
    assert properties.delivery_mode == 2
    assert properties.message_id == sent.id
    assert properties.priority is None
    assert properties.headers == sent._headers
    assert properties.headers["canary"] == 5
    assert properties.headers["fedora_messaging_severity"] == 40


def test_exchange_argument_and_configuration(
    broker: Broker, admin: Admin, name: str, queue: str, service: None, settings: config.LazyConfig
) -> None:
    """Read at each publish; the argument wins."""
    admin.channel.exchange_declare(name, "fanout")
    admin.channel.queue_bind(queue, name, "")
    api.publish(Message(topic="a", body={"number": 1}), name)
    settings["publish_exchange"] = name
    api.publish(Message(topic="b", body={"number": 2}))
    api.publish(Message(topic="c", body={"number": 3}), exchange="amq.topic")
    api.publish(Message(topic=queue, body={"number": 4}), exchange="")
    assert admin.take(queue) == [f'{{"number": {n}}}'.encode() for n in (1, 2, 4)]


def test_client_properties_reach_the_broker(
    broker: Broker, settings: config.LazyConfig, proxied_service: None, proxy: Proxy, queue: str
) -> None:
    """The connection is made with the configuration of the first use."""
    settings["client_properties"] = {**settings["client_properties"], "app": "canary"}
    api.publish(message(queue))
    settings["amqp_url"] = NOBODY
    api.publish(message(queue))
    assert proxy.accepted == 1


# P13


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "fedora_messaging.api" and "blocks the event loop" in record.getMessage()
    ]


def test_p13_publish_in_the_thread_of_an_event_loop(
    broker: Broker,
    service: None,
    admin: Admin,
    queue: str,
    nothing_told: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It works, as in version 3.9, and each calling line is told once what would not block the loop."""

    async def main() -> None:
        for number in range(3):
            api.publish(message(queue, number))
        assert len(told(caplog)) == 1
        api.publish(message(queue, 3))
        await asyncio.to_thread(api.publish, message(queue, 4))
        async with aio.connect() as bus:
            await bus.publish(message(queue, 5))

    asyncio.run(main())
    assert admin.take(queue) == [f'{{"number": {number}}}'.encode() for number in range(6)]
    first, second = told(caplog)
    line = main.__code__.co_firstlineno + 2
    assert first.startswith(f"publish(), called in {__file__} line {line}, blocks the event loop")
    assert "`await bus.publish()` of fedora_messaging.aio" in first
    assert "`await asyncio.to_thread(...)`" in first
    assert f"line {line + 2}," in second


def test_publish_in_a_callback_of_the_asyncio_face(
    broker: Broker, service: None, admin: Admin, queue: str, names: Names
) -> None:
    """The loop is the application's, and the blocking face has its own."""
    answers = admin.declare(names())
    admin.publish(queue, b'{"number": 1}')

    async def callback(received: Message) -> None:
        api.publish(message(answers, received.body["number"] + 1))
        raise HaltConsumer

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            with pytest.raises(HaltConsumer):
                await bus.consume(callback, **plan(queue))

    asyncio.run(main())
    assert admin.take(answers) == [b'{"number": 2}']


# P12


def test_p12_fifty_threads_at_once(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str
) -> None:
    """P12: all are confirmed on one connection, though it is the first use for all of them."""
    count, each = 50, 20
    together = threading.Barrier(count)
    errors: list[BaseException] = []
    latencies: list[float] = []

    def work(first: int) -> None:
        together.wait(WAIT)
        for number in range(first, first + each):
            begin = time.monotonic()
            try:
                api.publish(message(queue, number), timeout=WAIT)
            except BaseException as error:
                errors.append(error)
            latencies.append(time.monotonic() - begin)

    threads = [threading.Thread(target=work, args=(n * each,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * WAIT)
    assert errors == []
    assert len(latencies) == count * each
    assert max(latencies) < WAIT
    bodies = admin.take(queue)
    assert sorted(bodies) == sorted(f'{{"number": {n}}}'.encode() for n in range(count * each))
    assert proxy.accepted == 1


def test_close_while_threads_publish(broker: Broker, admin: Admin, queue: str, service: None) -> None:
    """Each publish is confirmed or fails; none hangs, and no message that was confirmed is missing."""
    stop = threading.Event()
    confirmed: list[int] = []
    failed: list[BaseException] = []

    def work(first: int) -> None:
        number = first
        while not stop.is_set():
            try:
                api.publish(message(queue, number), timeout=WAIT)
            except BaseException as error:
                failed.append(error)
            else:
                confirmed.append(number)
            number += 100

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        seen = len(confirmed)
        eventually(lambda seen=seen: len(confirmed) > seen + 20)  # type: ignore[misc]
        api.close()
    stop.set()
    for thread in threads:
        thread.join(2 * WAIT)
    assert not any(thread.is_alive() for thread in threads)
    assert [error for error in failed if not isinstance(error, ConnectionException)] == []
    arrived = set(admin.take(queue))
    assert {f'{{"number": {n}}}'.encode() for n in confirmed} <= arrived


# Refusals


def test_p09_unknown_exchange(
    broker: Broker, proxy: Proxy, proxied_service: None, queue: str, admin: Admin
) -> None:
    """P09: the caller gets a PublishException at once, and the library opens no storm of channels."""
    with pytest.raises(ExchangeNotFound, match="no exchange 'nowhere'") as caught:
        api.publish(message(queue), exchange="nowhere")
    assert isinstance(caught.value, PublishException)
    assert (caught.value.reason.reply_code, caught.value.reason.args[0]) == (404, 404)
    assert proxy.count(CHANNEL_OPEN) <= 2
    api.publish(message(queue))
    assert admin.ready(queue) == 1


def test_forbidden(
    broker: Broker, admin: Admin, name: str, queue: str, service: None, caplog: pytest.LogCaptureFixture
) -> None:
    admin.channel.exchange_declare(name, "topic", internal=True)
    with pytest.raises(PublishForbidden, match="internal exchange") as caught:
        api.publish(message(queue), exchange=name)
    assert caught.value.reason.args[0] == 403
    assert caught.value.reason.args[1] == caught.value.reason.reply_text
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    api.publish(message(queue))
    assert admin.ready(queue) == 1


def test_rejected_by_a_full_queue(broker: Broker, admin: Admin, name: str, service: None) -> None:
    admin.declare(name, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    with pytest.raises(PublishNacked) as caught:
        for number in range(4):
            api.publish(message(name, number))
    assert caught.value.reason is not None
    admin.take(name)
    api.publish(message(name, 9))


def test_unroutable_is_fine(
    broker: Broker, name: str, service: None, admin: Admin, settings: config.LazyConfig
) -> None:
    """Publishing succeeds without a queue, unless the configuration asks for one."""
    api.publish(message(name))
    settings["publisher"] = {"mandatory": True}
    with pytest.raises(PublishReturned, match="NO_ROUTE") as caught:
        api.publish(message(name))
    assert not isinstance(caught.value, PublishNacked)
    admin.declare(name)
    api.publish(message(name))
    assert admin.ready(name) == 1


def test_timeout_tells_whether_the_message_may_have_arrived(
    broker: Broker, proxy: Proxy, proxied_service: None, queue: str
) -> None:
    proxy.refuse()
    with pytest.raises(PublishTimeout) as caught:
        api.publish(message(queue), timeout=0.1)
    assert not caught.value.sent
    proxy.resume()
    api.publish(message(queue))
    proxy.stall(DOWN)
    with pytest.raises(PublishTimeout) as caught:
        api.publish(message(queue), timeout=0.1)
    assert caught.value.sent


class Odd:
    """Nothing that AMQP or JSON could carry."""


IMPOSSIBLE: list[tuple[Callable[[], Message], type[Exception]]] = [
    (lambda: Message(topic="t", body="text"), jsonschema.ValidationError),
    (lambda: Message(topic="t", severity=21), jsonschema.ValidationError),
    (lambda: Message(topic="x" * 256), EncodingError),
    (lambda: Message(topic="t", headers={"odd": Odd()}), EncodingError),
    (lambda: Message(topic="t", body={"odd": Odd()}), TypeError),
]


@pytest.mark.parametrize(("make", "error"), IMPOSSIBLE)
def test_impossible_message(
    broker: Broker,
    proxy: Proxy,
    proxied_service: None,
    admin: Admin,
    queue: str,
    make: Callable[[], Message],
    error: type[Exception],
) -> None:
    """The bus stays usable."""
    api.publish(message(queue, 1))
    with pytest.raises(error):
        api.publish(make())
    api.publish(message(queue, 2))
    assert admin.ready(queue) == 2
    assert (proxy.accepted, proxy.count(CHANNEL_OPEN)) == (1, 1)


@pytest.mark.parametrize(("make", "error"), IMPOSSIBLE)
def test_p16_impossible_message_offline(
    offline: None, make: Callable[[], Message], error: type[Exception]
) -> None:
    """P16: the caller gets the error at once, without a broker."""
    with pytest.raises(error):
        api.publish(make(), timeout=None)


def test_p16_nothing_is_connected_for_an_invalid_message(
    broker: Broker, proxy: Proxy, proxied_service: None
) -> None:
    before = threading.active_count()
    with pytest.raises(jsonschema.ValidationError):
        api.publish(Message(topic="t", body="text"))
    assert (proxy.accepted, threading.active_count()) == (0, before)


@pytest.mark.parametrize("wrong", ["text", {"topic": "t"}, None, 5])
def test_what_is_no_message(offline: None, wrong: Any) -> None:
    with pytest.raises(TypeError):
        api.publish(wrong)


@pytest.mark.parametrize("exchange", [5, b"amq.topic"])
def test_exchange_that_is_no_text(offline: None, exchange: Any) -> None:
    with pytest.raises((TypeError, AssertionError)):
        api.publish(message("nowhere"), exchange, timeout=None)


# Deadlines


@pytest.mark.parametrize("timeout", [0, 0.2])
def test_timeout_offline(offline: None, timeout: float, caplog: pytest.LogCaptureFixture) -> None:
    begin = time.monotonic()
    with pytest.raises(PublishTimeout) as caught:
        api.publish(message("nowhere"), timeout=timeout)
    assert str(caught.value.args[0] if caught.value.args else caught.value) or str(caught.value)
    assert f"Publishing timed out after waiting {timeout} seconds." in str(caught.value)
    if timeout:
        # Why there is no connection: a program without logs shows this alone.
        assert any("Connection refused" in note for note in caught.value.__notes__)
    assert timeout - 0.05 < time.monotonic() - begin < WAIT
    assert "canary-password" not in caplog.text


def test_timeout_of_zero_with_a_broker(broker: Broker, admin: Admin, queue: str, service: None) -> None:
    api.publish(message(queue))
    with pytest.raises(PublishTimeout):
        api.publish(message(queue), timeout=0)
    api.publish(message(queue))


def test_timeout_with_a_stalled_connection(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str
) -> None:
    """The late confirm harms nobody."""
    api.publish(message(queue, 0))
    proxy.stall(DOWN)
    with pytest.raises(PublishTimeout, match=r"after waiting 0\.2 seconds"):
        api.publish(message(queue, 1), timeout=0.2)
    proxy.resume()
    api.publish(message(queue, 2))
    assert admin.ready(queue) == 3


def test_timeout_does_not_send_later(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str
) -> None:
    """A publish that nobody waits for any longer is not begun when the broker comes back."""
    api.publish(message(queue, 0))
    proxy.refuse()
    proxy.cut()
    with pytest.raises(PublishTimeout):
        api.publish(message(queue, 1), timeout=0.2)
    proxy.resume()
    api.publish(message(queue, 2))
    assert admin.take(queue) == [b'{"number": 0}', b'{"number": 2}']


# Connections


def test_p14_lost_between_publish_and_confirm(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str
) -> None:
    """P14: confirmed after the reconnect; the message may be there twice."""
    api.publish(message(queue, 0))
    proxy.stall(DOWN)
    with Publishing(message(queue, 1)) as publishing:
        eventually(lambda: admin.ready(queue) == 2)
        assert publishing.is_alive
        proxy.cut()
        assert publishing.ended() is None
    assert admin.take(queue).count(b'{"number": 1}') == 2


def test_p14_lost_before_the_broker_has_it(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str
) -> None:
    api.publish(message(queue, 0))
    proxy.stall(UP)
    with Publishing(message(queue, 1)) as publishing:
        eventually(lambda: publishing.is_alive)
        proxy.cut()
        assert publishing.ended() is None
    assert admin.take(queue) == [b'{"number": 0}', b'{"number": 1}']


def test_waits_for_a_broker(broker: Broker, proxy: Proxy, proxied_service: None, queue: str) -> None:
    proxy.refuse()
    with Publishing(message(queue)) as publishing:
        eventually(lambda: api._twisted_service is not None)
        proxy.resume()
        assert publishing.ended() is None


@pytest.mark.parametrize("wrong", ["password", "virtual host"])
def test_refused_login(broker: Broker, proxy: Proxy, settings: config.LazyConfig, wrong: str) -> None:
    """At once, for every caller; the password is not shown."""
    url = proxy.url().replace("guest:guest@", "")
    if wrong == "password":
        settings["amqp_url"] = url.replace("://", "://guest:canary-password@")
    else:
        settings["amqp_url"] = url.replace("/%2F", "") + "/canary-vhost"
    try:
        for _ in range(2):
            with pytest.raises(ConnectionException) as caught:
                api.publish(message("nowhere"), timeout=None)
            assert not isinstance(caught.value, PublishException)
            assert str(caught.value.reason).startswith(
                "The TCP connection appears to have started, but the TLS or AMQP handshake"
            )
            assert "canary-password" not in f"{caught.value} {caught.value!r} {caught.value.reason}"
    finally:
        api.close()
    assert proxy.count(START_OK) <= 3


def test_wrong_url(settings: config.LazyConfig) -> None:
    settings["amqp_url"] = "amqp://user:canary-password@host:port"
    with pytest.raises(ConfigurationException) as caught:
        api.publish(message("nowhere"), timeout=None)
    assert "canary-password" not in str(caught.value)
    assert api._twisted_service is None


# Closing


def test_close_and_publish_again(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str
) -> None:
    """After `close` the next publish opens a new connection."""
    for number in range(3):
        api.publish(message(queue, number))
        api.close()
        eventually(lambda: proxy.connections == 0)
    api.close()
    assert proxy.accepted == 3
    assert admin.ready(queue) == 3


def test_close_takes_up_changed_settings(
    broker: Broker, proxy: Proxy, service: None, settings: config.LazyConfig, queue: str
) -> None:
    api.publish(message(queue))
    api.close()
    settings["amqp_url"] = proxy.url()
    api.publish(message(queue))
    assert proxy.accepted == 1


def test_close_without_any_use() -> None:
    api.close()
    api.close()


def test_close_fails_publishes_that_wait(offline: None) -> None:
    """Nobody waits for ever, and nothing spins."""
    with Publishing(message("nowhere"), timeout=None) as publishing:
        eventually(lambda: api._twisted_service is not None)
        # The publish is posted right after the service is there.
        while publishing.is_alive and time.monotonic():
            api.close()
            break
        error = publishing.ended()
    assert isinstance(error, ConnectionException)


def test_setting_the_service_to_none_makes_a_new_one(
    broker: Broker, proxy: Proxy, proxied_service: None, queue: str
) -> None:
    """A program that sets `api._twisted_service` to None gets a new service."""
    api.publish(message(queue))
    old = api._twisted_service
    api._twisted_service = None
    try:
        api.publish(message(queue))
        assert proxy.accepted == 2
    finally:
        assert old is not None
        old.close()
