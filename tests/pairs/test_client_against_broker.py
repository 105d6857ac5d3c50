"""The client's and the server's machine joined in memory: no sockets, and only the test moves the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fedora_messaging.protocol.client_handshake import ClientMachine
from fedora_messaging.protocol.confirms import AwaitedConfirms, OwedConfirms
from fedora_messaging.protocol.connection import Limits, Machine
from fedora_messaging.protocol.events import (
    ConnectionEnded,
    ContentReceived,
    Event,
    LoginRequested,
    MethodReceived,
    OpenRequested,
)
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from fedora_messaging.wire.methods import Method

FRAME_MAX = 8192
#: A body frame's payload is smaller than the frame by its head and end.
PAYLOAD = FRAME_MAX - 8


class Pair:
    """Both machines, and the wire between them.

    Args:
        piece: How many bytes at once the wire carries; 0 for all there are.
    """

    def __init__(self, piece: int = 0, client: Limits | None = None, server: Limits | None = None) -> None:
        self.now = 1000.0
        self.client = ClientMachine(
            now=self.now,
            limits=client or Limits(frame_max=FRAME_MAX),
            vhost="/canary",
            username="user",
            password="pass word",
            client_properties={"product": "pair", "capabilities": {"authentication_failure_close": True}},
        )
        self.server = ServerMachine(
            now=self.now,
            limits=server or Limits(channel_max=2047, frame_max=131072, heartbeat=60),
            server_properties={"product": "broker"},
        )
        self.at_client: list[Event] = []
        self.at_server: list[Event] = []
        self.bytes_carried = 0
        self._piece = piece

    def carry(self) -> None:
        """Carry bytes until both have said all they have to say; the server's logins are accepted."""
        while self._carry_up() or self._carry_down():
            pass

    def _carry_up(self) -> bool:
        moved = self._move(self.client, self.server)
        for event in self.server.events():
            self.at_server.append(event)
            if isinstance(event, LoginRequested):
                self.server.accept_login()
            elif isinstance(event, OpenRequested):
                self.server.accept_open()
        return moved

    def _carry_down(self) -> bool:
        moved = self._move(self.server, self.client)
        self.at_client += self.client.events()
        return moved

    def _move(self, sender: Machine, receiver: Machine) -> bool:
        data = sender.data_to_send(self.now)
        self.bytes_carried += len(data)
        size = self._piece or len(data)
        for start in range(0, len(data), size or 1):
            receiver.receive_data(data[start : start + size], self.now)
        return bool(data)

    def sleep(self, seconds: float) -> None:
        """Let time pass; each machine's clock is looked at when it asked for it."""
        end = self.now + seconds
        while True:
            deadlines = [
                when
                for machine in (self.client, self.server)
                if (when := machine.next_deadline()) is not None and when <= end
            ]
            if not deadlines:
                break
            self.now = max(self.now, min(deadlines))
            for machine in (self.client, self.server):
                machine.handle_timeout(self.now)
            self.carry()
        self.now = end

    def take_server(self) -> list[Event]:
        """What happened at the server since the last call."""
        events, self.at_server = self.at_server, []
        return events

    def take_client(self) -> list[Event]:
        """What happened at the client since the last call."""
        events, self.at_client = self.at_client, []
        return events


@pytest.fixture(params=[0, 1, 3, 1000], ids=lambda piece: f"{piece or 'all'} at once")
def pair(request: pytest.FixtureRequest) -> Pair:
    """An open connection with channel 1, by wires that carry few or many bytes at once."""
    made = Pair(request.param)
    made.carry()
    made.client.open_channel(1)
    made.carry()
    made.take_server()
    made.take_client()
    return made


def content(events: list[Event]) -> ContentReceived:
    """The only event, which is content."""
    (event,) = events
    assert isinstance(event, ContentReceived)
    return event


def method(events: list[Event]) -> Method:
    """The only event, which is a method."""
    (event,) = events
    assert isinstance(event, MethodReceived)
    return event.method


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (Limits(), Limits(channel_max=10, frame_max=9000, heartbeat=0), (10, 9000, 0)),
        (Limits(channel_max=5, frame_max=8192, heartbeat=7), Limits(heartbeat=60), (5, 8192, 7)),
        (Limits(heartbeat=0), Limits(channel_max=2047, heartbeat=60), (2047, 131072, 0)),
        (Limits(heartbeat=30), Limits(channel_max=2047, heartbeat=10), (2047, 131072, 10)),
    ],
)
def test_both_ends_come_to_the_same_limits(
    client: Limits, server: Limits, expected: tuple[int, int, int]
) -> None:
    pair = Pair(client=client, server=server)
    pair.carry()
    for machine in (pair.client, pair.server):
        assert (machine.channel_max, machine.frame_max, machine.heartbeat) == expected


