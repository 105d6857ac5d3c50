"""The outbox: publishing while there is no broker, limits, order, and who sends (P17)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.client.support import message, run
from tests.support.proxy import BASIC_PUBLISH, DOWN, START_OK, Proxy
from tests.support.waiting import WAIT, eventually, soon

from fedora_messaging import aio, api, signals
from fedora_messaging.client.outbox import table
from fedora_messaging.client.outbox.store import OutboxStore
from fedora_messaging.client.publishing.outgoing import Encoded
from fedora_messaging.exceptions import (
    ConfigurationException,
    EncodingError,
    OutboxError,
    OutboxFull,
    PublishTimeout,
)
from fedora_messaging.message import Message
from fedora_messaging.options import OutboxOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

    from fedora_messaging.config import LazyConfig


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the outbox is."""
    return str(tmp_path / "deep" / "outbox.db")


@pytest.fixture
def outbox(path: str, proxied_service: None, settings: LazyConfig) -> None:
    """`api` has an outbox, and reaches the broker by way of the proxy."""
    settings["outbox"] = {"path": path}


def waiting(path: str) -> int:
    """How many messages are in the file."""
    database = sqlite3.connect(path)
    try:
        return int(database.execute(f"SELECT count(*) FROM {table.NAME}").fetchone()[0])
    finally:
        database.close()


def taken(admin: Admin, queue: str) -> list[int]:
    """Numbers of the messages in a queue, which is emptied."""
    return [json.loads(body)["number"] for body in admin.take(queue)]


@pytest.mark.parametrize("how", ["deleted", "renamed", "replaced"])
@pytest.mark.usefixtures("outbox")
def test_p17_a_file_that_is_not_at_its_path(
    proxy: Proxy, admin: Admin, queue: str, path: str, how: str
) -> None:
    """Nothing more is taken into a file that nobody will find; what is in it is sent nevertheless."""
    proxy.refuse()
    api.publish(message(queue, 1), timeout=WAIT)
    file, aside = Path(path), Path(f"{path}.aside")
    file.rename(aside)
    if how == "deleted":
        aside.unlink()
    elif how == "replaced":
        file.write_bytes(aside.read_bytes())
    with pytest.raises(OutboxError, match="was deleted, renamed or replaced"):
        api.publish(message(queue, 2), timeout=WAIT)
    proxy.resume()
    eventually(lambda: admin.ready(queue) == 1)
    if how == "renamed":
        aside.rename(file)
        api.publish(message(queue, 3), timeout=WAIT)
        eventually(lambda: admin.ready(queue) == 2)
    assert taken(admin, queue) == ([1, 3] if how == "renamed" else [1])


def test_p17_the_write_ahead_log_shrinks(path: str) -> None:
    """A reader makes it grow with all that is written meanwhile; without the reader it becomes small."""
    store = OutboxStore(OutboxOptions(path=path), lambda: None)
    log = Path(f"{path}-wal")

    def put(size: int) -> None:
        encoded = Encoded("amq.topic", "t", b"", b"", b"x" * size, False)
        store.put(table.values_of(encoded)).result(WAIT)

    put(1)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute(f"SELECT count(*) FROM {table.NAME}").fetchone()
        for _ in range(20):
            put(1_000_000)
        assert log.stat().st_size > 20_000_000
    put(1)
    assert log.stat().st_size < 17_000_000
    store.close().result(WAIT)


@pytest.mark.usefixtures("outbox")
def test_p17_publish_while_the_broker_is_away(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, path: str
) -> None:
    """It returns at once; what it took is there after a restart, and arrives in order."""
    proxy.refuse()
    sent = [message(queue, number) for number in range(20)]
    for one in sent[:10]:
        api.publish(one, timeout=WAIT)
    api.close()
    assert waiting(path) == 10
    for one in sent[10:]:
        api.publish(one, timeout=WAIT)
    proxy.resume()
    eventually(lambda: waiting(path) == 0)
    assert taken(admin, queue) == list(range(20))


@pytest.mark.usefixtures("outbox")
def test_what_arrives_is_what_was_published(broker: Broker, admin: Admin, queue: str, path: str) -> None:
    sent = Message(topic=f"{queue}.ä", body={"text": "é"}, headers={"canary": 5}, severity=api.SEVERITIES[3])
    api.publish(sent)
    method, properties, body = eventually(
        lambda: (got := admin.channel.basic_get(queue, auto_ack=True))[0] is not None and got
    )
    assert (method.exchange, method.routing_key) == ("amq.topic", sent.topic)
    assert (properties.message_id, properties.headers, body) == (sent.id, sent._headers, sent._encoded_body)
    assert properties.delivery_mode == 2


