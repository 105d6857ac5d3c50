"""Consumers that an ordinary thread starts, waits for and stops."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import WAIT, eventually

from fedora_messaging.client.consuming.hooks import Hooks
from fedora_messaging.client.publishing.outgoing import encode
from fedora_messaging.exceptions import BadDeclaration, ConnectionException, HaltConsumer
from fedora_messaging.message import Message
from fedora_messaging.options import ConsumerOptions, QosOptions, QueueOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.sync.consumers import BlockingConsumers
    from fedora_messaging.sync.service import Service


def ignore(_message: Message) -> None:
    """Process nothing."""


def prepared(
    service: Service, *queues: QueueOptions, callback: Callable[[Message], Any] = ignore, hooks: object = None
) -> BlockingConsumers:
    plan = [(queue, ()) for queue in queues]
    return service.consumers(callback, plan, QosOptions(), ConsumerOptions(), Hooks(hooks))


def queue_named(name: str) -> QueueOptions:
    return QueueOptions(name, durable=True)


def publish(service: Service, queue: str, *numbers: int) -> None:
    for number in numbers:
        service.publish(encode(Message(topic=queue, body={"number": number}), "", True)).wait(WAIT)


class Noting:
    """A callback object that notes what is called, and in which thread."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str]] = []

    def start(self) -> None:
        self.noted.append(("start", threading.current_thread().name))

    def stop(self) -> None:
        self.noted.append(("stop", threading.current_thread().name))


class NotingInTheLoop(Noting):
    """Does so in coroutines."""

    async def start(self) -> None:  # type: ignore[override]
        super().start()

    async def stop(self) -> None:  # type: ignore[override]
        super().stop()


MAIN, LOOP = threading.main_thread().name, "fedora-messaging callbacks"


def test_consumers_run_until_they_are_stopped(service: Service) -> None:
    called: list[int] = []
    consumers = prepared(
        service,
        queue_named("first"),
        queue_named("second"),
        callback=lambda message: called.append(message.body["number"]),
    )
    consumers.start()
    assert consumers.answers()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(consumers.wait)
        publish(service, "first", 1)
        publish(service, "second", 2)
        eventually(lambda: len(called) == 2)
        assert not waiting.done()
        consumers.request_stop()
        assert waiting.result(WAIT) is None
    consumers.close()
    assert sorted(called) == [1, 2]


def test_error_of_one_consumer_ends_all(service: Service) -> None:
    error = HaltConsumer()

    def callback(_message: Message) -> None:
        raise error

    consumers = prepared(service, queue_named("halting"), queue_named("idle"), callback=callback)
    consumers.start()
    publish(service, "halting", 1)
    assert consumers.wait() is error
    consumers.close()
    assert service.snapshot().queues == ()


@pytest.mark.parametrize(("kind", "thread"), [(Noting, MAIN), (NotingInTheLoop, LOOP)])
def test_hooks_are_called_once_each(service: Service, kind: type[Noting], thread: str) -> None:
    hooks = kind()
    consumers = prepared(service, queue_named("hooked"), hooks=hooks)
    consumers.start()
    assert hooks.noted == [("start", thread)]
    consumers.request_stop()
    assert consumers.wait() is None
    assert consumers.wait() is None
    consumers.close()
    assert hooks.noted == [("start", thread), ("stop", thread)]


def test_queue_that_the_broker_refuses(service: Service) -> None:
    hooks = Noting()
    first = prepared(service, queue_named("refused"))
    first.start()
    other = prepared(service, QueueOptions("refused", durable=False), hooks=hooks)
    with pytest.raises(BadDeclaration, match="Unable to declare the queue object"):
        other.start()
    assert hooks.noted == [("start", MAIN), ("stop", MAIN)]
    # What started before goes on.
    assert [one.queue for one in service.snapshot().queues] == ["refused"]
    first.request_stop()
    assert first.wait() is None
    first.close()
    other.close()


def test_start_that_waits_for_a_broker_can_be_stopped(lonely: Service) -> None:
    hooks = Noting()
    consumers = prepared(lonely, queue_named("q"), hooks=hooks)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(consumers.start)
        eventually(lambda: lonely.snapshot().reason == "not connected" and hooks.noted)
        consumers.request_stop()
        starting.result(WAIT)
    assert consumers.wait() is None
    consumers.close()
    assert [name for name, _thread in hooks.noted] == ["start", "stop"]


def test_stopped_before_the_start(lonely: Service) -> None:
    consumers = prepared(lonely, queue_named("q"))
    consumers.request_stop()
    consumers.start()
    assert consumers.wait() is None
    consumers.close()


def test_start_of_a_closed_service(lonely: Service) -> None:
    hooks = Noting()
    consumers = prepared(lonely, queue_named("q"), hooks=hooks)
    lonely.close()
    with pytest.raises(ConnectionException) as caught:
        consumers.start()
    assert caught.value.reason == "the service was closed"
    assert [name for name, _thread in hooks.noted] == ["start", "stop"]
    error = consumers.wait()
    assert isinstance(error, ConnectionException)
    assert error.reason == "the service was closed"
    consumers.close()


def test_closing_the_service_ends_waiting(service: Service) -> None:
    consumers = prepared(service, queue_named("closed"))
    consumers.start()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(consumers.wait)
        service.close()
        assert waiting.result(WAIT) is None
    consumers.close()


def test_error_of_stop_is_returned_if_there_is_no_other(service: Service) -> None:
    class Failing(Noting):
        def stop(self) -> None:
            raise ZeroDivisionError("canary")

    consumers = prepared(service, queue_named("failing"), hooks=Failing())
    consumers.start()
    consumers.request_stop()
    assert isinstance(consumers.wait(), ZeroDivisionError)
    consumers.close()
