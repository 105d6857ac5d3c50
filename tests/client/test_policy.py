"""The table `consumer` of the configuration: what becomes of messages whose callback fails, and the like."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions
import pytest
from tests.client.support import AioConsuming, Consuming, message, numbers, plan, run
from tests.support.processes import Processes
from tests.support.waiting import eventually

from fedora_messaging import aio, api
from fedora_messaging.client.consuming.consumer import Consumer
from fedora_messaging.client.consuming.history import HEADER
from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.client.policy.dedupe import Claim, SeenMessages
from fedora_messaging.client.policy.redelivery import Redelivery
from fedora_messaging.client.policy.runner import PolicyRunner
from fedora_messaging.client.publishing.outgoing import Outgoing
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.config import LazyConfig, conf
from fedora_messaging.exceptions import (
    BadDeclaration,
    ConfigurationException,
    Drop,
    HaltConsumer,
    Nack,
    PublishNacked,
)
from fedora_messaging.options import ConsumerOptions, DedupeOptions, QosOptions, QueueOptions
from fedora_messaging.settings.complaints import in_toml
from fedora_messaging.settings.to_options import connection_options
from fedora_messaging.wire.methods import BasicPublish
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

    from fedora_messaging.message import Message

pytestmark = pytest.mark.usefixtures("service")


class Recorder:
    """A callback that notes what it is given, and then does what it is told."""

    def __init__(self, act: Callable[[Message], Any] = lambda _message: None) -> None:
        self.received: list[Message] = []
        self.times: list[float] = []
        self._act = act

    def __call__(self, message: Message) -> None:
        self.received.append(message)
        self.times.append(time.monotonic())
        self._act(message)

    async def coroutine(self, message: Message) -> None:
        self(message)

    @property
    def numbers(self) -> list[int]:
        return numbers(self.received)


def counters() -> ConsumerStats:
    """What the consumers of `api` did."""
    service = api._twisted_service
    return ConsumerStats() if service is None else service.snapshot().consumed


def delay_queues_of(admin: Admin, name: str) -> list[int]:
    """The delays of a quorum queue's delay queues, in milliseconds: declared otherwise they were refused.

    They do not expire, for RabbitMQ 3.10 ends an expiring one at its time although it is used.
    """
    found = []
    for milliseconds in (100, 90, 80, 70):
        arguments = {
            "x-message-ttl": milliseconds,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": name,
            "x-queue-type": "quorum",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        queue = f"{name}.retry.{milliseconds}"
        try:
            admin.channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            continue
        admin.channel.queue_declare(queue, durable=True, arguments=arguments)
        found.append(milliseconds)
    return found


def is_consuming() -> bool:
    service = api._twisted_service
    return service is not None and service.snapshot().consuming


def fail(_message: Message) -> None:
    raise ZeroDivisionError("canary")


@pytest.fixture
def dead(admin: Admin, queue: str) -> Iterator[str]:
    """The name of a dead-letter queue."""
    name = f"{queue}.dead"
    admin.channel.queue_declare(name, durable=True)
    yield name
    admin.delete(name)


@pytest.fixture
def delay_queues(admin: Admin, queue: str) -> Iterator[None]:
    """Delay queues that a test makes are removed."""
    yield
    for milliseconds in {round(base * factor) for base in (50, 100, 200) for factor in (1, 0.9, 0.8, 0.7)}:
        admin.delete(f"{queue}.retry.{milliseconds}")


def dead_letter(admin: Admin, dead: str) -> tuple[Any, dict[str, Any], bytes]:
    """Take a message from the dead-letter queue: its properties, its history, its body."""

    def take() -> Any:
        try:
            taken = admin.channel.basic_get(dead, auto_ack=True)
        except pika.exceptions.ChannelClosedByBroker:
            return None  # nobody has declared it yet
        return taken if taken[0] is not None else None

    method, properties, body = eventually(take)
    assert method.routing_key == dead
    return properties, properties.headers[HEADER], body


@pytest.mark.usefixtures("delay_queues")
@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_p07_failures_are_tried_again_later_and_then_kept(
    admin: Admin, queue: str, dead: str, settings: LazyConfig, kind: str
) -> None:
    """Three attempts with growing delays, the last of them tells why it is in the dead-letter queue."""
    settings["consumer"] = {
        "retry": {"attempts": 3, "delay": 0.1},
        "dead_letter": {"queue": dead},
    }
    recorder = Recorder(lambda received: fail(received) if received.body["number"] == 1 else None)
    callback = recorder if kind == "function" else recorder.coroutine
    admin.declare(queue)
    sent = message(queue, 1)
    with Consuming(callback, **plan(queue)) as consuming:
        api.publish(sent)
        api.publish(message(queue, 2))
        properties, history, body = dead_letter(admin, dead)
        assert consuming.is_alive
    assert sorted(recorder.numbers) == [1, 1, 1, 2]
    again = [received for received in recorder.received if received.body["number"] == 1]
    # The callback sees what was sent: neither topic nor headers tell of the way.
    assert again == [sent] * 3
    assert {received.id for received in again} == {sent.id}
    assert {received.queue for received in again} == {queue}
    times = [when for when, number in zip(recorder.times, recorder.numbers, strict=True) if number == 1]
    # At least the shortened delays: brokers are late, never early.
    assert times[1] - times[0] >= 0.07
    assert times[2] - times[1] >= 0.14
    assert properties.message_id == sent.id
    assert body == sent._encoded_body
    assert {key: history[key] for key in ("queue", "exchange", "topic", "attempts", "reason")} == {
        "queue": queue,
        "exchange": "amq.topic",
        "topic": sent.topic,
        "attempts": 3,
        "reason": "exhausted",
    }
    assert history["error"] == "ZeroDivisionError: canary"
    assert 0 < history["first"] <= history["last"] <= time.time() + 1
    assert admin.ready(queue) == 0


@pytest.mark.usefixtures("delay_queues")
def test_p07_an_attempt_may_succeed(admin: Admin, queue: str, settings: LazyConfig) -> None:
    settings["consumer"] = {"retry": {"attempts": 5, "delay": 0.05}}
    attempts: list[int] = []

    def succeed_at_last(received: Message) -> None:
        attempts.append(received.body["number"])
        if len(attempts) < 3:
            raise Nack

    with Consuming(succeed_at_last, **plan(queue)):
        api.publish(message(queue, 1))
        eventually(lambda: counters().processed == 1)
        consumed = counters()
        assert (consumed.retried, consumed.failed, consumed.rejected) == (2, 0, 0)
    assert admin.ready(queue) == 0


def test_p07_without_a_dead_letter_queue_the_broker_decides(
    admin: Admin, names: Names, settings: LazyConfig
) -> None:
    """The last failure refuses the message, so that the queue's own dead-letter exchange gets it."""
    name, kept = names(), names()
    admin.declare(kept)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": kept}
    settings["consumer"] = {"retry": {"attempts": 1}}
    with Consuming(fail, **plan(name, **arguments)) as consuming:
        eventually(is_consuming)
        api.publish(message(name, 1))
        eventually(lambda: admin.ready(kept) == 1)
        assert consuming.is_alive


