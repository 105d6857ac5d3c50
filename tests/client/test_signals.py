"""Signals around publishing, from `api` and from `aio`: exactly one before, exactly one after."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.client.support import message, run
from tests.support.waiting import WAIT

from fedora_messaging import aio, api, config, signals
from fedora_messaging.exceptions import ConnectionException, EncodingError, ExchangeNotFound, PublishTimeout
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.admin import Admin
    from tests.support.brokers import Broker

NOBODY = "amqp://127.0.0.1:1"
Publish = Callable[..., None]


@pytest.fixture(params=["api", "aio"])
def publish(request: pytest.FixtureRequest, settings: config.LazyConfig) -> Iterator[Publish]:
    """Publishes on the broker of the configuration, in either way."""

    def by_aio(*arguments: Any, **keywords: Any) -> None:
        async def main() -> None:
            bus = aio.connect()
            try:
                await bus.publish(*arguments, **keywords)
            finally:
                await bus.close()

        run(main())

    yield api.publish if request.param == "api" else by_aio
    api.close()


class Heard:
    """What was signalled, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.senders: list[Any] = []
        self.arguments: list[dict[str, Any]] = []

    def on(self, name: str) -> Callable[..., None]:
        def handler(sender: Any, **arguments: Any) -> None:
            self.names.append(name)
            self.senders.append(sender)
            self.arguments.append(arguments)

        return handler


@contextmanager
def listening() -> Iterator[Heard]:
    """Listen to all three."""
    heard = Heard()
    with ExitStack() as stack:
        for signal in (api.pre_publish_signal, api.publish_signal, api.publish_failed_signal):
            stack.enter_context(signal.connected_to(heard.on(signal.name)))
        yield heard


def test_names_and_identity() -> None:
    assert signals.pre_publish_signal is api.pre_publish_signal
    names = [
        signals.pre_publish_signal.name,
        signals.publish_signal.name,
        signals.publish_failed_signal.name,
    ]
    assert names == ["pre_publish", "publish_success", "publish_failed_signal"]


def test_success(
    broker: Broker, admin: Admin, queue: str, settings: config.LazyConfig, publish: Publish
) -> None:
    settings["amqp_url"] = broker.url
    one = message(queue)
    ready_at_success: list[int] = []

    def on_success(_sender: Any, **_arguments: Any) -> None:
        ready_at_success.append(admin.ready(queue))

    with listening() as heard, api.publish_signal.connected_to(on_success):
        publish(one)
    assert heard.names == ["pre_publish", "publish_success"]
    assert heard.senders == [api.publish, api.publish]
    assert heard.arguments == [{"message": one}, {"message": one}]
    assert all(arguments["message"] is one for arguments in heard.arguments)
    assert ready_at_success == [1]


def test_handlers_may_change_the_message(
    broker: Broker, admin: Admin, queue: str, settings: config.LazyConfig, publish: Publish
) -> None:
    """Validation and encoding see what they leave."""
    settings["amqp_url"] = broker.url

    def fix(_sender: Any, message: Message) -> None:
        message.topic = f"{queue}.fixed"
        message.body = {"fixed": True}
        message._headers["fixed"] = "yes"

    def spoil(_sender: Any, message: Message) -> None:
        message.body = "spoilt"

    with api.pre_publish_signal.connected_to(fix):
        publish(Message(topic="wrong", body="not even valid"))
    method, properties, body = admin.channel.basic_get(queue, auto_ack=True)
    assert (method.routing_key, body) == (f"{queue}.fixed", b'{"fixed": true}')
    assert properties.headers["fixed"] == "yes"
    with api.pre_publish_signal.connected_to(spoil), pytest.raises(jsonschema.ValidationError):
        publish(message(queue))


class CanaryError(Exception):
    """Raised by handlers."""


def failing(_sender: Any, **_arguments: Any) -> None:
    raise CanaryError


def test_raising_before_stops_the_publish(
    broker: Broker, admin: Admin, queue: str, settings: config.LazyConfig, publish: Publish
) -> None:
    """The exception leaves unchanged, no failure is signalled, nothing is published."""
    settings["amqp_url"] = broker.url
    with listening() as heard, api.pre_publish_signal.connected_to(failing):
        with pytest.raises(CanaryError):
            publish(message(queue))
        assert "publish_failed_signal" not in heard.names
        assert "publish_success" not in heard.names
    assert admin.ready(queue) == 0


