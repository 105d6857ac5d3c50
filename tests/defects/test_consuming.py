"""Defects of version 3.9 in its consumers that are not shown mended elsewhere."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.client.support import Consuming, message, numbers, plan, queue_settings
from tests.support.admin import Admin
from tests.support.proxy import BASIC_CONSUME, CHANNEL_OPEN, CONFIRM_SELECT, Proxy
from tests.support.waiting import WAIT, eventually

from fedora_messaging import api
from fedora_messaging.exceptions import ConnectionException, HaltConsumer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.admin import Names
    from tests.support.brokers import Broker
    from tests.support.processes import Processes
    from tests.support.rabbitmq import RabbitNode

    from fedora_messaging import config
    from fedora_messaging.broker import Broker as EmbeddedBroker
    from fedora_messaging.message import Message

# What happens without a connection does not depend on the broker.
EMBEDDED = pytest.mark.parametrize("broker", ["embedded"], indirect=True)


# The acknowledgement timeout


@pytest.fixture
def impatient(rabbitmq: RabbitNode) -> Iterator[RabbitNode]:
    """RabbitMQ that closes the channels of consumers which take longer than a second."""
    settings = {"consumer_timeout": 1000, "channel_tick_interval": 300}
    before = rabbitmq.ctl(
        "eval", f"[begin {{ok, V}} = application:get_env(rabbit, K), V end || K <- [{','.join(settings)}]]."
    )
    values = re.findall(r"\d+", before)
    assert len(values) == len(settings)
    change = "[application:set_env(rabbit, K, V) || {{K, V}} <- [{}]]."
    rabbitmq.ctl("eval", change.format(",".join(f"{{{k},{v}}}" for k, v in settings.items())))
    yield rabbitmq
    pairs = zip(settings, values, strict=True)
    rabbitmq.ctl("eval", change.format(",".join(f"{{{k},{v}}}" for k, v in pairs)))


def test_p04_acknowledgement_timeout(impatient: RabbitNode, settings: config.LazyConfig) -> None:
    """Whatever the callback does in the end counts, although its channel was closed meanwhile.

    On RabbitMQ only, whose timeout it is.
    """
    error = ValueError("canary")
    outcomes: dict[str, Exception | None] = {"return": None, "halt": HaltConsumer(), "error": error}
    released = threading.Event()
    begun: list[str] = []
    ended: list[str] = []

    def callback(received: Message) -> None:
        kind = received.body["kind"]
        begun.append(kind)
        released.wait(2 * WAIT)
        ended.append(kind)
        outcome = outcomes[kind]
        if outcome is not None:
            raise outcome

    admin = Admin(impatient.url)
    kind_of_queue: dict[str, str] = {}
    if impatient.version >= (4, 3):
        # There quorum queues have the timeout, classic ones none, and it cancels the consumer.
        kind_of_queue = {"x-queue-type": "quorum"}
    queues = {kind: f"timeout.{kind}.{time.monotonic_ns()}" for kind in outcomes}
    try:
        with Proxy(impatient.url) as proxy:
            settings["amqp_url"] = proxy.url()
            for kind, name in queues.items():
                admin.declare(name, **kind_of_queue)
                admin.publish(name, f'{{"kind": "{kind}", "number": 0}}'.encode())
            runs = {kind: Consuming(callback, **plan(name, **kind_of_queue)) for kind, name in queues.items()}
            with runs["return"], runs["halt"], runs["error"]:
                eventually(lambda: sorted(begun) == sorted(outcomes))
                eventually(lambda: proxy.count(BASIC_CONSUME) == 2 * len(outcomes))
                released.set()
                assert isinstance(runs["halt"].ended(), HaltConsumer)
                assert runs["error"].ended() is error
                eventually(lambda: ended.count("return") == 2)
                admin.publish(queues["return"], b'{"kind": "return", "number": 1}')
                eventually(lambda: ended.count("return") == 3)
                assert runs["return"].is_alive
                # Nothing goes on in the background.
                assert [admin.consumers(queues[kind]) for kind in outcomes] == [1, 0, 0]
            assert (begun.count("halt"), begun.count("error")) == (1, 1)
            assert proxy.accepted == 1
            eventually(lambda: [admin.ready(queues[kind]) for kind in outcomes] == [0, 1, 1])
    finally:
        api.close()
        for name in queues.values():
            admin.delete(name)
        admin.close()


# Ends


PUBLISHES = """
import sys
from fedora_messaging import api, config
from fedora_messaging.message import Message