def test_only_what_is_named_is_tried_again(admin: Admin, queue: str, dead: str, settings: LazyConfig) -> None:
    settings["consumer"] = {
        "retry": {"attempts": 5, "delay": 60, "on": ["Nack", "fedora_messaging.exceptions:ConsumeException"]},
        "dead_letter": {"queue": dead},
    }
    with Consuming(fail, **plan(queue)):
        api.publish(message(queue, 1))
        _properties, history, _body = dead_letter(admin, dead)
    assert (history["reason"], history["attempts"]) == ("failed", 1)


def test_p08_invalid_messages_are_kept(admin: Admin, queue: str, dead: str, settings: LazyConfig) -> None:
    """P08: counted, logged, and in the quarantine with the reason."""
    settings["consumer"] = {"dead_letter": {"queue": dead}}
    recorder = Recorder()
    with Consuming(recorder, **plan(queue)):
        admin.publish(queue, b"\xff no JSON", pika.BasicProperties(message_id="canary"))
        properties, history, body = dead_letter(admin, dead)
        # Counted when the broker has confirmed it, so perhaps after it came here.
        eventually(lambda: counters().dead_lettered == 1)
        consumed = counters()
        assert (consumed.invalid, consumed.received) == (1, 0)
    assert (body, properties.message_id) == (b"\xff no JSON", "canary")
    assert history["reason"] == "invalid"
    assert history["error"]
    assert recorder.received == []
    assert admin.ready(queue) == 0


