"""Consumers that are stopped one after the other, while there is no broker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.client.support import message, plan
from tests.support.waiting import WAIT, eventually

from fedora_messaging import api
from fedora_messaging.exceptions import ConnectionException

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker
    from tests.support.proxy import Proxy

    from fedora_messaging.message import Message
    from fedora_messaging.sync.consumers import BlockingConsumers

# What happens without a connection does not depend on the broker.
pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)


def consumers(callback: Callable[[Message], None], queue: str) -> tuple[BlockingConsumers, threading.Thread]:
    """Consumers that a program may stop, and a thread that waits for their end."""
    made = api.prepare_consumers(callback, **plan(queue))
    made.start()

    def wait() -> None:
        made.wait()
        made.close()

    thread = threading.Thread(target=wait)
    thread.start()
    return made, thread


def without_broker(proxy: Proxy) -> None:
    proxy.refuse()
    proxy.cut()
    eventually(lambda: not api._twisted_service.snapshot().connected)


def test_the_end_of_some_consumers_is_not_that_of_others(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, names: Names
) -> None:
    """While callbacks of one are still running, publishes do not wait, though the others have stopped."""
    busy, idle = admin.declare(names()), admin.declare(names())
    begun, release = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def callback(_message: Message) -> None:
        begun.set()
        release.wait(WAIT)
        try:
            api.publish(message("nowhere"), timeout=None)
        except Exception as error:
            errors.append(error)

    admin.publish(busy, b"{}")
    first, first_thread = consumers(callback, busy)
    second, second_thread = consumers(callback, idle)
    assert begun.wait(WAIT)
    without_broker(proxy)
    first.request_stop()
    second.request_stop()
    second_thread.join(WAIT)
    release.set()
    first_thread.join(WAIT)
    assert not first_thread.is_alive()
    assert [type(error) for error in errors] == [ConnectionException]


def test_publishing_goes_on_after_the_last_consumer(
    broker: Broker, proxy: Proxy, proxied_service: None, queue: str
) -> None:
    """A stop that comes after the end, as that of a second signal may, leaves nothing behind."""
    made, thread = consumers(lambda _message: None, queue)
    made.request_stop()
    thread.join(WAIT)
    made.request_stop()
    without_broker(proxy)
    published = threading.Thread(target=api.publish, args=(message("nowhere"), None, WAIT))
    published.start()
    proxy.resume()
    published.join(WAIT)
    assert not published.is_alive()
    assert api._twisted_service.snapshot().published == 1
