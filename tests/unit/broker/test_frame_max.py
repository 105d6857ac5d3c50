"""No frame is larger than the client asked for; RabbitMQ 3.10 sends such content headers regardless."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands
from tests.behaviour.peer import ClosedByBrokerError, Peer, shortstr, table

from fedora_messaging.broker import Broker
from fedora_messaging.broker.core.profile import RABBITMQ_4
from fedora_messaging.wire.fields import encode_table
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connect = Callable[[int], Peer]

FRAME_MAX = 131072
SMALLEST = RABBITMQ_4.frame_min
#: Bytes of a content header's frame beside its properties.
AROUND = 20
TOO_LARGE = 311


@pytest.fixture
def connect(embedded_broker: Broker) -> Iterator[Connect]:
    """Opens a channel of a new connection with this frame_max."""
    opened: list[Peer] = []

    def connect_one(frame_max: int) -> Peer:
        peer = Peer(embedded_broker.amqp_url)
        opened.append(peer)
        return peer.login(frame_max=frame_max).open_channel()

    yield connect_one
    for peer in opened:
        peer.drop()


@pytest.fixture
def peer(connect: Connect) -> Peer:
    """A client that takes the largest frames."""
    return connect(FRAME_MAX)


@pytest.fixture
def small(connect: Connect) -> Peer:
    """A client that takes the smallest frames only."""
    return connect(SMALLEST)


@pytest.fixture
def queue(peer: Peer) -> Iterator[str]:
    yield declare(peer, "q")
    for name in ("q", "dying", "limited"):
        peer.call(commands.Queue.Delete(queue=name), commands.Queue.DeleteOk)


def declare(peer: Peer, name: str, *, durable: bool = False, **arguments: Any) -> str:
    spelled = {f"x-{argument.replace('_', '-')}": value for argument, value in arguments.items()}
    declaration = commands.Queue.Declare(queue=name, durable=durable, arguments=spelled)
    peer.call(declaration, commands.Queue.DeclareOk)
    return name


def properties_of(size: int, **headers: Any) -> bytes:
    """Properties of so many bytes, filled up by a header."""
    empty = encode_properties(BasicProperties(headers={**headers, "padding": ""}))
    filled = encode_properties(BasicProperties(headers={**headers, "padding": "x" * (size - len(empty))}))
    assert len(filled) == size
    return filled


def closed_channel(peer: Peer) -> str:
    """Wait for the broker to close the channel because of a message, and return its text."""
    with pytest.raises(ClosedByBrokerError) as caught:
        peer.roundtrip()
    assert (caught.value.reply_code, caught.value.on_channel) == (TOO_LARGE, True)
    return caught.value.reply_text


@pytest.mark.parametrize("over", [0, 1, 2, 5000])
@pytest.mark.parametrize("how", ["consume", "consume without acknowledgements", "get"])
def test_message_with_headers_that_fit_or_not(
    peer: Peer, small: Peer, queue: str, over: int, how: str
) -> None:
    """Whoever cannot be sent a message is told so; the message stays for somebody who can."""
    properties = properties_of(SMALLEST - AROUND + over)
    peer.publish(b"large", routing_key=queue, property_bytes=properties)
    peer.publish(b"next", routing_key=queue)
    peer.roundtrip()
    if how == "get":
        small.send(commands.Basic.Get(queue=queue, no_ack=True))
    else:
        small.call(commands.Basic.Consume(queue=queue, no_ack="without" in how), commands.Basic.ConsumeOk)
    if over:
        text = closed_channel(small)
        assert text == (
            "CONTENT_TOO_LARGE - frame_max 8192 of this connection is too small for the "
            f"{len(properties)} bytes of properties of the first message of queue 'q'"
        )
        contents = [peer.get(queue), peer.get(queue)]
    else:
        small.expect(commands.Basic.GetOk if how == "get" else commands.Basic.Deliver)
        content = small.read_content()
        assert len(content.header) + 8 == SMALLEST
        if how == "get":
            contents = [content, peer.get(queue)]
        else:
            small.expect(commands.Basic.Deliver)
            contents = [content, small.read_content()]
    assert [content.body for content in contents] == [b"large", b"next"]
    assert contents[0].property_bytes == properties


def test_connection_and_other_consumers_go_on(peer: Peer, small: Peer, queue: str) -> None:
    small.open_channel(2)
    declare(small, "limited")
    for channel, name in ((1, queue), (2, "limited")):
        consume = commands.Basic.Consume(queue=name, no_ack=True)
        small.call(consume, commands.Basic.ConsumeOk, channel)
    peer.call(commands.Basic.Consume(queue=queue, no_ack=True), commands.Basic.ConsumeOk)
    # The first goes to the consumer that came first, which does not take it.
    for number in range(4):
        peer.publish(str(number).encode(), routing_key=queue, property_bytes=properties_of(9000))
    received = []
    for _ in range(4):
        peer.expect(commands.Basic.Deliver)
        received.append(peer.read_content().body)
    assert received == [b"0", b"1", b"2", b"3"]
    closed_channel(small)
    peer.publish(b"small", routing_key="limited")
    small.expect(commands.Basic.Deliver, 2)
    assert small.read_content().body == b"small"


def test_dead_letter_keeps_the_newest_deaths_that_fit() -> None:
    """In RabbitMQ 3.10, for which what a publisher writes counts."""
    with Broker(profile="3") as broker, Peer(broker.amqp_url) as peer:
        keep_the_newest_deaths(peer.login(frame_max=FRAME_MAX).open_channel())


def keep_the_newest_deaths(peer: Peer) -> None:
    queue = declare(peer, "q")
    declare(peer, "dying", dead_letter_exchange="", dead_letter_routing_key=queue)
    deaths = [{"count": 1, "queue": f"q{number}", "reason": "expired"} for number in range(2500)]
    size = len(encode_table({"x-death": deaths})) + 2
    peer.publish(
        b"x", routing_key="dying", property_bytes=properties_of(FRAME_MAX - AROUND, **{"x-death": deaths})
    )
    assert size < FRAME_MAX - AROUND
    reject(peer, "dying")
    content = peer.get(queue)
    assert len(content.header) + 8 <= FRAME_MAX
    headers = content.properties.headers
    assert headers is not None
    history: Any = headers["x-death"]
    assert [death["queue"] for death in history] == ["dying", *(f"q{number}" for number in range(1249))]
    assert "x-first-death-queue" not in headers


@pytest.mark.parametrize("short_of", [0, 1, 200])
def test_dead_letter_without_room_for_its_history_has_none(peer: Peer, queue: str, short_of: int) -> None:
    declare(peer, "dying", dead_letter_exchange="", dead_letter_routing_key=queue)
    properties = properties_of(FRAME_MAX - AROUND - short_of)
    peer.publish(b"x", routing_key="dying", property_bytes=properties)
    reject(peer, "dying")
    assert peer.get(queue).property_bytes == properties


def reject(peer: Peer, name: str) -> None:
    peer.get(name, no_ack=False)
    peer.send(commands.Basic.Reject(delivery_tag=1, requeue=False))


def test_delivery_count_without_room_is_left_out(peer: Peer) -> None:
    declare(peer, "limited", durable=True, queue_type="quorum")
    properties = properties_of(FRAME_MAX - AROUND)
    peer.publish(b"x", routing_key="limited", property_bytes=properties)
    peer.get("limited", no_ack=False)
    peer.send(commands.Basic.Reject(delivery_tag=1, requeue=True))
    assert peer.get("limited").property_bytes == properties
    peer.call(commands.Queue.Delete(queue="limited"), commands.Queue.DeleteOk)


def test_delivery_count_that_does_not_decode_is_left_out(peer: Peer) -> None:
    declare(peer, "limited", durable=True, queue_type="quorum")
    broken = b"\x20\x00" + table((b"n", b"?"))
    peer.publish(b"x", routing_key="limited", property_bytes=broken)
    peer.get("limited", no_ack=False)
    peer.send(commands.Basic.Reject(delivery_tag=1, requeue=True))
    assert peer.get("limited").property_bytes == broken
    peer.call(commands.Queue.Delete(queue="limited"), commands.Queue.DeleteOk)


def reply_to(address: str, size: int) -> bytes:
    """Properties of so many bytes with headers and an address for replies."""
    headers = properties_of(size - 1 - len(address))[2:]
    return struct.pack(">H", 0x2200) + headers + shortstr(address)


def test_request_whose_address_does_not_fit_is_refused(peer: Peer, queue: str) -> None:
    consume = commands.Basic.Consume(queue="amq.rabbitmq.reply-to", no_ack=True)
    peer.call(consume, commands.Basic.ConsumeOk)
    request = reply_to("amq.rabbitmq.reply-to", FRAME_MAX - AROUND)
    peer.publish(b"x", routing_key=queue, property_bytes=request)
    assert closed_channel(peer).endswith("properties of the request")
    peer.open_channel()


def test_reply_that_does_not_fit_ends_the_channel_that_waits_for_it(
    peer: Peer, small: Peer, queue: str
) -> None:
    consume = commands.Basic.Consume(queue="amq.rabbitmq.reply-to", no_ack=True)
    small.call(consume, commands.Basic.ConsumeOk)
    request = encode_properties(BasicProperties(reply_to="amq.rabbitmq.reply-to"))
    small.publish(b"x", routing_key=queue, property_bytes=request)
    address = peer.get(queue).properties.reply_to
    assert address is not None
    peer.publish(b"y", routing_key=address, property_bytes=properties_of(SMALLEST))
    peer.roundtrip()
    closed_channel(small)