def test_p09_a_copy_that_the_broker_refuses_is_offered_again(
    admin: Admin, names: Names, settings: LazyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The message stays in hand meanwhile: the callback does not see it again and again."""
    name, full = names(), names()
    arguments = {"x-max-length": 0, "x-overflow": "reject-publish"}
    admin.channel.queue_declare(full, durable=True, arguments=arguments)
    admin.declare(name)
    settings["consumer"] = {"dead_letter": {"queue": full}}
    recorder = Recorder(fail)
    with Consuming(recorder, **plan(name)) as consuming:
        admin.publish(name, message(name, 1)._encoded_body)
        eventually(lambda: "stays in hand" in caplog.text)
        assert consuming.is_alive
        admin.delete(full)
        admin.channel.queue_declare(full, durable=True)
        eventually(lambda: admin.ready(full) == 1)
        assert recorder.numbers == [1]
    assert admin.ready(name) == 0


def test_p09_a_copy_that_is_refused_too_often_ends_consuming(
    broker: Broker, admin: Admin, names: Names
) -> None:
    """Visibly, and the message goes back to its queue."""
    name, full = names(), names()
    arguments = {"x-max-length": 0, "x-overflow": "reject-publish"}
    admin.channel.queue_declare(full, durable=True, arguments=arguments)
    admin.declare(name)
    recorder = Recorder(fail)

    async def main() -> None:
        supervisor = Supervisor(connection_options(conf, broker.url))
        options = ConsumerOptions(dead_letter=full)

        def make(consumer: Consumer) -> PolicyRunner:
            redelivery = Redelivery(supervisor, False)
            return PolicyRunner(recorder.coroutine, consumer, options, redelivery, None, pauses=(0.01, 0.01))

        queue = QueueOptions(name, durable=True)
        consumer = Consumer(make, queue, [], QosOptions(10), options)
        try:
            await supervisor.consume(consumer)
            admin.publish(name, message(name, 1)._encoded_body)
            with pytest.raises((PublishNacked, BadDeclaration)):
                await consumer.result
        finally:
            await supervisor.close()

    run(main())
    assert recorder.numbers == [1]
    eventually(lambda: admin.ready(name) == 1)


@pytest.mark.parametrize(
    "declaration",
    [
        {"durable": True, "arguments": {"x-max-length": 5}},
        {"durable": True, "arguments": {"x-message-ttl": 3_600_000, "x-max-priority": 3}},
        {"durable": True, "arguments": {"x-queue-type": "quorum"}},
        {"durable": False, "exclusive": True},
    ],
    ids=["limited", "expiring", "quorum", "exclusive"],
)
@pytest.mark.parametrize("kind", ["failed", "exhausted", "invalid"])
def test_p40_a_dead_letter_queue_declared_otherwise(
    admin: Admin, names: Names, settings: LazyConfig, declaration: dict[str, Any], kind: str
) -> None:
    """It is there, so messages are kept in it, however operators have declared it."""
    name, other = names(), names()
    admin.channel.queue_declare(other, **declaration)
    admin.declare(name)
    settings["consumer"] = {"dead_letter": {"queue": other}}
    if kind == "exhausted":
        settings["consumer"]["retry"] = {"attempts": 1}
    recorder = Recorder(fail)
    body = b"no JSON" if kind == "invalid" else message(name, 1)._encoded_body
    with Consuming(recorder, **plan(name)) as consuming:
        admin.publish(name, body)
        _properties, history, found = dead_letter(admin, other)
        assert consuming.is_alive
    assert (history["reason"], found) == (kind, body)
    assert len(recorder.received) == (0 if kind == "invalid" else 1)
    assert admin.ready(name) == 0


def test_p40_a_dead_letter_queue_that_is_missing_is_declared_at_start(
    admin: Admin, names: Names, settings: LazyConfig
) -> None:
    """And once more, when somebody has deleted it meanwhile."""
    name, dead = names(), names()
    settings["consumer"] = {"dead_letter": {"queue": dead}}

    def is_there() -> bool:
        try:
            return admin.ready(dead) >= 0
        except pika.exceptions.ChannelClosedByBroker:
            return False

    with Consuming(fail, **plan(name)):
        eventually(is_there)
        admin.delete(dead)
        admin.publish(name, message(name, 1)._encoded_body)
        eventually(is_there)
        _properties, history, _body = dead_letter(admin, dead)
    assert history["reason"] == "failed"
    # As we declare it.
    admin.channel.queue_declare(dead, durable=True)


@pytest.mark.parametrize("arguments", [{}, {"x-queue-type": "quorum"}], ids=["classic", "quorum"])
def test_p40_delay_queues_that_are_somebody_elses(
    admin: Admin, names: Names, settings: LazyConfig, arguments: dict[str, Any]
) -> None:
    """What is published to them might never come back: the message waits in another queue."""
    name, dead = names(), names()
    for milliseconds in (100, 90, 80, 70):
        taken = names.keep(f"{name}.retry.{milliseconds}")
        admin.channel.queue_declare(taken, durable=True, arguments={"x-max-length": 5})
    settings["consumer"] = {"retry": {"attempts": 3, "delay": 0.1, "max_delay": 0.1}}
    settings["consumer"]["dead_letter"] = {"queue": dead}
    recorder = Recorder(fail)
    with Consuming(recorder, **plan(name, **arguments)):
        eventually(is_consuming)
        admin.publish(name, message(name, 1)._encoded_body)
        _properties, history, _body = dead_letter(admin, dead)
    assert (history["reason"], history["attempts"]) == ("exhausted", 3)
    assert recorder.numbers == [1, 1, 1]
    assert admin.ready(name) == 0


def test_memory_of_duplicates_that_fails_ends_consuming(
    queue: str, settings: LazyConfig, tmp_path: Path, admin: Admin
) -> None:
    """Visibly: a worker that ends in silence would leave the consumer deaf."""
    import sqlite3

    path = tmp_path / "ids.db"
    settings["consumer"] = {"dedupe": {"path": str(path)}}
    recorder = Recorder()
    with Consuming(recorder, **plan(queue)) as consuming:
        api.publish(message(queue, 1))
        eventually(lambda: counters().processed == 1)
        with sqlite3.connect(path) as database:
            database.execute("DROP TABLE seen")
        database.close()
        api.publish(message(queue, 2))
        assert isinstance(consuming.ended(), sqlite3.Error)
    eventually(lambda: admin.ready(queue) == 1)


def test_drop_and_halt_mean_what_they_did(admin: Admin, queue: str, dead: str, settings: LazyConfig) -> None:
    settings["consumer"] = {"retry": {"delay": 60}, "dead_letter": {"queue": dead}}

    def act(received: Message) -> None:
        raise Drop if received.body["number"] == 1 else HaltConsumer(exit_code=3)

    with Consuming(act, **plan(queue)) as consuming:
        api.publish(message(queue, 1))
        api.publish(message(queue, 2))
        error = consuming.ended()
    assert isinstance(error, HaltConsumer)
    assert error.exit_code == 3
    assert admin.ready(queue) == admin.ready(dead) == 0


def test_without_retry_an_exception_ends_consuming_as_ever(
    admin: Admin, queue: str, settings: LazyConfig
) -> None:
    settings["consumer"] = {"concurrency": 2}
    with Consuming(fail, **plan(queue)) as consuming:
        api.publish(message(queue, 1))
        assert isinstance(consuming.ended(), ZeroDivisionError)
    eventually(lambda: admin.ready(queue) == 1)


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_concurrency(admin: Admin, queue: str, settings: LazyConfig, kind: str) -> None:
    """As many callbacks at once as configured, and no more; all are acknowledged."""
    settings["consumer"] = {"concurrency": 4}
    settings["qos"] = {"prefetch_count": 1}
    together = threading.Barrier(5)
    gate = asyncio.Event()
    running, most = [0], [0]

    def count(change: int) -> None:
        running[0] += change
        most[0] = max(most[0], running[0])

    def callback(_message: Message) -> None:
        count(1)
        together.wait(15)
        count(-1)

    async def coroutine(_message: Message) -> None:
        count(1)
        if running[0] == 4:
            gate.set()
        await asyncio.wait_for(gate.wait(), 15)
        count(-1)

    for number in range(4):
        admin.publish(queue, message(queue, number)._encoded_body)
    with Consuming(callback if kind == "function" else coroutine, **plan(queue)):
        if kind == "function":
            together.wait(15)
        eventually(lambda: counters().processed == 4)
    assert most[0] == 4
    assert admin.ready(queue) == 0


def test_ordering_key(admin: Admin, queue: str, settings: LazyConfig) -> None:
    """Messages with one key come one after the other, in their order; others overtake them."""
    settings["consumer"] = {"concurrency": 3, "ordering_key": "lane"}
    release = threading.Event()
    begun: list[int] = []

    def callback(received: Message) -> None:
        begun.append(received.body["number"])
        if received.body["number"] == 0:
            assert release.wait(15)

    for number in range(8):
        # 0, 2, 4, 6 in one lane and 1, 3, 5, 7 in the other.
        properties = pika.BasicProperties(headers={"lane": number % 2})
        admin.publish(queue, message(queue, number)._encoded_body, properties)
    with Consuming(callback, **plan(queue)):
        eventually(lambda: 7 in begun)
        assert sorted(begun) == [0, 1, 3, 5, 7]
        release.set()
        eventually(lambda: len(begun) == 8)
    assert [number for number in begun if number % 2] == [1, 3, 5, 7]
    assert begun[5:] == [2, 4, 6]


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_timeout(admin: Admin, queue: str, dead: str, settings: LazyConfig, kind: str) -> None:
    """A callback that hangs is given up, and the next message is processed."""
    settings["consumer"] = {"timeout": 0.2, "dead_letter": {"queue": dead}}
    release = threading.Event()
    done: list[int] = []

    def callback(received: Message) -> None:
        if received.body["number"] == 1:
            release.wait(15)
        done.append(received.body["number"])

    async def coroutine(received: Message) -> None:
        if received.body["number"] == 1:
            await asyncio.Event().wait()
        done.append(received.body["number"])

    with Consuming(callback if kind == "function" else coroutine, **plan(queue)):
        api.publish(message(queue, 1))
        api.publish(message(queue, 2))
        _properties, history, _body = dead_letter(admin, dead)
        eventually(lambda: done == [2])
        release.set()
    assert history["error"] == "CallbackTimeout: the callback took longer than 0.2 s"


def test_dedupe(admin: Admin, queue: str, settings: LazyConfig, tmp_path: Path) -> None:
    """What was processed is not processed again, also by the next process; what failed is."""
    settings["consumer"] = {"dedupe": {"path": str(tmp_path / "seen" / "ids.db"), "window": 3600}}
    recorder = Recorder()
    sent = message(queue, 1)
    for _ in range(2):
        api.publish(sent)
        api.publish(sent)
        with Consuming(recorder, **plan(queue)):
            eventually(lambda: counters().duplicates)
        assert admin.ready(queue) == 0
    assert recorder.numbers == [1]


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_p45_a_duplicate_is_not_processed_beside_the_original(
    admin: Admin, queue: str, settings: LazyConfig, tmp_path: Path, kind: str
) -> None:
    settings["consumer"] = {"concurrency": 4, "dedupe": {"path": str(tmp_path / "ids.db")}}
    release = threading.Event()
    recorder = Recorder(lambda received: received.body["number"] == 1 and release.wait(15))

    async def coroutine(received: Message) -> None:
        await asyncio.to_thread(recorder, received)

    sent = message(queue, 1)
    for one in (sent, sent, sent, message(queue, 2)):
        api.publish(one)
    with Consuming(recorder if kind == "function" else coroutine, **plan(queue)):
        # The workers look at what they have got in any order.
        eventually(lambda: {*recorder.numbers} == {1, 2} and counters().processed == 1)
        assert sorted(recorder.numbers) == [1, 2]
        release.set()
        eventually(lambda: counters().duplicates == 2)
    assert sorted(recorder.numbers) == [1, 2]
    assert admin.ready(queue) == 0


@pytest.mark.parametrize("error", [Drop, ZeroDivisionError])
def test_p45_a_duplicate_is_processed_when_the_original_fails(
    admin: Admin, queue: str, dead: str, settings: LazyConfig, tmp_path: Path, error: type[Exception]
) -> None:
    settings["consumer"] = {"concurrency": 2, "dedupe": {"path": str(tmp_path / "ids.db")}}
    settings["consumer"]["dead_letter"] = {"queue": dead}
    running: list[Message] = []

    def act(received: Message) -> None:
        running.append(received)
        assert len(running) == 1
        try:
            if len(recorder.received) == 1:
                raise error
        finally:
            running.clear()

    recorder = Recorder(act)
    sent = message(queue, 1)
    for _ in range(3):
        api.publish(sent)
    with Consuming(recorder, **plan(queue)):
        eventually(lambda: counters().duplicates == 1)
    assert recorder.numbers == [1, 1]
    assert admin.ready(queue) == 0
    assert admin.ready(dead) == (1 if error is ZeroDivisionError else 0)


def test_p45_another_process_has_the_message(
    admin: Admin, queue: str, settings: LazyConfig, tmp_path: Path
) -> None:
    """We wait for what becomes of it there, and when we are to end meanwhile, ours goes back."""
    path = str(tmp_path / "ids.db")
    settings["consumer"] = {"concurrency": 2, "dedupe": {"path": path}}
    other = SeenMessages(DedupeOptions(3600, path))
    recorder = Recorder()
    sent = message(queue, 1)
    assert run(other.claim(queue, sent.id or "")) is Claim.OURS
    api.publish(sent)
    api.publish(message(queue, 2))
    with Consuming(recorder, **plan(queue)):
        eventually(lambda: counters().processed == 1)
        assert recorder.numbers == [2]
    eventually(lambda: admin.ready(queue) == 1)
    with Consuming(recorder, **plan(queue)):
        eventually(is_consuming)
        run(other.release(queue, sent.id or ""))
        eventually(lambda: counters().processed == 1)
    assert recorder.numbers == [2, 1]
    run(other.close())


CLAIMING = """
import asyncio, sys
from fedora_messaging.client.policy.dedupe import SeenMessages
from fedora_messaging.options import DedupeOptions
seen = SeenMessages(DedupeOptions(3600, sys.argv[1]))
for id in ("one", "two"):
    print(asyncio.run(seen.claim("q", id)).name, flush=True)
sys.stdin.read()
"""


def test_p45_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    """However that ends, and nothing of it stays."""
    path = str(tmp_path / "ids.db")
    with Processes(tmp_path) as processes:
        process = processes.python("-c", CLAIMING, path)
        process.wait_for("OURS")
        process.wait_for("OURS")
        seen, third = SeenMessages(DedupeOptions(3600, path)), SeenMessages(DedupeOptions(3600, path))
        assert run(seen.claim("q", "one")) is Claim.BUSY
        process.kill()
        assert run(seen.claim("q", "one")) is Claim.OURS
        assert run(third.claim("q", "one")) is Claim.BUSY
        assert run(third.claim("q", "two")) is Claim.OURS
        run(seen.add("q", "one"))
        assert run(third.claim("q", "one")) is Claim.PROCESSED
        run(third.release("q", "two"))
        # What nobody claims is not looked at until somebody starts.
        processes.python("-c", CLAIMING, path).wait_for("OURS")
    run(seen.close())
    run(third.close())
    last = SeenMessages(DedupeOptions(3600, path))
    assert len(list(tmp_path.glob("*.claims"))) == 1
    assert run(last.claim("q", "two")) is Claim.OURS
    run(last.close())
    assert list(tmp_path.glob("*.claims")) == []


def test_memory_of_duplicates_that_was_deleted_ends_consuming(
    queue: str, settings: LazyConfig, tmp_path: Path, admin: Admin
) -> None:
    path = tmp_path / "ids.db"
    settings["consumer"] = {"dedupe": {"path": str(path)}}
    with Consuming(Recorder(), **plan(queue)) as consuming:
        api.publish(message(queue, 1))
        eventually(lambda: counters().processed == 1)
        path.unlink()
        api.publish(message(queue, 2))
        assert "was deleted, renamed or replaced" in str(consuming.ended())
    eventually(lambda: admin.ready(queue) == 1)


def test_policy_of_asyncio(broker: Broker, admin: Admin, queue: str, dead: str, settings: LazyConfig) -> None:
    settings["consumer"] = {"retry": {"attempts": 1}, "dead_letter": {"queue": dead}}
    recorder = Recorder(fail)
    admin.publish(queue, message(queue, 1)._encoded_body)
    with AioConsuming(broker.url, recorder.coroutine, **plan(queue)):
        _properties, history, _body = dead_letter(admin, dead)
    assert history["reason"] == "exhausted"


def test_quorum_queues_have_quorum_helpers(admin: Admin, names: Names, settings: LazyConfig) -> None:
    """What a quorum queue's message waits in, or is kept in, survives what the queue survives."""
    name, dead = names(), names()
    admin.channel.queue_declare(dead, durable=True, arguments={"x-queue-type": "quorum"})
    settings["consumer"] = {"retry": {"attempts": 2, "delay": 0.1}, "dead_letter": {"queue": dead}}
    try:
        with Consuming(fail, **plan(name, **{"x-queue-type": "quorum"})):
            eventually(is_consuming)
            api.publish(message(name, 1))
            _properties, history, _body = dead_letter(admin, dead)
        assert history["attempts"] == 2
        assert len(delay_queues_of(admin, name)) == 1
    finally:
        for milliseconds in (100, 90, 80, 70):
            admin.delete(f"{name}.retry.{milliseconds}")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ([], r'"consumer" must be a table, but is an empty list; write it as \[consumer\]'),
        (
            {"concurency": 2},
            r"\[consumer\] does not know concurency; it knows arguments, concurrency, dead_letter",
        ),
        ({"concurrency": 0}, r'"concurrency" in \[consumer\] must be a whole number from 1 to 1000'),
        ({"concurrency": True}, r'"concurrency" in \[consumer\] must be a whole number'),
        ({"timeout": "5"}, r'"timeout" in \[consumer\] must be a number'),
        ({"ordering_key": ""}, r'"ordering_key" in \[consumer\] must be text'),
        ({"retry": True}, r'"consumer.retry" must be a table'),
        ({"retry": {"attempts": 1.5}}, r'"attempts" in \[consumer.retry\] must be a whole number'),
        ({"retry": {"delay": -1}}, r'"delay" in \[consumer.retry\] must be a number'),
        ({"retry": {"on": "Nack"}}, r'"on" in \[consumer.retry\] must be a list of texts'),
        ({"dead_letter": {}}, r"\[consumer.dead_letter\] lacks queue"),
        ({"dedupe": {"window": 60}}, r"\[consumer.dedupe\] lacks path"),
    ],
)
def test_mistakes_are_told_when_the_file_is_read(
    table: Any, complaint: str, tmp_path: Path, settings: LazyConfig
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"consumer = {in_toml(table)}")
    with pytest.raises(ConfigurationException, match=complaint) as caught:
        LazyConfig().load_config(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"retry": {"on": ["int"]}}, "names 'int', which is no exception"),
        ({"retry": {"on": ["no.such:Thing"]}}, "names 'no.such:Thing', which cannot be imported"),
        ({"ordering_key": "os:sep"}, "names 'os:sep', which is no function"),
        ({"dedupe": {"path": "/proc/nowhere/x.db"}}, r'"path" in \[consumer.dedupe\] is /proc/nowhere/x.db'),
    ],
)
def test_mistakes_are_told_when_consuming_begins(
    table: Any, complaint: str, queue: str, settings: LazyConfig
) -> None:
    settings["consumer"] = table
    with pytest.raises(ConfigurationException, match=complaint):
        api.consume(print, **plan(queue))


