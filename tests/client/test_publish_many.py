"""Publishing many messages with one call, and without waiting: an outcome for each of them."""

from __future__ import annotations

import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.client.support import message, run
from tests.support.proxy import DOWN, Proxy
from tests.support.waiting import WAIT, eventually

from fedora_messaging import aio, api, signals
from fedora_messaging.client.publishing.batch import WINDOW
from fedora_messaging.exceptions import (
    ConnectionException,
    ExchangeNotFound,
    PublishNacked,
    PublishReturned,
    PublishTimeout,
)
from fedora_messaging.message import Message
from fedora_messaging.testing import mock_sends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

    from fedora_messaging.config import LazyConfig

    #: Publishes many messages by one of the faces.
    Many = Callable[..., list[Exception | None]]


def with_aio(messages: Iterable[Message], *arguments: Any, **options: Any) -> list[Exception | None]:
    async def main() -> list[Exception | None]:
        async with aio.connect() as bus:
            return await bus.publish_many(messages, *arguments, **options)

    return run(main())


@pytest.fixture(params=["sync", "asyncio"])
def publish_many(request: pytest.FixtureRequest) -> Many:
    return api.publish_many if request.param == "sync" else with_aio


def number_of(one: Message) -> int:
    return one.body["number"] if isinstance(one.body, dict) else 0


def bodies(*numbers: int) -> list[bytes]:
    return [f'{{"number": {number}}}'.encode() for number in numbers]


def test_all_arrive_in_order(
    broker: Broker, service: None, admin: Admin, queue: str, publish_many: Many
) -> None:
    """Also more than may be on their way at once."""
    total = 2 * WINDOW + 100
    assert publish_many(message(queue, number) for number in range(total)) == [None] * total
    assert admin.take(queue) == bodies(*range(total))
    assert publish_many([]) == []


def test_the_window_bounds_what_is_asked_of_a_generator(
    broker: Broker, proxied_service: None, proxy: Proxy, queue: str, publish_many: Many
) -> None:
    asked = itertools.count()

    def messages() -> Iterator[Message]:
        for number in range(4 * WINDOW):
            if next(asked) == WINDOW + 10:  # by then some are confirmed
                proxy.stall(DOWN)
            yield message(queue, number)

    outcomes = publish_many(messages(), timeout=2)
    # Those that were too late are asked for without being sent.
    late = [error for error in outcomes if isinstance(error, PublishTimeout)]
    assert len(outcomes) == 4 * WINDOW
    assert sum(error.sent for error in late) <= WINDOW
    assert sum(not error.sent for error in late) >= WINDOW
    assert outcomes[: -len(late)] == [None] * (4 * WINDOW - len(late))
    proxy.resume()


def test_one_that_fails_does_not_hold_up_the_others(
    broker: Broker, service: None, admin: Admin, queue: str, publish_many: Many
) -> None:
    messages = [
        message(queue, 1),
        Message(topic=f"{queue}.test", body="no object"),
        Message(topic="x" * 300, body={}),
        "no message",
        message(queue, 2),
    ]
    outcomes = publish_many(messages)
    assert [type(one).__name__ for one in outcomes] == [
        *("NoneType", "ValidationError", "EncodingError", "TypeError", "NoneType"),
    ]
    assert admin.take(queue) == bodies(1, 2)


def test_what_the_broker_refuses(
    broker: Broker, service: None, admin: Admin, names: Names, publish_many: Many
) -> None:
    full = admin.declare(names(), **{"x-max-length": 2, "x-overflow": "reject-publish"})
    outcomes = publish_many(message(full, number) for number in range(5))
    assert [type(one) for one in outcomes] == [type(None)] * 2 + [PublishNacked] * 3
    assert admin.take(full) == bodies(0, 1)
    missing = publish_many([message(full), message(full)], names())
    assert [type(one) for one in missing] == [ExchangeNotFound] * 2


def test_mandatory(
    broker: Broker, service: None, settings: LazyConfig, queue: str, names: Names, publish_many: Many
) -> None:
    settings["publisher"] = {"mandatory": True}
    outcomes = publish_many([message(queue), message(names()), message(queue)])
    assert [type(one) for one in outcomes] == [type(None), PublishReturned, type(None)]


def test_a_cut_connection_loses_none(
    broker: Broker, proxied_service: None, proxy: Proxy, admin: Admin, queue: str, publish_many: Many
) -> None:
    def messages() -> Iterator[Message]:
        for number in range(3000):
            if number in (1700, 2600):  # later than the first window, so not in the handshake
                proxy.cut()
            yield message(queue, number)

    assert publish_many(messages()) == [None] * 3000
    assert set(admin.take(queue)) == set(bodies(*range(3000)))


