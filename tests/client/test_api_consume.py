"""`api.consume`: arguments, refusals, ends, signals, and publishing from callbacks."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.support import Consuming, Program, message, numbers, plan, queue_settings
from tests.support.descriptors import many_open
from tests.support.proxy import BASIC_PUBLISH, START_OK, Proxy
from tests.support.waiting import WAIT, eventually

from fedora_messaging import api, config
from fedora_messaging.exceptions import (
    BadDeclaration,
    ChannelClosed,
    ConnectionException,
    ConsumerCanceled,
    HaltConsumer,
    PermissionException,
)
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

NOBODY = "amqp://127.0.0.1:1"


class Collector:
    """A callback that keeps what it gets, and halts at a number."""

    def __init__(self, halt_at: int | None = None) -> None:
        self.received: list[Message] = []
        self._halt_at = halt_at

    def __call__(self, received: Message) -> None:
        self.received.append(received)
        if received.body["number"] == self._halt_at:
            raise HaltConsumer

    def has(self, *expected: int) -> Callable[[], bool]:
        """Whether these, and no others, have come."""
        return lambda: numbers(self.received) == list(expected)


@pytest.fixture
def offline(settings: config.LazyConfig) -> None:
    """`api` is set up for a broker that is not there."""
    settings["amqp_url"] = NOBODY


# Arguments


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"bindings": "text"}, "bindings must be a list or tuple of dictionaries, but was a <class 'str'>"),
        ({"bindings": [{"exchange": "e"}]}, "a binding is missing the following keys"),
        ({"bindings": [{"exchange": "e", "routing_keys": "k"}]}, "routing_keys must be a list or tuple"),
        ({"queues": ["q"]}, "'queues' must be a dictionary mapping queue names to settings."),
        ({"queues": {"q": {}}}, "the q queue is missing the following keys"),
        ({"queues": {"q": None}}, "the q queue in the 'queues' setting has a value of type"),
    ],
)
def test_wrong_arguments(
    offline: None, caplog: pytest.LogCaptureFixture, arguments: dict[str, Any], text: str
) -> None:
    """At once, without a broker, and without a line in the log."""
    with pytest.raises(ValueError, match=text[:30]) as caught:
        api.consume(Collector(), **arguments)
    assert str(caught.value).startswith(text)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_wrong_callbacks(offline: None) -> None:
    class NotCallable:
        pass

    class NeedsArguments:
        def __init__(self, argument: int) -> None: ...

        def __call__(self, received: Message) -> None: ...

    for wrong in (5, "text", None, NotCallable):
        with pytest.raises(
            ValueError, match="Callback must be a class that implements __call__ or a function"
        ):
            api.consume(wrong, queues={})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="argument"):
        api.consume(NeedsArguments, queues={})


def test_unknown_keys(offline: None) -> None:
    coloured: Any = {**queue_settings(), "colour": 1}
    with pytest.raises(TypeError, match="colour"):
        api.consume(Collector(), queues={"q": coloured})
    binding: Any = {"exchange": "e", "queue": "q", "routing_keys": ["k"], "colour": 1}
    with pytest.raises(TypeError, match="colour"):
        api.consume(Collector(), binding, {"q": queue_settings()})


def test_no_queues_is_no_work(offline: None) -> None:
    try:
        api.consume(Collector(), queues={})
    finally:
        api.close()


def test_defaults_are_the_configurations(
    broker: Broker, admin: Admin, names: Names, service: None, settings: config.LazyConfig
) -> None:
    """Queues and bindings of the configuration; a binding without queue means the queue without name."""
    name, topic = names(), names()
    settings["queues"] = {
        name: queue_settings(),
        "": {"durable": False, "auto_delete": True, "exclusive": True, "arguments": {}},
    }
    settings["bindings"] = [
        {"exchange": "amq.topic", "queue": name, "routing_keys": [f"{name}.#", f"{topic}.both"]},
        {"exchange": "amq.topic", "routing_keys": [f"{topic}.#"]},
        {"exchange": "amq.topic", "queue": "unknown", "routing_keys": ["#"]},
    ]
    collector = Collector()
    with Consuming(collector):
        eventually(lambda: exists(admin, name) and admin.consumers(name) == 1)

        def other_queue_has_it() -> bool:
            # Nobody outside can see the exclusive queue, so ask it until it answers.
            admin.channel.basic_publish("amq.topic", f"{topic}.one", b'{"number": 1}', mandatory=False)
            return bool(collector.received)

        eventually(other_queue_has_it)
        api.publish(Message(topic=f"{topic}.both", body={"number": 2}))
        api.publish(message(name, 3))
        eventually(lambda: sorted(n for n in numbers(collector.received) if n > 1) == [2, 2, 3])
    generated = {str(received.queue) for received in collector.received} - {name}
    assert len(generated) == 1
    assert generated.pop().startswith("amq.gen-")


def exists(admin: Admin, queue: str) -> bool:
    import pika.exceptions

    try:
        admin.ready(queue)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    return True


def test_single_binding_and_binding_arguments(broker: Broker, admin: Admin, name: str, service: None) -> None:
    binding: Any = {
        "exchange": "amq.headers",
        "queue": name,
        "routing_keys": [""],
        "arguments": {"x-match": "all", "canary": "yes"},
    }
    collector = Collector(halt_at=1)
    with Consuming(collector, bindings=binding, queues={name: queue_settings()}) as run:
        eventually(lambda: exists(admin, name) and admin.consumers(name) == 1)
        api.publish(Message(topic="t", body={"number": 0}), "amq.headers")
        api.publish(Message(topic="t", body={"number": 1}, headers={"canary": "yes"}), "amq.headers")
        assert isinstance(run.ended(), HaltConsumer)
    assert numbers(collector.received) == [1]


@pytest.mark.parametrize("where", ["configuration", "queue"])
def test_passive_declare(
    broker: Broker, admin: Admin, name: str, service: None, settings: config.LazyConfig, where: str
) -> None:
    """A queue that has to exist: it is not made, and its settings do not matter."""
    queue: Any = queue_settings(**{"x-max-length": 7})
    if where == "configuration":
        settings["passive_declares"] = True
    else:
        queue["passive"] = True
    with pytest.raises(BadDeclaration, match="404|NOT_FOUND") as caught:
        api.consume(Collector(), [], {name: queue})
    assert caught.value.description["passive"] is True
    assert not exists(admin, name)
    admin.declare(name)
    api.publish(message(name))
    with pytest.raises(HaltConsumer):
        api.consume(Collector(halt_at=0), [], {name: queue})


# Refusals


def test_refused_queue(broker: Broker, admin: Admin, names: Names, service: None) -> None:
    """Everything is told, and the queues before it are not consumed any more."""
    good, bad = names(), admin.declare(names())
    queues = {good: queue_settings(), bad: queue_settings(**{"x-max-length": 5})}
    with pytest.raises(BadDeclaration) as caught:
        api.consume(Collector(), [], queues)
    error = caught.value
    assert error.obj_type == "queue"
    assert error.description["queue"] == bad
    assert error.description["arguments"] == {"x-max-length": 5}
    assert isinstance(error.reason, ChannelClosed)
    assert error.reason.args[0] == 406
    assert f"Unable to declare the queue object ({error.description}) because (406) " in str(error)
    assert admin.consumers(good) == 0


def test_refused_binding(broker: Broker, admin: Admin, name: str, service: None) -> None:
    with pytest.raises(BadDeclaration) as caught:
        api.consume(
            Collector(),
            {"exchange": "nowhere", "queue": name, "routing_keys": ["a", "b"]},
            {name: queue_settings()},
        )
    error = caught.value
    assert error.obj_type == "binding"
    assert error.description == {"exchange": "nowhere", "queue": name, "routing_key": "a"}
    assert error.reason.args[0] == 404
    assert admin.consumers(name) == 0


def test_refused_subscription(
    broker: Broker, admin: Admin, queue: str, service: None, caplog: pytest.LogCaptureFixture
) -> None:
    admin.channel.basic_consume(queue, lambda *_: None, exclusive=True)
    with pytest.raises(PermissionException) as caught:
        api.consume(Collector(), **plan(queue))
    error = caught.value
    assert type(error) is PermissionException
    assert (error.obj_type, error.description, str(error)) == ("queue", queue, queue)
    assert isinstance(error.reason, str)
    assert "ACCESS_REFUSED" in error.reason
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


@pytest.mark.parametrize("wrong", ["password", "virtual host"])
def test_refused_login(
    broker: Broker, proxy: Proxy, settings: config.LazyConfig, name: str, wrong: str
) -> None:
    url = proxy.url().replace("guest:guest@", "")
    if wrong == "password":
        settings["amqp_url"] = url.replace("://", "://guest:canary-password@")
    else:
        settings["amqp_url"] = url.replace("/%2F", "") + "/canary-vhost"
    try:
        with pytest.raises(ConnectionException, match="handshake") as caught:
            api.consume(Collector(), **plan(name))
    finally:
        api.close()
    assert "canary-password" not in str(caught.value)
    assert proxy.count(START_OK) == 1


def test_settings_that_cost_the_connection_end_consuming(
    broker: Broker, proxy: Proxy, proxied_service: None, settings: config.LazyConfig, name: str, admin: Admin
) -> None:
    """P09: no broker implements prefetch_size; asking for it again on every new connection helps nobody."""
    settings["qos"] = {"prefetch_size": 1000, "prefetch_count": 10}
    with Consuming(Collector(), **plan(name)) as run:
        error = run.ended()
    assert error is not None
    assert "prefetch_size" in f"{error} {getattr(error, 'reason', '')}"
    assert proxy.accepted <= 3


# Ends


def test_deleted_queue(
    broker: Broker, admin: Admin, queue: str, service: None, caplog: pytest.LogCaptureFixture
) -> None:
    with Consuming(Collector(), **plan(queue)) as run:
        eventually(lambda: admin.consumers(queue) == 1)
        admin.delete(queue)
        error = run.ended()
    assert isinstance(error, ConsumerCanceled)
    assert queue in str(error)
    assert any("was canceled by the AMQP broker!" in record.getMessage() for record in caplog.records)


def test_halt_is_no_error_in_the_log(
    broker: Broker, admin: Admin, queue: str, service: None, caplog: pytest.LogCaptureFixture
) -> None:
    api.publish(message(queue))
    caplog.clear()
    with caplog.at_level(logging.INFO, "fedora_messaging"), pytest.raises(HaltConsumer):
        api.consume(Collector(halt_at=0), **plan(queue))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert any(
        "Consumer indicated it wishes consumption to halt" in record.getMessage()
        and record.name == "fedora_messaging.twisted.consumer"
        for record in caplog.records
    )


def test_consume_again_and_again(broker: Broker, admin: Admin, queue: str, service: None) -> None:
    for number in range(3):
        api.publish(message(queue, number))
        with pytest.raises(HaltConsumer):
            api.consume(Collector(halt_at=number), **plan(queue))
        assert admin.consumers(queue) == 0
    assert admin.ready(queue) == 0


def test_consume_in_several_threads(broker: Broker, admin: Admin, names: Names, service: None) -> None:
    """One's end is not the others'."""
    queues = [admin.declare(names()) for _ in range(3)]
    collectors = [Collector(halt_at=9) for _ in queues]
    first, second, third = (
        Consuming(collector, **plan(name)) for collector, name in zip(collectors, queues, strict=True)
    )
    with first, second, third:
        api.publish(message(queues[0], 9))
        assert isinstance(first.ended(), HaltConsumer)
        api.publish(message(queues[1], 1))
        eventually(lambda: numbers(collectors[1].received) == [1])
        assert second.is_alive
        assert third.is_alive
        for name in queues[1:]:
            api.publish(message(name, 9))
        for run in (second, third):
            assert isinstance(run.ended(), HaltConsumer)


def test_close_ends_consuming(broker: Broker, admin: Admin, queue: str, service: None) -> None:
    """And both may begin anew."""
    for number in range(2):
        collector = Collector()
        with Consuming(collector, **plan(queue)) as run:
            api.publish(message(queue, number))
            eventually(collector.has(number))
            api.close()
            assert run.ended() is None
    assert (admin.consumers(queue), admin.ready(queue)) == (0, 0)


def test_close_ends_consuming_that_waits_for_a_broker(offline: None) -> None:
    with Consuming(Collector(), **plan("q")) as run:
        eventually(lambda: api._twisted_service is not None)
        api.close()
        error = run.ended()
    assert error is None or isinstance(error, ConnectionException)


@pytest.mark.parametrize("stalled", [True, False])
def test_close_ends_consuming_whose_connection_is_gone(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, proxied_service: None, stalled: bool
) -> None:
    with Consuming(Collector(), **plan(queue)) as run:
        eventually(lambda: admin.consumers(queue) == 1)
        proxy.refuse()
        if stalled:
            proxy.stall()
        else:
            proxy.cut()
        begin = time.monotonic()
        api.close()
        run.ended()
    assert time.monotonic() - begin < WAIT


def test_consume_waits_for_a_broker(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str
) -> None:
    proxy.refuse()
    admin.publish(queue, b'{"number": 0}')
    with Consuming(Collector(halt_at=0), **plan(queue)) as run:
        eventually(lambda: api._twisted_service is not None)
        proxy.resume()
        assert isinstance(run.ended(), HaltConsumer)


# Publishing from callbacks


def test_publish_in_a_plain_callback(broker: Broker, admin: Admin, names: Names, service: None) -> None:
    name, answers = admin.declare(names()), admin.declare(names())

    def callback(received: Message) -> None:
        number = received.body["number"]
        api.publish(message(answers, number))
        if number == 9:
            raise HaltConsumer

    for number in range(10):
        api.publish(message(name, number))
    with pytest.raises(HaltConsumer):
        api.consume(callback, **plan(name))
    assert admin.take(answers) == [f'{{"number": {n}}}'.encode() for n in range(10)]


def test_many_callbacks_publish_at_the_same_moment(
    broker: Broker, admin: Admin, names: Names, service: None
) -> None:
    """Neither callbacks nor signal handlers starve each other."""
    queues = [admin.declare(names()) for _ in range(16)]
    answers = admin.declare(names())
    together = threading.Barrier(len(queues))
    signalled: list[Message] = []

    def callback(_received: Message) -> None:
        together.wait(WAIT)
        api.publish(message(answers))

    def on_published(_sender: object, message: Message) -> None:
        signalled.append(message)

    for name in queues:
        api.publish(message(name))
    with (
        api.publish_signal.connected_to(on_published),
        Consuming(callback, **plan(*queues)),
    ):
        eventually(lambda: admin.ready(answers) == len(queues))
        eventually(lambda: len(signalled) == len(queues))


def test_p39_consume_with_many_open_files(broker: Broker, service: None, admin: Admin, queue: str) -> None:
    """In the main thread, which waits in a way that signals interrupt."""
    admin.publish(queue, b'{"number": 0}')
    collector = Collector(halt_at=0)
    with many_open(1100), pytest.raises(HaltConsumer):
        api.consume(collector, **plan(queue))
    assert numbers(collector.received) == [0]


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_consume_in_the_thread_of_an_event_loop(
    broker: Broker,
    service: None,
    admin: Admin,
    queue: str,
    nothing_told: None,
    caplog: pytest.LogCaptureFixture,
    in_main_thread: bool,
) -> None:
    """A cell of a notebook: it works, as in version 3.9, and the log says what would not block the loop."""
    for number in range(3):
        admin.publish(queue, f'{{"number": {number}}}'.encode())
    collector = Collector(halt_at=2)

    async def main() -> None:
        with pytest.raises(HaltConsumer):
            api.consume(lambda received: collector(received), **plan(queue))

    if in_main_thread:
        asyncio.run(main())
    else:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, main()).result(WAIT)
    assert numbers(collector.received) == [0, 1, 2]
    (told,) = (text for text in caplog.messages if "blocks the event loop" in text)
    assert told.startswith(f"consume(), called in {__file__} line ")
    assert "`await bus.consume()` of fedora_messaging.aio" in told


@pytest.mark.parametrize("what", ["publish", "consume"])
def test_p13_blocking_calls_in_a_coroutine_callback(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, names: Names, what: str
) -> None:
    """P13: RuntimeError says what to do instead, and nothing has been sent."""
    name, answers = admin.declare(names()), admin.declare(names())
    errors: list[Exception] = []

    async def callback(_received: Message) -> None:
        try:
            if what == "publish":
                api.publish(message(answers))
            else:
                api.consume(Collector(), **plan(answers))
        except Exception as error:
            errors.append(error)
        raise HaltConsumer

    admin.publish(name, b'{"number": 0}')
    with pytest.raises(HaltConsumer):
        api.consume(callback, **plan(name))
    assert isinstance(errors[0], RuntimeError)
    assert "fedora_messaging.aio" in str(errors[0])
    assert proxy.count(BASIC_PUBLISH) == 0
    api.publish(message(answers, 1))
    assert admin.take(answers) == [b'{"number": 1}']
    assert admin.consumers(answers) == 0


# Signals


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_p10_sigterm_during_a_callback(broker: Broker, admin: Admin, queue: str, kind: str) -> None:
    """P10: the callback ends, its message is acknowledged, and the process exits with status 0."""
    for number in range(3):
        admin.publish(queue, f'{{"number": {number}}}'.encode())
    with Program("consume", broker.url, queue, kind) as program:
        assert [program.line(), program.line()] == ["start", "begin 0"]
        program.signal(signal.SIGTERM)
        finish_callback(program)
        assert program.line() == "left"
        assert program.status() == 0
        assert "Traceback" not in program.errors
    eventually(lambda: admin.ready(queue) == 2)


def finish_callback(program: Program) -> None:
    """Let the running callback end when the program begins no other one."""
    assert program.line() == "stopping"
    program.tell()
    assert program.line() == "end 0"


def test_p10_sigterm_while_idle(broker: Broker, admin: Admin, queue: str) -> None:
    with Program("consume", broker.url, queue, "function") as program:
        assert program.line() == "start"
        eventually(lambda: admin.consumers(queue) == 1)
        program.signal(signal.SIGTERM)
        assert program.line() == "left"
        assert program.status() == 0
        assert "Traceback" not in program.errors
    eventually(lambda: admin.consumers(queue) == 0)


def test_p10_sigterm_while_no_broker_answers() -> None:
    with Program("consume", NOBODY, "q", "function") as program:
        assert program.line() == "start"
        # The handler is in place when the first attempt has been logged (there is no other sign of it).
        eventually(lambda: "cannot connect" in "".join(program._errors))
        program.signal(signal.SIGTERM)
        assert program.line() == "left"
        assert program.status() == 0
        assert "Traceback" not in program.errors


def test_p10_second_sigterm_ends_at_once(broker: Broker, admin: Admin, queue: str) -> None:
    """Without a traceback; the message comes again."""
    admin.publish(queue, b'{"number": 0}')
    with Program("consume", broker.url, queue, "function") as program:
        assert [program.line(), program.line()] == ["start", "begin 0"]
        program.signal(signal.SIGTERM)
        deadline = time.monotonic() + WAIT
        while program.is_alive and time.monotonic() < deadline:
            # Two that arrive together are one.
            program.signal(signal.SIGTERM)
            time.sleep(0.05)
        assert program.status() == -signal.SIGTERM
        assert "Traceback" not in program.errors
    eventually(lambda: admin.ready(queue) == 1)


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_sigint_during_a_callback(broker: Broker, admin: Admin, queue: str, kind: str) -> None:
    """KeyboardInterrupt is raised when the callback has ended, and its message been acknowledged."""
    for number in range(3):
        admin.publish(queue, f'{{"number": {number}}}'.encode())
    with Program("consume", broker.url, queue, kind) as program:
        assert [program.line(), program.line()] == ["start", "begin 0"]
        program.signal(signal.SIGINT)
        finish_callback(program)
        assert [program.line(), program.line()] == ["interrupted", "left"]
        assert program.status() == 0
        assert "Traceback" not in program.errors
    eventually(lambda: admin.ready(queue) == 2)
