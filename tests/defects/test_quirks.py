"""Habits of version 3.9 that the library keeps, where no other test holds them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.client.support import Consuming, message, numbers, plan
from tests.support.http import ask
from tests.support.proxy import BASIC_CONSUME, Proxy
from tests.support.rabbitmq import free_ports
from tests.support.waiting import eventually

from fedora_messaging import api, config
from fedora_messaging.exceptions import HaltConsumer, ValidationError
from fedora_messaging.message import dumps, loads

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker
    from tests.support.processes import Processes
    from tests.support.rabbitmq import RabbitNode

    from fedora_messaging.message import Message

DURABLE = "durable = true\nauto_delete = false\nexclusive = false\narguments = {}\n"


@pytest.fixture
def monitoring(settings: config.LazyConfig) -> int:
    """The port at which the service of the test is watched."""
    (port,) = free_ports(1)
    settings["monitoring"] = {"address": "127.0.0.1", "port": port}
    return port


def ready(port: int) -> dict[str, Any]:
    """What the endpoint says."""
    body: dict[str, Any] = ask(port, "/ready").json()
    return body


def test_one_named_queue_is_bound_to_nothing(
    broker: Broker, admin: Admin, name: str, service: None, settings: config.LazyConfig, tmp_path: Path
) -> None:
    """A named queue replaces the default queue, to which alone the default binding belongs."""
    (tmp_path / "config.toml").write_text(f'AMQP_URL = "{broker.url}"\n[queues."{name}"]\n{DURABLE}')
    settings.load_config(str(tmp_path / "config.toml"))
    done: list[Message] = []
    with Consuming(done.append):
        eventually(lambda: _exists(admin, name) and admin.consumers(name) == 1)
        admin.channel.basic_publish("amq.topic", f"{name}.test", b'{"number": 1}')
        admin.publish(name, b'{"number": 2}')
        eventually(lambda: done)
    assert numbers(done) == [2]


def _exists(admin: Admin, name: str) -> bool:
    try:
        admin.channel.queue_declare(name, passive=True)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    return True


def test_exchanges_are_not_declared(
    broker: Broker, admin: Admin, queue: str, name: str, service: None, settings: config.LazyConfig
) -> None:
    """The library accepts the setting, and declares no exchange for it."""
    exchange: Any = {"type": "topic", "durable": True, "auto_delete": False, "arguments": {}}
    settings["exchanges"] = {f"{name}.exchange": exchange}
    with Consuming(lambda _message: None, **plan(queue)):
        eventually(lambda: admin.consumers(queue) == 1)
        api.publish(message(queue))
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        admin.channel.exchange_declare(f"{name}.exchange", passive=True)
    assert caught.value.reply_code == 404


def test_invalid_messages_are_not_in_the_counters(
    broker: Broker, admin: Admin, queue: str, service: None, monitoring: int
) -> None:
    """The counters of `/ready` count only messages that passed validation."""
    admin.publish(queue, b"no JSON")
    admin.publish(queue, b'{"number": 1}')
    done: list[Message] = []
    with Consuming(done.append, **plan(queue)):
        eventually(lambda: done)
        expected = {"received": 1, "processed": 1, "dropped": 0, "rejected": 0, "failed": 0}
        eventually(lambda: ready(monitoring)["consumed"] == expected)
        assert ready(monitoring).keys() == {"consuming", "published", "consumed"}


@pytest.mark.parametrize(
    "parameters",
    [
        {"connection_attempts": 1, "retry_delay": 600},
        {"socket_timeout": 0.001, "stack_timeout": 0.001},
        {"tcp_options": "{'TCP_KEEPIDLE': 1}"},
    ],
    ids=["attempts", "timeouts", "tcp options"],
)
def test_parameters_without_effect(
    broker: Broker, proxy: Proxy, settings: config.LazyConfig, queue: str, parameters: dict[str, object]
) -> None:
    """The library waits for a broker that comes late, and slowly, whatever these parameters say."""
    settings["amqp_url"] = proxy.url(**parameters)
    proxy.refuse()
    try:
        with Consuming(lambda _message: None, **plan(queue)):
            eventually(lambda: api._twisted_service is not None)
            time.sleep(0.1)  # some attempts fail
            proxy.resume()
            eventually(lambda: proxy.count(BASIC_CONSUME) == 1)
            api.publish(message(queue), timeout=15)
    finally:
        api.close()


CALLBACK = """
def callback(message):
    print("got", message.queue, message.topic, flush=True)
