"""Direct reply-to: a client takes replies on its channel without a queue of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pamqp import commands
from tests.behaviour.support import Delivery, Inbox, bodies, closes, roundtrip, send, since, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.peer import Peer
    from tests.support.brokers import Broker

ADDRESS = "amq.rabbitmq.reply-to"


@pytest.fixture
def server(connections: Callable[..., BlockingConnection]) -> BlockingChannel:
    """A channel of the connection that answers."""
    return connections().channel()


def receive(server: BlockingChannel, queue: str) -> Delivery:
    return take(server, queue, auto_ack=True)


def test_request_and_reply(channel: BlockingChannel, server: BlockingChannel, queue: str) -> None:
    """A publish to the default exchange with the rewritten key reaches the asking channel."""
    inbox = Inbox.on(channel, ADDRESS, auto_ack=True)
    send(channel, queue, b"question", reply_to=ADDRESS, correlation_id="1")
    request = receive(server, queue)
    send(server, request.properties.reply_to, b"answer", correlation_id="1")
    (reply,) = inbox.wait(1)
    assert (reply.body, reply.properties.correlation_id, reply.consumer) == (b"answer", "1", inbox.tag)


def test_reply_to_is_rewritten(channel: BlockingChannel, server: BlockingChannel, queue: str) -> None:
    """The broker appends an opaque part to the address, the same each time."""
    Inbox.on(channel, ADDRESS, auto_ack=True)
    send(channel, queue, b"1", b"2", reply_to=ADDRESS)
    addresses = [receive(server, queue).properties.reply_to for _ in range(2)]
    assert addresses[0] == addresses[1]
    assert addresses[0].startswith(ADDRESS + ".")
    assert len(addresses[0]) > len(ADDRESS) + 10


@pytest.mark.parametrize("reply_to", ["callback", ADDRESS + "x", ""])
def test_other_reply_to_is_left_alone(channel: BlockingChannel, queue: str, reply_to: str) -> None:
    """The broker leaves the addresses of ordinary callback queues alone."""
    Inbox.on(channel, ADDRESS, auto_ack=True)
    send(channel, queue, b"x", reply_to=reply_to)
    assert (take(channel, queue).properties.reply_to or "") == reply_to


def test_other_properties_survive_the_rewrite(channel: BlockingChannel, queue: str) -> None:
    """The rewrite leaves the rest of the message the same."""
    Inbox.on(channel, ADDRESS, auto_ack=True)
    send(channel, queue, b"x", reply_to=ADDRESS, message_id="id", headers={"a": [1]}, content_type="t/p")
    properties = take(channel, queue).properties
    assert (properties.message_id, properties.headers, properties.content_type) == ("id", {"a": [1]}, "t/p")


def test_reply_reaches_only_the_asking_channel(
    connection: BlockingConnection, server: BlockingChannel, queue: str
) -> None:
    """Each of two asking channels gets the reply to its own request, and no other."""
    inboxes = []
    for body in (b"0", b"1"):
        channel = connection.channel()
        inboxes.append(Inbox.on(channel, ADDRESS, auto_ack=True))
        send(channel, queue, body, reply_to=ADDRESS)
    requests = [receive(server, queue) for _ in range(2)]
    for request in requests:
        send(server, request.properties.reply_to, b"re " + request.body)
    for number, inbox in enumerate(inboxes):
        inbox.wait(1)
        assert inbox.bodies == [f"re {number}".encode()]


def test_replies_keep_their_order(channel: BlockingChannel, server: BlockingChannel, queue: str) -> None:
    """One address takes any number of replies."""
    inbox = Inbox.on(channel, ADDRESS, auto_ack=True)
    send(channel, queue, b"question", reply_to=ADDRESS)
    address = receive(server, queue).properties.reply_to
    send(server, address, *[str(number) for number in range(50)])
    inbox.wait(50)
    assert inbox.bodies == [str(number).encode() for number in range(50)]


def test_consume_needs_no_ack(channel: BlockingChannel) -> None:
    """The broker closes the channel with 406 when the reply consumer wants to acknowledge."""
    with closes(406, "reply consumer cannot acknowledge"):
        Inbox.on(channel, ADDRESS)


def test_second_reply_consumer(channel: BlockingChannel) -> None:
    """A second reply consumer closes the channel with 406."""
    Inbox.on(channel, ADDRESS, auto_ack=True)
    with closes(406, "reply consumer already set"):
        Inbox.on(channel, ADDRESS, auto_ack=True)


def test_reply_consumer_with_a_tag_in_use(peer: Peer, queue: str) -> None:
    peer.call(commands.Basic.Consume(queue=queue, consumer_tag="t"), commands.Basic.ConsumeOk)
    with closes(530, "NOT_ALLOWED - attempt to reuse consumer tag 't'"):
        peer.call(
            commands.Basic.Consume(queue=ADDRESS, consumer_tag="t", no_ack=True), commands.Basic.ConsumeOk
        )


def test_consumer_with_the_tag_of_the_reply_consumer(peer: Peer, queue: str) -> None:
    """The broker allows this, although the client cannot tell their deliveries apart by the tag."""
    peer.call(commands.Basic.Consume(queue=ADDRESS, consumer_tag="t", no_ack=True), commands.Basic.ConsumeOk)
    peer.call(commands.Basic.Consume(queue=queue, consumer_tag="t", no_ack=True), commands.Basic.ConsumeOk)


def test_reply_consumer_after_cancel(channel: BlockingChannel) -> None:
    """After the cancel of a reply consumer another may follow."""
    for _ in range(2):
        channel.basic_cancel(Inbox.on(channel, ADDRESS, auto_ack=True).tag)


def test_request_without_a_reply_consumer(channel: BlockingChannel, queue: str) -> None:
    """The broker closes the channel with 406 when a request has no reply consumer."""
    send(channel, queue, b"x", reply_to=ADDRESS)
    with closes(406, "fast reply consumer does not exist"):
        roundtrip(channel)


def test_reply_consumer_of_another_channel_is_none(connection: BlockingConnection, queue: str) -> None:
    """A request needs a reply consumer on its own channel."""
    Inbox.on(connection.channel(), ADDRESS, auto_ack=True)
    channel = connection.channel()
    send(channel, queue, b"x", reply_to=ADDRESS)
    with closes(406, "fast reply consumer does not exist"):
        roundtrip(channel)


def test_passive_declare_of_the_plain_address(channel: BlockingChannel) -> None:
    """A passive declare finds the plain address, although no queue has the name."""
    assert channel.queue_declare(ADDRESS, passive=True).method.queue == ADDRESS


def test_passive_declare_of_an_address(channel: BlockingChannel, server: BlockingChannel, queue: str) -> None:
    """A server may ask whether anyone still waits: a passive declare counts one consumer."""
    Inbox.on(channel, ADDRESS, auto_ack=True)
    send(channel, queue, b"x", reply_to=ADDRESS)
    address = receive(server, queue).properties.reply_to
    assert server.queue_declare(address, passive=True).method.consumer_count == 1


def test_address_of_a_closed_channel(
    connection: BlockingConnection, server: BlockingChannel, queue: str
) -> None:
    """The broker drops a late reply, and a passive declare tells that nobody waits."""
    channel = connection.channel()
    Inbox.on(channel, ADDRESS, auto_ack=True)
    send(channel, queue, b"x", reply_to=ADDRESS)
    address = receive(server, queue).properties.reply_to
    channel.close()
    send(server, address, b"late")
    with closes(404):
        server.queue_declare(address, passive=True)


def test_mandatory_reply_is_delivered(
    broker: Broker, channel: BlockingChannel, peer: Peer, queue: str
) -> None:
    """Until RabbitMQ 4.3 counts the address as a queue, the broker also returns the reply."""
    inbox = Inbox.on(channel, ADDRESS, auto_ack=True)
    send(channel, queue, b"x", reply_to=ADDRESS)
    address = peer.get(queue).properties.reply_to
    assert address
    peer.publish(b"reply", routing_key=address, mandatory=True)
    if since(broker, (4, 3), False, True):
        assert peer.expect(commands.Basic.Return).reply_code == 312
        peer.read_content()
    peer.roundtrip()
    inbox.wait(1)
    assert inbox.bodies == [b"reply"]


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS + ".forged", ADDRESS + "."])
def test_forged_address_leads_nowhere(server: BlockingChannel, address: str) -> None:
    """The broker drops the message without an error."""
    send(server, address, b"x")
    roundtrip(server)


def test_replies_need_no_prefetch(channel: BlockingChannel, server: BlockingChannel, queue: str) -> None:
    """A reply consumer has nothing to acknowledge, so the prefetch does not limit it."""
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.on(channel, ADDRESS, auto_ack=True)
    send(channel, queue, b"x", reply_to=ADDRESS)
    send(server, receive(server, queue).properties.reply_to, b"1", b"2", b"3")
    inbox.wait(3)


def test_ordinary_consumers_beside_it(channel: BlockingChannel, queue: str) -> None:
    """A channel may ask itself."""
    replies = Inbox.on(channel, ADDRESS, auto_ack=True)
    requests = Inbox.on(channel, queue, auto_ack=True)
    send(channel, queue, b"question", reply_to=ADDRESS)
    (request,) = requests.wait(1)
    send(channel, request.properties.reply_to, b"answer")
    replies.wait(1)
    assert replies.bodies == [b"answer"]
    assert bodies(channel, queue) == []