def callback(message):
    print("begun", flush=True)
    sys.stdin.readline()
    api.publish(Message(topic="answer"), timeout=None)


def main(url, queue):
    config.conf["amqp_url"] = url
    config.conf.setup_logging()
    settings = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
    api.consume(callback, [], {queue: settings})


if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@EMBEDDED
@pytest.mark.parametrize("way", ["api", "command"])
def test_sigterm_while_a_callback_publishes_without_connection(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, processes: Processes, way: str
) -> None:
    """The callback's publish fails, so that the process can end; the message comes again."""
    (processes.directory / "app.py").write_text(PUBLISHES)
    admin.publish(queue, b"{}")
    if way == "api":
        process = processes.python("app.py", proxy.url(), queue)
    else:
        process = processes.fedora_messaging(
            "consume",
            "--callback=app:callback",
            f"--queue-name={queue}",
            FEDORA_MESSAGING_CONF=write_configuration(processes.directory, proxy.url(), queue),
        )
    process.wait_for("^begun$")
    proxy.refuse()
    proxy.cut()
    process.say("go on")
    process.wait_for("trying again")
    ended = process.terminate(WAIT)
    # The command tells by its status that the callback failed.
    assert ended.status == 0 or (way, ended.status) == ("command", 13)
    eventually(lambda: admin.ready(queue) == 1)


def write_configuration(directory: Path, url: str, queue: str) -> str:
    (directory / "config.toml").write_text(
        f'amqp_url = "{url}"\n'
        "bindings = []\n"
        '[queues.""]\ndurable = true\nauto_delete = false\nexclusive = false\narguments = {}\n'
    )
    return "config.toml"


@EMBEDDED
def test_closing_while_a_callback_publishes_without_connection(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str
) -> None:
    """The callback's publish fails: nobody waits for ever for a service that is gone."""
    errors: list[BaseException] = []
    publishing = threading.Event()

    def callback(_received: Message) -> None:
        proxy.refuse()
        proxy.cut()
        publishing.set()
        try:
            api.publish(message("nowhere"), timeout=None)
        except BaseException as error:
            errors.append(error)
            raise

    admin.publish(queue, b"{}")
    with Consuming(callback, **plan(queue)):
        publishing.wait(WAIT)
        closing = threading.Thread(target=api.close)
        closing.start()
        try:
            eventually(lambda: errors)
        finally:
            closing.join(3 * WAIT)
    eventually(lambda: admin.ready(queue) == 1)


# Heartbeats