@pytest.mark.usefixtures("outbox")
def test_nothing_connects_for_nothing(proxy: Proxy, settings: LazyConfig, broker: Broker, path: str) -> None:
    """Mistakes are told before anything is stored."""
    with pytest.raises(jsonschema.ValidationError):
        api.publish(Message(topic="t", body="text"))
    with pytest.raises(EncodingError):
        api.publish(Message(topic="x" * 256))
    with pytest.raises(TypeError):
        api.publish(Message(topic="t", body={"odd": object()}))
    with pytest.raises(PublishTimeout):
        api.publish(message("nowhere"), timeout=0)
    eventually(lambda: api._twisted_service.outbox.sending)
    eventually(lambda: api._twisted_service.snapshot().outbox.messages == 0)
    assert proxy.count(START_OK) <= 1


@pytest.mark.usefixtures("outbox")
def test_signals(queue: str, broker: Broker, settings: LazyConfig) -> None:
    """A message that is in the outbox counts as published."""
    heard: list[str] = []

    def on_success(sender: object, message: Message) -> None:
        heard.append("published")

    def on_failure(sender: object, message: Message, reason: Exception) -> None:
        heard.append(type(reason).__name__)

    with (
        signals.publish_signal.connected_to(on_success),
        signals.publish_failed_signal.connected_to(on_failure),
    ):
        api.publish(message(queue))
        settings["outbox"] = {**settings["outbox"], "max_bytes": 1}
        api.close()
        with pytest.raises(OutboxFull):
            api.publish(message(queue))
    assert heard == ["published", "OutboxFull"]


# Limits


@pytest.mark.usefixtures("outbox")
@pytest.mark.parametrize(
    ("limits", "accepted", "complaint"),
    [
        ({"max_messages": 3}, 3, r"it holds 3 messages \(max_messages\)"),
        ({"max_bytes": 100_000}, 3, r"it holds 9\d+ bytes of at most 100000 \(max_bytes\)"),
    ],
)
def test_full_outbox(
    broker: Broker,
    proxy: Proxy,
    admin: Admin,
    queue: str,
    path: str,
    settings: LazyConfig,
    limits: dict[str, int],
    accepted: int,
    complaint: str,
) -> None:
    """A clear error; nothing of what was taken is lost, and there is room again when it was sent."""
    settings["outbox"] = {**settings["outbox"], **limits}
    proxy.refuse()
    for number in range(accepted):
        api.publish(message(queue, number, text="x" * 30_000))
    for _ in range(2):
        with pytest.raises(OutboxFull, match=complaint) as caught:
            api.publish(message(queue, 9, text="x" * 30_000))
    assert path in str(caught.value)
    proxy.resume()
    eventually(lambda: waiting(path) == 0)
    api.publish(message(queue, 10))
    eventually(lambda: waiting(path) == 0)
    assert taken(admin, queue) == [*range(accepted), 10]


@pytest.mark.usefixtures("outbox")
def test_many_threads_share_commits(broker: Broker, admin: Admin, queue: str, path: str) -> None:
    errors: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 20):
                api.publish(message(queue, number), timeout=2 * WAIT)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(20 * n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * WAIT)
    assert errors == []
    eventually(lambda: waiting(path) == 0, 2 * WAIT)
    assert sorted(taken(admin, queue)) == list(range(400))


# Order, refusals


def test_p17_order_of_each_topic_over_connections_that_break(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, path: str, settings: LazyConfig
) -> None:
    """Duplicates there may be; what comes first is in order."""
    topics = [f"{queue}.{name}" for name in "abc"]
    settings["amqp_url"] = proxy.url()
    settings["outbox"] = {"path": path}
    try:
        for number in range(60):
            for topic in topics:
                api.publish(Message(topic=topic, body={"number": number}))
            if number % 15 == 7:
                proxy.cut()
        eventually(lambda: waiting(path) == 0, 4 * WAIT)
    finally:
        api.close()
    first: dict[str, list[int]] = defaultdict(list)
    while True:
        method, _properties, body = admin.channel.basic_get(queue, auto_ack=True)
        if method is None:
            break
        number = json.loads(body)["number"]
        if number not in first[method.routing_key]:
            first[method.routing_key].append(number)
    assert first == {topic: list(range(60)) for topic in topics}


