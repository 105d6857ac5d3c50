"""Callback classes that want to do something before the first message and after the last one."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pytest
from tests.client.support import AioConsuming, Consuming, message, plan
from tests.support.waiting import eventually

from fedora_messaging import api
from fedora_messaging.client.consuming.hooks import Hooks
from fedora_messaging.exceptions import BadDeclaration, HaltConsumer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Admin
    from tests.support.brokers import Broker

    from fedora_messaging.message import Message

    Consume = Callable[..., Consuming]


class Noting:
    """Notes what is called, and halts with the second message."""

    noted: ClassVar[list[str]]

    def note(self, what: str) -> None:
        self.noted.append(what)

    def act(self, received: Message) -> None:
        self.note(f"message {received.body['number']}")
        if received.body["number"]:
            raise HaltConsumer


class Plain(Noting):
    def start(self) -> None:
        self.note("start")

    def __call__(self, received: Message) -> None:
        self.act(received)

    def stop(self) -> None:
        self.note("stop")


class Coroutines(Noting):
    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        self.note("start")

    async def __call__(self, received: Message) -> None:
        # What was opened there can be used here.
        assert asyncio.get_running_loop() is self.loop
        self.act(received)

    async def stop(self) -> None:
        assert asyncio.get_running_loop() is self.loop
        self.note("stop")


class Context(Noting):
    def __enter__(self) -> Self:
        self.note("start")
        return self

    def __call__(self, received: Message) -> None:
        self.act(received)

    def __exit__(self, kind: Any, error: Any, _trace: Any) -> None:
        assert kind is HaltConsumer
        assert isinstance(error, HaltConsumer)
        self.note("stop")

    def start(self) -> None:
        """Means something else in a class that is a context manager."""
        self.note("not called")


class AsyncContext(Noting):
    async def __aenter__(self) -> Self:
        self.note("start")
        return self

    async def __call__(self, received: Message) -> None:
        self.act(received)

    async def __aexit__(self, kind: Any, _error: Any, _trace: Any) -> None:
        assert kind is HaltConsumer
        self.note("stop")


@pytest.fixture(params=["api", "aio"])
def consume(request: pytest.FixtureRequest, broker: Broker, service: None) -> Consume:
    if request.param == "api":
        return Consuming

    def make(callback: Any, **arguments: Any) -> AioConsuming:
        return AioConsuming(broker.url, callback, **arguments)

    return make


@pytest.fixture(autouse=True)
def noted() -> list[str]:
    Noting.noted = []
    return Noting.noted


def put(admin: Admin, queue: str, *numbers: int) -> None:
    for number in numbers:
        admin.publish(queue, message(queue, number)._encoded_body)


@pytest.mark.parametrize("kind", [Plain, Coroutines, Context, AsyncContext])
def test_hooks_of_a_class(
    broker: Broker, admin: Admin, queue: str, consume: Consume, kind: type[Noting], noted: list[str]
) -> None:
    put(admin, queue, 0, 1)
    with consume(kind, **plan(queue)) as consuming:
        assert isinstance(consuming.ended(), HaltConsumer)
    assert noted == ["start", "message 0", "message 1", "stop"]


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_an_object_of_the_program_is_its_own_to_start(
    broker: Broker, admin: Admin, queue: str, consume: Consume, noted: list[str]
) -> None:
    """A program of version 3.9 may call `consume` in its callback object's own `start`."""
    put(admin, queue, 0, 1)
    with consume(Plain(), **plan(queue)) as consuming:
        assert isinstance(consuming.ended(), HaltConsumer)
    assert noted == ["message 0", "message 1"]


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_start_that_fails_consumes_nothing(
    broker: Broker, admin: Admin, queue: str, consume: Consume, noted: list[str]
) -> None:
    class Failing(Plain):
        def start(self) -> None:
            raise ZeroDivisionError("canary")

    put(admin, queue, 0)
    with consume(Failing, **plan(queue)) as consuming:
        assert isinstance(consuming.ended(), ZeroDivisionError)
    assert noted == []
    assert admin.ready(queue) == 1


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_registering_that_fails_stops_what_was_started(
    broker: Broker, admin: Admin, queue: str, consume: Consume, noted: list[str]
) -> None:
    with consume(Plain, **plan(queue, **{"x-max-length": 5})) as consuming:
        assert isinstance(consuming.ended(), BadDeclaration)
    assert noted == ["start", "stop"]


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.parametrize("number", [0, 1])
def test_stop_that_fails_hides_no_other_error(
    broker: Broker,
    admin: Admin,
    queue: str,
    consume: Consume,
    number: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(Plain):
        def stop(self) -> None:
            raise ZeroDivisionError("canary")

    put(admin, queue, number)
    with consume(Failing, **plan(queue)) as consuming:
        if number:
            assert isinstance(consuming.ended(), HaltConsumer)
            assert "The callback's stop() failed" in caplog.text
        else:
            eventually(lambda: admin.ready(queue) == 0 and Noting.noted == ["start", "message 0"])
            consuming.stop()
            # A coroutine that is cancelled ends by that, and by nothing else.
            expected = type(None) if isinstance(consuming, AioConsuming) else ZeroDivisionError
            assert isinstance(consuming.ended(), expected)


@pytest.mark.usefixtures("service")
def test_stop_may_publish(admin: Admin, queue: str, names: Any) -> None:
    """The connection is closed afterwards."""
    farewells = admin.declare(names())

    class Polite(Plain):
        def stop(self) -> None:
            api.publish(message(farewells, 9), timeout=15)

    put(admin, queue, 1)
    with Consuming(Polite, **plan(queue)) as consuming:
        assert isinstance(consuming.ended(), HaltConsumer)
    assert admin.take(farewells) == [b'{"number": 9}']


class NeedsMore:
    def start(self, port: int) -> None:
        """Not ours to call."""

    def stop(self, *reasons: str, force: bool = False) -> None:
        """Callable without arguments."""


class NotCallable:
    start = 5
    stop = "now"


@pytest.mark.parametrize("thing", [None, print, lambda: None, NotCallable(), threading.Lock().acquire])
def test_what_has_no_hooks(thing: object) -> None:
    hooks = Hooks(thing)
    assert not hooks
    assert hooks.start() is None
    assert hooks.stop(None) is None


def test_methods_that_want_arguments_are_no_hooks() -> None:
    hooks = Hooks(NeedsMore())
    assert hooks
    assert hooks.start() is None
    assert hooks.stop(ValueError()) is None