def test_requests_and_answers(pair: Pair) -> None:
    pair.client.send_method(1, m.QueueDeclare("q", durable=True, arguments={"x-max-length": 5}))
    pair.carry()
    declare = method(pair.take_server())
    assert isinstance(declare, m.QueueDeclare)
    assert (declare.queue, declare.durable, declare.arguments) == ("q", True, {"x-max-length": 5})
    pair.server.send_method(1, m.QueueDeclareOk("q", 3, 2))
    pair.carry()
    declared = method(pair.take_client())
    assert isinstance(declared, m.QueueDeclareOk)
    assert (declared.queue, declared.message_count, declared.consumer_count) == ("q", 3, 2)


@pytest.mark.parametrize("size", [0, 1, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, 5 * PAYLOAD, 5 * PAYLOAD + 1])
def test_publish_and_deliver(pair: Pair, size: int) -> None:
    """Bodies around the borders of frames, there and back, with all properties."""
    body = bytes(n % 251 for n in range(size))
    properties = BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"a": 1, "b": ["x", {"c": None}], "d": True},
        delivery_mode=2,
        priority=3,
        message_id="id",
        timestamp=5,
    )
    encoded = encode_properties(properties)
    pair.client.send_content(1, m.BasicPublish("amq.topic", "key", True).encode(), encoded, body)
    pair.carry()
    published = content(pair.take_server())
    assert isinstance(published.method, m.BasicPublish)
    assert (published.method.exchange, published.method.routing_key) == ("amq.topic", "key")
    assert published.method.mandatory
    assert published.body == body
    deliver = m.BasicDeliver("tag", 9, True, "amq.topic", "key")
    pair.server.send_content(1, deliver.encode(), published.properties, published.body)
    pair.carry()
    delivered = content(pair.take_client())
    assert isinstance(delivered.method, m.BasicDeliver)
    assert (delivered.method.delivery_tag, delivered.method.redelivered) == (9, True)
    assert delivered.body == body
    assert decode_properties(delivered.properties) == properties


def test_contents_of_many_channels_do_not_mix(pair: Pair) -> None:
    for channel in range(2, 10):
        pair.client.open_channel(channel)
    pair.carry()
    pair.take_server()
    for channel in range(1, 10):
        body = bytes([channel]) * (channel * 3000)
        pair.client.send_content(channel, m.BasicPublish("", str(channel)).encode(), b"\0\0", body)
    pair.carry()
    found = {event.channel: event.body for event in pair.take_server() if isinstance(event, ContentReceived)}
    assert found == {channel: bytes([channel]) * (channel * 3000) for channel in range(1, 10)}


def test_confirms_settle_what_was_published(pair: Pair) -> None:
    """The two halves of publisher confirms agree, whatever the order of the broker's decisions."""
    awaited: AwaitedConfirms[int] = AwaitedConfirms()
    owed = OwedConfirms()
    pair.client.send_method(1, m.ConfirmSelect())
    pair.carry()
    pair.take_server()
    pair.server.send_method(1, m.ConfirmSelectOk())
    pair.carry()
    pair.take_client()
    for number in range(100):
        awaited.sent(number)
        pair.client.send_content(1, m.BasicPublish("", "q").encode(), b"\0\0", b"x")
    pair.carry()
    tags = [owed.received() for _ in pair.take_server()]
    settled: list[int] = []
    refused: list[int] = []
    for start in (50, 0, 75, 25):
        for tag in tags[start : start + 25]:
            if tag % 10 == 0:
                owed.reject(tag)
                pair.server.send_method(1, m.BasicNack(tag))
            else:
                owed.confirm(tag)
        for tag, multiple in owed.flush():
            pair.server.send_method(1, m.BasicAck(tag, multiple))
        pair.carry()
        for event in pair.take_client():
            assert isinstance(event, MethodReceived)
            assert isinstance(event.method, m.BasicAck | m.BasicNack)
            into = settled if isinstance(event.method, m.BasicAck) else refused
            into += awaited.take(event.method.delivery_tag, event.method.multiple)
    assert sorted(refused) == list(range(9, 100, 10))
    assert sorted(settled + refused) == list(range(100))
    assert not awaited


@pytest.mark.parametrize("by", ["client", "server", "both"])
def test_closing_the_connection(pair: Pair, by: str) -> None:
    if by != "server":
        pair.client.close()
    if by != "client":
        pair.server.close(320, "canary")
    pair.carry()
    for events in (pair.take_client(), pair.take_server()):
        (closed,) = events
        assert isinstance(closed, ConnectionEnded)
        if by == "server":
            assert closed.reply_code == 320
    assert pair.client.is_closed
    assert pair.server.is_closed
    assert pair.client.next_deadline() is None


def test_heartbeats_keep_an_idle_connection(pair: Pair) -> None:
    """An hour of silence in which only heartbeats pass: a few hundred bytes in each direction."""
    before = pair.bytes_carried
    pair.sleep(3600)
    assert pair.take_client() == []
    assert pair.take_server() == []
    # A heartbeat is 8 bytes and is due after half an interval of silence.
    assert pair.bytes_carried - before == 2 * 8 * 3600 // 30
