"""A thread that publishes alone sends its message, and reads the confirm, itself; whatever else happens then.

The broker's words to others, its silence, its end, the end of the client, signals: nothing may depend on who
reads. Whether reading is lent at a moment depends on time, so that no test relies on it.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import wait as wait_for
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.support import Consuming, Program, message, plan
from tests.support.proxy import DOWN, Proxy
from tests.support.waiting import WAIT, eventually

from fedora_messaging import api
from fedora_messaging.exceptions import (
    ConnectionException,
    ExchangeNotFound,
    HaltConsumer,
    PublishNacked,
    PublishReturned,
    PublishTimeout,
)

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.brokers import Broker

    from fedora_messaging import config
    from fedora_messaging.message import Message

is_lendable = os.environ.get("FM_TEST_LOOP") != "uvloop"


def client() -> Any:
    return api._twisted_service


def lend(queue: str) -> int:
    """Publish until this thread reads the confirms; returns how many messages that took."""
    count = 0

    def is_lent() -> bool:
        nonlocal count
        api.publish(message(queue, 0))
        count += 1
        return not is_lendable or client()._confirm_reader._lender is not None

    eventually(is_lent)
    return count


class Lane:
    """Publishes in a thread until it is told to stop."""

    def __init__(self, queue: str, **arguments: Any) -> None:
        self.count = 0
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._queue, self._arguments = queue, arguments
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                api.publish(message(self._queue, self.count), **self._arguments)
                self.count += 1
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Lane:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(2 * WAIT)
        assert not self._thread.is_alive(), "publish does not return"


@pytest.mark.skipif(not is_lendable, reason="uvloop's loops have no selector of Python")
def test_loop_sleeps_while_one_thread_publishes(
    broker: Broker, admin: Admin, queue: str, service: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop would wake up at least twice for each message."""
    count = lend(queue)
    loop_thread = client()._loop_thread
    selector = loop_thread.loop._selector
    turns = 0
    select = selector.select

    def counted(timeout: float | None = None) -> Any:
        nonlocal turns
        turns += 1
        return select(timeout)

    monkeypatch.setattr(selector, "select", counted)
    for _ in range(200):
        api.publish(message(queue, 0))
    assert turns < 200
    assert len(admin.take(queue)) == count + 200


@pytest.mark.skipif(not is_lendable, reason="uvloop's loops have no selector of Python")
def test_reading_that_is_lent_often_is_watched_by_one_timer(
    broker: Broker, queue: str, service: None
) -> None:
    """Each loan of a program that also publishes otherwise would add one, for ever."""
    for _ in range(30):
        lend(queue)
        api.publish_nowait(message(queue, 0)).result(WAIT)  # the loop reads this confirm
    loop = client()._loop_thread.loop
    watching = [timer for timer in loop._scheduled if timer._callback == client()._confirm_reader._look]
    assert len(watching) <= 1


def test_broker_that_answers_late(
    broker: Broker, admin: Admin, proxy: Proxy, proxied_service: None, queue: str
) -> None:
    count = lend(queue)
    proxy.stall(DOWN)
    with pytest.raises(PublishTimeout) as late:
        api.publish(message(queue, 1), timeout=0.1)
    assert late.value.sent
    proxy.resume()
    api.publish(message(queue, 2))
    assert admin.take(queue)[count:] == [b'{"number": 1}', b'{"number": 2}']


def test_connection_that_is_lost_while_a_thread_reads(
    broker: Broker, admin: Admin, proxy: Proxy, proxied_service: None, queue: str
) -> None:
    lend(queue)
    proxy.stall(DOWN)
    with Lane(queue) as lane:
        eventually(lambda: admin.ready(queue) > 1)
        proxy.cut()
        proxy.resume()
        eventually(lambda: lane.count > 20)
    assert lane.error is None
    assert {f'{{"number": {n}}}'.encode() for n in range(lane.count)} <= set(admin.take(queue))


def test_connection_that_is_lost_while_nobody_publishes(
    broker: Broker, admin: Admin, proxy: Proxy, proxied_service: None, queue: str
) -> None:
    """The loop notices it, although nobody reads."""
    lend(queue)
    proxy.cut()
    eventually(lambda: proxy.accepted == 2)
    api.publish(message(queue, 7))
    assert admin.take(queue)[-1] == b'{"number": 7}'


def test_client_that_is_closed_while_a_thread_reads(
    broker: Broker, proxy: Proxy, proxied_service: None, queue: str
) -> None:
    lend(queue)
    proxy.stall(DOWN)
    with Lane(queue, timeout=None) as lane:
        eventually(lambda: client()._supervisor.publisher.in_flight == 1)
        client().close(0.1)
    assert isinstance(lane.error, ConnectionException)


def test_publishes_that_fail(
    broker: Broker, admin: Admin, queue: str, service: None, settings: config.LazyConfig
) -> None:
    """Returned, refused, not allowed: each gets its own outcome, and the next is confirmed."""
    full = admin.declare(f"{queue}x", **{"x-max-length": 1, "x-overflow": "reject-publish"})
    settings["publisher"] = {"mandatory": True}
    try:
        api.publish(message(full))
        for _ in range(3):
            lend(queue)
            with pytest.raises(PublishReturned):
                api.publish(message("nobody", 1))
            lend(queue)
            with pytest.raises(PublishNacked):
                api.publish(message(full, 1))
            lend(queue)
            with pytest.raises(ExchangeNotFound):
                api.publish(message(queue, 1), "missing")
    finally:
        admin.delete(full)


def test_consumer_that_starts_and_ends_beside_it(
    broker: Broker, admin: Admin, queue: str, service: None
) -> None:
    """Answers to the loop, deliveries and confirms come on the same connection."""
    for _ in range(3):
        with Lane(queue) as lane:
            eventually(lambda: lane.count > 20)
            left = 20

            def take(_message: Message) -> None:
                nonlocal left
                left -= 1
                if not left:
                    raise HaltConsumer

            with Consuming(take, **plan(queue)) as consuming:
                assert isinstance(consuming.ended(), HaltConsumer)
        assert lane.error is None


def test_threads_futures_and_batches_beside_each_other(
    broker: Broker, admin: Admin, queue: str, service: None
) -> None:
    """Who waits and who does not: no confirm is left unread."""
    with Lane(queue) as first, Lane(queue) as second:
        for _ in range(30):
            eventually(lambda: first.count > 0)
            futures = [api.publish_nowait(message(queue, 0)) for _ in range(3)]
            assert not wait_for(futures, timeout=WAIT).not_done
            assert api.publish_many([message(queue, 0)] * 3) == [None] * 3
    assert (first.error, second.error) == (None, None)
    assert len(admin.take(queue)) == 30 * 6 + first.count + second.count


def test_handlers_of_signals_that_raise(broker: Broker, admin: Admin, queue: str) -> None:
    """They interrupt a publish anywhere; what it returned for has arrived, and later ones go on."""
    with Program("publish_interrupted", broker.url, queue) as program:
        confirmed = {int(word) for word in program.line().split()[1:]}
        interrupted = int(program.line().split()[1])
        assert program.status() == 0, program.errors
    assert interrupted > 10
    assert len(confirmed) > 10
    assert confirmed <= {int(body[11:-1]) for body in admin.take(queue)}