def test_raising_after_success_does_not_unpublish(
    broker: Broker,
    admin: Admin,
    queue: str,
    settings: config.LazyConfig,
    publish: Publish,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The message is published, so the caller is told that; the log tells of the handler."""
    settings["amqp_url"] = broker.url
    with listening() as heard, api.publish_signal.connected_to(failing):
        publish(message(queue))
        assert "publish_failed_signal" not in heard.names
    assert admin.ready(queue) == 1
    assert any(record.exc_info and record.exc_info[0] is CanaryError for record in caplog.records)


def test_raising_after_failure_does_not_hide_the_failure(
    settings: config.LazyConfig, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    settings["amqp_url"] = NOBODY
    with api.publish_failed_signal.connected_to(failing), pytest.raises(jsonschema.ValidationError):
        publish(Message(topic="t", body="text"))
    assert any(record.exc_info and record.exc_info[0] is CanaryError for record in caplog.records)


def test_refused(
    broker: Broker, admin: Admin, queue: str, settings: config.LazyConfig, publish: Publish
) -> None:
    settings["amqp_url"] = broker.url
    one = message(queue)
    with listening() as heard, pytest.raises(ExchangeNotFound) as caught:
        publish(one, "nowhere")
    assert heard.names == ["pre_publish", "publish_failed_signal"]
    assert heard.senders == [api.publish, api.publish]
    assert heard.arguments[1].keys() == {"message", "reason"}
    assert heard.arguments[1]["message"] is one
    assert heard.arguments[1]["reason"] is caught.value


@pytest.mark.parametrize(
    ("one", "arguments", "error"),
    [
        (Message(topic="t", body="text"), {}, jsonschema.ValidationError),
        (Message(topic="x" * 256), {}, EncodingError),
        (Message(topic="t", body={"x": object()}), {}, TypeError),
        (Message(topic="t"), {"exchange": 5}, TypeError),
        (Message(topic="t"), {"timeout": 0}, PublishTimeout),
        (Message(topic="t"), {"timeout": 0.1}, PublishTimeout),
    ],
    ids=["invalid", "topic", "body", "exchange", "timeout 0", "timeout"],
)
def test_failures_offline(
    settings: config.LazyConfig,
    publish: Publish,
    one: Message,
    arguments: dict[str, Any],
    error: type[Exception],
) -> None:
    """Each with the very exception that the caller gets."""
    settings["amqp_url"] = NOBODY
    with listening() as heard, pytest.raises(error) as caught:
        publish(one, **arguments)
    assert heard.names == ["pre_publish", "publish_failed_signal"]
    assert heard.arguments[1]["reason"] is caught.value


def test_refused_login(broker: Broker, settings: config.LazyConfig, publish: Publish) -> None:
    settings["amqp_url"] = broker.url.replace("guest:guest@", "").replace("://", "://guest:wrong@")
    with listening() as heard, pytest.raises(ConnectionException) as caught:
        publish(message("nowhere"), timeout=WAIT)
    assert heard.names == ["pre_publish", "publish_failed_signal"]
    assert heard.arguments[1]["reason"] is caught.value


def test_many_publishes_have_their_signals_each(broker: Broker, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            messages = [message(queue, n) for n in range(50)]
            exchanges = ["nowhere" if n % 10 == 3 else None for n in range(50)]
            await asyncio.gather(
                *[bus.publish(*pair) for pair in zip(messages, exchanges, strict=True)],
                return_exceptions=True,
            )

    with listening() as heard:
        run(main())
    assert [heard.names.count(name) for name in ("pre_publish", "publish_success")] == [50, 45]
    assert heard.names.count("publish_failed_signal") == 5


def test_failures_are_logged_without_the_body(
    settings: config.LazyConfig, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    """A line in the log for each; a body may be large, and nobody's business."""
    settings["amqp_url"] = NOBODY
    one = Message(topic="canary.topic", body={"secret": "canary-body" * 10_000})
    with caplog.at_level(logging.INFO), pytest.raises(PublishTimeout):
        publish(one, timeout=0.05)
    errors = [record.getMessage() for record in caplog.records if record.name == "fedora_messaging.api"]
    assert len(errors) == 1
    assert str(one.id) in errors[0]
    assert len(errors[0]) < 2000
