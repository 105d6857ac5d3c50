"""What RabbitMQ 4.3 still knows of a message, and of the order of bindings, after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.test_durability import channel, persistent

if TYPE_CHECKING:
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

QUORUM = {"x-queue-type": "quorum"}
ACQUIRED, FAILED = "x-acquired-count", "x-delivery-count"


def counts(opened: BlockingChannel, queue: str = "q") -> tuple[int, dict[str, int]]:
    """Take a message; returns its delivery tag and the counts of its deliveries."""
    method, properties, _ = opened.basic_get(queue)
    assert method is not None
    headers: dict[str, Any] = properties.headers or {}
    return method.delivery_tag, {name: headers[name] for name in (ACQUIRED, FAILED) if name in headers}


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        (["nack"], {ACQUIRED: 1}),
        (["reject"], {ACQUIRED: 1, FAILED: 1}),
        (["reject", "nack"], {ACQUIRED: 2, FAILED: 1}),
        (["nack", "nack", "reject"], {ACQUIRED: 3, FAILED: 1}),
        # It is out when the broker stops: that delivery failed.
        (["nothing"], {ACQUIRED: 1, FAILED: 1}),
        (["nack", "nothing"], {ACQUIRED: 2, FAILED: 1}),
    ],
)
def test_both_counts_of_a_quorum_queue_go_on(
    tmp_path: Path, returns: list[str], expected: dict[str, int]
) -> None:
    with channel(tmp_path) as opened:
        opened.queue_declare("q", durable=True, arguments=QUORUM)
        opened.basic_publish("", "q", b"x", persistent())
        for way in returns:
            tag, _ = counts(opened)
            if way == "nack":
                opened.basic_nack(tag)
            elif way == "reject":
                opened.basic_reject(tag)
    with channel(tmp_path) as opened:
        _, found = counts(opened)
    assert found == expected


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, id="classic"),
        pytest.param(QUORUM, id="quorum"),
    ],
)
def test_dead_letter_that_was_delivered_before_is_still_marked(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    dead_letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    with channel(tmp_path) as opened:
        opened.queue_declare("q", durable=True, arguments={**QUORUM, **dead_letters})
        opened.queue_declare("dead", durable=True, arguments=arguments)
        opened.basic_publish("", "q", b"x", persistent())
        opened.basic_reject(counts(opened)[0], requeue=False)
    with channel(tmp_path) as opened:
        method, _, _ = opened.basic_get("dead")
    assert method.redelivered


def test_consistent_hash_exchange_keeps_the_order_of_its_bindings(tmp_path: Path) -> None:
    """As RabbitMQ 4.3 does; a message must not go to another queue because the broker was restarted."""
    keys = [f"key-{number}" for number in range(30)]

    def spread(opened: BlockingChannel) -> list[str]:
        """Publish with each key; returns where the messages went."""
        for key in keys:
            opened.basic_publish("hash", key, key.encode())
        went = {}
        for queue in ("a", "b", "c"):
            while (got := opened.basic_get(queue, auto_ack=True))[0] is not None:
                went[got[2].decode()] = queue
        return [went[key] for key in keys]

    with channel(tmp_path) as opened:
        opened.exchange_declare("hash", "x-consistent-hash", durable=True)
        for queue in ("b", "c", "a"):
            opened.queue_declare(queue, durable=True)
            opened.queue_bind(queue, "hash", "1")
        before = spread(opened)
    with channel(tmp_path) as opened:
        after = spread(opened)
    assert after == before