@pytest.mark.usefixtures("outbox")
def test_message_that_the_broker_does_not_take(
    broker: Broker, admin: Admin, queue: str, name: str, path: str, names: Names
) -> None:
    """Its topic waits, the others go on; it is sent when the broker takes it."""
    exchange = names()
    api.publish(message(queue, 1), exchange)
    api.publish(message(queue, 2), exchange)
    api.publish(message(queue, 3))
    # Perhaps twice: what was under way when the broker refused another message is sent again.
    eventually(lambda: admin.ready(queue))
    failures = eventually(lambda: api._twisted_service.outbox.store.failures(10).result(WAIT))
    assert [(one.topic.exchange, one.topic.routing_key) for one in failures] == [(exchange, f"{queue}.test")]
    assert failures[0].error.startswith("ExchangeNotFound: (404)")
    eventually(lambda: waiting(path) == 2)
    admin.channel.exchange_declare(exchange, "topic")
    admin.channel.queue_bind(queue, exchange, "#")
    eventually(lambda: waiting(path) == 0)
    assert list(dict.fromkeys(taken(admin, queue))) == [3, 1, 2]


def test_message_that_fits_into_no_frame_keeps_none_waiting(
    broker: Broker, admin: Admin, queue: str, path: str, settings: LazyConfig
) -> None:
    """What the broker would close the connection for is set aside, and told; all the others arrive."""
    settings["outbox"] = {"path": path}
    settings["amqp_url"] = f"{broker.url}?frame_max=8192"
    try:
        for number in range(5):
            big = Message(topic=f"{queue}.test", body={"number": number}, headers={"big": "x" * 9000})
            api.publish(big if number % 2 else message(queue, number))
        found: list[int] = []

        def came(count: int) -> bool:
            found.extend(taken(admin, queue))
            return len(found) >= count

        eventually(lambda: came(3))
        store = api._twisted_service.outbox.store
        eventually(lambda: len(store.failures(10).result(WAIT)) == 2)
        failures = store.failures(10).result(WAIT)
        assert all("frame_max is 8192" in one.error and one.attempts == 1 for one in failures)
        # What comes later is not kept waiting either.
        api.publish(message(queue, 5))
        eventually(lambda: came(4))
        assert found == [0, 2, 4, 5]
        # The last message is in its queue a moment before its confirm removes it from the outbox.
        eventually(lambda: waiting(path) == 2)
        assert [one.attempts for one in store.failures(10).result(WAIT)] == [1, 1]
        assert api._twisted_service.snapshot().reconnects == 0
    finally:
        api.close()


def test_message_that_no_broker_takes_is_refused_before_it_is_stored(
    path: str, settings: LazyConfig, queue: str, service: None
) -> None:
    settings["outbox"] = {"path": path}
    with pytest.raises(EncodingError, match="room for 131052"):
        api.publish(Message(topic=f"{queue}.test", headers={"big": "x" * 131_072}))


