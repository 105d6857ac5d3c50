"""Transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pamqp import commands
from tests.behaviour.support import Inbox, bodies, closes, ready, roundtrip, send, take
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.peer import Peer


@pytest.fixture
def transaction(connection: BlockingConnection) -> BlockingChannel:
    """A transactional channel; `channel` is another one of the same connection."""
    made = connection.channel()
    made.tx_select()
    return made


def test_publishes_wait_for_commit(
    transaction: BlockingChannel, channel: BlockingChannel, queue: str
) -> None:
    """The broker holds publishes until tx.commit."""
    send(transaction, queue, b"1", b"2")
    roundtrip(transaction)
    assert ready(channel, queue) == 0
    transaction.tx_commit()
    assert bodies(channel, queue) == [b"1", b"2"]


def test_rollback_drops_publishes(transaction: BlockingChannel, channel: BlockingChannel, queue: str) -> None:
    """A rollback drops the publishes; the next transaction is clean."""
    send(transaction, queue, b"dropped")
    transaction.tx_rollback()
    send(transaction, queue, b"kept")
    transaction.tx_commit()
    assert bodies(channel, queue) == [b"kept"]


def test_commit_begins_the_next_transaction(
    transaction: BlockingChannel, channel: BlockingChannel, queue: str
) -> None:
    """After a commit the channel stays transactional."""
    send(transaction, queue, b"committed")
    transaction.tx_commit()
    send(transaction, queue, b"pending")
    roundtrip(transaction)
    assert bodies(channel, queue) == [b"committed"]


def test_select_may_be_repeated(transaction: BlockingChannel, channel: BlockingChannel, queue: str) -> None:
    """A second tx.select changes nothing."""
    send(transaction, queue, b"x")
    transaction.tx_select()
    transaction.tx_commit()
    assert bodies(channel, queue) == [b"x"]


def test_empty_commit_and_rollback(transaction: BlockingChannel) -> None:
    """A commit or rollback with nothing to do is no error."""
    transaction.tx_commit()
    transaction.tx_rollback()
    transaction.tx_commit()


@pytest.mark.parametrize("method", ["tx_commit", "tx_rollback"])
def test_without_select(channel: BlockingChannel, method: str) -> None:
    """A commit or rollback without tx.select closes the channel with 406."""
    with closes(406, "channel is not transactional"):
        getattr(channel, method)()


@pytest.mark.parametrize("end", ["tx_commit", "tx_rollback", None])
def test_acks_wait_for_commit(
    transaction: BlockingChannel, channel: BlockingChannel, queue: str, end: str | None
) -> None:
    """The broker holds acks until tx.commit; to close the channel without it is a rollback."""
    send(channel, queue, b"x")
    transaction.basic_ack(take(transaction, queue).tag)
    if end:
        getattr(transaction, end)()
    transaction.close()
    if end == "tx_commit":
        assert bodies(channel, queue) == []
    else:
        assert take(channel, queue).redelivered


def test_rolled_back_ack_may_be_sent_again(
    transaction: BlockingChannel, channel: BlockingChannel, queue: str
) -> None:
    """After a rollback the client may send the ack again."""
    send(channel, queue, b"x")
    tag = take(transaction, queue).tag
    transaction.basic_ack(tag)
    transaction.tx_rollback()
    transaction.basic_ack(tag)
    transaction.tx_commit()
    transaction.close()
    assert bodies(channel, queue) == []


def test_rollback_does_not_requeue(
    transaction: BlockingChannel, channel: BlockingChannel, queue: str
) -> None:
    """A rollback does not take deliveries back."""
    send(channel, queue, b"x")
    take(transaction, queue)
    transaction.tx_rollback()
    assert ready(channel, queue) == 0


@pytest.mark.parametrize("requeue", [False, True])
def test_nacks_wait_for_commit(
    transaction: BlockingChannel, channel: BlockingChannel, queue: str, requeue: bool
) -> None:
    """The broker holds nacks and rejects like acks."""
    send(channel, queue, b"1", b"2")
    for how in (transaction.basic_nack, transaction.basic_reject):
        how(take(transaction, queue).tag, requeue=requeue)
    roundtrip(transaction)
    assert ready(channel, queue) == 0
    transaction.tx_commit()
    transaction.close()
    eventually(lambda: ready(channel, queue) == 2 * requeue)
    assert bodies(channel, queue) == [b"1", b"2"] * requeue


def test_held_acks_make_no_room(
    transaction: BlockingChannel, confirming: BlockingChannel, queue: str
) -> None:
    """The prefetch window opens at the commit, not at the ack."""
    send(confirming, queue, b"1", b"2")
    transaction.basic_qos(prefetch_count=1)
    inbox = Inbox.on(transaction, queue)
    transaction.basic_ack(inbox.wait(1)[0].tag)
    roundtrip(transaction)
    assert ready(confirming, queue) == 1
    transaction.tx_commit()
    inbox.wait(2)


def test_close_is_a_rollback(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    """The broker drops the publishes of a channel that closes without a commit."""
    transaction = connection.channel()
    transaction.tx_select()
    send(transaction, queue, b"x")
    transaction.close()
    send(channel, queue, b"later")
    assert bodies(channel, queue) == [b"later"]


def test_missing_exchange_surfaces_at_publish(transaction: BlockingChannel, name: str) -> None:
    """The error of a missing exchange does not wait for the commit."""
    transaction.basic_publish(name, "", b"x")
    with closes(404, f"no exchange '{name}' in vhost '/'"):
        roundtrip(transaction)


def test_unknown_tag_surfaces_at_ack(transaction: BlockingChannel) -> None:
    """The error of an unknown delivery tag does not wait for the commit."""
    transaction.basic_ack(99)
    with closes(406, "unknown delivery tag 99"):
        roundtrip(transaction)


def test_unroutable_is_returned_at_commit(peer: Peer, name: str) -> None:
    """The broker routes a message at the commit, and returns a mandatory one then."""
    peer.call(commands.Tx.Select(), commands.Tx.SelectOk)
    peer.publish(b"x", routing_key=name, mandatory=True)
    peer.roundtrip()
    peer.send(commands.Tx.Commit())
    seen = []
    for _ in range(2):
        _, method = peer.read_method()
        seen.append(method.name)
        if isinstance(method, commands.Basic.Return):
            assert peer.read_content().body == b"x"
    assert sorted(seen) == ["Basic.Return", "Tx.CommitOk"]


def test_persistent_messages(transaction: BlockingChannel, channel: BlockingChannel, name: str) -> None:
    """After commit-ok all persistent messages are in the durable queue."""
    channel.queue_declare(name, durable=True)
    send(transaction, name, *[str(number) for number in range(50)], delivery_mode=2)
    transaction.tx_commit()
    assert bodies(channel, name) == [str(number).encode() for number in range(50)]


def test_publish_and_ack_in_one_transaction(
    transaction: BlockingChannel, channel: BlockingChannel, queue: str, name: str
) -> None:
    """The usual step of a pipeline: one commit takes a message and hands on the next."""
    send(channel, queue, b"in")
    message = take(transaction, queue)
    send(transaction, queue, b"out")
    transaction.basic_ack(message.tag)
    transaction.tx_commit()
    transaction.close()
    eventually(lambda: ready(channel, queue) == 1)
    assert bodies(channel, queue) == [b"out"]
