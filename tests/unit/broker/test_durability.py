"""What a broker with a data directory remembers over a restart (BROKER_SPEC section 4.3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from fedora_messaging.broker import Broker, BrokerError


@contextmanager
def channel(data: Path) -> Iterator[BlockingChannel]:
    with Broker(data=data) as broker:
        connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
        opened = connection.channel()
        opened.confirm_delivery()
        yield opened
        connection.close()


def persistent(**properties: Any) -> pika.BasicProperties:
    return pika.BasicProperties(delivery_mode=2, **properties)


def drain(opened: BlockingChannel, queue: str) -> list[bytes]:
    found = []
    while (got := opened.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(got[2])
    return found


def test_restart_keeps_what_is_durable(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        opened.exchange_declare("kept", "fanout", durable=True)
        opened.exchange_declare("transient", "fanout")
        opened.queue_declare("q", durable=True, arguments={"x-max-priority": 5})
        opened.queue_declare("transient")
        opened.queue_bind("q", "kept")
        opened.queue_bind("q", "amq.topic", "a.#")
        opened.basic_publish("kept", "", b"low", persistent(priority=1))
        opened.basic_publish("amq.topic", "a.b", b"high", persistent(priority=4, expiration="600000"))
        opened.basic_publish("", "q", b"lost", pika.BasicProperties(delivery_mode=1))
    with channel(tmp_path) as opened:
        opened.exchange_declare("kept", passive=True)
        opened.queue_declare("q", passive=True)
        opened.basic_publish("kept", "", b"new", persistent())
        opened.basic_publish("amq.topic", "a", b"newer", persistent())
        assert drain(opened, "q") == [b"high", b"low", b"new", b"newer"]
    with channel(tmp_path) as opened:
        assert drain(opened, "q") == []


@pytest.mark.parametrize("name", ["transient", "exclusive"])
def test_restart_forgets_what_is_not(tmp_path: Path, name: str) -> None:
    with channel(tmp_path) as opened:
        opened.queue_declare(name, durable=name == "exclusive", exclusive=name == "exclusive")
        opened.basic_publish("", name, b"x", persistent())
    with channel(tmp_path) as opened, pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue"):
        opened.queue_declare(name, passive=True)


def test_deleted_things_stay_deleted(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        opened.exchange_declare("e", "topic", durable=True)
        for queue in ("q", "r"):
            opened.queue_declare(queue, durable=True)
            opened.queue_bind(queue, "e", "k")
            opened.basic_publish("", queue, b"x", persistent())
        opened.basic_publish("e", "k", b"both", persistent())
        opened.queue_delete("q")
        opened.queue_unbind("r", "e", "k")
        opened.exchange_delete("e")
    with channel(tmp_path) as opened:
        assert drain(opened, "r") == [b"x", b"both"]
        opened.exchange_declare("e", "topic", durable=True)
        opened.basic_publish("e", "k", b"nowhere", persistent())
        assert drain(opened, "r") == []


def test_messages_that_were_out_are_marked_as_redelivered(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        opened.queue_declare("q", durable=True)
        for body in (b"out", b"never out"):
            opened.basic_publish("", "q", body, persistent())
        assert opened.basic_get("q")[2] == b"out"
    with channel(tmp_path) as opened:
        first, second = opened.basic_get("q"), opened.basic_get("q")
        assert (first[2], first[0].redelivered) == (b"out", True)
        assert (second[2], second[0].redelivered) == (b"never out", False)


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        opened.queue_declare("ä €", durable=True)
        opened.basic_publish("", "ä €", b"x", persistent())
    with channel(tmp_path) as opened:
        assert drain(opened, "ä €") == [b"x"]


def test_newer_layout_is_refused(tmp_path: Path) -> None:
    import sqlite3

    with channel(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / "broker.sqlite")
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'version'")
    connection.commit()
    connection.close()
    with pytest.raises(BrokerError, match="newer version"), Broker(data=tmp_path):
        pass


def test_file_that_is_no_data_file(tmp_path: Path) -> None:
    (tmp_path / "broker.sqlite").write_bytes(b"something else entirely, and long enough to be looked at" * 50)
    with pytest.raises(BrokerError, match="not a broker's data file"), Broker(data=tmp_path):
        pass