def test_p05_coroutine_that_blocks_the_event_loop(
    broker: Broker,
    proxy: Proxy,
    admin: Admin,
    queue: str,
    settings: config.LazyConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """P05: heartbeats leave nevertheless, and a warning names the callback."""
    settings["amqp_url"] = proxy.url(heartbeat=1)
    ended: list[Message] = []

    async def canary_callback(received: Message) -> None:
        time.sleep(4)  # noqa: ASYNC251 - the mistake in question
        ended.append(received)

    admin.publish(queue, b'{"number": 0}')
    try:
        with Consuming(canary_callback, **plan(queue)):
            eventually(lambda: ended)
            admin.publish(queue, b'{"number": 1}')
            eventually(lambda: len(ended) == 2)
    finally:
        api.close()
    assert proxy.accepted == 1
    assert numbers(ended) == [0, 1]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("canary_callback" in line for line in warnings)


# Economy


def test_channels_of_a_consumer(
    broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, names: Names
) -> None:
    """A consumer takes one channel to declare and bind and one to consume, none in confirm mode."""
    first, second = names(), names()
    bindings = [
        {"exchange": "amq.topic", "queue": name, "routing_keys": [f"{name}.{n}" for n in range(5)]}
        for name in (first, second)
    ]
    queues = {first: queue_settings(), second: queue_settings()}
    done: list[Message] = []
    with Consuming(done.append, bindings=bindings, queues=queues):
        eventually(lambda: proxy.count(BASIC_CONSUME) == 2)
        admin.publish(second, b"{}")
        eventually(lambda: done)
        assert (proxy.count(CHANNEL_OPEN), proxy.count(CONFIRM_SELECT)) == (4, 0)
        for number in range(3):
            api.publish(message("nowhere", number))
        assert (proxy.count(CHANNEL_OPEN), proxy.count(CONFIRM_SELECT)) == (5, 1)


def wake_ups() -> dict[str, int]:
    """How often each of the library's threads has gone to sleep so far."""
    found = {}
    for thread in threading.enumerate():
        is_ours = thread.name == "fedora-messaging" or thread.name.startswith("consumer idle.")
        if is_ours and thread.native_id is not None:  # it is None until the thread runs
            status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
            found[thread.name] = int(re.findall(r"\nvoluntary_ctxt_switches:\s+(\d+)", status)[0])
    return found


def busy_threads() -> list[str]:
    """Which of the library's threads wake up more than once in somewhat over two seconds."""
    before = wake_ups()
    # The time is what is measured: nothing is to happen in it.
    time.sleep(2.2)
    after = wake_ups()
    return [name for name in before if after[name] > before[name] + 1]


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_idle_consumers_sleep(
    embedded_broker: EmbeddedBroker, settings: config.LazyConfig, kind: str
) -> None:
    """A thread that polled once a second would wake at least twice in the time."""
    settings["amqp_url"] = embedded_broker.amqp_url
    admin = Admin(embedded_broker.amqp_url)
    queues = [admin.declare(f"idle.{number}") for number in range(3)]

    async def coroutine(_received: Message) -> None:
        pass

    try:
        with Consuming(coroutine if kind == "coroutine function" else print, **plan(*queues)):
            eventually(lambda: [admin.consumers(queue) for queue in queues] == [1, 1, 1])
            threads = 1 if kind == "coroutine function" else 4
            # The threads start after the broker has confirmed the subscriptions.
            eventually(lambda: len(wake_ups()) == threads)
            # They may still be about to fall asleep; who polls does so every time.
            assert any(not busy_threads() for _ in range(3))
            api.close()
    finally:
        for queue in queues:
            admin.delete(queue)
        admin.close()


def test_closing_at_any_moment_ends_consuming(
    embedded_broker: EmbeddedBroker, settings: config.LazyConfig
) -> None:
    """Consuming ends without hanging, and with an error of ours if with any."""
    settings["amqp_url"] = embedded_broker.amqp_url
    errors: list[BaseException | None] = []
    for number in range(400):
        with Consuming(lambda _message: None, **plan("closing")) as run:
            deadline = time.monotonic() + WAIT
            while api._twisted_service is None:
                assert time.monotonic() < deadline
                # Shorter than `eventually`, which would find the consumer registered already.
                time.sleep(0)
            # Later and later in the course of registering.
            time.sleep(number % 80 * 0.0001)
            api.close()
            errors.append(run.ended())
    assert {type(error) for error in errors} <= {type(None), ConnectionException}


def test_closing_while_a_coroutine_blocks_for_ever(
    broker: Broker, service: None, admin: Admin, queue: str
) -> None:
    """The program goes on after the time of grace; the message comes again."""
    begun, release = threading.Event(), threading.Event()

    async def block(_received: Message) -> None:
        begun.set()
        release.wait()

    admin.publish(queue, b'{"number": 0}')
    with Consuming(block, **plan(queue)) as consuming:
        assert begun.wait(WAIT)
        try:
            api._twisted_service.close(0.1)
            assert isinstance(consuming.ended(), ConnectionException)
            eventually(lambda: admin.ready(queue) == 1)
        finally:
            release.set()