def test_an_error_of_the_iterator_is_raised(
    broker: Broker, service: None, admin: Admin, queue: str, publish_many: Many
) -> None:
    def messages() -> Iterator[Message]:
        yield message(queue, 1)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        publish_many(messages())


@pytest.mark.parametrize("timeout", [0, -1])
def test_no_time_at_all(
    broker: Broker, service: None, admin: Admin, queue: str, publish_many: Many, timeout: float
) -> None:
    (outcome,) = publish_many([message(queue)], timeout=timeout)
    assert isinstance(outcome, PublishTimeout)
    assert not outcome.sent
    assert admin.take(queue) == []


@pytest.mark.parametrize("size", [1, 500])
def test_into_the_outbox(
    broker: Broker,
    service: None,
    settings: LazyConfig,
    admin: Admin,
    queue: str,
    tmp_path: Path,
    publish_many: Many,
    size: int,
) -> None:
    settings["outbox"] = {"path": str(tmp_path / "outbox.db"), "max_messages": 1000}
    outcomes = publish_many(message(queue, number) for number in range(size))
    assert outcomes == [None] * size
    promised = [api.publish_nowait(message(queue, size)) for _ in range(1)]
    assert [one.result(WAIT) for one in promised] == [None]
    eventually(lambda: admin.ready(queue) == size + 1)


def test_signals(broker: Broker, service: None, queue: str, publish_many: Many) -> None:
    told: list[tuple[str, Any]] = []

    def on_start(sender: object, message: Message) -> None:
        told.append(("start", number_of(message)))

    def on_success(sender: object, message: Message) -> None:
        told.append(("success", number_of(message)))

    def on_failure(sender: object, message: Message, reason: Exception) -> None:
        told.append((type(reason).__name__, number_of(message)))

    with (
        signals.pre_publish_signal.connected_to(on_start),
        signals.publish_signal.connected_to(on_success),
        signals.publish_failed_signal.connected_to(on_failure),
    ):
        publish_many([message(queue, 1), Message(topic="a", body="no object"), message(queue, 3)])
        assert told == [
            *(("start", 1), ("start", 0), ("start", 3)),
            *(("success", 1), ("ValidationError", 0), ("success", 3)),
        ]
        told.clear()
        api.publish_nowait(message(queue, 4)).result(WAIT)
        eventually(lambda: told == [("start", 4), ("success", 4)])


def test_tests_of_applications_record_them(settings: LazyConfig, publish_many: Many) -> None:
    one, two = message("a"), message("b")
    with mock_sends(one, two):
        assert publish_many([one, two]) == [None, None]
    with mock_sends(one):
        assert api.publish_nowait(one).result(0) is None


# Without waiting


def test_publishing_without_waiting(broker: Broker, service: None, admin: Admin, queue: str) -> None:
    promised = [api.publish_nowait(message(queue, number)) for number in range(500)]
    assert [one.result(WAIT) for one in promised] == [None] * 500
    assert admin.take(queue) == bodies(*range(500))


def test_threads_without_waiting(broker: Broker, service: None, admin: Admin, queue: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        promised: list[Future[None]] = [
            one
            for some in pool.map(
                lambda worker: [api.publish_nowait(message(queue, 100 * worker + n)) for n in range(100)],
                range(8),
            )
            for one in some
        ]
    assert all(one.result(WAIT) is None for one in promised)
    assert sorted(admin.take(queue)) == sorted(bodies(*range(800)))


def test_errors_without_waiting(broker: Broker, service: None, names: Names, queue: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        api.publish_nowait(Message(topic="a", body="no object"))
    with pytest.raises(TypeError, match=r"takes a fedora_messaging\.message\.Message"):
        api.publish_nowait("no message")  # type: ignore[arg-type]
    promised = api.publish_nowait(message(queue), names())
    assert isinstance(promised.exception(WAIT), ExchangeNotFound)


def test_a_publish_that_is_cancelled_is_not_sent(
    broker: Broker, proxied_service: None, proxy: Proxy, admin: Admin, queue: str
) -> None:
    api.publish(message(queue, 0))
    proxy.stall(DOWN)
    sent = api.publish_nowait(message(queue, 1))
    eventually(lambda: admin.ready(queue) == 2)
    assert sent.cancel()
    assert sent.cancelled()
    proxy.cut()
    proxy.refuse()
    waiting = api.publish_nowait(message(queue, 2))
    assert waiting.cancel()
    assert not waiting.cancel() or waiting.cancelled()
    proxy.resume()
    eventually(partial(_published, message(queue, 3)))
    assert set(admin.take(queue)) == set(bodies(0, 1, 3))


def _published(one: Message) -> bool:
    try:
        api.publish(one, timeout=WAIT)
    except (PublishTimeout, ConnectionException):
        return False
    return True