"""


def test_options_change_all_bindings(
    broker: Broker, admin: Admin, names: Names, processes: Processes
) -> None:
    """The options change the bindings of all queues."""
    first, second, key = names(), names(), names("key")
    binding = '[[bindings]]\nqueue = "{0}"\nexchange = "amq.topic"\nrouting_keys = ["{0}"]\n'
    (processes.directory / "config.toml").write_text(
        f'amqp_url = "{broker.url}"\n[queues."{first}"]\n{DURABLE}[queues."{second}"]\n{DURABLE}'
        + binding.format(first)
        + binding.format(second)
    )
    (processes.directory / "app.py").write_text(CALLBACK)
    process = processes.fedora_messaging(
        "--conf=config.toml",
        "consume",
        "--callback=app:callback",
        f"--routing-key={key}",
        "--exchange=amq.direct",
    )
    process.wait_for(f"Successfully registered Consumer.*{second}")
    admin.channel.basic_publish("amq.direct", key, b"{}")
    found = {process.wait_for(r"^got (\S+) ")[1] for _ in range(2)}
    assert found == {first, second}
    ended = process.terminate()
    assert ended.status == 0


def test_recorder_is_the_name_of_who_records(
    rabbitmq: RabbitNode, processes: Processes, tmp_path: Path
) -> None:
    """RabbitMQ shows the app "recorder", whatever the configuration says."""
    app = f"canary-{tmp_path.name}"
    (processes.directory / "config.toml").write_text(
        f'amqp_url = "{rabbitmq.url}"\n[client_properties]\napp = "{app}"\n'
    )
    process = processes.fedora_messaging("--conf=config.toml", "record", "recorded")
    process.wait_for("Successfully registered")
    shown = rabbitmq.ctl("list_connections", "client_properties")
    assert '{"app","recorder"}' in shown.replace(" ", "")
    assert app not in shown
    assert process.terminate().status == 0


def test_no_messages() -> None:
    """A file of no messages is one line feed, and `loads` refuses its blank line."""
    assert dumps([]) == "\n"
    with pytest.raises(ValidationError):
        loads(dumps([]))


@pytest.mark.parametrize("policy", [False, True])
@pytest.mark.parametrize("kinds", ["function function", "coroutine coroutine", "coroutine function"])
def test_second_consume_swaps_the_callback(
    broker: Broker,
    admin: Admin,
    queue: str,
    service: None,
    settings: config.LazyConfig,
    monitoring: int,
    kinds: str,
    policy: bool,
) -> None:
    """The queue keeps one consumer, whose messages the library counts once."""
    if policy:
        settings["consumer"] = {"timeout": 60}
    first: list[Message] = []
    second: list[Message] = []

    def halting(received: Message) -> None:
        second.append(received)
        if received.body["number"] == 2:
            raise HaltConsumer

    async def first_coroutine(received: Message) -> None:
        first.append(received)

    async def halting_coroutine(received: Message) -> None:
        halting(received)

    before, after = kinds.split()
    one = Consuming(first.append if before == "function" else first_coroutine, **plan(queue))
    two = Consuming(halting if after == "function" else halting_coroutine, **plan(queue))
    with one:
        admin.publish(queue, b'{"number": 0}')
        eventually(lambda: first)
        with two:

            def swapped() -> bool:
                admin.publish(queue, b'{"number": 1}')
                return bool(second)

            eventually(swapped)
            assert admin.consumers(queue) == 1
            admin.publish(queue, b'{"number": 2}')
            assert isinstance(two.ended(), HaltConsumer)
            assert isinstance(one.ended(), HaltConsumer)
    assert admin.consumers(queue) == 0
    assert ready(monitoring)["consumed"]["received"] == len(first) + len(second)
    assert ready(monitoring)["consumed"]["processed"] == len(first) + len(second)