@pytest.mark.parametrize("size", [130_900, 131_000, 131_072 - 8 - 12 - 20])
@pytest.mark.parametrize("policy", [{}, {"retry": {"attempts": 2, "delay": 0.1}}])
def test_headers_that_leave_no_room_for_a_history(
    admin: Admin, queue: str, dead: str, settings: LazyConfig, policy: dict[str, Any], size: int
) -> None:
    """The copy is kept without a history; every connection lives on, and the good message behind arrives."""
    settings["consumer"] = {**policy, "dead_letter": {"queue": dead}}

    def act(message: Message) -> None:
        if message.body["number"] == 1:
            fail(message)

    recorder = Recorder(act)
    with Consuming(recorder, **plan(queue)):
        properties = pika.BasicProperties(headers={"big": "x" * size})
        admin.publish(queue, message(queue, 1)._encoded_body, properties)
        admin.publish(queue, message(queue, 2)._encoded_body)
        eventually(lambda: recorder.numbers == [1, 2])
        eventually(lambda: admin.ready(dead) == 1)
        service = api._twisted_service
        assert service is not None
        assert service.snapshot().reconnects == 0
    assert admin.ready(queue) == 0
    _, kept, body = admin.channel.basic_get(dead, auto_ack=True)
    assert kept.headers == {"big": "x" * size}
    assert body == message(queue, 1)._encoded_body


