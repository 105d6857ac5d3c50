"""Declaring, binding, purging and deleting queues."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands
from tests.behaviour.support import Inbox, bodies, closes, consumers, exists, get, ready, roundtrip, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.peer import Peer
    from tests.support.admin import Names


def test_server_named_queue(channel: BlockingChannel) -> None:
    """For an empty name the broker makes one: amq.gen- and 22 characters."""
    made = channel.queue_declare("", exclusive=True).method.queue
    assert re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", made)


def test_server_named_queues_differ(channel: BlockingChannel) -> None:
    """The broker makes a new name each time."""
    made = {channel.queue_declare("", exclusive=True).method.queue for _ in range(20)}
    assert len(made) == 20


def test_server_named_queue_is_the_last_declared(channel: BlockingChannel) -> None:
    """An empty name then means the queue with the made name."""
    made = channel.queue_declare("", exclusive=True).method.queue
    send(channel, made, b"x")
    assert bodies(channel, "") == [b"x"]


def test_server_named_queue_may_not_be_declared_by_name(channel: BlockingChannel) -> None:
    """The broker refuses the prefix even if the queue exists, passive declares apart."""
    made = channel.queue_declare("", exclusive=True).method.queue
    assert channel.queue_declare(made, passive=True).method.queue == made
    with closes(403, f"queue name '{made}' contains reserved prefix 'amq.*'"):
        channel.queue_declare(made, exclusive=True)


@pytest.mark.parametrize("queue", ["amq.foo", "amq.", "amq.gen-foo", "amq.rabbitmq.foo"])
def test_reserved_prefix(channel: BlockingChannel, queue: str) -> None:
    """Clients may not make queues whose names begin with amq.: the broker answers 403."""
    with closes(403, f"queue name '{queue}' contains reserved prefix 'amq.*'"):
        channel.queue_declare(queue)


@pytest.mark.parametrize("queue", ["behaviour.missing", "amq.foo", "amq.gen-foo"])
def test_passive_missing(channel: BlockingChannel, queue: str) -> None:
    """A passive declare of a missing queue closes the channel with 404, also for the reserved prefix."""
    with closes(404, f"NOT_FOUND - no queue '{queue}' in vhost '/'"):
        channel.queue_declare(queue, passive=True)


@pytest.mark.parametrize(
    "settings", [{"durable": True}, {"auto_delete": True}, {"arguments": {"x-message-ttl": 5}}]
)
def test_passive_ignores_the_rest(channel: BlockingChannel, queue: str, settings: dict[str, Any]) -> None:
    """A passive declare succeeds, whatever flags and arguments it has."""
    assert channel.queue_declare(queue, passive=True, **settings).method.queue == queue


def test_declare_ok_counts_ready_messages(confirming: BlockingChannel, queue: str) -> None:
    """The answer counts ready messages only, not unacknowledged ones."""
    send(confirming, queue, b"1", b"2", b"3")
    get(confirming, queue)
    assert confirming.queue_declare(queue).method.message_count == 2


def test_declare_ok_counts_consumers(channel: BlockingChannel, queue: str) -> None:
    """The answer counts the queue's consumers."""
    assert channel.queue_declare(queue).method.consumer_count == 0
    for count in (1, 2):
        Inbox.on(channel, queue)
        assert channel.queue_declare(queue).method.consumer_count == count


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("auto_delete", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_redeclare_equal(
    channel: BlockingChannel, name: str, durable: bool, auto_delete: bool, exclusive: bool
) -> None:
    """An equal redeclare is no error."""
    for _ in range(2):
        channel.queue_declare(
            name,
            durable=durable,
            auto_delete=auto_delete,
            exclusive=exclusive,
            arguments={"x-message-ttl": 1000, "x-any": "y"},
        )


@pytest.mark.parametrize("flag", ["durable", "auto_delete"])
@pytest.mark.parametrize("current", [False, True])
def test_redeclare_differs(channel: BlockingChannel, name: str, flag: str, current: bool) -> None:
    """Another value of durable or auto_delete closes the channel with 406, which names both values."""
    channel.queue_declare(name, **{flag: current})
    text = (
        f"PRECONDITION_FAILED - inequivalent arg '{flag}' for queue '{name}' in vhost '/': "
        f"received '{str(not current).lower()}' but current is '{str(current).lower()}'"
    )
    with closes(406, text):
        channel.queue_declare(name, **{flag: not current})


@pytest.mark.parametrize("exclusive", [False, True])
def test_redeclare_differs_in_exclusive(channel: BlockingChannel, name: str, exclusive: bool) -> None:
    """Another value of exclusive closes the channel with 405, not 406."""
    channel.queue_declare(name, exclusive=exclusive)
    with closes(405, f"cannot obtain exclusive access to locked queue '{name}' in vhost '/'"):
        channel.queue_declare(name, exclusive=not exclusive)


def test_failed_redeclare_changes_nothing(connection: BlockingConnection, queue: str) -> None:
    """The queue is as it was before the refused redeclare."""
    with closes(406):
        connection.channel().queue_declare(queue, durable=True)
    connection.channel().queue_declare(queue)


def test_bind_missing_queue(channel: BlockingChannel, name: str) -> None:
    """A bind of a missing queue closes the channel with 404."""
    with closes(404, f"no queue '{name}' in vhost '/'"):
        channel.queue_bind(name, "amq.direct", "k")


def test_bind_missing_exchange(channel: BlockingChannel, queue: str) -> None:
    """A bind to a missing exchange closes the channel with 404."""
    with closes(404, f"no exchange '{queue}' in vhost '/'"):
        channel.queue_bind(queue, queue, "k")


def test_bind_duplicate(channel: BlockingChannel, queue: str) -> None:
    """The broker answers a second equal bind with bind-ok, and makes no second binding."""
    for _ in range(2):
        channel.queue_bind(queue, "amq.direct", queue + ".k")
    channel.basic_publish("amq.direct", queue + ".k", b"once")
    channel.queue_unbind(queue, "amq.direct", queue + ".k")
    channel.basic_publish("amq.direct", queue + ".k", b"never")
    assert bodies(channel, queue) == [b"once"]


@pytest.mark.parametrize("missing", ["binding", "queue", "exchange"])
def test_unbind_missing(channel: BlockingChannel, queue: str, missing: str) -> None:
    """The broker answers unbind-ok when the binding, the queue or the exchange is missing."""
    bound = queue + ".missing" if missing == "queue" else queue
    exchange = queue + ".missing" if missing == "exchange" else "amq.direct"
    channel.queue_unbind(bound, exchange, "never bound")


def test_unbind(channel: BlockingChannel, queue: str) -> None:
    """An unbind removes the binding with its key, and leaves the other."""
    for key in ("kept", "removed"):
        channel.queue_bind(queue, "amq.direct", f"{queue}.{key}")
    channel.queue_unbind(queue, "amq.direct", f"{queue}.removed")
    for key in ("kept", "removed"):
        channel.basic_publish("amq.direct", f"{queue}.{key}", key.encode())
    assert bodies(channel, queue) == [b"kept"]


def test_unbind_minds_the_arguments(channel: BlockingChannel, queue: str) -> None:
    """A binding with other arguments is another binding."""
    channel.queue_bind(queue, "amq.direct", queue + ".k", arguments={"a": 1})
    channel.queue_unbind(queue, "amq.direct", queue + ".k")
    channel.basic_publish("amq.direct", queue + ".k", b"kept")
    assert bodies(channel, queue) == [b"kept"]


def test_delete_removes_bindings(channel: BlockingChannel, queue: str) -> None:
    """A binding lasts only as long as its queue, even on a durable exchange."""
    channel.queue_bind(queue, "amq.direct", queue + ".k")
    channel.queue_delete(queue)
    channel.queue_declare(queue)
    channel.basic_publish("amq.direct", queue + ".k", b"lost")
    assert bodies(channel, queue) == []


def test_default_binding_comes_and_goes_with_the_queue(channel: BlockingChannel, name: str) -> None:
    """The default exchange knows a queue by its name once it is declared."""
    send(channel, name, b"before")
    channel.queue_declare(name)
    send(channel, name, b"during")
    assert bodies(channel, name) == [b"during"]


def test_purge_counts_and_keeps_unacked(confirming: BlockingChannel, queue: str) -> None:
    """A purge answers the count of ready messages; unacknowledged ones stay."""
    send(confirming, queue, b"held", b"2", b"3")
    held = get(confirming, queue)
    assert held
    assert confirming.queue_purge(queue).method.message_count == 2
    confirming.basic_nack(held.tag)
    assert bodies(confirming, queue) == [b"held"]


def test_purge_empty(channel: BlockingChannel, queue: str) -> None:
    """A purge of an empty queue answers the count 0."""
    assert channel.queue_purge(queue).method.message_count == 0


def test_purge_missing(channel: BlockingChannel, name: str) -> None:
    """A purge of a missing queue closes the channel with 404."""
    with closes(404, f"no queue '{name}' in vhost '/'"):
        channel.queue_purge(name)


@pytest.mark.parametrize("conditions", [{}, {"if_unused": True}, {"if_empty": True}])
def test_delete_missing(channel: BlockingChannel, name: str, conditions: dict[str, bool]) -> None:
    """The broker answers delete-ok with the count 0."""
    assert channel.queue_delete(name, **conditions).method.message_count == 0


def test_delete_counts_ready_messages(
    connection: BlockingConnection, confirming: BlockingChannel, queue: str
) -> None:
    """The answer counts the ready messages that went with the queue."""
    send(confirming, queue, b"1", b"2", b"3")
    get(confirming, queue)
    assert confirming.queue_delete(queue).method.message_count == 2
    assert not exists(connection, queue)


def test_delete_if_unused_with_a_consumer(channel: BlockingChannel, queue: str) -> None:
    """A consumer counts as use: the broker closes the channel with 406."""
    Inbox.on(channel, queue)
    with closes(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use"):
        channel.queue_delete(queue, if_unused=True)


def test_delete_if_unused(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    """Messages do not count as use."""
    send(channel, queue, b"x")
    channel.queue_delete(queue, if_unused=True)
    assert not exists(connection, queue)


def test_delete_if_empty_with_ready_messages(confirming: BlockingChannel, queue: str) -> None:
    """A ready message keeps the queue: the broker closes the channel with 406."""
    send(confirming, queue, b"x")
    with closes(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"):
        confirming.queue_delete(queue, if_empty=True)


def test_delete_if_empty_minds_ready_messages_only(
    connection: BlockingConnection, confirming: BlockingChannel, queue: str
) -> None:
    """Unacknowledged messages do not count."""
    send(confirming, queue, b"x")
    get(confirming, queue)
    confirming.queue_delete(queue, if_empty=True)
    assert not exists(connection, queue)


@pytest.mark.parametrize(("condition", "flag"), [("if_unused", "if-unused"), ("if_empty", "if-empty")])
def test_quorum_queues_are_not_deleted_under_conditions(
    channel: BlockingChannel, name: str, condition: str, flag: str
) -> None:
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    text = (
        f"cannot delete queue '{name}' in vhost '/'. queue.delete operations with {flag} flag set are not "
        "supported by quorum queues"
    )
    with closes(540, text):
        channel.queue_delete(name, **{condition: True})


def test_delete_cancels_consumers(channel: BlockingChannel, queue: str) -> None:
    """Consumers of a client with the capability get a basic.cancel."""
    cancelled: list[str] = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tags = [Inbox.on(channel, queue).tag for _ in range(2)]
    channel.queue_delete(queue)
    while len(cancelled) < 2:
        channel.connection.process_data_events(time_limit=5)
    assert sorted(cancelled) == sorted(tags)


def test_delete_sends_cancel_without_wait(peers: Callable[[], Peer], name: str) -> None:
    """The broker sends basic.cancel with no-wait: it wants no answer."""
    peer = peers().login(capabilities={"consumer_cancel_notify": True}).open_channel().open_channel(2)
    peer.call(commands.Queue.Declare(queue=name), commands.Queue.DeclareOk)
    peer.call(commands.Basic.Consume(queue=name, consumer_tag="t"), commands.Basic.ConsumeOk)
    peer.send(commands.Queue.Delete(queue=name), channel=2)
    # Different channels have no mutual order.
    answers = dict(peer.read_method() for _ in range(2))
    assert isinstance(answers[2], commands.Queue.DeleteOk)
    cancel = answers[1]
    assert isinstance(cancel, commands.Basic.Cancel)
    assert (cancel.consumer_tag, cancel.nowait) == ("t", True)


@pytest.mark.parametrize("capabilities", [{}, {"consumer_cancel_notify": False}])
def test_delete_is_silent_without_the_capability(
    peers: Callable[[], Peer], name: str, capabilities: dict[str, bool]
) -> None:
    """The broker sends no basic.cancel to a client without consumer_cancel_notify."""
    peer = peers().login(capabilities={**capabilities}).open_channel()
    peer.call(commands.Queue.Declare(queue=name), commands.Queue.DeclareOk)
    peer.call(commands.Basic.Consume(queue=name, consumer_tag="t"), commands.Basic.ConsumeOk)
    peer.call(commands.Queue.Delete(queue=name), commands.Queue.DeleteOk)
    peer.roundtrip()
    peer.call(commands.Basic.Cancel(consumer_tag="t"), commands.Basic.CancelOk)


def test_tag_is_free_after_a_broker_cancel(channel: BlockingChannel, queue: str, names: Names) -> None:
    """The consumer is gone, and with it the unacknowledged messages of the queue."""
    send(channel, queue, b"lost")
    inbox = Inbox.on(channel, queue, consumer_tag="t")
    lost = inbox.wait(1)[0]
    channel.queue_delete(queue)
    inbox.settle()
    channel.basic_ack(lost.tag)
    other = names("other")
    channel.queue_declare(other)
    send(channel, other, b"x")
    assert Inbox.on(channel, other, consumer_tag="t").wait(1)[0].body == b"x"


def test_redeclared_queue_starts_empty(channel: BlockingChannel, queue: str) -> None:
    """Messages and consumers go with the deleted queue."""
    send(channel, queue, b"1", b"2")
    channel.queue_delete(queue)
    channel.queue_declare(queue)
    assert (ready(channel, queue), consumers(channel, queue)) == (0, 0)


def test_publish_to_a_deleted_queue_is_unroutable(channel: BlockingChannel, queue: str) -> None:
    """Without mandatory the broker drops the message without an error."""
    channel.queue_delete(queue)
    send(channel, queue, b"x")
    roundtrip(channel)
    assert channel.is_open