@pytest.mark.usefixtures("outbox")
def test_full_queue_is_offered_its_messages_again(broker: Broker, admin: Admin, name: str, path: str) -> None:
    admin.declare(name, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    for number in range(3):
        api.publish(message(name, number))
    found: list[int] = []

    def all_came() -> bool:
        found.extend(taken(admin, name))
        return len(found) >= 3

    eventually(all_came, 2 * WAIT)
    assert found == [0, 1, 2]


def test_mandatory_messages_wait_for_a_queue(
    broker: Broker, admin: Admin, name: str, path: str, service: None, settings: LazyConfig
) -> None:
    settings["outbox"] = {"path": path}
    settings["publisher"] = {"mandatory": True}
    api.publish(message(name, 1))
    eventually(lambda: api._twisted_service.outbox.store.failures(10).result(WAIT))
    admin.declare(name)
    eventually(lambda: waiting(path) == 0)
    assert taken(admin, name) == [1]


# Trouble with the file


@pytest.mark.usefixtures("outbox")
def test_messages_that_cannot_be_removed_are_not_sent_again_and_again(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, path: str
) -> None:
    """As on a disk that is full: at the broker's speed it would have thousands of copies."""
    proxy.refuse()
    api.publish(message(queue, 1))
    with sqlite3.connect(path) as database:
        database.execute(
            f"CREATE TRIGGER canary BEFORE DELETE ON {table.NAME} BEGIN SELECT RAISE(ABORT, 'canary'); END"
        )
    proxy.resume()
    eventually(lambda: admin.ready(queue) == 1)
    eventually(lambda: "cannot be removed" in api._twisted_service.outbox.trouble)
    with pytest.raises(OutboxError, match="canary"):
        api.publish(message(queue, 2))
    with database:
        database.execute("DROP TRIGGER canary")
    database.close()
    api.publish(message(queue, 3))
    eventually(lambda: waiting(path) == 0)
    assert taken(admin, queue) == [1, 3]


@pytest.mark.usefixtures("outbox")
def test_file_that_somebody_has_locked(broker: Broker, admin: Admin, queue: str, path: str) -> None:
    """It is waited for."""
    api.publish(message(queue, 0))
    eventually(lambda: waiting(path) == 0)
    database = sqlite3.connect(path)
    database.execute("BEGIN IMMEDIATE")
    publishing = threading.Thread(target=api.publish, args=(message(queue, 1), None, 2 * WAIT))
    publishing.start()
    with pytest.raises(PublishTimeout):
        api.publish(message(queue, 2), timeout=0.1)
    database.rollback()
    database.close()
    publishing.join(2 * WAIT)
    eventually(lambda: waiting(path) == 0)
    # The other one was given up before it was stored, or not, which its caller was told.
    assert set(taken(admin, queue)) | {2} == {0, 1, 2}


# asyncio


def test_aio(broker: Broker, proxy: Proxy, admin: Admin, queue: str, path: str, settings: LazyConfig) -> None:
    settings["outbox"] = {"path": path}

    async def main() -> None:
        proxy.refuse()
        async with aio.connect(proxy.url(), timeout=0.2) as bus:
            await asyncio.gather(*[bus.publish(message(queue, number)) for number in range(100)])
            proxy.resume()
            await soon(lambda: waiting(path) == 0)
        proxy.refuse()
        async with aio.connect(proxy.url()) as bus:
            await bus.publish(message(queue, 100))
            with pytest.raises(PublishTimeout):
                await bus.publish(message(queue, 101), timeout=0)

    run(main())
    assert waiting(path) == 1
    assert taken(admin, queue) == list(range(100))


def test_aio_publish_that_is_cancelled(broker: Broker, queue: str, path: str, settings: LazyConfig) -> None:
    """Nobody who asks the outbox afterwards suffers."""
    settings["outbox"] = {"path": path}

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            tasks = [asyncio.create_task(bus.publish(message(queue, number))) for number in range(50)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await bus.publish(message(queue, 100))
            await soon(lambda: waiting(path) == 0)

    run(main())


def test_closing_gives_messages_a_chance(
    broker: Broker, admin: Admin, queue: str, path: str, service: None, settings: LazyConfig
) -> None:
    settings["outbox"] = {"path": path}
    api.publish(message(queue, 0))
    eventually(lambda: waiting(path) == 0)
    for number in range(1, 200):
        api.publish(message(queue, number))
    api.close()
    assert waiting(path) == 0
    assert taken(admin, queue) == list(range(200))


def test_confirm_that_does_not_come_is_waited_for_by_nobody(
    broker: Broker, proxy: Proxy, queue: str, path: str, proxied_service: None, settings: LazyConfig
) -> None:
    """Closing ends, and what was sent and not confirmed stays in the outbox."""
    settings["outbox"] = {"path": path}
    proxy.stall_at(BASIC_PUBLISH, DOWN)
    api.publish(message(queue, 0))
    eventually(lambda: proxy.count(BASIC_PUBLISH) == 1)
    begin = time.monotonic()
    api.close()
    assert time.monotonic() - begin < 2 * WAIT
    assert waiting(path) == 1


# Settings


@pytest.mark.parametrize(
    ("settings_", "complaint"),
    [
        ({}, 'needs either "path"'),
        ({"path": "a", "url": "b"}, 'needs either "path"'),
        ({"path": ""}, '"path" in \\[outbox\\] must be text'),
        ({"path": "a", "max_messages": 0}, "max_messages"),
        ({"path": "a", "max_age": "long"}, "max_age"),
        ({"path": "a", "maximum": 5}, "does not know maximum"),
    ],
)
def test_mistakes(settings: LazyConfig, settings_: dict[str, Any], complaint: str) -> None:
    settings["outbox"] = settings_
    with pytest.raises(ConfigurationException, match=complaint):
        api.publish(message("nowhere"))


@pytest.fixture(autouse=True)
def nothing_is_recorded_by_others() -> Iterator[None]:
    yield
    api.close()
