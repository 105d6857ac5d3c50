"""A channel of the broker: consumers, prefetch, acknowledgements, and the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.support import Client, MemoryServer, SlowJournal, Told, publish

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.broker.core.stream import StreamQueue
from fedora_messaging.broker.reply_to import REPLY_TO
from fedora_messaging.protocol.errors import ChannelError, ConnectionError
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    import asyncio

    from fedora_messaging.broker.core.queue import Queue
    from fedora_messaging.wire.methods import Method

CANCELLING = {"capabilities": {"consumer_cancel_notify": True}}


def declare(client: Client, name: str = "q", count: int = 0, **options: Any) -> Queue:
    """Declare a queue and publish bodies 1, 2, ... to it."""
    queue = client.session.vhost.declare_queue(QueueDeclaration(name, **options), owner=None)
    for number in range(1, count + 1):
        client.feed(publish("", name, str(number).encode()))
    return queue


def deliveries(told: list[Told]) -> list[tuple[str, int, bool, bytes]]:
    """Return consumer tag, delivery tag, redelivered and body."""
    return [
        (one.method.consumer_tag, one.method.delivery_tag, bool(one.method.redelivered), one.body)
        for one in told
        if isinstance(one.method, m.BasicDeliver)
    ]


def kinds(told: list[Told]) -> list[str]:
    return [one.method.name for one in told]


def stream_with_consumer(client: Client, count: int, prefetch: int) -> Queue:
    """Declare a stream s with messages, and have channel 1 consume it from its beginning."""
    queue = declare(client, "s", count, durable=True, arguments={"x-queue-type": "stream"})
    client.ask(m.BasicQos(0, prefetch))
    client.send(m.BasicConsume("s", "t", arguments={"x-stream-offset": "first"}))
    return queue


# Names of queues


def test_empty_name_is_the_queue_declared_last(client: Client) -> None:
    channel = client.channel
    with pytest.raises(ChannelError) as caught:
        channel.resolve("")
    assert caught.value.reply_text == "NOT_FOUND - no previously declared queue"
    for name in ("first", "last"):
        client.ask(m.QueueDeclare(name))
    assert channel.resolve("") == "last"
    assert channel.resolve("first") == "first"
    assert channel.resolve("not even there") == "not even there"
    assert channel.usable_queue("") is client.session.vhost.queues["last"]


def test_queue_of_another_connection_is_not_usable(client: Client, server: MemoryServer) -> None:
    Client(server).login().ask(m.QueueDeclare("q", exclusive=True))
    with pytest.raises(ChannelError, match="exclusive access to locked queue 'q' in vhost '/'") as caught:
        client.channel.usable_queue("q")
    assert caught.value.reply_code == 405


# Consuming


def test_answer_comes_before_the_deliveries(client: Client) -> None:
    declare(client, count=2)
    told = client.send(m.BasicConsume("q", "t"))
    assert kinds(told) == ["basic.consume-ok", "basic.deliver", "basic.deliver"]
    assert deliveries(told) == [("t", 1, False, b"1"), ("t", 2, False, b"2")]


def test_no_wait_leaves_out_the_answer_only(client: Client) -> None:
    declare(client, count=1)
    assert kinds(client.send(m.BasicConsume("q", "t", no_wait=True))) == ["basic.deliver"]
    assert client.send(m.BasicCancel("t", no_wait=True)) == []
    assert client.channel.consumers == {}


def test_refused_consumer_leaves_nothing_behind(client: Client) -> None:
    queue = declare(client)
    channel = client.channel
    client.ask(m.BasicConsume("q", "t"))
    for refused, text in (
        (m.BasicConsume("q", "t"), "NOT_ALLOWED - attempt to reuse consumer tag 't'"),
        (
            m.BasicConsume("q", "other", arguments={"x-priority": True}),
            "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': "
            '"expected integer, got bool"',
        ),
        (
            m.BasicConsume("q", "other", exclusive=True),
            "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use",
        ),
        (m.BasicConsume("none", "other"), "NOT_FOUND - no queue 'none' in vhost '/'"),
    ):
        with pytest.raises((ChannelError, ConnectionError)) as caught:
            channel.consume(refused)
        assert caught.value.reply_text == text
    assert list(channel.consumers) == ["t"]
    assert len(queue.consumers) == 1


def test_reply_consumer_is_cancelled_by_its_tag_only(client: Client) -> None:
    client.ask(m.BasicConsume(REPLY_TO, "mine", no_ack=True))
    assert isinstance(client.ask(m.BasicCancel("other")), m.BasicCancelOk)
    assert client.channel.reply_consumer is not None
    assert client.channel.reply_consumer.tag == "mine"
    client.ask(m.BasicCancel("mine"))
    assert client.channel.reply_consumer is None


@pytest.mark.parametrize(("properties", "told"), [({}, []), (CANCELLING, ["basic.cancel"])])
def test_consumer_of_a_queue_that_is_gone(
    server: MemoryServer, properties: dict[str, Any], told: list[str]
) -> None:
    """Only a client that understands it is told; the answer to its own deletion comes first."""
    client = Client(server, **properties).login()
    declare(client)
    client.ask(m.BasicConsume("q", "t"))
    assert kinds(client.send(m.QueueDelete("q"))) == ["queue.delete-ok", *told]
    assert client.channel.consumers == {}


@pytest.mark.parametrize(
    ("method", "answers"),
    [
        (m.BasicConsume("other", "t"), ["basic.cancel", "basic.consume-ok", "basic.deliver"]),
        (m.BasicCancel("t"), ["basic.cancel", "basic.cancel-ok"]),
    ],
)
def test_client_is_told_of_the_end_of_a_consumer_before_its_tag_means_another(
    server: MemoryServer, method: Method, answers: list[str]
) -> None:
    """Also if all of it comes together."""
    client = Client(server, 131072, **CANCELLING).login()
    declare(client)
    declare(client, "other", count=1)
    client.ask(m.BasicConsume("q", "t"))
    assert kinds(client.send(m.QueueDelete("q"), method)) == ["queue.delete-ok", *answers]


# Prefetch


def test_new_prefetch_is_for_new_consumers(client: Client) -> None:
    declare(client, count=6)
    client.ask(m.BasicQos(0, 1))
    assert deliveries(client.send(m.BasicConsume("q", "one"))) == [("one", 1, False, b"1")]
    client.ask(m.BasicQos(0, 3))
    assert [body for *_, body in deliveries(client.send(m.BasicConsume("q", "three")))] == [b"2", b"3", b"4"]
    assert client.send(m.BasicQos(0, 0))[1:] == []


@pytest.fixture
def old_client(loop: asyncio.AbstractEventLoop) -> Client:
    """A client of a broker that imitates RabbitMQ 3; channel 1 is open."""
    return Client(MemoryServer(loop, profile=RABBITMQ_3)).login()


def test_limit_of_the_channel_is_one_for_new_consumers(client: Client) -> None:
    """RabbitMQ 4 has no other."""
    declare(client, count=5)
    client.ask(m.BasicQos(0, 1))
    client.send(m.BasicConsume("q", "one"))
    client.ask(m.BasicQos(0, 2, True))
    assert client.channel.can_take()
    assert [body for *_, body in deliveries(client.send(m.BasicConsume("q", "two")))] == [b"2", b"3"]
    assert deliveries(client.send(m.BasicAck(1))) == [("one", 4, False, b"4")]


def test_raised_limit_of_the_channel_is_used_at_once(old_client: Client) -> None:
    client = old_client
    declare(client, count=4)
    client.ask(m.BasicQos(0, 1, True))
    assert len(deliveries(client.send(m.BasicConsume("q", "t")))) == 1
    assert not client.channel.can_take()
    told = client.send(m.BasicQos(0, 3, True))
    assert deliveries(told) == [("t", 2, False, b"2"), ("t", 3, False, b"3")]
    assert deliveries(client.send(m.BasicQos(0, 0, True))) == [("t", 4, False, b"4")]
    assert client.channel.can_take()


def test_room_in_the_channel_is_for_every_queue_of_it(old_client: Client) -> None:
    """An acknowledgement for one queue lets another one deliver."""
    client = old_client
    declare(client, "a", 1)
    declare(client, "b", 1)
    client.ask(m.BasicQos(0, 1, True))
    assert deliveries(client.send(m.BasicConsume("a", "ta"), m.BasicConsume("b", "tb"))) == [
        ("ta", 1, False, b"1")
    ]
    assert deliveries(client.send(m.BasicAck(1))) == [("tb", 2, False, b"1")]


@pytest.mark.parametrize("global_", [False, True])
def test_prefetch_in_bytes(client: Client, global_: bool) -> None:
    with pytest.raises(ConnectionError) as caught:
        client.channel.set_prefetch(m.BasicQos(7, 1, global_))
    assert caught.value.reply_text == "NOT_IMPLEMENTED - prefetch_size!=0 (7)"


# Getting


def test_get_and_deliveries_share_their_tags(client: Client) -> None:
    declare(client, count=3)
    (told,) = client.send(m.BasicGet("q"))
    assert repr(told.method) == repr(m.BasicGetOk(1, False, "", "q", 2))
    (told,) = client.send(m.BasicGet("q", no_ack=True))
    assert repr(told.method) == repr(m.BasicGetOk(2, False, "", "q", 1))
    assert told.body == b"2"
    assert deliveries(client.send(m.BasicConsume("q", "t"))) == [("t", 3, False, b"3")]
    assert isinstance(client.ask(m.BasicGet("q")), m.BasicGetEmpty)


def test_message_that_does_not_fit_stays_in_the_queue(client: Client, server: MemoryServer) -> None:
    queue = declare(client)
    client.feed(publish("", "q", headers={"big": "x" * 9000}))
    small = Client(server, frame_max=8192).login()
    with pytest.raises(ChannelError) as caught:
        small.channel.get(m.BasicGet("q"))
    size = 9000 + 15  # two bytes of flags, four of the table's length, four of the name, five of the value
    assert caught.value.reply_text == (
        "CONTENT_TOO_LARGE - frame_max 8192 of this connection is too small for the "
        f"{size} bytes of properties of the first message of queue 'q'"
    )
    assert len(queue) == 1
    client.feed(publish("", "q", b"fits"))
    (told,) = client.send(m.BasicGet("q", no_ack=True))
    assert told.body == b"x"
    (told,) = small.send(m.BasicGet("q", no_ack=True))
    # The refused get took no tag.
    assert repr(told.method) == repr(m.BasicGetOk(1, False, "", "q", 0))


def test_channel_that_refuses_a_message_gets_nothing_more(client: Client, server: MemoryServer) -> None:
    """The next consumer gets what did not fit, and what comes behind it."""
    small = Client(server, frame_max=8192).login()
    queue = declare(client)
    small.ask(m.BasicConsume("q", "small"))
    client.ask(m.BasicConsume("q", "large"))
    big = publish("", "q", b"big", headers={"big": "x" * 9000})
    told = client.feed(big + publish("", "q", b"next"))
    assert [body for *_, body in deliveries(told)] == [b"big", b"next"]
    (closed,) = small.told()
    assert isinstance(closed.method, m.ChannelClose)
    assert (closed.method.reply_code, closed.method.class_id, closed.method.method_id) == (311, 60, 60)
    assert len(queue.consumers) == 1


# Acknowledgements


def test_rejection_of_several_with_requeue_keeps_their_order(client: Client) -> None:
    declare(client, count=3)
    client.send(m.BasicGet("q"), m.BasicGet("q"), m.BasicGet("q"))
    assert client.send(m.BasicNack(2, True, True)) == []
    told = client.send(m.BasicConsume("q", "t"))
    assert deliveries(told) == [("t", 4, True, b"1"), ("t", 5, True, b"2")]


@pytest.mark.parametrize(
    "method", [m.BasicAck(9), m.BasicNack(9), m.BasicReject(9), m.BasicAck(0), m.BasicReject(0)]
)
def test_answer_to_what_is_not_out(client: Client, method: m.BasicAck | m.BasicNack | m.BasicReject) -> None:
    declare(client, count=1)
    client.send(m.BasicGet("q"))
    with pytest.raises(ChannelError) as caught:
        if isinstance(method, m.BasicAck):
            client.channel.ack(method)
        elif isinstance(method, m.BasicNack):
            client.channel.nack(method)
        else:
            client.channel.reject(method)
    assert caught.value.reply_text == f"PRECONDITION_FAILED - unknown delivery tag {method.delivery_tag}"


@pytest.mark.parametrize(("requeue", "left"), [(True, 1), (False, 0)])
def test_rejection(client: Client, requeue: bool, left: int) -> None:
    queue = declare(client, count=1)
    client.send(m.BasicGet("q"), m.BasicReject(1, requeue))
    assert (len(queue), queue.unacked) == (left, 0)


def test_recovery_answers_after_the_messages_are_back(client: Client) -> None:
    queue = declare(client, count=2)
    client.send(m.BasicGet("q"), m.BasicGet("q"))
    assert kinds(client.send(m.BasicRecover(True))) == ["basic.recover-ok"]
    assert (len(queue), queue.unacked) == (2, 0)
    client.send(m.BasicGet("q"))
    assert client.send(m.BasicRecoverAsync(True)) == []
    assert (len(queue), queue.unacked) == (2, 0)
    with pytest.raises(ConnectionError) as caught:
        next(client.channel.recover(m.BasicRecover(False)))
    assert caught.value.reply_text == "NOT_IMPLEMENTED - requeue=false"


def test_message_of_a_queue_that_is_gone_can_be_acknowledged(client: Client) -> None:
    declare(client, count=2)
    client.send(m.BasicGet("q"), m.BasicGet("q"))
    client.session.vhost.remove_queue(client.session.vhost.queues["q"])
    assert client.send(m.BasicAck(1), m.BasicNack(2)) == []
    assert "q" not in client.session.vhost.queues


def test_acknowledgements_of_a_transaction_wait_for_its_commit(client: Client) -> None:
    queue = declare(client, count=2)
    client.ask(m.BasicQos(0, 1, True))
    client.send(m.TxSelect(), m.BasicConsume("q", "t"))
    assert client.send(m.BasicAck(1)) == []
    assert queue.unacked == 1
    told = client.send(m.TxCommit())
    assert kinds(told) == ["basic.deliver", "tx.commit-ok"]
    assert deliveries(told) == [("t", 2, False, b"2")]


@pytest.mark.parametrize(
    "answers",
    [
        [m.BasicNack(0, multiple=True, requeue=True)],
        [m.BasicRecover(requeue=True)],
        [m.TxSelect(), m.BasicNack(1, requeue=True), m.BasicNack(2, requeue=True), m.TxCommit()],
    ],
)
def test_outcome_that_a_stream_refuses_is_not_the_end_of_the_others(
    loop: asyncio.AbstractEventLoop, answers: list[Method]
) -> None:
    """The connection ends, but no message of another queue is lost, or counted as out for ever."""
    server = MemoryServer(loop, profile=RABBITMQ_3)
    client = Client(server).login()
    stream_with_consumer(client, 1, prefetch=5)
    queue = declare(client, "q", count=1)
    client.send(m.BasicConsume("q", "u"))
    assert queue.unacked == 1
    told = client.send(*answers)
    assert kinds(told)[-1] == "connection.close"
    assert (len(queue), queue.unacked) == (1, 0)


# Waiting for the disk


def test_channel_delivers_nothing_while_an_answer_waits(slow_client: Client, journal: SlowJournal) -> None:
    queue = declare(slow_client)
    slow_client.ask(m.BasicConsume("q", "t"))
    assert slow_client.send(m.QueueDeclare("durable", durable=True), m.BasicQos(0, 5)) == []
    assert not slow_client.channel.can_take()
    assert slow_client.feed(publish("", "q")) == []
    assert len(queue) == 1
    journal.catch_up()
    assert kinds(slow_client.told()) == ["queue.declare-ok", "basic.qos-ok", "basic.deliver"]
    assert slow_client.channel.can_take()


def test_message_that_was_asked_for_waits_for_earlier_answers(
    slow_client: Client, journal: SlowJournal
) -> None:
    """Answers come in the order of the requests, for clients that do not wait for each."""
    declare(slow_client, count=1)
    requests = (m.QueueDeclare("durable", durable=True), m.BasicGet("q"), m.BasicGet("q"))
    assert slow_client.send(*requests) == []
    journal.catch_up()
    assert kinds(slow_client.told()) == ["queue.declare-ok", "basic.get-ok", "basic.get-empty"]


def test_direct_reply_waits_for_earlier_answers(slow_client: Client, journal: SlowJournal) -> None:
    """Otherwise it could come before the answer that tells of its consumer."""
    slow_client.send(m.QueueDeclare("durable", durable=True), m.BasicConsume(REPLY_TO, "t", no_ack=True))
    assert slow_client.channel.reply_consumer is not None
    address = slow_client.channel.reply_consumer.address
    assert slow_client.feed(publish("", address)) == []
    journal.catch_up()
    assert kinds(slow_client.told()) == ["queue.declare-ok", "basic.consume-ok", "basic.deliver"]


# The end


def test_end_puts_back_what_is_out(client: Client, server: MemoryServer) -> None:
    """In a transaction, too, and none of it to the channel that ends."""
    queue = declare(client, count=3)
    client.send(m.TxSelect(), m.BasicConsume("q", "t"), m.BasicAck(2))
    assert queue.unacked == 3
    channel = client.channel
    assert kinds(client.send(m.ChannelClose(200, "", 0, 0))) == ["channel.close-ok"]
    assert channel.closed
    assert (len(queue), queue.unacked, len(queue.consumers)) == (3, 0, 0)
    other = Client(server).login()
    told = other.send(m.BasicConsume("q", "t"))
    assert deliveries(told) == [("t", number, True, str(number).encode()) for number in (1, 2, 3)]


def test_end_of_one_channel_lets_the_next_have_its_messages(client: Client) -> None:
    declare(client, count=2)
    client.send(m.BasicConsume("q", "first"))
    client.send(m.ChannelOpen(), m.BasicConsume("q", "second"), channel=2)
    told = client.send(m.ChannelClose(200, "", 0, 0))
    assert deliveries(told) == [("second", 1, True, b"1"), ("second", 2, True, b"2")]
    assert {one.channel for one in told if isinstance(one.method, m.BasicDeliver)} == {2}


def test_end_removes_an_auto_delete_queue_once(client: Client) -> None:
    declare(client, count=1, auto_delete=True)
    client.send(m.BasicConsume("q", "a"), m.BasicConsume("q", "b"))
    assert kinds(client.send(m.ChannelClose(200, "", 0, 0))) == ["channel.close-ok"]
    assert client.session.vhost.queues == {}


# Streams


@pytest.mark.parametrize(
    "method",
    [
        m.BasicAck(2, multiple=True),
        m.BasicNack(2, multiple=True, requeue=True),
        m.BasicNack(2, multiple=True, requeue=False),
        m.BasicRecover(True),
    ],
)
def test_answered_messages_stay_in_the_stream(client: Client, server: MemoryServer, method: Any) -> None:
    queue = stream_with_consumer(client, 4, prefetch=2)
    held = server.memory.bytes
    told = client.send(method)
    assert deliveries(told) == [("t", 3, False, b"3"), ("t", 4, False, b"4")]
    assert (len(queue), queue.unacked, server.memory.bytes) == (4, 2, held)
    client.send(m.BasicReject(3, requeue=False), m.BasicReject(4, requeue=True))
    assert (len(queue), queue.unacked, server.memory.bytes) == (4, 0, held)


def test_stored_messages_of_a_stream_stay_stored(slow_client: Client) -> None:
    queue = stream_with_consumer(slow_client, 3, prefetch=3)
    slow_client.send(m.BasicAck(3, multiple=True))
    assert isinstance(queue, StreamQueue)
    assert [entry.stored for entry in queue._log] == [True] * 3


@pytest.mark.parametrize(
    "method",
    [
        m.BasicNack(1, requeue=True),
        m.BasicNack(1, requeue=False),
        m.BasicReject(1, requeue=True),
        m.BasicReject(1, requeue=False),
    ],
)
def test_old_stream_takes_no_nacks(old_client: Client, method: Any) -> None:
    queue = stream_with_consumer(old_client, 2, prefetch=2)
    (told,) = old_client.send(method)
    assert isinstance(told.method, m.ConnectionClose)
    assert told.method.reply_code == 540
    assert told.method.reply_text == (
        "NOT_IMPLEMENTED - basic.nack and basic.reject not supported by stream queues queue 's' in vhost '/'"
    )
    old_client.send(m.ConnectionCloseOk(), channel=0)
    assert (len(queue), queue.unacked, queue.unacked_bytes, len(queue.consumers)) == (2, 0, 0, 0)


def test_end_of_the_channel_leaves_the_stream_alone(client: Client, server: MemoryServer) -> None:
    queue = stream_with_consumer(client, 2, prefetch=2)
    held = server.memory.bytes
    client.ask(m.ChannelClose(200, "", 0, 0))
    assert (len(queue), queue.unacked, len(queue.consumers), server.memory.bytes) == (2, 0, 0, held)
    client.ask(m.ChannelOpen())
    client.ask(m.BasicQos(0, 2))
    told = client.send(m.BasicConsume("s", "t", arguments={"x-stream-offset": 1}))
    assert deliveries(told) == [("t", 1, False, b"2")]