@pytest.mark.parametrize("policy", [{}, {"retry": {"attempts": 3, "delay": 0.05}}])
def test_every_header_that_can_be_received_can_be_copied(
    broker: Broker,
    admin: Admin,
    queue: str,
    dead: str,
    settings: LazyConfig,
    policy: dict[str, Any],
) -> None:
    """Fields at the ends of their ranges, among them a time before 1970."""
    settings["consumer"] = {**policy, "dead_letter": {"queue": dead}}
    headers = {
        "old": datetime(2000, 1, 1, tzinfo=UTC),
        "least": -(2**63),
        "most": 2**63 - 1,
        "price": Decimal("-21474836.48"),
        "nested": [{"": None}, [True], b"\xff"],
    }
    # Not every encoder takes such a time.
    since = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
    properties = encode_properties(BasicProperties(headers=headers, user_id=None))
    properties = properties.replace(struct.pack(">Q", since), struct.pack(">q", -14_182_980))

    async def publish() -> None:
        async with aio.connect(broker.url) as bus:
            confirmed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
            method = BasicPublish("", queue).encode()
            body = message(queue, 1)._encoded_body
            bus._supervisor.submit(Outgoing("", queue, method, properties, body, confirmed.set_result))
            assert await confirmed is None

    recorder = Recorder(fail)
    with Consuming(recorder, **plan(queue)):
        run(publish())
        eventually(lambda: admin.ready(dead) == 1)
    assert len(recorder.received) <= 3
    assert admin.ready(queue) == 0
